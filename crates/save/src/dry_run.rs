//! What a stream would hold, and what it would leave out.

use std::collections::HashSet;

use cli::{Action, Io, Plan, Step};
use layer_format::{Digest, Reference};

use crate::Args;
use crate::choice::Chosen;

const WRITE: Action = Action { name: "write", sum: "to write" };
const LEAVE_OUT: Action = Action { name: "leave-out", sum: "to leave out" };

/// Prints what a run would do with each blob.
pub(crate) fn tell(
    args: &Args,
    chosen: &Chosen,
    left_out: &HashSet<Digest>,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let mut plan = Plan::new("image", &[WRITE, LEAVE_OUT]);
    let mut seen = HashSet::new();
    for (name, image) in chosen.names.iter().zip(&chosen.images) {
        let digest = || name.target.digest.to_string();
        let place = name.reference.as_ref().map_or_else(digest, Reference::to_string);
        for blob in image.blobs().filter(|blob| seen.insert(blob.digest)) {
            let action = if left_out.contains(&blob.digest) { LEAVE_OUT } else { WRITE };
            let (place, digest, bytes) = (place.clone(), blob.digest, blob.size);
            plan.add(Step { place, action, digest, bytes, from: None });
        }
    }
    Ok(io.tell_plan(&plan, args.json)?)
}
