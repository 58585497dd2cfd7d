//! Naming images, and removing names.

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
    name.check_new()?;
    let lease = store.lease()?;
    let found = find(store, image)?;
    lease.protect(&[found.descriptor.digest])?;
    // The annotations of the entry stay with the image, unless the entry is that of an index around it.
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
    let mut removed: Vec<IndexEntry> = vec![];
    for name in names {
        let meant = own(store, name, meant(store, name)?)?;
        if allowed == Names::One {
            refuse_several(name, &meant)?;
        }
        removed.extend(meant);
    }
    let mut lines: Vec<Line> = store.remove(&removed)?.iter().map(line).collect();
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    page.list(&lines)
}

/// The entries that a name or a digest stands for.
fn meant(store: &Store, text: &str) -> anyhow::Result<Vec<IndexEntry>> {
    let found = find(store, text)?;
    if found.descriptor.digest != *found.image.digest() {
        let part = found.descriptor.digest;
        let whole = shown(&found.image);
        return Err(cli::usage(format!("{part}: is a part of {whole}"))
            .hint(format!("images rm {whole}"))
            .into());
    }
    if found.by == FoundBy::Name {
        return Ok(vec![found.image]);
    }
    let mut images = store.images()?;
    images.retain(|image| *image.digest() == found.descriptor.digest);
    // A name beside the digest tells in which repository the names are.
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

/// Those of the entries that are in the store itself.
///
/// # Errors
/// There are none: a store that is only read has them.
fn own(store: &Store, text: &str, mut meant: Vec<IndexEntry>) -> anyhow::Result<Vec<IndexEntry>> {
    let own = store.own_images()?;
    meant.retain(|image| own.contains(image));
    if !meant.is_empty() {
        return Ok(meant);
    }
    let others = store.each().into_iter().skip(1);
    let other = others.into_iter().find(|other| other.find(text).is_ok());
    let place = other.map(|other| cli::text::clean_path(other.path())).unwrap_or_default();
    let failure = Failure::new(Code::Failed, format!("{text}: is in {place}, which is only read"));
    Err(failure.hint(format!("images rm --store {place} {text}")).into())
}

/// Refuses to remove several names by a digest: the user may not know of all of them.
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

/// Finds an image of the store. A path or a stream is wrong usage.
pub(crate) fn find(store: &Store, text: &str) -> anyhow::Result<Found> {
    check(text)?;
    store.find(text).map_err(explain)
}

/// Refuses a word that can't name an image of the store.
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

/// The same for a column, with only the first digits of a digest in a name; the image is found by these too.
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

/// Adds a hint to an error about an image that isn't there: the usual one where something can be done about the word itself.
pub(crate) fn explain(error: store::Error) -> anyhow::Error {
    let hint = match &error {
        store::Error::NotFound { .. } if !error.is_about_spelling() => {
            Some("images lists what is there".to_owned())
        }
        _ => error.hint_in_store(),
    };
    hint.into_iter().fold(Failure::from_cause(error), Failure::hint).into()
}
