//! Image archives, whoever wrote them: our own streams, and what docker, podman, skopeo, buildkit, containerd and crane
//! save.
//!
//! | written by | layers | described by | order |
//! |---|---|---|---|
//! | us, regctl | `blobs/sha256/…` | `index.json`, `manifest.json` | descriptions first |
//! | docker >= 25, buildkit, containerd | `blobs/sha256/…` | `index.json`, mostly `manifest.json` | blobs first |
//! | skopeo and podman, oci-archive | `blobs/sha256/…` | `index.json` | any |
//! | skopeo and podman, docker-archive | `<diff id>.tar` | `manifest.json` | last |
//! | docker <= 24 | `<id>/layer.tar`, some of them symbolic links | `manifest.json` | last |
//! | crane | `<digest>.tar.gz` | `manifest.json` | last |
//!
//! A regular file is read in place. From a pipe, what comes before it is known to be wanted waits in a spool, once. An
//! archive is whole when both zero blocks of its end were there, which [`Archive::finish`] checks; one of ours must be
//! canonical to the byte besides.

mod both;
mod contents;
mod docker;
mod input;
mod oci;
mod read_all;
mod shelf;
mod strict;
mod synthesize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use layer_format::layer::{Change, EntryKind, Reader};
use layer_format::resolve::Layer as StoredLayer;
use layer_format::{
    Config, DOCUMENT_LIMIT, Decoder, Descriptor, DiffId, Digest, Error, Manifest, Platform,
    Verified,
};

pub use contents::{Blobs, Contents, LeftOut, LoadedImage, Part};
pub use read_all::{All, Incoming, Outline};

use both::Unchecked;
use input::Input;
use shelf::Shelf;
use strict::Strict;

/// The most bytes that `index.json` or `manifest.json` may have: archives may hold hundreds of images.
const HEADS_LIMIT: u64 = 4 * DOCUMENT_LIMIT;

/// Makes the file in which content waits that comes too early: unlinked, readable and writable.
pub type Spool = Box<dyn Fn() -> io::Result<File> + Send>;

/// Which image of an archive is meant.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// A name, or a manifest's or index's digest; needed only where an archive has several images.
    pub name: Option<String>,
    /// For which machine; without it this one's.
    pub platform: Option<Platform>,
}

impl Choice {
    fn wanted(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }
}

/// One image of an archive, ready to be read.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its names, as the archive has them.
    pub names: Vec<String>,
    /// Its manifest; a docker-archive has none.
    pub manifest: Option<Manifest>,
    /// Its config, whose digest has been checked where anything told it.
    pub config: Config,
    /// Its layers, base first.
    pub layers: Vec<Layer>,
    /// What its user should know about how it was found.
    pub doubt: Option<&'static str>,
    /// Whether it was named itself, and not an index that lists it.
    pub is_single: bool,
}

/// One layer of an image in an archive.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What the manifest says of the stored bytes; nothing in a docker-archive.
    pub blob: Option<Descriptor>,
    /// The digest of the uncompressed bytes, for the caller to check.
    pub diff_id: DiffId,
    /// The archive's member that holds it.
    path: Vec<u8>,
}

impl Layer {
    /// The digest that people know it by: of the stored bytes, or of the uncompressed ones where nothing tells the other.
    pub fn digest(&self) -> Digest {
        self.blob.as_ref().map_or(self.diff_id.0, |blob| blob.digest)
    }

    /// How many bytes are stored, where the manifest tells.
    pub fn size(&self) -> Option<u64> {
        self.blob.as_ref().map(|blob| blob.size)
    }
}

impl From<StoredLayer> for Layer {
    /// A layer that is kept under its digest: in a layout, a store, or the `blobs` of an archive.
    fn from(layer: StoredLayer) -> Self {
        let path = layer.blob.digest.blob_path().into_bytes();
        Self { blob: Some(layer.blob), diff_id: layer.diff_id, path }
    }
}

impl Image {
    /// Names a layer in an error: which of how many, and its digest.
    pub fn layer_name(&self, position: usize) -> String {
        let digest = self.layers[position].digest();
        let (algorithm, id) = (digest.algorithm().name(), digest.short());
        format!("layer {} of {} ({algorithm}:{id})", position + 1, self.layers.len())
    }
}

