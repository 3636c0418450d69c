//! Containers of a pod that are no wasm: `runc` makes them, and they are kept here beside the guests.

use std::path::Path;
use std::rc::Rc;

use containerd_shim_protos::api::ExecProcessRequest;
use oci_spec::runtime::Spec;

use crate::native;
use crate::native::Native;
use crate::native::Runc;

use super::body::Body;
use super::failure::Failure;
use super::options::Options;
use super::process::Process;
use super::record::Maker;
use super::record::Record;
use super::streams::Stdio;

/// The folder in a bundle where `runc` keeps what it knows. Another containerd of this host may have a
/// container of the same name.
const ROOT: &str = "runc";

/// Who makes a native container with this configuration.
pub(super) fn maker(id: &str, bundle: &Path, options: &Options, spec: &Spec) -> Maker {
    let linux = spec.linux().as_ref();
    let group =
        linux.and_then(|linux| linux.cgroups_path().as_ref()).and_then(|path| path.to_str());
    // `SLICE:PREFIX:NAME`, and never a path.
    let is_scope = group.is_some_and(|group| group.split(':').count() == 3 && !group.contains('/'));
    let runc = Runc::new(bundle.join(ROOT));
    Maker {
        id: id.to_owned(),
        program: options.runc.clone().unwrap_or(runc.program),
        root: runc.root,
        systemd_cgroup: is_scope,
    }
}

/// Makes a container, which waits for its start.
pub(super) async fn make(bundle: &Path, maker: Maker, stdio: Stdio) -> Result<Process, Failure> {
    // Once is as good as many times.
    native::be_reaper()
        .map_err(|error| Failure::other(format!("the shim cannot be a reaper: {error}")))?;
    // Before there is anything to clear up.
    let record = Record { maker: Some(maker.clone()), ..Record::default() };
    record.write(bundle).map_err(|error| {
        Failure::other(format!("cannot write into the bundle `{}`: {error}", bundle.display()))
    })?;
    let (streams, pumps) = stdio.open_native()?;
    let id = maker.id.clone();
    let made = Native::create(&Runc::from(maker), &id, bundle, streams).await?;
    Ok(Process::first(&id, stdio, Body::Native(Rc::new(made)), pumps))
}

/// Runs another process in a container.
pub(super) async fn make_beside(first: &Native, process: &Process) -> Result<Body, Failure> {
    let (streams, pumps) = process.stdio.open_native()?;
    let made = first.exec(&process.exec, &process.asked, streams).await?;
    *process.pumps.borrow_mut() = pumps;
    Ok(Body::Beside(Rc::new(made)))
}

/// Refuses what is no process at all, before it is started.
pub(super) fn check(request: &ExecProcessRequest) -> Result<(), Failure> {
    let process: Result<oci_spec::runtime::Process, _> =
        serde_json::from_slice(&request.spec.value);
    let invalid = |error| Failure::invalid(format!("a process that is none: {error}"));
    process.map(|_| ()).map_err(invalid)
}
