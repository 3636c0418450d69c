//! From wasm to an artifact in the cache: once, by one process, in a process of its own.

use std::fs::File;
use std::io::Seek as _;
use std::time::Duration;
use std::time::Instant;

use crate::digest::Digest;
use crate::engine::Job;
use crate::engine::Kind;
use crate::engine::Known;
use crate::engine::Report;
use crate::engine::Verified;
use crate::error::Cause;
use crate::error::ErrorKind;
use crate::process;
use crate::process::Call;
use crate::process::Role;
use crate::sandbox::printable;

use super::roles::compiler_words;
use super::runtime::Runtime;
use super::spans;

/// How often one who waits is told for how long.
const BEAT: Duration = Duration::from_millis(500);

/// Why there is no artifact.
#[derive(Debug)]
pub(super) struct NotCompiled {
    pub(super) kind: ErrorKind,
    pub(super) source: Cause,
}

impl NotCompiled {
    pub(super) fn new(kind: ErrorKind, source: impl Into<Cause>) -> Self {
        Self { kind, source: source.into() }
    }
}

impl Runtime {
    /// The artifact of the wasm in `file`, compiled if there is none. `waiting` is told every half
    /// second for how long it has been waited for, here or in another process that compiles it.
    pub(super) fn compiled(
        &self,
        file: &File,
        digest: &Digest,
        kind: Kind,
        waiting: &mut dyn FnMut(Duration),
    ) -> Result<(Known, Verified), NotCompiled> {
        let cache =
            self.artifacts().map_err(|error| NotCompiled::new(ErrorKind::Unavailable, error))?;
        let find = || {
            let known = cache.known_wasm(digest)?;
            cache.find(&known, kind).map(|artifact| (known, artifact))
        };
        if let Some(found) = find() {
            spans::cached(true);
            return Ok(found);
        }
        spans::cached(false);
        let unavailable = |error: Cause| {
            let told = crate::error::whole(&*error);
            NotCompiled::new(
                ErrorKind::Unavailable,
                format!("{told}; make room, or name another folder (`--cache`, ARIL_CACHE_DIR)"),
            )
        };
        let started = Instant::now();
        let mut waiting = || waiting(started.elapsed());
        let _turn = cache
            .turn(digest, kind, BEAT, &mut waiting)
            .map_err(|error| unavailable(Cause::from(error)))?;
        // Somebody else may have compiled it while we waited for our turn.
        if let Some(found) = find() {
            return Ok(found);
        }
        let draft = cache.draft().map_err(|error| unavailable(error.into()))?;
        let output = draft.file.try_clone().map_err(|error| unavailable(error.into()))?;
        let span = spans::compile(kind.word()).entered();
        let known = self.run_compiler(file, output, digest, kind, &mut waiting)?;
        drop(span);
        cache.keep(draft, &known, kind).map_err(|error| unavailable(error.into()))?;
        find().ok_or_else(|| {
            NotCompiled::new(ErrorKind::Internal, "the artifact that was just made is not there")
        })
    }

    fn run_compiler(
        &self,
        file: &File,
        output: File,
        digest: &Digest,
        kind: Kind,
        waiting: &mut dyn FnMut(),
    ) -> Result<Known, NotCompiled> {
        let internal = |error: std::io::Error| NotCompiled::new(ErrorKind::Internal, error);
        let settings = &self.inner.settings;
        let program = process::program(settings.program.as_deref())
            .ok_or_else(|| {
                NotCompiled::new(
                    ErrorKind::Unavailable,
                    "there is no program to compile with: call `aril::roles()` first in `main`, or \
                     name an installed `aril` with `RuntimeBuilder::program`",
                )
            })?
            .map_err(internal)?;
        let mut input = file.try_clone().map_err(internal)?;
        input.rewind().map_err(internal)?;
        let call = Call {
            role: Role::Compiler,
            parent: std::process::id(),
            memory: settings.compile_memory_max.get(),
            cpu_seconds: settings.compile_time_max.as_secs().max(1),
            words: compiler_words(&Job { digest: *digest, kind }),
        };
        let limit = settings.compile_time_max;
        let report = process::run(&program, &call, input, output, limit, BEAT, waiting).map_err(
            |error| match error {
                // Nobody but the system, or whoever else may, ends a process so.
                process::ChildError::Signal { signal: 9 } | process::ChildError::Start { .. } => {
                    NotCompiled::new(ErrorKind::Unavailable, CompilerError::from(error))
                }
                _ => NotCompiled::new(ErrorKind::NotRunnable, CompilerError::from(error)),
            },
        )?;
        let report = serde_json::from_slice(&report).map_err(|_| {
            let said: String = String::from_utf8_lossy(&report).chars().take(300).collect();
            NotCompiled::new(
                ErrorKind::Internal,
                format!("the compiler said: {}", printable(&said)),
            )
        })?;
        match report {
            Report::Compiled { form, held } => {
                let form = form.parse().map_err(|()| {
                    NotCompiled::new(ErrorKind::Internal, "the compiler named an unknown form")
                })?;
                Ok(Known { digest: *digest, form, held })
            }
            Report::Changed => Err(NotCompiled::new(
                ErrorKind::Unavailable,
                "it changed while it was read; try again",
            )),
            Report::Invalid { reason } => {
                // It quotes the wasm, in lines: none of them may look like one of ours.
                let reason = reason.lines().map(printable).collect::<Vec<_>>().join("\n    ");
                Err(NotCompiled::new(ErrorKind::NotRunnable, reason))
            }
            Report::Unwritten { reason } => Err(NotCompiled::new(
                ErrorKind::Unavailable,
                format!(
                    "the machine code cannot be written into `{}`: {reason}; make room, or name \
                     another folder (`--cache`, ARIL_CACHE_DIR)",
                    settings.cache.display()
                ),
            )),
        }
    }
}

/// The compiler's process went wrong.
#[derive(Debug, thiserror::Error)]
#[error("the compiler did not finish")]
struct CompilerError {
    #[from]
    source: process::ChildError,
}
