//! Names that come and go.

use cli::Failure;
use layer_format::Reference;
use serde_json::json;
use store::{Found, FoundBy, Image, Location, Store};

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
    let descriptor = if is_entry { found.image.descriptor } else { found.descriptor };
    let named = Image::new(Some(name), descriptor);
    let digest = *named.digest();
    lease.name(&[named])?;
    page.object(&json!({"name": name.full(), "digest": digest}))
}

/// Removes names, all or none of them.
pub(crate) fn remove(store: &Store, names: &[String], page: &mut Page<'_>) -> anyhow::Result<()> {
    let mut doomed: Vec<Image> = vec![];
    for name in names {
        doomed.extend(meant(store, name)?);
    }
    let mut lines: Vec<Line> = store.remove(&doomed)?.iter().map(line).collect();
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    page.list(&lines)
}

/// The entries that a name, or a digest, stands for.
fn meant(store: &Store, text: &str) -> anyhow::Result<Vec<Image>> {
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
    Ok(images)
}

/// Finds an image of the store; a path or a stream is none.
pub(crate) fn find(store: &Store, text: &str) -> anyhow::Result<Found> {
    check(text)?;
    store.find(text).map_err(explain)
}

/// Refuses what can't be meant for an image of the store.
pub(crate) fn check(text: &str) -> anyhow::Result<()> {
    match Location::from(text) {
        Location::Stored(_) => Ok(()),
        _ => Err(cli::usage(format!("{text}: only images of the store are meant here")).into()),
    }
}

fn line(image: &Image) -> Line {
    Line { name: shown(image), json: json!({"name": image.name(), "digest": image.digest()}) }
}

/// An image's name in its short form, or its digest.
pub(crate) fn shown(image: &Image) -> String {
    match (image.reference(), image.name()) {
        (Some(reference), _) => reference.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => image.digest().to_string(),
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
