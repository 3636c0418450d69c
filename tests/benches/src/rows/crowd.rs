//! Ten thousand sandboxes in one process, and one more than the host has room for.

use crate::bench::Bench;
use crate::bench::root;
use crate::line::Line;
use crate::line::Unit;
use crate::rounds::rounds;
use crate::worker::Worker;

use super::Row;

pub(super) const ROW: Row =
    Row { name: "crowd", about: "10,000 sandboxes alive, each in a sleep", measure };

const CROWD: &str = "10000";

/// More than fit into the 65,530 mappings that most hosts allow, and into the address space.
const TOO_MANY: &str = "20000";

fn measure(bench: &Bench) -> anyhow::Result<Vec<Line>> {
    let sleeper = Bench::own_guest("sleep.wat")?;
    let code = bench.bare_code(&sleeper)?;
    let cache = bench.aril_cache().display().to_string();
    let [ours, theirs] = rounds(
        bench.plan(20, 240),
        [
            Box::new(|| Worker::start("library-crowd", &[&cache, &sleeper, CROWD])?.figure()),
            Box::new(|| Worker::start("bare-crowd", &[&code, CROWD])?.figure()),
        ],
    )?;
    let what = "10,000 sandboxes asleep in one process, private memory, beside bare wasmtime";
    let answer = Worker::start("library-full", &[&cache, &sleeper, TOO_MANY])?.ask()?;
    let named = answer.contains("vm.max_map_count");
    // Where this repository lies is nobody's business.
    let answer = answer.replace(&format!("{}/", root().display()), "");
    Ok(vec![
        Line::pair_at_most(what, Unit::Memory, (&ours, &theirs), 1.3),
        Line::check("one beyond what the host has mappings for", answer, "named", named),
    ])
}
