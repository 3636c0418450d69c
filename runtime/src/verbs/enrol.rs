//! From an artifact to a guest that goes on alone: this process becomes its keeper, and stays.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Image;
use crate::platform::Ask;
use crate::platform::process;
use crate::platform::signals::Asks;
use crate::platform::signals::Listening;
use crate::platform::socket;
use crate::roster::Asker;
use crate::roster::Held;
use crate::roster::LogPlan;
use crate::roster::Plan;
use crate::roster::Resident;
use crate::roster::Roster;
use crate::roster::SandboxName;
use crate::sandbox::Exit;
use crate::sandbox::Isolation;
use crate::sandbox::LaunchError;
use crate::sandbox::SandboxSpec;
use crate::sandbox::check_not_held;
use crate::units::Bytes;

use super::audience;
use super::desk::Command;
use super::desk::Post;
use super::desk::attend;
use super::prepare::Artifact;
use super::residents::failed;
use super::residents::told;
use super::runtime::Runtime;
use super::stay::Stay;

/// How long those who asked for the end are waited for, once it was told to them.
const FAREWELL: Duration = Duration::from_secs(2);

/// How many events a keeper takes from the system at once.
const EVENTS_MAX: usize = 32;

/// How long a guest's instance is waited for until it counts as begun: the code that a module has run
/// when it is made is the guest's own, and takes as long as it likes.
const BEGINNING_MAX: Duration = Duration::from_secs(2);

/// A place in the roster for a sandbox that is about to be kept: its id and its name are its own from
/// now on. Dropped, it is given up.
#[derive(Debug)]
pub struct Enrolment {
    roster: Roster,
    /// Until it is kept.
    place: Option<(Resident, Held)>,
    /// Whether the process that was split is to hear all that it writes.
    has_owner: bool,
}

/// What a keeper that stays keeps.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) runtime: Runtime,
    pub(super) artifact: Artifact,
    pub(super) spec: SandboxSpec,
    /// Where other programs of the guest's image are found.
    pub(super) image: Option<Image>,
}

impl Enrolment {
    /// The same for somebody who started it to see what it does: the process that was there before
    /// [`split`](crate::split), which is attached from the beginning ([`Twin::attach`](crate::Twin::attach)).
    /// The guest waits for him where he is slow, and is stopped where he is gone when it begins.
    #[must_use]
    pub fn with_owner(mut self) -> Self {
        self.has_owner = true;
        self
    }

    /// What is known of the sandbox so far.
    pub fn resident(&self) -> Option<&Resident> {
        self.place.as_ref().map(|(resident, _)| resident)
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        if let Some((resident, held)) = self.place.take() {
            // What is left is removed by whoever clears.
            let _left = held.remove(&resident.id);
            let name = resident.name.as_ref().map_or("", |name| name.as_str());
            let own = [("image", resident.plan.image.as_str()), ("name", name)];
            self.roster.note(&resident.id, "destroy", &own);
        }
    }
}

impl Runtime {
    /// Takes a place in the roster for a sandbox that is about to go on alone. Without a name it gets
    /// one by chance.
    ///
    /// # Errors
    ///
    /// Fails where the name is taken, where its log has no room for a line, and where the roster cannot
    /// be written.
    pub fn enrol(&self, name: Option<&SandboxName>, plan: &Plan) -> Result<Enrolment, Error> {
        let what = name.map_or_else(|| plan.image.clone(), ToString::to_string);
        if plan.log.size_max < LogPlan::SIZE_MIN || plan.log.files_max == 0 {
            let reason = format!(
                "a log needs a file, and `max-size` of {} at least",
                Bytes::new(LogPlan::SIZE_MIN)
            );
            return Err(failed("keep the output of", what, ErrorKind::InvalidInput, reason));
        }
        let roster = self.roster()?;
        let place = roster.enrol(name, plan).map_err(told("name the sandbox", &what))?;
        let name = place.0.name.as_ref().map_or("", |name| name.as_str());
        roster.note(&place.0.id, "create", &[("image", &plan.image), ("name", name)]);
        Ok(Enrolment { roster, place: Some(place), has_owner: false })
    }

    /// Runs a guest in a process of its own and keeps it, as its place in the roster says: what it
    /// writes goes to its log, others of this user can ask for it, and it is started again where that
    /// was decided. Returns after its last end, with the code that the process is to end with.
    ///
    /// The process must have no other work, and one thread: its signals are taken over, as by
    /// [`keep`](Self::keep). Once the guest has begun, `begun` is called, and then the process leaves
    /// its terminal: its standard streams are nothing from then on.
    ///
    /// # Errors
    ///
    /// Fails where the guest cannot be launched at all, or is refused at its start what it declares. The
    /// place is given up then.
    pub fn keep_alone(
        &self,
        enrolment: Enrolment,
        artifact: &Artifact,
        spec: SandboxSpec,
        image: Option<Image>,
        begun: impl FnOnce(&Resident),
    ) -> Result<u8, Error> {
        let asks = Asks::block();
        let unkept = |error: std::io::Error| {
            let reason = format!("it cannot be kept: {error}");
            let source = LaunchError::Exhausted { reason };
            Error::Launch { what: artifact.name().to_owned(), source }
        };
        // A sandbox has a handful of descriptors, and room for a thousand of their events stays taken.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_io_events_per_tick(EVENTS_MAX)
            .build();
        let runtime = runtime.map_err(unkept)?;
        let name = || artifact.name().to_owned();
        check_not_held(&spec).map_err(|source| Error::Launch { what: name(), source })?;
        let tasks = tokio::task::LocalSet::new();
        let guest = self.guest(&enrolment, artifact, spec, image);
        let kept = tasks.block_on(&runtime, staying(enrolment, guest, asks, begun));
        // A program that is compiled to run beside a guest that is no more is waited for by nobody.
        runtime.shutdown_background();
        kept
    }

