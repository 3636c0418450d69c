//! From a file to an artifact.

use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use wasmtime::Engine;

use crate::digest::Digest;
use crate::engine::Code;
use crate::engine::Interruption;
use crate::engine::Kind;
use crate::engine::Known;
use crate::engine::LoadError;
use crate::engine::Verified;
use crate::engine::WASM_SIZE_MAX;
use crate::error::Error;
use crate::error::ErrorKind;
use crate::image::Image;
use crate::platform::files;
use crate::rootfs::Root;
use crate::sandbox::Loaded;
use crate::units::Bytes;

use super::compile::NotCompiled;
use super::runtime::Place;
use super::runtime::Runtime;
use super::spans;

/// Where wasm comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    origin: Origin,
}

/// Where the wasm is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Open { name: String, file: Opened },
    Image(Box<Image>),
}

/// A file that is open: it is itself, and no other.
#[derive(Clone, Debug)]
struct Opened(Arc<File>);

impl PartialEq for Opened {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Opened {}

impl Source {
    /// A file of wasm that is open for reading, from its beginning on, by what it is called in
    /// messages. It is for those who find files by other ways than a path of the host.
    pub fn open(name: impl Into<String>, file: File) -> Self {
        Self { origin: Origin::Open { name: name.into(), file: Opened(Arc::new(file)) } }
    }

    /// A `.wasm` or `.wat` file. What it is is decided by its content.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { origin: Origin::File(path.into()) }
    }

    /// The program of an image.
    pub fn image(image: Image) -> Self {
        Self { origin: Origin::Image(Box::new(image)) }
    }
}

impl<P: AsRef<Path>> From<P> for Source {
    fn from(path: P) -> Self {
        Self::file(path.as_ref())
    }
}

/// Wasm that is ready to be launched: its machine code is in the cache.
///
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Artifact {
    pub(super) inner: Arc<ArtifactInner>,
}

#[derive(Debug)]
pub(super) struct ArtifactInner {
    pub(super) name: String,
    /// The wasm itself, held open: another kind of machine code may be needed.
    file: File,
    /// The image's files that it is among: a run wants them as well.
    _root: Option<Root>,
    pub(super) known: Known,
    /// The machine code that was found, until it is loaded.
    found: Mutex<Option<(Kind, Verified)>>,
    /// What is loaded into this process, by kind, and by where it was asked to be.
    loaded: Mutex<Vec<(Kind, Place, Arc<Loaded>)>>,
}

impl Artifact {
    /// The digest of the wasm that it was made from.
    pub fn digest(&self) -> Digest {
        self.inner.known.digest
    }

    /// What it is called in messages: the path of its file.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Its machine code of this kind, where it is loaded into this process already.
    pub(super) fn loaded(&self, kind: Kind, place: Place) -> Option<Arc<Loaded>> {
        let loaded = self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let found = loaded.iter().find(|(other, at, _)| (*other, *at) == (kind, place));
        found.map(|(.., found)| Arc::clone(found))
    }

    fn failed(&self, error: NotCompiled) -> Error {
        failed(&self.inner.name, error)
    }
}

fn failed(name: &str, NotCompiled { kind, source }: NotCompiled) -> Error {
    Error::Prepare { what: name.to_owned(), kind, source }
}

/// What it means that a program cannot be read.
fn unreadable(error: std::io::Error) -> NotCompiled {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied
        | std::io::ErrorKind::NotADirectory
        | std::io::ErrorKind::IsADirectory
        | std::io::ErrorKind::FileTooLarge
        | std::io::ErrorKind::InvalidFilename
        | std::io::ErrorKind::InvalidInput => ErrorKind::NotRunnable,
        // The host has no descriptors, no memory, or a broken disk.
        _ if error.raw_os_error().is_some_and(files::is_lack) => ErrorKind::Exhausted,
        _ => ErrorKind::NotRunnable,
    };
    NotCompiled::new(kind, error)
}