/// What resolving an image came to.
enum Step {
    Found(Box<Image>),
    /// This member must come first.
    Need(Vec<u8>),
    /// The config must come first; of all else, only these members are still wanted.
    NeedConfig {
        path: Vec<u8>,
        layers: Vec<Vec<u8>>,
    },
}

impl Step {
    fn doubted(mut self, doubt: &'static str) -> Self {
        if let Self::Found(image) = &mut self {
            image.doubt = Some(doubt);
        }
        self
    }
}

/// An image archive, open for reading once from front to back.
#[derive(Debug)]
pub struct Archive {
    members: Reader<Input>,
    shelf: Shelf,
    strict: Option<Strict>,
    /// Members that are still to be read, and so to be kept when they come early: by the last layer that each holds.
    wanted: HashMap<Vec<u8>, usize>,
    /// Until the image is known, everything may turn out to be wanted.
    keeps_all: bool,
    is_at_end: bool,
    n_members: u64,
    /// Whether a member has a place that a root file system has.
    is_root_file_system: bool,
    /// A member that was looked at and not passed yet.
    pending: Option<Member>,
    unchecked: Option<Unchecked>,
}

/// A member whose content comes next.
#[derive(Debug)]
struct Member {
    path: Vec<u8>,
    size: u64,
}

impl Archive {
    /// Opens what a pipe or the like gives, compressed or not.
    pub fn from_reader(reader: impl Read + Send + 'static, spool: Spool) -> Result<Self, Error> {
        let input =
            Input::stream(reader).map_err(|source| Error::io("reading the archive", source))?;
        Ok(Self::new(input, Shelf::spooled(spool)))
    }

    /// Opens a file: in place, from its current position, or as a stream if it is compressed or can't be seeked in.
    pub fn from_file(file: File, spool: Spool) -> Result<Self, Error> {
        let opening = |source| Error::io("reading the archive", source);
        if !input::in_place(&file).map_err(opening)? {
            return Self::from_reader(file, spool);
        }
        let shelf = Shelf::in_place(file.try_clone().map_err(opening)?);
        Ok(Self::new(Input::file(file), shelf))
    }

    fn new(input: Input, shelf: Shelf) -> Self {
        Self {
            members: Reader::new(input),
            shelf,
            strict: None,
            wanted: HashMap::new(),
            keeps_all: true,
            is_at_end: false,
            n_members: 0,
            is_root_file_system: false,
            pending: None,
            unchecked: None,
        }
    }

    /// Finds the image that is meant, reading as far as it takes.
    pub fn image(&mut self, choice: &Choice) -> Result<Image, Error> {
        loop {
            match self.resolve(choice)? {
                Step::Found(image) => {
                    let is_known = choice.name.is_some()
                        || self.strict.is_some()
                        || self.is_at_end
                        || self.shelf.has(b"manifest.json");
                    self.unchecked = (!is_known).then(|| Unchecked::of(&image));
                    self.want(&image);
                    return Ok(*image);
                }
                Step::NeedConfig { path, layers } => {
                    self.want_only(layers.into_iter().chain([path.clone()]));
                    self.advance_to(&path)?;
                }
                Step::Need(path) => self.advance_to(&path)?,
            }
        }
    }

