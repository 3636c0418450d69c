//! The action `start`: finds the server of a container's pod, or starts one, and says where it is.

use std::collections::HashMap;
use std::path::Path;
use std::path::PathBuf;

use crate::bundle;
use crate::platform::server;
use crate::platform::socket;

use super::address;
use super::bootstrap;
use super::bootstrap::Start;
use super::flags::Flags;
use super::whole;

/// Where the address of a server is written for containerd to find it again, in the bundle.
pub(super) const ADDRESS_FILE: &str = "address";

/// The variable that says where containerd takes events.
pub(super) const EVENTS_VARIABLE: &str = "TTRPC_ADDRESS";

/// What a server needs of its environment: where machine code is kept, and where programs are.
const VARIABLES: [&str; 4] = ["ARIL_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "PATH"];

/// Answers where the server is.
pub(super) fn start(flags: &Flags) -> Result<Vec<u8>, String> {
    let variable = |name: &str| std::env::var(name).ok();
    let start = bootstrap::read(flags, variable, std::io::stdin().lock())
        .map_err(|error| format!("cannot start: {}", whole(&error)))?;
    let bundle = folder(flags)?;
    let spec = bundle::read_spec(&bundle.join(bundle::CONFIG)).map_err(|error| whole(&error))?;
    let none = HashMap::new();
    let annotations = spec.annotations().as_ref().unwrap_or(&none);
    let group = address::group(annotations, &start.id);
    let folder = start.socket_dir.as_deref();
    let path = address::socket(folder, &start.address, &start.namespace, group)?;
    let address = address::of_path(&path);
    let failed = |error| format!("cannot listen at `{}`: {error}", path.display());
    if let Some(listener) = socket::listen(&path).map_err(failed)? {
        let spawned = spawn(flags, &start, &address, &bundle, listener);
        if let Err(error) = spawned {
            let _left = socket::leave(&path);
            return Err(format!("cannot start the server: {error}"));
        }
    }
    let file = bundle.join(ADDRESS_FILE);
    write(&file, &address)
        .map_err(|error| format!("cannot write `{}`: {error}", file.display()))?;
    Ok(bootstrap::answer(&address, start.dialect))
}

/// The folder of the bundle.
pub(super) fn folder(flags: &Flags) -> Result<PathBuf, String> {
    if !flags.bundle.is_empty() {
        return Ok(PathBuf::from(&flags.bundle));
    }
    std::env::current_dir().map_err(|error| format!("there is no working directory: {error}"))
}

fn spawn(
    flags: &Flags,
    start: &Start,
    address: &str,
    bundle: &Path,
    listener: socket::Listening,
) -> std::io::Result<()> {
    let words = [
        ("-namespace", start.namespace.as_str()),
        ("-id", &start.id),
        ("-address", &start.address),
        ("-socket", address),
    ];
    let mut args: Vec<String> =
        words.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()]).collect();
    if flags.debug {
        args.push("-debug".to_owned());
    }
    let kept = VARIABLES.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?)));
    let events = (EVENTS_VARIABLE, start.ttrpc_address.clone());
    server::spawn(listener, bundle, &args, kept.chain([events]))?;
    Ok(())
}

/// Writes a file that is whole as soon as it is there.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text)?;
    std::fs::rename(aside, path)
}
