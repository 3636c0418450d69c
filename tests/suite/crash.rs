//! The store survives: whatever ends a verb, and wherever, what was there is there, what was begun
//! is there whole or not at all, and the verb works the next time.
//!
//! Each verb is run under a tracer, which counts its calls that change the store. `ARIL_TEST_CRASH=all`
//! tries every one of them; without it, some are drawn, always the same.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use aril::Runtime;
use aril::StoreReport;

use crate::docker_registry::Manner;
use crate::docker_registry::Registry;
use crate::support::Bench;
use crate::support::OwnMounts;
use crate::support::aril_path;
use crate::support::skip;
use crate::traced::CAN_FAIL;
use crate::traced::Change;
use crate::traced::Ended;
use crate::traced::Then;
use crate::traced::traced;

/// How many calls are tried of each verb, unless all are.
const DRAWN: usize = 10;

/// A guest that says a line and ends.
fn saying(line: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1) (data (i32.const 100) "{line}\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const {length}))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 52)))))"#,
        length = line.len() + 1,
    )
}

/// Numbers that look drawn, and are always the same.
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: usize) -> usize {
        // Source: Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Which of so many are tried: the first, the last, and some between; or all.
fn some_of(first: usize, last: usize) -> Vec<usize> {
    if std::env::var("ARIL_TEST_CRASH").is_ok_and(|value| value == "all") {
        return (first..=last).collect();
    }
    let mut draw = Draw(20);
    let drawn = (0..DRAWN - 2).map(|_| first + draw.below(last + 1 - first));
    drawn.chain([first, last]).collect::<BTreeSet<_>>().into_iter().collect()
}

/// A store, and a verb that changes it.
struct Scene {
    bench: Bench,
    verb: Vec<String>,
    /// The names that are there before, and what their images say.
    old: Vec<(&'static str, &'static str)>,
    /// What the verb is to bring.
    new: Option<String>,
    /// What it then says.
    says: &'static str,
    data: PathBuf,
    /// What the verb is to take away.
    gone: Option<&'static str>,
    _registry: Option<Registry>,
}

impl Scene {
    /// A store with an artifact, an image of files that was unpacked, one that was not, and what
    /// pruning removes. Its copy is put back before each try.
    fn new(verb: &str) -> Self {
        let bench = Bench::new();
        for name in ["old", "files", "packed", "nameless", "new"] {
            bench.file(&format!("{name}.wat"), saying(name));
        }
        bench.file("assets/a.txt", "an asset\n");
        bench.file("assets/deep/b.txt", "another\n");
        let ok = |line: &str| bench.aril(line.split(' ')).outcome().expect_code(0);
        ok("import old.wat old:1");
        ok("build nameless.wat -t files:1 -q");
        ok("run files:1");
        for name in ["files", "packed"] {
            ok(&format!("build {name}.wat -t {name}:1 -q --copy ./assets:/srv/"));
        }
        ok("run files:1");
        bench.file("data/content/.aril/partial/.draft-1-1", "abandoned");
        // What is new is compiled beforehand, or every try would wait for the compiler.
        ok("compile new.wat");
        ok("compile packed.wat");
        let verb = verb.split(' ').map(str::to_owned).collect();
        let old = vec![("old:1", "old\n"), ("files:1", "files\n"), ("packed:1", "packed\n")];
        let data = bench.data();
        let (new, gone, says) = (None, None, "new\n");
        let scene = Self { bench, verb, old, new, says, data, gone, _registry: None };
        scene.keep();
        scene
    }

    fn bringing(mut self, new: &str) -> Self {
        self.new = Some(new.to_owned());
        self
    }

    fn saying(mut self, says: &'static str) -> Self {
        self.says = says;
        self
    }

    fn taking(mut self, gone: &'static str) -> Self {
        self.gone = Some(gone);
        self
    }

    fn import() -> Self {
        Self::new("import new.wat new:1").bringing("new:1")
    }

    fn build() -> Self {
        Self::new("build new.wat -t new:1 -q --copy ./assets:/srv/").bringing("new:1")
    }

    fn load() -> Self {
        let scene = Self::new("load -q -i new.tar").bringing("new:1");
        let other = Bench::new();
        other.file("new.wat", saying("new"));
        other.file("assets/a.txt", "an asset\n");
        let line = "build new.wat -t new:1 -q --copy ./assets:/srv/";
        other.aril(line.split(' ')).outcome().expect_code(0);
        other.aril(["save", "-o", "new.tar", "new:1"]).outcome().expect_code(0);
        fs::copy(other.path().join("new.tar"), scene.bench.path().join("new.tar")).unwrap();
        scene
    }

    fn rmi() -> Self {
        Self::new("rmi files:1").taking("files:1")
    }

    fn prune() -> Self {
        Self::new("prune")
    }

    /// The first run of an image of files, which unpacks it.
    fn run() -> Self {
        let scene = Self::new("run packed:1");
        // Building unpacks as well.
        fs::remove_dir_all(scene.data.join("roots")).unwrap();
        scene.keep();
        scene
    }

    /// Nothing, said aloud, where there is no registry.
    fn pull() -> Option<Self> {
        let mut scene = Self::new("pull");
        let registry = Registry::start(&scene.bench, &Manner::default())?;
        let name = format!("{}/team/new:1", registry.address);
        scene.verb = ["pull", "-q", &name].map(str::to_owned).to_vec();
        let line = format!("build new.wat -t {name} -q --copy ./assets:/srv/");
        for line in [line, format!("push {name}"), format!("rmi {name}")] {
            scene.aril(line.split(' ')).expect_code(0);
        }
        // The programs of all are compiled, and nothing of the new one is in the store.
        scene.put_back();
        Some(Self { _registry: Some(registry), ..scene }.bringing(&name))
    }

    fn aril<'a>(&self, line: impl IntoIterator<Item = &'a str>) -> crate::support::Outcome {
        self.command(line).outcome()
    }

    fn command<'a>(&self, line: impl IntoIterator<Item = &'a str>) -> crate::support::Run {
        let config = self.bench.path().join("config");
        self.bench.aril(line).env("ARIL_CONFIG_DIR", config).env("ARIL_DATA_DIR", &self.data)
    }

    fn verb(&self) -> crate::support::Run {
        self.command(self.verb.iter().map(String::as_str))
    }

    fn kept(&self) -> PathBuf {
        self.bench.path().join("kept")
    }

    fn keep(&self) {
        copy(&self.data, &self.kept());
    }

    fn put_back(&self) {
        fs::remove_dir_all(&self.data).unwrap();
        copy(&self.kept(), &self.data);
    }

    /// Runs the verb in the store as it was before, under the tracer.
    fn traced(&self, before: impl FnMut(&Change) -> Then, after: impl FnMut(&Change)) -> Ended {
        self.put_back();
        traced(self.verb(), &self.data, before, after)
    }

    /// How many changes the verb makes. Threads may make them in another order, and one more or less.
    fn count(&self) -> usize {
        let counts = (0..2).map(|_| {
            let ended = self.traced(|_| Then::GoOn, |_| {});
            assert_eq!(ended.code, Some(0), "{ended:#?}");
            ended.changes
        });
        let count = counts.min().unwrap();
        assert!(3 < count, "only {count} changes were seen");
        count
    }

    fn runtime(&self, data: &Path) -> Runtime {
        Runtime::builder(self.bench.cache()).data(data).open().unwrap()
    }

    /// Fails unless the check finds nothing, and every name is there that should be. Returns whether
    /// what the verb does was done, and what the check found.
    #[track_caller]
    fn check(&self, data: &Path, what: &str) -> (bool, StoreReport) {
        let runtime = self.runtime(data);
        let report =
            runtime.check_store(|_| {}).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(report.is_clean(), "{what}: {report:#?}");
        let names = runtime.images().unwrap().into_iter().filter_map(|listed| listed.name);
        let names: BTreeSet<String> = names.map(|name| name.to_string()).collect();
        let mut allowed = BTreeSet::new();
        for (name, _) in &self.old {
            allowed.insert((*name).to_owned());
            assert!(names.contains(*name) || self.gone == Some(name), "{what}: `{name}` is lost");
        }
        allowed.extend(self.new.clone());
        assert!(names.is_subset(&allowed), "{what}: {names:?}");
        let done = match (&self.new, self.gone) {
            (Some(new), _) => names.contains(new),
            (None, Some(gone)) => !names.contains(gone),
            (None, None) => false,
        };
        (done, report)
    }

    #[track_caller]
    fn runs(&self, name: &str, says: &str, what: &str) {
        let outcome = self.aril(["run", "--pull", "never", name]);
        assert!(
            outcome.code == Some(0) && outcome.stdout == says,
            "{what}: `{name}`: {outcome:#?}"
        );
    }

    /// The store as something left it: it is whole, all that was complete runs, a repeat of the verb
    /// does what it is to do, and then nothing is left behind.
    #[track_caller]
    fn survives(&self, what: &str) {
        let data = &self.data;
        let (done, _) = self.check(data, what);
        for (name, says) in &self.old {
            if self.gone != Some(name) || !done {
                self.runs(name, says, what);
            }
        }
        if let Some(new) = self.new.as_ref().filter(|_| done) {
            self.runs(new, self.says, what);
        }
        let repeated = self.verb().outcome();
        let is_gone = repeated.code == Some(1) && repeated.stderr.contains("no such image");
        let repeats = repeated.code == Some(0) || done && self.gone.is_some() && is_gone;
        assert!(repeats, "{what}: {repeated:#?}");
        let (done, _) = self.check(data, what);
        assert!(done || self.new.is_none() && self.gone.is_none(), "{what}: it is not done");
        if let Some(new) = &self.new {
            self.runs(new, self.says, what);
        }
        self.aril(["prune"]).expect_code(0);
        let (_, report) = self.check(data, what);
        assert_eq!(report.left, [], "{what}: something is left when all is pruned");
    }
}

