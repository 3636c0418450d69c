//! Whether all that is kept is what it says: the store of images, what was unpacked of them, and the
//! machine code.

use std::fs;

use crate::content::Checked;
use crate::content::Fault;
use crate::content::NAME;
use crate::content::Store;
use crate::error::Error;
use crate::image::Reference;
use crate::rootfs::Roots;
use crate::rootfs::Writables;
use crate::units::Bytes;

use super::doctor::Finding;
use super::doctor::Standing;
use super::images::at_store;
use super::images::image_of;
use super::images::verify_digest;
use super::runtime::Runtime;

/// How far a check is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// How much was read.
    pub done: Bytes,
    /// How much there was to be read when it began.
    pub size: Bytes,
}

/// What a check of all that is kept found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreReport {
    /// What was looked at, and is as it should be.
    pub whole: Vec<Finding>,
    /// What is not as it should be, and what to do about each.
    pub faults: Vec<Finding>,
    /// What was left behind by those who were killed, or is used by nobody: it only takes room.
    pub left: Vec<Finding>,
}

impl Runtime {
    /// Reads all that is kept, and tells what is not as it should be: blobs whose content is not
    /// what their names say, names that lead to something that is missing, machine code that
    /// changed since it was written. Nothing is changed, and others may go on meanwhile. `told` is
    /// told how far it is.
    ///
    /// Files that were unpacked are not read again: what is known of them is that they were whole
    /// and on disk when they got their names.
    ///
    /// # Errors
    ///
    /// Fails where the store cannot be opened at all. What is broken in it is no error, but told.
    pub fn check_store(&self, told: impl FnMut(Reading)) -> Result<StoreReport, Error> {
        let mut report = StoreReport { whole: Vec::new(), faults: Vec::new(), left: Vec::new() };
        let content = self.data()?.join("content");
        let artifacts = self.cache().join("artifacts");
        let size = [content.join("blobs/sha256"), artifacts].iter().map(|path| size_of(path)).sum();
        let mut told = told;
        let mut done = 0_u64;
        let mut read = |count: u64| {
            done = done.saturating_add(count);
            told(Reading { done: Bytes::new(done), size: Bytes::new(size) });
        };
        if content.exists() {
            let store = self.store()?;
            let checked = store.check(&mut read);
            report.store(store, checked.map_err(at_store("check", content.display()))?);
            self.check_unpacked(&mut report)?;
        } else {
            report.good("images", format!("none: there is no `{}` yet", content.display()));
        }
        let cache = self.artifacts()?.check(&mut read);
        report.good(
            "artifact cache",
            match cache.foreign {
                0 => format!("{} with machine code as it was written", count(cache.whole, "file")),
                foreign => format!(
                    "{} with machine code as it was written, {foreign} of other versions",
                    count(cache.whole, "file")
                ),
            },
        );
        for (path, reason) in cache.broken {
            let found = format!("`{}`: {reason}", path.display());
            report.fault("artifact cache", found, "remove it: it is made again when it is needed");
        }
        Ok(report)
    }

    /// Looks at what was unpacked, and at what runs wrote.
    fn check_unpacked(&self, report: &mut StoreReport) -> Result<(), Error> {
        const PRUNE: &str = "`aril prune` removes it";
        let data = self.data()?;
        let path = data.join("roots");
        if path.exists() {
            match Roots::open(&path) {
                Ok(roots) => {
                    let kept = self.root_keys()?;
                    let checked = roots.check(|key| kept.contains(key));
                    let whole = checked.roots - checked.unused;
                    report.good("unpacked images", format!("{whole}, each whole when it was made"));
                    for path in checked.broken {
                        let found = format!("`{}` is not a directory", path.display());
                        report.fault("unpacked images", found, "remove it");
                    }
                    if 0 < checked.unused {
                        let found = format!("{} of no image", count(checked.unused, "directory"));
                        report.leave("unpacked images", &found, PRUNE);
                    }
                    if 0 < checked.parts {
                        let found = format!("{} half made", count(checked.parts, "directory"));
                        report.leave("unpacked images", &found, PRUNE);
                    }
                }
                Err(error) => report.fault("unpacked images", told(&error), "make it yours"),
            }
        }
        let path = data.join("writable");
        if path.exists() {
            match Writables::open(&path).map(|writables| writables.abandoned()) {
                Ok(0) => {}
                Ok(views) => {
                    let found = format!("what {} wrote", count(views, "killed run"));
                    report.leave("written files", &found, "the next run of an image removes it");
                }
                Err(error) => report.fault("written files", told(&error), "make it yours"),
            }
        }
        Ok(())
    }
}

