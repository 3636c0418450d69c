//! What a keeper hands to its worker, and what the worker says: messages of JSON, and files by the
//! numbers under which they were inherited.

use std::fs::File;
use std::sync::Arc;

use serde::Deserialize;
use serde::Serialize;

use crate::capabilities::Capabilities;
use crate::capabilities::Denial;
use crate::capabilities::GrantError;
use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::engine::Kind;
use crate::engine::Known;
use crate::limits::LimitError;
use crate::limits::NAMES;
use crate::process::Need;
use crate::process::Wall;
use crate::process::WallStanding;
use crate::process::Walls;

use super::end::bounded;
use super::end::printable;
use super::grants::WireGrants;
use super::guest::LaunchError;
use super::placement::Placement;
use super::placement::User;
use super::spec::Invocation;
use super::spec::Isolation;
use super::spec::SandboxSpec;
use super::wire_limits::WireLimits;

/// All that a worker needs to run a guest. Files are numbers.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "a message, and not a state")]
pub(super) struct Order {
    limits: WireLimits,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    #[serde(flatten)]
    grants: WireGrants,
    working_directory: Option<String>,
    /// Whether standard input is read at all.
    input: bool,
    function: Option<(String, Vec<String>)>,
    trap_unknown_imports: bool,
    kind: String,
    digest: String,
    form: String,
    held: u64,
    /// Machine code, figures, what ends the input, and the guest's `/` where it has no other.
    pub(super) artifact: u32,
    pub(super) figures: u32,
    pub(super) input_end: u32,
    pub(super) empty: u32,
    /// What ties the worker to its keeper.
    pub(super) leash: u32,
    /// Where the call is told that ended the worker.
    pub(super) trapped: u32,
    /// By what the worker walks into its control group.
    pub(super) doors: Vec<u32>,
    /// The process with which the worker ends, beside the leash, where its thread that started the
    /// worker stays as long as it does.
    pub(super) parent: Option<u32>,
    /// What the worker waits at before it runs its guest, where it is held until then.
    pub(super) gate: Option<u32>,
    /// As whom it acts, where that is not as its keeper.
    user: Option<User>,
    /// Whether the worker leaves the session of its keeper: its streams are a terminal of its own.
    pub(super) leaves_session: bool,
    /// Whether the worker says when its guest's instance is made.
    pub(super) tells_instance: bool,
    /// How much each wall is wanted.
    walls: Vec<WireNeed>,
}

/// How much a wall is wanted.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
enum WireNeed {
    Wanted,
    Required,
    LeftOut,
}

/// How a wall stands: its name, whether it holds (nothing where it was left out), and what is to be
/// said of it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct WireWall {
    wall: String,
    holds: Option<bool>,
    said: String,
    remedy: String,
}

/// The files that an order names, beside what is granted.
#[derive(Debug)]
pub(super) struct Files<'a> {
    pub(super) artifact: &'a File,
    pub(super) figures: &'a File,
    pub(super) input_end: &'a File,
    pub(super) empty: &'a File,
    pub(super) leash: &'a File,
    pub(super) trapped: &'a File,
    pub(super) doors: &'a [File],
    pub(super) gate: Option<&'a File>,
}

