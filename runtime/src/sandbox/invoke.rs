//! Calling a function by name: texts become what its type says, and its results become texts.

use wasmtime::Func;
use wasmtime::Store;
use wasmtime::Val;
use wasmtime::ValType;
use wasmtime::component;
use wasmtime::component::types::ComponentItem;

use super::guest::LaunchError;
use super::linking::Loaded;
use super::spec::Invocation;
use super::state::State;

/// Calls a function of a module.
pub(super) async fn call_module(
    store: &mut Store<State>,
    function: Func,
    arguments: &[Val],
) -> wasmtime::Result<Vec<String>> {
    let mut results = vec![Val::I32(0); function.ty(&mut *store).results().len()];
    function.call_async(&mut *store, arguments, &mut results).await?;
    Ok(results.iter().map(text_of).collect())
}

fn text_of(value: &Val) -> String {
    match value {
        Val::I32(value) => value.to_string(),
        Val::I64(value) => value.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        Val::V128(value) => value.as_u128().to_string(),
        other => match other.ref_() {
            Some(reference) if reference.is_null() => "null".to_owned(),
            _ => "reference".to_owned(),
        },
    }
}

/// The values of a module's arguments.
pub(super) fn module_arguments(
    invocation: &Invocation,
    types: impl ExactSizeIterator<Item = ValType>,
) -> Result<Vec<Val>, LaunchError> {
    check_count(invocation, types.len())?;
    types.zip(&invocation.arguments).map(|(ty, text)| value_of(&ty, text)).collect()
}

fn check_count(invocation: &Invocation, wanted: usize) -> Result<(), LaunchError> {
    let given = invocation.arguments.len();
    if given == wanted {
        return Ok(());
    }
    let function = &invocation.function;
    Err(LaunchError::Invocation {
        reason: format!("`{function}` takes {wanted} arguments, and {given} were given"),
    })
}

fn value_of(ty: &ValType, text: &str) -> Result<Val, LaunchError> {
    let invalid = |name| LaunchError::Invocation { reason: format!("`{text}` is not an {name}") };
    match ty {
        ValType::I32 => integer(text)
            .and_then(|value| {
                i32::try_from(value).or_else(|_| u32::try_from(value).map(u32::cast_signed)).ok()
            })
            .map(Val::I32)
            .ok_or_else(|| invalid("i32")),
        ValType::I64 => integer(text)
            .and_then(|value| {
                i64::try_from(value).or_else(|_| u64::try_from(value).map(u64::cast_signed)).ok()
            })
            .map(Val::I64)
            .ok_or_else(|| invalid("i64")),
        ValType::F32 => {
            text.parse::<f32>().map(|v| Val::F32(v.to_bits())).map_err(|_| invalid("f32"))
        }
        ValType::F64 => {
            text.parse::<f64>().map(|v| Val::F64(v.to_bits())).map_err(|_| invalid("f64"))
        }
        other => Err(LaunchError::Invocation {
            reason: format!("an argument of type {other} cannot be written as text"),
        }),
    }
}

/// A whole number, in decimal or with `0x`, and with a sign or without.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let value = match hex {
        Some(hex) if !hex.starts_with(['+', '-']) => i128::from_str_radix(hex, 16).ok()?,
        Some(_) => return None,
        None => digits.parse().ok()?,
    };
    Some(if negative { -value } else { value })
}

/// A function of a component, and the values to call it with.
pub(super) struct ComponentCall {
    pub(super) function: component::ComponentExportIndex,
    pub(super) arguments: Vec<component::Val>,
    results: usize,
}

/// Finds a function of a component, at its root or as `interface#function`.
pub(super) fn component_call(
    loaded: &Loaded,
    component: &component::Component,
    invocation: &Invocation,
) -> Result<ComponentCall, LaunchError> {
    let found = match invocation.function.rsplit_once('#') {
        Some((interface, function)) => component
            .get_export(None, interface)
            .and_then(|(_, interface)| component.get_export(Some(&interface), function)),
        None => component.get_export(None, invocation.function.as_str()),
    };
    let Some((ComponentItem::ComponentFunc(ty), function)) = found else {
        return Err(no_function(loaded, invocation));
    };
    let types: Vec<_> = ty.params().map(|(_, ty)| ty).collect();
    check_count(invocation, types.len())?;
    let arguments = types.iter().zip(&invocation.arguments).map(|(ty, text)| {
        component::Val::from_wave(ty, text).map_err(|error| LaunchError::Invocation {
            reason: format!("the argument `{text}` does not fit the function's type: {error:#}"),
        })
    });
    let arguments = arguments.collect::<Result<_, _>>()?;
    Ok(ComponentCall { function, arguments, results: ty.results().len() })
}

/// Says that there is no such function, and which there are.
pub(super) fn no_function(loaded: &Loaded, invocation: &Invocation) -> LaunchError {
    let exports = loaded.exported_functions();
    let some = exports.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("`, `");
    let function = &invocation.function;
    LaunchError::Invocation {
        reason: format!("it exports no function `{function}`; it exports `{some}`"),
    }
}

/// Calls a function of a component.
pub(super) async fn call_component(
    store: &mut Store<State>,
    function: component::Func,
    call: &ComponentCall,
) -> wasmtime::Result<Vec<String>> {
    let mut results = vec![component::Val::Bool(false); call.results];
    function.call_async(&mut *store, &call.arguments, &mut results).await?;
    results.iter().map(component::Val::to_wave).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_signed_unsigned_and_in_hex() {
        for (text, value) in [("7", Some(7)), ("-7", Some(-7)), ("0xff", Some(255)), ("--7", None)]
        {
            assert_eq!(integer(text), value, "{text}");
        }
        assert!(matches!(value_of(&ValType::I32, "4294967295"), Ok(Val::I32(-1))));
        assert!(value_of(&ValType::I32, "4294967296").is_err());
        assert!(value_of(&ValType::I64, "-9223372036854775809").is_err());
        assert!(value_of(&ValType::I32, "1.5").is_err());
    }
}
