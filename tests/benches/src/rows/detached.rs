//! A thousand sandboxes that go on alone: started, listed, stopped, and nothing left.

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::line::Line;
use crate::line::Unit;
use crate::peers::Container;
use crate::peers::Engine;
use crate::residents::ABREAST;
use crate::residents::Residents;

use super::Row;
use super::part;

pub(super) const ROW: Row =
    Row { name: "detached", about: "1,000 detached sandboxes of one image", measure };

const COUNT: usize = 1000;

/// The longest that a list of all of them may take.
const LISTED: Duration = Duration::from_millis(100);

/// How often each side starts its thousand.
const ROUNDS: usize = 3;

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let (count, rounds) = if bench.quick { (COUNT / 10, 1) } else { (COUNT, ROUNDS) };
    let mut residents = Residents::new(bench, "detached", &Bench::own_guest("rest.wat")?)?;
    let before = residents.left()?;
    let (mut ours, mut listed, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
    let (mut seen, mut running) = (usize::MAX, 0);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("native/rest.c");
    let peer = Container::new(bench, "rest", &source);
    let mut theirs = Vec::new();
    for _ in 0..rounds {
        ours.push(residents.start(count, &[])?.as_secs_f64());
        let (lines, took) = list(&residents, &["ps", "-q", "--no-trunc"])?;
        seen = seen.min(lines);
        listed.push(took.as_secs_f64());
        stopped.push(residents.stop()?.as_secs_f64());
        running += list(&residents, &["ps", "-q"])?.0;
        residents.remove()?;
        if let Ok(peer) = &peer {
            theirs.push(peer.crowd(Engine::Crun, count, ABREAST)?.figure()?);
            peer.remove_crowd(Engine::Crun, count, ABREAST)?;
        }
    }
    let left = residents.left()?;
    let what = format!("{count} detached sandboxes of one image begun, beside `crun run --detach`");
    let mut lines = part(&what, || {
        peer?;
        Ok(vec![Line::pair_at_most(&what, Unit::Time, (&ours, &theirs), 0.3)])
    })?;
    let most = listed.iter().copied().fold(0.0, f64::max);
    let found = format!("{seen} listed, in {} at most", Unit::Time.text(most));
    lines.push(Line::check(
        &format!("`aril ps` of {count}"),
        found,
        "all, < 100 ms",
        seen == count && most < LISTED.as_secs_f64(),
    ));
    let most = stopped.iter().copied().fold(0.0, f64::max);
    lines.push(Line::check(
        &format!("what is left of {count}, when they were stopped and removed"),
        format!(
            "{running} run; {}; stopped in {} at most",
            left.since(&before),
            Unit::Time.text(most)
        ),
        "nothing",
        running == 0 && left.is_nothing_since(&before),
    ));
    Ok(lines)
}

/// How many lines a list has, and how long it took.
fn list(residents: &Residents<'_>, words: &[&str]) -> anyhow::Result<(usize, Duration)> {
    let started = Instant::now();
    let said = residents.aril(words).output().context("cannot run aril")?;
    let took = started.elapsed();
    Ok((String::from_utf8_lossy(&said.stdout).lines().count(), took))
}
