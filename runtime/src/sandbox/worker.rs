//! The worker: a process that runs one guest for the keeper that started it, and nothing else.
//!
//! It starts no thread of its own. What it is to do it is told once; how it goes the keeper reads in
//! the figures that both share; and its end, where the guest does not come to one, is the keeper's to
//! make.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::runtime::Runtime;
use wasmtime::Engine;
use wasmtime::Linker;

use crate::capabilities::Access;
use crate::capabilities::Capabilities;
use crate::capabilities::Files;
use crate::capabilities::Input;
use crate::engine::Form;
use crate::engine::Interruption;
use crate::engine::Kind;
use crate::engine::Verified;
use crate::engine::running_engine;
use crate::limits::Amounts;
use crate::limits::Figures;
use crate::limits::STACK_DEFAULT;
use crate::platform::Reach;
use crate::platform::Threads;
use crate::platform::cgroup::walk_in;
use crate::platform::child::end_with;
use crate::platform::child::given;
use crate::platform::files;
use crate::platform::namespaces;
use crate::platform::privileges;
use crate::platform::process;
use crate::platform::process::Kept;
use crate::platform::signals;
use crate::platform::spare::CHANNEL;
use crate::platform::spare::Waiting;
use crate::platform::stdio::InputEnd;
use crate::process::Enclosed;
use crate::process::Entered;
use crate::process::Jail;
use crate::process::JailError;
use crate::process::MESSAGE_SIZE_MAX;
use crate::process::Wall;
use crate::process::WallStanding;
use crate::process::Who;
use crate::process::receive;
use crate::process::send;
use crate::units::Bytes;

use super::event::Event;
use super::exit::Exit;
use super::guest::Ended;
use super::guest::LaunchError;
use super::guest::Ready;
use super::guest::ready;
use super::linking::Loaded;
use super::linking::provided;
use super::mounts;
use super::order::InvalidOrder;
use super::order::Order;
use super::order::WireWall;
use super::order::Word;
use super::placement::User;
use super::record::Record;
use super::single::connect;
use super::single::fit_open_files;
use super::single::throttle;
use super::single::with_spare;
use super::spec::SandboxSpec;
use super::state::State;
use super::vitals::Vitals;

/// The code of a worker that has told its keeper how the guest ended.
const TOLD: u8 = 0;

/// The code of a worker that had nobody to tell.
const UNTOLD: u8 = 125;

/// How many denials are told as they happen. The latest are in the record, if there is one.
pub(super) const DENIALS_TOLD_MAX: u32 = 64;

/// Runs the guest that the keeper at the other end of this channel orders, tells how it ended, and
/// says the code that this process is to end with.
pub(crate) fn serve(number: u32) -> u8 {
    let Ok(channel) = given(number) else { return UNTOLD };
    leave_keeper();
    tell_how_it_goes(channel, number, None)
}

/// The same in a copy of the keeper's process, which waits until it is needed. What every guest
/// needs is made meanwhile.
pub(crate) fn serve_waiting(waiting: Waiting) -> u8 {
    leave_keeper();
    let made = Made::new();
    match waiting.wait() {
        Ok(Some(channel)) => tell_how_it_goes(channel, CHANNEL, Some(made)),
        Ok(None) | Err(_) => UNTOLD,
    }
}

/// What people send from the keyboard is for the keeper to answer.
fn leave_keeper() {
    signals::leave_to_keeper();
    process::be_called(c"aril-worker");
}

fn tell_how_it_goes(channel: File, number: u32, made: Option<Made>) -> u8 {
    let channel = Arc::new(Mutex::new(channel));
    tell_panics(&channel);
    let told = match run(&channel, number, made) {
        Ok(told) => told,
        Err(error) => say(&channel, &Word::Failed((&error).into())),
    };
    if told { TOLD } else { UNTOLD }
}

/// What is made before the order is there.
struct Made {
    runtime: std::io::Result<Runtime>,
    /// For the guests that most are, and nothing where it cannot be made.
    engine: Option<Engine>,
    /// What they are provided with.
    provided: Option<Linker<State>>,
}