    /// The stored bytes of a layer, still compressed. At their end they have been checked against the manifest's digest
    /// and size, where there is a manifest.
    ///
    /// From a pipe, layers come without waiting in the spool if they are asked for in the archive's order.
    pub fn layer<'a>(
        &'a mut self,
        image: &Image,
        position: usize,
    ) -> Result<Box<dyn Read + 'a>, Error> {
        let layer = &image.layers[position];
        let is_last_use = self.wanted.get(&layer.path) == Some(&position);
        let content = self.content(image, position, is_last_use)?;
        Ok(match &layer.blob {
            Some(blob) => Box::new(Verified::new(content, "layer", blob.digest, Some(blob.size))),
            None => content,
        })
    }

    /// Reads to the end and checks that the archive is whole.
    pub fn finish(mut self) -> Result<(), Error> {
        self.wanted.clear();
        self.keeps_all = false;
        while let Some(member) = self.next_member()? {
            self.pass(&member)?;
        }
        if !self.members.is_whole() {
            return Err(Error::Truncated { what: "the archive (no end mark)".to_owned() });
        }
        if let Some(unchecked) = self.unchecked.take() {
            unchecked.check(&self.shelf)?;
        }
        match self.strict.take() {
            Some(_) if !self.members.is_clean() => Err(strict::malformed()),
            Some(strict) => strict::check_shelf(&strict, &self.shelf),
            None => Ok(()),
        }
    }

    /// From now on only the layers of `image` are kept when they come early. In a docker-archive other members are kept
    /// as well: a layer may be a link to any of them, and the link may come last. What is linked has one diff id.
    fn want(&mut self, image: &Image) {
        let layers = || image.layers.iter().enumerate();
        self.want_only(layers().map(|(_, layer)| layer.path.clone()));
        if image.manifest.is_none() {
            let last: HashMap<_, _> = layers().map(|(at, layer)| (layer.diff_id.0, at)).collect();
            let use_of = |(_, layer): (_, &Layer)| (layer.path.clone(), last[&layer.diff_id.0]);
            self.wanted = layers().map(use_of).collect();
            self.keeps_all = true;
        }
    }

    /// From now on only these are kept when they come early.
    fn want_only(&mut self, paths: impl Iterator<Item = Vec<u8>>) {
        self.keeps_all = false;
        self.wanted = paths.enumerate().map(|(position, path)| (path, position)).collect();
    }

    fn resolve(&mut self, choice: &Choice) -> Result<Step, Error> {
        if self.n_members > 0 && self.strict.is_none() && !self.is_at_end {
            // Both heads count, and reading on costs nothing in a file. From a pipe they mostly stand side by side.
            if self.shelf.is_in_place() {
                return Ok(Step::Need(Vec::new()));
            }
            if self.shelf.has(b"index.json") && !self.shelf.has(b"manifest.json") {
                self.read_heads()?;
            }
        }
        if let Some(raw) = self.shelf.read(b"index.json", "index.json", HEADS_LIMIT)? {
            let listed = self.shelf.read(b"manifest.json", "manifest.json", HEADS_LIMIT)?;
            return match listed.filter(|_| self.strict.is_none()) {
                None => oci::resolve(&self.shelf, &raw, None, choice, self.is_at_end),
                Some(listed) => {
                    let listed = docker::parse(&listed)?;
                    both::resolve(&self.shelf, &raw, &listed, choice, self.is_at_end)
                }
            };
        }
        if let Some(raw) = self.shelf.read(b"manifest.json", "manifest.json", HEADS_LIMIT)? {
            let images = docker::parse(&raw)?;
            if self.is_at_end || !docker::is_beside_oci(&images) {
                return docker::resolve(&self.shelf, &images, choice, self.is_at_end);
            }
            return Ok(Step::Need(b"index.json".to_vec()));
        }
        if self.is_at_end { Err(self.no_heads()) } else { Ok(Step::Need(Vec::new())) }
    }

    /// The error for an archive that doesn't say what is in it.
    fn no_heads(&self) -> Error {
        let reason = match self.n_members {
            0 => "is empty",
            _ if self.is_root_file_system => return Error::RootFileSystem,
            _ => "has neither index.json nor manifest.json",
        };
        Error::NoImage { what: "the image archive".to_owned(), reason }
    }

    /// Reads the heads that come next, if any do.
    fn read_heads(&mut self) -> Result<(), Error> {
        while let Some(member) = self.next_member()? {
            if !shelf::is_head(&member.path) {
                self.pending = Some(member);
                break;
            }
            self.pass(&member)?;
        }
        Ok(())
    }

    /// Reads members until `path` is on the shelf, or one of the documents that every archive has comes for the first
    /// time: what is resolved anew at each of them must not be what an archive can have thousands of.
    fn advance_to(&mut self, path: &[u8]) -> Result<(), Error> {
        while let Some(member) = self.next_member()? {
            let is_head = matches!(&member.path[..], b"index.json" | b"manifest.json");
            let is_news = is_head && !self.shelf.has(&member.path);
            self.pass(&member)?;
            if member.path == path || is_news {
                return Ok(());
            }
        }
        Ok(())
    }

    fn content(
        &mut self,
        image: &Image,
        position: usize,
        is_last_use: bool,
    ) -> Result<Box<dyn Read + '_>, Error> {
        let layer = &image.layers[position];
        let path = &layer.path[..];
        loop {
            if let Some(section) = self.shelf.open(path)? {
                return Ok(Box::new(section));
            }
            if self.is_at_end {
                // A link of a docker-archive may lead nowhere, and what it means may be there (containerd#12890).
                let is_link = self.shelf.follow(path) != path;
                let by_content = is_link.then(|| self.shelf.holding(&layer.diff_id));
                return match by_content.transpose()?.flatten() {
                    Some(section) => Ok(Box::new(section)),
                    None => Err(self.missing(image, position)),
                };
            }
            // At the end, links may have come on the way.
            let Some(member) = self.next_member()? else { continue };
            if member.path == path && is_last_use {
                self.wanted.remove(path);
                return Ok(Box::new(&mut self.members));
            }
            self.pass(&member)?;
        }
    }

    /// The next regular file; links are noted on the way, other things don't matter. `None` at the end.
    fn next_member(&mut self) -> Result<Option<Member>, Error> {
        if let Some(member) = self.pending.take() {
            return Ok(Some(member));
        }
        while !self.is_at_end {
            let Some(change) = self.members.read_change()? else {
                self.is_at_end = true;
                break;
            };
            self.n_members += 1;
            let Change::Add(entry) = change else { continue };
            let path = entry.path.as_bytes().to_vec();
            let size = entry.kind.content_size();
            self.is_root_file_system |= is_of_root_file_system(&path);
            if self.n_members == 1 && strict::is_ours(self.members.header()) {
                self.strict = Some(Strict::default());
            }
            if let Some(strict) = &mut self.strict {
                let header = self.members.header();
                match entry.kind {
                    EntryKind::Directory => strict.see_directory(&path, header)?,
                    _ => strict.see_file(&path, size, header)?,
                }
                self.shelf.remember(&path)?;
            }
            match entry.kind {
                EntryKind::File { .. } => return Ok(Some(Member { path, size })),
                EntryKind::Symlink { target } => {
                    self.shelf.link(path, shelf::beside(&entry.path, &target))?;
                }
                EntryKind::Hardlink { target } => {
                    self.shelf.link(path, Some(target.as_bytes().to_vec()))?;
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Leaves a member behind: kept if it is or may be wanted, else checked if the stream is ours.
    fn pass(&mut self, member: &Member) -> Result<(), Error> {
        let is_head = shelf::is_head(&member.path);
        let keep = if is_head { Shelf::keep_head } else { Shelf::keep };
        let is_document = self.strict.as_ref().is_some_and(|strict| strict.wants(&member.path));
        if self.keeps_all || is_head || is_document || self.wanted.contains_key(&member.path) {
            keep(&mut self.shelf, &member.path, member.size, &mut self.members)?;
            if let Some(strict) = &mut self.strict {
                strict.note(&member.path, &mut self.shelf)?;
            }
            return Ok(());
        }
        match (&self.strict, self.shelf.is_in_place()) {
            (Some(_), _) => strict::check_blob(member, &mut self.members),
            (None, true) => self.members.skip_with(Input::skip),
            (None, false) => Ok(()),
        }
    }

    fn missing(&self, image: &Image, position: usize) -> Error {
        let layer = &image.layers[position];
        if layer.path.is_empty() {
            let diff_id = Box::new(layer.diff_id);
            return Error::MissingLayer { position: position + 1, diff_id };
        }
        let what = self.shelf.name_of_missing(&layer.path);
        if self.shelf.has(b"strata.json") {
            return Error::NotFound {
                what: format!("{what} (a thin stream leaves out what its base has)"),
            };
        }
        let name = image.names.first();
        let image = name.map(|name| layer_format::layer::escape_short(name.as_bytes()));
        Error::MissingMember { what, image }
    }
}

/// Whether a member lies where a root file system has something, and no image archive.
fn is_of_root_file_system(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').next();
    matches!(first, Some(b"etc" | b"usr" | b"bin" | b"sbin" | b"lib" | b"var"))
}

/// Reads what `reader` holds whatever its codec, for documents that some producers compress.
fn read_plain(reader: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let decoder = Decoder::new(io::BufReader::new(reader))
        .map_err(|source| Error::io("reading a document", source))?;
    layer_format::read_document(decoder, what, limit)
}