/// What is wrong with an order: it was not made by a keeper of this version.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidOrder {
    #[error("it is no order")]
    Form(#[from] serde_json::Error),
    #[error("its {0} is out of range")]
    Value(&'static str),
    #[error("what it names is not there")]
    File(#[from] std::io::Error),
    #[error("what it grants cannot be granted")]
    Grant(#[from] GrantError),
}

impl Order {
    /// The order to run a guest by this spec, with the files that are granted as `granted` has them,
    /// from machine code of this kind. `number` says by which number the worker finds a file.
    pub(super) fn new(
        spec: &SandboxSpec,
        granted: &Capabilities,
        (known, kind): (&Known, Kind),
        files: &Files<'_>,
        number: impl Fn(&File) -> u32,
    ) -> Self {
        let SandboxSpec { limits, capabilities, invocation, trap_unknown_imports, .. } = spec;
        Self {
            limits: WireLimits::of_process(limits),
            arguments: capabilities.arguments.clone(),
            environment: capabilities.environment.clone(),
            grants: WireGrants::new(granted, &number),
            working_directory: capabilities.working_directory.clone(),
            input: capabilities.stdin != Input::Closed,
            function: invocation
                .as_ref()
                .map(|call| (call.function.clone(), call.arguments.clone())),
            trap_unknown_imports: *trap_unknown_imports,
            kind: kind.word().to_owned(),
            digest: known.digest.to_string(),
            form: known.form.to_string(),
            held: known.held,
            artifact: number(files.artifact),
            figures: number(files.figures),
            input_end: number(files.input_end),
            empty: number(files.empty),
            leash: number(files.leash),
            trapped: number(files.trapped),
            doors: files.doors.iter().map(&number).collect(),
            gate: files.gate.map(&number),
            user: spec.placement.user.clone(),
            parent: spec.ends_with_thread.then(std::process::id),
            leaves_session: spec.terminal.is_some(),
            tells_instance: spec.known_as.is_some(),
            walls: Wall::ALL.map(|wall| written_need(spec.walls.need(wall))).to_vec(),
        }
    }

    /// The order as it is sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // It holds texts and numbers alone: nothing of it can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Self, InvalidOrder> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// The machine code that is to be run.
    pub(super) fn code(&self) -> Result<(Known, Kind), InvalidOrder> {
        let digest = self.digest.parse().map_err(|_| InvalidOrder::Value("digest"))?;
        let form = self.form.parse().map_err(|()| InvalidOrder::Value("form"))?;
        let kind = Kind::from_word(&self.kind).ok_or(InvalidOrder::Value("kind"))?;
        Ok((Known { digest, form, held: self.held }, kind))
    }

    /// The numbers of all files that it names.
    pub(super) fn numbers(&self) -> Vec<u32> {
        let own = [self.artifact, self.figures, self.input_end, self.empty, self.leash];
        let own = own.into_iter().chain([self.trapped]).chain(self.doors.iter().copied());
        own.chain(self.gate).chain(self.grants.numbers()).collect()
    }

    /// The spec of the guest, with what is granted as it was inherited.
    pub(super) fn spec(self) -> Result<SandboxSpec, InvalidOrder> {
        let needs = Wall::ALL.into_iter().zip(&self.walls);
        let walls =
            needs.fold(Walls::ALL, |walls, (wall, need)| walls.with(wall, read_need(*need)));
        let capabilities = Capabilities {
            environment: self.environment,
            working_directory: self.working_directory,
            arguments: self.arguments,
            stdin: if self.input { Input::Inherit } else { Input::Closed },
            stdout: Output::Inherit,
            stderr: Output::Inherit,
            ..self.grants.read()?
        };
        let call = |(function, arguments)| Invocation { function, arguments };
        Ok(SandboxSpec {
            limits: self.limits.read().ok_or(InvalidOrder::Value("limits"))?,
            capabilities,
            invocation: self.function.map(call),
            trap_unknown_imports: self.trap_unknown_imports,
            isolation: Isolation::Process,
            walls,
            requires_group: false,
            terminal: None,
            ends_with_thread: false,
            known_as: None,
            placement: Placement { user: self.user, ..Placement::default() },
        })
    }
}

/// What a worker says. The last word is `Ended` or `Failed`; a worker that ends without one was
/// ended.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Word {
    /// The guest is about to start, within these walls.
    Ready(Vec<WireWall>),
    /// The guest's instance is made, and its own code begins.
    Begun,
    /// The guest was refused something.
    Denied { path: String, refusal: String, call: u64 },
    /// The guest ended: its record, in its own wire form.
    Ended(String),
    /// The guest could not be launched.
    Failed(Failure),
}

impl Word {
    /// What the guest was refused.
    pub(super) fn denied(denial: &Denial) -> Self {
        Self::Denied {
            path: denial.path.clone(),
            refusal: denial.refusal.word().to_owned(),
            call: denial.call,
        }
    }

    /// The word that a worker said, which is a claim.
    pub(super) fn parse(bytes: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(bytes)
    }
}

const fn written_need(need: Need) -> WireNeed {
    match need {
        Need::Wanted => WireNeed::Wanted,
        Need::Required => WireNeed::Required,
        Need::LeftOut => WireNeed::LeftOut,
    }
}

const fn read_need(need: WireNeed) -> Need {
    match need {
        WireNeed::Wanted => Need::Wanted,
        WireNeed::Required => Need::Required,
        WireNeed::LeftOut => Need::LeftOut,
    }
}

impl WireWall {
    pub(super) fn new((wall, standing): &(Wall, WallStanding)) -> Self {
        let (holds, said, remedy) = match standing {
            WallStanding::Held { detail } => (Some(true), detail.clone(), String::new()),
            WallStanding::Missing { reason, remedy } => {
                (Some(false), reason.clone(), remedy.clone())
            }
            WallStanding::LeftOut => (None, String::new(), String::new()),
        };
        Self { wall: wall.word().to_owned(), holds, said, remedy }
    }

    /// The wall, where there is one of that name.
    pub(super) fn read(self) -> Option<(Wall, WallStanding)> {
        let standing = match self.holds {
            Some(true) => WallStanding::Held { detail: self.said },
            Some(false) => WallStanding::Missing { reason: self.said, remedy: self.remedy },
            None => WallStanding::LeftOut,
        };
        Some((self.wall.parse().ok()?, standing))
    }
}

/// A [`LaunchError`] on its way.
#[derive(Debug, Deserialize, Serialize)]
pub(super) enum Failure {
    NotRunnable(String),
    Invocation(String),
    NoRung {
        limit: String,
        missing: String,
    },
    Limit(String),
    Open {
        host: String,
        reason: String,
    },
    NoWorkingDirectory {
        directory: String,
        reason: String,
    },
    Grant(String),
    Mount {
        guest: String,
        reason: String,
    },
    Isolation(String),
    Exhausted(String),
    Engine(String),
    /// The engine does not take the machine code: it is to be made again.
    Stale(String),
}

impl From<&LaunchError> for Failure {
    fn from(error: &LaunchError) -> Self {
        match error {
            LaunchError::NotRunnable { reason } => Self::NotRunnable(reason.clone()),
            LaunchError::Invocation { reason } => Self::Invocation(reason.clone()),
            LaunchError::Limit(LimitError::NoRung { name, missing }) => {
                Self::NoRung { limit: (*name).to_owned(), missing: missing.clone() }
            }
            LaunchError::Limit(limit) => Self::Limit(limit.to_string()),
            LaunchError::Grant(grant) => match &**grant {
                GrantError::Open { host, source } => Self::Open {
                    host: host.to_string_lossy().into_owned(),
                    reason: source.to_string(),
                },
                GrantError::NoWorkingDirectory { directory, source } => {
                    let (directory, reason) = (directory.clone(), source.to_string());
                    Self::NoWorkingDirectory { directory, reason }
                }
                GrantError::Mount { guest, reason } => {
                    Self::Mount { guest: guest.clone(), reason: reason.clone() }
                }
                other => Self::Grant(other.to_string()),
            },
            LaunchError::Isolation { reason } => Self::Isolation(reason.clone()),
            LaunchError::Exhausted { reason } => Self::Exhausted(reason.clone()),
            LaunchError::Engine { reason } => Self::Engine(reason.clone()),
            LaunchError::Stale { reason } => Self::Stale(reason.clone()),
        }
    }
}

impl Failure {
    /// The same with texts that can be shown: whoever said them may be a stranger.
    fn shown(self) -> Self {
        let shown = |text: String| printable(&bounded(text));
        match self {
            Self::NotRunnable(text) => Self::NotRunnable(shown(text)),
            Self::Invocation(text) => Self::Invocation(shown(text)),
            Self::NoRung { limit, missing } => Self::NoRung { limit, missing: shown(missing) },
            Self::Limit(text) => Self::Limit(shown(text)),
            Self::Open { host, reason } => Self::Open { host: shown(host), reason: shown(reason) },
            Self::NoWorkingDirectory { directory, reason } => {
                let (directory, reason) = (shown(directory), shown(reason));
                Self::NoWorkingDirectory { directory, reason }
            }
            Self::Grant(text) => Self::Grant(shown(text)),
            Self::Mount { guest, reason } => {
                Self::Mount { guest: shown(guest), reason: shown(reason) }
            }
            Self::Isolation(text) => Self::Isolation(shown(text)),
            Self::Exhausted(text) => Self::Exhausted(shown(text)),
            Self::Engine(text) => Self::Engine(shown(text)),
            Self::Stale(text) => Self::Stale(shown(text)),
        }
    }
}

impl From<Failure> for LaunchError {
    fn from(failure: Failure) -> Self {
        let grant = |error| Self::Grant(Arc::new(error));
        match failure.shown() {
            Failure::NotRunnable(reason) => Self::NotRunnable { reason },
            Failure::Invocation(reason) => Self::Invocation { reason },
            Failure::NoRung { limit, missing } => {
                let name = NAMES.into_iter().find(|name| *name == limit);
                Self::Limit(LimitError::NoRung { name: name.unwrap_or("unknown"), missing })
            }
            Failure::Open { host, reason } => {
                grant(GrantError::Open { host: host.into(), source: std::io::Error::other(reason) })
            }
            Failure::NoWorkingDirectory { directory, reason } => {
                let source = std::io::Error::other(reason);
                grant(GrantError::NoWorkingDirectory { directory, source })
            }
            Failure::Mount { guest, reason } => grant(GrantError::Mount { guest, reason }),
            // The keeper looked for these before there was a worker.
            Failure::Limit(reason) | Failure::Grant(reason) | Failure::Engine(reason) => {
                Self::Engine { reason }
            }
            Failure::Isolation(reason) => Self::Isolation { reason },
            Failure::Exhausted(reason) => Self::Exhausted { reason },
            Failure::Stale(reason) => Self::Stale { reason },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::engine::Form;
    use crate::limits::Limit;
    use crate::limits::Limits;
    use crate::platform::child::number;
    use crate::sandbox::wire_limits::WireLimit;
    use crate::units::Bytes;
    use crate::units::Cpus;

    fn order() -> Order {
        let limits = Limits {
            memory: Bytes::mib(3).into(),
            cpus: "0.5".parse::<Cpus>().expect("a share").into(),
            deadline: Limit::Unlimited,
            open_files: Limit::Of(9),
            ..Limits::default()
        };
        let spec = SandboxSpec::new("name").arg("ä\n").env("A", "b").expect("a variable");
        let spec = spec.limits(limits).stdin(Input::Inherit).trap_unknown_imports();
        let invocation = Invocation { function: "f".to_owned(), arguments: vec!["1".to_owned()] };
        let file = tempfile::tempfile().expect("a file");
        let files = Files {
            artifact: &file,
            figures: &file,
            input_end: &file,
            empty: &file,
            leash: &file,
            trapped: &file,
            doors: &[],
            gate: None,
        };
        let known = Known { digest: Digest::of(b"wasm"), form: Form::Component, held: 7 };
        let spec = spec.invoke(invocation);
        Order::new(&spec, &spec.capabilities, (&known, Kind::default()), &files, number)
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let order = order();
        let read = Order::parse(&order.to_bytes()).expect("an order");
        assert_eq!(read, order);
        let (known, kind) = read.code().expect("code");
        assert_eq!((known.form, known.held, kind), (Form::Component, 7, Kind::default()));
        let spec = read.spec().expect("a spec");
        assert_eq!(spec.limits.memory, Limit::Of(Bytes::mib(3)));
        assert_eq!(spec.limits.deadline, Limit::Unlimited);
        assert_eq!(spec.limits.fuel, Limit::Default);
        assert_eq!(spec.capabilities.arguments, ["name", "ä\n"]);
        assert_eq!(spec.capabilities.stdin, Input::Inherit);
        assert_eq!(spec.invocation.map(|call| call.function).as_deref(), Some("f"));
        assert!(spec.trap_unknown_imports);
    }

    #[test]
    fn an_order_that_nobody_could_have_made_is_refused() {
        let with = |change: fn(&mut Order)| {
            let mut order = order();
            change(&mut order);
            order
        };
        let share = with(|order| order.limits.cpus = WireLimit::Of(0)).spec();
        assert!(matches!(share, Err(InvalidOrder::Value("limits"))));
        assert!(with(|order| order.kind = "odd".to_owned()).code().is_err());
        assert!(matches!(Order::parse(b"{}"), Err(InvalidOrder::Form(_))));
    }

    #[test]
    fn a_failure_arrives_as_what_it_was() {
        let missing = "more files".to_owned();
        for error in [
            LaunchError::NotRunnable { reason: "no start".to_owned() },
            LaunchError::Limit(LimitError::NoRung { name: "open_files", missing }),
            LaunchError::Exhausted { reason: "no room".to_owned() },
            LaunchError::Stale { reason: "another build".to_owned() },
            GrantError::Open { host: "/x".into(), source: std::io::Error::other("gone") }.into(),
            GrantError::Mount { guest: "/x".to_owned(), reason: "gone".to_owned() }.into(),
        ] {
            let arrived = LaunchError::from(Failure::from(&error));
            assert_eq!(arrived.to_string(), error.to_string());
            assert_eq!(std::mem::discriminant(&arrived), std::mem::discriminant(&error), "{error}");
        }
    }
}