/// Copies a folder, with its modes and links.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&path, &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(path).unwrap(), target).unwrap();
        } else {
            fs::copy(path, target).unwrap();
        }
    }
}

// --- Kills.

/// Kills the verb right before each change but the first, which is right after each but the last.
fn survives_kills(scene: &Scene) {
    for number in some_of(2, scene.count()) {
        let mut last = None;
        let ended = scene.traced(
            |change| {
                last = Some(change.clone());
                if change.number == number { Then::Kill } else { Then::GoOn }
            },
            |_| {},
        );
        let what = format!("`{}` killed before change {number}, {last:?}", scene.verb.join(" "));
        assert_eq!(ended.signal, Some(libc::SIGKILL), "{what}: {ended:#?}");
        scene.survives(&what);
    }
}

#[test]
fn a_kill_in_the_middle_of_an_import_loses_nothing() {
    survives_kills(&Scene::import());
}

#[test]
fn a_kill_in_the_middle_of_a_build_loses_nothing() {
    survives_kills(&Scene::build());
}

#[test]
fn a_kill_in_the_middle_of_a_load_loses_nothing() {
    survives_kills(&Scene::load());
}

#[test]
fn a_kill_in_the_middle_of_a_pull_loses_nothing() {
    if let Some(scene) = Scene::pull() {
        survives_kills(&scene);
    }
}

