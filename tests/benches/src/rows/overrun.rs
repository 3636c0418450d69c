//! How late a deadline is held: for a guest that spins, that waits, and that copies.
//!
//! The overrun is the time of the whole process, from its start to its end, less the deadline:
//! starting it and taking it apart count, and nothing else is subtracted. In a shared process it is
//! that of the sandbox, by its own figures.

use std::time::Duration;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::run::run;
use crate::run::seconds;
use crate::stats::median;
use crate::stats::quantile;
use crate::worker::Worker;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "overrun", about: "time beyond the deadline under `aril run`", measure };

/// The code of a run that reached its deadline.
const DEADLINE_CODE: i32 = 124;

/// In the middle of the first copy, for the guest that copies.
const DEADLINE: Duration = Duration::from_millis(100);

/// The most that 99 of 100 runs may take beyond the deadline.
const TARGET: Duration = Duration::from_millis(10);

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let guests = [
        ("spinning", bench.guest("spin.wasm")),
        ("asleep", Bench::own_guest("sleep.wat")),
        ("reading standard input", bench.guest("cat-stdin.wasm")),
        ("copying 1 GiB", Bench::own_guest("copy.wat")),
    ];
    let mut lines = Vec::new();
    for (name, guest) in guests {
        let what = format!("deadline overrun at p99, of the whole process: {name}");
        lines.extend(part(&what, || Ok(vec![one(bench, &what, &guest?)?]))?);
    }
    let shared = [
        ("spinning", bench.guest("spin.wasm"), "1", true),
        ("100 that spin on one thread, the last", bench.guest("spin.wasm"), "100", false),
        ("copying 1 GiB", Bench::own_guest("copy.wat"), "1", false),
    ];
    for (name, guest, count, promised) in shared {
        let what = format!("deadline overrun at p99, in a shared process: {name}");
        lines.extend(part(&what, || {
            let cache = bench.aril_cache().display().to_string();
            let deadline = DEADLINE.as_millis().to_string();
            let mut library = Worker::start("library-late", &[&cache, &guest?, count, &deadline])?;
            let [overruns] = rounds(bench.plan(100, 30), [Box::new(|| library.figure())])?;
            Ok(vec![told(&what, &overruns, promised)])
        })?);
    }
    Ok(lines)
}

fn one(bench: &Bench, what: &str, guest: &str) -> anyhow::Result<Line> {
    let deadline = format!("{}ms", DEADLINE.as_millis());
    // A pipe that nobody writes to, for the guest that reads.
    let (input, _writer) = std::io::pipe()?;
    let [costs] = rounds(
        bench.plan(300, 45),
        [Box::new(|| {
            let mut aril = bench.aril(&["run", "-i", "--memory", "2g", "--deadline", &deadline]);
            run(aril.arg(guest).stdin(input.try_clone()?), DEADLINE_CODE)
        })],
    )?;
    let overruns = seconds(&costs, |cost| cost.wall.saturating_sub(DEADLINE));
    Ok(told(what, &overruns, true))
}

/// What was found of overruns; with the target where it is promised.
fn told(what: &str, overruns: &[f64], promised: bool) -> Line {
    let late = quantile(overruns, 990);
    let found = format!(
        "{} (median {}, most {}, {} runs)",
        Unit::Time.text(late),
        Unit::Time.text(median(overruns)),
        Unit::Time.text(quantile(overruns, 1000)),
        overruns.len()
    );
    if promised {
        Line::check(what, found, "<= 10 ms", late <= TARGET.as_secs_f64())
    } else {
        Line::note(what, found)
    }
}
