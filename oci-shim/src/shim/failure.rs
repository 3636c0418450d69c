//! A call that came to nothing, by the kinds that containerd tells apart.

use containerd_shim_protos::ttrpc;
use containerd_shim_protos::ttrpc::Code;

use crate::bundle::BundleError;
use crate::guest::GuestError;
use crate::guest::Unprepared;
use crate::native::NativeError;
use crate::signals::NoDeed;

use super::whole;

/// Why a call came to nothing. The text says it to people, the kind to containerd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotFound,
    AlreadyExists,
    Precondition,
    Invalid,
    Unimplemented,
    Exhausted,
    Other,
}

impl Failure {
    /// There is no such container or process.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self { kind: Kind::NotFound, text: text.into() }
    }

    /// There is one already.
    pub(super) fn exists(text: impl Into<String>) -> Self {
        Self { kind: Kind::AlreadyExists, text: text.into() }
    }

    /// It is in no state for that.
    pub(super) fn precondition(text: impl Into<String>) -> Self {
        Self { kind: Kind::Precondition, text: text.into() }
    }

    /// What is asked for makes no sense, or cannot be had.
    pub(super) fn invalid(text: impl Into<String>) -> Self {
        Self { kind: Kind::Invalid, text: text.into() }
    }

    /// Nothing here does that.
    pub(super) fn unimplemented(text: impl Into<String>) -> Self {
        Self { kind: Kind::Unimplemented, text: text.into() }
    }

    /// The host failed.
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self { kind: Kind::Other, text: text.into() }
    }

    /// Why, for people.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl From<Failure> for ttrpc::Error {
    fn from(failure: Failure) -> Self {
        let code = match failure.kind {
            Kind::NotFound => Code::NOT_FOUND,
            Kind::AlreadyExists => Code::ALREADY_EXISTS,
            Kind::Precondition => Code::FAILED_PRECONDITION,
            Kind::Invalid => Code::INVALID_ARGUMENT,
            Kind::Unimplemented => Code::UNIMPLEMENTED,
            Kind::Exhausted => Code::RESOURCE_EXHAUSTED,
            Kind::Other => Code::UNKNOWN,
        };
        Self::RpcStatus(ttrpc::get_status(code, failure.text))
    }
}

impl From<BundleError> for Failure {
    fn from(error: BundleError) -> Self {
        Self::invalid(whole(&error))
    }
}

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::Unsupported { .. } => Self::unimplemented(whole(&error)),
            _ => Self::invalid(whole(&error)),
        }
    }
}

impl From<Unprepared> for Failure {
    fn from(error: Unprepared) -> Self {
        match error {
            Unprepared::Guest(error) => error.into(),
            Unprepared::Library(error) => error.into(),
        }
    }
}

impl From<NoDeed> for Failure {
    fn from(error: NoDeed) -> Self {
        match error {
            NoDeed::StandsStill(_) => Self::unimplemented(error.to_string()),
            NoDeed::Nowhere(_) => Self::invalid(error.to_string()),
        }
    }
}

impl From<NativeError> for Failure {
    fn from(error: NativeError) -> Self {
        let kind = match error {
            NativeError::Gone { .. } => Kind::NotFound,
            NativeError::NotRunning { .. } | NativeError::Running { .. } => Kind::Precondition,
            NativeError::Missing { .. }
            | NativeError::InvalidId { .. }
            | NativeError::Bundle { .. }
            | NativeError::Stream { .. } => Kind::Invalid,
            _ => Kind::Other,
        };
        Self { kind, text: whole(&error) }
    }
}

impl From<aril::Error> for Failure {
    fn from(error: aril::Error) -> Self {
        use aril::ErrorKind;
        // What the library calls the program is how it was handed over, which tells people nothing.
        let text = std::error::Error::source(&error).map_or_else(|| whole(&error), whole);
        let kind = match error.kind() {
            ErrorKind::InvalidInput
            | ErrorKind::NotFound
            | ErrorKind::NotRunnable
            | ErrorKind::Denied => Kind::Invalid,
            ErrorKind::Exhausted => Kind::Exhausted,
            _ => Kind::Other,
        };
        let what = match error {
            aril::Error::Prepare { .. } => "cannot prepare the container's program: ",
            aril::Error::Launch { .. } => "cannot launch the container's program: ",
            _ => "",
        };
        Self { kind, text: format!("{what}{text}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_a_code_that_containerd_knows() {
        for (failure, code) in [
            (Failure::not_found("a"), Code::NOT_FOUND),
            (Failure::exists("a"), Code::ALREADY_EXISTS),
            (Failure::precondition("a"), Code::FAILED_PRECONDITION),
            (Failure::invalid("a"), Code::INVALID_ARGUMENT),
            (Failure::unimplemented("a"), Code::UNIMPLEMENTED),
            (Failure::other("a"), Code::UNKNOWN),
        ] {
            let ttrpc::Error::RpcStatus(status) = failure.into() else { panic!("no status") };
            assert_eq!((status.code(), status.message()), (code, "a"));
        }
    }
}
