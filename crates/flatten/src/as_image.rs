//! The files as an image again: one layer, and the config of the image that they come from.
//!
//! A stream names a layer before it holds it, so the tar waits in an unlinked file.

use std::io::{self, Read as _, Seek as _};
use std::num::NonZeroUsize;
use std::thread;

use anyhow::Context as _;
use cli::Io;
use cli::interrupt::Interruptible;
use image::Opened;
use layer_format::{
    Algorithm, Compression, Config, Descriptor, DiffId, Digest, Encoder, Hashing, Manifest,
    Reference, media_type,
};
use serde_json::{Value, json};
use stream::{Name, Preamble, Writer};

use crate::plan::Plan;
use crate::tar;

/// How many bytes are gathered before they are compressed and written to the file.
const BUFFER: usize = 128 << 10;

/// Writes the image stream.
///
/// # Errors
/// Those of reading the image, of the temporary file and of the output.
pub(crate) fn write(
    opened: Opened,
    plan: &Plan,
    name: &Reference,
    compression: Compression,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let config = opened.image().config.clone();
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
    let config = one_layer(&config, &diff_id)?;
    let manifest = manifest(&config, &layer)?;
    let target = manifest.descriptor();
    let image = stream::Graph { indexes: vec![], manifests: vec![manifest] };
    let names = [Name { reference: Some(name.clone()), target: target.clone() }];
    let mut stream =
        Writer::new(&mut io.output, &Preamble::of(&names, std::slice::from_ref(&image))?)?;
    stream.document(image.manifests[0].raw(), target.digest)?;
    stream.document(&config, Digest::of(&config))?;
    stream.blob(&layer, file.take(layer.size))?;
    stream.finish()?;
    Ok(())
}

/// The config with one layer instead of all, and one step of history. All other fields stay, also those that Strata doesn't
/// know.
fn one_layer(config: &Config, diff_id: &DiffId) -> anyhow::Result<Vec<u8>> {
    let mut fields: Value = serde_json::from_slice(config.raw()).context("reading the config")?;
    let mut step = json!({ "created_by": "flatten" });
    if let Some(created) = &config.created {
        step["created"] = created.as_str().into();
    }
    fields["rootfs"] = json!({ "type": "layers", "diff_ids": [diff_id] });
    fields["history"] = json!([step]);
    serde_json::to_vec(&fields).context("writing the config")
}

fn manifest(config: &[u8], layer: &Descriptor) -> anyhow::Result<Manifest> {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, config),
        "layers": [layer],
    });
    Ok(Manifest::parse(serde_json::to_vec(&manifest).context("writing the manifest")?)?)
}
