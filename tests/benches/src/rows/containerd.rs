//! Containers of containerd: a wasm one by our shim, beside a program by runc and its shim.

use std::fs;
use std::path::Path;
use std::path::PathBuf;

use anyhow::ensure;

use crate::bench::Bench;
use crate::bench::Missing;
use crate::containerd::Containerd;
use crate::containerd::Keeper;
use crate::line::Line;
use crate::line::Unit;
use crate::peers::Container;
use crate::residents::Residents;
use crate::rounds::rounds;
use crate::run::run;
use crate::stats::Estimate;

use super::Row;

pub(super) const RUN: Row = Row {
    name: "containerd-run",
    about: "`ctr run --rm` of a wasm container, start to exit, beside one of runc",
    measure: measure_runs,
};

pub(super) const MEMORY: Row = Row {
    name: "containerd-memory",
    about: "memory of an idle wasm container, its shim and its worker, beside one of runc",
    measure: measure_memory,
};

/// How many containers are kept for their memory, each in a pod of its own.
const COUNT: usize = 50;

/// A containerd with the programs of the comparison, and our shim.
struct Stage {
    containerd: Containerd,
    shim: PathBuf,
}

impl Stage {
    /// `program` is what runc runs, and `guest` what we do.
    fn new(bench: &Bench, program: &str, guest: &str) -> anyhow::Result<Self> {
        let built = std::env::current_exe()?.with_file_name("containerd-shim-aril-v1");
        ensure!(
            built.is_file(),
            Missing::new(format!(
                "`{}` is missing: run `cargo build --release --workspace --bins` first",
                built.display()
            ))
        );
        let folder = PathBuf::from(bench.folder("containerd-stage")?);
        // Installed as the peer is: a copy has its pages in larger pieces than what a linker wrote.
        let shim = folder.join("containerd-shim-aril-v1");
        fs::copy(&built, &shim)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("native").join(program);
        let container = Container::new(bench, "containerd-peer", &source)?;
        let wasm = folder.join("wasm");
        fs::create_dir_all(&wasm)?;
        let is_own = Path::new(guest).extension().is_some_and(|end| end == "wat");
        let own = is_own.then(|| Bench::own_guest(guest));
        let path = own.unwrap_or_else(|| bench.guest(guest))?;
        let bytes = fs::read(path)?;
        // A shim takes wasm alone.
        fs::write(wasm.join("guest.wasm"), wat::parse_bytes(&bytes)?)?;
        let root = container.root();
        let images =
            [("native", root.as_path(), "/program"), ("wasm", wasm.as_path(), "/guest.wasm")];
        let containerd = Containerd::start(&folder, &images, &bench.aril_cache())?;
        Ok(Self { containerd, shim })
    }
}

fn measure_runs(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let Stage { containerd, shim } = Stage::new(bench, "hello.c", "hello.wasm")?;
    let mut ours = containerd.runs(Keeper::Aril(&shim), "wasm");
    let mut theirs = containerd.runs(Keeper::Runc, "native");
    let [ours, theirs] = rounds(
        bench.plan(100, 60),
        [
            Box::new(|| Ok(run(&mut ours, 0)?.wall.as_secs_f64())),
            Box::new(|| Ok(run(&mut theirs, 0)?.wall.as_secs_f64())),
        ],
    )?;
    let what =
        "`ctr run --rm` of hello as wasm, warm, beside the same as a static program with runc";
    Ok(vec![Line::pair_at_most(what, Unit::Time, (&ours, &theirs), 0.6)])
}

fn measure_memory(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let Stage { mut containerd, shim } = Stage::new(bench, "rest.c", "rest.wat")?;
    let count = if bench.quick { COUNT / 5 } else { COUNT };
    let mut each = |keeper: Keeper<'_>, image: &str| -> anyhow::Result<f64> {
        containerd.run(keeper, image, count)?;
        Residents::settle();
        let found = containerd.memory(keeper)?;
        containerd.clear();
        ensure!(found.len() == 2 * count, "{} processes are there", found.len());
        let count = u32::try_from(count)?;
        Ok(found.iter().sum::<f64>() / f64::from(count))
    };
    let ours = each(Keeper::Aril(&shim), "wasm")?;
    let theirs = each(Keeper::Runc, "native")?;
    let ratio = ours / theirs;
    let what = format!(
        "an idle container, one of {count}, each its own pod: shim and process, share of all pages, \
         beside runc's"
    );
    let sure = Estimate { low: ratio, value: ratio, high: ratio };
    let line = Line::figure(&what, sure, 0.2).with_sides(Unit::Memory, &[ours], &[theirs]);
    Ok(vec![line])
}
