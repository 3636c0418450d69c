//! A sandbox in a process of its own beside this one: its keeper.
//!
//! The keeper starts a worker, hands it its order, and holds it by a descriptor until it has ended.
//! What the worker says is a claim; how it ended, and when it must, is the keeper's to know.

use std::fs::File;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::SetOnce;
use tokio::sync::oneshot;

use crate::capabilities;
use crate::capabilities::Denial;
use crate::capabilities::Refusal;
use crate::engine::Kind;
use crate::engine::Known;
use crate::limits::Amounts;
use crate::limits::Figures;
use crate::platform::ChildEnd;
use crate::platform::cgroup::Cgroups;
use crate::platform::child;
use crate::platform::child::Child;
use crate::platform::child::Stream;
use crate::platform::files;
use crate::platform::groups::Controller;
use crate::platform::spare;
use crate::platform::spare::Spare;
use crate::platform::stdio::InputEnd;
use crate::process::Call;
use crate::process::Role;
use crate::process::last_call;
use crate::process::receive_async;
use crate::process::send_async;

use super::disk;
use super::exit::Exit;
use super::exit::MemoryWall;
use super::grants::open_of;
use super::group::HeldGroup;
use super::guest::LaunchError;
use super::handle::End;
use super::handle::Lease;
use super::handle::Sandbox;
use super::handle::Told;
use super::kept::Worker;
use super::mounts;
use super::order::Files;
use super::order::Order;
use super::order::WireWall;
use super::order::Word;
use super::pipes::Connected;
use super::pipes::connect;
use super::placement;
use super::record::Record;
use super::single::fit_open_files;
use super::spec::SandboxSpec;
use super::stats::Stats;
use super::terminal;
use super::vitals::Vitals;
use super::wire;
use super::worker::DENIALS_TOLD_MAX;
use super::worker::LEAVING_MAX;

/// The number of the signal that ends a process for a system call, on the systems that have it.
const FORBIDDEN_CALL: i32 = 31;

/// The number of the signal that cannot be caught.
const KILL: i32 = 9;

/// The longest word of a worker, in bytes: a record with what a called function returned.
const WORD_SIZE_MAX: u32 = 16 << 20;

/// How long a worker may take to say its first word. It maps machine code and opens what was
/// granted, and is given up where the host is too busy for that.
const STARTING_MAX: Duration = Duration::from_mins(1);

/// What a worker is started from.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// The program that serves roles.
    pub(crate) program: PathBuf,
    /// A copy of this process that waits to be the worker, where there is one.
    pub(crate) spare: Option<Spare>,
    /// The machine code, and what it was made from.
    pub(crate) artifact: &'a File,
    pub(crate) known: Known,
    pub(crate) kind: Kind,
    /// A directory with nothing in it.
    pub(crate) empty: &'a Path,
    /// What this process may use of control groups.
    pub(crate) cgroups: &'a Arc<Cgroups>,
    /// The sandbox in whose control group it is to live, where it is beside another one.
    pub(crate) beside: Option<&'a Sandbox>,
}

impl Place<'_> {
    /// The group that holds a worker to these limits, where there can be one.
    fn group(
        &self,
        spec: &SandboxSpec,
        amounts: &Amounts,
    ) -> Result<Option<Arc<HeldGroup>>, LaunchError> {
        if let Some(first) = self.beside {
            let group = first.worker.as_ref().and_then(|worker| worker.group.clone());
            if let Some(group) = &group {
                group.check_room(amounts)?;
            }
            return Ok(group);
        }
        if let Some(place) = &spec.placement.group {
            return Ok(Some(Arc::new(HeldGroup::make_at(place, amounts)?)));
        }
        if spec.requires_group {
            self.cgroups.can(Controller::Memory).map_err(|missing| LaunchError::Isolation {
                reason: format!("a control group is required and missing: {missing}"),
            })?;
        }
        Ok(HeldGroup::make(self.cgroups, amounts)?.map(Arc::new))
    }
}

/// How a guest ended, as far as it is known.
struct Said {
    exit: Exit,
    denials: Vec<Denial>,
    results: Vec<String>,
}

/// A worker, and what it says.
struct Keeper {
    worker: Arc<Worker>,
    channel: child::Channel,
    /// Where the call is told that ended the worker.
    trapped: File,
    vitals: Arc<Vitals>,
    /// Who waits for the guest to begin.
    begun: Option<oneshot::Sender<Result<(), LaunchError>>>,
}

