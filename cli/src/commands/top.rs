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
use crate::words;

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
        let runtime = self.common.keeping()?;
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
            told: stats::in_words(one, &shares),
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

    /// What stands in a column.
    fn cell(&self, column: &str) -> String {
        match column {
            "SANDBOX ID" => self.text("ID"),
            // One without a name has its id at least.
            "NAME" if self.text("Name").is_empty() => self.text("ID"),
            "NAME" => self.text("Name"),
            "CPU %" => self.text("CPUPerc"),
            "MEM USAGE / LIMIT" => self.text("MemUsage"),
            "MEM %" => self.text("MemPerc"),
            "IN / OUT" => self.text("StreamIO"),
            "OUT/s" => rate(self.rate),
            _ => self.status.clone(),
        }
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
        let memory = words::memory(memory);
        let summary = format!(
            "{} sandboxes, {shares:.1}% of a processor, {memory} of memory",
            self.rows.len()
        );
        frame.render_widget(Line::from(summary).bold(), top);
        frame.render_widget(self.table(middle.width), middle);
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        // The border takes a line.
        let room = usize::from(bottom.height.saturating_sub(1));
        let latest = events.iter().skip(events.len().saturating_sub(room));
        let lines = latest.map(|one| Line::from(logs::in_words(one))).collect::<Vec<_>>();
        let block = Block::new().borders(ratatui::widgets::Borders::TOP).title("Events");
        frame.render_widget(Paragraph::new(lines).block(block), bottom);
    }

    /// The table within so many columns of a terminal.
    fn table(&self, width: u16) -> Table<'_> {
        let cells = |column: &Column| {
            let cells = self.rows.iter().map(|row| row.cell(column.name));
            cells.collect::<Vec<_>>()
        };
        let all = COLUMNS.iter().map(|column| (column, cells(column))).collect();
        let shown = fitted(all, self.order, width);
        let head = shown.iter().map(|shown| {
            let cell = Cell::from(shown.column.name);
            if shown.column.order == Some(self.order) { cell.reversed() } else { cell }
        });
        let head = Row::new(head.collect::<Vec<_>>()).bold();
        let rows = (0..self.rows.len()).map(|at| {
            let cells = shown.iter().map(|shown| cut(&shown.cells[at], shown.width));
            Row::new(cells.collect::<Vec<_>>())
        });
        let widths = shown.iter().map(|shown| Constraint::Length(shown.width));
        Table::new(rows.collect::<Vec<_>>(), widths.collect::<Vec<_>>())
            .header(head)
            .column_spacing(GAP)
    }
}

/// What lies between two columns.
const GAP: u16 = 1;

/// A column of the table.
struct Column {
    name: &'static str,
    /// What is sorted by it.
    order: Option<Order>,
    /// Which one goes first where there is no room: that of the highest number. The one that is sorted
    /// by has 1.
    spare: u8,
    /// How wide it is at least, so that it does not jump as what is in it changes.
    usual: u16,
    /// Text may be cut to that, and no number is.
    is_text: bool,
}

impl Column {
    fn spare(&self, order: Order) -> u8 {
        if self.order == Some(order) { self.spare.min(1) } else { self.spare }
    }
}

const COLUMNS: [Column; 8] = [
    Column { name: "SANDBOX ID", usual: 12, order: None, spare: 6, is_text: false },
    Column { name: "NAME", usual: 12, order: Some(Order::Name), spare: 0, is_text: true },
    Column { name: "CPU %", usual: 7, order: Some(Order::Processor), spare: 2, is_text: false },
    Column {
        name: "MEM USAGE / LIMIT",
        usual: 19,
        order: Some(Order::Memory),
        spare: 3,
        is_text: false,
    },
    Column { name: "MEM %", usual: 7, order: None, spare: 7, is_text: false },
    Column { name: "IN / OUT", usual: 17, order: None, spare: 8, is_text: false },
    Column { name: "OUT/s", usual: 7, order: Some(Order::Output), spare: 5, is_text: false },
    // `Up 59 seconds` is whole, and of `Up 59 seconds (Paused)` its beginning.
    Column { name: "STATUS", usual: 13, order: None, spare: 4, is_text: true },
];

