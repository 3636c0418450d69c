//! What is said to people, and the codes that ends become.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use aril::Denial;
use aril::ErrorKind;
use aril::Exit;
use aril::LaunchError;
use aril::MemoryWall;
use aril::Record;
use aril::Refusal;

/// Aril itself failed, was called in a way that makes no sense, or cannot do what it was called to:
/// hold a limit, make a grant. So do docker and podman.
pub(crate) const FAILED: u8 = 125;

/// Not all of what was asked for could be done, and what could not was said; or there is no such
/// sandbox: docker ends so.
pub(crate) const UNDONE: u8 = 1;

/// The program is there and cannot be run.
const NOT_RUNNABLE: u8 = 126;

/// There is no such program.
const NOT_FOUND: u8 = 127;

/// Nobody reads any more what was asked for, as with `aril images | head -n1`: whoever asked has
/// closed the pipe, and knows.
const UNREAD: u8 = 141;

/// Nobody reads any more what is printed.
#[derive(Debug)]
struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot print: nobody reads it any more")
    }
}

impl std::error::Error for Unread {}

/// The failure to print what was asked for.
pub(crate) fn unprinted(error: io::Error) -> anyhow::Error {
    unsent(error.into()).context("cannot print")
}

/// The failure of something that writes to standard output, which may be that nobody reads it.
pub(crate) fn unsent(error: anyhow::Error) -> anyhow::Error {
    let is_it = |cause: &(dyn std::error::Error + 'static)| {
        let error = cause.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(is_it) { Unread.into() } else { error }
}

/// Prints a line that was asked for.
pub(crate) fn line(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").map_err(unprinted)
}

/// Says something about what is done, beside what was asked for.
pub(crate) fn say(text: fmt::Arguments<'_>) {
    tell(format_args!("aril: {text}\n"));
}

/// Says how something goes on, where nobody sees bars.
pub(crate) fn aside(text: fmt::Arguments<'_>) {
    tell(format_args!("{text}\n"));
}

/// Writes to standard error at once, so that what others write there cannot come between.
fn tell(text: fmt::Arguments<'_>) {
    // Where nobody can be told, nobody is told.
    let _unheard = write_whole(io::stderr(), text.to_string().as_bytes());
}

/// Writes all of it, also where the caller left the stream in a state in which it does not wait.
fn write_whole(mut out: impl io::Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

/// Says why Aril failed.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<Unread>().is_some() {
        return ExitCode::from(UNREAD);
    }
    // Names come from everywhere; what they would do to a terminal is written out.
    let text = format!("{error:#}");
    let lines: Vec<String> = text.split('\n').map(aril::printable).collect();
    say(format_args!("{}", lines.join("\n")));
    ExitCode::from(match error.downcast_ref::<aril::Error>() {
        // As every verb of docker's ends that does not find a container.
        Some(aril::Error::Roster { kind: ErrorKind::NotFound, .. }) => UNDONE,
        Some(error) => code_of(error.kind()),
        None => FAILED,
    })
}

/// Says how Aril is called.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    let _unheard = error.print();
    if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound => NOT_FOUND,
        ErrorKind::NotRunnable => NOT_RUNNABLE,
        // What a newer library adds is a failure of ours until it has a code of its own.
        _ => FAILED,
    }
}

/// A line that says what takes so long.
#[derive(Debug)]
pub(crate) struct Progress {
    file: PathBuf,
    terminal: bool,
    shown: bool,
}

impl Progress {
    pub(crate) fn new(file: &Path) -> Self {
        Self { file: file.to_owned(), terminal: io::stderr().is_terminal(), shown: false }
    }

    /// The machine code has been waited for that long, whoever compiles it.
    pub(crate) fn compiling(&mut self, elapsed: Duration) {
        let file = self.file.display();
        if self.terminal {
            let seconds = elapsed.as_secs_f32();
            tell(format_args!("\raril: compiling `{file}` ({seconds:.1} s)"));
        } else if !self.shown {
            say(format_args!("compiling `{file}`, once"));
        }
        self.shown = true;
    }

    /// It is over, well or not.
    pub(crate) fn done(&mut self) {
        if self.shown && self.terminal {
            tell(format_args!("\r\x1b[2K"));
        }
    }
}

/// What is shown of a check that reads much: on a terminal, once it takes a while.
pub(crate) struct Reading {
    terminal: bool,
    shown: Option<Instant>,
}

