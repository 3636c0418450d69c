//! An image of a program and 500 MiB of files, half of them text and half random, from a Dockerfile.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::images::need;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;

use super::Row;

pub(super) const ROW: Row = Row {
    name: "build",
    about: "`aril build` of a wasm and 500 MiB, beside `buildah bud` of the same",
    measure,
};

/// How many files there are.
const FILES: usize = 4000;

const DOCKERFILE: &str = "FROM scratch\nCOPY assets /assets\nCOPY app.wasm /app.wasm\nENTRYPOINT \
                          [\"/app.wasm\"]\n";

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    need("buildah")?;
    let size = if bench.quick { 50 << 20 } else { 500 << 20 };
    let context = bench.folder("build/context")?;
    make(Path::new(&context), size)?;
    let (data, root) = (bench.folder("build/data")?, bench.folder("build/buildah")?);
    let aril = || {
        // What is there already is not written again.
        fs::remove_dir_all(&data)?;
        let mut command = bench.aril(&["build", "-q", "-t", "app:1", "--data", &data, &context]);
        run(&mut command, 0).map(|cost| cost.wall.as_secs_f64())
    };
    let buildah = || {
        fs::remove_dir_all(&root)?;
        let mut command = Command::new("buildah");
        command.args(["--root", &format!("{root}/root"), "--runroot", &format!("{root}/run")]);
        command.args(["--storage-driver", "vfs", "bud", "--isolation", "chroot"]);
        // Without it, it would write archives that are not compressed.
        command.args(["--disable-compression=false", "-t", "app:1", &context]);
        run(&mut command, 0).map(|cost| cost.wall.as_secs_f64())
    };
    let [ours, theirs] = rounds(bench.plan(8, 400), [Box::new(aril), Box::new(buildah)])?;
    let sizes = (stored(Path::new(&data))?, layer(Path::new(&root))?);
    fs::remove_dir_all(&root)?;
    let ratio = sizes.0 / sizes.1;
    let found =
        format!("{ratio:.3}; {} beside {}", Unit::Memory.text(sizes.0), Unit::Memory.text(sizes.1));
    Ok(vec![
        Line::pair_at_most(ROW.about, Unit::Time, (&ours, &theirs), 0.5),
        Line::check("the size of that image", found, "<= 1.05", ratio <= 1.05),
    ])
}

/// Makes the context.
fn make(context: &Path, size: usize) -> anyhow::Result<()> {
    let mut state = 1_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 32).unwrap_or_default()
    };
    let words: Vec<String> = (0..6000)
        .map(|_| {
            (0..2 + random() % 8)
                .map(|_| char::from(b"etaoinshrdlucmfwypvbgkjqxz"[random() % 26]))
                .collect()
        })
        .collect();
    for number in 0..FILES {
        let folder = context.join(format!("assets/{}", number % 80));
        fs::create_dir_all(&folder)?;
        let length = size / FILES;
        let mut content = Vec::with_capacity(length + 8);
        while content.len() < length {
            if number % 2 == 0 {
                content.extend(random().to_le_bytes().into_iter().take(4));
            } else {
                // A few words are said often, as in a language.
                let word = &words[random() % (1 + random() % words.len())];
                content.extend(word.bytes().chain([b' ']));
            }
        }
        content.truncate(length);
        fs::write(folder.join(number.to_string()), content)?;
    }
    fs::write(context.join("app.wasm"), b"\0asm\x01\0\0\0")?;
    fs::write(context.join("Dockerfile"), DOCKERFILE)?;
    Ok(())
}

/// How much is in our store.
fn stored(data: &Path) -> anyhow::Result<f64> {
    let blobs = fs::read_dir(data.join("content/blobs/sha256"))?;
    let sizes = blobs.map(|blob| Ok(blob?.metadata()?.len()));
    Ok(sizes.sum::<std::io::Result<u64>>()?.to_string().parse()?)
}

/// How large the layer is in the manifest of the peer's one image: the last size it tells.
fn layer(root: &Path) -> anyhow::Result<f64> {
    let folder = root.join("root/vfs-images");
    let folders = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    let manifest = folders.map(|path| path.join("manifest")).find(|path| path.is_file());
    let text = fs::read_to_string(manifest.context("buildah has no manifest")?)?;
    let size = text.rsplit_once("\"size\":").context("no size")?.1;
    let digits: String = size.chars().take_while(char::is_ascii_digit).collect();
    Ok(digits.parse()?)
}
