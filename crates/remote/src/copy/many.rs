//! `remote copy A B --tags GLOB`: many tags of one repository to another, and nothing of those that are there already.
//!
//! ```text
//! the source's tags ── GLOB, the latest ──► two questions a tag, many at once: what it stands for on either side
//!                                              ├ the same ──► nothing
//!                                              └ another ───► copied, one after the other: each blob once in the whole run
//! ```

use std::collections::BTreeSet;
use std::io::Write as _;

use cli::{Failure, ImageEvent, Io, counted};
use layer_format::{Digest, Platform, Reference};
use network::threads::map;
use registry::{Client, Repository};
use store::Store;

use super::blobs::Blobs;
use super::copying::{Copying, standing};
use super::request::{Mode, Request};
use crate::names::without_tag;
use crate::{resolve, tags};

/// Which tags of a repository are copied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Selection<'a> {
    /// Patterns with `*`, `?` and `[…]`, of which a tag must match one; none for all tags.
    pub(crate) globs: &'a [String],
    /// Only so many of the highest versions.
    pub(crate) latest: Option<usize>,
}

impl Selection<'_> {
    /// Whether several tags are meant, and not the names alone.
    pub(crate) fn is_any(&self) -> bool {
        !self.globs.is_empty() || self.latest.is_some()
    }

    /// The tags that are meant, the lowest version first.
    fn of(&self, mut tags: Vec<String>) -> Vec<String> {
        let is_meant = |tag: &String| {
            self.globs.is_empty() || self.globs.iter().any(|glob| cli::match_text(glob, tag))
        };
        tags.retain(is_meant);
        if let Some(n) = self.latest {
            tags.retain(|tag| cli::order::is_version(tag));
            tags.sort_by(|one, other| cli::order::version(one, other));
            tags.drain(..tags.len().saturating_sub(n));
        }
        tags
    }
}

/// A tag, and what it stands for on either side.
struct Tag {
    name: String,
    /// None if the source has it no more.
    here: Option<Digest>,
    there: Option<Digest>,
}

/// Copies many tags. If one can't be copied, the others are; then the error is that of the last.
pub(crate) fn copy_many(
    request: Request<'_>,
    selection: Selection<'_>,
    store: Option<&Store>,
    client: &Client,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let Request { image, name, platform, mode } = request;
    [image, name].into_iter().try_for_each(check_repository)?;
    let source = client.repository(image)?;
    let target = client.repository(name)?.without_mirrors();
    let chosen = selection.of(tags::all(&source)?);
    if chosen.is_empty() {
        let failure =
            Failure::new(cli::Code::NotFound, format!("{}: no such tags", without_tag(image)));
        return Err(failure.hint(format!("remote tags {} lists them", without_tag(image))).into());
    }
    let tags = compare(&chosen, image, platform, (&source, &target))?;
    let progress = io.progress.clone();
    let blobs = Blobs::new(request, &source, &target, store, &progress);
    let mut copying = Copying::new((&source, &target), blobs, &progress, mode);
    let mut counts = Counts::default();
    let mut failed = None;
    for Tag { name: tag, here, there } in tags {
        cli::interrupt::check()?;
        let Some(digest) = here else { continue };
        let is_there = there == Some(digest);
        if !is_there {
            copying.n_documents = 0;
            if let Err(error) = copying.root(&digest, &tag) {
                cli::interrupt::check()?;
                let error = resolve::named(error, &image.tagged(&tag)?);
                let is_reached = !network::is_unreachable(&error);
                if let Some(earlier) = failed.replace(error) {
                    let earlier: &anyhow::Error = &earlier;
                    progress.alarm(format!("not copied: {}", cli::error::chain(earlier.as_ref())));
                }
                if is_reached {
                    continue;
                }
                break;
            }
        }
        counts.add(is_there);
        if mode == Mode::Copy {
            tell(&name.tagged(&tag)?, digest, is_there, io)?;
        }
    }
    let plan = copying.blobs.plan();
    match mode {
        Mode::DryRun { is_json } => io.tell_plan(plan, is_json)?,
        Mode::Copy => progress.say(format!("{counts}; {}", plan.summary())),
    }
    io.output.flush()?;
    failed.map_or(Ok(()), Err)
}

/// What each tag stands for on either side, many questions at once.
fn compare(
    chosen: &[String],
    image: &Reference,
    platform: Option<&Platform>,
    (source, target): (&Repository, &Repository),
) -> anyhow::Result<Vec<Tag>> {
    // Of a target that has none of them nothing need be asked.
    let known = target.tags().ok().map(|tags| tags.into_iter().collect::<BTreeSet<_>>());
    map(tags::JOBS, chosen, |tag| {
        cli::interrupt::check()?;
        let named = image.tagged(tag)?;
        let here = match platform {
            None => tags::digest(source, tag)?,
            Some(_) => Some(resolve::digest(&named, source, platform)?),
        };
        let may_be_there = known.as_ref().is_none_or(|known| known.contains(tag));
        let there = if may_be_there { standing(target, tag)? } else { None };
        Ok(Tag { name: tag.clone(), here, there })
    })
}

/// # Errors
/// Wrong usage: a name of a repository has a tag or a digest.
fn check_repository(name: &Reference) -> Result<(), Failure> {
    if name.digest().is_none() && name.tag() == Some("latest") {
        return Ok(());
    }
    let hint = format!("remote copy {} …", without_tag(name));
    Err(cli::usage(format!("{name}: with --tags or --latest, repositories are named")).hint(hint))
}

fn tell(name: &Reference, digest: Digest, is_there: bool, io: &mut Io<'_>) -> anyhow::Result<()> {
    let status = if is_there { "Image is up to date" } else { "Copied" };
    let event = ImageEvent {
        name: Some(name.full()),
        digest: digest.to_string(),
        status,
        is_important: false,
    };
    io.progress.image(event, &[]);
    writeln!(io.output, "{name}@{digest}")?;
    Ok(())
}

/// How many tags were copied, and how many were there.
#[derive(Debug, Default)]
struct Counts {
    n_copied: u64,
    n_there: u64,
}

impl Counts {
    fn add(&mut self, is_there: bool) {
        *(if is_there { &mut self.n_there } else { &mut self.n_copied }) += 1;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} copied, {} there already",
            counted(self.n_copied, "tag", "tags"),
            self.n_there
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_the_highest_versions() {
        let tags = ["1.9", "1.10", "1.10-rc1", "v2.0-beta", "latest", "main", "1.2", "2.0-alpine"];
        let chosen = |globs: &[&str], latest| {
            let globs: Vec<_> = globs.iter().map(|&it| it.to_owned()).collect();
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            Selection { globs: &globs, latest }.of(tags)
        };
        assert_eq!(chosen(&["1.*"], None), ["1.9", "1.10", "1.10-rc1", "1.2"]);
        assert_eq!(chosen(&["1.*"], Some(2)), ["1.10-rc1", "1.10"]);
        assert_eq!(chosen(&[], Some(3)), ["1.10", "v2.0-beta", "2.0-alpine"]);
        assert_eq!(chosen(&["main", "lat*"], None), ["latest", "main"]);
        assert!(chosen(&["none"], Some(3)).is_empty());
    }
}
