//! Finding the images to save: from the words on the command line to names and documents.

use std::collections::HashSet;

use anyhow::Context as _;
use cli::{Code, Explain as _, Failure};
use image::Location;
use layer_format::{Config, Descriptor, Digest, Error, Platform};
use store::{Found, FoundBy, Hold, Store};
use stream::{Graph, Name};

/// The images to save, in the order in which they were asked for.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) names: Vec<Name>,
    /// The documents of each name.
    pub(crate) images: Vec<Graph>,
}

impl Chosen {
    /// Finds the images and checks that they are whole. gc keeps them while the returned [`Hold`] lives.
    pub(crate) fn find(
        images: &[String],
        platforms: &[Platform],
        with_referrers: bool,
        store: &Store,
    ) -> anyhow::Result<(Self, Hold)> {
        let found = images.iter().map(|text| find(text, store)).collect::<Result<Vec<_>, _>>()?;
        let mut referrers = vec![];
        for found in found.iter().filter(|_| with_referrers) {
            referrers.extend(store.referrers(&found.image)?);
        }
        let images_found = found.iter().map(|found| found.descriptor.digest);
        let roots: Vec<_> = images_found.chain(referrers.iter().map(|it| *it.digest())).collect();
        let hold = store.hold(&roots)?;
        let mut chosen = Self { names: vec![], images: vec![] };
        let mut present = vec![];
        let mut seen = HashSet::new();
        for (text, found) in images.iter().zip(found) {
            let reference = found.image.reference().filter(|_| found.by == FoundBy::Name);
            if seen.insert((reference.clone(), found.descriptor.digest)) {
                let image = gather(&found.descriptor, platforms, store);
                let image = image.with_context(|| text.clone())?;
                let own = platforms_of(&image, platforms, store);
                present.extend(own.with_context(|| text.clone())?);
                chosen.names.push(Name { reference, target: root(&found.descriptor, &image) });
                chosen.images.push(image);
            }
        }
        check_each(platforms, &present).with_context(|| images.join(", "))?;
        for referrer in referrers {
            let reference = referrer.reference();
            let descriptor = &referrer.descriptor;
            if seen.insert((reference.clone(), descriptor.digest)) {
                let image = gather(descriptor, &[], store)?;
                chosen.names.push(Name { reference, target: root(descriptor, &image) });
                chosen.images.push(image);
            }
        }
        Ok((chosen, hold))
    }
}

/// Finds an image of the store. A path or a stream is wrong usage.
pub(crate) fn find(text: &str, store: &Store) -> anyhow::Result<Found> {
    if !Location::from(text).is_stored() {
        return Err(cli::usage(format!("{text}: only images of the store can be saved"))
            .hint("load it first")
            .into());
    }
    store.find(text).hinted(store::Error::hint_in_store)
}

/// The documents of an image. The store may have an index for some of its platforms only; then the others are left out.
fn gather(root: &Descriptor, platforms: &[Platform], store: &Store) -> anyhow::Result<Graph> {
    let mut image = image::documents(store, root, platforms)?;
    let missing: HashSet<_> = store.lacks(image.blobs())?.iter().map(|it| it.digest).collect();
    if missing.is_empty() {
        return Ok(image);
    }
    let incomplete = incomplete(image.blobs(), &missing);
    if image.indexes.is_empty() {
        return Err(incomplete);
    }
    image.manifests.retain(|it| it.parts().all(|part| !missing.contains(&part.digest)));
    let entries = image.entries();
    if image.manifests.iter().any(|manifest| entries.is_runnable(manifest)) {
        return Ok(image);
    }
    Err(incomplete)
}

fn incomplete<'a>(
    blobs: impl Iterator<Item = &'a Descriptor>,
    missing: &HashSet<Digest>,
) -> anyhow::Error {
    let missing = blobs.map(|blob| blob.digest).filter(|digest| missing.contains(digest));
    let missing = missing.map(|digest| digest.to_string()).collect::<Vec<_>>().join(", ");
    Failure::new(Code::NotFound, format!("not whole: the store has no {missing}"))
        .hint("pull it again")
        .into()
}

/// The platforms of an image, from its index or else from its config; empty if none are wanted. It is an error if the image has
/// none of the wanted ones.
fn platforms_of(
    image: &Graph,
    wanted: &[Platform],
    store: &Store,
) -> anyhow::Result<Vec<Platform>> {
    if wanted.is_empty() {
        return Ok(vec![]);
    }
    let entries = image.entries();
    let manifests = image.manifests.iter().filter(|manifest| entries.is_runnable(manifest));
    let platform = |manifest| match entries.platform(manifest) {
        Some(listed) => Ok(listed.clone()),
        None => Ok(Config::parse(document(&manifest.config, store)?)?.platform),
    };
    let present = manifests.map(platform).collect::<anyhow::Result<Vec<_>>>()?;
    let is_met = |it: &Platform| wanted.iter().any(|wanted| wanted.rank(it).is_some());
    if present.is_empty() || present.iter().any(is_met) {
        return Ok(present);
    }
    Err(no_platform(wanted.iter(), &present).into())
}

/// Checks that the images together have every wanted platform.
fn check_each(wanted: &[Platform], present: &[Platform]) -> Result<(), Error> {
    let is_met = |wanted: &&Platform| present.iter().any(|it| wanted.rank(it).is_some());
    let mut unmet = wanted.iter().filter(|it| !is_met(it)).peekable();
    match unmet.peek() {
        Some(_) if !present.is_empty() => Err(no_platform(unmet, present)),
        _ => Ok(()),
    }
}

fn no_platform<'a>(wanted: impl Iterator<Item = &'a Platform>, present: &[Platform]) -> Error {
    let wanted = wanted.map(Platform::to_string).collect::<Vec<_>>().join(", ");
    Error::NoPlatform { wanted, present: present.iter().map(Platform::to_string).collect() }
}

/// The verified bytes of a document of the store.
pub(crate) fn document(descriptor: &Descriptor, store: &Store) -> Result<Vec<u8>, Error> {
    store.document(&descriptor.digest).map_err(|error| match error {
        store::Error::Layer(error) => error,
        error => Error::io("reading the store", std::io::Error::other(error)),
    })
}

/// The descriptor that a name points at: with the media type that the document itself has, and without the annotations of this
/// store.
fn root(found: &Descriptor, image: &Graph) -> Descriptor {
    let index = image.indexes.first().map(layer_format::Index::descriptor);
    let manifest = image.manifests.first().map(layer_format::Manifest::descriptor);
    let media_type = index.or(manifest).map(|document| document.media_type).unwrap_or_default();
    Descriptor::new(&media_type, found.digest, found.size)
}
