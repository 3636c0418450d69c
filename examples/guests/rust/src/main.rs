//! A guest in Rust: prints its arguments, reads a file under /data, ends with the code it is asked for.
//!
//! `hello [NAME ...] [--read PATH] [--exit CODE]`

use std::{env, fs, process::ExitCode};

fn main() -> ExitCode {
    println!("hello from Rust");
    let mut code = 0;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let outcome = match argument.as_str() {
            "--exit" => number(arguments.next()).map(|wanted| code = wanted),
            "--read" => text(arguments.next()).map(|text| print!("{text}")),
            name => {
                println!("argument: {name}");
                Ok(())
            }
        };
        if let Err(reason) = outcome {
            eprintln!("{reason}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::from(code)
}

fn number(argument: Option<String>) -> Result<u8, String> {
    let argument = argument.ok_or("--exit needs a code, 0 to 255")?;
    argument.parse().map_err(|reason| format!("--exit {argument}: {reason}"))
}

fn text(path: Option<String>) -> Result<String, String> {
    let path = path.ok_or("--read needs a path")?;
    fs::read_to_string(&path).map_err(|reason| format!("{path}: {reason}"))
}
