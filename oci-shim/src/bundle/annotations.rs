//! What is said of a container in annotations.
//!
//! | annotation | value |
//! |---|---|
//! | `aril.run/deadline` | a span of time, such as `30s` |
//! | `aril.run/cpu-time` | a span of time |
//! | `aril.run/fuel` | units of work |
//! | `aril.run/output` | bytes that it may write to its streams |
//! | `aril.run/isolation` | `process` or `shared` |
//! | `run.oci.handler`, `module.wasm.image/variant` | as crun has them: that it is wasm |

use std::collections::HashMap;

use aril::Fuel;
use aril::Isolation;
use aril::Limits;
use aril::parse_span;

use super::refusal::Refusal;

/// What ours begin with.
const PREFIX: &str = "aril.run/";

/// Reads what annotations say of limits and isolation.
pub(super) fn read(
    annotations: &HashMap<String, String>,
    limits: &mut Limits,
) -> Result<Option<Isolation>, Refusal> {
    let mut isolation = None;
    for (name, value) in annotations {
        let refuse = |reason: String| Refusal::new(format!("annotations[{name}]"), reason);
        let Some(ours) = name.strip_prefix(PREFIX) else {
            handler(name, value).map_err(refuse)?;
            continue;
        };
        let span = || parse_span(value).map_err(|error| refuse(error.to_string()));
        match ours {
            "deadline" => limits.deadline = span()?.into(),
            "cpu-time" => limits.cpu_time = span()?.into(),
            "fuel" => {
                let units = value.parse().ok().and_then(Fuel::new);
                limits.fuel =
                    units.ok_or_else(|| refuse(format!("`{value}` is no amount of work")))?.into();
            }
            "output" => {
                let bytes = value.parse::<aril::Bytes>();
                limits.output = bytes.map_err(|error| refuse(error.to_string()))?.into();
            }
            "isolation" => {
                isolation = Some(match value.as_str() {
                    "process" => Isolation::Process,
                    "shared" => Isolation::Shared,
                    _ => {
                        return Err(refuse(format!("`{value}` is neither `process` nor `shared`")));
                    }
                });
            }
            "network" | "publish" | "dns" | "allow" => {
                return Err(refuse("guests have no network yet".to_owned()));
            }
            _ => {
                return Err(refuse(
                    "there is no such setting; there are deadline, cpu-time, fuel, output and isolation"
                        .to_owned(),
                ));
            }
        }
    }
    Ok(isolation)
}

/// What other runtimes call the handler of a container: that of wasm is ours, and what a container is
/// is seen in its program in any case.
fn handler(name: &str, value: &str) -> Result<(), String> {
    let known: &[&str] = match name {
        "run.oci.handler" => &["wasm", "wasm-smart", "wasmtime"],
        "module.wasm.image/variant" => &["compat", "compat-smart"],
        _ => return Ok(()),
    };
    if known.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "`{value}` is a handler that is not ours; leave it out, or choose from {}",
        known.join(", ")
    ))
}
