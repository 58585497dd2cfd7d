//! Reads all that is in an archive, in one pass, whatever its order: its blobs go to the caller as they come, and what
//! they are is found out at the end. So nothing is spooled, and only the heads are kept in memory.

use std::collections::HashMap;
use std::io::BufRead;

use layer_format::{Codec, Descriptor, Digest, Error, Index, Platform, Reference};

use super::contents::{self, Blobs, Contents};
use super::synthesize::Docker;
use super::{Archive, HEADS_LIMIT, Member, both, read_plain, shelf, strict};
use crate::Thin;

/// An archive whose blobs are all taken in.
#[derive(Debug)]
pub struct All {
    archive: Archive,
    /// `index.json` and the like.
    heads: HashMap<Vec<u8>, Vec<u8>>,
    came: HashMap<Vec<u8>, ReadBlob>,
}

/// What `manifest.json` says of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its names.
    pub names: Vec<Reference>,
    /// Its layers, as far as the archive names them by digest.
    pub layers: Vec<Digest>,
}

/// A blob that is next to be taken in.
#[derive(Debug)]
pub struct Incoming {
    /// The digest that it must have, because it is named for it.
    pub claimed: Option<Digest>,
    /// How many bytes it has.
    pub size: u64,
    path: Vec<u8>,
}

/// A member that was taken in.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBlob {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) codec: Codec,
}

impl Archive {
    /// Reads everything instead of one image; before anything else was asked for.
    pub fn all(self) -> All {
        All { archive: self, heads: HashMap::new(), came: HashMap::new() }
    }
}

impl All {
    /// Whether the stream is one of ours, in which nothing may be other than we write it. Known after the first blob.
    pub fn is_ours(&self) -> bool {
        self.archive.strict.is_some()
    }

    /// `index.json`, once it has come; in a stream of ours, before the first blob.
    pub fn index(&self) -> Result<Option<Index>, Error> {
        self.head("index.json").map(Index::parse).transpose()
    }

    /// What `manifest.json` says, once it has come; in a stream of ours, before the first blob. Nobody has checked it: of an
    /// image with several platforms it has one only.
    pub fn outlines(&self) -> Result<Vec<Outline>, Error> {
        let listed =
            self.head("manifest.json").map(|raw| super::docker::parse(&raw)).transpose()?;
        let outline = |image: &super::docker::Listed| Outline {
            names: image.names().collect(),
            layers: image.layers.iter().filter_map(|path| Digest::from_blob_path(path)).collect(),
        };
        Ok(listed.unwrap_or_default().iter().map(outline).collect())
    }

    /// The next blob, or whatever may turn out to be one. `None` at the end.
    pub fn next_blob(&mut self) -> Result<Option<Incoming>, Error> {
        while let Some(member) = self.archive.next_member()? {
            if shelf::is_head(&member.path) {
                let name = layer_format::layer::escape(&member.path);
                let content = read_plain(&mut self.archive.members, &name, HEADS_LIMIT)?;
                self.note_head(member.path, content)?;
            } else if !is_legacy(&member.path) {
                return self.incoming(member).map(Some);
            }
        }
        Ok(None)
    }

    fn note_head(&mut self, path: Vec<u8>, content: Vec<u8>) -> Result<(), Error> {
        match self.heads.get(&path) {
            Some(known) if *known != content => Err(shelf::differs(&path)),
            _ => {
                self.heads.insert(path, content);
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

    /// The bytes of the blob that [`next_blob`](Self::next_blob) gave; they are for the caller to verify.
    pub fn content(&mut self) -> impl BufRead {
        &mut self.archive.members
    }

    /// Notes what a blob turned out to be.
    ///
    /// # Errors
    /// When there are more members than anyone needs.
    pub fn came(&mut self, incoming: Incoming, digest: Digest, codec: Codec) -> Result<(), Error> {
        self.archive.shelf.remember(&incoming.path)?;
        let size = incoming.size;
        self.came.insert(incoming.path, ReadBlob { digest, size, codec });
        Ok(())
    }

    /// Checks that the archive was whole, and finds out what is in it. With a platform, of each image that one only.
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
        let follow = |path: &[u8]| self.archive.shelf.follow(path).to_vec();
        let is_ours = self.archive.strict.is_some();
        let docker = |listed| Docker { listed, came: &self.came, follow: &follow };
        if let Some(raw) = self.head("index.json") {
            let entries =
                contents::entries(Index::parse(raw)?.manifests, listed.as_deref(), blobs)?;
            return match &listed {
                // Our own heads have been found to agree.
                Some(listed) if !is_ours => {
                    both::contents(&docker(listed), entries, thin, platform, blobs)
                }
                _ => Contents::new(thin).gather(entries, platform, blobs),
            };
        }
        let listed = listed.ok_or_else(|| self.archive.no_heads())?;
        docker(&listed).contents(platform, blobs)
    }

    /// Refuses an archive of which nothing came, in the words that every reader has for it.
    ///
    /// # Errors
    /// [`Error::NoImage`].
    pub fn check_not_empty(&self) -> Result<(), Error> {
        if self.archive.n_members == 0 { Err(self.archive.no_heads()) } else { Ok(()) }
    }

    fn head(&self, name: &str) -> Option<Vec<u8>> {
        self.heads.get(name.as_bytes()).cloned()
    }

    /// A stream of ours must be canonical.
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

/// What `docker save` wrote before images were known by digests. Nothing refers to it.
fn is_legacy(path: &[u8]) -> bool {
    path == b"repositories" || path.ends_with(b"/VERSION") || path.ends_with(b"/json")
}
