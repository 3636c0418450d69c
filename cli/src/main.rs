//! The `aril` command: words for people around the `aril` library.

mod commands;
mod exposition;
mod folders;
mod logins;
mod proxies;
mod report;
mod spans;
mod usage;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything is opened: neither a guest nor a compiler is given what a caller left open.
    aril::close_inherited();
    // Started in a role, this process never comes back from here.
    aril::roles();
    // Before this process knows anything that a guest is not to know.
    if let Some(code) = commands::split_keeper() {
        return code;
    }
    let _worker = aril::fork_worker(commands::launch_a_guest);
    commands::main()
}
