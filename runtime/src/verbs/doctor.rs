//! What this host can enforce, line by line.

use std::fmt::Write as _;

use crate::limits::Limits;
use crate::limits::Rung;
use crate::limits::Watch;
use crate::platform::cgroup::Cgroups;
use crate::platform::groups::Controller;
use crate::platform::groups::Missing;
use crate::platform::machine;
use crate::platform::process as own_process;
use crate::process;
use crate::process::Wall;
use crate::process::WallStanding;
use crate::rootfs::Means;
use crate::rootfs::Writables;

use super::room::MAPPINGS_EACH;
use super::room::MAPPINGS_SPARE;
use super::runtime::Runtime;

/// How something stands on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It works.
    Good,
    /// It works in part, or is not there and not needed.
    Weak,
    /// It does not work.
    Missing,
}

/// One line of what this host can enforce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub subject: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found.
    pub found: String,
    /// What to do about it, where there is something to do.
    pub advice: Option<String>,
}

impl Finding {
    pub(super) fn good(subject: &str, found: String) -> Self {
        Self { subject: subject.to_owned(), standing: Standing::Good, found, advice: None }
    }

    pub(super) fn weak(subject: &str, found: &str, advice: &str) -> Self {
        let advice = Some(advice.to_owned());
        let (subject, found) = (subject.to_owned(), found.to_owned());
        Self { subject, standing: Standing::Weak, found, advice }
    }
}

/// What the line of the layers that a run may write to is about.
const WRITABLE: &str = "files that a run may write to";

impl Runtime {
    /// By what means a run gets files of an image that it may write to; nothing where there are no
    /// images.
    fn writable_means(&self) -> Option<Finding> {
        let path = self.data().ok()?.join("writable");
        let tried = Writables::open(&path).and_then(|writables| writables.means());
        let mut why_not = String::new();
        for (means, tried) in tried.unwrap_or_else(|error| {
            let _ = write!(why_not, "; cannot be tried in `{}`: {error}", path.display());
            Vec::new()
        }) {
            match tried {
                Ok(()) if means == Means::Copy => {
                    let found = format!("copied for each run{why_not}");
                    let advice = "works, and takes longer the larger an image is; `--read-only` \
                                  copies nothing";
                    return Some(Finding::weak(WRITABLE, &found, advice));
                }
                Ok(()) => {
                    let found = match means {
                        Means::Overlay => "laid over those of the image (overlay)",
                        _ => "copied, sharing what is in them until it is written (reflink)",
                    };
                    return Some(Finding::good(WRITABLE, format!("{found}{why_not}")));
                }
                Err(error) => {
                    let _ = write!(why_not, "; no {}: {error}", means.word());
                }
            }
        }
        let advice = "`--read-only` needs no such files";
        Some(Finding::weak(WRITABLE, why_not.trim_start_matches("; "), advice))
    }

    /// Whether what a run writes over an image's files can be held to a size, or what is missing.
    fn disk(&self) -> Result<(), String> {
        let path = self.data().map_err(|error| error.to_string())?.join("writable");
        let tried = Writables::open(&path).and_then(|writables| writables.try_bounded());
        tried.map_err(|error| crate::error::whole(&error))
    }

    /// What control groups can hold here.
    fn control_groups(&self) -> Vec<Finding> {
        let cgroups = self.cgroups();
        let finding = |controller| {
            let subject = format!("control group: {controller}");
            match cgroups.can(controller) {
                Ok(()) => Finding::good(&subject, format!("{:?}", cgroups.layout()).to_lowercase()),
                Err(Missing { what, advice }) => Finding::weak(&subject, &what, &advice),
            }
        };
        Controller::ALL.into_iter().map(finding).collect()
    }

