//! From an artifact to a guest that has this process to itself.

use std::convert::Infallible;

use crate::engine::Interruption;
use crate::engine::Kind;
use crate::engine::running_engine;
use crate::error::Error;
use crate::limits::Limits;
use crate::limits::STACK_DEFAULT;
use crate::process;
use crate::sandbox;
use crate::sandbox::LaunchError;
use crate::sandbox::Occupation;
use crate::sandbox::Record;
use crate::sandbox::SandboxSpec;

use super::prepare::Artifact;
use super::runtime::Place;
use super::runtime::Runtime;

/// The kind of machine code for a guest with these limits in a process of its own: the process
/// can be ended, so that only a share of a processor needs code that gives way.
pub(super) fn kind_for(limits: &Limits) -> Kind {
    let interruption =
        if limits.throttles_a_thread() { Interruption::Epochs } else { Interruption::None };
    Kind { interruption, fuel: limits.fuel.is_asked() }
}

impl Runtime {
    /// Runs a guest in this process, and ends the process with it.
    ///
    /// The process must have no other work: its signals are taken over, and it ends at once when
    /// the guest ends or a limit is reached. `report` is told how the guest ended, on whichever
    /// thread found out, and says the code that the process ends with.
    ///
    /// # Errors
    ///
    /// Returns only where the guest cannot be launched.
    pub fn occupy(
        &self,
        artifact: &Artifact,
        spec: &SandboxSpec,
        occupation: Occupation,
        report: impl FnOnce(Result<&Record, &LaunchError>) -> u8 + Send + 'static,
    ) -> Result<Infallible, Error> {
        let failed = |source| Error::Launch { what: artifact.name().to_owned(), source };
        // This process is about to close what it would be told by.
        drop(process::take_spare());
        let kind = kind_for(&spec.limits);
        let stack = spec.limits.stack.or(Some(STACK_DEFAULT)).unwrap_or(STACK_DEFAULT);
        // An impossible amount is refused before it reaches the engine.
        spec.limits.amounts(false).map_err(|error| failed(error.into()))?;
        spec.limits.need_no_group().map_err(|error| failed(error.into()))?;
        self.check_grants(spec).map_err(failed)?;
        let form = artifact.inner.known.form;
        let loaded = self.load_artifact(artifact, kind, Place::Anywhere, |_| {
            running_engine(form, kind, stack, None)
        })?;
        let span = super::spans::guest(artifact, spec);
        span.record("kind", kind.word());
        let report = move |outcome: Result<&Record, &LaunchError>| {
            if let Ok(record) = outcome {
                span.record("exit.reason", record.exit.reason());
                span.record("exit.code", record.exit.code());
            }
            drop(span);
            report(outcome)
        };
        let empty = self.artifacts()?.empty();
        sandbox::occupy(&loaded, spec, empty, occupation, Box::new(report)).map_err(failed)
    }
}
