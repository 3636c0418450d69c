//! The layers of an image become files, beside GNU tar.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use aril::Access;

use crate::bench::Bench;
use crate::images::emptied;
use crate::images::need;
use crate::images::write_files;
use crate::images::write_layout;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "unpack", about: "a layer of 20,000 files unpacked, beside GNU `tar -x`", measure };

const FILES: usize = 20_000;
const FILE_SIZE: usize = 4096;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    need("tar")?;
    let folder = bench.folder("unpack")?;
    let folder = Path::new(&folder);
    let files = folder.join("files");
    write_files(&files, FILES, FILE_SIZE)?;
    let layout = folder.join("layout");
    write_layout(&layout, std::slice::from_ref(&files), "/d000/f00000")?;
    let data = folder.join("data");
    let runtime = aril::Runtime::builder(bench.aril_cache()).data(&data).open()?;
    let image = runtime.image_of_layout(&layout, None)?;
    let layer = layout.join("blobs/sha256").join(image.layers()[0].digest.hex());
    let unpacked = folder.join("unpacked");
    let [ours, theirs] = rounds(
        bench.plan(30, 60),
        [
            Box::new(|| {
                let roots = data.join("roots");
                if roots.exists() {
                    fs::remove_dir_all(&roots)?;
                }
                let started = Instant::now();
                let _files = runtime.image_files(&image, Access::ReadOnly)?;
                Ok(started.elapsed().as_secs_f64())
            }),
            Box::new(|| {
                emptied(&unpacked)?;
                let started = Instant::now();
                let mut tar = Command::new("tar");
                run(tar.arg("-xzf").arg(&layer).arg("-C").arg(&unpacked), 0)?;
                Ok(started.elapsed().as_secs_f64())
            }),
        ],
    )?;
    emptied(folder)?;
    let what = "a layer of 20,000 files unpacked and verified, beside GNU `tar -xz`";
    Ok(vec![Line::pair_at_most(what, Unit::Time, (&ours, &theirs), 1.2)])
}
