//! Words of a Dockerfile: how a line is cut into them, and what the variables in them stand for.
//!
//! Source: the Dockerfile reference on environment replacement, and `shell/lex.go` of docker's builder.

use std::iter::Peekable;
use std::str::Chars;

use super::shown;

/// The longest word that variables may make, in bytes. Each may hold others twice, so that a few
/// lines make one of any length.
const WORD_MAX: usize = 64 << 10;

/// How deep one `${A:-${B}}` may be in another.
const DEPTH_MAX: usize = 16;

/// Cuts a line where there is a space outside of quotes. Quotes stay.
pub(super) fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(c);
        match (c, quote) {
            (c, _) if c == escape && quote != Some('\'') => word.extend(chars.next()),
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What makes words out of what is written: quotes go, and variables become what they stand for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<F> {
    pub(crate) escape: char,
    /// What a variable stands for.
    pub(crate) value_of: F,
}

impl<F: Fn(&str) -> Option<String>> Words<F> {
    /// The word that a text stands for.
    pub(crate) fn expand(&self, text: &str) -> Result<String, String> {
        let mut chars = text.chars().peekable();
        self.until(&mut chars, None, 0).map_err(|reason| format!("`{}`: {reason}", shown(text)))
    }

    fn until(
        &self,
        chars: &mut Peekable<Chars<'_>>,
        end: Option<char>,
        depth: usize,
    ) -> Result<String, String> {
        let mut word = String::new();
        loop {
            let Some(c) = chars.next() else {
                return match end {
                    Some(end) => Err(format!("its `{end}` is missing")),
                    None => Ok(word),
                };
            };
            match c {
                c if Some(c) == end => return Ok(word),
                '\'' => loop {
                    match chars.next().ok_or("its closing `'` is missing")? {
                        '\'' => break,
                        c => word.push(c),
                    }
                },
                '"' => self.quoted(chars, &mut word, depth)?,
                '$' => word.push_str(&self.variable(chars, depth)?),
                c if c == self.escape => word.extend(chars.next()),
                c => word.push(c),
            }
            if WORD_MAX < word.len() {
                return Err(format!("it stands for more than {WORD_MAX} bytes"));
            }
        }
    }

    fn quoted(
        &self,
        chars: &mut Peekable<Chars<'_>>,
        word: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        loop {
            match chars.next().ok_or("its closing `\"` is missing")? {
                '"' => return Ok(()),
                '$' => word.push_str(&self.variable(chars, depth)?),
                c if c == self.escape => {
                    let next = chars.next().ok_or("its closing `\"` is missing")?;
                    // Elsewhere it stands for itself.
                    if next != '"' && next != '$' && next != self.escape {
                        word.push(c);
                    }
                    word.push(next);
                }
                c => word.push(c),
            }
            if WORD_MAX < word.len() {
                return Err(format!("it stands for more than {WORD_MAX} bytes"));
            }
        }
    }

    /// What is behind a `$`.
    fn variable(&self, chars: &mut Peekable<Chars<'_>>, depth: usize) -> Result<String, String> {
        if chars.next_if_eq(&'{').is_none() {
            let name = name(chars);
            // A sign of money.
            return Ok(if name.is_empty() { "$".to_owned() } else { self.value(&name) });
        }
        if depth == DEPTH_MAX {
            return Err(format!("its variables are nested deeper than {DEPTH_MAX}"));
        }
        let name = name(chars);
        if name.is_empty() {
            return Err("a `${` has no name behind it".to_owned());
        }
        let with_colon = chars.next_if_eq(&':').is_some();
        let set = (self.value_of)(&name).filter(|value| !with_colon || !value.is_empty());
        let sign = chars.next().ok_or("its `}` is missing")?;
        if sign == '}' && !with_colon {
            return Ok(self.value(&name));
        }
        if !matches!(sign, '-' | '+' | '?') {
            let shown = sign.escape_debug();
            return Err(format!("`{shown}` after a variable's name is not known here"));
        }
        let word = self.until(chars, Some('}'), depth + 1)?;
        match (sign, set) {
            ('+', set) => Ok(set.map(|_| word).unwrap_or_default()),
            (_, Some(value)) => Ok(value),
            ('-', None) => Ok(word),
            (_, None) if word.is_empty() => Err(format!("the variable `{name}` has no value")),
            (_, None) => Err(format!("the variable `{name}` has no value: {}", shown(&word))),
        }
    }

    fn value(&self, name: &str) -> String {
        (self.value_of)(name).unwrap_or_default()
    }
}

fn name(chars: &mut Peekable<Chars<'_>>) -> String {
    std::iter::from_fn(|| chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let value_of = |name: &str| match name {
            "A" => Some("a b".to_owned()),
            "EMPTY" => Some(String::new()),
            "LONG" => Some("x".repeat(WORD_MAX)),
            _ => None,
        };
        Words { escape: '\\', value_of }.expand(text)
    }

    #[test]
    fn variables_and_quotes_are_what_docker_takes_them_for() {
        for (text, expected) in [
            ("$A/x", "a b/x"),
            ("${A}x", "a bx"),
            ("$NOT", ""),
            ("${NOT:-d}", "d"),
            ("${EMPTY:-d}${EMPTY-d}", "d"),
            ("${A:+y}${EMPTY:+n}${EMPTY+y}${NOT+n}", "yy"),
            ("${NOT:-${A}}", "a b"),
            ("${NOT:-'}'}", "}"),
            ("${A:?no}", "a b"),
            ("\\$A '$A' \"$A\"", "$A $A a b"),
            ("\"a\\\"b\\x\\\\\"", "a\"b\\x\\"),
            ("a\\ b", "a b"),
            ("5$ $", "5$ $"),
            ("", ""),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_word_is_refused() {
        let deep = "${NOT:-".repeat(20) + &"}".repeat(20);
        for (text, expected) in [
            ("'a", "closing `'`"),
            ("\"a", "closing `\"`"),
            ("${A", "`}` is missing"),
            ("${A:-x", "`}` is missing"),
            ("${}", "no name"),
            ("${A#x}", "`#` after a variable's name"),
            ("${A:x}", "`x` after a variable's name"),
            ("${NOT:?give it}", "has no value: give it"),
            ("$LONG$LONG", "more than 65536 bytes"),
            (deep.as_str(), "nested deeper"),
        ] {
            let error = expanded(text).expect_err(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_line_is_cut_outside_of_quotes() {
        let words = split(r#"a="b c" 'd e'  f\ g "h\" i""#, '\\');
        assert_eq!(words, [r#"a="b c""#, "'d e'", r"f\ g", r#""h\" i""#]);
        assert!(split("  ", '\\').is_empty());
    }
}
