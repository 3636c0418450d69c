//! A Dockerfile and its context on this host: which of its stages are needed, what they begin with,
//! and what of the context they may see.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::dockerfile::Copy;
use crate::dockerfile::Dockerfile;
use crate::dockerfile::FILE_SIZE_MAX;
use crate::dockerfile::Ignore;
use crate::dockerfile::Instruction;
use crate::dockerfile::Invalid;
use crate::dockerfile::Met;
use crate::dockerfile::Words;
use crate::dockerfile::shown;
use crate::error::Cause;
use crate::error::ErrorKind;
use crate::image::Reference;
use crate::platform::files;
use crate::platform::tree::Directory;
use crate::rootfs::Tree;
use crate::rootfs::Wanted;

use super::assets::invalid;
use super::images::Failure;

/// What a Dockerfile is called, in the order in which it is looked for.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];

/// What says what is left out, in the same order. Before both comes the Dockerfile's own.
const IGNORE_NAMES: [&str; 2] = [".containerignore", ".dockerignore"];

/// What may be spoken of before the first stage, and in a stage that declares it by `ARG`. An image is
/// for wasm wherever it is built, and nothing of the host that builds it is in it.
///
/// Source: the Dockerfile reference, "Automatic platform ARGs in the global scope".
const PLATFORM_ARGUMENTS: [(&str, &str); 8] = [
    ("BUILDARCH", "wasm"),
    ("BUILDOS", "wasi"),
    ("BUILDPLATFORM", "wasi/wasm"),
    ("BUILDVARIANT", ""),
    ("TARGETARCH", "wasm"),
    ("TARGETOS", "wasi"),
    ("TARGETPLATFORM", "wasi/wasm"),
    ("TARGETVARIANT", ""),
];

/// What is given to docker for its `RUN`, whether the Dockerfile takes it or not.
const PROXY_ARGUMENTS: [&str; 5] =
    ["ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"];

/// What an image is made of, as a Dockerfile says.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) context: PathBuf,
    pub(super) file: Option<PathBuf>,
    /// What it says, where it is no file of this host.
    pub(super) text: Option<Vec<u8>>,
    pub(super) target: Option<String>,
    pub(super) arguments: BTreeMap<String, String>,
}

/// What a stage begins with, or what is copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Base {
    Nothing,
    Stage(usize),
    Image(Reference),
}

/// A Dockerfile, and what of it is needed.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) file: Dockerfile,
    /// What the arguments before the first stage stand for.
    pub(super) arguments: BTreeMap<String, String>,
    /// The stages that are needed, in their order, with what each begins with. The last becomes the
    /// image.
    pub(super) stages: BTreeMap<usize, Base>,
}

/// A failure, with the line of what failed.
#[derive(Debug, thiserror::Error)]
#[error("line {line}")]
struct AtLine {
    line: usize,
    source: Cause,
}

pub(super) fn at_line(line: usize) -> impl Fn(Failure) -> Failure {
    move |(kind, source)| (kind, Box::new(AtLine { line, source }))
}

/// What makes no sense in a line.
pub(super) fn wrong(line: usize, reason: impl Into<String>) -> Failure {
    (ErrorKind::InvalidInput, Invalid::new(line, reason).into())
}

impl Recipe {
    pub(super) fn new(context: PathBuf) -> Self {
        Self { context, file: None, text: None, target: None, arguments: BTreeMap::new() }
    }

    /// Where the Dockerfile is, or would be.
    pub(super) fn path(&self) -> PathBuf {
        if self.text.is_some() {
            return PathBuf::from("-");
        }
        self.file.clone().unwrap_or_else(|| {
            let found = NAMES.iter().map(|name| self.context.join(name)).find(|path| path.exists());
            found.unwrap_or_else(|| self.context.join(NAMES[0]))
        })
    }

