//! What a name means at a registry: a document, its digest, or the one for a platform.

use layer_format::resolve::{ContainerConfig, Selected};
use layer_format::{Digest, Document, Manifest, Platform, Reference, check_platform};
use network::RemoteDocuments;
use registry::Repository;

/// The digest of what a name stands for, or of the manifest for a platform.
///
/// # Errors
/// The registry's, and that there is none for the platform.
pub(crate) fn digest(
    name: &Reference,
    repository: &Repository,
    platform: Option<&Platform>,
) -> anyhow::Result<Digest> {
    if platform.is_none() {
        return Ok(repository.digest(&name.wanted())?);
    }
    let (document, digest) = repository.manifest(&name.wanted())?;
    match (document, platform) {
        (document @ Document::Index(_), Some(platform)) => {
            Ok(select(document, name, repository, platform)?.descriptor().digest)
        }
        (document, platform) => {
            if let (Document::Manifest(manifest), Some(platform)) = (&document, platform) {
                check(manifest, name, repository, platform)?;
            }
            Ok(digest)
        }
    }
}

/// The manifest or index that a name stands for, or the manifest for a platform.
///
/// # Errors
/// As [`digest`].
pub(crate) fn document(
    name: &Reference,
    repository: &Repository,
    platform: Option<&Platform>,
) -> anyhow::Result<Document> {
    let (document, _) = repository.manifest(&name.wanted())?;
    match (document, platform) {
        (document @ Document::Index(_), Some(platform)) => {
            Ok(Document::Manifest(select(document, name, repository, platform)?))
        }
        (Document::Manifest(manifest), Some(platform)) => {
            check(&manifest, name, repository, platform)?;
            Ok(Document::Manifest(manifest))
        }
        (document, None) => Ok(document),
    }
}

/// The manifest that a name stands for; of an index, the one for the platform, or else for this machine.
///
/// # Errors
/// As [`digest`].
pub(crate) fn manifest(
    name: &Reference,
    repository: &Repository,
    platform: Option<&Platform>,
) -> anyhow::Result<Manifest> {
    match document(name, repository, platform)? {
        Document::Manifest(manifest) => Ok(manifest),
        index @ Document::Index(_) => select(index, name, repository, &Platform::host()),
    }
}

/// Goes down from an index to the manifest for a platform.
fn select(
    index: Document,
    name: &Reference,
    repository: &Repository,
    platform: &Platform,
) -> anyhow::Result<Manifest> {
    let selected = Selected::descend(index, None, platform, &mut RemoteDocuments(repository));
    Ok(selected.map_err(|error| named(error, name))?.manifest)
}

/// Checks that an image without an index is for the platform that was asked for; only its config says so.
fn check(
    manifest: &Manifest,
    name: &Reference,
    repository: &Repository,
    platform: &Platform,
) -> anyhow::Result<()> {
    let raw = repository.document(&manifest.config)?;
    let checked = ContainerConfig::parse(manifest, raw)
        .and_then(|it| check_platform(Some(platform), None, &it.config.platform));
    checked.map_err(|error| named(error.into(), name))
}

/// Adds the image's name to an error that doesn't name it by itself, as the registry's do.
pub(crate) fn named(error: anyhow::Error, name: &Reference) -> anyhow::Error {
    if error.downcast_ref::<registry::Error>().is_some() {
        return error;
    }
    error.context(name.to_string())
}
