//! `remote copy`: an image from one name to another.
//!
//! ```text
//! document ── is it there? ── yes ──────────────────────────────────────► put under its name, if that is another one
//!                 └ no ──► what it lists, each in the same way
//!                          its blobs: mounted, or there already, or sent as they come (content.rs)
//!                                     └──► put
//! ```
//!
//! Within a registry blobs are mounted from the source's repository and none comes here. Memory holds one document of each
//! depth, and a few pieces of one blob.

mod blobs;
mod content;
mod request;

use std::io::Write as _;

use anyhow::Context as _;
use cli::{Failure, ImageEvent, Io, Progress};
use layer_format::resolve::INDEX_DEPTH;
use layer_format::{Digest, Document, Error};
use network::RemoteDocuments;
use registry::{Client, Repository};
use store::Store;

use crate::resolve;
use blobs::Blobs;
pub(crate) use request::{Mode, Request};

/// Copies an image; prints its new name and its digest, which stays the same.
pub(crate) fn copy(
    request: Request<'_>,
    store: Option<&Store>,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Request { image, name, platform, mode } = request;
    let source = client.repository(image)?;
    let target = client.repository(name)?.without_mirrors();
    let digest = resolve::digest(image, &source, platform)?;
    if let Some(pinned) = name.digest().filter(|pinned| **pinned != digest) {
        let text = format!("{name}: the image's digest is {digest}, not {pinned}");
        return Err(cli::usage(text).into());
    }
    let place = name.tag().map_or_else(|| name.wanted(), str::to_owned);
    let progress = io.progress.clone();
    let mut copying = Copying {
        source: &source,
        target: &target,
        blobs: Blobs::new(request, &source, &target, store, &progress),
        progress: &progress,
        mode,
        n_documents: 0,
    };
    let is_there = standing(&target, &place)? == Some(digest);
    if !is_there || mode != Mode::Copy {
        copying.root(&digest, &place).map_err(|error| resolve::named(error, image))?;
    }
    let plan = copying.blobs.plan();
    if let Mode::DryRun { is_json } = mode {
        return Ok(io.tell_plan(plan, is_json)?);
    }
    progress.say(if is_there { format!("{name}: there already") } else { plan.summary() });
    let event = ImageEvent {
        name: Some(name.full()),
        digest: digest.to_string(),
        status: "Copied",
        is_important: false,
    };
    progress.image(event, &[]);
    writeln!(io.output, "{}", name.at(digest))?;
    Ok(io.output.flush()?)
}

/// The digest that a name stands for at the target; none if there is none, or if the registry refuses to say: it may take an
/// image all the same, and says so itself if it doesn't.
fn standing(target: &Repository, name: &str) -> anyhow::Result<Option<Digest>> {
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
struct Copying<'a> {
    source: &'a Repository,
    target: &'a Repository,
    blobs: Blobs<'a>,
    progress: &'a Progress,
    mode: Mode,
    n_documents: usize,
}

impl Copying<'_> {
    /// Copies what the name stands for, and puts it there.
    fn root(&mut self, digest: &Digest, place: &str) -> anyhow::Result<()> {
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