    /// Reads the Dockerfile, and finds out what of it is needed.
    pub(super) fn plan(&self) -> Result<Plan, Failure> {
        let file = self.parsed()?;
        let platform = PLATFORM_ARGUMENTS.iter();
        let mut arguments: BTreeMap<String, String> =
            platform.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for name in PLATFORM_ARGUMENTS.iter().map(|(name, _)| *name) {
            if let Some(given) = self.arguments.get(name) {
                arguments.insert(name.to_owned(), given.clone());
            }
        }
        for (line, (name, value)) in &file.arguments {
            let given = self.arguments.get(name).cloned();
            let told = || value.as_ref().map(|value| expand(&file, &arguments, value)).transpose();
            if let Some(value) =
                given.map_or_else(told, |given| Ok(Some(given))).map_err(|it| wrong(*line, it))?
            {
                arguments.insert(name.clone(), value);
            }
        }
        let target = self.target_of(&file)?;
        let mut stages = BTreeMap::new();
        let mut needed = vec![false; target + 1];
        needed[target] = true;
        for number in (0..=target).rev() {
            if !needed[number] {
                continue;
            }
            let base = base_of(&file, number, &arguments)?;
            let mut sources = vec![base.clone()];
            for step in &file.stages[number].steps {
                if let Instruction::Copy(Copy { from: Some(from), .. }) = &step.what {
                    let source = source_of(&file, number, from);
                    sources.push(source.map_err(|reason| wrong(step.line, reason))?);
                }
            }
            for source in sources {
                if let Base::Stage(other) = source {
                    needed[other] = true;
                }
            }
            stages.insert(number, base);
        }
        Ok(Plan { file, arguments, stages })
    }

    fn parsed(&self) -> Result<Dockerfile, Failure> {
        let none = || -> Failure { (ErrorKind::NotFound, "there is no such file".into()) };
        let bytes = match &self.text {
            Some(text) => text.clone(),
            None => read(&self.path())?.ok_or_else(none)?,
        };
        Dockerfile::parse(&bytes)
            .map_err(|error| -> Failure { (ErrorKind::InvalidInput, error.into()) })
    }

    /// The arguments that are given and that nothing in the Dockerfile takes.
    pub(super) fn unused_arguments(&self) -> Result<Vec<String>, Failure> {
        let file = self.parsed()?;
        let steps = || file.stages.iter().flat_map(|stage| &stage.steps);
        let declares = |name: &str| {
            let in_stage = steps().any(|step| match &step.what {
                Instruction::Argument(told) => told.iter().any(|(other, _)| other == name),
                _ => false,
            });
            in_stage || file.arguments.iter().any(|(_, (other, _))| other == name)
        };
        let is_known = |name: &str| {
            PLATFORM_ARGUMENTS.iter().any(|(other, _)| *other == name)
                || PROXY_ARGUMENTS.iter().any(|other| other.eq_ignore_ascii_case(name))
        };
        let unused = self.arguments.keys().filter(|name| !declares(name) && !is_known(name));
        Ok(unused.cloned().collect())
    }

    /// The number of the stage that becomes the image.
    fn target_of(&self, file: &Dockerfile) -> Result<usize, Failure> {
        let last = file.stages.len().checked_sub(1);
        let Some(last) = last else { return Err(invalid("it has no `FROM`, and so no stage")) };
        let Some(target) = &self.target else { return Ok(last) };
        let name = target.to_ascii_lowercase();
        let named = file.stages.iter().position(|stage| stage.name.as_ref() == Some(&name));
        let numbered = target.parse().ok().filter(|number| *number <= last);
        named.or(numbered).ok_or_else(|| {
            let reason = format!("it has no stage `{}`", shown(target));
            (ErrorKind::NotFound, reason.into())
        })
    }

    /// The images that are needed, each once.
    pub(super) fn bases(&self) -> Result<Vec<Reference>, Failure> {
        let plan = self.plan()?;
        let mut images = Vec::new();
        for (number, base) in &plan.stages {
            let mut sources = vec![base.clone()];
            for step in &plan.file.stages[*number].steps {
                if let Instruction::Copy(Copy { from: Some(from), .. }) = &step.what {
                    let source = source_of(&plan.file, *number, from);
                    sources.push(source.map_err(|reason| wrong(step.line, reason))?);
                }
            }
            for source in sources {
                match source {
                    Base::Image(image) if !images.contains(&image) => images.push(image),
                    _ => {}
                }
            }
        }
        Ok(images)
    }

