//! `aril inspect`: all that is known of a sandbox, or of an image.

use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::bail;
use aril::Ending;
use aril::ErrorKind;
use aril::Image;
use aril::Life;
use aril::Resident;
use aril::Runtime;
use clap::Args;
use clap::ValueEnum;
use serde_json::Value;
use serde_json::json;

use super::Common;
use crate::report;

/// Show all that is known of sandboxes or images
#[derive(Args, Debug)]
pub(super) struct Inspect {
    /// Names or ids of sandboxes, or images: a sandbox comes first where both have the name
    #[arg(value_name = "SANDBOX|IMAGE", required = true)]
    names: Vec<String>,

    /// Only one of this kind
    #[arg(long = "type", value_enum, value_name = "KIND")]
    kind: Option<Kind>,

    /// A template such as `{{.Config.Entrypoint}}` or `{{json .Config}}`, or `json` for a line each
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    common: Common,
}

impl Inspect {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        let (mut all, mut code) = (Vec::new(), ExitCode::SUCCESS);
        for name in &self.names {
            match self.described(&runtime, name) {
                Ok(value) => all.push(value),
                // The others are shown all the same.
                Err(error) => {
                    let _code = report::failure(&error);
                    code = ExitCode::from(report::UNDONE);
                }
            }
        }
        match &self.format {
            None => report::line(format_args!("{:#}", Value::Array(all)))?,
            Some(format) => {
                for value in &all {
                    report::line(format_args!("{}", formatted(value, format)?))?;
                }
            }
        }
        Ok(code)
    }
}

impl Inspect {
    fn described(&self, runtime: &Runtime, name: &str) -> anyhow::Result<Value> {
        if self.kind != Some(Kind::Image) {
            match runtime.resident(name) {
                Ok(resident) => return Ok(sandbox(&resident)),
                // What else is wrong with a sandbox is no reason to take an image for it.
                Err(error)
                    if self.kind.is_some()
                        || !matches!(
                            error.kind(),
                            ErrorKind::NotFound | ErrorKind::Unavailable
                        ) =>
                {
                    return Err(error.into());
                }
                Err(_) => {}
            }
        }
        match runtime.image(&name.parse()?) {
            Err(error) if error.kind() == ErrorKind::NotFound && self.kind.is_none() => {
                let name = aril::printable(name);
                let error = anyhow::Error::from(error);
                Err(error.context(format!("there is neither a sandbox nor an image `{name}`")))
            }
            image => Ok(described(&image?)),
        }
    }
}

/// What can be inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[value(alias = "container")]
    Sandbox,
    Image,
}

/// A sandbox as docker describes a container, with docker's names.
fn sandbox(resident: &Resident) -> Value {
    let moment =
        |at: Option<SystemTime>| at.map(|at| humantime::format_rfc3339_nanos(at).to_string());
    let limits = resident.limits.iter().map(|hold| {
        json!({
            "Name": hold.name,
            "Amount": hold.amount,
            "Rung": hold.rung.word(),
            "Asked": hold.asked,
        })
    });
    let record = match &resident.ending {
        Some(Ending::Told(record)) => serde_json::from_str::<Value>(&record.to_json()).ok(),
        _ => None,
    };
    let error = match &resident.ending {
        Some(Ending::Failed(reason)) => reason.as_str(),
        _ => "",
    };
    json!({
        "Id": resident.id.as_str(),
        "Name": resident.name.as_ref().map(aril::SandboxName::as_str),
        "Created": moment(Some(resident.created)),
        "Image": resident.plan.image,
        "Args": resident.plan.command,
        "State": {
            "Status": resident.life.word(),
            "Running": matches!(resident.life, Life::Running | Life::Paused),
            "Paused": resident.life == Life::Paused,
            "Restarting": resident.life == Life::Restarting,
            "OOMKilled": resident
                .ending
                .as_ref()
                .is_some_and(|ending| ending.reason() == "out_of_memory"),
            "Pid": resident.keeper,
            "ExitCode": resident.ending.as_ref().map(Ending::code),
            "Reason": resident.ending.as_ref().map(Ending::reason),
            "Error": error,
            "StartedAt": moment(resident.started),
            "FinishedAt": moment(resident.ended),
        },
        "RestartCount": resident.restarts,
        "Config": {
            "Labels": resident.plan.labels,
            "OpenStdin": resident.plan.interactive,
            "Tty": resident.plan.terminal,
            "StopTimeout": resident.plan.grace.as_secs_f64(),
        },
        "HostConfig": {
            "AutoRemove": resident.plan.remove,
            "RestartPolicy": resident.plan.restart.to_string(),
            "LogConfig": {
                "MaxSize": resident.plan.log.size_max,
                "MaxFile": resident.plan.log.files_max,
            },
        },
        "Limits": limits.collect::<Vec<_>>(),
        "LogLostBytes": resident.log_lost,
        "Record": record,
    })
}

