//! `aril images`, `tag`, `rmi` and `prune`: what is in the store.

use std::io;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use aril::Image;
use aril::Listed;
use aril::Reference;
use clap::Args;

use super::Common;
use super::inspect;
use crate::report;
use crate::words;

/// List the images of the store
#[derive(Args, Debug)]
pub(super) struct Images {
    /// Only those of this repository, or with this name
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Show digests in full
    #[arg(long)]
    digests: bool,

    /// Only the digests
    #[arg(short, long)]
    quiet: bool,

    /// `json` for a line of JSON each, or a template such as `{{.Repository}}:{{.Tag}}`
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// What is listed of an image, as docker names it.
#[derive(serde::Serialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    repository: String,
    tag: String,
    digest: String,
    #[serde(rename = "ID")]
    id: String,
    platform: String,
    created_at: String,
    created_since: String,
    size: String,
}

const NONE: &str = "<none>";

impl Row {
    fn new(listed: &Listed) -> Self {
        let name = listed.name.as_ref();
        let image = listed.image.as_ref();
        let none = || NONE.to_owned();
        let broken = || "broken".to_owned();
        let created = image.ok().and_then(Image::created);
        let since = created.and_then(|time| humantime::parse_rfc3339_weak(time).ok());
        let since = since.and_then(|time| SystemTime::now().duration_since(time).ok());
        let hex = listed.digest.hex();
        Self {
            repository: name.map_or_else(none, Reference::name),
            tag: name.and_then(Reference::tag).map_or_else(none, str::to_owned),
            digest: listed.digest.to_string(),
            id: hex[..12].to_owned(),
            platform: image.map_or_else(|_| broken(), |image| image.platform().to_string()),
            created_at: created.unwrap_or("N/A").to_owned(),
            created_since: since.map_or_else(|| "N/A".to_owned(), words::ago),
            size: image.map_or_else(|_| broken(), |image| words::size(image.size())),
        }
    }
}

impl Images {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let mut listed = self.common.keeping()?.images()?;
        if let Some(name) = &self.name {
            let wanted: Reference = name.parse()?;
            let with_tag = wanted.to_string() == *name;
            listed.retain(|listed| {
                listed.name.as_ref().is_some_and(|found| {
                    if with_tag { *found == wanted } else { found.name() == wanted.name() }
                })
            });
        }
        let rows = listed.iter().map(Row::new);
        if self.quiet {
            for row in rows {
                report::line(format_args!("{}", if self.digests { row.digest } else { row.id }))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        match self.format.as_deref() {
            None | Some("table") => self.table(rows)?,
            Some(format) => {
                for row in rows {
                    let value = serde_json::to_value(row)?;
                    report::line(format_args!("{}", inspect::formatted(&value, format)?))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn table(&self, rows: impl Iterator<Item = Row>) -> anyhow::Result<()> {
        let mut table = tabwriter::TabWriter::new(io::stdout()).padding(3);
        let id = if self.digests { "DIGEST" } else { "IMAGE ID" };
        let print = || -> io::Result<()> {
            writeln!(table, "REPOSITORY\tTAG\t{id}\tPLATFORM\tCREATED\tSIZE")?;
            for row in rows {
                let id = if self.digests { &row.digest } else { &row.id };
                let Row { repository, tag, platform, created_since, size, .. } = &row;
                let platform = aril::printable(platform);
                writeln!(table, "{repository}\t{tag}\t{id}\t{platform}\t{created_since}\t{size}")?;
            }
            table.flush()
        };
        print().map_err(report::unprinted)
    }
}

/// Give an image one more name
#[derive(Args, Debug)]
pub(super) struct Tag {
    /// The image
    image: Reference,

    /// Its new name
    name: Reference,

    #[command(flatten)]
    common: Common,
}

impl Tag {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        runtime.tag(&runtime.image(&self.image)?, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Remove images, by their names or the start of their digests
#[derive(Args, Debug)]
pub(super) struct Rmi {
    /// The images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<Reference>,

    #[command(flatten)]
    common: Common,
}

impl Rmi {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let removed = self.common.keeping()?.remove_images(&self.images)?;
        let mut code = ExitCode::SUCCESS;
        for name in removed.names {
            match name {
                Ok(name) => report::line(format_args!("Untagged: {name}"))?,
                // The others are gone all the same.
                Err(error) => {
                    let _code = report::failure(&error.into());
                    code = ExitCode::from(report::UNDONE);
                }
            }
        }
        Ok(code)
    }
}

/// Remove sandboxes that have ended, and what no image uses any more
#[derive(Args, Debug)]
pub(super) struct Prune {
    /// Do not ask: nothing is asked; taken because docker's users write it
    #[arg(short, long)]
    force: bool,

    /// Remove sandboxes that have ended, and no images
    #[arg(long)]
    sandboxes: bool,

    /// Remove what no image needs, and no sandboxes
    #[arg(long, conflicts_with = "sandboxes")]
    images: bool,

    #[command(flatten)]
    common: Common,
}

impl Prune {
    pub(super) fn execute(self) -> anyhow::Result<ExitCode> {
        let runtime = self.common.keeping()?;
        if !self.images {
            // With their logs; what they alone used of images is of no use from then on.
            let removed = runtime.prune_residents()?;
            for id in &removed {
                report::line(format_args!("{id}"))?;
            }
            if !removed.is_empty() || self.sandboxes {
                report::line(format_args!("Removed {} sandboxes", removed.len()))?;
            }
        }
        if self.sandboxes {
            return Ok(ExitCode::SUCCESS);
        }
        let freed = runtime.prune_images()?;
        let room = words::size(freed.bytes.get());
        report::line(format_args!("Removed {} blobs, {room}", freed.blobs))?;
        Ok(ExitCode::SUCCESS)
    }
}