impl Made {
    fn new() -> Self {
        let engine = running_engine(Form::Module, Kind::default(), STACK_DEFAULT, None).ok();
        let linker = engine.as_ref().and_then(|engine| provided(engine).ok());
        Self { runtime: runtime(), engine, provided: linker }
    }
}

/// Whether that is what most guests are, and an engine is made for before the order is there.
fn is_usual(form: Form, kind: Kind, stack: Bytes) -> bool {
    (form, kind, stack) == (Form::Module, Kind::default(), STACK_DEFAULT)
}

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().build()
}

type Channel = Arc<Mutex<File>>;

/// Says a word to the keeper, if it is still there.
fn say(channel: &Channel, word: &Word) -> bool {
    let Ok(bytes) = serde_json::to_vec(word) else { return false };
    let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
    send(&mut *channel, &bytes).is_ok()
}

/// Has the keeper told of a panic, which is a bug of ours, and nothing written where the guest's output
/// goes.
fn tell_panics(channel: &Channel) {
    let channel = Arc::clone(channel);
    std::panic::set_hook(Box::new(move |panic| {
        let failure = LaunchError::Engine { reason: format!("the worker panicked: {panic}") };
        let Ok(bytes) = serde_json::to_vec(&Word::Failed((&failure).into())) else { return };
        // Whoever panics may be saying something.
        if let Ok(mut channel) = channel.try_lock() {
            let _unheard = send(&mut *channel, &bytes);
        }
        process::exit_now(UNTOLD)
    }));
}

impl From<InvalidOrder> for LaunchError {
    fn from(error: InvalidOrder) -> Self {
        Self::Isolation { reason: format!("the worker did not understand its order: {error}") }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of `map_err`")]
fn broken(error: std::io::Error) -> LaunchError {
    LaunchError::Isolation { reason: format!("the worker cannot work: {error}") }
}

#[expect(clippy::needless_pass_by_value, reason = "used as the argument of `map_err`")]
fn groupless(error: std::io::Error) -> LaunchError {
    LaunchError::Isolation { reason: format!("the worker cannot enter its control group: {error}") }
}

/// Closes all that was inherited and is not named: who started this process may have left files open
/// that lead out of every grant.
fn close_others(channel: u32, order: &Order) -> std::io::Result<String> {
    let mut kept = Kept::standard();
    order.numbers().into_iter().chain([channel]).for_each(|number| kept.keep_number(number));
    kept.close_others()
}

/// All that is granted, and what may be done with it.
fn grants_of<'a>(granted: &'a Capabilities, empty: &'a File) -> Vec<(&'a File, Reach)> {
    let reach = |access| match access {
        Access::ReadOnly => Reach::Read,
        Access::ReadWrite => Reach::Write,
    };
    let directories = granted.directories.iter();
    let directories = directories.map(move |one| (one.handle(), reach(one.access())));
    let single = granted.files.iter().map(move |one| (one.handle(), reach(one.access())));
    directories.chain(single).chain([(empty, Reach::Read)]).collect()
}

/// Puts the walls around this process, but for the list of system calls, and opens what is granted.
fn enter(
    spec: &mut SandboxSpec,
    empty: &File,
    closed: String,
) -> Result<(Entered, Files), LaunchError> {
    let (who, groups) = match spec.placement.user.take() {
        Some(User { uid, gid, groups, umask }) => {
            if let Some(umask) = umask {
                process::set_umask(umask);
            }
            (Who::User(privileges::User { user: uid, group: gid }), groups)
        }
        None => (Who::Caller, Vec::new()),
    };
    let jail = Jail { closed: Some(closed), who, groups, walls: spec.walls };
    let path = files::handle_path(empty, "/".as_ref());
    let (enclosed, opened) = if spec.capabilities.needs_mounts().is_none() {
        let opened = Files::open(&spec.capabilities, &path, true)?;
        let grants = grants_of(&spec.capabilities, empty);
        (jail.enclose(|| namespaces::seclude(&grants))?, opened)
    } else {
        let mut opened = None;
        let granted = &mut spec.capabilities;
        let enclosed = jail.enclose(|| {
            let arranged = mounts::arrange(granted);
            opened = Some(arranged.and_then(|()| Files::open(granted, &path, true)));
            let directories = grants_of(granted, empty);
            namespaces::seclude(&directories)
        })?;
        let opened = opened.ok_or_else(|| unmounted(spec, &enclosed))?;
        (enclosed, opened?)
    };
    let grants = grants_of(&spec.capabilities, empty);
    let entered = enclosed.restrict(&grants)?;
    // What a single file is held by leads past its mount, and so past what that allows.
    spec.capabilities.files.clear();
    Ok((entered, opened))
}

/// Why a guest cannot have the mounts that it was granted.
fn unmounted(spec: &SandboxSpec, enclosed: &Enclosed) -> LaunchError {
    let (what, guest) = spec.capabilities.needs_mounts().unwrap_or(("a mount", "/"));
    let why = match enclosed.standing(Wall::MountNamespace) {
        Some(WallStanding::Missing { reason, remedy }) => format!("missing: {reason}; {remedy}"),
        _ => "was left out".to_owned(),
    };
    let reason =
        format!("{what}, at `{guest}`, takes the wall `{}`, which is {why}", Wall::MountNamespace);
    LaunchError::Isolation { reason }
}

impl From<JailError> for LaunchError {
    fn from(error: JailError) -> Self {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            // Writing to a string does not fail.
            let _written = write!(reason, ": {cause}");
            source = cause.source();
        }
        Self::Isolation { reason }
    }
}

