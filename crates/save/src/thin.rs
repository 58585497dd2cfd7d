//! The blobs that may be left out, because the receiver has them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context as _;
use cli::{Failure, Io};
use layer_format::{Config, Descriptor, DiffId, Digest, Error, Manifest};
use store::{FoundBy, Store};
use stream::{Entries, Graph, Thin};

use crate::Args;
use crate::choice::{document, find};

/// The most bytes that are read of a line; every digest is shorter.
const LINE_LIMIT: u64 = 1024;

/// The blobs that the receiver has.
#[derive(Debug, Default)]
pub(crate) struct ReceiverBlobs {
    /// The names of the base images.
    base: Vec<String>,
    /// Digests of blobs, and diff ids.
    has: HashSet<Digest>,
}

/// Reads which blobs the receiver has, from `--base` and `--have`.
pub(crate) fn read(args: &Args, store: &Store, io: &mut Io<'_>) -> anyhow::Result<ReceiverBlobs> {
    let mut receiver = ReceiverBlobs::default();
    for text in &args.base {
        let found = find(text, store)?;
        let name = found.image.name().filter(|_| found.by == FoundBy::Name);
        receiver.base.push(name.map_or_else(|| found.descriptor.digest.to_string(), str::to_owned));
        let lookup = |it: &Descriptor| store.document_if_here(&it.digest);
        let image = Graph::gather(&found.descriptor, &[], lookup)?;
        let layers = image.iter().flat_map(|image| &image.manifests).flat_map(|it| &it.layers);
        receiver.has.extend(layers.map(|layer| layer.digest));
    }
    match args.have.as_deref() {
        None => {}
        Some(path) if path.as_os_str() == "-" => {
            digests(cli::Input::take(&mut io.input), &mut receiver.has)
                .context("standard input")?;
        }
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::opening(path, error))?;
            digests(file, &mut receiver.has).with_context(|| cli::text::clean_path(path))?;
        }
    }
    Ok(receiver)
}

/// Reads digests, one a line.
fn digests(reader: impl Read, found: &mut HashSet<Digest>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    for n in 1_u64.. {
        line.clear();
        reader.by_ref().take(LINE_LIMIT).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            found.insert(text.trim().parse().with_context(|| format!("line {n}"))?);
        }
    }
    Ok(())
}

impl ReceiverBlobs {
    /// The blobs of these images to leave out; `None` if there are none.
    pub(crate) fn thin(self, images: &[Graph], store: &Store) -> Result<Option<Thin>, Error> {
        if self.has.is_empty() {
            return Ok(None);
        }
        let mut left_out = HashSet::new();
        for image in images {
            let entries = image.entries();
            for manifest in &image.manifests {
                let diff_ids = diff_ids(&entries, manifest, store)?;
                self.leave_out(manifest, &diff_ids, &mut left_out);
            }
        }
        let is_left_out = |digest: &Digest| left_out.contains(digest);
        let mut config = |config: &Descriptor| document(config, store).map(Some);
        let thin = Thin::of(self.base, images, &is_left_out, &mut config)?;
        Ok((!thin.left_out.is_empty()).then_some(thin))
    }

    /// Adds the layers to leave out. A layer whose blob the receiver has may be left out anywhere in the stack. One that the
    /// receiver has by its diff id may be left out only with all layers below it, because receivers that know layers by their diff
    /// ids know them as a stack.
    fn leave_out(&self, manifest: &Manifest, diff_ids: &[DiffId], left_out: &mut HashSet<Digest>) {
        let mut is_prefix = true;
        for (position, layer) in manifest.layers.iter().enumerate() {
            let has_diff_id = diff_ids.get(position).is_some_and(|it| self.has.contains(&it.0));
            let stays = self.has.contains(&layer.digest) || (is_prefix && has_diff_id);
            is_prefix &= stays;
            if stays {
                left_out.insert(layer.digest);
            }
        }
    }
}

fn diff_ids(
    entries: &Entries<'_>,
    manifest: &Manifest,
    store: &Store,
) -> Result<Vec<DiffId>, Error> {
    if !entries.is_runnable(manifest) {
        return Ok(vec![]);
    }
    Ok(Config::parse(document(&manifest.config, store)?)?.diff_ids().to_vec())
}