#[test]
fn a_kill_in_the_middle_of_a_removal_loses_nothing() {
    survives_kills(&Scene::rmi());
}

#[test]
fn a_kill_in_the_middle_of_pruning_loses_nothing() {
    survives_kills(&Scene::prune());
}

#[test]
fn a_kill_in_the_middle_of_unpacking_loses_nothing() {
    survives_kills(&Scene::run());
}

// --- What rots.

#[test]
fn a_pull_repairs_what_rotted() {
    let Some(scene) = Scene::pull() else { return };
    scene.verb().outcome().expect_code(0);
    let blobs = scene.data.join("content/blobs/sha256");
    for entry in fs::read_dir(&blobs).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        let needed = |report: StoreReport| {
            let told = report.faults.into_iter().find_map(|fault| fault.advice).unwrap();
            told.contains("`aril pull ")
        };
        let mut rotten = whole.clone();
        rotten[whole.len() / 2] ^= 1;
        fs::write(&path, rotten).unwrap();
        let report = scene.runtime(&scene.data).check_store(|_| {}).unwrap();
        assert_eq!(report.faults.len(), 1, "{report:#?}");
        if needed(report) {
            scene.verb().outcome().expect_code(0);
            assert_eq!(fs::read(&path).unwrap(), whole);
        } else {
            fs::write(&path, whole).unwrap();
        }
        scene.check(&scene.data, "after a pull");
    }
    // A download that was begun and is not what it should be does not keep the next one from it.
    scene.put_back();
    scene.verb().outcome().expect_code(0);
    for entry in fs::read_dir(&blobs).unwrap() {
        let path = entry.unwrap().path();
        let size = fs::metadata(&path).unwrap().len();
        let partial = scene.data.join("content/.aril/partial").join(path.file_name().unwrap());
        for length in [size, size / 2] {
            let is_new =
                !scene.kept().join("content/blobs/sha256").join(path.file_name().unwrap()).exists();
            if is_new {
                fs::remove_file(&path).unwrap();
                fs::write(&partial, vec![0; usize::try_from(length).unwrap()]).unwrap();
                scene.verb().outcome().expect_code(0);
                scene.check(&scene.data, "after a download that was torn");
            }
        }
    }
}