impl Runtime {
    /// Makes wasm ready to be launched: compiles it in a process of its own, unless the cache has
    /// its machine code already.
    ///
    /// # Errors
    ///
    /// Fails where the file cannot be read, is no wasm, or cannot be compiled within the bounds.
    pub async fn prepare(&self, source: impl Into<Source>) -> Result<Artifact, Error> {
        let (runtime, source) = (self.clone(), source.into());
        let kind = super::launch::kind_for(false);
        let around = tracing::Span::current();
        let prepared = tokio::task::spawn_blocking(move || {
            around.in_scope(|| runtime.prepare_kind(&source, kind, &mut |_| {}))
        });
        match prepared.await {
            Ok(artifact) => artifact,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// The same for a guest that will have a process to itself, on the calling thread. `waiting`
    /// is told every half second for how long the machine code has been waited for.
    ///
    /// # Errors
    ///
    /// As [`prepare`](Self::prepare).
    pub fn prepare_alone(
        &self,
        source: impl Into<Source>,
        limits: &crate::Limits,
        mut waiting: impl FnMut(Duration),
    ) -> Result<Artifact, Error> {
        let kind = if Self::has_workers() {
            self.kind_apart(limits)
        } else {
            super::occupy::kind_for(limits)
        };
        self.prepare_kind(&source.into(), kind, &mut waiting)
    }

    fn prepare_kind(
        &self,
        source: &Source,
        kind: Kind,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<Artifact, Error> {
        let span = spans::prepare(kind.word());
        let prepared = span.in_scope(|| self.prepare_told(source, kind, waiting));
        if let Ok(artifact) = &prepared {
            span.record("image", artifact.name());
            span.record("digest", tracing::field::display(artifact.digest()));
        }
        spans::noted(&span, prepared)
    }

    fn prepare_told(
        &self,
        source: &Source,
        kind: Kind,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<Artifact, Error> {
        let (name, file, root, expected) = match &source.origin {
            Origin::File(path) => {
                let name = path.display().to_string();
                let file = files::open(path).map_err(|error| failed(&name, unreadable(error)))?;
                (name, file, None, None)
            }
            Origin::Open { name, file: Opened(file) } => {
                // With a position of its own.
                let own = files::open(&files::handle_path(file, name.as_ref()));
                (name.clone(), own.map_err(|error| failed(name, unreadable(error)))?, None, None)
            }
            Origin::Image(image) => {
                let (file, root) = self.program_of(image)?;
                (image.to_string(), file, root, image.program_digest())
            }
        };
        let found = self.find_or_compile(&file, expected, kind, waiting);
        let (known, artifact) = found.map_err(|error| failed(&name, error))?;
        let found = Mutex::new(Some((kind, artifact)));
        let loaded = Mutex::default();
        let inner = ArtifactInner { name, file, _root: root, known, found, loaded };
        Ok(Artifact { inner: Arc::new(inner) })
    }

    fn find_or_compile(
        &self,
        file: &File,
        expected: Option<Digest>,
        kind: Kind,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<(Known, Verified), NotCompiled> {
        let not_wasm = |reason: &str| NotCompiled::new(ErrorKind::NotRunnable, reason.to_owned());
        let looked_at = SystemTime::now();
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(not_wasm("it is a directory, not wasm"));
        }
        if !metadata.is_file() {
            return Err(not_wasm("it is not a regular file"));
        }
        if WASM_SIZE_MAX < metadata.len() {
            return Err(not_wasm(&format!("it is larger than {}", Bytes::new(WASM_SIZE_MAX))));
        }
        let identity = files::identity(&metadata);
        let cache =
            self.artifacts().map_err(|error| NotCompiled::new(ErrorKind::Unavailable, error))?;
        if let Some(known) = identity.as_ref().and_then(|identity| cache.known_file(identity))
            && expected.is_none_or(|expected| expected == known.digest)
            && let Some(artifact) = cache.find(&known, kind)
        {
            spans::cached(true);
            return Ok((known, artifact));
        }
        let (digest, _) = Digest::of_reader(file, WASM_SIZE_MAX).map_err(unreadable)?;
        if expected.is_some_and(|expected| expected != digest) {
            return Err(not_wasm("its content is not what its name says; pull it again"));
        }
        let (known, artifact) = self.compiled(file, &digest, kind, waiting)?;
        if let Some(identity) = &identity {
            cache.remember_file(identity, &known, looked_at);
        }
        Ok((known, artifact))
    }

    /// The artifact's machine code of this kind in this process, on this engine.
    pub(super) fn load_artifact(
        &self,
        artifact: &Artifact,
        kind: Kind,
        place: Place,
        engine: impl Fn(Place) -> wasmtime::Result<Engine>,
    ) -> Result<Arc<Loaded>, Error> {
        if let Some(found) = artifact.loaded(kind, place) {
            return Ok(found);
        }
        let engine = |place| {
            engine(place).map_err(|error| {
                artifact.failed(NotCompiled::new(
                    ErrorKind::Exhausted,
                    format!("no engine can be made: {error:#}"),
                ))
            })
        };
        let known = artifact.inner.known;
        let (engine, code) = self.load_code(artifact, kind, place, engine)?;
        let counted = kind.interruption(known.form) == Interruption::Counted;
        let ticks = counted.then(|| Arc::clone(&self.inner.ticks));
        let found = Arc::new(Loaded::new(engine, code, &known, ticks));
        let mut loaded = artifact.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push((kind, place, Arc::clone(&found)));
        Ok(found)
    }

    /// The machine code that was found already, not yet mapped.
    pub(super) fn found(&self, artifact: &Artifact, kind: Kind) -> Option<Verified> {
        let ArtifactInner { known, found, .. } = &*artifact.inner;
        let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let found = found.filter(|(other, _)| *other == kind).map(|(_, verified)| verified);
        found.or_else(|| self.artifacts().ok()?.find(known, kind))
    }

    /// The machine code, not yet mapped.
    pub(super) fn code_of(&self, artifact: &Artifact, kind: Kind) -> Result<Verified, Error> {
        self.found(artifact, kind).map_or_else(|| self.compile_again(artifact, kind), Ok)
    }

    fn compile_again(&self, artifact: &Artifact, kind: Kind) -> Result<Verified, Error> {
        let ArtifactInner { file, known, .. } = &*artifact.inner;
        self.compiled(file, &known.digest, kind, &mut |_| {})
            .map(|(_, verified)| verified)
            .map_err(|error| artifact.failed(error))
    }

    fn load_code(
        &self,
        artifact: &Artifact,
        kind: Kind,
        place: Place,
        engine: impl Fn(Place) -> Result<Engine, Error>,
    ) -> Result<(Engine, Code), Error> {
        let known = &artifact.inner.known;
        let cache = self.artifacts()?;
        let compiled = || self.compile_again(artifact, kind);
        let verified = self.code_of(artifact, kind)?;
        let chosen = engine(place)?;
        if let Ok(code) = verified.load(&chosen) {
            return Ok((chosen, code));
        }
        // A pool is made for guests of an ordinary shape, and its engine takes no others.
        let anywhere = engine(Place::Anywhere)?;
        if place == Place::Pool
            && let Some(verified) = cache.find(known, kind)
            && let Ok(code) = verified.load(&anywhere)
        {
            return Ok((anywhere, code));
        }
        // Made by another build, or broken where its footer cannot tell: once more.
        cache.forget(known, kind);
        let told = |error: LoadError| artifact.failed(NotCompiled::new(ErrorKind::Internal, error));
        if let Ok(code) = compiled()?.load(&chosen) {
            return Ok((chosen, code));
        }
        let verified = cache.find(known, kind).map_or_else(compiled, Ok)?;
        verified.load(&anywhere).map(|code| (anywhere, code)).map_err(told)
    }
}
