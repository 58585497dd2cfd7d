//! Names that come and go.

use cli::{Code, Failure};
use image::Location;
use layer_format::Reference;
use serde_json::json;
use store::{Found, FoundBy, IndexEntry, Store};

use crate::page::{Line, Page};

/// Gives an image another name.
pub(crate) fn tag(
    store: &Store,
    image: &str,
    name: &Reference,
    page: &mut Page<'_>,
) -> anyhow::Result<()> {
    if name.digest().is_some() {
        return Err(cli::usage(format!("{name}: a name with a digest can't be given")).into());
    }
    let lease = store.lease()?;
    let found = find(store, image)?;
    lease.protect(&[found.descriptor.digest])?;
    // The entry says more than an index says of one of its images.
    let is_entry = found.descriptor.digest == *found.image.digest();
    let index = found.image.index().filter(|_| is_entry);
    let descriptor = if is_entry { found.image.descriptor } else { found.descriptor };
    let named = IndexEntry::new(Some(name), descriptor);
    let named = index.into_iter().fold(named, IndexEntry::chosen_from);
    let digest = *named.digest();
    lease.name(&[named])?;
    page.object(&json!({"name": name.full(), "digest": digest}))
}

/// Whether a digest may stand for several names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    One,
    Several,
}

/// Removes names, all or none of them.
pub(crate) fn remove(
    store: &Store,
    names: &[String],
    allowed: Names,
    page: &mut Page<'_>,
) -> anyhow::Result<()> {
    let mut doomed: Vec<IndexEntry> = vec![];
    for name in names {
        let meant = meant(store, name)?;
        if allowed == Names::One {
            refuse_several(name, &meant)?;
        }
        doomed.extend(meant);
    }
    let mut lines: Vec<Line> = store.remove(&doomed)?.iter().map(line).collect();
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    page.list(&lines)
}

/// The entries that a name, or a digest, stands for.
fn meant(store: &Store, text: &str) -> anyhow::Result<Vec<IndexEntry>> {
    let found = find(store, text)?;
    if found.descriptor.digest != *found.image.digest() {
        let (part, whole) = (found.descriptor.digest, shown(&found.image));
        return Err(cli::usage(format!("{part}: is a part of {whole}"))
            .hint(format!("images rm {whole}"))
            .into());
    }
    if found.by == FoundBy::Name {
        return Ok(vec![found.image]);
    }
    let mut images = store.images()?;
    images.retain(|image| *image.digest() == found.descriptor.digest);
    // Beside a digest, a name tells whose names are meant.
    let repository = text.parse::<Reference>().ok().filter(|it| it.digest().is_some());
    if let Some(repository) = repository.map(|it| it.name()) {
        let is_anothers = |it: Reference| it.name() != repository;
        images.retain(|image| !image.reference().is_some_and(is_anothers));
    }
    if images.is_empty() {
        return Err(explain(store::Error::NotFound { text: text.to_owned() }));
    }
    Ok(images)
}

/// Refuses to remove several names that weren't said: who types a digest may not know of them.
fn refuse_several(text: &str, images: &[IndexEntry]) -> anyhow::Result<()> {
    let mut names: Vec<_> = images.iter().filter(|it| it.name().is_some()).map(shown).collect();
    if names.len() < 2 {
        return Ok(());
    }
    names.sort();
    let message = format!("{text}: has {} names: {}", names.len(), names.join(", "));
    let hint = format!("images rm NAME removes one, images rm --force {text} all of them");
    Err(Failure::new(Code::Failed, message).hint(hint).into())
}

/// Finds an image of the store; a path or a stream is none.
pub(crate) fn find(store: &Store, text: &str) -> anyhow::Result<Found> {
    check(text)?;
    store.find(text).map_err(explain)
}

/// Refuses what can't be meant for an image of the store.
pub(crate) fn check(text: &str) -> anyhow::Result<()> {
    if Location::from(text).is_stored() {
        return Ok(());
    }
    Err(cli::usage(format!("{text}: only images of the store are meant here")).into())
}

fn line(image: &IndexEntry) -> Line {
    Line { name: shown(image), json: json!({"name": image.name(), "digest": image.digest()}) }
}

/// An image's name in its short form, or its digest.
pub(crate) fn shown(image: &IndexEntry) -> String {
    match (image.reference(), image.name()) {
        (Some(reference), _) => reference.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => image.digest().to_string(),
    }
}

/// The same for a column: of a pinned name, the first digits of its digest, by which it is found too.
pub(crate) fn shown_short(image: &IndexEntry) -> String {
    let shown = shown(image);
    let digest = image.reference().and_then(|it| it.digest().copied());
    match (digest, shown.split_once('@')) {
        (Some(digest), Some((name, _))) => {
            format!("{name}@{}:{}", digest.algorithm().name(), digest.short())
        }
        _ => shown,
    }
}

/// Says what to do about an image that isn't there.
pub(crate) fn explain(error: store::Error) -> anyhow::Error {
    match &error {
        store::Error::NotFound { .. } => {
            Failure::from_cause(error).hint("images lists what is there").into()
        }
        _ => error.into(),
    }
}
