//! How an image is fetched and sent: HTTP, no disk; credentials.
//!
//! The client is our own, over `hyper` and `rustls`, because `oci-client` reads manifests, lists
//! and refusals without a bound, and does not stop a blob at the size that it should have.
//!
//! A registry, and whoever stands between, is not trusted: what is read of it is bounded in size
//! and time, what it sends is taken for what its digest says, it learns a login only by the rules
//! in `token.rs`, and it leads us nowhere that it could not go itself.

mod address;
mod answer;
mod challenge;
mod client;
mod credentials;
mod error;
mod outgoing;
mod pull;
mod push;
mod referrers;
mod retry;
mod secret;
mod settings;
mod token;
mod wire;

#[cfg(fuzzing)]
pub(crate) use challenge::Challenge;
pub(crate) use client::Client;
pub(crate) use credentials::Credentials;
pub(crate) use error::RegistryError;
pub(crate) use error::RegistryErrorKind;
pub(crate) use pull::Sink;
pub(crate) use referrers::referrers_tag;
pub(crate) use secret::Login;
pub(crate) use secret::Secret;
pub(crate) use settings::Settings;

#[cfg(test)]
mod misbehaving;
#[cfg(test)]
mod pull_tests;
#[cfg(test)]
mod push_tests;
#[cfg(test)]
mod trust_tests;
#[cfg(test)]
mod encryption_tests;
