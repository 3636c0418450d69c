//! A line of the table: what was compared, what came out, and whether that is what was promised.

use crate::stats::Estimate;
use crate::stats::median;
use crate::stats::quantile;
use crate::stats::ratio;

/// What a figure counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    /// In seconds.
    Time,
    /// In bytes.
    Memory,
}

impl Unit {
    pub(crate) fn text(self, figure: f64) -> String {
        let (scaled, unit) = match self {
            Self::Time if figure.abs() < 1e-3 => (figure * 1e6, "us"),
            Self::Time if figure.abs() < 1.0 => (figure * 1e3, "ms"),
            Self::Time => (figure, "s"),
            Self::Memory if figure.abs() < 1024.0 * 1024.0 => (figure / 1024.0, "KiB"),
            Self::Memory => (figure / 1024.0 / 1024.0, "MiB"),
        };
        let decimals = match scaled.abs() {
            size if size < 10.0 => 2,
            size if size < 100.0 => 1,
            _ => 0,
        };
        format!("{scaled:.decimals$} {unit}")
    }

    fn spread(self, samples: &[f64]) -> String {
        let [low, middle, high] = [quantile(samples, 100), median(samples), quantile(samples, 900)];
        format!("{} ({} - {})", self.text(middle), self.text(low), self.text(high))
    }
}

/// What became of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    /// Beyond the target, and the interval reaches it: more runs would tell.
    Near,
    Missed,
    Skipped,
    Failed,
    /// Nothing is promised: it helps to read the others.
    Shown,
}

impl Verdict {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Near => "missed, within the noise",
            Self::Missed => "missed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::Shown => "",
        }
    }

    /// Whether a figure stays at or below `target`.
    pub(crate) fn at_most(figure: Estimate, target: f64) -> Self {
        if figure.value <= target {
            Self::Met
        } else if figure.low <= target {
            Self::Near
        } else {
            Self::Missed
        }
    }

    pub(crate) const fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) row: &'static str,
    pub(crate) what: String,
    pub(crate) ours: String,
    pub(crate) theirs: String,
    pub(crate) result: String,
    pub(crate) target: String,
    pub(crate) verdict: Verdict,
}

impl Line {
    fn new(what: &str, verdict: Verdict) -> Self {
        let empty = String::new;
        Self {
            row: "",
            what: what.to_owned(),
            ours: empty(),
            theirs: empty(),
            result: empty(),
            target: empty(),
            verdict,
        }
    }

    /// Two sides in pairs, of which nothing is promised yet.
    pub(crate) fn pair(what: &str, unit: Unit, ours: &[f64], theirs: &[f64]) -> Self {
        let result = ratio(ours, theirs);
        Self {
            ours: unit.spread(ours),
            theirs: unit.spread(theirs),
            result: estimate_text(result),
            ..Self::new(what, Verdict::Shown)
        }
    }

    /// Two sides in pairs, the ratio of whose medians is promised to be at most `target`.
    pub(crate) fn pair_at_most(
        what: &str,
        unit: Unit,
        (ours, theirs): (&[f64], &[f64]),
        target: f64,
    ) -> Self {
        Self::pair(what, unit, ours, theirs).promised(ratio(ours, theirs), target)
    }

    /// A figure that is not of two sides alone, with what is promised of it.
    pub(crate) fn figure(what: &str, figure: Estimate, target: f64) -> Self {
        let line = Self { result: estimate_text(figure), ..Self::new(what, Verdict::Shown) };
        line.promised(figure, target)
    }

    fn promised(self, figure: Estimate, target: f64) -> Self {
        let verdict = Verdict::at_most(figure, target);
        Self { target: format!("<= {target}"), verdict, ..self }
    }

    /// Something that is so, or is not.
    pub(crate) fn check(what: &str, found: String, target: &str, met: bool) -> Self {
        let line = Self::new(what, Verdict::of(met));
        Self { ours: found, target: target.to_owned(), ..line }
    }

    /// Something to know beside the promises.
    pub(crate) fn note(what: &str, found: String) -> Self {
        Self { ours: found, ..Self::new(what, Verdict::Shown) }
    }

    /// What could not be measured here.
    pub(crate) fn skipped(what: &str, reason: &str) -> Self {
        Self { ours: reason.to_owned(), ..Self::new(what, Verdict::Skipped) }
    }

    /// What went wrong in measuring.
    pub(crate) fn failed(what: &str, reason: &str) -> Self {
        Self { ours: reason.to_owned(), ..Self::new(what, Verdict::Failed) }
    }

    /// Names the row that the line belongs to.
    pub(crate) fn of(self, row: &'static str) -> Self {
        Self { row, ..self }
    }

    /// Shows the two sides of a figure.
    pub(crate) fn with_sides(self, unit: Unit, ours: &[f64], theirs: &[f64]) -> Self {
        Self { ours: unit.spread(ours), theirs: unit.spread(theirs), ..self }
    }

    fn cells(&self) -> [&str; 7] {
        let word = self.verdict.word();
        [self.row, &self.what, &self.ours, &self.theirs, &self.result, &self.target, word]
    }

    /// The line alone, for those who watch.
    pub(crate) fn text(&self) -> String {
        let cells = self.cells();
        let filled: Vec<&str> =
            cells.iter().skip(1).copied().filter(|cell| !cell.is_empty()).collect();
        format!("        {}", filled.join("  |  "))
    }
}

fn estimate_text(Estimate { low, value, high }: Estimate) -> String {
    format!("{value:.3} [{low:.3}, {high:.3}]")
}

/// The heads of the columns.
const HEADS: [&str; 7] =
    ["row", "what", "aril: median (p10 - p90)", "beside", "ratio [95 %]", "target", "verdict"];

/// All lines, in columns.
pub(crate) fn table(lines: &[Line]) -> String {
    let rows: Vec<[&str; 7]> =
        std::iter::once(HEADS).chain(lines.iter().map(Line::cells)).collect();
    let width = |column: usize| {
        // What takes more than that is a sentence, and may stand out.
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.filter(|width| *width <= 76).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
