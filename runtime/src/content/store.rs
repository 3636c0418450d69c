//! Where images rest: an OCI image layout, which other tools read as it is.
//!
//! Source: OCI image specification 1.1.1, `image-layout.md`. What is ours alone is in the folder
//! `.aril` of it, which the specification lets us have:
//!
//! | path | what it is |
//! |---|---|
//! | `.aril/lock` | held while names change, exclusively, and while a lease grows, together |
//! | `.aril/leases/N` | the digests that somebody alive writes or relies on; locked as long as that lives |
//! | `.aril/partial/HEX` | a blob that is not whole yet; locked by whoever writes it |
//! | `.aril/index.previous.json` | the names as they were before the last change |

use std::collections::BTreeSet;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::image::DOCUMENT_SIZE_MAX;
use crate::image::Descriptor;
use crate::image::Document;
use crate::image::ENTRIES_MAX;
use crate::image::INDEX_DEPTH_MAX;
use crate::image::Index;
use crate::platform::files;

use super::error::StoreError;
use super::folder::Folder;
use super::ingest::Partial;
use super::lease::Lease;

/// The annotation in which an entry of `index.json` has its name.
pub(crate) const NAME: &str = "org.opencontainers.image.ref.name";

/// The version of the layout that is written, and the only one there is.
const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A store of images.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    root: Folder,
    blobs: Folder,
    own: Folder,
    leases: Folder,
    partial: Folder,
}

/// Where the names are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// In `index.json`.
    Now,
    /// In what was there before the last change.
    Before,
    /// In neither.
    Nowhere,
}

/// What pruning removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) blobs: u64,
    pub(crate) bytes: u64,
}

impl Store {
    /// Opens the store in a folder, and makes one where there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let root = Folder::open(path)?;
        let at = |name: &str| Folder::open(&path.join(name));
        // The folder between belongs to us as well.
        at("blobs")?;
        let store = Self {
            blobs: at("blobs/sha256")?,
            own: at(".aril")?,
            leases: at(".aril/leases")?,
            partial: at(".aril/partial")?,
            root,
        };
        match store.root.read_small("oci-layout", 4096) {
            None => {
                // Without names from the start, a blob that has none yet is not taken for a root.
                if !store.root.path_of("index.json").exists() {
                    let _alone = store.lock(true)?;
                    // Whoever had the lock may have made it, and named something by now.
                    if !store.root.path_of("index.json").exists() {
                        Self::write_index(&store.root, "index.json", &Index::new(store.roots()))?;
                    }
                }
                store.root.write_lasting("oci-layout", LAYOUT)?;
            }
            Some(text) => check_layout(path, &text)?,
        }
        Ok(store)
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn partial_folder(&self) -> &Folder {
        &self.partial
    }

    /// What is left of those who ended in the middle of something: partial blobs, other drafts, and
    /// how many bytes they have.
    pub(super) fn abandoned(&self) -> (u64, u64, u64) {
        let blobs = self.partial.names().into_iter().map(|name| self.partial.path_of(&name));
        let (partial, mut bytes) = Folder::abandoned(blobs.chain(self.partial.drafts()));
        let mut drafts = 0;
        for folder in [&self.root, &self.own, &self.leases] {
            let (count, size) = Folder::abandoned(folder.drafts());
            (drafts, bytes) = (drafts + count, bytes + size);
        }
        (partial, drafts, bytes)
    }

