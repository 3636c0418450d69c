//! Amounts and times as people read them.

use std::time::Duration;

/// An amount of bytes as docker shows it: three digits and a decimal unit.
pub(crate) fn size(bytes: u64) -> String {
    let (digits, unit) = three_digits(bytes, 1000.0, ["kB", "MB", "GB", "TB", "PB"]);
    digits + unit
}

/// An amount of memory as docker shows it: three digits, or four, and a binary unit.
pub(crate) fn memory(bytes: u64) -> String {
    let (mut digits, unit) = three_digits(bytes, 1024.0, ["KiB", "MiB", "GiB", "TiB", "PiB"]);
    if digits.contains('.') {
        // What is whole, as limits are, is shown so.
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    digits + unit
}

/// The first digits of an amount, and the unit in which it has the fewest.
fn three_digits(bytes: u64, step: f64, units: [&'static str; 5]) -> (String, &'static str) {
    #[expect(clippy::cast_precision_loss, reason = "three digits of it are shown")]
    let mut amount = bytes as f64;
    if amount < step {
        return (bytes.to_string(), "B");
    }
    amount /= step;
    let mut unit = 0;
    while step - 0.5 <= amount && unit + 1 < units.len() {
        amount /= step;
        unit += 1;
    }
    let digits = if amount < 9.995 { 2 } else { usize::from(amount < 99.95) };
    (format!("{amount:.digits$}"), units[unit])
}

/// How long ago something was, in its largest unit.
pub(crate) fn ago(age: Duration) -> String {
    format!("{} ago", span(age))
}

/// A span of time in its largest unit.
pub(crate) fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 6] = [
        (365 * 86_400, "year"),
        (30 * 86_400, "month"),
        (7 * 86_400, "week"),
        (86_400, "day"),
        (3_600, "hour"),
        (60, "minute"),
    ];
    let seconds = span.as_secs();
    let found = UNITS.into_iter().find(|(unit, _)| *unit <= seconds);
    let (count, name) = found.map_or((seconds, "second"), |(unit, name)| (seconds / unit, name));
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {name}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_three_digits_and_a_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1.00kB"),
            (12_345, "12.3kB"),
            (999_999, "1.00MB"),
            (26_214_400, "26.2MB"),
            (123_456_789_000, "123GB"),
            (u64::MAX, "18447PB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn memory_has_a_binary_unit_and_what_is_whole_is_shown_so() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1088 << 10, "1.06MiB"),
            (12_900_000, "12.3MiB"),
            (64 << 20, "64MiB"),
            (100 << 20, "100MiB"),
            (1023 << 20, "1023MiB"),
            ((1 << 30) - 1, "1GiB"),
            (u64::MAX, "16384PiB"),
        ] {
            assert_eq!(memory(bytes), text);
        }
    }

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        for (seconds, text) in [
            (0, "0 seconds ago"),
            (61, "1 minute ago"),
            (7_300, "2 hours ago"),
            (86_400 * 20, "2 weeks ago"),
            (86_400 * 800, "2 years ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), text);
        }
    }
}
