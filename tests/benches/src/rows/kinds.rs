//! The kinds of virtualisation beside each other: what the README's table says of them.
//!
//! Nothing is promised here: the promises are in the other rows. What cannot be measured on this
//! machine is not there.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::ensure;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::bench::root;
use crate::line::Line;
use crate::line::Unit;
use crate::peers::Container;
use crate::peers::Engine;
use crate::peers::cc;
use crate::residents::Residents;
use crate::rounds::Side;
use crate::rounds::rounds_of;
use crate::run::footprint;
use crate::run::run;

use super::Row;
use super::part;

pub(super) const ROW: Row = Row {
    name: "kinds",
    about: "a process, a container, a machine and Aril, side by side",
    measure,
};

/// What each of them computes: fannkuch of ten, some tenths of a second of a processor.
const WORK: [&str; 2] = ["10", "1"];

/// How many idle ones share their pages.
const IDLE: usize = 50;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guests = root().join("tests/guests");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("native");
    let hello = Container::new(bench, "hello", &guests.join("hello.c"))?;
    let fannkuch = Container::with(bench, "fannkuch", &guests.join("fannkuch.c"), &WORK)?;
    let rest = Container::new(bench, "rest", &own.join("rest.c"))?;
    let mut lines = starts(bench, &hello)?;
    lines.extend(memory(bench, &rest)?);
    lines.extend(speed(bench, &fannkuch)?);
    let what = "an emulated machine of 128 MiB (QEMU without KVM)";
    lines.extend(part(what, || machine(bench, &fannkuch, &own.join("init.c")))?);
    Ok(lines)
}

/// Columns beside the first: names, and what each round found.
fn beside(about: &str, unit: Unit, names: &[&str], found: &[Vec<f64>]) -> Vec<Line> {
    let Some((first, others)) = found.split_first() else { return Vec::new() };
    let line = |(name, found): (&&str, &Vec<f64>)| {
        Line::pair(&format!("{about}: {name}, beside {}", names[0]), unit, found, first)
    };
    names.iter().skip(1).zip(others).map(line).collect()
}

fn starts(bench: &Bench, hello: &Container) -> anyhow::Result<Vec<Line>> {
    let guest = bench.guest("hello.wasm")?;
    let mut process = Command::new(hello.program());
    let mut aril = bench.aril(&["run", &guest]);
    let engines = [Engine::Crun, Engine::Podman].map(|engine| hello.runs(engine));
    let mut names = vec!["a process", "Aril"];
    let mut sides: Vec<Side<'_, f64>> = vec![
        Box::new(|| Ok(run(&mut process, 0)?.wall.as_secs_f64())),
        Box::new(|| Ok(run(&mut aril, 0)?.wall.as_secs_f64())),
    ];
    for (name, engine) in ["a container of crun", "a container of podman"].into_iter().zip(engines)
    {
        if let Ok(mut engine) = engine {
            names.push(name);
            sides.push(Box::new(move || engine.figure()));
        }
    }
    let found = rounds_of(bench.plan(100, 40), &mut sides)?;
    Ok(beside("start to end of hello", Unit::Time, &names, &found))
}

fn memory(bench: &Bench, rest: &Container) -> anyhow::Result<Vec<Line>> {
    let mut processes = Vec::new();
    for _ in 0..IDLE {
        let mut command = Command::new(rest.program());
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        processes.push(command.spawn().context("cannot run a program")?);
    }
    Residents::settle();
    let found: anyhow::Result<Vec<f64>> =
        processes.iter().map(|of| Ok(footprint(&of.id().to_string())?.proportional)).collect();
    for process in &mut processes {
        process.kill()?;
        process.wait()?;
    }
    let mut residents = Residents::new(bench, "kinds", &Bench::own_guest("rest.wat")?)?;
    residents.start(IDLE, &[])?;
    Residents::settle();
    let ours = residents.memory()?.iter().sum::<f64>() / 50.0;
    residents.remove()?;
    Ok(beside(
        "an idle one, of 50, its share of all pages",
        Unit::Memory,
        &["a process (as in a container of crun, which keeps none beside it)", "Aril"],
        &[found?, vec![ours; IDLE]],
    ))
}

fn speed(bench: &Bench, fannkuch: &Container) -> anyhow::Result<Vec<Line>> {
    let guest = bench.guest("fannkuch.wasm")?;
    let mut process = Command::new(fannkuch.program());
    process.args(WORK);
    let mut aril = bench.aril(&["run", &guest]);
    aril.args(WORK);
    let mut crun = fannkuch.runs(Engine::Crun)?;
    let mut sides: Vec<Side<'_, f64>> = vec![
        Box::new(|| Ok(run(&mut process, 0)?.wall.as_secs_f64())),
        Box::new(|| Ok(run(&mut aril, 0)?.wall.as_secs_f64())),
        Box::new(|| crun.figure()),
    ];
    let found = rounds_of(bench.plan(30, 40), &mut sides)?;
    let names = ["a process", "Aril", "a container of crun"];
    Ok(beside("fannkuch, start to end", Unit::Time, &names, &found))
}

