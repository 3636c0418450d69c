//! `aril-oci`: the OCI runtime, as podman, CRI-O and docker call one.

use std::process::ExitCode;

fn main() -> ExitCode {
    // This program is also what compiles and what runs guests, each in a process of its own.
    aril::roles();
    aril_shim::oci::main(std::env::args_os())
}