// --- Losses of power.

/// What a file or directory is known by, however its number is used again.
type Id = u64;

/// What is in a folder, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Tree {
    directories: BTreeMap<Id, BTreeMap<String, Id>>,
    files: BTreeMap<Id, Vec<u8>>,
}

/// A disk: what is seen of it, and what a loss of power leaves.
#[derive(Default)]
struct Disk {
    folder: PathBuf,
    seen: Tree,
    lasting: Tree,
    /// By number of inode.
    ids: BTreeMap<u64, Id>,
    next: Id,
}

/// The id of the folder itself.
const TOP: Id = 0;

impl Disk {
    /// A disk on which all that is there now lasts.
    fn new(folder: &Path) -> Self {
        let mut disk = Self { folder: folder.to_owned(), ..Self::default() };
        disk.look();
        disk.lasting = disk.seen.clone();
        disk
    }

    /// Looks at what is there now.
    fn look(&mut self) {
        let before = std::mem::take(&mut self.ids);
        self.seen = Tree::default();
        let folder = self.folder.clone();
        self.walk(&folder, &before);
    }

    fn walk(&mut self, path: &Path, before: &BTreeMap<u64, Id>) -> Id {
        let metadata = fs::symlink_metadata(path).unwrap();
        let inode = metadata.ino();
        // A number that nothing had a moment ago is something new.
        let id = *self.ids.entry(inode).or_insert_with(|| {
            before.get(&inode).copied().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            })
        });
        if metadata.is_dir() {
            let mut entries = BTreeMap::new();
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                entries.insert(name, self.walk(&entry.path(), before));
            }
            self.seen.directories.insert(id, entries);
        } else if metadata.is_file() {
            self.seen.files.insert(id, fs::read(path).unwrap());
        }
        id
    }

    /// A call was made.
    fn made(&mut self, change: &Change) {
        self.look();
        for id in self.seen.directories.keys() {
            self.lasting.directories.entry(*id).or_default();
        }
        if !change.done {
            return;
        }
        match change.call {
            "syncfs" => self.lasting = self.seen.clone(),
            "fsync" | "fdatasync" => {
                let Some(id) = change.inode.and_then(|inode| self.ids.get(&inode)) else { return };
                if let Some(content) = self.seen.files.get(id) {
                    self.lasting.files.insert(*id, content.clone());
                }
                if let Some(entries) = self.seen.directories.get(id) {
                    self.lasting.directories.insert(*id, entries.clone());
                }
            }
            _ => {}
        }
    }

    /// What a loss of power may leave of it: the worst cases, and some that are drawn.
    fn left(&self, draw: &mut Draw) -> Vec<(&'static str, Tree)> {
        let lasting = |id: &Id| self.lasting.files.get(id).cloned().unwrap_or_default();
        let seen = |id: &Id| self.seen.files.get(id).cloned();
        let torn = |id: &Id, tear: fn(&[u8]) -> Vec<u8>| match seen(id) {
            Some(seen) if seen != lasting(id) => tear(&seen),
            _ => lasting(id),
        };
        let half = |id: &Id| torn(id, |seen| seen[..seen.len() / 2].to_vec());
        let zeros = |id: &Id| torn(id, |seen| vec![0; seen.len()]);
        let files = |content: &dyn Fn(&Id) -> Vec<u8>| -> BTreeMap<Id, Vec<u8>> {
            let ids = self.seen.files.keys().chain(self.lasting.files.keys());
            ids.map(|id| (*id, content(id))).collect()
        };
        let [early, late] = [&self.seen.directories, &self.lasting.directories];
        let tree =
            |directories: &BTreeMap<_, _>, files| Tree { directories: directories.clone(), files };
        let mut left = vec![
            ("all that was synced", tree(late, files(&lasting))),
            ("names before content", tree(early, files(&lasting))),
            ("names, and half of the content", tree(early, files(&half))),
            ("names, and zeros for content", tree(early, files(&zeros))),
            ("content before names", tree(late, files(&|id| seen(id).unwrap_or(lasting(id))))),
        ];
        for _ in 0..3 {
            let mut directories = BTreeMap::new();
            let none = BTreeMap::new();
            for id in early.keys().chain(late.keys()) {
                let (now, then) = (early.get(id).unwrap_or(&none), late.get(id).unwrap_or(&none));
                let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
                let drawn = names.into_iter().filter_map(|name| {
                    let from = if draw.below(2) == 0 { now } else { then };
                    Some((name.clone(), *from.get(name)?))
                });
                directories.insert(*id, drawn.collect());
            }
            let drawn = std::cell::RefCell::new(&mut *draw);
            let content = |id: &Id| match drawn.borrow_mut().below(4) {
                0 => half(id),
                1 => zeros(id),
                2 => lasting(id),
                _ => seen(id).unwrap_or_else(|| lasting(id)),
            };
            left.push(("some of it", tree(&directories, files(&content))));
        }
        left
    }
}

