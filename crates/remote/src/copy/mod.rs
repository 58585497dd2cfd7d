//! `remote copy`: an image from one name to another.
//!
//! ```text
//! document ── is it there? ── yes ──────────────────────────────────────► put under its name, if that is another one
//!                 └ no ──► what it lists, each in the same way
//!                          its blobs: mounted, or there already, or sent as they come (content.rs)
//!                                     └──► put
//! ```
//!
//! Within a registry blobs are mounted from the source's repository and none comes here. Memory holds one document of each
//! depth, and a few pieces of one blob.

mod blobs;
mod content;
mod copying;
mod many;
mod request;

use std::io::Write as _;

use cli::{ImageEvent, Io};
use registry::Client;
use store::Store;

use crate::resolve;
use blobs::Blobs;
use copying::{Copying, standing};
pub(crate) use many::{Selection, copy_many};
pub(crate) use request::{Mode, Request};

/// Copies an image; prints its new name and its digest, which stays the same.
pub(crate) fn copy(
    request: Request<'_>,
    store: Option<&Store>,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Request { image, name, platform, mode } = request;
    let source = client.repository(image)?;
    let target = client.repository(name)?.without_mirrors();
    let digest = resolve::digest(image, &source, platform)?;
    if let Some(pinned) = name.digest().filter(|pinned| **pinned != digest) {
        let text = format!("{name}: the image's digest is {digest}, not {pinned}");
        return Err(cli::usage(text).into());
    }
    let place = name.tag().map_or_else(|| name.wanted(), str::to_owned);
    let progress = io.progress.clone();
    let blobs = Blobs::new(request, &source, &target, store, &progress);
    let mut copying = Copying::new((&source, &target), blobs, &progress, mode);
    let is_there = standing(&target, &place)? == Some(digest);
    if !is_there || mode != Mode::Copy {
        copying.root(&digest, &place).map_err(|error| resolve::named(error, image))?;
    }
    let plan = copying.blobs.plan();
    if let Mode::DryRun { is_json } = mode {
        return Ok(io.tell_plan(plan, is_json)?);
    }
    progress.say(if is_there { format!("{name}: there already") } else { plan.summary() });
    let event = ImageEvent {
        name: Some(name.full()),
        digest: digest.to_string(),
        status: "Copied",
        is_important: false,
    };
    progress.image(event, &[]);
    writeln!(io.output, "{}", name.at(digest))?;
    Ok(io.output.flush()?)
}
