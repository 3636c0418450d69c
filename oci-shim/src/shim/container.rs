//! A container: its processes, its files, and what is left of it for others.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::rc::Rc;

use aril::Limits;
use aril::Runtime;
use containerd_shim_protos::api::Mount;
use oci_spec::runtime::Spec;

use crate::platform::mounts;
use crate::platform::processes;

use super::delete::ROOTFS;
use super::failure::Failure;
use super::options::Options;
use super::process::Process;
use super::record::Known;
use super::record::Record;
use super::state::End;

/// What is known of a container's guest.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) spec: Spec,
    pub(super) runtime: Runtime,
    /// What it may use by now.
    pub(super) limits: Cell<Limits>,
}

/// A container.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) bundle: PathBuf,
    pub(super) first: Rc<Process>,
    /// The processes beside it, by their names.
    pub(super) execs: RefCell<BTreeMap<String, Rc<Process>>>,
    pub(super) options: Options,
    /// What is known of its guest, where it is none of `runc`'s.
    pub(super) guest: Option<Guest>,
    pub(super) record: RefCell<Record>,
    pub(super) files: RefCell<Files>,
}

impl Container {
    /// The process of this name, the first one without a name.
    pub(super) fn process(&self, exec: &str) -> Result<Rc<Process>, Failure> {
        if exec.is_empty() {
            return Ok(Rc::clone(&self.first));
        }
        let execs = self.execs.borrow();
        let found = execs.get(exec).map(Rc::clone);
        found.ok_or_else(|| {
            Failure::not_found(format!("there is no process `{exec}` in container `{}`", self.id))
        })
    }

    /// Those beside the first one that have not ended.
    pub(super) fn company(&self) -> Vec<Rc<Process>> {
        let execs = self.execs.borrow();
        let is_there = |one: &&Rc<Process>| one.body().is_some_and(|body| !body.has_ended());
        execs.values().filter(is_there).map(Rc::clone).collect()
    }

    /// Leaves word of a process for whoever clears up behind this server.
    pub(super) fn note_process(&self, pid: u32) -> std::io::Result<()> {
        let known = Known { pid, beginning: processes::beginning_of(pid)? };
        let mut record = self.record.borrow_mut();
        // Those that are no more need nobody to end them.
        let execs = self.execs.borrow();
        let is_there = |known: &Known| {
            let mut execs = execs.values();
            known.pid == self.first.pid() || execs.any(|one| one.pid() == known.pid)
        };
        record.processes.retain(is_there);
        record.processes.push(known);
        record.write(&self.bundle)
    }

    /// Leaves word of the end of its first process.
    pub(super) fn note_end(&self, end: End) -> std::io::Result<()> {
        let mut record = self.record.borrow_mut();
        record.ended = Some(end.into());
        record.write(&self.bundle)
    }
}

/// The files of a container, where they were mounted for it; dropped, they are unmounted.
#[derive(Debug)]
pub(super) struct Files {
    mounted: Option<PathBuf>,
}

impl Files {
    /// Mounts them, the ones over the others, in a bundle.
    pub(super) fn mount(bundle: &Path, layers: &[Mount]) -> Result<Self, Failure> {
        if layers.is_empty() {
            return Ok(Self { mounted: None });
        }
        let target = bundle.join(ROOTFS);
        if let Err(error) = std::fs::create_dir(&target)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(Failure::other(format!("cannot make `{}`: {error}", target.display())));
        }
        let is_directory = std::fs::symlink_metadata(&target).is_ok_and(|found| found.is_dir());
        if !is_directory {
            return Err(Failure::invalid(format!("`{}` is no directory", target.display())));
        }
        let files = Self { mounted: Some(target.clone()) };
        for Mount { type_, source, target: inside, options, .. } in layers {
            if !["", "/"].contains(&inside.as_str()) {
                let text = format!("`{inside}`: files are mounted at a container's root alone");
                return Err(Failure::unimplemented(text));
            }
            mounts::mount(type_, source, options, &target).map_err(|error| {
                let what = format!("cannot mount `{source}` ({type_}) as the container's files");
                Failure::other(format!("{what}: {error}"))
            })?;
        }
        Ok(files)
    }

    /// Unmounts them.
    pub(super) fn unmount(&mut self) -> Result<(), Failure> {
        let Some(target) = &self.mounted else { return Ok(()) };
        mounts::unmount_all(target).map_err(|error| {
            Failure::other(format!("cannot unmount `{}`: {error}", target.display()))
        })?;
        self.mounted = None;
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Who deletes the container is told; else `delete` tries again.
        let _left = self.unmount();
    }
}