impl Tree {
    /// Writes it into a folder.
    fn write(&self, id: Id, into: &Path) {
        fs::create_dir_all(into).unwrap();
        fs::set_permissions(into, fs::Permissions::from_mode(0o700)).unwrap();
        for (name, id) in self.directories.get(&id).into_iter().flatten() {
            let path = into.join(name);
            let is_directory = self.directories.contains_key(id);
            if is_directory {
                self.write(*id, &path);
            } else {
                fs::write(path, self.files.get(id).cloned().unwrap_or_default()).unwrap();
            }
        }
    }

    /// What is at a path.
    fn find(&self, path: &str) -> Option<Id> {
        path.split('/').try_fold(TOP, |id, name| self.directories.get(&id)?.get(name).copied())
    }

    /// All that is in a directory, by path.
    fn listing(&self, id: Id, above: &str, into: &mut BTreeMap<String, Vec<u8>>) {
        for (name, id) in self.directories.get(&id).into_iter().flatten() {
            let path = format!("{above}/{name}");
            into.insert(path.clone(), self.files.get(id).cloned().unwrap_or_default());
            self.listing(*id, &path, into);
        }
    }
}

/// Cuts the power after each change, in every way that what was not synced may be lost.
fn survives_losses_of_power(scene: &Scene) {
    scene.put_back();
    survives_in(scene, &scene.data);
}

/// The same where the store is beneath `folder`, as it is now.
fn survives_in(scene: &Scene, folder: &Path) {
    let disk = std::cell::RefCell::new(None);
    let mut draw = Draw(1);
    let mut states: BTreeMap<Tree, String> = BTreeMap::new();
    let mut calls = Vec::new();
    let ended = traced(
        scene.verb(),
        folder,
        |_| {
            disk.borrow_mut().get_or_insert_with(|| Disk::new(folder));
            Then::GoOn
        },
        |change| {
            let mut disk = disk.borrow_mut();
            let disk = disk.as_mut().unwrap();
            disk.made(change);
            calls.push(format!("{} {}", change.call, change.path.display()));
            let last = calls[calls.len().saturating_sub(6)..].join(", ");
            for (how, tree) in disk.left(&mut draw) {
                let what = format!("power lost after {last}: {how}");
                states.entry(tree).or_insert(what);
            }
        },
    );
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let disk = disk.into_inner().unwrap();
    // Once it said that it is done, it is.
    let lasting = disk.left(&mut draw).remove(0).1;
    assert!(20 < states.len(), "only {} states: {calls:#?}", states.len());
    let below = scene.data.strip_prefix(folder).unwrap();
    let unpacked = |tree: &Tree| -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        if let Some(roots) = tree.find("roots") {
            tree.listing(roots, "", &mut found);
        }
        found.retain(|path, _| !path.starts_with("/locks") && !path.starts_with("/part-"));
        found
    };
    let whole = unpacked(&disk.seen);
    for (number, (tree, what)) in states.iter().enumerate() {
        let place = tempfile::tempdir().unwrap();
        tree.write(TOP, place.path());
        scene.check(&place.path().join(below), what);
        // A root that is there is whole.
        for (path, content) in unpacked(tree) {
            let same = whole.get(&path).is_none_or(|whole| *whole == content);
            assert!(same, "{what}: `{path}` is torn");
        }
        let roots = unpacked(tree).into_keys().filter(|path| path.rfind('/') == Some(0));
        for root in roots {
            let all = whole.keys().filter(|path| path.starts_with(&root)).count();
            let here = unpacked(tree).into_keys().filter(|path| path.starts_with(&root)).count();
            assert!(all == 0 || here == all, "{what}: `{root}` lacks files");
        }
        if number % (states.len() / DRAWN).max(1) == 0 {
            fs::remove_dir_all(folder).unwrap();
            tree.write(TOP, folder);
            scene.survives(what);
        }
    }
    let place = tempfile::tempdir().unwrap();
    lasting.write(TOP, place.path());
    let (done, _) = scene.check(&place.path().join(below), "power lost after the end");
    let nothing_to_do = scene.new.is_none() && scene.gone.is_none();
    assert!(done || nothing_to_do, "it said that it was done: {calls:#?}");
}

