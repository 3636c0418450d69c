//! Images whose layers and configuration are hostile, through the real command. What unpacking does
//! with each form is in the tests of `rootfs`; here it is that nothing gets out, and nothing stays.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;
use tar::EntryType;
use tar::Header;

use crate::layouts::CONFIG;
use crate::layouts::Layout;
use crate::layouts::gzip;
use crate::support::Bench;
use crate::support::OwnMounts;
use crate::support::aril_path;

/// A guest that ends at once.
const NOTHING: &str = "(module (func (export \"_start\")))";

/// A layer in the making: a program at `/app.wasm`, and what else there is.
struct Layer(Vec<u8>);

impl Layer {
    fn new() -> Self {
        Self(Vec::new()).file("app.wasm", &wat::parse_str(NOTHING).unwrap())
    }

    /// A member as its header says, whatever that is.
    fn member(mut self, name: &str, kind: EntryType, target: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o4777);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.extend(header.as_bytes());
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(name, EntryType::Regular, "", content)
    }

    fn link(self, name: &str, target: &str) -> Self {
        self.member(name, EntryType::Symlink, target, b"")
    }

    fn hard(self, name: &str, target: &str) -> Self {
        self.member(name, EntryType::Link, target, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// Loads an image of these layers as `bad:1`, with this for its configuration.
fn load(bench: &Bench, config: &Value, layers: &[Vec<u8>]) {
    let mut layout = Layout::default();
    let config = layout.blob(CONFIG, json!({"config": config}).to_string());
    let layers: Vec<Value> = layers
        .iter()
        .map(|layer| layout.blob("application/vnd.oci.image.layer.v1.tar", layer.clone()))
        .collect();
    let manifest = layout.manifest(&config, &layers);
    layout.name("bad:1", manifest);
    bench.file("image.tar", layout.archive());
    bench.aril(["load", "-q", "-i", "image.tar"]).outcome().expect_code(0);
}

/// All that is in a folder, by its path.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// A bench with a canary beside its folder for images, and where that is.
fn with_canary() -> (Bench, PathBuf) {
    let bench = Bench::new();
    let canary = bench.file("canary", "alive");
    (bench, canary)
}

fn program() -> Value {
    json!({"Entrypoint": ["/app.wasm"]})
}

#[test]
fn a_layer_that_leads_out_is_refused_with_what_leads_out_and_nothing_of_it_is_left() {
    let (bench, canary) = with_canary();
    let out = canary.to_str().unwrap();
    let up = "../../../canary";
    for (layers, text) in [
        (vec![Layer::new().file("../canary", b"dead")], "`../canary`"),
        (vec![Layer::new().file(up, b"dead")], "leads upwards"),
        (vec![Layer::new().member("../d", EntryType::Directory, "", b"")], "leads upwards"),
        (vec![Layer::new().link("../l", "x")], "leads upwards"),
        (vec![Layer::new().hard("h", up)], "leads upwards"),
        (vec![Layer::new().hard("h", out)], "`h`"),
        (vec![Layer::new().hard("h", "/etc/passwd")], "`h`"),
        (vec![Layer::new().file(".wh...", b"")], "no name"),
        (vec![Layer::new(), Layer::new().file("a/.wh...", b"")], "no name"),
        (vec![Layer::new().member("dev/null", EntryType::Char, "", b"")], "a character device"),
        (vec![Layer::new().member("dev/sda", EntryType::Block, "", b"")], "a block device"),
        (vec![Layer::new().member("pipe", EntryType::Fifo, "", b"")], "a FIFO"),
    ] {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::end).collect();
        load(&bench, &program(), &layers);
        bench.run(["bad:1"]).outcome().expect_code(126).expect_error(text);
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive", "{text}");
        let left: Vec<_> = tree(&bench.data().join("roots"));
        let left: Vec<_> = left
            .iter()
            .filter(|path| !path.starts_with(bench.data().join("roots/locks")))
            .collect();
        assert!(left.iter().all(|path| path.ends_with("locks")), "{text}: {left:?}");
    }
}

#[test]
fn what_links_lead_to_is_in_the_image_and_never_on_the_host() {
    let (bench, canary) = with_canary();
    let out = canary.parent().unwrap().to_str().unwrap();
    for layers in [
        vec![Layer::new().link("l", out).file("l/canary", b"dead")],
        vec![Layer::new().link("l", "../../../../../../../..").file("l/canary", b"dead")],
        vec![Layer::new().link("l", out), Layer::new().file("l/.wh.canary", b"")],
        vec![Layer::new().link("l", out), Layer::new().file("l/.wh..wh..opq", b"")],
        vec![Layer::new().link("l", out).link("m", "l").file("m/canary", b"dead")],
    ] {
        let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::end).collect();
        load(&bench, &program(), &layers);
        let outcome = bench.run(["bad:1"]).outcome();
        assert!(matches!(outcome.code, Some(0 | 126)), "{outcome:#?}");
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
        assert!(!Path::new("/canary").exists());
    }
    // Nobody gets more rights by what a layer says.
    let roots = tree(&bench.data().join("roots"));
    assert!(roots.iter().any(|path| path.ends_with("app.wasm")), "{roots:?}");
    for path in roots.iter().filter(|path| path.ends_with("app.wasm")) {
        let mode = fs::symlink_metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o6000, 0, "{}: {mode:o}", path.display());
    }
}

#[test]
fn a_program_of_an_image_is_not_looked_for_on_the_host() {
    let (bench, _canary) = with_canary();
    let own = bench.file("own.wasm", wat::parse_str(NOTHING).unwrap());
    let own = own.to_str().unwrap();
    let layer = Layer::new().link("link.wasm", own).end();
    for program in [own, "/link.wasm", "/../../../../../../own.wasm", "../own.wasm"] {
        load(&bench, &json!({"Entrypoint": [program]}), std::slice::from_ref(&layer));
        let outcome = bench.run(["bad:1"]).outcome().expect_code(126);
        outcome.expect_error("is not among its files");
    }
}

#[test]
fn a_layer_that_fills_the_disk_is_told_of_and_takes_no_room_afterwards() {
    let Some(mounts) = OwnMounts::new() else { return };
    let bench = Bench::new();
    let layer = gzip(&Layer::new().file("zeros", &vec![0; 96 << 20]).end());
    assert!(layer.len() < 1 << 20);
    let mut layout = Layout::default();
    let config = layout.blob(CONFIG, json!({"config": program()}).to_string());
    let layer = layout.blob("application/vnd.oci.image.layer.v1.tar+gzip", layer);
    let manifest = layout.manifest(&config, &[layer]);
    layout.name("bad:1", manifest);
    bench.file("image.tar", layout.archive());
    bench.file("good.wat", NOTHING);
    let script = format!(
        "mkdir full; mount -t tmpfs -o size=32m,mode=700 none full; export ARIL_DATA_DIR=$PWD/full
         {0} import good.wat good:1 > /dev/null; {0} load -q -i image.tar 2> /dev/null
         code=0; {0} run bad:1 || code=$?
         {0} run good:1 && echo good; du -sm full | cut -f1; exit $code",
        aril_path().display()
    );
    let outcome = mounts.runs(bench.aril::<&str>([]), &script).outcome().expect_code(125);
    assert!(outcome.stderr.contains("No space left on device"), "{outcome:#?}");
    let (good, size) = outcome.stdout.trim().split_once('\n').unwrap();
    assert_eq!(good, "good", "{outcome:#?}");
    assert!(size.parse::<u32>().unwrap() <= 2, "{outcome:#?}");
}
