//! Processor time of sandboxes that do nothing.

use std::time::Duration;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::residents::Residents;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "idle-cpu", about: "processor time of 1,000 idle sandboxes in 10 s", measure };

const COUNT: usize = 1000;
const TIME: Duration = Duration::from_secs(10);

/// For all of them, keepers and workers.
const TARGET: Duration = Duration::from_millis(10);

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let count = if bench.quick { COUNT / 10 } else { COUNT };
    let mut residents = Residents::new(bench, "idle-cpu", &Bench::own_guest("rest.wat")?)?;
    residents.start(count, &[])?;
    Residents::settle();
    let processes = residents.processes()?.len();
    let before = residents.processor_time()?;
    std::thread::sleep(TIME);
    let used = residents.processor_time()?.saturating_sub(before);
    residents.remove()?;
    let what = format!("processor time of {count} idle sandboxes in 10 s, keepers and workers");
    let found = format!("{} ({processes} processes)", Unit::Time.text(used.as_secs_f64()));
    Ok(vec![Line::check(&what, found, "<= 10 ms", used <= TARGET)])
}