#[test]
fn a_loss_of_power_in_an_import_leaves_the_old_or_the_new() {
    survives_losses_of_power(&Scene::import());
}

#[test]
fn a_loss_of_power_in_a_build_leaves_the_old_or_the_new() {
    survives_losses_of_power(&Scene::build());
}

#[test]
fn a_loss_of_power_in_a_load_leaves_the_old_or_the_new() {
    survives_losses_of_power(&Scene::load());
}

#[test]
fn a_loss_of_power_in_a_pull_leaves_the_old_or_the_new() {
    if let Some(scene) = Scene::pull() {
        survives_losses_of_power(&scene);
    }
}

#[test]
fn a_loss_of_power_in_a_removal_leaves_the_old_or_the_new() {
    survives_losses_of_power(&Scene::rmi());
}

#[test]
fn a_loss_of_power_in_pruning_leaves_all_that_has_a_name() {
    survives_losses_of_power(&Scene::prune());
}

#[test]
fn a_loss_of_power_in_unpacking_leaves_whole_files_or_none() {
    survives_losses_of_power(&Scene::run());
}

#[test]
fn a_loss_of_power_in_the_first_use_of_a_store_leaves_nothing_or_the_image() {
    let mut scene = Scene::import();
    scene.old.clear();
    // Neither its folder is there yet, nor the one that it is in.
    let place = scene.bench.path().join("place");
    fs::create_dir(&place).unwrap();
    scene.data = place.join("some/data");
    survives_in(&scene, &place);
}

// --- Disks that fail.

/// Makes each change fail, alone or with all that come after it.
fn survives_failures(scene: &Scene) {
    let errors = [
        (libc::ENOSPC, "No space left on device"),
        (libc::EIO, "Input/output error"),
        (libc::EROFS, "Read-only file system"),
        (libc::EDQUOT, "quota exceeded"),
    ];
    if !CAN_FAIL {
        return skip("calls are made to fail on x86-64 alone");
    }
    for (turn, number) in some_of(1, scene.count()).into_iter().enumerate() {
        let (error, text) = errors[turn % errors.len()];
        let lasts = turn % 3 == 0;
        // A disk that is full still lets files be removed.
        let can_fail = |change: &Change| {
            let removes = change.call.starts_with("unlink") || change.call == "rmdir";
            !removes || error == libc::EIO || error == libc::EROFS
        };
        let mut failed = Vec::new();
        let ended = scene.traced(
            |change| {
                let chosen = change.number == number || lasts && number < change.number;
                if chosen && can_fail(change) {
                    failed.push(format!("{} {}", change.call, change.path.display()));
                    return Then::Fail(error);
                }
                Then::GoOn
            },
            |_| {},
        );
        let what = format!("`{}`: {text}: {failed:?}: {ended:#?}", scene.verb.join(" "));
        match ended.code {
            // What only takes room, or is made anew, may fail.
            Some(0) => {
                let (done, _) = scene.check(&scene.data, &what);
                let nothing_to_do = scene.new.is_none() && scene.gone.is_none();
                assert!(done || nothing_to_do, "{what}");
            }
            Some(125) => {
                assert!(ended.stderr.starts_with("aril: cannot "), "{what}");
                assert!(ended.stderr.contains(text), "{what}");
                assert_eq!(ended.stderr.lines().count(), 1, "{what}");
                assert!(ended.stderr.contains("/data/"), "it does not say where: {what}");
            }
            _ => panic!("{what}"),
        }
        scene.survives(&what);
    }
}