/// What this worker is to do.
fn hear(channel: &Channel, is_copy: bool) -> Result<Order, LaunchError> {
    let bytes = {
        let mut channel = channel.lock().unwrap_or_else(PoisonError::into_inner);
        receive(&mut *channel, MESSAGE_SIZE_MAX).map_err(broken)?
    };
    let order = Order::parse(&bytes)?;
    // A copy has the thread that made it, and no other.
    if !is_copy && process::thread_count().is_some_and(|count| 1 < count) {
        return Err(LaunchError::Isolation {
            reason: "this program has threads before it serves its role: call `aril::roles()` \
                     first in `main`, before any runtime is made"
                .to_owned(),
        });
    }
    Ok(order)
}

/// Runs the guest, and says how it ended. Returns whether somebody heard it.
fn run(channel: &Channel, number: u32, made: Option<Made>) -> Result<bool, LaunchError> {
    let order = hear(channel, made.is_some())?;
    if let Some(parent) = order.parent {
        process::end_with(parent).map_err(broken)?;
    }
    if order.leaves_session {
        process::leave_session();
    }
    let closed = close_others(number, &order).map_err(broken)?;
    for door in &order.doors {
        given(*door).and_then(|door| walk_in(&door)).map_err(groupless)?;
    }
    let (known, kind) = order.code()?;
    let artifact = given(order.artifact).map_err(broken)?;
    let figures = given(order.figures).and_then(|file| Figures::of(&file)).map_err(broken)?;
    let input_end = given(order.input_end).map_err(broken)?;
    let empty = given(order.empty).map_err(broken)?;
    // Held, and so in force, as long as this process is there.
    let leash = ManuallyDrop::new(given(order.leash).map_err(broken)?);
    let trapped = given(order.trapped).map_err(broken)?;
    let gate = order.gate.map(given).transpose().map_err(broken)?;
    let tells_instance = order.tells_instance;
    let mut spec = order.spec()?;

    let mut amounts = spec.limits.amounts(false)?;
    let granted = spec.capabilities.handles();
    if let Some(count) = &mut amounts.open_files {
        fit_open_files(count, spec.limits.open_files.is_asked(), granted)?;
    }
    let stack = spec.limits.stack.or(Some(STACK_DEFAULT)).unwrap_or(STACK_DEFAULT);
    let (runtime, engine, provided) = match made {
        Some(Made { runtime, engine, provided }) if is_usual(known.form, kind, stack) => {
            (runtime, engine, provided)
        }
        Some(Made { runtime, .. }) => (runtime, None, None),
        None => (runtime(), None, None),
    };
    let engine = match engine {
        Some(engine) => engine,
        None => running_engine(known.form, kind, stack, None).map_err(LaunchError::engine)?,
    };
    let code = Verified::handed(artifact, known.form).load(&engine);
    let code = code.map_err(|error| LaunchError::Stale { reason: error.to_string() })?;
    let loaded = Arc::new(Loaded::new(engine, code, &known, None).with_provided(provided));

    let vitals = Arc::new(Vitals::of(figures, &amounts));
    // Threads that still wait for the guest's input end with the process, and are not waited for.
    let runtime = ManuallyDrop::new(runtime.map_err(broken)?);
    let (entered, opened) = enter(&mut spec, &empty, closed)?;
    end_with(&leash).map_err(broken)?;
    let input_end = Arc::new(InputEnd::of(input_end));
    let streams = connect(&spec, &vitals, &input_end)?;
    let ready = ready(&loaded, &spec, &amounts, &vitals, (streams, Arc::new(opened)))?;
    let mut ready = ManuallyDrop::new(ready);
    bound(&amounts, granted)?;
    tell_events(channel, &vitals, tells_instance);
    if kind.interruption != Interruption::None {
        ready.show_fuel()?;
        throttle(&mut ready, &loaded.engine, &vitals).map_err(broken)?;
    }
    // The files of a component, and input, are read on threads that wait for them.
    let waits = loaded.is_component() || spec.capabilities.stdin != Input::Closed;
    let threads = if waits { Threads::More } else { Threads::None };
    let walls = entered.seal(&trapped, Some(&leash), threads)?;
    let walls = walls.iter().map(WireWall::new).collect();
    if !say(channel, &Word::Ready(walls)) {
        return Err(LaunchError::Isolation { reason: "the keeper is gone".to_owned() });
    }
    if let Some(mut gate) = gate {
        // Closed without a word, nobody is there any more who could let it go.
        if gate.read_exact(&mut [0]).is_err() {
            return Ok(false);
        }
        vitals.let_go();
    }
    let Ended { exit, results } = run_guest(&runtime, &mut ready, &vitals)?;
    // How its limits and its walls hold is the keeper's to say.
    let record = Record {
        exit,
        stats: vitals.stats(),
        holds: Vec::new(),
        denials: vitals.denials(),
        results,
        walls: Vec::new(),
        violation: None,
        mid_line: false,
    };
    Ok(say(channel, &Word::Ended(record.to_json())))
}

