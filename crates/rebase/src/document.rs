//! The config and the manifest of the rebased image.

use cli::text::clean;
use image::edit::{
    BASE_DIGEST, BASE_NAME, CREATED, Format, History, RawObject, to_oci, within_limit,
};
use layer_format::{Descriptor, Error, Manifest};
use serde_json::Value;

use crate::Args;
use crate::bases::Bases;
use crate::replay::Replay;

/// The fields of a manifest that are made anew.
const MADE: [&str; 5] = ["schemaVersion", "mediaType", "config", "layers", "annotations"];

/// The documents of the rebased image, as bytes of JSON.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) config: Vec<u8>,
    pub(crate) manifest: Vec<u8>,
    /// What the user should know.
    pub(crate) notes: Vec<String>,
}

impl Documents {
    /// Makes the documents.
    ///
    /// # Errors
    /// Wrong usage, if the image's format has no annotations; those of documents that are malformed or get too large.
    pub(crate) fn of(bases: &Bases, args: &Args) -> anyhow::Result<Self> {
        let mut replay = Replay::default();
        let created = later(bases);
        let config = config(bases, created.as_deref(), &mut replay)?;
        let format = format(bases, args);
        if format == Format::Docker && !args.annotations.is_empty() {
            let text = "both are Docker schema 2 images, which have no annotations";
            return Err(cli::usage(text).hint("add --oci to make an OCI image").into());
        }
        let manifest = manifest(bases, args, format, &config, created.as_deref())?;
        Ok(Self { config, manifest, notes: notes(bases, &replay) })
    }
}

/// What the user should know about settings that both the image and the new base have changed.
fn notes(bases: &Bases, replay: &Replay) -> Vec<String> {
    let Replay { contested, lost_directories } = replay;
    let (image, new) = (&bases.image.said, &bases.new.said);
    let mut notes = vec![];
    if !contested.is_empty() {
        let names = clean(&contested.join(", ")).into_owned();
        notes.push(format!("{names}: stays as {image} has it, although {new} has changed it too"));
    }
    if !lost_directories.is_empty() {
        let directories = clean(&lost_directories.join(", ")).into_owned();
        notes.push(format!("Env.PATH: stays as {image} has it, without {directories} of {new}"));
    }
    notes
}

/// The later of the times at which the image and the new base were made. Texts of the same form compare as times do.
fn later(bases: &Bases) -> Option<String> {
    bases.image.image.config.created.clone().max(bases.new.image.config.created.clone())
}

fn config(bases: &Bases, created: Option<&str>, replay: &mut Replay) -> Result<Vec<u8>, Error> {
    let read = |config: &layer_format::Config| RawObject::parse(config.raw());
    let old = bases.old.as_ref().map(|old| read(&old.image.config)).transpose()?;
    let old = old.unwrap_or_default();
    let image = read(&bases.image.image.config)?;
    let mut config = read(&bases.new.image.config)?;
    let mut history = History::of(&config)?;
    if let Some(created) = created {
        config.set("created", &created)?;
    }
    replay.config(&old, &image, &mut config)?;
    say_base_in_labels(bases, &mut config)?;
    let mut root: RawObject = config.read("rootfs")?;
    root.set("type", &"layers")?;
    root.set("diff_ids", &bases.diff_ids())?;
    config.set("rootfs", &root)?;
    history.fit(bases.new.image.diff_ids().len())?;
    let n_own = bases.image.image.diff_ids().len() - bases.n_old();
    let mut own = History::of(&image)?.above(&History::of(&old)?, bases.n_old(), n_own);
    own.fit(n_own)?;
    history.append(own);
    history.write(&mut config)?;
    within_limit("the new config", config.to_vec()?)
}

