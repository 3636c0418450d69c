//! Calls of the system as an attacker makes them, for tests: none here.

/// The number of the error of a call that is not there.
#[cfg(feature = "hostile")]
const NOT_THERE: i64 = 38;

#[cfg(feature = "hostile")]
pub(crate) fn raw(_number: i64, _arguments: [i64; 6]) -> i64 {
    -NOT_THERE
}

#[cfg(feature = "hostile")]
pub(crate) fn list() -> Vec<(i64, &'static str, &'static str)> {
    Vec::new()
}

#[cfg(feature = "hostile")]
pub(crate) fn refuse_user_namespaces() {}
