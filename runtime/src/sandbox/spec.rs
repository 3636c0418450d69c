//! All that is decided before anything runs.

use crate::capabilities::Capabilities;
use crate::capabilities::Directory;
use crate::capabilities::GrantError;
use crate::capabilities::Input;
use crate::capabilities::Output;
use crate::capabilities::SingleFile;
use crate::capabilities::Tmpfs;
use crate::capabilities::check_guest_path;
use crate::capabilities::check_variable;
use crate::capabilities::covering;
use crate::limits::Limits;
use crate::process::Walls;

use super::placement::Placement;
use super::terminal::WindowSize;

/// Where a guest runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isolation {
    /// In this process, beside others: the wall is the engine's. Dense and quick; for many guests
    /// of a service.
    #[default]
    Shared,
    /// In a process of its own, a *worker* that is kept by this one. It is this program again, or
    /// the one that [`RuntimeBuilder::program`](crate::RuntimeBuilder::program) names, so that
    /// [`roles`](crate::roles) must have been called. ([`Runtime::occupy`](crate::Runtime::occupy)
    /// gives a guest this process itself.)
    Process,
}

/// A function to call instead of the guest's own start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The name of the export.
    pub function: String,
    /// The arguments, as text: numbers for a module, WAVE for a component. Their types are those
    /// of the function.
    pub arguments: Vec<String>,
}

/// A guest with its limits and capabilities, before it runs.
///
/// Everything is denied until it is granted: a new spec has no directories, no environment, no
/// arguments, standard input closed, output discarded, no network, and the limits that
/// [`Limits`] documents.
#[derive(Clone, Debug)]
#[must_use]
pub struct SandboxSpec {
    pub(crate) limits: Limits,
    pub(crate) capabilities: Capabilities,
    pub(crate) invocation: Option<Invocation>,
    pub(crate) trap_unknown_imports: bool,
    pub(crate) isolation: Isolation,
    pub(crate) walls: Walls,
    pub(crate) requires_group: bool,
    /// The size of the terminal that its streams are, where they are one.
    pub(crate) terminal: Option<WindowSize>,
    /// Whether its process ends with the thread that launches it, which must be the process's main
    /// one.
    pub(crate) ends_with_thread: bool,
    /// The id by which it is known to those who watch, if it has one. Whoever gives it one waits for its
    /// instance.
    pub(crate) known_as: Option<String>,
    pub(crate) placement: Placement,
}

impl SandboxSpec {
    /// A spec that grants nothing. The guest's first argument, its own name, is `name`.
    pub fn new(name: impl Into<String>) -> Self {
        let capabilities = Capabilities { arguments: vec![name.into()], ..Capabilities::default() };
        Self {
            limits: Limits::default(),
            capabilities,
            invocation: None,
            trap_unknown_imports: false,
            isolation: Isolation::default(),
            walls: Walls::ALL,
            requires_group: false,
            terminal: None,
            ends_with_thread: false,
            known_as: None,
            placement: Placement::default(),
        }
    }

    /// Sets how much the guest may use.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Grants a directory.
    pub fn directory(mut self, directory: Directory) -> Self {
        self.capabilities.directories.push(directory);
        self
    }

    /// Grants a single file, for which the guest needs a process of its own
    /// ([`Isolation::Process`]).
    pub fn file(mut self, file: SingleFile) -> Self {
        self.capabilities.files.push(file);
        self
    }

    /// Grants a directory in memory that is gone with the guest, for which that needs a process of
    /// its own ([`Isolation::Process`]).
    pub fn tmpfs(mut self, tmpfs: Tmpfs) -> Self {
        self.capabilities.tmpfs.push(tmpfs);
        self
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.capabilities.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.capabilities.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the guest's environment. A later value replaces an earlier one.
    ///
    /// # Errors
    ///
    /// Fails where the name is empty or holds a `=`, or either holds a NUL byte.
    pub fn env(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, GrantError> {
        let (name, value) = (name.into(), value.into());
        check_variable(&name, &value)?;
        let environment = &mut self.capabilities.environment;
        environment.retain(|(other, _)| *other != name);
        environment.push((name, value));
        Ok(self)
    }

    /// The guest's arguments, of which the first is its own name.
    pub fn arguments(&self) -> &[String] {
        &self.capabilities.arguments
    }

    /// Where the guest sees the directories that it was granted, those in memory too.
    pub fn places(&self) -> impl Iterator<Item = &str> {
        self.capabilities.directory_places()
    }

    /// Where the guest sees the single files that it was granted, as far as that is in none of those
    /// directories.
    pub fn file_places(&self) -> impl Iterator<Item = &str> {
        let files = self.capabilities.files.iter().map(SingleFile::guest);
        files.filter(|file| covering(self.places(), file).is_none())
    }

    /// Sets the guest's working directory, which must be in a granted directory. It is granted a
    /// second time as `.`, and `PWD` is set to it where it is not set already.
    ///
    /// # Errors
    ///
    /// Fails where it is not an absolute path without `.` and `..`.
    pub fn working_directory(mut self, directory: &str) -> Result<Self, GrantError> {
        self.capabilities.working_directory = Some(check_guest_path(directory)?);
        Ok(self)
    }

    /// Sets what the guest reads as standard input.
    pub fn stdin(mut self, input: Input) -> Self {
        self.capabilities.stdin = input;
        self
    }

    /// Sets where the guest's standard output goes.
    pub fn stdout(mut self, output: Output) -> Self {
        self.capabilities.stdout = output;
        self
    }

    /// Sets where the guest's standard error goes.
    pub fn stderr(mut self, output: Output) -> Self {
        self.capabilities.stderr = output;
        self
    }

    /// Makes those of the guest's streams that are [`Input::Stream`] and [`Output::Stream`] a terminal
    /// of its own, of this size, for which it needs a process of its own ([`Isolation::Process`]).
    ///
    /// Its outputs are one then, which [`Sandbox::stdout`](crate::Sandbox::stdout) reads, with what is
    /// typed in between, as it is shown. What is written to
    /// [`Sandbox::stdin`](crate::Sandbox::stdin) is typed: lines, Ctrl-D for the end of the input, and
    /// Ctrl-C and Ctrl-\\, which end the guest by signals 2 and 3.
    /// [`Sandbox::resize`](crate::Sandbox::resize) gives it another size.
    pub fn terminal(mut self, size: WindowSize) -> Self {
        self.terminal = Some(size);
        self
    }

    /// Calls a function instead of the guest's own start.
    pub fn invoke(mut self, invocation: Invocation) -> Self {
        self.invocation = Some(invocation);
        self
    }

    /// Lets a guest start that imports what nobody provides: it traps when it uses it.
    pub fn trap_unknown_imports(mut self) -> Self {
        self.trap_unknown_imports = true;
        self
    }

    /// Sets where the guest runs; [`Isolation::Shared`] if nobody says otherwise.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// Sets how much each wall of the operating system is wanted around a process of the guest's own;
    /// all of them, as far as this host gives them, if nobody says otherwise. One that is required
    /// and missing is an error, also where the guest shares a process and so can have none.
    pub fn walls(mut self, walls: Walls) -> Self {
        self.walls = walls;
        self
    }

    /// Refuses to launch the guest where no control group can hold its process to its memory. Without
    /// this, the best means of the host holds it, and the record says which.
    pub fn require_cgroup(mut self) -> Self {
        self.requires_group = true;
        self
    }

    /// Whether the host keeps output of this guest in memory.
    pub(crate) fn captures(&self) -> bool {
        [self.capabilities.stdout, self.capabilities.stderr].contains(&Output::Capture)
    }
}