    /// What is kept, with what a keeper needs of it.
    #[inline(never)]
    fn guest(
        &self,
        enrolment: &Enrolment,
        artifact: &Artifact,
        spec: SandboxSpec,
        image: Option<Image>,
    ) -> Rc<Guest> {
        let mut spec = spec.isolation(Isolation::Process);
        // This is the main thread, and the worker's parent until this process ends.
        spec.ends_with_thread = true;
        spec.known_as = enrolment.place.as_ref().map(|(resident, _)| resident.id.to_string());
        Rc::new(Guest { runtime: self.clone(), artifact: artifact.clone(), spec, image })
    }
}

/// What a keeper waits for, apart from the stack that it waits on: that stays small, page by page, only
/// where no frame above it has had all of this in its hands. For the same reason it is not inlined.
#[inline(never)]
fn staying<'a>(
    enrolment: Enrolment,
    guest: Rc<Guest>,
    asks: Asks,
    begun: impl FnOnce(&Resident) + 'a,
) -> Pin<Box<dyn Future<Output = Result<u8, Error>> + 'a>> {
    Box::pin(async move {
        let mut listening = asks.listen().map_err(|error| {
            let reason = format!("it cannot be kept: {error}");
            let source = LaunchError::Exhausted { reason };
            Error::Launch { what: guest.artifact.name().to_owned(), source }
        })?;
        stay(enrolment, guest, &mut listening, begun).await
    })
}

async fn stay(
    mut enrolment: Enrolment,
    guest: Rc<Guest>,
    asks: &mut Listening,
    begun: impl FnOnce(&Resident),
) -> Result<u8, Error> {
    // The first launch decides whether there is anything to keep. What it takes is freed before this
    // process settles, and not a part of what that waits with.
    let launching = Box::pin(guest.runtime.launch(&guest.artifact, guest.spec.clone()));
    let sandbox = tokio::select! {
        launched = launching => launched?,
        code = asked_to_end(asks) => {
            drop(enrolment);
            process::exit_now(code)
        }
    };
    // What is refused as the instance is made was never begun either.
    if let Ok(Err(source)) = tokio::time::timeout(BEGINNING_MAX, sandbox.begun()).await {
        return Err(Error::Launch { what: guest.artifact.name().to_owned(), source });
    }
    let Some((resident, held)) = enrolment.place.take() else {
        let never = "it has no place in the roster";
        return Err(failed("keep", guest.artifact.name(), ErrorKind::Internal, never));
    };
    let (orders, commands) = mpsc::unbounded_channel();
    let desk = held.listen();
    let post = Post::new(enrolment.roster.clone(), (resident, held), orders);
    let sandbox = post.begin(sandbox);
    // Whoever is told that it runs can speak to its keeper.
    let desk = match desk {
        Ok(desk) => desk,
        Err(error) => {
            post.give_up();
            return Err(failed("listen for", post.name(), ErrorKind::Unavailable, error));
        }
    };
    let asking = tokio::task::spawn_local(attend(desk, Rc::clone(&post), Rc::clone(&guest)));
    // Made before the stack is given back, which making it takes much of.
    let staying = Box::pin(Stay::new(guest, Rc::clone(&post), commands).live(sandbox, asks));
    let owner = match part(enrolment.has_owner, || begun(&post.resident())) {
        Ok(owner) => owner,
        Err(error) => {
            post.give_up();
            return Err(failed(
                "leave the terminal of",
                post.name(),
                ErrorKind::Unavailable,
                error,
            ));
        }
    };
    match owner {
        None => {}
        Some(owner) if socket::is_closed(&owner) => post.order(Command::Stop(Some(Duration::ZERO))),
        Some(owner) => {
            // All that the guest writes is for him, before anybody takes what it wrote.
            drop(tokio::task::spawn_local(audience::attach_owner(owner, Rc::clone(&post))));
        }
    }
    let ending = staying.await;
    let code = ending.code();
    asking.abort();
    post.end(ending);
    post.farewell(FAREWELL).await;
    Ok(code)
}

/// Says that the guest has begun, and leaves what this process shares with who started it, but for the
/// connection to the one who is to hear what it writes.
fn part(has_owner: bool, begun: impl FnOnce()) -> std::io::Result<Option<Asker>> {
    let owner = has_owner.then(socket::of_output).transpose()?;
    // Who is told that it began may close the terminal at once.
    process::leave_session();
    begun();
    process::go_on_alone()?;
    owner.map(socket::to_async).transpose()
}

/// Waits until somebody asks this process to end, and says with what code.
async fn asked_to_end(asks: &mut Listening) -> u8 {
    /// The number of the signal that cannot be caught, as the code of an end that nobody saw.
    const KILL: i32 = 9;
    let signal = match asks.next().await {
        Ok(Ask::Now(signal) | Ask::Soon(signal)) => signal,
        Err(_) => KILL,
    };
    Exit::Killed(signal).code()
}
