//! What a keeper that stays knows of its sandbox, and how it answers those who ask for it.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use crate::capabilities::Access;
use crate::limits::Limits;
use crate::platform::signals;
use crate::roster::Answer;
use crate::roster::Asker;
use crate::roster::Desk;
use crate::roster::Ending;
use crate::roster::Held;
use crate::roster::Life;
use crate::roster::Log;
use crate::roster::Plan;
use crate::roster::Request;
use crate::roster::Resident;
use crate::roster::Roster;
use crate::roster::answer;
use crate::roster::give;
use crate::roster::hear;
use crate::sandbox::Sandbox;
use crate::sandbox::WindowSize;

use super::askers::Askers;
use super::askers::Place;
use super::audience;
use super::audience::Audience;
use super::beside;
use super::enrol::Guest;
use super::stay::is_out_of_memory;

/// What the one who keeps the guest is to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Command {
    /// Have it stop, within this time or its own.
    Stop(Option<Duration>),
    /// End it by this signal.
    Kill(i32),
}

/// The guest's standard input.
pub(super) type Input = Box<dyn AsyncWrite + Unpin>;

/// What a keeper that stays knows. All of it is on one thread.
pub(super) struct Post {
    roster: Roster,
    resident: RefCell<Resident>,
    /// Until its end, or its removal, was written.
    held: RefCell<Option<Held>>,
    log: RefCell<Log>,
    sandbox: RefCell<Option<Arc<Sandbox>>>,
    input: RefCell<Option<Rc<tokio::sync::Mutex<Input>>>>,
    /// What was changed of its limits since it was planned.
    changes: Cell<Limits>,
    /// The size of its terminal, once somebody said one.
    size: Cell<Option<WindowSize>>,
    orders: UnboundedSender<Command>,
    audience: Audience,
    /// How often it ended, and with which code last.
    ends: watch::Sender<(u32, u8)>,
    askers: Rc<Askers>,
    company: beside::Company,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Post").field("resident", &self.resident).finish_non_exhaustive()
    }
}

impl Post {
    pub(super) fn new(
        roster: Roster,
        (resident, held): (Resident, Held),
        orders: UnboundedSender<Command>,
    ) -> Rc<Self> {
        let log = Log::open(held.path(), resident.plan.log);
        Rc::new(Self {
            roster,
            resident: RefCell::new(resident),
            held: RefCell::new(Some(held)),
            log: RefCell::new(log),
            sandbox: RefCell::default(),
            input: RefCell::default(),
            changes: Cell::default(),
            size: Cell::default(),
            orders,
            audience: Audience::default(),
            ends: watch::channel((0, 0)).0,
            askers: Rc::default(),
            company: beside::Company::default(),
        })
    }

    /// What is known of it.
    pub(super) fn resident(&self) -> Resident {
        self.resident.borrow().clone()
    }

    /// Its name, for people.
    pub(super) fn name(&self) -> String {
        let resident = self.resident.borrow();
        resident.name.as_ref().map_or_else(|| resident.id.short().to_owned(), ToString::to_string)
    }

    pub(super) fn plan(&self) -> Plan {
        self.resident.borrow().plan.clone()
    }

    /// What was changed of its limits since it was planned.
    pub(super) fn changes(&self) -> Limits {
        self.changes.get()
    }

    /// Writes down that something happened to it.
    pub(super) fn note(&self, action: &str, more: &[(&str, &str)]) {
        let resident = self.resident.borrow();
        let name = resident.name.as_ref().map_or("", |name| name.as_str());
        let own = [("image", resident.plan.image.as_str()), ("name", name)];
        self.roster.note(&resident.id, action, &[&own, more].concat());
    }

    /// Changes what is known of it, and writes that. Says whether it is written.
    fn change(&self, change: impl FnOnce(&mut Resident)) -> bool {
        let mut resident = self.resident.borrow_mut();
        change(&mut resident);
        resident.log_lost = self.log.borrow().lost();
        // Where the disk is full, what was known before stays.
        self.held.borrow().as_ref().is_none_or(|held| held.write(&resident).is_ok())
    }

    /// It is asked to stop, and goes on until then.
    pub(super) fn stopping(&self) {
        self.note("stop", &[]);
        if self.resident.borrow().life == Life::Paused {
            self.change(|resident| resident.life = Life::Running);
            self.company.resume_programs();
        }
    }

    /// Its guest has begun, in this sandbox.
    pub(super) fn begin(&self, sandbox: Sandbox) -> Arc<Sandbox> {
        self.note("start", &[]);
        self.change(|resident| {
            resident.life = Life::Running;
            resident.started = Some(SystemTime::now());
            resident.limits = sandbox.holds();
        });
        let input = sandbox.stdin().map(|input| {
            let input: Input = Box::new(input);
            Rc::new(tokio::sync::Mutex::new(input))
        });
        self.input.replace(input);
        let sandbox = Arc::new(sandbox);
        self.sandbox.replace(Some(Arc::clone(&sandbox)));
        sandbox
    }

