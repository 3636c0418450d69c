//! Sandboxes that go on alone: many of one image, started, looked at and removed by `aril` itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;

use crate::bench::Bench;
use crate::images::aril;
use crate::images::emptied;
use crate::run::footprint;
use crate::run::run;
use crate::worker::abreast_of;

/// How many are started at the same moment, on both sides.
pub(crate) const ABREAST: usize = 4;

/// How many names stand on one command line.
const NAMES_MAX: usize = 250;

/// How long a guest is given to come to its sleep.
const SETTLE: Duration = Duration::from_millis(500);

/// Sandboxes of one image, in a folder of their own. What is left is removed when this is dropped.
pub(crate) struct Residents<'a> {
    bench: &'a Bench,
    data: PathBuf,
    ids: Vec<String>,
}

/// What of a machine could be left by sandboxes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Left {
    processes: usize,
    groups: BTreeSet<PathBuf>,
    files: usize,
}

impl Left {
    /// What is there that was not there before.
    pub(crate) fn since(&self, before: &Self) -> String {
        format!(
            "{} processes, {} control groups, {} files",
            self.processes.saturating_sub(before.processes),
            self.groups.difference(&before.groups).count(),
            self.files.saturating_sub(before.files)
        )
    }

    pub(crate) fn is_nothing_since(&self, before: &Self) -> bool {
        self.processes <= before.processes
            && self.groups.is_subset(&before.groups)
            && self.files <= before.files
    }
}

impl<'a> Residents<'a> {
    /// The image of a guest, in a store of its own. It has run once.
    pub(crate) fn new(bench: &'a Bench, name: &str, guest: &str) -> anyhow::Result<Self> {
        let data = PathBuf::from(bench.folder(name)?);
        emptied(&data)?;
        let wasm = data.with_extension("wasm");
        fs::write(&wasm, wat::parse_file(guest)?)?;
        let mut import = aril(bench, &data, &["import"]);
        run(import.arg(&wasm).arg("guest:1"), 0)?;
        let mut residents = Self { bench, data, ids: Vec::new() };
        residents.start(1, &[])?;
        residents.remove()?;
        Ok(residents)
    }

    /// `aril` with these arguments, which finds them.
    pub(crate) fn aril(&self, args: &[&str]) -> Command {
        aril(self.bench, &self.data, args)
    }

    /// Starts that many more; says how long that took, until the last one was said to have begun.
    pub(crate) fn start(&mut self, count: usize, flags: &[&str]) -> anyhow::Result<Duration> {
        let said = Mutex::new(Vec::with_capacity(count));
        let started = Instant::now();
        abreast_of(count, ABREAST, |_| {
            let mut run = self.aril(&["run", "--detach"]);
            let ran = run.args(flags).arg("guest:1").output().context("cannot run aril")?;
            let words = String::from_utf8_lossy(&ran.stderr);
            ensure!(ran.status.success(), "`aril run -d` ended with {}: {words}", ran.status);
            let id = String::from_utf8_lossy(&ran.stdout).trim().to_owned();
            said.lock().unwrap_or_else(PoisonError::into_inner).push(id);
            Ok(())
        })?;
        let took = started.elapsed();
        self.ids.append(&mut said.into_inner().unwrap_or_else(PoisonError::into_inner));
        Ok(took)
    }

    /// Waits until their guests sleep.
    pub(crate) fn settle() {
        std::thread::sleep(SETTLE);
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> &[String] {
        &self.ids
    }

    /// Stops all of them, and says how long that took.
    pub(crate) fn stop(&self) -> anyhow::Result<Duration> {
        self.each(&["stop", "--time", "0"])
    }

    /// Removes all of them, and whatever still runs.
    pub(crate) fn remove(&mut self) -> anyhow::Result<()> {
        self.each(&["rm", "--force"])?;
        self.ids.clear();
        Ok(())
    }

    fn each(&self, verb: &[&str]) -> anyhow::Result<Duration> {
        let started = Instant::now();
        for ids in self.ids.chunks(NAMES_MAX) {
            run(self.aril(verb).args(ids), 0)?;
        }
        Ok(started.elapsed())
    }

    /// The processes of `aril` here: keepers and workers.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<String>> {
        let file = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let own = file(Path::new(self.bench.aril(&[]).get_program()))?;
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            // One that has ended in between has no program any more.
            if name.parse::<u32>().is_ok()
                && file(&Path::new("/proc").join(&name).join("exe")).ok() == Some(own)
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// What each of their processes has of memory, in bytes: its share of the pages it uses.
    pub(crate) fn memory(&self) -> anyhow::Result<Vec<f64>> {
        let processes = self.processes()?;
        processes.iter().map(|id| Ok(footprint(id)?.proportional)).collect()
    }

    /// The processor time of all threads of all of them.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        let mut total = Duration::ZERO;
        for id in self.processes()? {
            for thread in fs::read_dir(format!("/proc/{id}/task"))? {
                let told = fs::read_to_string(thread?.path().join("schedstat"))?;
                let ran = told.split(' ').next().context("schedstat is empty")?;
                total += Duration::from_nanos(ran.parse()?);
            }
        }
        Ok(total)
    }

    /// What there is of processes, control groups and files.
    pub(crate) fn left(&self) -> anyhow::Result<Left> {
        let mut groups = BTreeSet::new();
        groups_below(Path::new("/sys/fs/cgroup"), 4, &mut groups);
        let mut files = 0;
        count_files(&self.data, &mut files)?;
        Ok(Left { processes: self.processes()?.len(), groups, files })
    }
}

impl Drop for Residents<'_> {
    fn drop(&mut self) {
        // What cannot be removed was said by whoever tried before.
        let _left = self.remove();
    }
}

/// The control groups that Aril made.
fn groups_below(folder: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) {
    // One that has gone in between has nothing in it.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir())) {
        if entry.file_name().to_string_lossy().starts_with("aril-") {
            found.insert(entry.path());
        } else if 0 < depth {
            groups_below(&entry.path(), depth - 1, found);
        }
    }
}

fn count_files(folder: &Path, count: &mut usize) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What happened on this host is told in a journal of bounded size, which stays.
        if entry.file_name().to_string_lossy().starts_with("events") {
            continue;
        }
        *count += 1;
        if entry.file_type()?.is_dir() {
            count_files(&entry.path(), count)?;
        }
    }
    Ok(())
}
