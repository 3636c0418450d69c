//! Variables and arguments, as texts that a guest can take.

use super::GrantError;

/// The longest text of all arguments, or of all variables, in bytes: what Linux gives a program.
const TEXT_SIZE_MAX: usize = 2 << 20;

/// The most arguments, or variables.
const TEXTS_MAX: usize = 65_536;

/// Finds out whether a name and value can be a variable of a guest.
pub(crate) fn check_variable(name: &str, value: &str) -> Result<(), GrantError> {
    let refused = |reason| {
        let name: String = name.chars().take(100).collect();
        Err(GrantError::Text { what: format!("the variable `{name}`"), reason })
    };
    if name.is_empty() {
        refused("it has no name")
    } else if name.contains('=') {
        refused("its name holds a `=`")
    } else if name.contains('\0') || value.contains('\0') {
        refused("it holds a NUL byte")
    } else {
        Ok(())
    }
}

/// Finds out whether all texts together are within bounds.
pub(super) fn check_texts<'a>(
    what: &str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<(), GrantError> {
    let refused = |reason| Err(GrantError::Text { what: what.to_owned(), reason });
    let (mut count, mut size) = (0_usize, 0_usize);
    for text in texts {
        if text.contains('\0') {
            return refused("one of them holds a NUL byte");
        }
        count += 1;
        size += text.len() + 1;
    }
    if TEXTS_MAX < count {
        refused("there are more than 65536 of them")
    } else if TEXT_SIZE_MAX < size {
        refused("together they are longer than 2 MiB")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_without_a_name_or_with_a_nul_are_refused() {
        check_variable("A", "b=c").expect("a value may hold a `=`");
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "\0")] {
            assert!(check_variable(name, value).is_err(), "{name:?}={value:?}");
        }
    }

    #[test]
    fn too_many_or_too_long_texts_are_refused() {
        let long = "x".repeat(TEXT_SIZE_MAX);
        assert!(check_texts("the arguments", [long.as_str()].into_iter()).is_err());
        assert!(check_texts("the arguments", std::iter::repeat_n("", TEXTS_MAX + 1)).is_err());
        check_texts("the arguments", ["a", "b"].into_iter()).expect("they fit");
    }
}
