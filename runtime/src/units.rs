//! Quantities that cannot be mixed up: bytes, processors, fuel and spans of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// An amount of memory or data, in bytes.
///
/// Parsed as docker parses it: a whole number with an optional unit `b`, `k`, `m`, `g` or `t` (also
/// `kb`, `kib`, ...), in powers of 1024 and in either case: `64m` is 64 MiB. Zero is refused, as
/// are fractions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// The largest amount that can be named: 2^63 - 1 bytes, as much as a file can hold.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// `count` bytes.
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// `count` KiB (1024 bytes each).
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// `count` MiB (1024 KiB each).
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u32, &str); 4] = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        for (shift, unit) in UNITS {
            let whole = self.0 >> shift;
            if whole > 0 && whole << shift == self.0 {
                return write!(f, "{whole} {unit}");
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

impl FromStr for Bytes {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity {
            text: text.to_owned(),
            expected: "a size from 1 byte to 8191 PiB, such as `65536`, `64m` or `1g`",
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(invalid()),
        };
        let number: u64 = number.parse().map_err(|_| invalid())?;
        match number.checked_mul(1 << shift) {
            Some(count) if (1..=Self::MAX.0).contains(&count) => Ok(Self(count)),
            _ => Err(invalid()),
        }
    }
}

/// A share of processors: `0.5` is half of one, `2` is two.
///
/// Kept in millionths of a processor; from 0.001 to 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus {
    // Invariant: from 1_000 to 1_024_000_000.
    millionths: u32,
}

impl Cpus {
    /// The smallest share: a thousandth of a processor.
    pub const MIN: Self = Self { millionths: 1_000 };

    /// One whole processor.
    pub const ONE: Self = Self { millionths: 1_000_000 };

    /// A share in millionths of a processor, or nothing where that is no share.
    pub(crate) fn from_millionths(millionths: u64) -> Option<Self> {
        let millionths = u32::try_from(millionths).ok()?;
        (1_000..=1_024_000_000).contains(&millionths).then_some(Self { millionths })
    }

    /// The share in millionths of a processor.
    pub const fn millionths(self) -> u32 {
        self.millionths
    }

    /// How much processor time this share earns in `span`.
    pub fn earned_in(self, span: Duration) -> Duration {
        let nanos = span.as_nanos() * u128::from(self.millionths) / 1_000_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How long it takes this share to earn `time`.
    pub fn time_to_earn(self, time: Duration) -> Duration {
        let nanos = time.as_nanos() * 1_000_000 / u128::from(self.millionths);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.millionths / 1_000_000, self.millionths % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}

impl FromStr for Cpus {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidQuantity {
            text: text.to_owned(),
            expected: "a number of processors from 0.001 to 1024, such as `0.5` or `2`",
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().map_err(|_| invalid())?;
        let fraction: u32 = format!("{fraction:0<6}").parse().map_err(|_| invalid())?;
        let millionths = whole.checked_mul(1_000_000).and_then(|n| n.checked_add(fraction));
        millionths.map(u64::from).and_then(Self::from_millionths).ok_or_else(invalid)
    }
}

/// An amount of work: about one unit for each WebAssembly instruction that is executed.
///
/// From 1 to 2^63 - 1. The price of an instruction belongs to the engine and may change with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fuel {
    // Invariant: from 1 to `i64::MAX`.
    units: u64,
}

impl Fuel {
    /// `units` of work, or nothing where that is zero or more than 2^63 - 1.
    pub const fn new(units: u64) -> Option<Self> {
        if units == 0 || units > i64::MAX as u64 { None } else { Some(Self { units }) }
    }

    /// The number of units.
    pub const fn get(self) -> u64 {
        self.units
    }
}

impl fmt::Display for Fuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.units)
    }
}

impl FromStr for Fuel {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok().and_then(Self::new)).flatten().ok_or_else(|| {
            InvalidQuantity {
                text: text.to_owned(),
                expected: "a whole number from 1 to 9223372036854775807",
            }
        })
    }
}

/// The shortest span of time that can be a limit: less than the watchdog's precision is noise.
const SPAN_MIN: Duration = Duration::from_millis(1);

/// The longest: a hundred years. A longer one is meant to be `unlimited`.
const SPAN_MAX: Duration = Duration::from_hours(100 * 365 * 24);

/// Reads a span of time such as `1.5s`, `500ms`, `2m 30s` or `10` (seconds).
///
/// # Errors
///
/// Fails where the text is not a span from 1 ms to 100 years.
pub fn parse_span(text: &str) -> Result<Duration, InvalidQuantity> {
    let invalid = || InvalidQuantity {
        text: text.to_owned(),
        expected: "a span of time from 1ms to 100years, such as `500ms`, `2s`, `1m 30s` or `10`",
    };
    let seconds = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let span = if seconds {
        let seconds: f64 = text.parse().map_err(|_| invalid())?;
        Duration::try_from_secs_f64(seconds).map_err(|_| invalid())?
    } else {
        fractional_span(text)
            .or_else(|| humantime::parse_duration(text).ok())
            .ok_or_else(invalid)?
    };
    if (SPAN_MIN..=SPAN_MAX).contains(&span) { Ok(span) } else { Err(invalid()) }
}

/// Reads `1.5s`, which people write and `humantime` does not take.
fn fractional_span(text: &str) -> Option<Duration> {
    let (number, scale) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else {
        (text.strip_suffix('s')?, 1.0)
    };
    if !number.contains('.') || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * scale).ok()
}

/// A text that is not the quantity it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidQuantity {
    text: String,
    expected: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, bytes) in [("65536", 65536), ("64m", 64 << 20), ("1G", 1 << 30), ("2KiB", 2048)]
        {
            assert_eq!(text.parse(), Ok(Bytes::new(bytes)), "{text}");
        }
    }

    #[test]
    fn a_size_that_is_zero_negative_huge_or_of_no_known_unit_is_refused() {
        for text in
            ["0", "-1", "1e30", "10XB", "18446744073709551616", "9223372036854775808", "", "m"]
        {
            let error = text.parse::<Bytes>().expect_err(text);
            assert!(error.to_string().contains("from 1 byte"), "{error}");
        }
    }

    #[test]
    fn sizes_print_in_the_largest_whole_unit() {
        assert_eq!(Bytes::mib(64).to_string(), "64 MiB");
        assert_eq!(Bytes::new(1500).to_string(), "1500 bytes");
    }

    #[test]
    fn processors_are_counted_in_millionths() {
        assert_eq!("0.01".parse::<Cpus>().map(Cpus::millionths), Ok(10_000));
        assert_eq!("2".parse::<Cpus>().map(|c| c.to_string()), Ok("2".to_owned()));
        assert_eq!("1.5".parse::<Cpus>().map(|c| c.to_string()), Ok("1.5".to_owned()));
        for text in ["0", "-1", "0.0001", "1025", "1e2", "nan", "", ".5", "0.1234567"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_earns_and_takes_time_alike() {
        let share: Cpus = "0.25".parse().expect("a quarter is a share");
        assert_eq!(share.earned_in(Duration::from_millis(8)), Duration::from_millis(2));
        assert_eq!(share.time_to_earn(Duration::from_millis(2)), Duration::from_millis(8));
    }

    #[test]
    fn spans_are_read_with_and_without_units() {
        for (text, ms) in
            [("2s", 2000), ("10", 10_000), ("0.5", 500), ("1.5s", 1500), ("1m 30s", 90_000)]
        {
            assert_eq!(parse_span(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["0", "-1s", "1e30", "5 fortnights", "18446744073709551616", "", ".", "0.1ms"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