/// An error and its causes, in a line.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn count(count: u64, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// The bytes of the files in a folder.
fn size_of(folder: &std::path::Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

/// What brings the images back that these names lead to.
fn repair(names: &[String]) -> String {
    let Some(name) = names.first() else {
        return "no image needs it: `aril prune` removes it".to_owned();
    };
    match name.parse::<Reference>() {
        Ok(reference) if reference.registry().is_some() => {
            format!("`aril pull {reference}` brings it back")
        }
        Ok(reference) => {
            format!("load, import or build `{reference}` again: that brings it back")
        }
        Err(_) => "bring its image again: that brings it back".to_owned(),
    }
}

impl StoreReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    fn good(&mut self, subject: &str, found: String) {
        self.whole.push(Finding::good(subject, found));
    }

    fn fault(&mut self, subject: &str, found: String, advice: &str) {
        let (subject, advice) = (subject.to_owned(), Some(advice.to_owned()));
        self.faults.push(Finding { subject, standing: Standing::Missing, found, advice });
    }

    fn leave(&mut self, subject: &str, found: &str, advice: &str) {
        self.left.push(Finding::weak(subject, found, advice));
    }

    fn store(&mut self, store: &Store, checked: Checked) {
        let mut names = 0;
        for entry in checked.whole {
            let text = entry.annotations.get(NAME).cloned();
            let name: Option<Reference> = text.as_ref().and_then(|name| name.parse().ok());
            let called = text.unwrap_or_else(|| entry.digest.to_string());
            let right = name.iter().try_for_each(|name| verify_digest(name, &entry));
            match right.and_then(|()| image_of(store, name, entry)) {
                Ok(_) => names += 1,
                Err((_, reason)) => self.unusable(&called, &told(&*reason)),
            }
        }
        let (blobs, bytes) = (count(checked.blobs, "blob"), Bytes::new(checked.bytes));
        let found = format!("{} and {blobs} ({bytes}), each what it says", count(names, "name"));
        self.good("images", found);
        for fault in checked.faults {
            self.store_fault(fault);
        }
        let prune = "`aril prune` removes it";
        let (unused, bytes) = checked.unused;
        if 0 < unused {
            let found = format!("{} ({}) of no name", count(unused, "blob"), Bytes::new(bytes));
            self.leave("images", &found, prune);
        }
        let (partial, drafts, bytes) = checked.abandoned;
        if 0 < partial + drafts {
            let begun = count(partial, "blob");
            let drafts = count(drafts, "other file");
            let found = format!("{begun} and {drafts} ({}) that were begun", Bytes::new(bytes));
            self.leave("images", &found, "a repeat goes on with it, and `aril prune` removes it");
        }
    }

    fn unusable(&mut self, called: &str, reason: &str) {
        let called = called.escape_debug();
        let advice = format!("bring it again, or remove the name: `aril rmi {called}`");
        self.fault("images", format!("`{called}` leads to no image: {reason}"), &advice);
    }

    fn store_fault(&mut self, fault: Fault) {
        match fault {
            Fault::Index { lost: false } => self.fault(
                "images",
                "`index.json` is torn: names are as before its last change".to_owned(),
                "the next verb that changes a name writes it anew: give the last one again",
            ),
            Fault::Index { lost: true } => self.fault(
                "images",
                "`index.json` and what was before it are torn: images have lost their names"
                    .to_owned(),
                "name them again: `aril images --digests`, `aril tag NAME@DIGEST NEW`",
            ),
            Fault::Blob { digest, reason, needed_by } => {
                let advice = repair(&needed_by);
                let found = format!("{digest}: {reason}{}", needed(&needed_by));
                self.fault("images", found, &advice);
            }
            Fault::Missing { digest, needed_by } => {
                let advice = repair(&needed_by);
                let found = format!("{digest} is missing{}", needed(&needed_by));
                self.fault("images", found, &advice);
            }
            Fault::Name { name, reason } => self.unusable(&name, &reason),
        }
    }
}

/// Who needs a blob.
fn needed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| name.escape_debug().to_string()).collect();
    if names.is_empty() { String::new() } else { format!(", which {} needs", names.join(", ")) }
}
