//! The compiler's own work: wasm in, machine code and a report out. It runs in its own process.

use std::io;
use std::io::Read;
use std::io::Write;

use serde::Deserialize;
use serde::Serialize;
use wasmtime::Module;
use wasmtime::component::Component;

use crate::digest::Digest;

use super::WASM_SIZE_MAX;
use super::config::compiling_engine;
use super::held::held_by_instances;
use super::instrument::instrument;
use super::kind::Form;
use super::kind::Interruption;
use super::kind::Kind;

/// What the compiler is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// What the wasm must hash to: it may have changed since it was looked at.
    pub(crate) digest: Digest,
    pub(crate) kind: Kind,
}

/// What the compiler answers. A claim: it has read a stranger's file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Report {
    /// The machine code is written.
    Compiled {
        /// The form of the wasm, as [`Form`] prints it.
        form: String,
        /// What the engine holds for its instances, in bytes.
        held: u64,
    },
    /// The file is no longer what it was.
    Changed,
    /// This is no wasm that the engine takes.
    Invalid {
        /// Why.
        reason: String,
    },
    /// The machine code could not be written.
    Unwritten {
        /// Why.
        reason: String,
    },
}

/// How much of a reason is told.
const REASON_SIZE_MAX: usize = 2000;

/// Compiles what `wasm` holds, and writes the machine code to `code`.
pub(crate) fn compile(job: &Job, wasm: impl Read, mut code: impl Write) -> Report {
    let bytes = match read(job, wasm) {
        Ok(bytes) => bytes,
        Err(report) => return report,
    };
    match machine_code(&bytes, job.kind) {
        Ok(Made { form, held, code: machine_code }) => {
            match code.write_all(&machine_code).and_then(|()| code.flush()) {
                Ok(()) => Report::Compiled { form: form.to_string(), held },
                Err(error) => Report::Unwritten { reason: error.to_string() },
            }
        }
        Err(reason) => Report::Invalid { reason: bounded(reason) },
    }
}

fn read(job: &Job, wasm: impl Read) -> Result<Vec<u8>, Report> {
    let mut bytes = Vec::new();
    let unreadable =
        |error: io::Error| Report::Invalid { reason: format!("it cannot be read: {error}") };
    wasm.take(WASM_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if WASM_SIZE_MAX < bytes.len() as u64 {
        let limit = crate::units::Bytes::new(WASM_SIZE_MAX);
        return Err(Report::Invalid { reason: format!("it is larger than {limit}") });
    }
    if Digest::of(&bytes) == job.digest { Ok(bytes) } else { Err(Report::Changed) }
}

/// What is made of wasm.
struct Made {
    form: Form,
    held: u64,
    code: Vec<u8>,
}

/// The form of the wasm, and its machine code; or why there is none.
fn machine_code(bytes: &[u8], kind: Kind) -> Result<Made, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    if bytes.starts_with(b"\x7fELF") {
        return Err("it is a native program or an artifact of another engine, not wasm".to_owned());
    }
    // Text becomes binary here; binary stays what it is.
    let bytes = wat::parse_bytes(bytes).map_err(|error| match bytes.first() {
        Some(b'(' | b';' | b' ' | b'\n') => format!("it is not valid text of a module: {error}"),
        _ => "it is neither wasm nor its text form".to_owned(),
    })?;
    let told = |error: wasmtime::Error| format!("{error:#}");
    let header: [u8; 8] = bytes.first_chunk().copied().ok_or("it is truncated")?;
    let (form, code) = match header {
        [0, b'a', b's', b'm', 1, 0, 0, 0] => module(&bytes, kind).map_err(told),
        [0, b'a', b's', b'm', _, _, 1, 0] => component(&bytes, kind).map_err(told),
        [0, b'a', b's', b'm', ..] => Err(format!("its version {:?} is unknown", &header[4..])),
        _ => Err("it is neither wasm nor its text form".to_owned()),
    }?;
    // Only what is valid is weighed.
    Ok(Made { form, held: held_by_instances(&bytes), code })
}

