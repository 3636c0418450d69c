//! From what a container asks for to what its guest is granted: here things are opened.
//!
//! Files are opened by handle from the container's root on, so that a link of its image leads nowhere
//! else.

mod prepare;
mod program;

use std::io;
use std::path::Path;
use std::path::PathBuf;

use aril::Access;
use aril::Directory;
use aril::GrantError;
use aril::Isolation;
use aril::SandboxSpec;
use aril::SingleFile;
use aril::Tmpfs;

use crate::bundle::Container;
use crate::bundle::GroupPlace;
use crate::bundle::Mounted;
use crate::bundle::Share;
use crate::platform::bounds;
use crate::platform::root::Root;

pub(crate) use prepare::Unprepared;
pub(crate) use prepare::cache;
pub(crate) use prepare::prepare;
pub(crate) use program::Found;
pub(crate) use program::Program;

/// What a container asks for and cannot be had on this host.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GuestError {
    /// Its files cannot be opened.
    #[error("cannot open the container's files at `{}`", path.display())]
    Root {
        /// Where they are.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its program cannot be run.
    #[error("cannot run `{program}`: {reason}")]
    Program {
        /// As it is called.
        program: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Something cannot be made in its files, for something else to be mounted there.
    #[error("cannot make `{destination}` in the container's files")]
    Destination {
        /// What.
        destination: String,
        /// Why not.
        source: io::Error,
    },
    /// Something of the host cannot be looked at.
    #[error("cannot mount `{}` at `{destination}`", source_path.display())]
    Source {
        /// Of the host.
        source_path: PathBuf,
        /// In the container.
        destination: String,
        /// Why not.
        source: io::Error,
    },
    /// Something cannot be granted.
    #[error("cannot grant {what}")]
    Grant {
        /// What.
        what: String,
        /// Why not.
        source: GrantError,
    },
    /// Something that only other runtimes have.
    #[error("{what}")]
    Unsupported {
        /// What, and what to do.
        what: String,
    },
}

fn grant(what: impl Into<String>) -> impl FnOnce(GrantError) -> GuestError {
    let what = what.into();
    move |source| GuestError::Grant { what, source }
}

/// What a guest may use and touch, with a bundle in this folder. Its streams and its control group are
/// the caller's to add.
pub(crate) fn spec(container: &Container, bundle: &Path) -> Result<SandboxSpec, GuestError> {
    refuse(container)?;
    if let aril::Limit::Of(count) = container.limits.open_files {
        bounds::allow_open_files(count);
    }
    let path = root_path(container, bundle);
    let unopened = |source| GuestError::Root { path: path.clone(), source };
    let root = Root::open(&path).map_err(unopened)?;
    let files = Directory::open(&path, "/", container.root.access).map_err(grant("the root"))?;
    let [program, args @ ..] = &container.args[..] else {
        let reason = "it has no name".to_owned();
        return Err(GuestError::Program { program: String::new(), reason });
    };
    let mut spec = SandboxSpec::new(program).args(args).limits(container.limits);
    spec = spec.isolation(Isolation::Process).directory(files);
    for (name, value) in &container.env {
        spec = spec.env(name, value).map_err(grant(format!("the variable `{name}`")))?;
    }
    for mounted in &container.mounts {
        spec = mount(spec, mounted, &root, bundle)?;
    }
    let user = &container.user;
    spec = spec.user(aril::User {
        uid: user.uid,
        gid: user.gid,
        groups: user.groups.clone(),
        umask: user.umask,
    });
    if let Some(score) = container.oom_score_adj {
        spec = spec.oom_score_adj(score).map_err(grant("the score for when memory is short"))?;
    }
    // As other runtimes do: a working directory that an image lacks is made.
    let _left_to_launch = root.make_directory(&container.cwd);
    spec.working_directory(&container.cwd).map_err(grant("the working directory"))
}

/// Where the files of a container are.
pub(crate) fn root_path(container: &Container, bundle: &Path) -> PathBuf {
    bundle.join(&container.root.path)
}

/// The path of the control group that a container is to have, below the root of the hierarchies.
pub(crate) fn group(container: &Container) -> Result<Option<String>, GuestError> {
    match &container.group {
        None => Ok(None),
        Some(GroupPlace::Path(path)) => {
            let names = path.split('/').filter(|name| !name.is_empty());
            Ok(Some(names.flat_map(|name| ["/", name]).collect()))
        }
        Some(GroupPlace::Systemd { .. }) => Err(GuestError::Unsupported {
            what: "`linux.cgroupsPath`: scopes of systemd are not made yet: have the engine name \
                   groups by paths (for containerd's CRI, `SystemdCgroup = false`; for the kubelet, \
                   `cgroupDriver: cgroupfs`)"
                .to_owned(),
        }),
    }
}

/// Refuses what nothing here does yet.
fn refuse(container: &Container) -> Result<(), GuestError> {
    let refused = |what: &str| Err(GuestError::Unsupported { what: what.to_owned() });
    if container.isolation == Some(Isolation::Shared) {
        return refused(
            "annotation `aril.run/isolation`: a container's guest has a process of its own, which its \
             control group holds; leave `shared` out",
        );
    }
    Ok(())
}

/// Refuses hooks, for a door that runs none.
pub(crate) fn refuse_hooks(container: &Container) -> Result<(), GuestError> {
    let refused = |what: &str| Err(GuestError::Unsupported { what: what.to_owned() });
    let hooks = &container.hooks;
    let is_there = |list: &Option<Vec<_>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let lists = [
        hooks.prestart(),
        hooks.create_runtime(),
        hooks.create_container(),
        hooks.start_container(),
        hooks.poststart(),
        hooks.poststop(),
    ];
    if lists.into_iter().any(is_there) {
        return refused("`hooks`: programs of the host are not run for a guest; leave them out");
    }
    Ok(())
}

fn mount(
    spec: SandboxSpec,
    mounted: &Mounted,
    root: &Root,
    bundle: &Path,
) -> Result<SandboxSpec, GuestError> {
    let Mounted { destination, share } = mounted;
    let failed = grant(format!("what is mounted at `{destination}`"));
    match share {
        Share::Memory { size } => {
            // Best seen where a program lists the directory that it is in.
            let _left_out = root.make_directory(destination);
            let tmpfs = Tmpfs::new(destination).and_then(|tmpfs| match size {
                Some(size) => tmpfs.size(*size),
                None => Ok(tmpfs),
            });
            Ok(spec.tmpfs(tmpfs.map_err(failed)?))
        }
        Share::Host { source, access } => {
            let source_path = bundle.join(source);
            let looked = std::fs::metadata(&source_path).map_err(|source| GuestError::Source {
                source_path: source_path.clone(),
                destination: destination.clone(),
                source,
            })?;
            if looked.is_dir() {
                return directory(spec, (&source_path, destination), *access, root);
            }
            let place = root.make_file(destination).map_err(|source| GuestError::Destination {
                destination: destination.clone(),
                source,
            })?;
            Ok(spec.file(SingleFile::open(&source_path, place, *access).map_err(failed)?))
        }
    }
}

/// Grants a directory where it is mounted, and also where the image's links say that this is.
fn directory(
    mut spec: SandboxSpec,
    (source, destination): (&Path, &String),
    access: Access,
    root: &Root,
) -> Result<SandboxSpec, GuestError> {
    let failed = || grant(format!("what is mounted at `{destination}`"));
    let granted = Directory::open(source, destination, access).map_err(failed())?;
    let written = granted.guest().to_owned();
    spec = spec.directory(granted);
    // Where it cannot be made, the guest has it all the same, and nobody sees it in a list.
    if let Ok(place) = root.make_directory(destination)
        && place != written
        && place != "/"
    {
        spec = spec.directory(Directory::open(source, place, access).map_err(failed())?);
    }
    Ok(spec)
}
