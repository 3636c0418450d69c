//! Files and directories, copied between this host and a sandbox that goes on alone.

use std::path::Path;
use std::time::Duration;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::platform::tree::Directory;
use crate::rootfs::ExchangeError;
use crate::rootfs::Thing;
use crate::roster::Answer;
use crate::roster::Life;
use crate::roster::Request;

use super::residents::failed;
use super::residents::told;
use super::runtime::Runtime;

/// How long a keeper may take to give a handle.
const ANSWER_MAX: Duration = Duration::from_secs(10);

impl Runtime {
    /// Copies a file or a directory of a sandbox that runs to this host, as docker's `cp` does: into
    /// `to` where that is a directory, else to be what `to` names. What ends in `/.` is what is in a
    /// directory. Links are copied as what they are.
    ///
    /// # Errors
    ///
    /// Fails where there is no sandbox that runs, where the path is not there or in memory of the
    /// guest's own, and where the copy cannot be written.
    pub fn copy_from_resident(
        &self,
        name: &str,
        from: &str,
        to: impl AsRef<Path>,
    ) -> Result<(), Error> {
        const DOING: &str = "copy from";
        let exchange = |error| told_exchange(DOING, name, error);
        let (root, way, _) = self.files_of(DOING, name, from)?;
        let thing = Thing::in_guest(&root, &way).map_err(exchange)?;
        let to = Thing::on_host(to.as_ref()).map_err(exchange)?;
        thing.copy(&to, last_of(from)).map_err(exchange)
    }

    /// Copies a file or a directory of this host to a sandbox that runs, in the same way. The guest
    /// sees it at once.
    ///
    /// # Errors
    ///
    /// As [`copy_from_resident`](Self::copy_from_resident), and where the guest was granted that path
    /// to read alone.
    pub fn copy_to_resident(
        &self,
        from: impl AsRef<Path>,
        name: &str,
        to: &str,
    ) -> Result<(), Error> {
        const DOING: &str = "copy to";
        let exchange = |error| told_exchange(DOING, name, error);
        let (root, way, may_write) = self.files_of(DOING, name, to)?;
        if !may_write {
            let reason = format!("`{to}` was granted to be read alone");
            return Err(failed(DOING, name, ErrorKind::Denied, reason));
        }
        let from = Thing::on_host(from.as_ref()).map_err(exchange)?;
        let own = from.own_name();
        let to = Thing::in_guest(&root, &way).map_err(exchange)?;
        from.copy(&to, &own).map_err(exchange)
    }

    /// The directory that holds a path of a guest's, the way to it, and whether that may be written.
    fn files_of(
        &self,
        doing: &'static str,
        name: &str,
        path: &str,
    ) -> Result<(Directory, String, bool), Error> {
        let roster = self.roster()?;
        let id = roster.find(name).map_err(told(doing, name))?;
        if roster.get(&id).is_ok_and(|resident| resident.life == Life::Exited) {
            let reason = "it has ended, and the files of its own are gone with it: only those that it \
                          was granted are left, on this host (`-v`); copy while it runs";
            return Err(failed(doing, name, ErrorKind::Denied, reason));
        }
        let unheard = |error| self.unheard(doing, name, &id, error);
        let mut line = roster.connect(&id).map_err(unheard)?;
        let request = Request::Files(path.to_owned());
        match line.ask(&request, Some(ANSWER_MAX)).map_err(unheard)? {
            Answer::Files { way, may_write } => {
                let handle = line.take().map_err(unheard)?;
                let root = Directory::of(&handle, Path::new("")).map_err(unheard)?;
                Ok((root, way, may_write))
            }
            Answer::Refused(reason) => Err(failed(doing, name, ErrorKind::Denied, reason)),
            _ => Err(failed(doing, name, ErrorKind::Internal, "its keeper makes no sense")),
        }
    }
}

/// The last name of a path, if it has one.
fn last_of(path: &str) -> &str {
    let path = path.trim_end_matches('.').trim_end_matches('/');
    path.rsplit('/').next().unwrap_or(path)
}

fn told_exchange(doing: &'static str, name: &str, error: ExchangeError) -> Error {
    let kind = match &error {
        ExchangeError::Missing(_) => ErrorKind::NotFound,
        ExchangeError::Path { .. }
        | ExchangeError::NotADirectory(_)
        | ExchangeError::Directory(_)
        | ExchangeError::Other(_)
        | ExchangeError::Deep(_) => ErrorKind::InvalidInput,
        ExchangeError::Failed { source, .. }
            if matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ) =>
        {
            ErrorKind::Exhausted
        }
        ExchangeError::Lost { .. } | ExchangeError::Failed { .. } => ErrorKind::Denied,
    };
    failed(doing, name, kind, error)
}
