//! What a pull would fetch, from manifests alone.

use std::collections::HashSet;

use cli::{Action, Explain as _, Io, Plan, Step};
use layer_format::Descriptor;
use registry::Client;
use store::Store;

use crate::select::{Configs, ResolvedImage};
use crate::source::Wanted;
use crate::{Args, resolve_all};

const FETCH: Action = Action { name: "fetch", sum: "to fetch" };
const RESUME: Action = Action { name: "resume", sum: "to resume" };
const SKIP: Action = Action { name: "skip", sum: "there already" };

/// Prints what a run would do with each blob. Manifests are asked for, and no blob; nothing is written.
pub(crate) fn tell(
    args: &Args,
    names: &[Wanted],
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let images = resolve_all(args, names, client, Configs::Unread, io)?;
    let store = store(args)?;
    let mut plan = Plan::new("repository", &[FETCH, RESUME, SKIP]);
    let mut seen = HashSet::new();
    for image in &images {
        for blob in blobs(image, args.no_layers).filter(|blob| seen.insert(blob.digest)) {
            plan.add(step(image, blob, store.as_ref())?);
        }
    }
    Ok(io.tell_plan(&plan, args.json)?)
}

/// The store that the images would go to, if it is there.
fn store(args: &Args) -> anyhow::Result<Option<Store>> {
    if args.no_store || args.no_layers {
        return Ok(None);
    }
    let opened = Store::path_or_usual(args.common.store.as_deref()).and_then(Store::open_existing);
    opened.hinted(store::Error::hint)
}

/// The configs of an image and, unless they aren't wanted, its layers.
fn blobs(image: &ResolvedImage, no_layers: bool) -> impl Iterator<Item = &Descriptor> {
    image.graph.manifests.iter().flat_map(move |manifest| {
        let layers = manifest.layers.iter().filter(move |_| !no_layers);
        std::iter::once(&manifest.config).chain(layers)
    })
}

fn step(image: &ResolvedImage, blob: &Descriptor, store: Option<&Store>) -> anyhow::Result<Step> {
    let (action, bytes) = match store {
        Some(store) if store.has(&blob.digest, blob.size)? => (SKIP, blob.size),
        Some(store) => match store.partial_size(&blob.digest)?.unwrap_or(0).min(blob.size) {
            0 => (FETCH, blob.size),
            arrived => (RESUME, blob.size - arrived),
        },
        None => (FETCH, blob.size),
    };
    let place = image.reference.name();
    Ok(Step { place, action, digest: blob.digest, bytes, from: None })
}
