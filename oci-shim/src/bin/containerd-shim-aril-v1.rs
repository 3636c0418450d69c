//! `containerd-shim-aril-v1`: the shim of containerd's runtime `io.containerd.aril.v1`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // This program is also what compiles and what runs guests, each in a process of its own.
    aril::roles();
    aril_shim::shim::main(std::env::args_os().skip(1))
}