    /// What this host can enforce, and what to do where it cannot.
    pub fn doctor(&self) -> Vec<Finding> {
        let mut findings = vec![
            Finding::good("system", machine::system()),
            Finding::good("engine", crate::engine::ENGINE.to_owned()),
            Finding::good("artifact cache", self.cache().display().to_string()),
        ];
        if let Some((subject, found, advice)) = machine::needs() {
            let advice = Some(advice.to_owned());
            let (subject, found) = (subject.to_owned(), found.to_owned());
            findings.push(Finding { subject, standing: Standing::Missing, found, advice });
        }
        if let Some(found) = machine::too_powerful() {
            findings.push(Finding::weak("user", found, "run strangers' code as another user"));
        }
        findings.extend(self.writable_means());
        findings.extend(limits(self.cgroups(), &self.disk()));
        findings.push(match machine::mappings_max() {
            Some(max) => Finding::good(
                "sandboxes in one process",
                format!(
                    "about {} ({} is {max}; each takes {MAPPINGS_EACH})",
                    max.saturating_sub(MAPPINGS_SPARE) / MAPPINGS_EACH,
                    machine::MAPPINGS_BOUND
                ),
            ),
            None => Finding::good("sandboxes in one process", "no known ceiling".to_owned()),
        });
        findings.extend(walls());
        findings.extend(self.control_groups());
        let lacks = machine::lacks().into_iter();
        findings.extend(lacks.map(|(what, advice)| Finding::weak(what, "not there", advice)));
        findings
    }
}

/// Each wall that this host can put around a guest's process, or what is missing.
fn walls() -> Vec<Finding> {
    let finding = |(wall, standing): (Wall, WallStanding)| {
        let subject = format!("wall: {wall}");
        match standing {
            WallStanding::Held { detail } => Finding::good(&subject, detail),
            WallStanding::Missing { reason, remedy } => Finding::weak(&subject, &reason, &remedy),
            WallStanding::LeftOut => Finding::weak(&subject, "left out", "nothing to do"),
        }
    };
    if Runtime::has_workers() {
        return process::probe().into_iter().map(finding).collect();
    }
    vec![Finding::weak(
        "walls",
        "a guest runs in the process of `aril run` itself: this host cannot hold another",
        "run strangers' code as a user of its own",
    )]
}

/// Each limit: how it is held when it is asked for, and what it is by default.
fn limits(cgroups: &Cgroups, disk: &Result<(), String>) -> Vec<Finding> {
    let Ok(mut amounts) = Limits::default().amounts(false) else { return Vec::new() };
    // A default is what the host allows.
    amounts.open_files = amounts.open_files.map(|count| count.min(own_process::open_files_max(0)));
    let all = Limits::default().holds(&amounts, Watch::Process);
    let in_group = |controller, otherwise| {
        if cgroups.can(controller).is_ok() { Rung::Cgroup } else { otherwise }
    };
    let of_group = |name: &str| match name {
        "pids" => Some(cgroups.can(Controller::Pids)),
        "cpu_weight" => Some(cgroups.can(Controller::Cpu)),
        "memory_swap" => Some(cgroups.counts_swap()),
        "memory_reservation" => Some(cgroups.can(Controller::Memory)),
        name if name.starts_with("device_") => Some(cgroups.can(Controller::Io)),
        _ => None,
    };
    let finding = |hold: crate::limits::Hold| {
        let subject = format!("limit: {}", hold.name);
        if let Some(Err(Missing { what, advice })) = of_group(hold.name) {
            return Finding::weak(&subject, &format!("refused where it is asked: {what}"), &advice);
        }
        if let ("disk", Err(what)) = (hold.name, disk) {
            let advice = "run `aril` as root, or where users may have namespaces of their own";
            return Finding::weak(&subject, &format!("refused where it is asked: {what}"), advice);
        }
        let rung = match hold.name {
            "memory" => in_group(Controller::Memory, Rung::Meter),
            "table_elements" | "instances" => Rung::Meter,
            "cpus" => in_group(Controller::Cpu, Rung::Epochs),
            "deadline" | "cpu_time" => Rung::Watchdog,
            "fuel" => Rung::Fuel,
            "stack" => Rung::Engine,
            "disk" => Rung::Tmpfs,
            _ if of_group(hold.name).is_some() => Rung::Cgroup,
            _ => Rung::Count,
        };
        let amount = hold.amount.unwrap_or_else(|| "unlimited".to_owned());
        Finding::good(&subject, format!("held by {} (default: {amount})", rung.word()))
    };
    all.into_iter().map(finding).collect()
}
