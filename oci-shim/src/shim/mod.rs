//! The shim of containerd, `containerd-shim-aril-v1`: how it is called, and how it answers.
//!
//! One server keeps the containers of a pod, each guest in a worker of the library's. All of it is one
//! thread: calls come in by `service.rs`, are done one by one at the desk (`desk.rs`), and nothing that
//! waits for somebody else is done there.

mod address;
mod body;
pub mod bootstrap;
mod container;
mod create;
mod delete;
mod desk;
mod events;
mod exec;
mod failure;
pub mod flags;
mod info;
mod log;
mod metrics;
mod native;
mod options;
mod process;
mod record;
mod serve;
mod service;
mod start;
mod state;
mod streams;
mod tasks;

use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use flags::Action;
use flags::Flags;

/// The name of the runtime, as engines call it.
const RUNTIME: &str = "io.containerd.aril.v1";

/// Does what the shim is called for, by its arguments without its name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let done = Flags::parse(args).map_err(|error| error.to_string()).and_then(|flags| match flags
        .action
    {
        Action::Version => answer(info::version().as_bytes()),
        Action::Info => answer(&info::info()?),
        Action::Start => answer(&start::start(&flags)?),
        Action::Delete => answer(&delete::delete(&flags)?),
        Action::Serve => serve::serve(&flags),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            // An engine takes it for the whole answer of a call that failed.
            let _unheard = writeln!(std::io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

fn answer(bytes: &[u8]) -> Result<(), String> {
    let mut output = std::io::stdout();
    let written = output.write_all(bytes).and_then(|()| output.flush());
    written.map_err(|error| format!("cannot answer: {error}"))
}

/// All that an error says, with its causes.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
