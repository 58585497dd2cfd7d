//! Reads a whole archive in one pass, in any order. The caller gets each blob when it comes, and its meaning is found
//! out at the end. Therefore nothing is spooled, and only the preamble is kept in memory.

use std::collections::HashMap;
use std::io::BufRead;

use layer_format::{Codec, Descriptor, Digest, Error, Index, Platform, Reference};

use super::contents::{self, Blobs, Contents};
use super::synthesize::Docker;
use super::{Archive, Member, PREAMBLE_LIMIT, both, kept, read_plain, strict};
use crate::Thin;

/// An archive whose blobs are all passed to the caller.
#[derive(Debug)]
pub struct All {
    archive: Archive,
    /// The contents of `index.json` and the other documents of the preamble, by path.
    preamble: HashMap<Vec<u8>, Vec<u8>>,
    received: HashMap<Vec<u8>, ReadBlob>,
}

/// The entry of `manifest.json` for one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The names of the image.
    pub names: Vec<Reference>,
    /// The digests of the layers whose paths have them.
    pub layers: Vec<Digest>,
}

/// A blob that comes next in the archive.
#[derive(Debug)]
pub struct Incoming {
    /// The digest in the blob's path, which its content must have.
    pub claimed: Option<Digest>,
    /// The size of the blob in bytes.
    pub size: u64,
    path: Vec<u8>,
}

/// A member that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) codec: Codec,
}

impl Archive {
    /// Reads all blobs instead of one image. It must be called before the archive was asked for anything else.
    pub fn all(self) -> All {
        All { archive: self, preamble: HashMap::new(), received: HashMap::new() }
    }
}

impl All {
    /// Whether this is a stream of ours, which must be canonical. This is known after the first blob.
    pub fn is_ours(&self) -> bool {
        self.archive.strict.is_some()
    }

    /// The index in `index.json`; `None` if it wasn't read yet. In a stream of ours, it comes before the first blob.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] and [`Error::BeyondLimit`].
    pub fn index(&self) -> Result<Option<Index>, Error> {
        self.head("index.json").map(Index::parse).transpose()
    }

    /// The entries of `manifest.json`; none if it wasn't read yet. In a stream of ours, it comes before the first blob.
    /// The entries aren't checked against the blobs. An image with several platforms has only one entry.
    ///
    /// # Errors
    /// The list is malformed.
    pub fn outlines(&self) -> Result<Vec<Outline>, Error> {
        let listed =
            self.head("manifest.json").map(|raw| super::docker::parse(&raw)).transpose()?;
        let outline = |image: &super::docker::Listed| Outline {
            names: image.names().collect(),
            layers: image.layers.iter().filter_map(|path| Digest::from_blob_path(path)).collect(),
        };
        Ok(listed.unwrap_or_default().iter().map(outline).collect())
    }

    /// The next member that is or may be a blob; `None` at the end.
    ///
    /// # Errors
    /// The archive can't be read or is malformed. This includes a stream of ours that isn't canonical.
    pub fn next_blob(&mut self) -> Result<Option<Incoming>, Error> {
        while let Some(member) = self.archive.next_member()? {
            if kept::is_head(&member.path) {
                let name = layer_format::layer::escape(&member.path);
                let content = read_plain(&mut self.archive.members, &name, PREAMBLE_LIMIT)?;
                self.note_head(member.path, content)?;
            } else if !is_legacy(&member.path) {
                return self.incoming(member).map(Some);
            }
        }
        Ok(None)
    }

    fn note_head(&mut self, path: Vec<u8>, content: Vec<u8>) -> Result<(), Error> {
        match self.preamble.get(&path) {
            Some(known) if *known != content => Err(kept::differs(&path)),
            _ => {
                self.preamble.insert(path, content);
                Ok(())
            }
        }
    }