    /// Where a blob is, or would be.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.path_of(&digest.hex())
    }

    /// Opens a blob. What is there is whole, and was what its name says when it was put there.
    pub(crate) fn blob(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        match files::open_own(&path) {
            Ok(file) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StoreError::Missing { digest: *digest })
            }
            Err(source) => Err(StoreError::File { what: "read", path, source }),
        }
    }

    pub(crate) fn has(&self, digest: &Digest) -> bool {
        self.blob(digest).is_ok()
    }

    /// Whether a blob is there and is what its name says, found out by hashing it: whoever brings it
    /// once more repairs one that is not.
    pub(super) fn is_whole(&self, digest: &Digest) -> bool {
        let hashed = |file: File| {
            let size = file.metadata()?.len();
            Digest::of_reader(file, size)
        };
        self.blob(digest).is_ok_and(|file| hashed(file).is_ok_and(|(found, _)| found == *digest))
    }

    /// The whole of a small blob, which is hashed once more.
    pub(crate) fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StoreError> {
        let path = self.blob_path(digest);
        let mut bytes = Vec::new();
        self.blob(digest)?
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| StoreError::File { what: "read", path, source })?;
        let broken = |reason: String| StoreError::Broken { digest: *digest, reason };
        if limit < bytes.len() as u64 {
            return Err(broken(format!("it is larger than {limit} bytes")));
        }
        if Digest::of(&bytes) != *digest {
            return Err(broken("its content is not what its name says; pull it again".to_owned()));
        }
        Ok(bytes)
    }

    /// A manifest or an index.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Document, StoreError> {
        let bytes = self.read(digest, DOCUMENT_SIZE_MAX)?;
        Document::parse(&bytes)
            .map_err(|error| StoreError::Broken { digest: *digest, reason: error.to_string() })
    }

    /// Adds a small blob.
    pub(crate) fn add(&self, lease: &Lease<'_>, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        lease.keep([digest])?;
        match self.fetch(&digest, bytes.len() as u64)? {
            None => {}
            Some(mut partial) => {
                partial.restart()?;
                partial.write(bytes)?;
                partial.finish()?;
            }
        }
        Ok(digest)
    }

    /// The place for a blob that is to come; nothing where it is there by now. Whoever else writes
    /// the same blob is waited for.
    pub(crate) fn fetch(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, StoreError> {
        Partial::open(self, digest, size)
    }

    /// Puts a whole blob in its place. `file` was written to `path`, and is what `digest` says.
    pub(super) fn settle(
        &self,
        file: &File,
        path: &Path,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let target = self.blob_path(digest);
        let failed = |source| StoreError::File { what: "write", path: target.clone(), source };
        file.sync_all().map_err(failed)?;
        fs::rename(path, &target).map_err(failed)?;
        files::sync_directory(self.blobs.path()).map_err(failed)
    }

    /// What `index.json` says. Where that is broken, what it said before; and where that is broken
    /// too, all that nothing else leads to, without its names.
    pub(crate) fn index(&self) -> Index {
        self.found_index().0
    }

    /// The same, and where it was found.
    pub(super) fn found_index(&self) -> (Index, Found) {
        let read = |folder: &Folder, name| {
            let bytes = folder.read_small(name, usize::try_from(DOCUMENT_SIZE_MAX).ok()?)?;
            match Document::parse(&bytes) {
                Ok(Document::Index(index)) => Some(index),
                _ => None,
            }
        };
        read(&self.root, "index.json")
            .map(|index| (index, Found::Now))
            .or_else(|| Some((read(&self.own, PREVIOUS)?, Found::Before)))
            .unwrap_or_else(|| (Index::new(self.roots()), Found::Nowhere))
    }

    /// Gives what `descriptor` leads to a name, which it takes from whatever had it, or lists it
    /// without one. All of it must be there.
    pub(crate) fn name(
        &self,
        name: Option<&str>,
        descriptor: &Descriptor,
    ) -> Result<(), StoreError> {
        self.name_all(&[(name.map(str::to_owned), descriptor)])
    }

    /// Does the same with several, of which all get their names, or none does.
    pub(crate) fn name_all(
        &self,
        named: &[(Option<String>, &Descriptor)],
    ) -> Result<(), StoreError> {
        self.change(|index| {
            let mut needed = BTreeSet::new();
            for (name, descriptor) in named {
                let mut entry = (*descriptor).clone();
                entry.annotations.clear();
                entry.annotations.extend(name.clone().map(|name| (NAME.to_owned(), name)));
                self.reach(&entry, &mut needed, 0)?;
                match name {
                    Some(name) => index.manifests.retain(|other| !has_name(other, name)),
                    None if index.manifests.iter().any(|other| other.digest == entry.digest) => {
                        continue;
                    }
                    None => {}
                }
                index.manifests.push(entry);
            }
            match needed.into_iter().find(|digest| !self.has(digest)) {
                Some(digest) => Err(StoreError::Missing { digest }),
                None => Ok(()),
            }
        })
    }

    /// Takes entries away, all at once.
    pub(crate) fn remove(&self, entries: &[Descriptor]) -> Result<(), StoreError> {
        self.change(|index| {
            index.manifests.retain(|other| !entries.contains(other));
            Ok(())
        })
    }

    /// Forgets the entries without a name: what another tool put there, or what was found after the
    /// names were lost.
    pub(crate) fn forget_nameless(&self) -> Result<(), StoreError> {
        self.change(|index| {
            index.manifests.retain(|entry| entry.annotations.contains_key(NAME));
            Ok(())
        })
    }

    /// Changes `index.json`, alone.
    fn change(
        &self,
        change: impl FnOnce(&mut Index) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let _alone = self.lock(true)?;
        let before = self.index();
        let mut index = before.clone();
        change(&mut index)?;
        if ENTRIES_MAX < index.manifests.len() {
            return Err(StoreError::Names);
        }
        if index != before {
            let kept = Self::write_index(&self.own, PREVIOUS, &before);
            if let Err(error) = kept {
                // How the names were is no reason why a full disk could not be made empty.
                if !error.is_for_room() || before.manifests.len() <= index.manifests.len() {
                    return Err(error);
                }
                let _absent = fs::remove_file(self.own.path_of(PREVIOUS));
            }
            Self::write_index(&self.root, "index.json", &index)?;
        } else if !self.root.path_of("index.json").exists() {
            Self::write_index(&self.root, "index.json", &index)?;
        }
        Ok(())
    }

    fn write_index(folder: &Folder, name: &str, index: &Index) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(index).map_err(|error| StoreError::File {
            what: "write",
            path: folder.path_of(name),
            source: io::Error::other(error),
        })?;
        Ok(folder.write_lasting(name, &bytes)?)
    }

    /// All that an entry leads to, itself included, as far as it is there.
    pub(crate) fn reach(
        &self,
        entry: &Descriptor,
        reached: &mut BTreeSet<Digest>,
        depth: usize,
    ) -> Result<(), StoreError> {
        let broken =
            |reason: &str| StoreError::Broken { digest: entry.digest, reason: reason.to_owned() };
        if INDEX_DEPTH_MAX < depth {
            return Err(broken("its indexes are nested too deep"));
        }
        if !reached.insert(entry.digest) {
            return Ok(());
        }
        match self.document(&entry.digest)? {
            Document::Manifest(manifest) => {
                reached.insert(manifest.config.digest);
                reached.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
            Document::Index(index) => {
                // Of several platforms, only those that are wanted are fetched. What is broken of one
                // is no reason to lose another.
                for inner in &index.manifests {
                    if !reached.contains(&inner.digest) && self.has(&inner.digest) {
                        let _broken = self.reach(inner, reached, depth + 1);
                    }
                }
            }
        }
        Ok(())
    }

    /// The documents that no other document leads to.
    fn roots(&self) -> Vec<Descriptor> {
        let mut documents = Vec::new();
        let mut inner = BTreeSet::new();
        for digest in self.digests() {
            let small = fs::metadata(self.blob_path(&digest))
                .is_ok_and(|metadata| metadata.len() <= DOCUMENT_SIZE_MAX);
            if let Some(document) = small.then(|| self.document(&digest).ok()).flatten() {
                let size = fs::metadata(self.blob_path(&digest)).map_or(0, |found| found.len());
                documents.push(Descriptor::new(document.media_type(), digest, size));
                if let Document::Index(index) = document {
                    inner.extend(index.manifests.into_iter().map(|entry| entry.digest));
                }
            }
        }
        documents.retain(|entry| !inner.contains(&entry.digest));
        documents
    }

    /// All blobs.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let names = self.blobs.names().into_iter();
        names.filter_map(|name| format!("sha256:{name}").parse().ok()).collect()
    }

    /// Removes the blobs that no name leads to and nobody alive relies on.
    pub(crate) fn prune(&self) -> Result<Pruned, StoreError> {
        let _alone = self.lock(true)?;
        let pruned = self.remove_unused(self.digests())?;
        self.partial.remove_unlocked();
        for folder in [&self.root, &self.own, &self.partial] {
            folder.remove_abandoned();
        }
        Ok(pruned)
    }

    /// Removes what somebody brought who failed, as far as no name leads to it and nobody else alive
    /// relies on it.
    pub(crate) fn withdraw(&self, lease: Lease<'_>) -> Result<(), StoreError> {
        let brought = fs::read_to_string(&lease.path).unwrap_or_default();
        drop(lease);
        let _alone = self.lock(true)?;
        let brought: BTreeSet<Digest> = brought.lines().filter_map(|l| l.parse().ok()).collect();
        self.remove_unused(brought.into_iter().collect())?;
        Ok(())
    }

    /// Removes those of the blobs that nothing needs. Whoever calls has the lock.
    fn remove_unused(&self, blobs: Vec<Digest>) -> Result<Pruned, StoreError> {
        let mut kept = self.leased();
        for entry in &self.index().manifests {
            // What is broken keeps what can be reached, and is told of by the check.
            let _broken = self.reach(entry, &mut kept, 0);
        }
        // A leased document keeps what it leads to, as far as that is there.
        for digest in kept.clone() {
            if let Ok(document) = self.document(&digest) {
                let entry = Descriptor::new(document.media_type(), digest, 0);
                kept.remove(&digest);
                let _broken = self.reach(&entry, &mut kept, 0);
            }
        }
        let mut pruned = Pruned::default();
        for digest in blobs.into_iter().filter(|digest| !kept.contains(digest)) {
            let path = self.blob_path(&digest);
            let size = fs::metadata(&path).map_or(0, |metadata| metadata.len());
            match fs::remove_file(&path) {
                Ok(()) => {
                    pruned.blobs += 1;
                    pruned.bytes += size;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(StoreError::File { what: "remove", path, source }),
            }
        }
        Ok(pruned)
    }

    /// What those who are alive rely on. The leases of others are removed.
    fn leased(&self) -> BTreeSet<Digest> {
        self.leases.remove_abandoned();
        let texts =
            self.leases.drafts().into_iter().filter_map(|path| fs::read_to_string(path).ok());
        texts
            .flat_map(|text| {
                text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<Digest>>()
            })
            .collect()
    }

    /// Relies on what is written or read from now on, until the lease ends.
    pub(crate) fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let _together = self.lock(false)?;
        let (file, path) = self.leases.draft()?;
        Ok(Lease { store: self, file, path })
    }

    /// Relies on blobs that are only read. Nothing where the store can only be read: nobody removes
    /// any of it then.
    pub(crate) fn hold(
        &self,
        blobs: impl IntoIterator<Item = Digest>,
    ) -> Result<Option<Lease<'_>>, StoreError> {
        let lease = match self.lease() {
            Err(StoreError::File { source, .. })
                if source.kind() == io::ErrorKind::ReadOnlyFilesystem =>
            {
                return Ok(None);
            }
            lease => lease?,
        };
        lease.keep(blobs)?;
        Ok(Some(lease))
    }

    pub(super) fn lock(&self, alone: bool) -> Result<File, StoreError> {
        let path = self.own.path_of("lock");
        let failed = |source| StoreError::File { what: "lock", path: path.clone(), source };
        let file = files::open_lock(&path).map_err(failed)?;
        let locked = if alone { file.lock() } else { file.lock_shared() };
        locked.map_err(failed)?;
        Ok(file)
    }
}

fn has_name(entry: &Descriptor, name: &str) -> bool {
    entry.annotations.get(NAME).is_some_and(|other| other == name)
}

/// How the names were before the last change.
const PREVIOUS: &str = "index.previous.json";

fn check_layout(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layout {
        image_layout_version: String,
    }
    let version = serde_json::from_slice::<Layout>(text).map(|layout| layout.image_layout_version);
    match version {
        Ok(version) if version == "1.0.0" => Ok(()),
        version => Err(StoreError::Layout {
            path: path.to_owned(),
            version: version.unwrap_or_else(|error| error.to_string()),
        }),
    }
}