fn exhausted(what: &str) -> impl Fn(io::Error) -> LaunchError {
    move |error| {
        let reason = format!("{what}: {error}");
        match error.raw_os_error() {
            Some(number) if files::is_lack(number) => LaunchError::Exhausted { reason },
            _ => LaunchError::Isolation { reason },
        }
    }
}

/// Launches a guest in a process of its own, on the tokio runtime of the caller.
pub(crate) async fn launch(
    mut place: Place<'_>,
    spec: &SandboxSpec,
    lease: Lease,
) -> Result<Sandbox, LaunchError> {
    let captures = spec.captures();
    let mut amounts = spec.limits.amounts(captures)?;
    let granted = spec.capabilities.handles();
    if let Some(count) = &mut amounts.open_files {
        fit_open_files(count, spec.limits.open_files.is_asked(), granted)?;
    }
    capabilities::check(&spec.capabilities)?;
    mounts::check(spec, true)?;
    terminal::check(spec, true)?;
    placement::check(spec, true)?;
    let room = disk::room_of(spec)?;
    let (figures, shared) =
        Figures::shared().map_err(exhausted("nothing can be shared with a worker"))?;
    let vitals = Arc::new(Vitals::of(figures, &amounts));
    vitals.place(&spec.placement);
    vitals.begin(&amounts, place.known.held);
    let unconnected = exhausted("its streams cannot be made");
    let Connected { streams, ends, captured, reading, input_end } =
        connect(spec, &vitals).map_err(unconnected)?;
    let (begun, has_begun) = oneshot::channel();
    let group = place.group(spec, &amounts)?;
    let (worker, channel, trapped) =
        start(&mut place, spec, (&streams, &input_end), &shared, group).await?;
    // The worker has them, and their ends are to be its own.
    drop(streams);
    let vitals_of_keeper = Arc::clone(&vitals);
    let keeper = Keeper { worker, channel, trapped, vitals: vitals_of_keeper, begun: Some(begun) };
    let outcome = Arc::new(SetOnce::new());
    let told = Told::new(&outcome, &vitals);
    let sandbox = Sandbox::new(
        (&vitals, &outcome),
        (spec.limits, captures),
        amounts.open_files.unwrap_or(u32::MAX),
        (ends, captured),
        (Some(Arc::clone(&keeper.worker)), room.clone()),
    );
    let worker = Arc::clone(&keeper.worker);
    tokio::spawn(async move {
        let said = keeper.keep().await;
        for task in reading {
            // The worker has ended, and with it what it wrote.
            let _read = task.await;
        }
        // Before its group goes.
        let group = worker.close_group();
        let end = said.map(|Said { exit, denials, results }| {
            vitals.note_end(&exit);
            let disk = disk::used(room.as_ref());
            let stats = Stats { disk, group, ..vitals.stats() };
            End { exit, stats, denials, results }
        });
        drop(lease);
        // Whoever is told of the end, and lets go of the sandbox, finds nothing left of it.
        drop(worker);
        told.tell(end);
    });
    match tokio::time::timeout(STARTING_MAX, has_begun).await {
        // Where it ended before it began, that is how it ended.
        Ok(Ok(Ok(())) | Err(_)) => Ok(sandbox),
        // Who is told that there is no sandbox finds nothing left of it.
        Ok(Ok(Err(error))) => {
            let _the_same = sandbox.wait().await;
            Err(error)
        }
        Err(_) => Err(LaunchError::Exhausted {
            reason: "the worker did not begin within a minute; the host is too busy".to_owned(),
        }),
    }
}