    fn incoming(&self, Member { path, size }: Member) -> Result<Incoming, Error> {
        let claimed = std::str::from_utf8(&path).ok().and_then(Digest::from_blob_path);
        if claimed.is_none() && self.is_ours() {
            return Err(strict::malformed());
        }
        Ok(Incoming { claimed, size, path })
    }

    /// The bytes of the blob from [`next_blob`](Self::next_blob). The caller must verify them.
    pub fn content(&mut self) -> impl BufRead {
        &mut self.archive.members
    }

    /// Notes the digest and the codec of a blob that was read.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if there are too many members.
    pub fn received(
        &mut self,
        incoming: Incoming,
        digest: Digest,
        codec: Codec,
    ) -> Result<(), Error> {
        self.archive.kept.remember(&incoming.path)?;
        let size = incoming.size;
        self.received.insert(incoming.path, ReadBlob { digest, size, codec });
        Ok(())
    }

    /// Checks that the archive is whole, and finds its contents. With a platform, only that one of each image is
    /// chosen.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the end is missing; [`Error::NoImage`] or [`Error::RootFileSystem`] if there is no
    /// image; [`Error::NoPlatform`] if no image runs on `platform`; and the errors of malformed archives and of
    /// `blobs`.
    pub fn finish(
        mut self,
        platform: Option<&Platform>,
        blobs: &mut dyn Blobs,
    ) -> Result<Contents, Error> {
        if self.next_blob()?.is_some() {
            let reason = "has blobs that nobody took";
            return Err(Error::Malformed { what: "the archive".to_owned(), reason });
        }
        self.check_not_empty()?;
        if !self.archive.members.is_whole() {
            return Err(Error::Truncated { what: "the archive (no end mark)".to_owned() });
        }
        self.check(blobs)?;
        let thin = self.head("strata.json").map(|raw| Thin::parse(&raw)).transpose()?;
        let listed =
            self.head("manifest.json").map(|raw| super::docker::parse(&raw)).transpose()?;
        let follow = |path: &[u8]| self.archive.kept.follow(path).to_vec();
        let is_ours = self.archive.strict.is_some();
        let docker = |listed| Docker { listed, received: &self.received, follow: &follow };
        if let Some(raw) = self.head("index.json") {
            let entries =
                contents::entries(Index::parse(raw)?.manifests, listed.as_deref(), blobs)?;
            return match &listed {
                // The preamble of a stream of ours was checked against the rest.
                Some(listed) if !is_ours => {
                    both::contents(&docker(listed), entries, thin, platform, blobs)
                }
                _ => Contents::new(thin).gather(entries, platform, blobs),
            };
        }
        let listed = listed.ok_or_else(|| self.archive.no_heads())?;
        docker(&listed).contents(platform, blobs)
    }

    /// Refuses an archive without any member, with the same error as every other reader.
    ///
    /// # Errors
    /// [`Error::NoImage`].
    pub fn check_not_empty(&self) -> Result<(), Error> {
        if self.archive.n_members == 0 { Err(self.archive.no_heads()) } else { Ok(()) }
    }

    fn head(&self, name: &str) -> Option<Vec<u8>> {
        self.preamble.get(name.as_bytes()).cloned()
    }

    /// Checks that a stream of ours is canonical.
    fn check(&self, blobs: &mut dyn Blobs) -> Result<(), Error> {
        let Some(strict) = &self.archive.strict else { return Ok(()) };
        if !self.archive.members.is_clean() {
            return Err(strict::malformed());
        }
        strict.check_heads(&|name| Ok(self.head(name)), &mut |descriptor: &Descriptor| {
            if strict.has(&descriptor.digest) { blobs.document(descriptor) } else { Ok(None) }
        })
    }
}

/// Whether `docker save` wrote the member before images had digests. Nothing refers to such a member.
fn is_legacy(path: &[u8]) -> bool {
    path == b"repositories" || path.ends_with(b"/VERSION") || path.ends_with(b"/json")
}
