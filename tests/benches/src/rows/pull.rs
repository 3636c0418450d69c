//! An image of 200 MiB from a registry on loopback, to where it could be run.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::bench::Bench;
use crate::images::Registry;
use crate::images::aril;
use crate::images::emptied;
use crate::images::need;
use crate::images::write_files;
use crate::images::write_layout;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::Cost;
use crate::run::forget_peak;
use crate::run::run;

use super::Row;

pub(super) const ROW: Row = Row {
    name: "pull",
    about: "a pull of 200 MiB in 8 layers, to runnable, beside `skopeo copy` and `umoci unpack`",
    measure,
};

const LAYERS: usize = 8;

/// Of which three quarters cannot be made smaller: 25 MiB of each layer are sent.
const FILE_SIZE: usize = 256 * 1024;
const FILES: usize = 132;

/// The most memory that a pull may take.
const MEMORY_MAX: u64 = 64 << 20;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    for tool in ["tar", "gzip", "skopeo", "umoci"] {
        need(tool)?;
    }
    let folder = bench.folder("pull")?;
    let folder = Path::new(&folder);
    let registry = Registry::start(folder)?;
    let name = registry.name("bench/large:1");
    let size = publish(bench, folder, &name)?;
    forget_peak()?;

    let (data, layout, bundle) =
        (folder.join("data"), folder.join("copied"), folder.join("bundle"));
    let [ours, theirs] = rounds(
        bench.plan(15, 120),
        [
            Box::new(|| {
                emptied(&data)?;
                run(&mut aril(bench, &data, &["pull", "-q", &name]), 0).map(|cost| vec![cost])
            }),
            Box::new(|| {
                emptied(&layout)?;
                emptied(&bundle)?;
                let mut copy = Command::new("skopeo");
                copy.args(["copy", "--src-tls-verify=false"]).arg(format!("docker://{name}"));
                copy.arg(format!("oci:{}:bench", layout.display()));
                let mut unpack = Command::new("umoci");
                unpack.args(["unpack", "--image"]).arg(format!("{}:bench", layout.display()));
                unpack.arg(bundle.join("unpacked"));
                Ok(vec![run(&mut copy, 0)?, run(&mut unpack, 0)?])
            }),
        ],
    )?;
    emptied(folder)?;
    let wall = |side: &[Vec<Cost>]| -> Vec<f64> {
        side.iter().map(|costs| costs.iter().map(|cost| cost.wall.as_secs_f64()).sum()).collect()
    };
    let peak = |side: &[Vec<Cost>]| {
        let peaks = side.iter().flatten().map(|cost| cost.peak);
        peaks.max().unwrap_or_default()
    };
    let size = Unit::Memory.text(size);
    let what =
        format!("a pull of {size} in 8 layers, to runnable, beside `skopeo copy`, `umoci unpack`");
    let most = peak(&ours);
    #[expect(clippy::cast_precision_loss, reason = "it is shown")]
    let shown = Unit::Memory.text(most as f64);
    Ok(vec![
        Line::pair_at_most(&what, Unit::Time, (&wall(&ours), &wall(&theirs)), 0.7),
        Line::check("most memory of that pull", shown, "< 64 MiB", most < MEMORY_MAX),
    ])
}

/// Puts the image into the registry, and says how many bytes its layers have there.
fn publish(bench: &Bench, folder: &Path, name: &str) -> anyhow::Result<f64> {
    let hello = bench.guest("hello.wasm")?;
    let mut layers = Vec::new();
    for number in 0..LAYERS {
        let layer = folder.join(format!("layer{number}"));
        write_files(&layer.join(format!("l{number}")), FILES, FILE_SIZE)?;
        // So that no two layers are the same.
        fs::write(layer.join(format!("l{number}/d000/f00000")), number.to_string())?;
        fs::copy(&hello, layer.join("hello.wasm"))?;
        layers.push(layer);
    }
    let layout = folder.join("layout");
    write_layout(&layout, &layers, "/hello.wasm")?;
    let mut size = 0.0;
    for entry in fs::read_dir(layout.join("blobs/sha256"))? {
        #[expect(clippy::cast_precision_loss, reason = "it is shown")]
        let bytes = entry?.metadata()?.len() as f64;
        size += bytes;
    }
    let mut copy = Command::new("skopeo");
    copy.args(["copy", "--dest-tls-verify=false"]).arg(format!("oci:{}:bench", layout.display()));
    run(copy.arg(format!("docker://{name}")), 0)?;
    fs::remove_dir_all(layout)?;
    for layer in layers {
        fs::remove_dir_all(layer)?;
    }
    Ok(size)
}