impl Reading {
    pub(crate) fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: None }
    }

    pub(crate) fn tell(&mut self, reading: aril::Reading) {
        /// How often.
        const BEAT: Duration = Duration::from_millis(200);
        let shown = *self.shown.get_or_insert_with(Instant::now);
        if self.terminal && BEAT <= shown.elapsed() {
            tell(format_args!("\r\x1b[2Karil: read {} of {}", reading.done, reading.size));
            self.shown = Some(Instant::now());
        }
    }

    /// It is over.
    pub(crate) fn done(&self) {
        if self.terminal && self.shown.is_some() {
            tell(format_args!("\r\x1b[2K"));
        }
    }
}

/// Where the record of a run goes.
#[derive(Debug)]
pub(crate) enum RecordFile {
    None,
    Stdout,
    File(File),
}

impl RecordFile {
    fn write(self, record: &Record) -> io::Result<()> {
        match self {
            Self::None => Ok(()),
            Self::Stdout => {
                // One line of its own, whatever the guest wrote before it.
                let begin = if record.mid_line { "\n" } else { "" };
                let line = format!("{begin}{}\n", record.to_json());
                write_whole(io::stdout(), line.as_bytes())
            }
            Self::File(mut file) => writeln!(file, "{}", record.to_json()),
        }
    }
}

/// Tells of a run's end, and says the code that the process ends with.
pub(crate) fn ended(outcome: Result<&Record, &LaunchError>, file: RecordFile) -> u8 {
    let record = match outcome {
        Ok(record) => record,
        Err(error) => {
            say(format_args!("{error}"));
            return match error {
                LaunchError::NotRunnable { .. } => NOT_RUNNABLE,
                _ => FAILED,
            };
        }
    };
    let printed = record.results.iter();
    let mut printed = printed.map(|result| format!("{result}\n"));
    let printed = printed.try_for_each(|line| write_whole(io::stdout(), line.as_bytes()));
    // A closed standard output is the reader's choice.
    let printed = printed.or_else(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(()),
        _ => Err(error),
    });
    // The record first: standard error may be a pipe that nobody reads.
    let written = file.write(record);
    explain(record);
    if let Err(error) = written {
        say(format_args!("cannot write the record: {error}"));
        return FAILED;
    }
    if let Err(error) = printed {
        say(format_args!("cannot print what the function returned: {error}"));
        return FAILED;
    }
    record.exit.code()
}

/// Says why the guest ended, where it did not end well.
fn explain(record: &Record) {
    let amount = |name: &str| {
        let hold = record.holds.iter().find(|hold| hold.name == name);
        hold.and_then(|hold| hold.amount.clone()).unwrap_or_else(|| "unlimited".to_owned())
    };
    match &record.exit {
        Exit::Exited(0) => return,
        Exit::Exited(_) if 0 < record.stats.memory_refusals => say(format_args!(
            "the guest was told that it may have no more memory than {}; raise it with `--memory`",
            amount("memory")
        )),
        Exit::Exited(_) => {}
        Exit::Trapped(trap) => {
            say(format_args!("the guest trapped: {}", trap.message));
            for (i, frame) in trap.backtrace.iter().enumerate() {
                let offset = frame.offset.map_or_else(String::new, |at| format!(" @ {at:#x}"));
                let function = aril::printable(&frame.function);
                tell(format_args!("  {i:>3}: {function}{offset}\n"));
            }
        }
        Exit::OutOfMemory(MemoryWall::Meter) => {
            let often = match record.stats.memory_refusals {
                1 => "once".to_owned(),
                count => format!("{count} times"),
            };
            say(format_args!(
                "the guest ran out of memory: it was told no {often} at a limit of {}; raise it \
                 with `--memory`",
                amount("memory")
            ));
        }
        Exit::OutOfMemory(MemoryWall::Cgroup) => {
            say(format_args!(
                "the guest ran out of memory: the kernel ended its process at a limit of {}; raise \
                 it with `--memory`",
                amount("memory")
            ));
        }
        Exit::Deadline => {
            say(format_args!("the guest reached its deadline ({})", amount("deadline")));
        }
        Exit::CpuTime => {
            say(format_args!("the guest used up its processor time ({})", amount("cpu_time")));
        }
        Exit::Fuel => say(format_args!("the guest used up its fuel ({})", amount("fuel"))),
        Exit::Output => {
            say(format_args!("the guest wrote more than its output limit ({})", amount("output")));
        }
        Exit::Stopped => say(format_args!("the guest was stopped: its grace was over")),
        Exit::Killed(signal) => match &record.violation {
            Some(call) => say(format_args!(
                "the guest's process was ended for {call}, which nothing of ours makes (signal \
                 {signal}): please report it"
            )),
            None => say(format_args!("the guest was ended by signal {signal}")),
        },
        Exit::Denied(what) => say(format_args!("the guest was denied at its start: {what}")),
    }
    if let Some(denial) = telling(record) {
        // A guest that says nothing of it may have ended of something else.
        let likely = if denial.named { "" } else { "before it ended, " };
        say(format_args!("{likely}{}", hint(denial)));
    }
}