    /// Nothing more is there for the guest to read.
    pub(super) fn close_input(&self) {
        self.input.replace(None);
    }

    /// Its guest has ended, and whatever ran beside it ends.
    pub(super) async fn left(&self) {
        self.sandbox.replace(None);
        self.input.replace(None);
        self.company.end().await;
    }

    /// The programs beside it.
    pub(super) fn company(&self) -> &beside::Company {
        &self.company
    }

    /// Its guest is about to be started again.
    pub(super) fn restarting(&self, ending: &Ending) {
        self.tell_of(ending);
        self.change(|resident| {
            resident.life = Life::Restarting;
            resident.ended = Some(SystemTime::now());
            resident.ending = Some(ending.clone());
            resident.restarts += 1;
        });
        self.ends.send_modify(|(count, code)| (*count, *code) = (*count + 1, ending.code()));
        self.note("restart", &[]);
    }

    fn tell_of(&self, ending: &Ending) {
        if is_out_of_memory(ending) {
            self.note("oom", &[]);
        }
        let code = ending.code().to_string();
        self.note("die", &[("exitCode", &code), ("reason", ending.reason())]);
    }

    /// It has ended for good. What is asked of it is asked of its entry from here on.
    pub(super) fn end(&self, ending: Ending) {
        self.tell_of(&ending);
        let code = ending.code();
        let is_written = self.change(|resident| {
            resident.life = Life::Exited;
            resident.keeper = None;
            resident.ended = Some(SystemTime::now());
            resident.ending = Some(ending);
        });
        if !is_written {
            // How it ended is worth more than a part of what it wrote.
            self.log.borrow_mut().make_room();
            self.change(|_| {});
        }
        if self.resident.borrow().plan.remove {
            self.give_up();
        }
        // Whoever is told of the end finds nobody who keeps it.
        drop(self.held.take());
        self.ends.send_modify(|(count, last)| (*count, *last) = (*count + 1, code));
    }

    /// It goes from the roster.
    pub(super) fn give_up(&self) {
        if let Some(held) = self.held.take() {
            // What is left is removed by whoever clears.
            let _left = held.remove(&self.resident.borrow().id);
            self.note("destroy", &[]);
        }
    }

    /// Waits until those who asked were answered.
    pub(super) async fn farewell(&self, limit: Duration) {
        /// How often it is looked.
        const STEP: Duration = Duration::from_millis(1);
        let all = async {
            while 0 < self.askers.count() {
                tokio::time::sleep(STEP).await;
            }
        };
        // Who does not listen is not told, but for the one who started it.
        let _unheard = tokio::time::timeout(limit, all).await;
        self.audience.owner_heard().await;
    }

    /// The guest wrote something: returns when more can be taken.
    pub(super) async fn wrote(&self, is_error: bool, bytes: &[u8]) {
        self.log.borrow_mut().write(is_error, bytes);
        self.audience.tell(is_error, bytes).await;
    }

    /// Those who are attached.
    pub(super) const fn audience(&self) -> &Audience {
        &self.audience
    }

    /// What the guest reads, as long as it may be written to.
    pub(super) fn input(&self) -> Option<Rc<tokio::sync::Mutex<Input>>> {
        self.input.borrow().clone()
    }

    /// Its terminal has this size from now on. Of several who are attached, the last one says.
    pub(super) fn resize(&self, size: WindowSize) {
        self.size.set(Some(size));
        if let Ok(sandbox) = self.sandbox() {
            // One without a terminal has no size.
            let _without = sandbox.resize(size);
        }
    }

    /// The size of its terminal, where somebody said one.
    pub(super) fn size(&self) -> Option<WindowSize> {
        self.size.get()
    }

    /// Tells of ends, by their count and code.
    pub(super) fn ends(&self) -> watch::Receiver<(u32, u8)> {
        self.ends.subscribe()
    }

    pub(super) fn sandbox(&self) -> Result<Arc<Sandbox>, Answer> {
        let sandbox = self.sandbox.borrow().clone();
        sandbox.ok_or_else(|| refusal("it is not running just now"))
    }

    pub(super) fn order(&self, command: Command) {
        // The one who takes orders is there as long as this is.
        let _unheard = self.orders.send(command);
    }

    /// Waits for the next end, and says with which code it was.
    async fn next_end(&self) -> u8 {
        // There is none after the last.
        if let Some(code) = self.resident.borrow().code() {
            return code;
        }
        let mut ends = self.ends.subscribe();
        // It stays as long as this does.
        let _there = ends.changed().await;
        let end = *ends.borrow();
        end.1
    }

