//! Image archives: our own streams, and those that docker, podman, skopeo, buildkit, containerd and crane save.
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
//! A regular file is read in place. A member from a pipe is spooled once if it comes before it is known whether it is
//! wanted. An archive is whole if both zero blocks of its end are present, which [`Archive::finish`] checks. A stream
//! of ours must also be canonical to the byte.

mod both;
mod contents;
mod docker;
mod input;
mod kept;
mod oci;
mod read_all;
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
use kept::Kept;
use strict::Strict;

use crate::Thin;

/// The most bytes of `index.json` or `manifest.json`. They have a high limit, because an archive may hold hundreds of
/// images.
const PREAMBLE_LIMIT: u64 = 4 * DOCUMENT_LIMIT;

/// Creates the file in which content waits that comes too early. The file must be unlinked, readable and writable.
pub type Spool = Box<dyn Fn() -> io::Result<File> + Send>;

/// The choice of an image in an archive.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// A name, or the digest of a manifest or an index. It is needed only if the archive has several images.
    pub name: Option<String>,
    /// The platform to choose; this machine's by default.
    pub platform: Option<Platform>,
}

impl Choice {
    fn wanted(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }
}

/// An image of an archive, ready to be read.
#[derive(Clone, Debug)]
pub struct Image {
    /// The names of the image, in the archive's spelling.
    pub names: Vec<String>,
    /// The manifest. An image of a docker-archive has none.
    pub manifest: Option<Manifest>,
    /// The config. Its digest has been checked if the archive states it.
    pub config: Config,
    /// The layers, base first.
    pub layers: Vec<Layer>,
    /// A warning for the user about how the image was found.
    pub doubt: Option<&'static str>,
    /// Whether the archive names the image itself, and not an index that lists it.
    pub is_single: bool,
}

/// A layer of an image in an archive.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The descriptor of the stored bytes, from the manifest; `None` in a docker-archive.
    pub blob: Option<Descriptor>,
    /// The digest of the uncompressed bytes. The caller must check it.
    pub diff_id: DiffId,
    /// The path of the archive's member that holds it.
    path: Vec<u8>,
}

impl Layer {
    /// The digest to show to people: of the stored bytes if it is known, else of the uncompressed bytes.
    pub fn digest(&self) -> Digest {
        self.blob.as_ref().map_or(self.diff_id.0, |blob| blob.digest)
    }

    /// The number of stored bytes, if there is a manifest.
    pub fn size(&self) -> Option<u64> {
        self.blob.as_ref().map(|blob| blob.size)
    }
}

impl From<StoredLayer> for Layer {
    /// A layer that is stored under its digest: in a layout, a store, or the `blobs` of an archive.
    fn from(layer: StoredLayer) -> Self {
        let path = layer.blob.digest.blob_path().into_bytes();
        Self { blob: Some(layer.blob), diff_id: layer.diff_id, path }
    }
}

impl Image {
    /// The name of the layer at index `position` in errors: its number, the number of all layers, and its digest.
    pub fn layer_name(&self, position: usize) -> String {
        let digest = self.layers[position].digest();
        let (algorithm, id) = (digest.algorithm().name(), digest.short());
        format!("layer {} of {} ({algorithm}:{id})", position + 1, self.layers.len())
    }
}

