//! What a wasm file takes and gives, as far as its outermost sections say.

use wasmparser::Encoding;
use wasmparser::Parser;
use wasmparser::Payload;
use wasmparser::Validator;
use wasmparser::WasmFeatures;
use wasmtime::Module;

use crate::units::Bytes;

use super::config::running_engine;
use super::kind::Form;
use super::kind::Kind;

/// The most names that are told of.
const NAMES_MAX: usize = 10_000;

/// The interface that a program with a start exports, whatever its version.
const COMMAND: &str = "wasi:cli/run@";

/// What a wasm file is.
#[derive(Debug)]
pub(crate) struct Described {
    /// What a component takes and gives; a module has nothing to tell.
    pub(crate) component: Option<World>,
}

/// The names that a component imports and exports.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
}

impl World {
    /// The world that it is made for, as far as its exports tell.
    pub(crate) fn target(&self) -> Option<String> {
        let version = self.exports.iter().find_map(|name| name.strip_prefix(COMMAND))?;
        Some(format!("wasi:cli/command@{version}"))
    }
}

/// Describes a wasm file, once it was found to be valid: what is not is told of now, and not at the
/// first run.
pub(crate) fn describe(bytes: &[u8]) -> Result<Described, String> {
    let broken = |error: wasmparser::BinaryReaderError| format!("it is not wasm: {error}");
    let mut component = None;
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                validate_module(bytes)?;
                return Ok(Described { component: None });
            }
            Payload::Version { .. } if depth == 0 => component = Some(World::default()),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                let world = component.get_or_insert_default();
                for import in imports {
                    world.imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                let world = component.get_or_insert_default();
                for export in exports {
                    world.exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            _ => {}
        }
        let told = component.as_ref().map_or(0, |world| world.imports.len() + world.exports.len());
        if NAMES_MAX < told {
            return Err(format!("it imports and exports more than {NAMES_MAX} names"));
        }
    }
    if component.is_some() {
        // More than the engine takes: what it does not is told of when it is compiled.
        let validated = Validator::new_with_features(WasmFeatures::all()).validate_all(bytes);
        validated.map_err(|error| format!("it is not valid: {error}"))?;
    }
    component
        .map(|world| Described { component: Some(world) })
        .ok_or_else(|| "it is not wasm: it is empty".to_owned())
}

/// Whether a module is one that the engine takes.
fn validate_module(bytes: &[u8]) -> Result<(), String> {
    let told = |error: wasmtime::Error| format!("it is not valid: {error:#}");
    // Only its choice of what wasm may say matters here.
    let engine = running_engine(Form::Module, Kind::default(), Bytes::mib(1), None);
    Module::validate(&engine.map_err(told)?, bytes).map_err(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_tells_its_outermost_imports_and_exports() {
        let text = r#"(component
            (import "wasi:cli/environment@0.2.3" (instance))
            (component (import "inner" (func)))
            (core module (import "m" "f" (func)))
            (instance $run)
            (export "wasi:cli/run@0.2.3" (instance $run)))"#;
        let described = describe(&wat::parse_str(text).expect("a component")).expect("wasm");
        let world = described.component.expect("it is a component");
        assert_eq!(world.imports, ["wasi:cli/environment@0.2.3"]);
        assert_eq!(world.exports, ["wasi:cli/run@0.2.3"]);
        assert_eq!(world.target().as_deref(), Some("wasi:cli/command@0.2.3"));
    }

    #[test]
    fn a_module_has_nothing_to_tell_and_what_is_no_wasm_is_refused() {
        let module = wat::parse_str("(module)").expect("a module");
        assert!(describe(&module).expect("wasm").component.is_none());
        for bytes in [&b""[..], b"\0asm", b"\0asm\x01\0", b"text"] {
            let error = describe(bytes).expect_err("no wasm");
            assert!(error.starts_with("it is not wasm"), "{error}");
        }
    }
}
