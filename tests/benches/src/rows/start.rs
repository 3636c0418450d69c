//! From the start of `aril run` to its end, with the smallest guest that says something.

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::bench::root;
use crate::line::Line;
use crate::line::Unit;
use crate::peers::Container;
use crate::peers::Engine;
use crate::peers::cc;
use crate::rounds::Side;
use crate::rounds::rounds_of;
use crate::run::run;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "start", about: "`aril run hello.wasm`, warm, from fork to exit", measure };

/// A peer: what it is called, the most that we may take of its time, and how it runs.
type Peer<'a> = (&'static str, f64, anyhow::Result<Side<'a, f64>>);

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let hello = bench.guest("hello.wasm")?;
    let source = root().join("tests/guests/hello.c");
    let container = Container::new(bench, "start", &source);
    let mut peers: Vec<Peer<'_>> = vec![
        (
            "a static native `true`",
            5.5,
            bench.guest("true-static").map(|path| timed(Command::new(path))),
        ),
        (
            "`wasmtime run`, cached",
            0.4,
            bench.wasmtime_run(&[&bench.cache_flag(), &hello]).map(timed),
        ),
        ("the same system calls, made by a C program", 1.25, calls(bench, &hello).map(timed)),
    ];
    for (name, target, engine) in [
        ("`crun run`", 0.25, Engine::Crun),
        ("`runc run`", 0.1, Engine::Runc),
        ("`podman run`", 0.015, Engine::Podman),
    ] {
        let runs = match &container {
            Ok(container) => container.runs(engine),
            Err(error) => Err(Missing::new(format!("{error:#}")).into()),
        };
        let side = runs.map(|mut worker| -> Side<'_, f64> { Box::new(move || worker.figure()) });
        peers.push((name, target, side));
    }
    let mut lines = Vec::new();
    let mut named = Vec::new();
    let mut sides: Vec<Side<'_, f64>> = vec![timed(bench.aril(&["run", &hello]))];
    for (name, target, side) in peers {
        let what =
            format!("`aril run hello.wasm`, warm, with walls and control group, beside {name}");
        match side {
            Ok(side) => {
                named.push((what, target));
                sides.push(side);
            }
            Err(error) if error.is::<Missing>() => {
                lines.push(Line::skipped(&what, &error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    let found = rounds_of(bench.plan(400, 100), &mut sides)?;
    let (ours, theirs) = found.split_first().context("nothing was measured")?;
    let measured = named.iter().zip(theirs).map(|((what, target), theirs)| {
        Line::pair_at_most(what, Unit::Time, (ours, theirs), *target)
    });
    lines.splice(0..0, measured);
    Ok(lines)
}

fn timed<'a>(mut command: Command) -> Side<'a, f64> {
    Box::new(move || Ok(run(&mut command, 0)?.wall.as_secs_f64()))
}

/// What a start asks of the kernel, by a program that does nothing else.
fn calls(bench: &Bench, hello: &str) -> anyhow::Result<Command> {
    let group = memory_group().ok_or_else(|| {
        Missing::new(
            "no control group of v1, which the program makes, holds memory here".to_owned(),
        )
    })?;
    // What is mapped is the machine code of the guest, once it has been compiled.
    run(&mut bench.aril(&["run", hello]), 0)?;
    let program = PathBuf::from(bench.folder("calls")?).join("calls");
    cc(&Path::new(env!("CARGO_MANIFEST_DIR")).join("native/calls.c"), &program)?;
    let cache = bench.aril_cache();
    let mut artifacts = Vec::new();
    for entry in fs::read_dir(cache.join("artifacts"))? {
        let entry = entry?;
        artifacts.push((entry.metadata()?.len(), entry.path()));
    }
    // The smallest guest has the smallest machine code; which one it is makes no difference.
    let (_, artifact) = artifacts.into_iter().min().context("nothing was compiled")?;
    let mut command = Command::new(program);
    command.arg(hello).arg(artifact).arg(cache.join("empty")).arg(group);
    command.env_clear().stdin(std::process::Stdio::null());
    Ok(command)
}

/// The folder of this process's own group in the hierarchy that holds memory, where that is of v1.
fn memory_group() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
    let folder = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
    folder.join("memory.limit_in_bytes").is_file().then_some(folder)
}
