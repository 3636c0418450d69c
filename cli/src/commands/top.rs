//! `aril top`: what sandboxes that go on alone use, and what happens to them, as it happens.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::io;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use aril::Happening;
use aril::Runtime;
use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::Frame;
use ratatui::crossterm::event;
use ratatui::crossterm::event::Event;
use ratatui::crossterm::event::KeyCode;
use ratatui::crossterm::event::KeyEventKind;
use ratatui::crossterm::event::KeyModifiers;
use ratatui::layout::Constraint;
use ratatui::layout::Layout;
use ratatui::style::Stylize as _;
use ratatui::text::Line;
use ratatui::widgets::Block;
use ratatui::widgets::Cell;
use ratatui::widgets::Paragraph;
use ratatui::widgets::Row;
use ratatui::widgets::Table;
use serde_json::Value;

use super::Common;
use super::logs;
use super::stats;
use super::stats::Sample;

/// How many of the latest events are kept to be shown.
const EVENTS_MAX: usize = 200;

/// Watch what sandboxes use, and what happens to them
///
/// Keys: `c`, `m`, `n` and `i` sort by processor, memory, name and output; `q`, `Esc` and Ctrl-C leave.
#[derive(Args, Debug)]
pub(super) struct Top {
    /// Names or ids; all that run without them
    #[arg(value_name = "SANDBOX")]
    names: Vec<String>,

    /// How often it is looked
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,

    #[command(flatten)]
    common: Common,
}

fn interval(text: &str) -> Result<Duration, String> {
    /// More often would cost more than it shows.
    const LEAST: Duration = Duration::from_millis(100);
    let interval = aril::parse_span(text).map_err(|error| error.to_string())?;
    if interval < LEAST { Err("it is shorter than 100ms".to_owned()) } else { Ok(interval) }
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Processor,
    Memory,
    Name,
    Output,
}

/// What is shown.
struct Screen {
    order: Order,
    rows: Vec<Shown>,
    events: Arc<Mutex<VecDeque<Happening>>>,
}

/// What is shown of a sandbox.
struct Shown {
    told: Value,
    status: String,
    share: f64,
    /// Bytes written in a second.
    rate: f64,
}

impl Top {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        if !io::stdout().is_terminal() {
            bail!("this is for a terminal: `aril stats --no-stream` prints what sandboxes use");
        }
        let runtime = self.common.runtime()?;
        // What cannot be shown is said before the terminal is taken.
        let before = stats::sample(&runtime, &self.names)?;
        let events = watched(&runtime)?;
        let mut terminal = ratatui::try_init().context("cannot use this terminal")?;
        let watched = self.watch(&runtime, before, events, &mut terminal);
        ratatui::restore();
        watched.map(|()| ExitCode::SUCCESS)
    }

    fn watch(
        &self,
        runtime: &Runtime,
        mut before: Vec<Sample>,
        events: Arc<Mutex<VecDeque<Happening>>>,
        terminal: &mut DefaultTerminal,
    ) -> anyhow::Result<()> {
        let mut screen = Screen { order: Order::Processor, rows: Vec::new(), events };
        let mut next = Instant::now();
        loop {
            if next <= Instant::now() {
                let now = stats::sample(runtime, &self.names)?;
                screen.rows = shown(&before, &now);
                before = now;
                next = Instant::now() + self.interval;
            }
            screen.sort();
            terminal.draw(|frame| screen.draw(frame)).context("cannot draw")?;
            let left = next.saturating_duration_since(Instant::now());
            if !event::poll(left).context("cannot read keys")? {
                continue;
            }
            if let Event::Key(key) = event::read().context("cannot read keys")?
                && key.kind == KeyEventKind::Press
            {
                match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(()),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        return Ok(());
                    }
                    KeyCode::Char('c') => screen.order = Order::Processor,
                    KeyCode::Char('m') => screen.order = Order::Memory,
                    KeyCode::Char('n') => screen.order = Order::Name,
                    KeyCode::Char('i') => screen.order = Order::Output,
                    _ => {}
                }
            }
        }
    }
}

/// What happens from now on, and what happened last, kept by a thread of its own.
fn watched(runtime: &Runtime) -> anyhow::Result<Arc<Mutex<VecDeque<Happening>>>> {
    let events = Arc::new(Mutex::new(VecDeque::new()));
    let (into, runtime) = (Arc::clone(&events), runtime.clone());
    let watch = move || {
        // Where it cannot be read, nothing is shown of it.
        let _unread = runtime.happenings(true, |happening| {
            let mut into = into.lock().unwrap_or_else(PoisonError::into_inner);
            if into.len() == EVENTS_MAX {
                into.pop_front();
            }
            into.push_back(happening.clone());
            true
        });
    };
    // It ends with this process.
    let watching = std::thread::Builder::new().spawn(watch);
    watching.context("cannot watch events")?;
    Ok(events)
}