fn run_guest(
    runtime: &Runtime,
    ready: &mut Ready,
    vitals: &Arc<Vitals>,
) -> Result<Ended, LaunchError> {
    let ended = runtime.block_on(ready.run(vitals))?;
    Ok(match ended.exit {
        // What the guest wrote beyond its limit may have reached it as an error of its own.
        _ if vitals.flow.overflowed() => Ended { exit: Exit::Output, ..ended },
        _ => ended,
    })
}

/// Puts the bounds of the system behind what holds the limits, in case that has a hole.
fn bound(amounts: &Amounts, granted: usize) -> Result<(), LaunchError> {
    if let Some(count) = amounts.open_files {
        process::bound_open_files(count, granted).map_err(broken)?;
    }
    // The keeper may change this one; this process cannot, once its walls are up.
    if let Some(memory) = amounts.memory {
        process::bound_memory_for_now(with_spare(memory)).map_err(broken)?;
    }
    process::leave_no_core().map_err(broken)
}

/// Has the keeper told of what the guest is refused, and of its instance where somebody waits for it.
fn tell_events(channel: &Channel, vitals: &Vitals, tells_instance: bool) {
    let channel = Arc::clone(channel);
    let mut told = 0;
    vitals.events.forward(Box::new(move |event| {
        let word = match event {
            Event::Started if tells_instance => Word::Begun,
            Event::Denied(denial) if told < DENIALS_TOLD_MAX => {
                told += 1;
                Word::denied(denial)
            }
            _ => return,
        };
        // A keeper that is gone takes this process along.
        let _unheard = say(&channel, &word);
    }));
}

/// How long a worker may take to end once it has said its last word.
pub(super) const LEAVING_MAX: Duration = Duration::from_secs(5);