/// The result of an attempt to resolve an image.
enum Step {
    Found(Box<Image>),
    /// This member must be read first.
    Need(Vec<u8>),
    /// The config must be read first. Apart from it, only these members are still wanted.
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

/// An image archive that is open to be read once, from front to back.
#[derive(Debug)]
pub struct Archive {
    members: Reader<Input>,
    kept: Kept,
    strict: Option<Strict>,
    /// The members that are still to be read, and are therefore kept if they come early. The value is the index of the
    /// last layer that each holds.
    wanted: HashMap<Vec<u8>, usize>,
    /// Whether all members are kept, because the image isn't known yet.
    keeps_all: bool,
    is_at_end: bool,
    n_members: u64,
    /// Whether a member lies where a root file system has one.
    is_root_file_system: bool,
    /// A member whose header was read and whose content wasn't.
    pending: Option<Member>,
    unchecked: Option<Unchecked>,
    /// What was found when layers were looked for ahead of their turn, until it is told.
    failed: Option<Error>,
}

/// The layers of an image in a file, each to be read by itself.
#[derive(Debug)]
pub struct Apart(Vec<(kept::Member, Option<Descriptor>)>);

impl Apart {
    /// A reader of a layer's stored bytes, which checks them like [`Archive::layer`].
    ///
    /// # Panics
    /// If the image has no layer at index `position`.
    pub fn layer(&self, position: usize) -> Box<dyn Read + Send> {
        let (member, blob) = &self.0[position];
        let member = member.clone();
        match blob {
            Some(blob) => Box::new(Verified::new(member, "layer", blob.digest, Some(blob.size))),
            None => Box::new(member),
        }
    }
}

/// A member whose content comes next.
#[derive(Debug)]
struct Member {
    path: Vec<u8>,
    size: u64,
}

/// The reason of [`Error::NoImage`] for a tar of something else.
pub const NO_HEADS: &str = "has neither index.json nor manifest.json";

/// The error for what is no tar, such as a page of text.
fn no_tar() -> Error {
    Error::NoImage { what: "the image archive".to_owned(), reason: "isn't a tar archive" }
}

impl Archive {
    /// Opens a stream, for example a pipe. It may be compressed.
    ///
    /// # Errors
    /// [`Error::Io`] if the stream can't be read; [`Error::ForeignCodec`] or [`Error::MalformedCompression`] if it is
    /// in a codec that can't be decompressed.
    pub fn from_reader(reader: impl Read + Send + 'static, spool: Spool) -> Result<Self, Error> {
        let input =
            Input::stream(reader).map_err(|source| Error::io("reading the archive", source))?;
        Ok(Self::new(input, Kept::spooled(spool)))
    }

    /// Opens a file from its current position. It is read in place if that is possible; a compressed file, or one
    /// without random access, is read as a stream.
    ///
    /// # Errors
    /// The errors of [`from_reader`](Self::from_reader).
    pub fn from_file(file: File, spool: Spool) -> Result<Self, Error> {
        let opening = |source| Error::io("reading the archive", source);
        if !input::in_place(&file).map_err(opening)? {
            return Self::from_reader(file, spool);
        }
        let kept = Kept::in_place(file.try_clone().map_err(opening)?);
        Ok(Self::new(Input::file(file), kept))
    }

    fn new(input: Input, kept: Kept) -> Self {
        Self {
            members: Reader::new(input),
            kept,
            strict: None,
            wanted: HashMap::new(),
            keeps_all: true,
            is_at_end: false,
            n_members: 0,
            is_root_file_system: false,
            pending: None,
            unchecked: None,
            failed: None,
        }
    }

