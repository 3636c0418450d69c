//! From a configuration to what it asks for.

use aril::Access;
use aril::Limit;
use aril::Limits;
use oci_spec::runtime::Linux;
use oci_spec::runtime::LinuxNamespace;
use oci_spec::runtime::LinuxNamespaceType;
use oci_spec::runtime::LinuxPersonalityDomain;
use oci_spec::runtime::PosixRlimit;
use oci_spec::runtime::PosixRlimitType;
use oci_spec::runtime::Process;
use oci_spec::runtime::Spec;

use super::annotations;
use super::container::Container;
use super::container::GroupPlace;
use super::container::Join;
use super::container::Root;
use super::container::Terminal;
use super::identity;
use super::mounts;
use super::refusal::Refusal;
use super::resources::limits_of;

impl Container {
    /// What a configuration asks for.
    ///
    /// What a guest cannot have and would miss is refused. What makes no difference to it, because it
    /// has no kernel to speak with, is left out and noted.
    ///
    /// # Errors
    ///
    /// Fails where it asks for what a guest cannot have, or contradicts itself.
    pub fn from_spec(spec: &Spec) -> Result<Self, Refusal> {
        check_version(spec.version())?;
        let process = spec.process().as_ref();
        let process = process.ok_or_else(|| Refusal::new("process", "there is nothing to run"))?;
        let mut notes = Vec::new();
        let linux = spec.linux().as_ref();
        let none = Vec::new();
        let uids = linux.and_then(|linux| linux.uid_mappings().as_ref()).unwrap_or(&none);
        let gids = linux.and_then(|linux| linux.gid_mappings().as_ref()).unwrap_or(&none);
        let user = identity::user(process.user(), uids, gids)?;
        let mut limits = Limits::default();
        let mut group = None;
        let mut joins = Vec::new();
        if let Some(linux) = linux {
            refuse_of_linux(linux, &mut notes)?;
            if let Some(resources) = linux.resources() {
                limits = limits_of(resources, &mut notes)?;
            }
            group = linux.cgroups_path().as_ref().map(|path| place(path)).transpose()?.flatten();
            joins = namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
        }
        note_walls(process, linux, &mut notes);
        refuse_of_process(process)?;
        let mounted = spec.mounts().as_deref().unwrap_or_default();
        let bounds = process.rlimits().as_deref().unwrap_or_default();
        rlimits(bounds, mounted.len(), &mut limits, &mut notes)?;
        let none = std::collections::HashMap::new();
        let isolation =
            annotations::read(spec.annotations().as_ref().unwrap_or(&none), &mut limits)?;
        Ok(Self {
            root: root(spec)?,
            args: args(process)?,
            env: env(process)?,
            cwd: cwd(process)?,
            terminal: terminal(process)?,
            user,
            mounts: mounts::mounts(mounted, &mut notes)?,
            limits,
            group,
            joins,
            oom_score_adj: oom_score_adj(process)?,
            isolation,
            hooks: spec.hooks().clone().unwrap_or_default(),
            notes,
        })
    }
}

/// Refuses a configuration of another line of the specification: what it means is not known.
fn check_version(version: &str) -> Result<(), Refusal> {
    if version.split('.').next() == Some("1") && version.split('.').count() >= 3 {
        return Ok(());
    }
    Err(Refusal::new("ociVersion", format!("`{version}` is no version 1 of the specification")))
}

fn root(spec: &Spec) -> Result<Root, Refusal> {
    let root = spec.root().as_ref().ok_or_else(|| Refusal::new("root", "there are no files"))?;
    if root.path().as_os_str().is_empty() {
        return Err(Refusal::new("root.path", "it is empty"));
    }
    let access = if root.readonly() == Some(true) { Access::ReadOnly } else { Access::ReadWrite };
    Ok(Root { path: root.path().clone(), access })
}

fn args(process: &Process) -> Result<Vec<String>, Refusal> {
    let args = process.args().clone().unwrap_or_default();
    match args.first() {
        None => Err(Refusal::new("process.args", "there is no program")),
        Some(program) if program.is_empty() => {
            Err(Refusal::new("process.args", "the name of the program is empty"))
        }
        _ if args.iter().any(|arg| arg.contains('\0')) => {
            Err(Refusal::new("process.args", "an argument has a NUL in it"))
        }
        _ => Ok(args),
    }
}

/// The variables, of which the last of a name counts.
fn env(process: &Process) -> Result<Vec<(String, String)>, Refusal> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for text in process.env().iter().flatten() {
        let (name, value) = text.split_once('=').unwrap_or_default();
        if name.is_empty() || text.contains('\0') {
            let reason = format!("`{}` is no variable: NAME=VALUE", text.escape_debug());
            return Err(Refusal::new("process.env", reason));
        }
        match variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => variables.push((name.to_owned(), value.to_owned())),
        }
    }
    Ok(variables)
}

