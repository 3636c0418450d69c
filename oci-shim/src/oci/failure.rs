//! Why a verb failed, and how callers are told.

/// A verb that failed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct Failure {
    text: String,
    code: u8,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), code: super::FAILED }
    }

    /// One behind which the process ends with this code.
    pub(super) fn with_code(text: impl Into<String>, code: u8) -> Self {
        Self { text: text.into(), code }
    }

    /// What failed, with all that is behind it.
    pub(super) fn of(doing: impl std::fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(format!("{doing}: {}", whole(error)))
    }

    pub(super) fn code(&self) -> u8 {
        self.code
    }
}

/// An error with what is behind it.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let behind = error.source().map(whole);
    behind.map_or_else(|| error.to_string(), |behind| format!("{error}: {behind}"))
}
