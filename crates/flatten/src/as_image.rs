//! The files as an image again: one layer, or one above those of a base, and the config of the image that they come from.
//!
//! A stream names a layer before it holds it, so the tar waits in an unlinked file.

use std::io::{self, Read as _, Seek as _};
use std::num::NonZeroUsize;
use std::thread;

use anyhow::Context as _;
use cli::Io;
use cli::interrupt::Interruptible;
use image::Opened;
use image::edit::{History, RawObject, within_limit};
use image::flat::Plan;
use layer_format::{
    Algorithm, Compression, Config, Descriptor, DiffId, Digest, Encoder, Hashing, Manifest,
    Reference, media_type,
};
use serde_json::json;
use stream::{Name, Preamble, Writer};

use crate::onto::Onto;
use crate::tar;

/// How many bytes are gathered before they are compressed and written to the file.
const BUFFER: usize = 128 << 10;

/// What the image becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) name: &'a Reference,
    pub(crate) compression: Compression,
    /// What the layer goes onto; `None` for nothing.
    pub(crate) onto: Option<&'a Onto>,
}

/// Writes the image stream.
///
/// # Errors
/// Those of reading the image, of the temporary file and of the output.
pub(crate) fn write(
    opened: Opened,
    plan: &Plan,
    target: Target<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Target { name, compression, onto } = target;
    let config = opened.image().config.clone();
    let old = opened.image().manifest.clone();
    let spool = image::spool(opened.store())().context("making a temporary file")?;
    let n_threads = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let encoder =
        Encoder::new(Hashing::new(Interruptible(spool), Algorithm::Sha256), compression, n_threads)
            .context("compressing")?;
    let plain = io::BufWriter::with_capacity(
        BUFFER,
        Interruptible(Hashing::new(encoder, Algorithm::Sha256)),
    );
    // The tar is finished, so nothing is left in the buffer.
    let plain = tar::write(opened, plan, plain, &io.progress)?.output.into_parts().0.0;
    let diff_id = DiffId(plain.digest());
    let stored = plain.into_inner().finish().context("keeping the layer")?;
    let layer =
        Descriptor::new(compression.codec().layer_type(), stored.digest(), stored.n_bytes());
    let Interruptible(mut file) = stored.into_inner();
    file.rewind().context("keeping the layer")?;
    let config = match onto {
        Some(onto) => layer_on_base(&config, onto, diff_id)?,
        None => one_layer(&config, &diff_id)?,
    };
    let manifest = manifest(&config, &layer, onto, old.as_ref())?;
    let target = manifest.descriptor();
    let image = stream::Graph { indexes: vec![], manifests: vec![manifest] };
    let names = [Name { reference: Some(name.clone()), target: target.clone() }];
    let mut stream =
        Writer::new(&mut io.output, &Preamble::of(&names, std::slice::from_ref(&image))?)?;
    stream.document(image.manifests[0].raw(), target.digest)?;
    stream.document(&config, Digest::of(&config))?;
    if let Some(onto) = onto {
        onto.pass_layers(|blob, content| Ok(stream.blob(blob, Interruptible(content))?))?;
    }
    stream.blob(&layer, file.take(layer.size))?;
    stream.finish()?;
    Ok(())
}

/// The config with one layer instead of all, and one step of history. All other fields stay, also those that Strata doesn't
/// know.
fn one_layer(config: &Config, diff_id: &DiffId) -> anyhow::Result<Vec<u8>> {
    let mut fields: serde_json::Value =
        serde_json::from_slice(config.raw()).context("reading the config")?;
    fields["rootfs"] = json!({ "type": "layers", "diff_ids": [diff_id] });
    fields["history"] = json!([step(config, "flatten")]);
    serde_json::to_vec(&fields).context("writing the config")
}

/// The config with one layer instead of those above the base's. The steps that made them stay, as such that made none.
fn layer_on_base(config: &Config, onto: &Onto, diff_id: DiffId) -> anyhow::Result<Vec<u8>> {
    let mut fields = RawObject::parse(config.raw())?;
    let n_own = config.diff_ids().len() - onto.n_layers();
    let mut history = History::of(&RawObject::parse(onto.image.config.raw())?)?;
    let mut own = History::of(&fields)?.above(&history, onto.n_layers(), n_own);
    history.fit(onto.n_layers())?;
    own.fit(0)?;
    history.append(own);
    history.push(&step(config, "flatten --onto"))?;
    let mut root: RawObject = fields.read("rootfs")?;
    root.set("type", &"layers")?;
    root.set("diff_ids", &[onto.image.diff_ids(), &[diff_id]].concat())?;
    fields.set("rootfs", &root)?;
    history.write(&mut fields)?;
    Ok(within_limit("the new config", fields.to_vec()?)?)
}

/// A step of history, as old as the image.
fn step(config: &Config, created_by: &str) -> serde_json::Value {
    let mut step = json!({ "created_by": created_by });
    if let Some(created) = &config.created {
        step["created"] = created.as_str().into();
    }
    step
}

fn manifest(
    config: &[u8],
    layer: &Descriptor,
    onto: Option<&Onto>,
    old: Option<&Manifest>,
) -> anyhow::Result<Manifest> {
    let mut manifest = RawObject::default();
    manifest.set("config", &Descriptor::of(media_type::OCI_CONFIG, config))?;
    match onto {
        None => manifest.set("layers", &[layer])?,
        Some(onto) => {
            let mut own = RawObject::default();
            own.set("mediaType", &layer.media_type)?;
            own.set("digest", &layer.digest)?;
            own.set("size", &layer.size)?;
            let mut layers = onto.layers()?;
            layers.push(own);
            manifest.set("layers", &layers)?;
            manifest.set("annotations", &onto.annotations(old)?)?;
        }
    }
    manifest.set("mediaType", &media_type::OCI_MANIFEST)?;
    manifest.set("schemaVersion", &2)?;
    Ok(Manifest::parse(within_limit("the new manifest", manifest.to_vec()?)?)?)
}
