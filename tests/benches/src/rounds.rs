//! Rounds: each side once, again and again, so that the machine's mood meets all sides alike.

use std::time::Duration;
use std::time::Instant;

use anyhow::Result;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Rounds, where time allows.
    pub(crate) rounds: usize,
    /// After this long no further round is begun, once there are enough.
    pub(crate) time: Duration,
}

/// The fewest rounds that say anything about a spread.
const ENOUGH: usize = 20;

/// Rounds that are not counted: caches fill in them.
const WARM_UP: usize = 2;

/// One side of a comparison: runs once, and says what it cost.
pub(crate) type Side<'a, T> = Box<dyn FnMut() -> Result<T> + 'a>;

/// What each side cost in each round.
pub(crate) fn rounds<T, const SIDES: usize>(
    plan: Plan,
    mut sides: [Side<'_, T>; SIDES],
) -> Result<[Vec<T>; SIDES]> {
    let mut costs = rounds_of(plan, &mut sides)?.into_iter();
    Ok(std::array::from_fn(|_| costs.next().unwrap_or_default()))
}

/// The same for as many sides as there are.
pub(crate) fn rounds_of<T>(plan: Plan, sides: &mut [Side<'_, T>]) -> Result<Vec<Vec<T>>> {
    for _ in 0..WARM_UP.min(plan.rounds) {
        for side in &mut *sides {
            side()?;
        }
    }
    let mut costs: Vec<Vec<T>> = sides.iter().map(|_| Vec::with_capacity(plan.rounds)).collect();
    let started = Instant::now();
    for round in 0..plan.rounds {
        if ENOUGH <= round && plan.time < started.elapsed() {
            break;
        }
        for (side, costs) in sides.iter_mut().zip(&mut costs) {
            costs.push(side()?);
        }
    }
    Ok(costs)
}
