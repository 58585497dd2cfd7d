//! What a load would store.

use std::collections::HashSet;

use cli::{Action, Io, Plan, Step};
use layer_format::Reference;
use stream::archive::LoadedImage;

use crate::intake::Intake;
use crate::{Args, check_layers};

const STORE: Action = Action { name: "store", sum: "to store" };
const SKIP: Action = Action { name: "skip", sum: "there already" };

/// Checks the images as a run would, as far as that is possible without a second look at a layer, and prints what it would do
/// with each blob.
pub(crate) fn tell(
    args: &Args,
    images: &[LoadedImage],
    intake: &mut Intake<'_>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    check_layers(images, intake)?;
    let mut plan = Plan::new("image", &[STORE, SKIP]);
    let mut seen = HashSet::new();
    for found in images {
        let digest = || found.root.digest.to_string();
        let place = found.name.as_ref().map_or_else(digest, Reference::to_string);
        for part in found.parts.iter().filter(|part| seen.insert(part.blob.digest)) {
            let action = if intake.is_new(&part.blob.digest) { STORE } else { SKIP };
            let (place, digest, bytes) = (place.clone(), part.blob.digest, part.blob.size);
            plan.add(Step { place, action, digest, bytes, from: None });
        }
    }
    Ok(io.tell_plan(&plan, args.json)?)
}
