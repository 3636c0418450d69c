//! The `aril` command: words for people around the `aril` library.

mod commands;
mod folders;
mod report;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Started in a role, this process never comes back from here.
    aril::roles();
    commands::main()
}
