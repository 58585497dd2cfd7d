//! Where the new image goes: into the store, and from there down the stream if that is asked for; or only down the stream.

use std::fs::File;
use std::io::Write as _;

use anyhow::Context as _;
use cli::{Explain as _, ImageEvent, Io};
use image::{Choice, Input, Location, Opened, Platforms, StoredImage};
use layer_format::listing::Tree;
use layer_format::{Algorithm, Descriptor, Digest, Hashing, Index, Manifest, Reference};
use store::{IndexEntry, Lease, Pair, Store};

use crate::Args;
use crate::base::{self, Base};
use crate::layer::{InStore, Kept, Taken};
use crate::plan::Documents;
use crate::stream::Outgoing;

/// Where a new image goes, which is also where the image below it is looked for.
pub(crate) trait Destination {
    /// Where the layer's stored bytes are until the image is whole.
    type Kept: Kept;

    /// Finds the image below the new layer.
    ///
    /// # Errors
    /// Wrong usage, if `text` names none that could be there; those of reading it.
    fn find_base(&mut self, text: &str, io: &mut Io<'_>) -> anyhow::Result<Base>;

    /// Begins to keep the new layer.
    fn begin_layer(&self) -> anyhow::Result<Self::Kept>;

    /// The store that gets the layer's listing.
    fn store(&self) -> Option<&Store>;

    /// Checks that the layer can be unpacked on its base.
    fn check(&mut self, taken: &Taken<Self::Kept>, base: &Base, io: &Io<'_>) -> anyhow::Result<()>;

    /// Brings the whole image there.
    fn finish(self, image: NewImage<Self::Kept>, io: &mut Io<'_>) -> anyhow::Result<()>;
}

/// An image that is complete and has no name yet.
pub(crate) struct NewImage<K> {
    pub(crate) taken: Taken<K>,
    /// The new layer.
    pub(crate) layer: Descriptor,
    pub(crate) documents: Documents,
}

/// The store.
pub(crate) struct ToStore<'a> {
    args: &'a Args,
    lease: Lease,
}

/// The stream alone.
pub(crate) struct ToStream<'a> {
    args: &'a Args,
    /// The base; `None` for scratch.
    below: Option<Opened>,
}

impl<'a> ToStore<'a> {
    /// Opens the store.
    pub(crate) fn open(args: &'a Args) -> anyhow::Result<Self> {
        let path = Store::path_or_usual(args.common.store.as_deref())?;
        let opened = Store::open(path).and_then(|store| store.lease());
        Ok(Self { args, lease: opened.hinted(store::Error::hint)? })
    }

    /// Puts the layer into the store, unless the store has it.
    fn keep(&self, taken: Taken<InStore>, layer: &Descriptor) -> anyhow::Result<()> {
        if !self.lease.has(&layer.digest, layer.size)? {
            taken.kept.0.commit()?;
        }
        Pair::new(layer.digest, taken.diff_id).remember(self.store());
        taken.changes.keep(&taken.diff_id);
        taken.task.done("Committed");
        Ok(())
    }

    /// Finds the images of an index.
    ///
    /// # Errors
    /// Wrong usage, if `text` names one image; the store's.
    pub(crate) fn find_all(&self, text: &str) -> anyhow::Result<Platforms> {
        let found = Platforms::find(text, &self.lease).hinted(store::Error::hint_in_store)?;
        Ok(found.ok_or_else(|| {
            cli::usage(format!("{text}: one image, and not those of several platforms"))
                .hint("leave --all-platforms out, or pull --all-platforms first")
        })?)
    }

    /// Puts the documents of an image into the store.
    pub(crate) fn put(&self, documents: Documents) -> anyhow::Result<Manifest> {
        self.lease.put(&documents.config)?;
        self.lease.put(&documents.manifest)?;
        Ok(Manifest::parse(documents.manifest)?)
    }

    /// Names an index whose images are in the store, and tells its digest.
    pub(crate) fn name_index(&self, index: &Index, io: &mut Io<'_>) -> anyhow::Result<()> {
        self.lease.put(index.raw())?;
        let target = index.descriptor();
        self.enter(&target)?;
        self.print(&target, io)
    }

    /// Gives what was made its names.
    fn enter(&self, target: &Descriptor) -> anyhow::Result<()> {
        let entry = |name| IndexEntry::new(Some(name), target.clone());
        Ok(self.lease.name(&self.args.tag.iter().map(entry).collect::<Vec<_>>())?)
    }

    /// Prints the digest of what was made.
    fn print(&self, target: &Descriptor, io: &mut Io<'_>) -> anyhow::Result<()> {
        writeln!(io.output, "{}", target.digest)?;
        io.output.flush()?;
        tell(&self.args.tag, &target.digest, false, io);
        Ok(())
    }

    /// Names the image whose layers are in the store, and tells its digest.
    pub(crate) fn name(self, documents: Documents, io: &mut Io<'_>) -> anyhow::Result<()> {
        let manifest = self.put(documents)?;
        let target = manifest.descriptor();
        self.enter(&target)?;
        if !self.args.stream {
            return self.print(&target, io);
        }
        let names = &self.args.tag;
        Outgoing { names, manifest }.out_of_store(self.lease.store(), io)?;
        tell(names, &target.digest, true, io);
        Ok(())
    }
}

impl Destination for ToStore<'_> {
    type Kept = InStore;