    /// The files of the context that are not left out, and by which file some are.
    pub(super) fn context(&self) -> Result<(Tree, Option<PathBuf>), Failure> {
        let shown = self.context.display();
        let failed = |source: io::Error| -> Failure {
            if source.kind() == io::ErrorKind::NotFound {
                return (ErrorKind::NotFound, format!("there is no context `{shown}`").into());
            }
            invalid(format!("cannot open the context `{shown}`: {source}"))
        };
        let path = fs::canonicalize(&self.context).map_err(failed)?;
        let root = Directory::open(&path).map_err(failed)?;
        let own = self.text.is_none().then(|| {
            let mut own = self.path().into_os_string();
            own.push(".dockerignore");
            PathBuf::from(own)
        });
        let all = IGNORE_NAMES.map(|name| self.context.join(name));
        let mut told = None;
        for path in own.into_iter().chain(all) {
            let at = |(kind, source): Failure| -> Failure {
                (kind, format!("cannot read `{}`: {source}", path.display()).into())
            };
            if let Some(bytes) = read(&path).map_err(at)? {
                told = Some((path, bytes));
                break;
            }
        }
        let Some((path, bytes)) = told else {
            return Ok((Tree::of_host(root, "the context", |_| Wanted::Yes), None));
        };
        let ignore = Ignore::parse(&bytes)
            .map_err(|error| invalid(format!("`{}`, {error}", path.display())))?;
        Ok((Tree::of_host(root, "the context", wanted(ignore)), Some(path)))
    }
}

/// Whether a path of the context is wanted.
fn wanted(ignore: Ignore) -> impl Fn(&str) -> Wanted {
    let has_exceptions = ignore.has_exceptions();
    // What was met at the last directory: its files come one after the other.
    let last = std::cell::RefCell::new((String::new(), Met::default()));
    move |path| {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let mut last = last.borrow_mut();
        if last.0 != above {
            let ends = above.match_indices('/').map(|(at, _)| at).chain([above.len()]);
            let met = ends.fold(Met::default(), |met, end| ignore.look(&met, &above[..end]));
            *last = (above.to_owned(), if above.is_empty() { Met::default() } else { met });
        }
        match (ignore.leaves_out(&ignore.look(&last.1, path)), has_exceptions) {
            (false, _) => Wanted::Yes,
            (true, true) => Wanted::Inside,
            (true, false) => Wanted::No,
        }
    }
}

/// The bytes of a file that somebody wrote, if it is there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, Failure> {
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err((ErrorKind::Unavailable, error.into())),
    };
    let failed = |error: io::Error| -> Failure { (ErrorKind::Unavailable, error.into()) };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(invalid("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_SIZE_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if FILE_SIZE_MAX < bytes.len() as u64 {
        return Err(invalid(format!("it is larger than {} MiB", FILE_SIZE_MAX >> 20)));
    }
    Ok(Some(bytes))
}

/// A word before the first stage, or behind `FROM`.
fn expand(
    file: &Dockerfile,
    arguments: &BTreeMap<String, String>,
    text: &str,
) -> Result<String, String> {
    let value_of = |name: &str| arguments.get(name).cloned();
    Words { escape: file.escape, value_of }.expand(text)
}

/// What a stage begins with.
fn base_of(
    file: &Dockerfile,
    number: usize,
    arguments: &BTreeMap<String, String>,
) -> Result<Base, Failure> {
    let stage = &file.stages[number];
    let line = stage.line;
    let told = expand(file, arguments, &stage.base).map_err(|reason| wrong(line, reason))?;
    if told.is_empty() {
        let reason = format!("`FROM {}` stands for nothing: give it an `ARG`", shown(&stage.base));
        return Err(wrong(line, reason));
    }
    if told == "scratch" {
        return Ok(Base::Nothing);
    }
    let name = told.to_ascii_lowercase();
    let named = |stage: &crate::dockerfile::Stage| stage.name.as_ref() == Some(&name);
    if let Some(earlier) = file.stages[..number].iter().position(named) {
        return Ok(Base::Stage(earlier));
    }
    told.parse().map(Base::Image).map_err(|error| {
        let error: crate::image::InvalidReference = error;
        wrong(line, error.to_string())
    })
}

/// What `--from` of a stage means: a stage before it, or an image.
pub(super) fn source_of(file: &Dockerfile, number: usize, from: &str) -> Result<Base, String> {
    if from.contains('$') {
        return Err(format!("`--from={}` is taken as it stands, without variables", shown(from)));
    }
    let name = from.to_ascii_lowercase();
    let named = |stage: &crate::dockerfile::Stage| stage.name.as_ref() == Some(&name);
    match file.stages.iter().position(named).or_else(|| from.parse().ok()) {
        Some(earlier) if earlier < number => Ok(Base::Stage(earlier)),
        Some(_) => Err(format!("`--from={}` is no stage before this one", shown(from))),
        None => from
            .parse()
            .map(Base::Image)
            .map_err(|error: crate::image::InvalidReference| error.to_string()),
    }
}