fn shown(before: &[Sample], now: &[Sample]) -> Vec<Shown> {
    let shares = stats::shares(before, now);
    let earlier: HashMap<_, _> =
        before.iter().map(|one| (one.resident.id.as_str(), &one.usage)).collect();
    let show = |one: &Sample| {
        let id = one.resident.id.as_str();
        let rate = earlier.get(id).and_then(|earlier| {
            let span = one.usage.at.duration_since(earlier.at).ok()?.as_secs_f64();
            let written = one.usage.stats.bytes_out.checked_sub(earlier.stats.bytes_out)?;
            #[expect(clippy::cast_precision_loss, reason = "a rate is shown with a few digits")]
            let written = written as f64;
            (0.0 < span).then(|| written / span)
        });
        Shown {
            told: stats::told(one, &shares),
            status: super::ps::status(&one.resident),
            share: shares.get(id).copied().unwrap_or_default(),
            rate: rate.unwrap_or_default(),
        }
    };
    now.iter().map(show).collect()
}

impl Shown {
    fn text(&self, name: &str) -> String {
        aril::printable(self.told[name].as_str().unwrap_or_default())
    }

    fn number(&self, name: &str) -> u64 {
        self.told[name].as_u64().unwrap_or_default()
    }
}

impl Screen {
    fn sort(&mut self) {
        let order = self.order;
        self.rows.sort_by(|one, other| {
            let by = match order {
                Order::Processor => other.share.total_cmp(&one.share),
                Order::Memory => other.number("MemBytes").cmp(&one.number("MemBytes")),
                Order::Output => other.rate.total_cmp(&one.rate),
                Order::Name => std::cmp::Ordering::Equal,
            };
            by.then_with(|| one.text("Name").cmp(&other.text("Name")))
        });
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(2), Constraint::Fill(1)])
                .areas(frame.area());
        let shares: f64 = self.rows.iter().map(|row| row.share).sum();
        let memory = self.rows.iter().map(|row| row.number("MemBytes")).sum();
        let memory = aril::Bytes::new(memory);
        let summary = format!(
            "{} sandboxes, {shares:.1}% of a processor, {memory} of memory",
            self.rows.len()
        );
        frame.render_widget(Line::from(summary).bold(), top);
        frame.render_widget(self.table(), middle);
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // The border takes a line.
        let room = usize::from(bottom.height.saturating_sub(1));
        let latest = events.iter().skip(events.len().saturating_sub(room));
        let lines = latest.map(|one| Line::from(logs::in_words(one))).collect::<Vec<_>>();
        let block = Block::new().borders(ratatui::widgets::Borders::TOP).title("Events");
        frame.render_widget(Paragraph::new(lines).block(block), bottom);
    }

    fn table(&self) -> Table<'_> {
        let heads = [
            ("SANDBOX ID", None),
            ("NAME", Some(Order::Name)),
            ("CPU %", Some(Order::Processor)),
            ("MEM USAGE / LIMIT", Some(Order::Memory)),
            ("MEM %", None),
            ("IN / OUT", None),
            ("OUT/s", Some(Order::Output)),
            ("STATUS", None),
        ];
        let head = heads.map(|(text, order)| {
            let cell = Cell::from(text);
            if order == Some(self.order) { cell.reversed() } else { cell }
        });
        let rows = self.rows.iter().map(|row| {
            Row::new([
                row.text("ID"),
                row.text("Name"),
                row.text("CPUPerc"),
                row.text("MemUsage"),
                row.text("MemPerc"),
                row.text("StreamIO"),
                rate(row.rate),
                row.status.clone(),
            ])
        });
        let widths = [
            Constraint::Length(12),
            Constraint::Min(12),
            Constraint::Length(8),
            Constraint::Length(22),
            Constraint::Length(8),
            Constraint::Length(22),
            Constraint::Length(10),
            Constraint::Min(16),
        ];
        Table::new(rows, widths).header(Row::new(head).bold())
    }
}

/// Bytes in a second, as people read them.
fn rate(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(size, _)| *size <= bytes) {
        Some((size, unit)) => format!("{:.1}{unit}", bytes / size),
        None => format!("{bytes:.0}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_short_and_have_units() {
        for (bytes, text) in [(0.0, "0B"), (999.0, "999B"), (1500.0, "1.5kB"), (2.5e9, "2.5GB")] {
            assert_eq!(rate(bytes), text);
        }
    }

    #[test]
    fn it_is_not_looked_more_often_than_can_be_seen() {
        assert_eq!(interval("2s"), Ok(Duration::from_secs(2)));
        assert!(interval("1ms").is_err_and(|error| error.contains("100ms")));
    }
}