/// Starts a worker and hands it its order.
async fn start(
    place: &mut Place<'_>,
    spec: &SandboxSpec,
    (streams, input_end): (&[Stream; 3], &InputEnd),
    figures: &File,
    group: Option<Arc<HeldGroup>>,
) -> Result<(Arc<Worker>, child::Channel, File), LaunchError> {
    let failed = exhausted("no worker can be started");
    let input_end = input_end.share().map_err(&failed)?;
    let empty = files::open_directory(place.empty).map_err(&failed)?;
    let (leash, near_leash) = child::pipe().map_err(&failed)?;
    let (near_trapped, trapped) = child::pipe().map_err(&failed)?;
    child::do_not_wait(&near_trapped).map_err(&failed)?;
    let gate = spec.placement.is_held.then(child::pipe).transpose().map_err(&failed)?;
    let (gate, near_gate) = gate.unzip();
    let doors = group.as_deref().map(HeldGroup::doors).transpose()?.unwrap_or_default();
    let named = Files {
        artifact: place.artifact,
        figures,
        input_end: &input_end,
        empty: &empty,
        leash: &leash,
        trapped: &trapped,
        doors: &doors,
        gate: gate.as_ref(),
    };
    let granted = mounts::hold(&spec.capabilities);
    let mut given = vec![place.artifact, figures, &input_end, &empty, &leash, &trapped];
    given.extend(open_of(&granted));
    given.extend(&doors);
    given.extend(&gate);
    let fits = given.len() <= spare::FILES_MAX;
    let spare = place.spare.take().filter(|spare| fits && spare.is_there());
    let has_spare = spare.is_some();
    let number = |file: &File| {
        if has_spare { spare::number_among(&given, file) } else { child::number(file) }
    };
    let order = Order::new(spec, &granted, (&place.known, place.kind), &named, number).to_bytes();
    let begun = match spare {
        Some(spare) => spare.begin(streams, &given),
        None => start_anew(&place.program, streams, &given),
    };
    let (child, mut channel) = begun.map_err(&failed)?;
    // It does nothing before it is told what, and walks into its group before it does anything then, so
    // that all it does counts.
    if let Some(group) = &group {
        group.add(child.id())?;
    }
    if let Some(score) = spec.placement.oom_score_adj {
        child.set_oom_score(score).map_err(|error| LaunchError::Isolation {
            reason: format!(
                "its score for when memory is short cannot be {score}: {error}; only a process that \
                 is allowed to may lower it"
            ),
        })?;
    }
    // A worker that ended before it read this is found out by what it says.
    let _gone = send_async(&mut channel, &order).await;
    let worker = Worker {
        child,
        _leash: near_leash,
        group,
        is_beside: place.beside.is_some(),
        gate: Mutex::new(near_gate),
        cpu_at_start: AtomicU64::new(0),
        walls: OnceLock::new(),
        instance: SetOnce::new(),
        violation: OnceLock::new(),
    };
    Ok((Arc::new(worker), channel, near_trapped))
}

/// Starts a worker that is no copy of this process.
fn start_anew(
    program: &Path,
    streams: &[Stream; 3],
    given: &[&File],
) -> io::Result<(Child, child::Channel)> {
    let (channel, far) = child::channel()?;
    let call = Call::unbounded(Role::Worker, vec![child::number(&far).to_string()]);
    let given = [given, &[&far]].concat();
    Ok((Child::start(program, &call.to_args(), streams, &given)?, channel))
}

impl Keeper {
    /// Waits for the guest's end, or makes it when it is due. The worker has ended then.
    async fn keep(mut self) -> Result<Said, LaunchError> {
        let (vitals, worker) = (Arc::clone(&self.vitals), Arc::clone(&self.worker));
        let exit = tokio::select! {
            // What is due comes before what is said.
            biased;
            exit = vitals.end_is_due() => exit,
            exit = cpu_time_is_over(&worker, &vitals) => exit,
            said = self.listen() => {
                // How it ended is settled, however long it takes to leave.
                self.left().await?;
                return match said {
                    Some(said) => said,
                    None => self.without_a_word().await,
                };
            }
        };
        self.kill().await?;
        Ok(self.unsaid(exit))
    }

    /// What is known of a guest whose worker said nothing.
    fn unsaid(&self, exit: Exit) -> Said {
        Said { exit, denials: self.vitals.denials(), results: Vec::new() }
    }

    async fn kill(&self) -> Result<ChildEnd, LaunchError> {
        self.worker.child.kill();
        self.gone().await
    }

    /// Waits until the worker is gone, and notes what it used.
    async fn gone(&self) -> Result<ChildEnd, LaunchError> {
        let end = self.worker.child.ended().await.map_err(exhausted("the worker is lost"))?;
        let _used = self.worker.note_cpu_time(&self.vitals);
        Ok(end)
    }

    /// Waits until a worker that has said its last word is gone, and ends one that stays.
    async fn left(&self) -> Result<ChildEnd, LaunchError> {
        match tokio::time::timeout(LEAVING_MAX, self.gone()).await {
            Ok(end) => end,
            Err(_) => self.kill().await,
        }
    }

