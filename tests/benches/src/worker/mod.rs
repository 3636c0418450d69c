//! Children that measure themselves: each does one thing again and again, when it is told to.
//!
//! A child of this program runs each side of what is measured within a process, so that neither
//! side meets the other's heap, threads or mappings, and both can take turns.

mod bare;
mod library;
mod programs;

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::process::Child;
use std::process::ChildStdin;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::bail;

pub(crate) use programs::abreast_of;

/// The first argument of a child.
pub(crate) const WORD: &str = "worker";

/// A child, on the measuring side. It ends when this is dropped.
pub(crate) struct Worker {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a child that does `job`.
    pub(crate) fn start(job: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_by(&[], job, arguments)
    }

    /// Starts a child that does `job` by a program that becomes it: these are its words, before those
    /// of the child.
    pub(crate) fn start_by(before: &[&str], job: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let mut command = match before.split_first() {
            None => Command::new(own),
            Some((program, rest)) => {
                let mut command = Command::new(program);
                command.args(rest).arg(own);
                command
            }
        };
        let mut child = command
            .args([WORD, job])
            .args(arguments)
            .env_remove(crate::run::BACKTRACE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("a worker can be heard")?);
        Ok(Self { child, orders, answers })
    }

    /// Lets it do its work once, and returns what it says of it.
    pub(crate) fn ask(&mut self) -> anyhow::Result<String> {
        let orders = self.orders.as_mut().context("a worker can be told")?;
        let mut answer = String::new();
        orders.write_all(b"go\n").context("the worker is gone")?;
        self.answers.read_line(&mut answer)?;
        match answer.strip_suffix('\n') {
            Some(answer) => Ok(answer.to_owned()),
            None => bail!("the worker ended in the middle of its work"),
        }
    }

    /// Lets it do its work once, and returns the figure that it says.
    pub(crate) fn figure(&mut self) -> anyhow::Result<f64> {
        let answer = self.ask()?;
        answer.parse().with_context(|| format!("the worker said: {answer}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.orders = None;
        // It ends when it hears nothing more; what it ends with is nobody's matter.
        let _end = self.child.wait();
    }
}

/// Does one job each time it is told to, in a child.
pub(crate) fn serve(words: &[String]) -> anyhow::Result<()> {
    let (job, rest) = words.split_first().context("which job?")?;
    if job == "bare-compile" {
        let [wasm, output] = rest else { bail!("bare-compile WASM OUTPUT") };
        return crate::bare::compile(wasm, output);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut work = match job.as_str() {
        "bare-launch" => bare::launch(rest, &runtime)?,
        "bare-crowd" => bare::crowd(rest, &runtime)?,
        "bare-work" => bare::work(rest, &runtime)?,
        "bare-load" => bare::load(rest)?,
        "bare-once" => bare::once(rest, &runtime)?,
        "library-launch" => library::launch(rest, &runtime)?,
        "library-crowd" => library::crowd(rest, &runtime)?,
        "library-work" => library::work(rest, &runtime)?,
        "library-full" => library::full(rest, &runtime)?,
        "library-late" => library::late(rest, &runtime)?,
        "library-shares" => library::shares(rest)?,
        "program-run" => programs::once(rest),
        "program-crowd" => programs::crowd(rest)?,
        _ => bail!("there is no job `{job}`"),
    };
    for order in std::io::stdin().lines() {
        order?;
        let answer = work()?;
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

/// A job, and what is said of it each time it is done.
type Job<'a> = Box<dyn FnMut() -> anyhow::Result<String> + 'a>;

/// How long a crowd is given to fall asleep.
const SETTLE: Duration = Duration::from_millis(200);

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// One run of several: seconds each.
fn each(total: Duration, count: u32) -> f64 {
    total.as_secs_f64() / f64::from(count.max(1))
}
