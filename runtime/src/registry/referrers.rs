//! What refers to an image: signatures, and what else is told of it.

use hyper::Method;
use hyper::StatusCode;
use hyper::header;
use hyper::header::HeaderValue;

use crate::digest::Digest;
use crate::image::DOCUMENT_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::ENTRIES_MAX;
use crate::image::Index;
use crate::image::Reference;
use crate::image::media;

use super::answer::Answer;
use super::client::Ask;
use super::client::Client;
use super::client::Endpoint;
use super::error::Reason;
use super::error::RegistryError;
use super::token::Scope;

/// The most pages of a list that are read.
const PAGES_MAX: usize = 16;

impl Client {
    /// What refers to a manifest, by the registry's list, or else by the tag that stands for it.
    /// Source: OCI distribution specification 1.1.1, "Listing Referrers". The list is a claim:
    /// what it names has to be fetched and checked.
    pub(crate) async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Index, RegistryError> {
        let failed = |source| RegistryError::Referrers {
            repository: reference.name(),
            digest: *digest,
            source,
        };
        // Mirrors have what somebody asked them for, and so tell less than all.
        let at = self.home(reference).await.map_err(failed)?;
        let mut tries = self.tries(&at);
        loop {
            match self.referrers_once(&at, digest).await {
                Ok(found) => return Ok(found),
                Err(reason) => tries.next(reason).await.map_err(failed)?,
            }
        }
    }

    /// What the registry itself, and none of its mirrors, has under a tag; nothing where it has
    /// none: what is to be changed, and sent back.
    pub(crate) async fn tagged(
        &self,
        reference: &Reference,
        tag: &str,
    ) -> Result<Option<(Descriptor, Document)>, RegistryError> {
        let failed = |source| RegistryError::Manifest {
            reference: format!("{}:{tag}", reference.name()),
            source,
        };
        let at = self.home(reference).await.map_err(failed)?;
        let mut tries = self.tries(&at);
        loop {
            match self.manifest_once(&at, tag, None).await {
                Ok((descriptor, bytes)) => {
                    let document = Document::parse(&bytes)
                        .map_err(|source| Reason::Document { host: at.origin.to_string(), source })
                        .map_err(failed)?;
                    return Ok(Some((descriptor, document)));
                }
                Err(Reason::Missing { .. }) => return Ok(None),
                Err(reason) => tries.next(reason).await.map_err(failed)?,
            }
        }
    }

    async fn referrers_once(&self, at: &Endpoint, digest: &Digest) -> Result<Index, Reason> {
        let mut address = Some(at.address(&format!("referrers/{digest}")));
        let mut found: Vec<Descriptor> = Vec::new();
        let mut pages = 0;
        while let Some(page) = address.take() {
            let mut ask = Ask::plain(Method::GET, page);
            ask.headers.insert(header::ACCEPT, HeaderValue::from_static(media::INDEX));
            let mut answer = self.ask(at, &Scope::pull(&at.repository), &ask).await?;
            let is_list = answer.header(header::CONTENT_TYPE).is_some_and(|kind| {
                kind.split(';').next().is_some_and(|kind| kind.trim() == media::INDEX)
            });
            match answer.status {
                StatusCode::OK if is_list => {}
                // It does not know of lists, or takes the path for that of a page for people.
                StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
                    if pages == 0 =>
                {
                    answer.finish().await;
                    return self.referrers_by_tag(at, digest).await;
                }
                _ => return Err(answer.refusal().await),
            }
            let bytes = answer.document(DOCUMENT_SIZE_MAX).await?;
            found.extend(index(&answer, &bytes)?.manifests);
            pages += 1;
            address = next(&answer)?.filter(|next| next.origin == at.origin);
            if ENTRIES_MAX < found.len() || PAGES_MAX <= pages && address.is_some() {
                return Err(answer.broken("a list that is too long"));
            }
        }
        Ok(Index::new(found))
    }

    async fn referrers_by_tag(&self, at: &Endpoint, digest: &Digest) -> Result<Index, Reason> {
        let tag = referrers_tag(digest);
        match self.manifest_once(at, &tag, None).await {
            Err(Reason::Missing { .. }) => Ok(Index::new(Vec::new())),
            Err(reason) => Err(reason),
            Ok((_, bytes)) => match Document::parse(&bytes) {
                Ok(Document::Index(index)) => Ok(index),
                _ => Err(Reason::Broken {
                    host: at.origin.to_string(),
                    reason: format!("no list under the tag `{tag}`"),
                }),
            },
        }
    }
}

/// The tag that stands for a list of referrers, where a registry has none.
pub(crate) fn referrers_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

fn index(answer: &Answer, bytes: &[u8]) -> Result<Index, Reason> {
    match Document::parse(bytes) {
        Ok(Document::Index(index)) => Ok(index),
        Ok(Document::Manifest(_)) => Err(answer.broken("a manifest instead of a list")),
        Err(source) => Err(Reason::Document { host: answer.host(), source }),
    }
}

/// Where the next page is. Source: RFC 8288.
fn next(answer: &Answer) -> Result<Option<super::address::Address>, Reason> {
    let link = answer.header(header::LINK).and_then(|link| link.strip_prefix('<'));
    match link.and_then(|link| link.split_once('>')) {
        Some((location, rest)) if rest.contains("rel=\"next\"") || rest.contains("rel=next") => {
            let to = answer.address.join(location);
            to.map(Some).map_err(|source| Reason::Lost { host: answer.host(), source })
        }
        _ => Ok(None),
    }
}
