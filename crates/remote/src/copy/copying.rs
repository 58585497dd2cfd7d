//! One image on its way: its documents, children before the index that lists them, and with each its blobs.

use anyhow::Context as _;
use cli::{Failure, ImageEvent, Progress};
use layer_format::resolve::INDEX_DEPTH;
use layer_format::{Digest, Document, Error};
use network::RemoteDocuments;
use registry::Repository;

use super::blobs::Blobs;
use super::request::Mode;

/// The digest that a name stands for at the target; none if there is none, or if the registry refuses to say: it may take an
/// image all the same, and says so itself if it doesn't.
pub(super) fn standing(target: &Repository, name: &str) -> anyhow::Result<Option<Digest>> {
    use registry::Error::{NotFound, Refused, Unauthorised};
    match target.manifest_digest(name) {
        Err(
            Unauthorised { .. } | NotFound { .. } | Refused { status: 400..=428 | 430..=499, .. },
        ) => Ok(None),
        asked => Ok(asked?),
    }
}

/// The most manifests and indexes of one image.
const DOCUMENTS_LIMIT: usize = 4096;

/// A copy under way.
pub(super) struct Copying<'a> {
    pub(super) source: &'a Repository,
    pub(super) target: &'a Repository,
    pub(super) blobs: Blobs<'a>,
    pub(super) progress: &'a Progress,
    pub(super) mode: Mode,
    pub(super) n_documents: usize,
}

impl<'a> Copying<'a> {
    /// Begins with nothing copied. The repositories are where it comes from and where it goes.
    pub(super) fn new(
        (source, target): (&'a Repository, &'a Repository),
        blobs: Blobs<'a>,
        progress: &'a Progress,
        mode: Mode,
    ) -> Self {
        Self { source, target, blobs, progress, mode, n_documents: 0 }
    }

    /// Copies what the name stands for, and puts it there.
    pub(super) fn root(&mut self, digest: &Digest, place: &str) -> anyhow::Result<()> {
        let pinned = digest.to_string();
        let (document, _) = self.source.manifest(&pinned)?;
        if pinned == place || !self.may_skip(&pinned)? {
            self.parts(&document, INDEX_DEPTH)?;
        }
        self.put(place, &document)
    }

    /// Copies all that a document needs at the target.
    fn parts(&mut self, document: &Document, depth: usize) -> anyhow::Result<()> {
        let index = match document {
            Document::Manifest(manifest) => return self.blobs.copy(manifest),
            Document::Index(index) => index,
        };
        let below = depth
            .checked_sub(1)
            .ok_or(Error::BeyondLimit { what: "index".to_owned(), reason: "nested too deep" })?;
        for entry in &index.manifests {
            cli::interrupt::check()?;
            let pinned = entry.digest.to_string();
            if self.may_skip(&pinned)? {
                continue;
            }
            self.count()?;
            let raw = RemoteDocuments(self.source).listed(entry).map_err(not_whole)?;
            let child = Document::parse(raw).with_context(|| pinned.clone())?;
            self.parts(&child, below)?;
            self.put(&pinned, &child)?;
        }
        Ok(())
    }

    /// Whether the target has a document, and with it all that belongs to it. A dry run tells of each blob all the same.
    fn may_skip(&self, digest: &str) -> anyhow::Result<bool> {
        Ok(self.mode == Mode::Copy && standing(self.target, digest)?.is_some())
    }

    /// Counts a document.
    ///
    /// # Errors
    /// [`Error::BeyondLimit`] if there are more than any real image has.
    fn count(&mut self) -> Result<(), Error> {
        self.n_documents += 1;
        if self.n_documents > DOCUMENTS_LIMIT {
            let what = "the image".to_owned();
            return Err(Error::BeyondLimit { what, reason: "more manifests than any image has" });
        }
        Ok(())
    }

    /// Puts a document, if this is no dry run.
    fn put(&self, place: &str, document: &Document) -> anyhow::Result<()> {
        cli::interrupt::check()?;
        if self.mode != Mode::Copy {
            return Ok(());
        }
        let media_type = document.descriptor().media_type;
        self.target.put_manifest(place, &media_type, document.raw())?;
        let digest = document.descriptor().digest.to_string();
        let line = format!("Copied: {digest}");
        let event = ImageEvent { name: None, digest, status: "Copied", is_important: false };
        self.progress.image(event, &[&line]);
        Ok(())
    }
}

/// Adds a hint to the error of a manifest that an index lists and that isn't there.
fn not_whole(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<registry::Error>() {
        Some(registry::Error::NotFound { .. }) => {
            let hint =
                "an image of the index is missing there; --platform OS/ARCH copies one that is not";
            Failure::from_cause(error).hint(hint).into()
        }
        _ => error,
    }
}
