//! Medians, spreads, and how sure a ratio is.

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) low: f64,
    pub(crate) value: f64,
    pub(crate) high: f64,
}

/// How often samples are drawn again for an interval.
const DRAWS: usize = 1000;

/// The value below which `permille` thousandths of the samples are.
pub(crate) fn quantile(samples: &[f64], permille: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get((last * permille + 500) / 1000).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median(samples: &[f64]) -> f64 {
    quantile(samples, 500)
}

/// The ratio of two medians.
pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Estimate {
    estimate(&[ours, theirs], |columns| median(&columns[0]) / median(&columns[1]))
}

/// A statistic of samples that were taken together, and its bootstrap interval: rounds are drawn
/// again whole, so that what disturbed one side of a round disturbs the other.
pub(crate) fn estimate(columns: &[&[f64]], statistic: impl Fn(&[Vec<f64>]) -> f64) -> Estimate {
    let own: Vec<Vec<f64>> = columns.iter().map(|column| column.to_vec()).collect();
    let value = statistic(&own);
    let rounds = columns.iter().map(|column| column.len()).min().unwrap_or(0);
    if rounds < 2 {
        return Estimate { low: value, value, high: value };
    }
    let mut dice = Dice(0x5eed);
    let mut drawn = own;
    let values: Vec<f64> = (0..DRAWS)
        .map(|_| {
            for round in 0..rounds {
                let from = dice.below(rounds);
                for (drawn, column) in drawn.iter_mut().zip(columns) {
                    drawn[round] = column[from];
                }
            }
            statistic(&drawn)
        })
        .collect();
    Estimate { low: quantile(&values, 25), value, high: quantile(&values, 975) }
}

/// Numbers that look random, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let samples: Vec<f64> = (0..=100).map(f64::from).collect();
        let found = [quantile(&samples, 100), median(&samples), quantile(&samples, 990)];
        assert_eq!(found.map(f64::to_bits), [10.0, 50.0, 99.0].map(f64::to_bits));
    }

    #[test]
    fn an_interval_holds_the_ratio_of_pairs_that_move_together() {
        let theirs: Vec<f64> = (1..=40).map(f64::from).collect();
        let ours: Vec<f64> = theirs.iter().map(|value| value * 2.0).collect();
        let found = ratio(&ours, &theirs);
        assert!((found.low - 2.0).abs() < 1e-9 && (found.high - 2.0).abs() < 1e-9, "{found:?}");
    }
}
