//! The verbs about a container that is there.

use std::io::Read as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use aril::Limits;
use aril::Stats;

use crate::bundle;
use crate::bundle::Container;
use crate::hooks;
use crate::hooks::Turn;
use crate::platform::processes;
use crate::platform::talk::Call;

use super::failure::Failure;
use super::failure::whole;
use super::folder;
use super::folder::Folder;
use super::log;
use super::message::Answer;
use super::message::Ask;
use super::message::SIZE_MAX;
use super::state::Known;
use super::state::Status;
use super::words::Kill;
use super::words::List;
use super::words::ListFormat;
use super::words::Update;
use super::words::Words;

/// How long a container that is killed may take to be gone.
const ENDING_MAX: Duration = Duration::from_secs(10);

/// How long a keeper may take to say that it ends its guest.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// What is ended: by the signal that cannot be refused.
const KILL: u32 = 9;

pub(super) fn start(words: &Words, id: &str) -> Result<(), Failure> {
    ask(words, id, &Ask::Start).map(drop)
}

pub(super) fn state(words: &Words, id: &str) -> Result<(), Failure> {
    let known = Folder::of(words, id)?.known()?;
    print(&format!("{:#}\n", known.state(known.status_now())))
}

pub(super) fn kill(words: &Words, kill: &Kill) -> Result<(), Failure> {
    // All of them end with the first one, so that nothing is left to do where that has ended.
    let stopped = || Folder::of(words, &kill.id)?.known().map(|known| known.status_now());
    if kill.all && stopped()? == Status::Stopped {
        return Ok(());
    }
    ask(words, &kill.id, &Ask::Kill { signal: kill.signal.0 }).map(drop)
}

pub(super) fn delete(words: &Words, ids: &[String], force: bool) -> Result<(), Failure> {
    let mut done = Ok(());
    for id in ids {
        let folder = Folder::of(words, id)?;
        if force && !folder.is_there() {
            continue;
        }
        // One after the other, whatever becomes of the first ones; the first failure is told.
        let deleted = clear(words, &folder, force);
        done = done.and(deleted);
    }
    done
}

/// Ends what is left of a container, and removes all of it.
pub(super) fn clear(words: &Words, folder: &Folder, force: bool) -> Result<(), Failure> {
    let known = match folder.known() {
        Ok(known) => known,
        // Killed while it was made, or what is there is none; or somebody else removes it now.
        Err(_) if force => return folder.remove(),
        Err(failure) => return Err(failure),
    };
    let status = known.status_now();
    if status != Status::Stopped {
        if !force && status != Status::Created {
            return Err(Failure::new(format!(
                "cannot delete container `{}`, which is {}: stop it first, or use `--force`",
                folder.id,
                status.word()
            )));
        }
        // One that does not answer is ended all the same.
        let _gone = say(folder, &Ask::Kill { signal: KILL }, Some(ANSWER_MAX));
    }
    let ended = processes::end_after(known.pid, known.beginning, ENDING_MAX);
    match ended {
        Ok(true) => {}
        Ok(false) => {
            let text = format!("the process {} of `{}` does not end", known.pid, folder.id);
            return Err(Failure::new(text));
        }
        Err(error) => return Err(Failure::of("cannot end the container's process", &error)),
    }
    if let Some(group) = &known.group {
        aril::clear_control_group(group)
            .map_err(|error| Failure::of("cannot clear what it left", &error))?;
    }
    if !folder.forget()? {
        // Somebody else did all of this meanwhile, and does the rest.
        return if force { Ok(()) } else { Err(folder.missing()) };
    }
    folder.remove()?;
    poststop(words, &known);
    Ok(())
}

/// Runs the hooks behind a container's end. As the specification has it, it is deleted whether or not
/// they succeed, so that those that fail are warned of.
fn poststop(words: &Words, known: &Known) {
    // Its bundle may be gone, and its configuration another one by now.
    let Ok(Container { hooks, .. }) = bundle::read(&known.bundle) else { return };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let tokio = match tokio {
        Ok(tokio) => tokio,
        Err(error) => {
            return log::warned(words, &format!("cannot run the poststop hooks: {error}"));
        }
    };
    let state = known.state(Status::Stopped);
    let run = hooks::run_all(&hooks, Turn::Poststop, &state, &known.bundle);
    for error in tokio.block_on(run) {
        log::warned(words, &whole(&error));
    }
}

pub(super) fn list(words: &Words, list: &List) -> Result<(), Failure> {
    let ids = folder::ids(&words.root)
        .map_err(|error| Failure::of(format!("cannot list `{}`", words.root.display()), &error))?;
    let known = ids.iter().filter_map(|id| Folder::of(words, id).ok()?.known().ok());
    let known: Vec<Known> = known.collect();
    if list.quiet {
        return known.iter().try_for_each(|one| print(&format!("{}\n", one.id)));
    }
    match list.format {
        ListFormat::Json => {
            let states: Vec<_> = known.iter().map(|one| one.state(one.status_now())).collect();
            print(&format!("{}\n", serde_json::Value::from(states)))
        }
        ListFormat::Table => {
            let wide = known.iter().map(|one| one.id.len()).max().unwrap_or(0).max(2);
            print(&format!("{:wide$}  {:>7}  {:8}  BUNDLE\n", "ID", "PID", "STATUS"))?;
            known.iter().try_for_each(|one| {
                let status = one.status_now();
                let pid = if status == Status::Stopped { 0 } else { one.pid };
                let bundle = aril::printable(&one.bundle.to_string_lossy());
                print(&format!("{:wide$}  {pid:>7}  {:8}  {bundle}\n", one.id, status.word()))
            })
        }
    }
}