/// A column that is shown.
struct Fitted<'a> {
    column: &'a Column,
    cells: Vec<String>,
    width: u16,
}

/// The columns for which there is room, of the width that each gets.
fn fitted(all: Vec<(&Column, Vec<String>)>, order: Order, room: u16) -> Vec<Fitted<'_>> {
    let length = |text: &str| u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let mut shown: Vec<_> = all
        .into_iter()
        .map(|(column, cells)| {
            let widest = cells.iter().map(|cell| length(cell)).max().unwrap_or(0);
            Fitted { column, width: widest.max(column.usual), cells }
        })
        .collect();
    loop {
        let mut over = sum(&shown, |shown| shown.width).saturating_sub(room);
        if over == 0 {
            return shown;
        }
        let is_last = shown.len() == 1;
        if is_last || sum(&shown, Fitted::least) <= room {
            // The name gives last.
            for shown in shown.iter_mut().rev() {
                let spare = if is_last { shown.width } else { shown.width - shown.least() };
                let less = over.min(spare);
                shown.width -= less;
                over -= less;
            }
            return shown;
        }
        let most = shown.iter().map(|shown| shown.column.spare(order)).max();
        shown.retain(|shown| Some(shown.column.spare(order)) != most);
    }
}

/// How much room these take, with what lies between them.
fn sum<'a>(shown: &[Fitted<'a>], width: impl Fn(&Fitted<'a>) -> u16) -> u16 {
    let widths = shown.iter().map(|shown| width(shown).saturating_add(GAP));
    widths.fold(0, u16::saturating_add).saturating_sub(GAP)
}

impl Fitted<'_> {
    /// The narrowest that it may be.
    fn least(&self) -> u16 {
        if self.column.is_text { self.column.usual } else { self.width }
    }
}

/// A text in so many columns, with a sign where some of it is left out.
fn cut(text: &str, width: u16) -> String {
    let width = usize::from(width);
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
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

    fn row(id: &str, name: &str) -> Shown {
        let told = serde_json::json!({
            "ID": id, "Name": name, "CPUPerc": "199.87%", "MemUsage": "1023MiB / unlimited",
            "MemPerc": "100.00%", "StreamIO": "1.23MB / 4.56MB", "MemBytes": 1_u64 << 30,
        });
        Shown { told, status: "Up 59 seconds (Paused)".to_owned(), share: 199.87, rate: 1500.0 }
    }

    fn drawn(screen: &Screen, width: u16) -> String {
        let backend = ratatui::backend::TestBackend::new(width, 10);
        let mut terminal = ratatui::Terminal::new(backend).expect("a terminal");
        terminal.draw(|frame| screen.draw(frame)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn no_number_is_cut_however_narrow_the_terminal_is() {
        let rows = vec![row("0123456789ab", "a-name-of-some-length"), row("ba9876543210", "")];
        let mut screen = Screen { order: Order::Processor, rows, events: Arc::default() };
        for width in 20..160 {
            let shown = drawn(&screen, width);
            let line = shown.lines().find(|line| line.contains("a-name")).expect("its row");
            let (head, row) = (shown.lines().nth(1).unwrap_or_default(), line);
            for (head_of, whole) in [
                ("SANDBOX ID", "0123456789ab"),
                ("CPU %", "199.87%"),
                ("MEM USAGE / LIMIT", "1023MiB / unlimited"),
                ("MEM %", "100.00%"),
                ("IN / OUT", "1.23MB / 4.56MB"),
                ("OUT/s", "1.5kB"),
                ("STATUS", "Up 59 second"),
            ] {
                assert_eq!(head.contains(head_of), row.contains(whole), "{width}: {shown}");
            }
            assert!(head.contains("NAME") && shown.contains("ba9876543210"), "{width}: {shown}");
        }
        let shown = drawn(&screen, 80);
        for whole in ["199.87%", "1023MiB / unlimited", "1.5kB", "Up 59 second"] {
            assert!(shown.contains(whole), "{shown}");
        }
        assert!(drawn(&screen, 160).contains("a-name-of-some-length"));
        // What is sorted by is there for longest.
        screen.order = Order::Output;
        assert!(drawn(&screen, 30).contains("OUT/s"));
    }

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