fn cwd(process: &Process) -> Result<String, Refusal> {
    match process.cwd().to_str() {
        Some(path) if path.starts_with('/') => Ok(path.to_owned()),
        Some(path) => Err(Refusal::new("process.cwd", format!("`{path}` is no absolute path"))),
        None => Err(Refusal::new("process.cwd", "it is no UTF-8")),
    }
}

fn terminal(process: &Process) -> Result<Option<Terminal>, Refusal> {
    if process.terminal() != Some(true) {
        return Ok(None);
    }
    let Some(size) = process.console_size() else { return Ok(Some(Terminal { size: None })) };
    let cells = |count: u64| {
        let refuse =
            |_| Refusal::new("process.consoleSize", format!("{count} is more than a terminal has"));
        u16::try_from(count).map_err(refuse)
    };
    Ok(Some(Terminal { size: Some((cells(size.height())?, cells(size.width())?)) }))
}

fn oom_score_adj(process: &Process) -> Result<Option<i32>, Refusal> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(Refusal::new("process.oomScoreAdj", format!("{score} is not from -1000 to 1000")))
        }
        score => Ok(score),
    }
}

/// How many files a guest may open whose process may have so many: some are the process's own, and two
/// for each thing that is mounted.
fn files_of_guest(process: u32, mounts: usize) -> u32 {
    /// What the library keeps for the process, its root, and the streams.
    const OWN: u32 = 72;
    let mounts = u32::try_from(mounts).unwrap_or(u32::MAX);
    process.saturating_sub(OWN).saturating_sub(mounts.saturating_mul(2)).max(1)
}

/// Bounds of a process, of which a guest knows few.
fn rlimits(
    rlimits: &[PosixRlimit],
    mounts: usize,
    limits: &mut Limits,
    notes: &mut Vec<String>,
) -> Result<(), Refusal> {
    let mut left_out = Vec::new();
    for rlimit in rlimits {
        if rlimit.hard() < rlimit.soft() {
            let reason = format!("its hard limit, {}, is less than its soft one", rlimit.hard());
            return Err(Refusal::new(format!("process.rlimits[{}]", rlimit.typ()), reason));
        }
        match rlimit.typ() {
            PosixRlimitType::RlimitNofile => {
                // More than there are numbers is as good as all of them.
                limits.open_files = match u32::try_from(rlimit.soft()) {
                    Ok(count) => Limit::Of(files_of_guest(count, mounts)),
                    Err(_) => Limit::Unlimited,
                };
            }
            PosixRlimitType::RlimitCpu => {
                limits.cpu_time = match rlimit.soft() {
                    u64::MAX => Limit::Unlimited,
                    seconds => Limit::Of(std::time::Duration::from_secs(seconds)),
                };
            }
            other => left_out.push(other.to_string()),
        }
    }
    if !left_out.is_empty() {
        notes.push(format!("a guest's process has bounds of its own for {}", left_out.join(", ")));
    }
    Ok(())
}

/// What of a process changes how it runs, and cannot be had.
fn refuse_of_process(process: &Process) -> Result<(), Refusal> {
    let refused = [
        ("scheduler", process.scheduler().is_some()),
        ("ioPriority", process.io_priority().is_some()),
        ("execCPUAffinity", process.exec_cpu_affinity().is_some()),
        ("commandLine", process.command_line().as_ref().is_some_and(|line| !line.is_empty())),
    ];
    match refused.into_iter().find(|(_, is_asked)| *is_asked) {
        Some((name, _)) => {
            Err(Refusal::new(format!("process.{name}"), "nothing here holds a guest to it"))
        }
        None => Ok(()),
    }
}