#[test]
fn a_disk_that_fails_an_import_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::import());
}

#[test]
fn a_disk_that_fails_a_build_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::build());
}

#[test]
fn a_disk_that_fails_a_load_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::load());
}

#[test]
fn a_disk_that_fails_a_pull_is_told_of_and_loses_nothing() {
    if let Some(scene) = Scene::pull() {
        survives_failures(&scene);
    }
}

#[test]
fn a_disk_that_fails_a_removal_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::rmi());
}

#[test]
fn a_disk_that_fails_unpacking_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::run());
}

#[test]
fn a_disk_that_fails_pruning_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::prune());
}

#[test]
fn a_disk_that_fails_a_new_name_is_told_of_and_loses_nothing() {
    survives_failures(&Scene::new("tag old:1 new:1").bringing("new:1").saying("old\n"));
}

// --- File systems that lack what others have.

/// Makes, unpacks, runs, checks, removes and prunes images, in a folder that a script has mounted.
fn works_on(mount: &str) {
    let Some(mounts) = OwnMounts::new() else { return };
    let scene = Scene::import();
    let aril = aril_path();
    let script = format!(
        "mkdir -p odd lower upper; {mount}
         aril={}; export ARIL_DATA_DIR=odd/data
         $aril import old.wat old:1 > /dev/null
         $aril build files.wat -t files:1 -q --copy ./assets:/srv/ > /dev/null
         $aril run old:1; $aril run files:1; $aril run --read-only files:1
         $aril save -o saved.tar files:1; $aril rmi files:1 > /dev/null
         $aril load -q -i saved.tar > /dev/null; $aril run files:1
         $aril doctor --store > /dev/null; $aril rmi files:1 > /dev/null; $aril prune > /dev/null
         $aril doctor --store | grep -c weak || true",
        aril.display()
    );
    let shell = scene.bench.aril::<&str>([]);
    // The last command is what the script becomes.
    let outcome = mounts.runs(shell, &format!("({script})")).outcome();
    let said = "old\nfiles\nfiles\nfiles\n0\n";
    assert!(outcome.stdout.starts_with(said), "{mount}: {outcome:#?}");
}

#[test]
fn a_store_in_memory_works() {
    works_on("mount -t tmpfs -o mode=755 none odd");
}

#[test]
fn a_store_on_a_file_system_without_attributes_and_shared_blocks_works() {
    works_on("mount -t ramfs -o mode=755 none odd");
}

#[test]
fn a_store_on_an_overlay_as_in_a_container_works() {
    works_on(
        "mount -t tmpfs none upper; mkdir upper/u upper/w
         mount -t overlay -o lowerdir=lower,upperdir=upper/u,workdir=upper/w none odd",
    );
}

#[test]
fn a_store_whose_folders_cannot_be_synced_works_and_one_without_locks_is_refused() {
    if !CAN_FAIL {
        return skip("calls are made to fail on x86-64 alone");
    }
    let scene = Scene::build();
    let ended = scene.traced(
        |change| match change.call {
            "fsync" if change.path.is_dir() => Then::Fail(libc::EINVAL),
            _ => Then::GoOn,
        },
        |_| {},
    );
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    scene.survives("without syncing folders");

    for error in [libc::ENOLCK, libc::EOPNOTSUPP] {
        let before = |change: &Change| match change.call {
            "flock" => Then::Fail(error),
            _ => Then::GoOn,
        };
        let ended = scene.traced(before, |_| {});
        assert_eq!(ended.code, Some(125), "{ended:#?}");
        assert!(ended.stderr.contains("cannot lock `"), "{ended:#?}");
        assert!(ended.stderr.contains("/data/content/.aril/lock"), "{ended:#?}");
        let (done, _) = scene.check(&scene.data, "without locks");
        assert!(!done, "something was done without a lock");
    }
}