    async fn answer_to(&self, request: Request) -> Result<Answer, Answer> {
        match request {
            Request::Stop { grace } => {
                self.order(Command::Stop(grace));
                // It is asked in any case, and takes its time for that.
                let _seat = self.askers.sit(Place::Stopping).map_err(refusal)?;
                Ok(Answer::Ended(self.next_end().await))
            }
            Request::Kill { signal } => {
                // One that is about to be started again can be told not to be.
                if self.resident.borrow().life != Life::Restarting {
                    self.sandbox()?;
                }
                self.order(command_of(signal)?);
                Ok(Answer::Done)
            }
            Request::Update(limits) => {
                let changes =
                    limits.read().ok_or_else(|| refusal("what it asks for is out of range"))?;
                let sandbox = self.sandbox()?;
                self.company.update(&sandbox, &changes).await.map_err(refusal)?;
                self.changes.set(self.changes.get().changed_by(changes));
                self.change(|resident| resident.limits = sandbox.holds());
                self.note("update", &[]);
                Ok(Answer::Done)
            }
            Request::Pause => {
                let sandbox = self.sandbox()?;
                self.company.pause(&sandbox).await.map_err(refusal)?;
                self.change(|resident| resident.life = Life::Paused);
                self.note("pause", &[]);
                Ok(Answer::Done)
            }
            Request::Resume => {
                let sandbox = self.sandbox()?;
                self.company.resume(&sandbox).map_err(refusal)?;
                self.change(|resident| resident.life = Life::Running);
                self.note("unpause", &[]);
                Ok(Answer::Done)
            }
            Request::Rename => {
                // Who was told last of several is not who was last.
                let names = self.roster.names_of(&self.resident.borrow().id).map_err(refusal)?;
                self.change(|resident| resident.name = names.into_iter().next());
                Ok(Answer::Done)
            }
            Request::Stats => {
                let sandbox = self.sandbox()?;
                Ok(Answer::Stats {
                    stats: Box::new((&sandbox.stats()).into()),
                    limits: sandbox.holds().iter().map(Into::into).collect(),
                    is_paused: sandbox.is_paused(),
                })
            }
            Request::Wait => Ok(Answer::Ended(self.next_end().await)),
            // They have more to say than one answer.
            Request::Attach | Request::Exec(_) | Request::Files(_) => Ok(Answer::Done),
        }
    }
}

/// Why something cannot be done.
fn refusal(reason: impl std::fmt::Display) -> Answer {
    Answer::Refused(reason.to_string())
}

/// What a signal does to a guest, which hears none.
fn command_of(signal: i32) -> Result<Command, Answer> {
    if signals::asks_soon(signal) {
        Ok(Command::Stop(None))
    } else if signals::ends(signal) {
        Ok(Command::Kill(signal))
    } else {
        Err(refusal(format_args!(
            "a guest has no signals, and {signal} ends nothing: INT, QUIT, ABRT and KILL end it at \
             once, TERM and HUP ask it to stop"
        )))
    }
}

/// Answers those who ask, each by a task.
pub(super) async fn attend(desk: Desk, post: Rc<Post>, guest: Rc<Guest>) {
    /// How long it takes until somebody can be heard again, where the host has no room for him.
    const BREATH: Duration = Duration::from_millis(100);
    loop {
        let Ok(asker) = desk.next().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let visitor = post.askers.enter();
        let (post, guest) = (Rc::clone(&post), Rc::clone(&guest));
        tokio::task::spawn_local(async move {
            // Who leaves before he is answered is not answered.
            let _left = serve(asker, &post, &guest).await;
            drop(visitor);
        });
    }
}

async fn serve(mut asker: Asker, post: &Post, guest: &Guest) -> std::io::Result<()> {
    let silent = post.askers.listen_to();
    let heard = tokio::select! {
        biased;
        heard = hear(&mut asker) => {
            heard.map_err(|error| format!("what was asked makes no sense: {error}"))
        }
        why = silent.sent_away() => Err(why),
    };
    drop(silent);
    let seated = heard.and_then(|request| {
        let seat = Place::of(&request).map(|place| post.askers.sit(place)).transpose()?;
        Ok((request, seat))
    });
    let (request, _seat) = match seated {
        Ok(seated) => seated,
        Err(reason) => return answer(&mut asker, &Answer::Refused(reason)).await,
    };
    let request = match request {
        Request::Attach => return audience::attach(asker, post).await,
        Request::Files(path) => return show_files(asker, post, guest, &path).await,
        Request::Exec(exec) => return beside::run(asker, post, guest, exec).await,
        request => request,
    };
    let answered = tokio::select! {
        biased;
        answered = post.answer_to(request) => answered,
        // Who leaves, or says more than was asked of him, keeps no place of those who wait.
        _ = asker.read_u8() => return Ok(()),
    };
    let (Ok(answered) | Err(answered)) = answered;
    answer(&mut asker, &answered).await
}

/// Gives the directory that holds a path of the guest's to somebody who copies.
async fn show_files(
    mut asker: Asker,
    post: &Post,
    guest: &Guest,
    path: &str,
) -> std::io::Result<()> {
    if let Err(refused) = post.sandbox() {
        return answer(&mut asker, &refused).await;
    }
    match guest.spec.capabilities.place_of(path) {
        Ok((directory, way)) => {
            let may_write = directory.access() == Access::ReadWrite;
            answer(&mut asker, &Answer::Files { way, may_write }).await?;
            give(&asker, directory.handle()).await
        }
        Err(reason) => answer(&mut asker, &Answer::Refused(reason)).await,
    }
}
