//! Fetching: manifests whole and checked, blobs piece by piece into a sink.

use std::error::Error;

use hyper::Method;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;

use crate::digest::Digest;
use crate::image::DOCUMENT_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::Reference;
use crate::image::media;

use super::answer::Answer;
use super::client::Ask;
use super::client::Client;
use super::client::Endpoint;
use super::error::Reason;
use super::error::RegistryError;
use super::token::Scope;

/// What documents we can read.
pub(super) const ACCEPTED: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// So many bytes more than ever before are worth a new count of tries.
const GAIN: u64 = 1 << 20;

/// Where the bytes of a blob go. It may have some already, from another time.
pub(crate) trait Sink {
    /// What goes wrong with it.
    type Error: Error + Send + Sync + 'static;

    /// How many bytes it has.
    fn written(&self) -> u64;

    /// Takes away what it has.
    fn restart(&mut self) -> Result<(), Self::Error>;

    /// Takes the next bytes. They are never more than the blob should have.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Whether the bytes, all of them, have the digest that they should have. Where they have not,
    /// another mirror may have better ones; whoever reads the sink has to check them in any case.
    fn is_right(&self) -> bool;
}

impl Client {
    /// The manifest or the index that a reference leads to, and what it is: read whole, within
    /// [`DOCUMENT_SIZE_MAX`], and with the digest that was asked for.
    pub(crate) async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>), RegistryError> {
        let failed = |source| RegistryError::Manifest { reference: reference.to_string(), source };
        let mut last = None;
        for at in self.endpoints(reference).await.map_err(failed)? {
            match self.manifest_at(&at, reference).await {
                Ok(found) => return Ok(found),
                Err(reason) => last = Some(reason),
            }
        }
        Err(failed(last.unwrap_or_else(nowhere)))
    }

    async fn manifest_at(
        &self,
        at: &Endpoint,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>), Reason> {
        let name = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.unwrap_or("latest").to_owned(),
        };
        let mut tries = self.tries(at);
        loop {
            match self.manifest_once(at, &name, reference.digest()).await {
                Ok(found) => return Ok(found),
                Err(reason) => tries.next(reason).await?,
            }
        }
    }

    pub(super) async fn manifest_once(
        &self,
        at: &Endpoint,
        name: &str,
        expected: Option<Digest>,
    ) -> Result<(Descriptor, Vec<u8>), Reason> {
        let mut ask = Ask::plain(Method::GET, at.address(&format!("manifests/{name}")));
        ask.headers.insert(header::ACCEPT, HeaderValue::from_static(ACCEPTED));
        let mut answer = self.ask(at, &Scope::pull(&at.repository), &ask).await?;
        if answer.status != StatusCode::OK {
            return Err(answer.refusal().await);
        }
        let bytes = answer.document(DOCUMENT_SIZE_MAX).await?;
        let found = Digest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            return Err(answer.broken(format!("{found} instead of {expected}")));
        }
        let said = answer.headers.get("docker-content-digest");
        if said.is_some_and(|said| said.as_bytes() != found.to_string().as_bytes()) {
            return Err(answer.broken(format!("{found}, of which it says another digest")));
        }
        let document = Document::parse(&bytes)
            .map_err(|source| Reason::Document { host: answer.host(), source })?;
        let media_type = called(&answer, &document)?;
        Ok((Descriptor::new(&media_type, found, bytes.len() as u64), bytes))
    }

    /// Fetches a blob into a sink, beginning where the sink ends. `urls` of descriptors are never
    /// followed: a blob comes from where its manifest comes from.
    pub(crate) async fn blob<S: Sink>(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut S,
    ) -> Result<(), RegistryError> {
        let digest = descriptor.digest;
        let failed = |source| RegistryError::Blob { repository: reference.name(), digest, source };
        let mut last = None;
        for at in self.endpoints(reference).await.map_err(failed)? {
            match self.blob_at(&at, descriptor, sink).await {
                Ok(()) => return Ok(()),
                Err(reason @ Reason::Own { .. }) => return Err(failed(reason)),
                Err(reason) => last = Some(reason),
            }
        }
        Err(failed(last.unwrap_or_else(nowhere)))
    }

    async fn blob_at<S: Sink>(
        &self,
        at: &Endpoint,
        descriptor: &Descriptor,
        sink: &mut S,
    ) -> Result<(), Reason> {
        let mut tries = self.tries(at);
        // The most that there ever was: a registry that begins again each time gains nothing.
        let mut most = sink.written();
        loop {
            let reason = match self.blob_once(at, descriptor, sink).await {
                Ok(()) => return Ok(()),
                Err(reason) => reason,
            };
            if most.saturating_add(GAIN) <= sink.written() {
                most = sink.written();
                tries.reset();
            }
            tries.next(reason).await?;
        }
    }

    async fn blob_once<S: Sink>(
        &self,
        at: &Endpoint,
        descriptor: &Descriptor,
        sink: &mut S,
    ) -> Result<(), Reason> {
        let size = descriptor.size;
        if size < sink.written() || size == sink.written() && size > 0 && !sink.is_right() {
            sink.restart().map_err(Reason::own)?;
        }
        let begun = sink.written();
        if begun == size && sink.is_right() {
            return Ok(());
        }
        let address = at.address(&format!("blobs/{}", descriptor.digest));
        let mut ask = Ask::plain(Method::GET, address);
        if begun > 0 {
            let range = HeaderValue::try_from(format!("bytes={begun}-"));
            ask.headers.insert(header::RANGE, range.map_err(Reason::own)?);
        }
        let mut answer = self.ask(at, &Scope::pull(&at.repository), &ask).await?;
        match answer.status {
            StatusCode::OK => {
                if begun > 0 {
                    sink.restart().map_err(Reason::own)?;
                }
            }
            StatusCode::PARTIAL_CONTENT if begun > 0 => {
                let said = answer.header(header::CONTENT_RANGE).unwrap_or_default();
                let goes_on = parse_range(said).is_some_and(|range| {
                    range.first == begun
                        && range.last < size
                        && range.total.is_none_or(|total| total == size)
                });
                if !goes_on {
                    return Err(answer.broken("another part than was asked for"));
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if begun > 0 => {
                // It has fewer bytes than we, or cannot tell parts. The next try begins anew.
                sink.restart().map_err(Reason::own)?;
                let reason = "it does not go on where we were".to_owned();
                return Err(Reason::Cut { host: answer.host(), reason });
            }
            _ => return Err(answer.refusal().await),
        }
        receive(&mut answer, size, sink).await?;
        match (sink.is_right(), begun) {
            (true, _) => Ok(()),
            (false, 0) => Err(answer.broken("bytes with another digest")),
            // The first part may be to blame, which is of another time.
            (false, _) => {
                sink.restart().map_err(Reason::own)?;
                let reason = "the bytes do not fit those that were there".to_owned();
                Err(Reason::Cut { host: answer.host(), reason })
            }
        }
    }
}

/// Puts the body of an answer into a sink, up to `size` bytes in all.
async fn receive<S: Sink>(answer: &mut Answer, size: u64, sink: &mut S) -> Result<(), Reason> {
    let longer = format!("more than the {size} bytes that it should have");
    let left = size.saturating_sub(sink.written());
    match answer.length() {
        Some(length) if left < length => return Err(answer.broken(longer)),
        Some(length) if answer.status == StatusCode::OK && length < size => {
            return Err(answer.broken(format!("{length} bytes instead of {size}")));
        }
        _ => {}
    }
    while let Some(piece) = answer.piece().await? {
        if size < sink.written().saturating_add(piece.len() as u64) {
            return Err(answer.broken(longer));
        }
        sink.write(&piece).map_err(Reason::own)?;
    }
    if sink.written() == size {
        Ok(())
    } else {
        let reason = format!("it ended after {} of {size} bytes", sink.written());
        Err(Reason::Cut { host: answer.host(), reason })
    }
}

/// What a document is called, if the answer and the document agree.
pub(super) fn called(answer: &Answer, document: &Document) -> Result<String, Reason> {
    let said = answer.header(header::CONTENT_TYPE).unwrap_or_default();
    let said = said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (known, own) = match document {
        Document::Manifest(manifest) => {
            ([media::MANIFEST, media::DOCKER_MANIFEST], &manifest.media_type)
        }
        Document::Index(index) => ([media::INDEX, media::DOCKER_LIST], &index.media_type),
    };
    let is_known = [media::MANIFEST, media::INDEX, media::DOCKER_MANIFEST, media::DOCKER_LIST]
        .contains(&said.as_str());
    let agrees = match own {
        Some(own) => said == *own,
        None => known.contains(&said.as_str()),
    };
    match (is_known, agrees) {
        (true, false) => Err(answer.broken(format!(
            "a document under the name of `{said}`, which is a `{}`",
            document.media_type()
        ))),
        (true, true) => Ok(said),
        // What says nothing does not lie.
        (false, _) => Ok(document.media_type().to_owned()),
    }
}

/// A part of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
    total: Option<u64>,
}

/// Reads a `Content-Range`. Source: RFC 9110, 14.4.
fn parse_range(text: &str) -> Option<Range> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = match total {
        "*" => None,
        total => Some(number(total)?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some(Range {
        first,
        last,
        total,
    })
}

fn nowhere() -> Reason {
    Reason::Refused("there is no host to ask".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_is_read_strictly() {
        let range = |first, last, total| Some(Range { first, last, total });
        for (text, expected) in [
            ("bytes 5-9/10", range(5, 9, Some(10))),
            ("bytes 0-0/*", range(0, 0, None)),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("bytes +5-9/10", None),
            ("bytes 5-9", None),
            ("bytes 5-99999999999999999999/*", None),
            ("chars 5-9/10", None),
            ("", None),
        ] {
            assert_eq!(parse_range(text), expected, "{text}");
        }
    }
}
