//! An image by its name, beside the same program as a file; and with many files of its own.

use std::path::Path;

use crate::bench::Bench;
use crate::images::aril;
use crate::images::emptied;
use crate::images::write_files;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;
use crate::run::seconds;
use crate::stats::estimate;
use crate::stats::median;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "image-start", about: "`aril run IMAGE`, warm, beside `aril run FILE`", measure };

/// How many files the large image has, and how large each is: 500 MiB.
const FILES: usize = 20_000;
const FILE_SIZE: usize = 500 * 1024 * 1024 / FILES;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let hello = bench.guest("hello.wasm")?;
    let folder = bench.folder("image-start")?;
    let folder = Path::new(&folder);
    let data = folder.join("data");
    emptied(&data)?;
    let prepare = |args: &[&str]| run(&mut aril(bench, &data, args), 0);
    prepare(&["build", &hello, "-t", "files:1"])?;
    prepare(&["import", &hello, "artifact:1"])?;
    let assets = folder.join("assets");
    write_files(&assets, FILES, FILE_SIZE)?;
    let copy = format!("{}:/srv", assets.display());
    prepare(&["build", &hello, "-t", "large:1", "--copy", &copy])?;
    let starts: [&[&str]; 5] = [
        &["run", &hello],
        &["run", "artifact:1"],
        &["run", "--read-only", "files:1"],
        &["run", "files:1"],
        &["run", "large:1"],
    ];
    let mut commands = starts.map(|args| aril(bench, &data, args));
    let sides = commands
        .each_mut()
        .map(|command| Box::new(|| run(command, 0)) as crate::rounds::Side<'_, _>);
    let costs = rounds(bench.plan(300, 60), sides)?;
    let [file, artifact, read_only, files, large] =
        costs.map(|costs| seconds(&costs, |cost| cost.wall));
    let more = |what: &str, image: &[f64]| {
        let figure =
            estimate(&[image, &file], |columns| (median(&columns[0]) - median(&columns[1])) * 1e3);
        let what = format!("`aril run IMAGE` beside `aril run FILE`, more in ms: {what}");
        Line::figure(&what, figure, 0.3).with_sides(Unit::Time, image, &file)
    };
    let what = "start with 20,000 files of 500 MiB, writable, beside a start with one";
    Ok(vec![
        more("an artifact", &artifact),
        more("an image of files, read-only", &read_only),
        more("an image of files, writable", &files),
        Line::pair_at_most(what, Unit::Time, (&large, &files), 2.0),
    ])
}
