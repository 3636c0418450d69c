//! SPECIFICATION.md: what was measured goes between its markers.

use std::fs;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::bench::root;
use crate::line::Line;
use crate::line::Verdict;
use crate::rows::ROWS;

const BEGIN: &str = "<!-- benches: begin -->\n";
const END: &str = "<!-- benches: end -->";

/// Puts the lines into the table; rows that were not measured keep what they had.
pub(crate) fn write(lines: &[Line], bench: &Bench) -> anyhow::Result<()> {
    let path = root().join("SPECIFICATION.md");
    let text = fs::read_to_string(&path).context("cannot read SPECIFICATION.md")?;
    let marked = || "SPECIFICATION.md has no markers for the benches";
    let (before, rest) = text.split_once(BEGIN).with_context(marked)?;
    let (old, after) = rest.split_once(END).with_context(marked)?;
    let table = table(lines, old, &bench.machine());
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}"))
        .context("cannot write SPECIFICATION.md")
}

fn table(lines: &[Line], old: &str, machine: &str) -> String {
    let mut text = String::from("| promise | measured | command | machine |\n|---|---|---|---|\n");
    for row in ROWS {
        let command = format!("`{}`", row.name);
        let mut entries: Vec<String> = lines
            .iter()
            .filter(|line| line.row == row.name && is_measured(line))
            .map(|line| entry(line, &command, machine))
            .collect();
        if entries.is_empty() {
            let cell = format!("| {command} |");
            entries.extend(old.lines().filter(|line| line.contains(&cell)).map(str::to_owned));
        }
        if entries.is_empty() {
            entries.push(format!("| {} | *pending* | {command} | |", row.about));
        }
        for entry in entries {
            text.push_str(&entry);
            text.push('\n');
        }
    }
    text
}

fn is_measured(line: &Line) -> bool {
    !matches!(line.verdict, Verdict::Skipped | Verdict::Failed)
}

fn entry(line: &Line, command: &str, machine: &str) -> String {
    let Line { what, ours, theirs, result, target, verdict, .. } = line;
    let promise = if target.is_empty() { what.clone() } else { format!("{what}: {target}") };
    let mut measured: Vec<String> = Vec::new();
    if !result.is_empty() {
        measured.push(format!("**{result}**"));
    }
    match (ours.is_empty(), theirs.is_empty()) {
        (true, _) => {}
        (false, true) => measured.push(ours.clone()),
        (false, false) => measured.push(format!("{ours} beside {theirs}")),
    }
    if !verdict.word().is_empty() {
        measured.push(verdict.word().to_owned());
    }
    format!("| {promise} | {} | {command} | {machine} |", measured.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_not_measured_keep_what_they_had_or_are_pending() {
        let old = "| x | 5 ms | `start` | some machine |\n";
        let found = table(&[], old, "this machine");
        assert!(found.contains(old), "{found}");
        assert!(found.contains("*pending* | `python` |"), "{found}");
    }

    #[test]
    fn a_row_that_was_measured_replaces_what_it_had() {
        let old = "| x | 5 ms | `start` | some machine |\n";
        let line = Line::note("new", "1 ms".to_owned()).of("start");
        let found = table(&[line], old, "this machine");
        assert!(!found.contains(old), "{found}");
        assert!(found.contains("| new | 1 ms | `start` | this machine |"), "{found}");
    }
}