    fn find_base(&mut self, text: &str, _: &mut Io<'_>) -> anyhow::Result<Base> {
        let hint = if self.args.no_layer {
            "load it first"
        } else {
            "load it first, or add --no-store --stream"
        };
        Base::find(text, self.args.platform.as_ref(), &self.lease, hint)
    }

    fn begin_layer(&self) -> anyhow::Result<InStore> {
        Ok(InStore(self.lease.incoming(None)?))
    }

    fn store(&self) -> Option<&Store> {
        Some(self.lease.store())
    }

    fn check(&mut self, taken: &Taken<InStore>, base: &Base, io: &Io<'_>) -> anyhow::Result<()> {
        let store = self.store();
        taken.check(|| {
            let Base::Image(image) = base else { return Ok(Tree::new()) };
            let place = Location::Stored(image.manifest.descriptor().digest.to_string());
            let mut below = Opened::open(&place, None, Choice::default(), store)?;
            below.tree(&io.progress).context("the base")
        })
    }

    fn finish(self, image: NewImage<InStore>, io: &mut Io<'_>) -> anyhow::Result<()> {
        let NewImage { taken, layer, documents } = image;
        self.keep(taken, &layer)?;
        self.name(documents, io)
    }
}

impl<'a> ToStream<'a> {
    /// # Errors
    /// Wrong usage, if no base was named: a layer says only by a digest what it was taken against, which nothing but a store
    /// can look up.
    pub(crate) fn new(args: &'a Args) -> anyhow::Result<Self> {
        if args.base.is_none() {
            let text =
                "without a store, --base says what is below: scratch, an archive or a layout";
            return Err(cli::usage(text).into());
        }
        Ok(Self { args, below: None })
    }

    /// Opens an archive or a layout.
    fn open_base(&self, text: &str, io: &mut Io<'_>) -> anyhow::Result<Opened> {
        let choice = Choice { name: None, platform: self.args.platform.clone() };
        match Location::from(text) {
            Location::Input if self.args.file.as_os_str() == "-" => {
                Err(cli::usage("the base and the layer can't both be standard input").into())
            }
            Location::Input => {
                let (reader, file) = io.input.take_image()?;
                let input = Input::new(reader, file);
                Ok(Opened::open(&Location::Input, Some(input), choice, None)?)
            }
            Location::Layer(_) | Location::Stored(_) => {
                let text =
                    format!("{text}: without a store, the base is scratch, an archive or a layout");
                Err(cli::usage(text).into())
            }
            place => Opened::open(&place, None, choice, None).with_context(|| text.to_owned()),
        }
    }
}

impl Destination for ToStream<'_> {
    type Kept = Hashing<File>;

    fn find_base(&mut self, text: &str, io: &mut Io<'_>) -> anyhow::Result<Base> {
        if text == base::SCRATCH {
            return Ok(Base::Scratch);
        }
        let opened = self.open_base(text, io)?;
        let image = opened.image();
        let manifest = image.manifest.clone().ok_or_else(|| {
            cli::usage(format!("{text}: an archive without a manifest"))
                .hint("load it into a store, and commit there")
        })?;
        let name = image.names.first().and_then(|name| name.parse().ok());
        let name = name.map(|name: Reference| name.full());
        let base = StoredImage { manifest, config: image.config.clone(), name };
        self.below = Some(opened);
        Ok(Base::Image(Box::new(base)))
    }

    fn begin_layer(&self) -> anyhow::Result<Hashing<File>> {
        let file = image::spool(None)().context("making a temporary file")?;
        Ok(Hashing::new(file, Algorithm::Sha256))
    }

    fn store(&self) -> Option<&Store> {
        None
    }

    fn check(&mut self, taken: &Taken<Hashing<File>>, _: &Base, io: &Io<'_>) -> anyhow::Result<()> {
        match &mut self.below {
            // The base is then read only once.
            Some(below) if taken.changes.are_good() => Ok(below.rewind()?),
            Some(below) => taken.check(|| below.tree(&io.progress).context("the base")),
            None => taken.check(|| Ok(Tree::new())),
        }
    }

    fn finish(self, image: NewImage<Hashing<File>>, io: &mut Io<'_>) -> anyhow::Result<()> {
        let NewImage { taken, documents, .. } = image;
        taken.task.done("Committed");
        let manifest = Manifest::parse(documents.manifest)?;
        let digest = manifest.descriptor().digest;
        let outgoing = Outgoing { names: &self.args.tag, manifest };
        let layer = taken.kept.into_inner();
        outgoing.without_store(&documents.config, self.below, layer, io)?;
        tell(&self.args.tag, &digest, true, io);
        Ok(())
    }
}

/// Tells programs of a new image, under each of its names, and people of its digest if standard output had no place for it.
fn tell(names: &[Reference], digest: &Digest, is_said: bool, io: &Io<'_>) {
    let event = |name| ImageEvent {
        name,
        digest: digest.to_string(),
        status: "Committed",
        is_important: true,
    };
    let line = digest.to_string();
    let lines = if is_said { vec![line.as_str()] } else { vec![] };
    let (first, others) = names.split_first().unzip();
    io.progress.image(event(first.map(Reference::full)), &lines);
    for name in others.unwrap_or_default() {
        io.progress.image(event(Some(name.full())), &[]);
    }
}