/// The emulator and the kernel that `tests/qemu` fetches.
struct Emulator {
    root: PathBuf,
    kernel: PathBuf,
}

impl Emulator {
    fn find() -> anyhow::Result<Self> {
        let root = root().join("target/qemu/root");
        let kernels = fs::read_dir(root.join("boot")).into_iter().flatten().flatten();
        let is_kernel = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"vmlinuz"))
        };
        let kernel = kernels.map(|entry| root.join("boot").join(entry.file_name())).find(is_kernel);
        let missing = || Missing::new("there is no emulator: `tests/qemu` fetches one".to_owned());
        let kernel = kernel.ok_or_else(missing)?;
        Ok(Self { root, kernel })
    }

    /// A machine that starts with these files.
    fn command(&self, files: &Path) -> anyhow::Result<Command> {
        let archive = files.with_extension("cpio");
        let busybox = ["bin/busybox", "usr/bin/busybox"].map(|name| self.root.join(name));
        let busybox = busybox.iter().find(|path| path.is_file()).context("there is no busybox")?;
        let mut pack = Command::new("sh");
        pack.args(["-c", "find . | \"$0\" cpio -o -H newc > \"$1\""]).arg(busybox).arg(&archive);
        run(pack.current_dir(files), 0)?;
        let library = |name: &str| self.root.join(name).display().to_string();
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(library);
        let mut command = Command::new(self.root.join("usr/bin/qemu-system-x86_64"));
        command.env("LD_LIBRARY_PATH", libraries.join(":")).stdin(std::process::Stdio::null());
        let words = "-M q35,accel=tcg -cpu max -smp 1 -m 128 -nographic -no-reboot -nic none";
        command.args(words.split(' '));
        for folder in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(self.root.join(folder));
        }
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(archive);
        command.args(["-append", "console=ttyS0 quiet panic=-1 cryptomgr.notests"]);
        Ok(command)
    }
}

fn machine(bench: &Bench, fannkuch: &Container, init: &Path) -> anyhow::Result<Vec<Line>> {
    let emulator = Emulator::find()?;
    let [idle, working] = ["machine-idle", "machine-working"].map(|name| bench.folder(name));
    let [idle, working] = [PathBuf::from(idle?), PathBuf::from(working?)];
    for folder in [&idle, &working] {
        cc(init, &folder.join("init"))?;
        fs::create_dir_all(folder.join("dev"))?;
    }
    fs::copy(fannkuch.program(), working.join("work"))?;
    let [mut idle, mut working] = [emulator.command(&idle)?, emulator.command(&working)?];
    let said = working.output().context("cannot run the emulator")?;
    let said = String::from_utf8_lossy(&said.stdout);
    ensure!(said.contains("work ended with 0"), "the machine said: {said}");
    let mut process = Command::new(fannkuch.program());
    process.args(WORK);
    let mut costs = Vec::new();
    for _ in 0..if bench.quick { 2 } else { 5 } {
        costs.push([run(&mut process, 0)?, run(&mut idle, 0)?, run(&mut working, 0)?]);
    }
    let column = |part: &dyn Fn(&[crate::run::Cost; 3]) -> f64| costs.iter().map(part).collect();
    let process: Vec<f64> = column(&|costs| costs[0].wall.as_secs_f64());
    let boot: Vec<f64> = column(&|costs| costs[1].wall.as_secs_f64());
    let work: Vec<f64> = column(&|costs| costs[2].wall.as_secs_f64() - costs[1].wall.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "memory of a process is below 2^52 bytes")]
    let memory: Vec<f64> = column(&|costs| costs[1].peak as f64);
    let name = "an emulated machine of 128 MiB (QEMU without KVM)";
    let spread = |unit: Unit, found: &[f64]| {
        let least = found.iter().copied().fold(f64::INFINITY, f64::min);
        format!("{} (least of {})", unit.text(least), found.len())
    };
    Ok(vec![
        Line::note(&format!("start to end of hello: {name}"), spread(Unit::Time, &boot)),
        Line::note(&format!("most memory of its process: {name}"), spread(Unit::Memory, &memory)),
        Line::pair(&format!("fannkuch: {name}, beside a process"), Unit::Time, &work, &process),
    ])
}