/// How many calls to the host lie at most between a denial and an end that says nothing of it: what
/// a program needs to print an error and close its streams. A language's start is further away.
const CALLS_TO_END_MAX: u64 = 12;

/// The denial that ended the run, as far as one can tell: the latest that the guest complained of,
/// or else one that happened just before the end.
///
/// A language tries many paths at its start and can do without them, and it may read all its
/// sources again to tell where it failed: how long ago a denial was says little.
fn telling(record: &Record) -> Option<&Denial> {
    let ended_by_itself = matches!(record.exit, Exit::Exited(_) | Exit::Trapped(_));
    let mut latest_first = record.denials.iter().rev().filter(|_| ended_by_itself);
    let since = |denial: &Denial| record.stats.host_calls.saturating_sub(denial.call);
    let latest = latest_first.clone().next();
    let latest = latest.filter(|d| since(d) <= CALLS_TO_END_MAX && !d.passed);
    latest_first.find(|denial| denial.named).or(latest)
}

/// A denial, and the flag that grants what was denied.
fn hint(denial: &Denial) -> String {
    let path = quoted(&denial.path);
    match denial.refusal {
        Refusal::NotGranted => {
            // The guest chose the path, and people copy commands: what a shell would read as more
            // than a path is not put into one.
            let directory = directory_of(&denial.path);
            let directory = if is_plain(directory) { directory } else { "/GUEST_DIR" };
            format!(
                "the guest was denied `{path}`: no directory is granted there; grant one with `-v \
                 HOST_DIR:{directory}:ro`, or without `:ro` to let it write"
            )
        }
        Refusal::Outside => format!(
            "the guest was denied `{path}`: it leads out of what was granted; grant where it leads \
             to with `-v`"
        ),
        Refusal::ReadOnly => format!(
            "the guest was denied writing `{path}`: it was granted with `:ro`; grant it without, or an \
             image without `--read-only`"
        ),
        Refusal::TooManyFiles => format!(
            "the guest was denied `{path}`: as many files were open as may be; raise it with \
             `--open-files`"
        ),
    }
}

/// The directory that one would grant to make `path` visible. The guest's `/` is its own.
fn directory_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(end) if 0 < end => &path[..end],
        Some(_) => "/",
        None => path,
    }
}

/// Whether a path means nothing but itself to a shell.
fn is_plain(path: &str) -> bool {
    path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte))
}

/// A guest's text as it can be shown on a terminal, between backticks.
fn quoted(text: &str) -> String {
    aril::printable(text).replace('`', "\\`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_names_the_path_and_the_flag() {
        let denial = Denial {
            path: "/no-such-place/x.txt".to_owned(),
            refusal: Refusal::NotGranted,
            call: 1,
            named: true,
            passed: false,
        };
        let text = hint(&denial);
        assert!(text.contains("`/no-such-place/x.txt`"), "{text}");
        assert!(text.contains("-v HOST_DIR:/no-such-place:ro"), "{text}");
    }

    #[test]
    fn a_guest_cannot_write_a_command_into_a_hint() {
        let path = "/$(touch x)/y".to_owned();
        let text = hint(&Denial {
            path,
            refusal: Refusal::NotGranted,
            call: 1,
            named: true,
            passed: false,
        });
        assert!(text.contains("-v HOST_DIR:/GUEST_DIR:ro"), "{text}");
    }

    #[test]
    fn a_guest_cannot_write_to_the_terminal_through_a_path() {
        let path = "/a\x1b[2J\n\u{9b}\u{202e}`: use `rm".to_owned();
        let text =
            hint(&Denial { path, refusal: Refusal::Outside, call: 1, named: true, passed: false });
        assert!(text.contains("`/a\\u{1b}[2J\\u{a}\\u{9b}\\u{202e}\\`: use \\`rm`"), "{text}");
    }
}
