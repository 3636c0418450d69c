//! What the files of a group say, as values. Nothing here reads: all of it takes text of any
//! content.

use crate::platform::groups::Bound;

/// A file that is one number.
pub(super) fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    // The standard library reads `+1` as well.
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// A file that is one limit of v2: a number, or `max`.
pub(super) fn bound(text: &str) -> Option<Bound<u64>> {
    if text.trim() == "max" { Some(Bound::Unlimited) } else { number(text).map(Bound::At) }
}

/// A limit of memory in v1, where none is written as the largest number of whole pages.
pub(super) fn bound_of_bytes(text: &str) -> Option<Bound<u64>> {
    number(text)
        .map(|bytes| if bytes < UNLIMITED_FROM { Bound::At(bytes) } else { Bound::Unlimited })
}

/// As many bytes as there are whole pages below 2^63, with the largest pages that Linux has.
const UNLIMITED_FROM: u64 = (1 << 63) - (64 << 10);

/// The number behind a word, in a file of such lines.
pub(super) fn field(text: &str, word: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == word).and_then(|(_, value)| number(value))
}

/// Whether a file of words has this one.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split_ascii_whitespace().any(|found| found == word)
}

/// The processes that a file lists, a line each. One that this process does not see, because it is
/// in another namespace, is listed as 0, and not here.
pub(super) fn processes(text: &str) -> Vec<u32> {
    let numbers = text.lines().filter_map(number).filter_map(|pid| u32::try_from(pid).ok());
    numbers.filter(|pid| *pid != 0).collect()
}

/// The value of a key in the line of a device: `8:0 rbps=1000 wbps=max`.
pub(super) fn of_device<'t>(text: &'t str, device: &str, key: &str) -> Option<&'t str> {
    let line = text.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '))?;
    let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The limit of a device in a file of v1, where a device without one is not listed: `8:0 1000`.
pub(super) fn throttle(text: &str, device: &str) -> Option<u64> {
    text.lines().find_map(|line| number(line.strip_prefix(device)?.strip_prefix(' ')?))
}

/// The sum over all devices of what `io.stat` says of a key.
pub(super) fn io_sum(text: &str, key: &str) -> u64 {
    let pairs = text.split_ascii_whitespace().filter_map(|word| word.split_once('='));
    pairs
        .filter(|(name, _)| *name == key)
        .filter_map(|(_, value)| number(value))
        .fold(0, u64::saturating_add)
}

/// The same of a file of v1: `8:0 Read 4096`.
pub(super) fn throttle_sum(text: &str, operation: &str) -> u64 {
    let of_line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (device, name, value) = (words.next()?, words.next()?, words.next()?);
        (device.contains(':') && name == operation).then(|| number(value)).flatten()
    };
    text.lines().filter_map(of_line).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_and_nothing_else() {
        assert_eq!(number("4096\n"), Some(4096));
        for text in ["", "\n", "-1", "+1", "1 2", "max", "0x10", "18446744073709551616", "\u{661}"]
        {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn limits_are_told_from_there_being_none() {
        assert_eq!(bound("max\n"), Some(Bound::Unlimited));
        assert_eq!(bound("8192\n"), Some(Bound::At(8192)));
        assert_eq!(bound("maximum"), None);
        assert_eq!(bound_of_bytes("9223372036854771712\n"), Some(Bound::Unlimited));
        assert_eq!(bound_of_bytes("9223372036854710272\n"), Some(Bound::Unlimited));
        assert_eq!(bound_of_bytes("8192"), Some(Bound::At(8192)));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "oom 3\noom_kill 2\noom_group_kill x\nempty\n";
        assert_eq!(field(text, "oom"), Some(3));
        assert_eq!(field(text, "oom_kill"), Some(2));
        assert_eq!(field(text, "oom_group_kill"), None);
        assert_eq!(field(text, "empty"), None);
        assert_eq!(field(text, "oom_k"), None);
    }

    #[test]
    fn processes_are_numbers_that_this_process_can_name() {
        assert_eq!(processes("12\n0\nx\n4294967296\n7\n"), [12, 7]);
        assert!(processes("").is_empty());
    }

    #[test]
    fn a_device_is_told_from_one_whose_number_begins_like_it() {
        let text = "8:0 rbps=1000 wbps=max riops=max wiops=max\n8:01 rbps=7\n";
        assert_eq!(of_device(text, "8:0", "rbps"), Some("1000"));
        assert_eq!(of_device(text, "8:0", "wbps"), Some("max"));
        assert_eq!(of_device(text, "8:1", "rbps"), None);
        assert_eq!(throttle("8:16 5\n8:1 7\n", "8:1"), Some(7));
        assert_eq!(throttle("8:16 5\n", "8:1"), None);
    }

    #[test]
    fn what_devices_did_is_summed() {
        let stat = "8:0 rbytes=10 wbytes=1 rios=2 wios=3 dbytes=9 dios=9\n\
            253:0 rbytes=18446744073709551615 rios=x\n\n8:16 \n";
        assert_eq!(io_sum(stat, "rbytes"), u64::MAX);
        assert_eq!(io_sum(stat, "rios"), 2);
        let v1 = "8:0 Read 10\n8:0 Write 5\n8:0 Total 15\n8:16 Read 1\nTotal 16\nRead 7\n";
        assert_eq!(throttle_sum(v1, "Read"), 11);
        assert_eq!(throttle_sum(v1, "Write"), 5);
    }
}
