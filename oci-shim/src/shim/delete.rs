//! The action `delete`: clears up what a server left that is no more, and tells how its container ended.
//!
//! It may run twice, and beside a server that is alive: then there is nothing left to do.

use std::path::Path;
use std::time::Duration;
use std::time::SystemTime;

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message as _;

use crate::native::Native;
use crate::native::Runc;
use crate::platform::mounts;
use crate::platform::processes;
use crate::platform::socket;

use super::address;
use super::flags::Flags;
use super::process::stamp;
use super::record::Maker;
use super::record::Record;
use super::start::ADDRESS_FILE;
use super::start::folder;
use super::state::End;
use super::whole;

/// How long a process may take to be gone.
const GOING_MAX: Duration = Duration::from_secs(2);

/// The code of what was killed.
const KILLED: u32 = 137;

/// The folder in a bundle that an image's files are mounted at.
pub(super) const ROOTFS: &str = "rootfs";

/// Clears up, and answers how the container ended.
pub(super) fn delete(flags: &Flags) -> Result<Vec<u8>, String> {
    let bundle = folder(flags)?;
    let (end, pid) = clear(&bundle)?;
    let response = DeleteResponse {
        pid,
        exit_status: end.code,
        exited_at: stamp(end.at),
        ..DeleteResponse::default()
    };
    response.write_to_bytes().map_err(|error| format!("cannot answer: {error}"))
}

/// Ends what is left of a container, and takes away what was made for it. Each thing is tried, also
/// where another one failed.
fn clear(bundle: &Path) -> Result<(End, u32), String> {
    let mut failed = Vec::new();
    // What cannot be read says nothing; what it would have said is all that is left then.
    let record = Record::read(bundle).unwrap_or_else(|error| {
        failed.push(format!("what is known of the container cannot be read: {error}"));
        Record::default()
    });
    for known in &record.processes {
        match processes::end(known.pid, known.beginning, GOING_MAX) {
            Ok(true) => {}
            Ok(false) => failed.push(format!("process {} does not end", known.pid)),
            Err(error) => failed.push(format!("cannot end process {}: {error}", known.pid)),
        }
    }
    if let Some(group) = &record.group
        && let Err(error) = aril::clear_control_group(group)
    {
        failed.push(whole(&error));
    }
    if let Some(maker) = record.maker
        && let Err(reason) = clear_native(maker, bundle)
    {
        failed.push(reason);
    }
    if let Err(error) = mounts::unmount_all(&bundle.join(ROOTFS)) {
        failed.push(format!("cannot unmount the container's files: {error}"));
    }
    if let Ok(address) = std::fs::read_to_string(bundle.join(ADDRESS_FILE)) {
        // That of another pod's server stays: somebody listens.
        let _left = socket::clear(address::path_of(address.trim()));
    }
    if !failed.is_empty() {
        return Err(format!("cannot clear up `{}`: {}", bundle.display(), failed.join("; ")));
    }
    let end = record.ended.map(End::from);
    let end = end.unwrap_or_else(|| End { code: KILLED, at: SystemTime::now() });
    Ok((end, record.processes.first().map_or(0, |known| known.pid)))
}

/// Has the program that made a native container remove what is left of it.
fn clear_native(maker: Maker, bundle: &Path) -> Result<(), String> {
    let id = maker.id.clone();
    let runc = Runc::from(maker);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("`{id}` cannot be cleared: {error}"))?;
    let cleared = runtime.block_on(Native::force_delete(&runc, &id, bundle));
    cleared.map_err(|error| whole(&error))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::record::Known;
    use super::*;

    #[test]
    fn what_a_server_left_is_cleared_twice_and_its_end_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut left = Command::new("sleep").arg("60").spawn().unwrap();
        let beginning = processes::beginning_of(left.id()).unwrap();
        let mut record = Record {
            group: Some("/aril-test-gone/at-all".to_owned()),
            maker: None,
            processes: vec![Known { pid: left.id(), beginning }],
            ended: None,
        };
        record.write(dir.path()).unwrap();
        let flags = Flags { bundle: dir.path().display().to_string(), ..Flags::default() };
        let told = |flags| DeleteResponse::parse_from_bytes(&delete(flags).unwrap()).unwrap();
        let first = told(&flags);
        assert_eq!((first.exit_status, first.pid), (137, left.id()));
        assert!(first.exited_at.is_some());
        assert!(!left.wait().unwrap().success());
        assert_eq!(told(&flags).exit_status, 137);
        record.ended = Some(End { code: 3, at: SystemTime::UNIX_EPOCH }.into());
        record.write(dir.path()).unwrap();
        assert_eq!(told(&flags).exit_status, 3, "it had ended by itself");
    }

    #[test]
    fn a_bundle_of_which_nothing_is_known_or_left_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(clear(dir.path()).unwrap().0.code, 137);
        assert_eq!(clear(&dir.path().join("missing")).unwrap().1, 0);
        std::fs::write(dir.path().join("aril.json"), "{").unwrap();
        assert!(clear(dir.path()).unwrap_err().contains("cannot be read"));
    }
}