/// An image as docker describes it, with docker's names.
fn described(image: &Image) -> Value {
    let name = image.reference();
    let digests = name.map(|name| name.with_digest(image.digest()).to_string());
    let digests: Vec<_> = digests.into_iter().collect();
    let tags = name.filter(|name| name.tag().is_some()).map(ToString::to_string);
    let tags: Vec<_> = tags.into_iter().collect();
    let layers: Vec<_> = image.layers().iter().map(|layer| layer.digest.to_string()).collect();
    json!({
        "Id": image.digest().to_string(),
        "RepoTags": tags,
        "RepoDigests": digests,
        "ManifestDigest": image.manifest_digest().to_string(),
        "Created": image.created(),
        "Author": image.author(),
        "Architecture": image.platform().architecture,
        "Os": image.platform().os,
        "Variant": image.platform().variant,
        "Size": image.size(),
        "Artifact": image.is_artifact(),
        "Config": image.execution(),
        "Layers": layers,
    })
}

/// Fills a template: `{{.A.B}}` is a field, `{{json .A}}` its JSON, `{{.}}` all of it. It is the part
/// of docker's templates that people write.
pub(super) fn formatted(value: &Value, format: &str) -> anyhow::Result<String> {
    if format == "json" {
        return Ok(value.to_string());
    }
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let Some((inner, after)) = after.split_once("}}") else {
            bail!("`{format}` has a `{{{{` without its `}}}}`");
        };
        let inner = inner.trim();
        let (as_json, path) = match inner.strip_prefix("json ") {
            Some(path) => (true, path.trim()),
            None => (false, inner),
        };
        let Some(path) = path.strip_prefix('.') else {
            bail!("`{{{{{inner}}}}}` is not a field such as `.Id`, or `json .Config`");
        };
        let mut found = value;
        for name in path.split('.').filter(|name| !name.is_empty()) {
            let Some(field) = found.get(name) else {
                let known = found.as_object().into_iter().flat_map(|fields| fields.keys());
                let known = known.cloned().collect::<Vec<_>>().join(", ");
                bail!("`{{{{{inner}}}}}`: there is no `{name}`; there are: {known}");
            };
            found = field;
        }
        match (found, as_json) {
            (Value::String(inner), false) => text.push_str(&aril::printable(inner)),
            (Value::Null, false) => {}
            (other, _) => text.push_str(&other.to_string()),
        }
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_with_fields() {
        let value = json!({"Id": "sha256:1", "Config": {"Env": ["A=1"], "User": null}});
        let filled = |format| formatted(&value, format).expect("a template");
        assert_eq!(filled("{{.Id}} {{ .Config.Env }}!"), r#"sha256:1 ["A=1"]!"#);
        assert_eq!(filled("{{json .Id}}{{.Config.User}}"), r#""sha256:1""#);
        assert_eq!(filled("json"), value.to_string());
    }

    #[test]
    fn a_template_that_asks_for_what_is_not_there_is_told_what_is() {
        let value = json!({"Id": 1, "Os": 2});
        let said = |format| formatted(&value, format).expect_err("no field").to_string();
        assert!(said("{{.ID}}").contains("there are: Id, Os"));
        assert!(said("{{.Id").contains("without its"));
        assert!(said("{{range .Id}}").contains("is not a field"));
    }
}