/// What of Linux would make a difference to a guest, and cannot be had.
fn refuse_of_linux(linux: &Linux, notes: &mut Vec<String>) -> Result<(), Refusal> {
    let some = |is_there: bool, name, reason| is_there.then_some((name, reason));
    let personality = linux.personality().as_ref();
    let refused = [
        some(
            linux.devices().as_ref().is_some_and(|devices| !devices.is_empty()),
            "devices",
            "a guest cannot be given devices",
        ),
        some(
            linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()),
            "netDevices",
            "a guest has no network yet",
        ),
        some(linux.intel_rdt().is_some(), "intelRdt", "nothing here holds a guest to it"),
        some(linux.memory_policy().is_some(), "memoryPolicy", "nothing here holds a guest to it"),
        some(
            linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()),
            "timeOffsets",
            "a guest's clocks are the host's",
        ),
        some(
            personality.is_some_and(|personality| {
                personality.domain() != LinuxPersonalityDomain::PerLinux
            }),
            "personality",
            "a guest has no kernel that could be another",
        ),
    ];
    if let Some((name, reason)) = refused.into_iter().flatten().next() {
        return Err(Refusal::new(format!("linux.{name}"), reason));
    }
    if let Some(names) = linux.sysctl().as_ref().filter(|names| !names.is_empty()) {
        let mut names: Vec<&str> = names.keys().map(String::as_str).collect();
        names.sort_unstable();
        notes.push(format!("a guest has no kernel to set {} of", names.join(", ")));
    }
    Ok(())
}

/// Says which walls stand in the place of those that were asked for.
fn note_walls(process: &Process, linux: Option<&Linux>, notes: &mut Vec<String>) {
    if linux.is_some_and(|linux| linux.seccomp().is_some()) {
        notes.push(
            "the list of system calls is Aril's own, in the place of `linux.seccomp`: a guest makes none, \
             and what runs it makes fewer than any such profile allows"
                .to_owned(),
        );
    }
    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if has(process.apparmor_profile())
        && process.apparmor_profile().as_deref() != Some("unconfined")
    {
        notes.push("landlock is in the place of `process.apparmorProfile`".to_owned());
    }
    if has(process.selinux_label()) {
        notes.push("landlock is in the place of `process.selinuxLabel`".to_owned());
    }
    if process.capabilities().is_some() {
        notes.push("no process of a guest's has any of `process.capabilities`".to_owned());
    }
}

/// Where a control group is to be: nothing where that is left to us.
fn place(path: &std::path::Path) -> Result<Option<GroupPlace>, Refusal> {
    let refuse =
        |reason: &str| Refusal::new("linux.cgroupsPath", format!("`{}`: {reason}", path.display()));
    let text = path.to_str().ok_or_else(|| refuse("it is no UTF-8"))?;
    if text.is_empty() {
        return Ok(None);
    }
    if let [slice, prefix, name] = text.split(':').collect::<Vec<_>>()[..]
        && !text.contains('/')
    {
        let is_slice =
            slice.is_empty() || slice.rsplit_once('.').is_some_and(|(_, ending)| ending == "slice");
        if name.is_empty() || !is_slice || name.len() > 255 {
            return Err(refuse("it is no SLICE:PREFIX:NAME as systemd's groups have it"));
        }
        let [slice, prefix, name] = [slice, prefix, name].map(str::to_owned);
        return Ok(Some(GroupPlace::Systemd { slice, prefix, name }));
    }
    if text.split('/').any(|name| [".", ".."].contains(&name)) || text.contains('\0') {
        return Err(refuse("it leads elsewhere than it says"));
    }
    if text.split('/').all(str::is_empty) {
        return Err(refuse("it is the root of the hierarchies, which holds nothing"));
    }
    Ok(Some(GroupPlace::Path(text.to_owned())))
}

/// The namespaces that are joined. New ones are the guest's process's own in any case.
fn namespaces(namespaces: &[LinuxNamespace]) -> Result<Vec<Join>, Refusal> {
    let mut seen = Vec::new();
    let mut joins = Vec::new();
    for namespace in namespaces {
        let kind = match namespace.typ() {
            LinuxNamespaceType::Mount => "mnt",
            LinuxNamespaceType::Cgroup => "cgroup",
            LinuxNamespaceType::Uts => "uts",
            LinuxNamespaceType::Ipc => "ipc",
            LinuxNamespaceType::User => "user",
            LinuxNamespaceType::Pid => "pid",
            LinuxNamespaceType::Network => "net",
            LinuxNamespaceType::Time => "time",
        };
        let setting = format!("linux.namespaces[{kind}]");
        if seen.contains(&kind) {
            return Err(Refusal::new(setting, "it is there twice"));
        }
        seen.push(kind);
        let Some(path) = namespace.path().as_ref().filter(|path| !path.as_os_str().is_empty())
        else {
            continue;
        };
        if !path.is_absolute() {
            let reason = format!("`{}` is no absolute path", path.display());
            return Err(Refusal::new(setting, reason));
        }
        match kind {
            "net" | "ipc" | "uts" | "pid" => joins.push(Join { kind, path: path.clone() }),
            _ => {
                let reason = "a guest's process is in none but its own; leave its `path` out";
                return Err(Refusal::new(setting, reason));
            }
        }
    }
    Ok(joins)
}