pub(super) fn ps(words: &Words, id: &str, format: ListFormat) -> Result<(), Failure> {
    let Answer::Processes { numbers } = ask(words, id, &Ask::Processes)? else {
        return Err(nonsense());
    };
    match format {
        ListFormat::Json => print(&format!("{}\n", serde_json::Value::from(numbers))),
        ListFormat::Table => {
            print("PID\n")?;
            numbers.iter().try_for_each(|number| print(&format!("{number}\n")))
        }
    }
}

pub(super) fn pause(words: &Words, id: &str) -> Result<(), Failure> {
    ask(words, id, &Ask::Pause).map(drop)
}

pub(super) fn resume(words: &Words, id: &str) -> Result<(), Failure> {
    ask(words, id, &Ask::Resume).map(drop)
}

pub(super) fn update(words: &Words, update: &Update) -> Result<(), Failure> {
    let resources = read_text(&update.resources)?;
    ask(words, &update.id, &Ask::Update { resources }).map(drop)
}

pub(super) fn events(
    words: &Words,
    id: &str,
    once: bool,
    interval: Duration,
) -> Result<(), Failure> {
    loop {
        let Answer::Stats { json } = ask(words, id, &Ask::Stats)? else { return Err(nonsense()) };
        let data: serde_json::Value = serde_json::from_str(&json).map_err(|_| nonsense())?;
        print(&format!("{}\n", serde_json::json!({ "type": "stats", "id": id, "data": data })))?;
        if once {
            return Ok(());
        }
        std::thread::sleep(interval.max(Duration::from_millis(10)));
        if Folder::of(words, id)?.known()?.status_now() == Status::Stopped {
            return Ok(());
        }
    }
}

/// What a container uses, as `runc events` writes it: bytes, and nanoseconds.
pub(super) fn figures(stats: &Stats, limits: &Limits) -> serde_json::Value {
    let group = stats.group.unwrap_or_default();
    let nanos = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos());
    let total = match (group.cpu_user, group.cpu_system) {
        (None, None) => stats.cpu_time.as_nanos(),
        // The kernel may count by its ticks, and the process of the guest more finely.
        (user, system) => (nanos(user) + nanos(system)).max(stats.cpu_time.as_nanos()),
    };
    let count = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
    let memory = group.memory.unwrap_or(stats.memory).get();
    let peak = group.memory_peak.unwrap_or(stats.memory_peak).get();
    let limit = match limits.memory {
        aril::Limit::Of(amount) => amount.get(),
        _ => u64::MAX,
    };
    serde_json::json!({
        "cpu": {
            "usage": {
                "total": count(total),
                "kernel": count(nanos(group.cpu_system)),
                "user": count(nanos(group.cpu_user)),
            },
            "throttling": {
                "periods": group.periods.unwrap_or(0),
                "throttledPeriods": group.throttled_periods.unwrap_or(0),
                "throttledTime": count(nanos(group.throttled)),
            },
        },
        "memory": { "usage": { "limit": limit, "usage": memory, "max": peak } },
        "pids": { "current": group.pids.unwrap_or(1) },
    })
}

/// Asks the keeper of a container.
fn ask(words: &Words, id: &str, ask: &Ask) -> Result<Answer, Failure> {
    let folder = Folder::of(words, id)?;
    let known = folder.known()?;
    if known.status_now() == Status::Stopped {
        return Err(not_running(id));
    }
    say(&folder, ask, None)
}

/// What callers know by these words: the container has ended.
fn not_running(id: &str) -> Failure {
    Failure::new(format!("container not running: `{id}` has stopped"))
}

/// Why a keeper cannot be spoken with: most often because it has ended.
pub(super) fn unheard(id: &str, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::NotFound
        | std::io::ErrorKind::ConnectionRefused
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::ConnectionReset => not_running(id),
        _ => Failure::of("cannot speak with the process that keeps the container", error),
    }
}

/// Asks whoever keeps a container, and hears the answer; no longer than the limit, where there is one.
fn say(folder: &Folder, ask: &Ask, limit: Option<Duration>) -> Result<Answer, Failure> {
    let failed = |error: std::io::Error| unheard(&folder.id, &error);
    let call = Call::to(&folder.socket()).map_err(failed)?;
    if let Some(limit) = limit {
        call.answer_within(limit).map_err(failed)?;
    }
    call.send(&question(ask)?, &[]).map_err(failed)?;
    match call.receive(SIZE_MAX).map_err(failed)? {
        Some(answer) => answered(&answer),
        // It ended meanwhile.
        None => Err(not_running(&folder.id)),
    }
}

pub(super) fn question(ask: &Ask) -> Result<Vec<u8>, Failure> {
    let bytes = serde_json::to_vec(ask);
    let bytes = bytes.map_err(|error| Failure::of("a question that is none", &error))?;
    if SIZE_MAX < bytes.len() {
        let most = SIZE_MAX >> 10;
        return Err(Failure::new(format!("what is asked is longer than {most} KiB")));
    }
    Ok(bytes)
}

/// An answer, or the failure that it tells.
pub(super) fn answered(bytes: &[u8]) -> Result<Answer, Failure> {
    match serde_json::from_slice(bytes) {
        Ok(Answer::Failed { text }) => Err(Failure::new(text)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(nonsense()),
    }
}

pub(super) fn nonsense() -> Failure {
    Failure::new("the process that keeps the container answers what makes no sense")
}

/// The text of a file, or of standard input where it is `-`.
pub(super) fn read_text(path: &Path) -> Result<String, Failure> {
    let most = u64::try_from(SIZE_MAX).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(most).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_string(&mut text))
    };
    read.map_err(|error| Failure::of(format!("cannot read `{}`", path.display()), &error))?;
    Ok(text)
}

/// Writes to standard output.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::of("cannot write the answer", &error))
}
