//! Sending: blobs from a source that can be opened again, and manifests.

use std::io;

use bytes::Bytes;
use hyper::Method;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;
use tokio::io::AsyncRead;

use crate::digest::Digest;
use crate::image::Descriptor;
use crate::image::Reference;

use super::address::encoded;
use super::client::Ask;
use super::client::Client;
use super::client::Endpoint;
use super::error::Reason;
use super::error::RegistryError;
use super::outgoing::Outgoing;
use super::token::Scope;

/// How a blob came to be at the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// It was there before.
    Present,
    /// It was taken from another repository of the registry.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// What a registry says of a manifest that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) digest: Digest,
    /// Whether it will tell of the manifest those who ask what refers to its subject. Where it
    /// will not, whoever sends it keeps the list of the fallback tag.
    pub(crate) knows_subject: bool,
}

impl Client {
    /// Sends a blob, unless the registry has it. `from` is of another repository that may
    /// have it, if that is at the same registry; `open` opens the bytes, once for each try.
    pub(crate) async fn push_blob<R, F>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        from: Option<&Reference>,
        open: F,
    ) -> Result<Sent, RegistryError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        F: Fn() -> io::Result<R> + Send + Sync,
    {
        let digest = descriptor.digest;
        let failed =
            |source| RegistryError::PushBlob { repository: reference.name(), digest, source };
        let size = descriptor.size;
        let body = || {
            let source = open().map_err(Reason::own)?;
            Ok(Outgoing::stream(Box::new(source), size))
        };
        let at = self.home(reference).await.map_err(failed)?;
        let mut from = match from {
            Some(other) => Some(self.home(other).await.map_err(failed)?)
                .filter(|other| other.origin == at.origin)
                .map(|other| other.repository),
            None => None,
        };
        let mut tries = self.tries(&at);
        loop {
            match self.push_blob_once(&at, descriptor, from.as_deref(), &body).await {
                Ok(sent) => return Ok(sent),
                // Who may not read the other repository may still write to this one.
                Err(Reason::Forbidden { .. } | Reason::Missing { .. } | Reason::Answer { .. })
                    if from.take().is_some() => {}
                // An upload that broke is begun anew: few registries go on with one.
                Err(reason) => tries.next(reason).await.map_err(failed)?,
            }
        }
    }

    async fn push_blob_once(
        &self,
        at: &Endpoint,
        descriptor: &Descriptor,
        from: Option<&str>,
        body: super::client::MakeBody<'_>,
    ) -> Result<Sent, Reason> {
        let digest = descriptor.digest.to_string();
        let scope = Scope::push(&at.repository);
        let head = Ask::plain(Method::HEAD, at.address(&format!("blobs/{digest}")));
        let answer = self.ask(at, &scope, &head).await?;
        match answer.status {
            StatusCode::OK => {
                answer.finish().await;
                return Ok(Sent::Present);
            }
            StatusCode::NOT_FOUND => answer.finish().await,
            _ => return Err(answer.refusal().await),
        }
        let mut address = at.address("blobs/uploads/");
        let mut scope = scope;
        if let Some(from) = from {
            address = address.with("mount", &digest).with("from", from);
            scope = scope.and_pull(from);
        }
        let answer = self.ask(at, &scope, &Ask::plain(Method::POST, address)).await?;
        match answer.status {
            StatusCode::CREATED if from.is_some() => {
                answer.finish().await;
                return Ok(Sent::Mounted);
            }
            StatusCode::ACCEPTED => {}
            _ => return Err(answer.refusal().await),
        }
        let address = self.led_to(&answer)?.with("digest", &digest);
        answer.finish().await;
        let mut put = Ask { body, ..Ask::plain(Method::PUT, address) };
        let kind = HeaderValue::from_static("application/octet-stream");
        put.headers.insert(header::CONTENT_TYPE, kind);
        let answer = self.ask(at, &scope, &put).await?;
        match answer.status {
            StatusCode::CREATED => {
                answer.finish().await;
                Ok(Sent::Uploaded)
            }
            _ => Err(answer.refusal().await),
        }
    }

    /// Sends a manifest or an index, under the tag of the reference, or under its digest.
    pub(crate) async fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Taken, RegistryError> {
        let failed =
            |source| RegistryError::PushManifest { reference: reference.to_string(), source };
        let digest = Digest::of(bytes);
        if reference.digest().is_some_and(|expected| expected != digest) {
            return Err(failed(Reason::Refused(format!("it is {digest}"))));
        }
        let name = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let at = self.home(reference).await.map_err(failed)?;
        let bytes = Bytes::copy_from_slice(bytes);
        let body = || Ok(Outgoing::Bytes(bytes.clone()));
        let address = at.address(&format!("manifests/{}", encoded(&name)));
        let mut put = Ask { body: &body, ..Ask::plain(Method::PUT, address) };
        let kind = HeaderValue::try_from(media_type).map_err(|error| failed(Reason::own(error)))?;
        put.headers.insert(header::CONTENT_TYPE, kind);
        let mut tries = self.tries(&at);
        loop {
            match self.push_manifest_once(&at, digest, &put).await {
                Ok(taken) => return Ok(taken),
                Err(reason) => tries.next(reason).await.map_err(failed)?,
            }
        }
    }

    async fn push_manifest_once(
        &self,
        at: &Endpoint,
        digest: Digest,
        put: &Ask<'_>,
    ) -> Result<Taken, Reason> {
        let answer = self.ask(at, &Scope::push(&at.repository), put).await?;
        if answer.status != StatusCode::CREATED {
            return Err(answer.refusal().await);
        }
        let said = answer.headers.get("docker-content-digest");
        if said.is_some_and(|said| said.as_bytes() != digest.to_string().as_bytes()) {
            return Err(answer.broken(format!("another digest than {digest} for what it took")));
        }
        let knows_subject = answer.headers.contains_key("oci-subject");
        answer.finish().await;
        Ok(Taken { digest, knows_subject })
    }
}
