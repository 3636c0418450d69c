//! Shares of processors: a hundred guests that spin, and one that hardly does anything.

use anyhow::ensure;

use crate::bench::Bench;
use crate::line::Line;
use crate::worker::Worker;

use super::Row;

pub(super) const ROW: Row = Row {
    name: "shares",
    about: "100 spinning guests at a hundredth of a processor each, in one process, 10 s",
    measure,
};

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let spinner = bench.guest("spin.wasm")?;
    let dozer = Bench::own_guest("doze.wat")?;
    let cache = bench.aril_cache().display().to_string();
    let mut shares: Vec<f64> = Vec::new();
    let mut woken: Vec<f64> = Vec::new();
    for _ in 0..if bench.quick { 1 } else { 5 } {
        let words = [cache.as_str(), &spinner, &dozer, "100", "10"];
        let answer = Worker::start("library-shares", &words)?.ask()?;
        let figures: Vec<f64> = answer.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        ensure!(figures.len() == 102, "the worker said: {answer}");
        let (spinning, dozing) = figures.split_at(100);
        shares.extend(spinning.iter().map(|share| share * 100.0));
        woken.push(dozing[0] / dozing[1]);
    }
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    let most = shares.iter().copied().fold(0.0, f64::max);
    let found = format!("{least:.2} - {most:.2} % (all of {} guests)", shares.len());
    let throttled = woken.iter().copied().fold(f64::INFINITY, f64::min);
    let found_woken = format!("it wakes {throttled:.3} x as often as one without a limit");
    let held = 0.7 <= least && most <= 1.3;
    Ok(vec![
        Line::check(ROW.about, found, "1 % +- 0.3", held),
        Line::check(
            "a guest beside them that sleeps is not throttled",
            found_woken,
            ">= 0.95 x",
            0.95 <= throttled,
        ),
    ])
}