    /// Listens until the worker has said its last word; nothing where it is gone without one.
    async fn listen(&mut self) -> Option<Result<Said, LaunchError>> {
        let mut denials = 0;
        loop {
            let word = match receive_async(&mut self.channel, WORD_SIZE_MAX).await {
                Ok(Some(bytes)) => Word::parse(&bytes),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                    return Some(self.nonsense());
                }
                Ok(None) | Err(_) => return None,
            };
            match word {
                Ok(Word::Ready(walls)) if !self.worker.has_begun() => {
                    let walls = walls.into_iter().filter_map(WireWall::read).collect();
                    // It says so once.
                    let _first = self.worker.walls.set(walls);
                    self.begin();
                }
                Ok(Word::Begun)
                    if self.worker.has_begun() && self.worker.instance.set(()).is_ok() => {}
                Ok(Word::Denied { path, refusal, call }) if denials < DENIALS_TOLD_MAX => {
                    denials += 1;
                    let refusal = Refusal::ALL.into_iter().find(|known| known.word() == refusal);
                    if let Some(refusal) = refusal {
                        self.vitals.note_told_denial(Denial::told(&path, refusal, call));
                    }
                }
                Ok(Word::Ended(text)) => {
                    return Some(match wire::Record::parse(text.as_bytes()) {
                        Ok(Record { exit, denials, results, .. }) => {
                            Ok(Said { exit, denials, results })
                        }
                        Err(_) => self.nonsense(),
                    });
                }
                Ok(Word::Failed(failure)) => {
                    let error = LaunchError::from(failure);
                    let is_ours =
                        matches!(error, LaunchError::Engine { .. } | LaunchError::Exhausted { .. });
                    // What is wrong with the guest or its grants shows before it begins.
                    if self.worker.has_begun() && !is_ours {
                        return Some(self.nonsense());
                    }
                    self.tell_begun(Err(error.clone()));
                    return Some(Err(error));
                }
                Ok(Word::Ready(_) | Word::Begun | Word::Denied { .. }) | Err(_) => {
                    return Some(self.nonsense());
                }
            }
        }
    }

    /// The guest begins: what was used before is not its own.
    fn begin(&mut self) {
        if self.begun.is_some() {
            if !self.vitals.is_held() {
                self.worker.note_begin(&self.vitals);
            }
            self.tell_begun(Ok(()));
        }
    }

    fn tell_begun(&mut self, begun: Result<(), LaunchError>) {
        if let Some(waiting) = self.begun.take() {
            // Who launched it may have gone.
            let _unheard = waiting.send(begun);
        }
    }

    /// How it ended, where the worker is gone and said nothing of it.
    async fn without_a_word(&self) -> Result<Said, LaunchError> {
        match self.left().await? {
            ChildEnd::Signal(KILL)
                if self.worker.group.as_deref().is_some_and(HeldGroup::was_out_of_memory) =>
            {
                Ok(self.unsaid(Exit::OutOfMemory(MemoryWall::Cgroup)))
            }
            ChildEnd::Signal(signal) => {
                if signal == FORBIDDEN_CALL
                    && let Some(call) = last_call(&self.trapped)
                {
                    let _first = self.worker.violation.set(call.to_string());
                }
                Ok(self.unsaid(Exit::Killed(signal)))
            }
            ChildEnd::Unknown => Err(LaunchError::Engine {
                reason: "somebody else in this process waited for the worker: how it ended is not \
                         known"
                    .to_owned(),
            }),
            ChildEnd::Exited(code) => Err(LaunchError::Engine {
                reason: format!("the worker ended with {code} and without a word"),
            }),
        }
    }

    /// The worker said what no worker of ours says: somebody else speaks for it.
    fn nonsense(&self) -> Result<Said, LaunchError> {
        self.worker.kill();
        let reason = "the worker said what makes no sense; it was ended".to_owned();
        Err(LaunchError::Engine { reason })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // Nothing runs that nobody keeps. It has ended already where this is not a runtime's end.
        self.worker.kill();
    }
}

/// Waits until the guest has used all the processor time that it may. A module has one thread, so
/// that it cannot use what is left any sooner than that takes.
async fn cpu_time_is_over(worker: &Worker, vitals: &Vitals) -> Exit {
    /// How long a limit that was lowered goes unseen at the most.
    const LOOK: Duration = Duration::from_secs(1);
    /// How often it is looked whether the guest began: what was used before is not its own.
    const BEGINNING: Duration = Duration::from_millis(1);
    loop {
        let Some(limit) = vitals.cpu_limit() else {
            vitals.limits_changed().await;
            continue;
        };
        if !worker.has_begun() || vitals.is_held() {
            tokio::time::sleep(BEGINNING).await;
            continue;
        }
        let left = limit.saturating_sub(worker.note_cpu_time(vitals));
        if left.is_zero() {
            return Exit::CpuTime;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}
