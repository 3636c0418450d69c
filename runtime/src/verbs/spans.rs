//! The spans that tell a tracing program where time goes. Without a subscriber they are nothing.
//!
//! All of them have the target `aril`. What a guest is given, its arguments and variables, is in none.

use tracing::Span;
use tracing::field::Empty;

use crate::error::Error;
use crate::error::whole;
use crate::image::Image;
use crate::image::Reference;
use crate::sandbox::Isolation;
use crate::sandbox::SandboxSpec;

use super::prepare::Artifact;

/// The target of all spans.
const TARGET: &str = "aril";

/// An image on its way from a registry.
pub(super) fn pull(image: &Reference) -> Span {
    tracing::info_span!(target: TARGET, "pull", image = %image, digest = Empty, error = Empty)
}

/// An image on its way to a registry.
pub(super) fn push(image: &Image, to: &Reference) -> Span {
    let digest = image.digest();
    tracing::info_span!(target: TARGET, "push", image = %to, digest = %digest, error = Empty)
}

/// An image in the making.
pub(super) fn build(name: &Reference) -> Span {
    tracing::info_span!(target: TARGET, "build", image = %name, digest = Empty, error = Empty)
}

/// From wasm to an artifact. Whether its machine code was in the cache is said by who looks there.
pub(super) fn prepare(kind: &str) -> Span {
    tracing::info_span!(
        target: TARGET,
        "prepare",
        kind,
        image = Empty,
        digest = Empty,
        cached = Empty,
        error = Empty
    )
}

/// Whether what the current span is about was in the cache.
pub(super) fn cached(is_so: bool) {
    Span::current().record("cached", is_so);
}

/// The compiler at work.
pub(super) fn compile(kind: &str) -> Span {
    tracing::info_span!(target: TARGET, "compile", kind)
}

/// A guest, from its launch to its end, which is told by who finds out.
pub(super) fn guest(artifact: &Artifact, spec: &SandboxSpec) -> Span {
    let isolation = match spec.isolation {
        Isolation::Process => "process",
        Isolation::Shared => "shared",
    };
    tracing::info_span!(
        target: TARGET,
        "guest",
        image = artifact.name(),
        digest = %artifact.digest(),
        isolation,
        sandbox.id = spec.known_as,
        kind = Empty,
        exit.reason = Empty,
        exit.code = Empty,
        error = Empty
    )
}

/// The part of a guest's span that it takes to launch it.
pub(super) fn launch(guest: &Span) -> Span {
    tracing::info_span!(target: TARGET, parent: guest, "launch")
}

/// What came of the work of a span, noted there where it failed.
pub(super) fn noted<T>(span: &Span, result: Result<T, Error>) -> Result<T, Error> {
    if let Err(error) = &result
        && !span.is_disabled()
    {
        span.record("error", whole(error));
    }
    result
}

/// The same, with the digest of the image that came of it.
pub(super) fn noted_image(span: &Span, result: Result<Image, Error>) -> Result<Image, Error> {
    if let Ok(image) = &result {
        span.record("digest", tracing::field::display(image.digest()));
    }
    noted(span, result)
}