    /// Finds the wanted image, and reads as much of the archive as that takes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`] or [`Error::NoPlatform`] if the choice doesn't lead to one image;
    /// [`Error::NoImage`] or [`Error::RootFileSystem`] if the archive has none; [`Error::MissingMember`] if it lacks a
    /// document; and the errors of malformed archives.
    pub fn image(&mut self, choice: &Choice) -> Result<Image, Error> {
        loop {
            match self.resolve(choice)? {
                Step::Found(image) => {
                    let is_known = choice.name.is_some()
                        || self.strict.is_some()
                        || self.is_at_end
                        || self.kept.has(b"manifest.json");
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

    /// A reader of a layer's stored bytes, which may be compressed. It checks them against the manifest's digest and
    /// size, if there is a manifest.
    ///
    /// Layers from a pipe aren't spooled if they are asked for in the archive's order.
    ///
    /// # Errors
    /// The archive can't be read, is malformed, or lacks the layer: [`Error::MissingMember`], [`Error::MissingLayer`]
    /// in a thin docker-archive, or [`Error::LeftOut`] in a thin stream.
    ///
    /// # Panics
    /// If `image` has no layer at index `position`.
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

    /// The layers, each to be read by itself and at any time; `None` if that isn't possible: the archive comes down a pipe, or a layer
    /// can't be reached, which [`layer`](Self::layer) tells. They can be read one after the other as well.
    ///
    /// # Errors
    /// Links in the archive lead in a circle.
    pub fn apart(&mut self, image: &Image) -> Result<Option<Apart>, Error> {
        if !self.kept.is_in_place() {
            return Ok(None);
        }
        self.failed = self.reach(image).err();
        let open = |layer: &Layer| Ok(self.kept.open(&layer.path)?.zip(Some(layer.blob.clone())));
        let members: Result<Option<Vec<_>>, Error> = image.layers.iter().map(open).collect();
        Ok(members?.map(Apart))
    }

    /// Passes members until all layers are kept.
    fn reach(&mut self, image: &Image) -> Result<(), Error> {
        while image.layers.iter().any(|layer| !self.kept.has(&layer.path)) {
            let Some(member) = self.next_member()? else { break };
            // What is cut off is told by who reads it.
            if !self.members.inner_mut().holds(member.size)? {
                self.pending = Some(member);
                break;
            }
            self.pass(&member)?;
        }
        Ok(())
    }

    /// Reads the rest of the archive and checks that the archive is whole.
    ///
    /// # Errors
    /// [`Error::Truncated`] if the end is missing; [`Error::Ambiguous`] if a late `manifest.json` names another image;
    /// and the errors of malformed archives. A stream of ours is malformed if it isn't canonical.
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
            unchecked.check(&self.kept)?;
        }
        match self.strict.take() {
            Some(_) if !self.members.is_clean() => Err(strict::malformed()),
            Some(strict) => strict::check_preamble(&strict, &self.kept),
            None => Ok(()),
        }
    }

    /// From now on, keeps only the layers of `image` if they come early. In a docker-archive, other members are kept,
    /// too: a layer may be a link to any of them, and the link may come last. Members that are linked have the same
    /// diff id.
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

    /// From now on, keeps only these members if they come early.
    fn want_only(&mut self, paths: impl Iterator<Item = Vec<u8>>) {
        self.keeps_all = false;
        self.wanted = paths.enumerate().map(|(position, path)| (path, position)).collect();
    }

    fn resolve(&mut self, choice: &Choice) -> Result<Step, Error> {
        if self.n_members > 0 && self.strict.is_none() && !self.is_at_end {
            // Both lists count, and the rest of a file can be read cheaply. In a pipe, they normally follow one
            // another.
            if self.kept.is_in_place() {
                return Ok(Step::Need(Vec::new()));
            }
            if !self.kept.has(b"manifest.json") {
                self.read_heads()?;
            }
        }
        if let Some(raw) = self.kept.read(b"index.json", "index.json", PREAMBLE_LIMIT)? {
            let listed = self.kept.read(b"manifest.json", "manifest.json", PREAMBLE_LIMIT)?;
            return match listed.filter(|_| self.strict.is_none()) {
                None => oci::resolve(&self.kept, &raw, None, choice, self.is_at_end),
                Some(listed) => {
                    let listed = docker::parse(&listed)?;
                    both::resolve(&self.kept, &raw, &listed, choice, self.is_at_end)
                }
            };
        }
        if let Some(raw) = self.kept.read(b"manifest.json", "manifest.json", PREAMBLE_LIMIT)? {
            let images = docker::parse(&raw)?;
            if self.is_at_end || !docker::is_beside_oci(&images) {
                return docker::resolve(&self.kept, &images, choice, self.is_at_end);
            }
            return Ok(Step::Need(b"index.json".to_vec()));
        }
        if self.is_at_end { Err(self.no_heads()) } else { Ok(Step::Need(Vec::new())) }
    }

    /// An error of the members, unless the first one's header is wrong: then this was never a tar.
    fn blame(&self, error: Error) -> Error {
        let is_first = self.n_members == 0;
        match &error {
            Error::Truncated { what } if is_first && what == "a tar header" => no_tar(),
            Error::MalformedHeader { .. } if is_first => no_tar(),
            _ => error,
        }
    }

    /// The error for an archive without a preamble.
    fn no_heads(&self) -> Error {
        let reason = match self.n_members {
            0 => "is empty",
            _ if self.is_root_file_system => return Error::RootFileSystem,
            _ => NO_HEADS,
        };
        Error::NoImage { what: "the image archive".to_owned(), reason }
    }

    /// Reads the documents of the preamble that come next, if there are any.
    fn read_heads(&mut self) -> Result<(), Error> {
        while let Some(member) = self.next_member()? {
            if !kept::is_head(&member.path) {
                self.pending = Some(member);
                break;
            }
            self.pass(&member)?;
        }
        Ok(())
    }

    /// Reads members until `path` is kept, or until `index.json` or `manifest.json` comes for the first time. The image
    /// is resolved anew after each of these stops, so an archive must not be able to cause thousands of them.
    fn advance_to(&mut self, path: &[u8]) -> Result<(), Error> {
        while let Some(member) = self.next_member()? {
            let is_head = matches!(&member.path[..], b"index.json" | b"manifest.json");
            let is_news = is_head && !self.kept.has(&member.path);
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
            if let Some(section) = self.kept.open(path)? {
                return Ok(Box::new(section));
            }
            if self.is_at_end {
                // A link of a docker-archive may lead nowhere although its content is in the archive
                // (containerd#12890).
                let is_link = self.kept.follow(path) != path;
                let by_content = is_link.then(|| self.kept.holding(&layer.diff_id));
                return match by_content.transpose()?.flatten() {
                    Some(section) => Ok(Box::new(section)),
                    None => Err(self.missing(image, position)),
                };
            }
            // Links may have come before the end, so they are looked for again.
            let Some(member) = self.next_member()? else { continue };
            if member.path == path && is_last_use {
                self.wanted.remove(path);
                return Ok(Box::new(&mut self.members));
            }
            self.pass(&member)?;
        }
    }

    /// The next regular file; `None` at the end. Links on the way are noted, and other members are ignored.
    fn next_member(&mut self) -> Result<Option<Member>, Error> {
        if let Some(member) = self.pending.take() {
            return Ok(Some(member));
        }
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        while !self.is_at_end {
            let change = self.members.read_change();
            let Some(change) = change.map_err(|error| self.blame(error))? else {
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
                self.kept.remember(&path)?;
            }
            match entry.kind {
                EntryKind::File { .. } => return Ok(Some(Member { path, size })),
                EntryKind::Symlink { target } => {
                    self.kept.link(path, kept::beside(&entry.path, &target))?;
                }
                EntryKind::Hardlink { target } => {
                    self.kept.link(path, Some(target.as_bytes().to_vec()))?;
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Passes over a member. It is kept if it is or may be wanted. Otherwise, it is checked if the stream is ours.
    fn pass(&mut self, member: &Member) -> Result<(), Error> {
        let is_head = kept::is_head(&member.path);
        let keep = if is_head { Kept::keep_head } else { Kept::keep };
        let is_document = self.strict.as_ref().is_some_and(|strict| strict.wants(&member.path));
        if self.keeps_all || is_head || is_document || self.wanted.contains_key(&member.path) {
            keep(&mut self.kept, &member.path, member.size, &mut self.members)?;
            if let Some(strict) = &mut self.strict {
                strict.note(&member.path, &mut self.kept)?;
            }
            return Ok(());
        }
        match (&self.strict, self.kept.is_in_place()) {
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
        let what = self.kept.name_of_missing(&layer.path);
        match self.kept.read(b"strata.json", "strata.json", PREAMBLE_LIMIT) {
            Ok(None) => {}
            Ok(Some(raw)) => {
                let layers = image.layers.iter().map(Layer::digest);
                let documents_only = Thin::parse(&raw).is_ok_and(|it| it.is_documents_only(layers));
                return Error::LeftOut { what, documents_only };
            }
            Err(error) => return error,
        }
        let name = image.names.first();
        let image = name.map(|name| layer_format::layer::escape_short(name.as_bytes()));
        Error::MissingMember { what, image }
    }
}

/// Whether a member lies where a root file system has something and an image archive has nothing.
fn is_of_root_file_system(path: &[u8]) -> bool {
    let first = path.split(|&byte| byte == b'/').next();
    matches!(first, Some(b"etc" | b"usr" | b"bin" | b"sbin" | b"lib" | b"var"))
}

/// Reads the content of `reader` and decompresses it, because some producers compress documents.
fn read_plain(reader: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let decoder = Decoder::new(io::BufReader::new(reader))
        .map_err(|source| Error::io("reading a document", source))?;
    layer_format::read_document(decoder, what, limit)
}