/// Compiles a module; with its work counted where that is asked for and can be done.
fn module(bytes: &[u8], kind: Kind) -> wasmtime::Result<(Form, Vec<u8>)> {
    let engine = compiling_engine(Form::Module, kind)?;
    // What counts reads only what is valid.
    Module::validate(&engine, bytes)?;
    let counted = instrument(bytes).ok();
    if kind.interruption(Form::Module) == Interruption::Counted {
        let code = counted.map(|counted| Module::from_binary(&engine, &counted)?.serialize());
        if let Some(Ok(code)) = code {
            return Ok((Form::Module, code));
        }
        let engine = compiling_engine(Form::UncountedModule, kind)?;
        let code = Module::from_binary(&engine, bytes)?.serialize()?;
        return Ok((Form::UncountedModule, code));
    }
    // The form is that of the wasm: it must not depend on what is asked for.
    let countable = counted.is_some_and(|counted| Module::validate(&engine, &counted).is_ok());
    let form = if countable { Form::Module } else { Form::UncountedModule };
    Ok((form, Module::from_binary(&engine, bytes)?.serialize()?))
}

/// Compiles a component; with support for concurrency only where it is needed, because every
/// host call pays for it.
fn component(bytes: &[u8], kind: Kind) -> wasmtime::Result<(Form, Vec<u8>)> {
    let build = |form| {
        let engine = compiling_engine(form, kind)?;
        let component = Component::from_binary(&engine, bytes)?;
        let names_wasi_3 = {
            let types = component.component_type();
            types.imports(&engine).any(|(name, _)| is_wasi_3(name))
                || types.exports(&engine).any(|(name, _)| is_wasi_3(name))
        };
        wasmtime::Result::Ok((names_wasi_3, component.serialize()?))
    };
    match build(Form::Component) {
        Ok((false, code)) => Ok((Form::Component, code)),
        // The second answer is the better one, also where both are errors.
        Ok((true, _)) | Err(_) => {
            build(Form::ConcurrentComponent).map(|(_, code)| (Form::ConcurrentComponent, code))
        }
    }
}

/// Whether this is the name of a WASI 0.3 interface, or of one of its drafts.
fn is_wasi_3(name: &str) -> bool {
    name.starts_with("wasi:") && name.rsplit_once('@').is_some_and(|(_, v)| v.starts_with("0.3."))
}

fn bounded(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(REASON_SIZE_MAX) {
        reason.truncate(end);
        reason.push_str(" ...");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(wasm: &[u8]) -> Report {
        let job = Job { digest: Digest::of(wasm), kind: Kind::default() };
        compile(&job, wasm, &mut Vec::new())
    }

    fn reason(wasm: &[u8]) -> String {
        match report(wasm) {
            Report::Invalid { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn text_and_binary_are_told_by_content() {
        let text = b"(module (func (export \"_start\")))";
        let binary = wat::parse_bytes(text).expect("valid");
        for wasm in [&text[..], &binary[..]] {
            assert!(matches!(report(wasm), Report::Compiled { form, .. } if form == "module"));
        }
        let component = report(b"(component)");
        assert!(matches!(component, Report::Compiled { form, .. } if form == "component"));
    }

    #[test]
    fn what_is_no_wasm_is_refused_with_its_reason() {
        assert_eq!(reason(b""), "it is empty");
        assert_eq!(
            reason(b"\x7fELF\x02"),
            "it is a native program or an artifact of another engine, not wasm"
        );
        assert_eq!(reason(b"#!/bin/sh\n"), "it is neither wasm nor its text form");
        assert!(reason(b"\0asm").contains("truncated"), "{}", reason(b"\0asm"));
        assert!(reason(b"(module (func i32.const").contains("not valid text"));
        assert!(reason(b"\0asm\x01\0\0\0\x01").contains("unexpected end"));
    }

    #[test]
    fn a_file_that_changed_since_it_was_hashed_is_not_compiled() {
        let job = Job { digest: Digest::of(b"before"), kind: Kind::default() };
        assert!(matches!(compile(&job, &b"(module)"[..], Vec::new()), Report::Changed));
    }
}