/// Changes labels that say what the image is on, if it has them.
fn say_base_in_labels(bases: &Bases, config: &mut RawObject) -> Result<(), Error> {
    let mut section: RawObject = config.read("config")?;
    let mut labels: RawObject = section.read("Labels")?;
    if !labels.has(BASE_DIGEST) && !labels.has(BASE_NAME) {
        return Ok(());
    }
    say_base(bases, &mut labels)?;
    section.set("Labels", &labels)?;
    config.set("config", &section)
}

/// Makes annotations or labels say what the image is on now.
fn say_base(bases: &Bases, annotations: &mut RawObject) -> Result<(), Error> {
    let new = &bases.new.image;
    annotations.set(BASE_DIGEST, &new.manifest.descriptor().digest)?;
    annotations.set_or_remove(BASE_NAME, new.name.as_ref())
}

/// Docker's format if nothing of the two images is of the OCI's.
fn format(bases: &Bases, args: &Args) -> Format {
    let is_docker = |manifest: &Manifest| {
        let mut layers = manifest.layers.iter();
        manifest.is_docker()
            && layers.all(|layer| layer.media_type.starts_with("application/vnd.docker."))
    };
    let manifests = [&bases.image.image.manifest, &bases.new.image.manifest];
    if !args.oci && manifests.into_iter().all(is_docker) { Format::Docker } else { Format::Oci }
}

fn manifest(
    bases: &Bases,
    args: &Args,
    format: Format,
    config: &[u8],
    created: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let read = |manifest: &Manifest| RawObject::parse(manifest.raw());
    let old = bases.old.as_ref().map(|old| read(&old.image.manifest)).transpose()?;
    let old = old.unwrap_or_default();
    let new = read(&bases.new.image.manifest)?;
    let mut manifest = read(&bases.image.image.manifest)?;
    let own: Vec<RawObject> = manifest.read("layers")?;
    let mut layers: Vec<RawObject> = new.read("layers")?;
    layers.extend(own.into_iter().skip(bases.n_old()));
    if format == Format::Oci {
        layers.iter_mut().try_for_each(to_oci)?;
    }
    follow(&old, &mut manifest, &new, &MADE)?;
    manifest.set("schemaVersion", &2)?;
    manifest.set("mediaType", &format.manifest())?;
    manifest.set("config", &Descriptor::of(format.config(), config))?;
    manifest.set("layers", &layers)?;
    if format == Format::Oci {
        let mut annotations: RawObject = manifest.read("annotations")?;
        let (old, new) = (old.read("annotations")?, new.read::<RawObject>("annotations")?);
        if follow(&old, &mut annotations, &new, &[BASE_DIGEST, BASE_NAME, CREATED])? > 0 {
            // It was made by a tool that passes annotations on.
            let keys = [BASE_DIGEST, BASE_NAME, CREATED];
            for key in new.keys().filter(|key| !old.has(key) && !keys.contains(key)) {
                if let Some(value) = new.raw(key).filter(|_| !annotations.has(key)) {
                    annotations.set(key, &value)?;
                }
            }
        }
        if let Some(created) = created.filter(|_| annotations.has(CREATED)) {
            annotations.set(CREATED, &created)?;
        }
        say_base(bases, &mut annotations)?;
        for (key, value) in &args.annotations {
            annotations.set(key, value)?;
        }
        manifest.set("annotations", &annotations)?;
    }
    within_limit("the new manifest", manifest.to_vec()?)
}

/// Makes what an object has as the old base has it be as the new base has it. Returns how many fields that are. Those of `but`
/// don't count, and stay.
fn follow(
    old: &RawObject,
    object: &mut RawObject,
    new: &RawObject,
    but: &[&str],
) -> Result<usize, Error> {
    let keys: Vec<String> = object.keys().map(str::to_owned).collect();
    let mut n_followed = 0;
    for key in keys.iter().filter(|key| old.has(key) && !but.contains(&key.as_str())) {
        if old.read::<Value>(key)? != object.read::<Value>(key)? {
            continue;
        }
        n_followed += 1;
        object.set_or_remove(key, new.raw(key).as_ref())?;
    }
    Ok(n_followed)
}
