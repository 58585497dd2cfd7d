//! Making an index: images of several platforms under one name.

use std::collections::BTreeMap;

use cli::{Form, Io};
use layer_format::{
    Config, Descriptor, Document, Index, Manifest, Platform, Reference, media_type,
};
use serde_json::json;
use store::{IndexEntry, Lease, Store};

use crate::names::find;
use crate::page::Page;

/// The index to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Join<'a> {
    pub(crate) name: &'a Reference,
    pub(crate) annotations: &'a [(String, String)],
    /// Names or digests of the images that it joins.
    pub(crate) images: &'a [String],
}

impl Join<'_> {
    /// Makes the index, names it, and prints its digest.
    pub(crate) fn run(self, store: &Store, io: &mut Io<'_>, form: Form) -> anyhow::Result<()> {
        self.name.check_new()?;
        let lease = store.lease()?;
        let mut joined = Joined::default();
        for image in self.images {
            for text in joined.add(image, &lease)? {
                io.warn(&text);
            }
        }
        let index = joined.index(self.annotations)?;
        let digest = lease.put(index.raw())?;
        lease.name(&[IndexEntry::new(Some(self.name), index.descriptor())])?;
        Page { output: &mut io.output, form }.named(self.name, &digest)
    }
}

/// The entries of an index that is being made.
#[derive(Debug, Default)]
struct Joined {
    manifests: Vec<Descriptor>,
    /// Which of the user's words brought an image for a platform.
    platforms: Vec<(Platform, String)>,
}

impl Joined {
    /// Adds an image, or all images of an index. Returns what the user should know.
    ///
    /// # Errors
    /// Wrong usage, if the image is for a platform that another one is for.
    fn add(&mut self, text: &str, lease: &Lease) -> anyhow::Result<Vec<String>> {
        let store = lease.store();
        let found = find(store, text)?;
        lease.protect(&[found.descriptor.digest])?;
        let members = match Document::parse(store.document(&found.descriptor.digest)?)? {
            Document::Manifest(manifest) => vec![describe(store, &manifest)?],
            Document::Index(index) => index.manifests,
        };
        let away: Vec<_> = store.lacks(&members)?.into_iter().cloned().collect();
        let members = members.into_iter().filter(|member| !away.contains(member));
        let n_before = self.platforms.len();
        for member in members {
            self.add_one(text, member, n_before)?;
        }
        let platform = |member: &Descriptor| match &member.platform {
            Some(platform) => platform.to_string(),
            None => member.digest.to_string(),
        };
        let warning = |member: &Descriptor| {
            format!("{text}: {} is not in the store, and is left out", platform(member))
        };
        Ok(away.iter().filter(|it| !it.is_attestation()).map(warning).collect())
    }

    /// Adds an entry. Its platform must be none of the first `n_before`: in one index several images may be for one.
    fn add_one(&mut self, text: &str, member: Descriptor, n_before: usize) -> anyhow::Result<()> {
        if self.manifests.iter().any(|other| other.digest == member.digest) {
            return Ok(());
        }
        if let Some(platform) = member.platform.clone().filter(|_| !member.is_attestation()) {
            let before = self.platforms[..n_before].iter().find(|(other, _)| *other == platform);
            if let Some((_, other)) = before {
                let message = format!("{text}: is for {platform}, as {other} is");
                return Err(cli::usage(message).into());
            }
            self.platforms.push((platform, text.to_owned()));
        }
        self.manifests.push(member);
        Ok(())
    }

    /// The index. It is Docker's if all images are and nothing is said that Docker's has no room for.
    fn index(&self, annotations: &[(String, String)]) -> anyhow::Result<Index> {
        let annotations: BTreeMap<_, _> = annotations.iter().cloned().collect();
        let is_docker = |it: &Descriptor| it.media_type == media_type::DOCKER_MANIFEST;
        let media_type = if annotations.is_empty() && self.manifests.iter().all(is_docker) {
            media_type::DOCKER_INDEX
        } else {
            media_type::OCI_INDEX
        };
        let mut index = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "manifests": self.manifests,
        });
        if !annotations.is_empty() {
            index["annotations"] = json!(annotations);
        }
        Ok(Index::parse(index.to_string().into_bytes())?)
    }
}

/// The entry of an image in an index: its manifest, and the platform that its config says.
fn describe(store: &Store, manifest: &Manifest) -> anyhow::Result<Descriptor> {
    manifest.check_image()?;
    let config = Config::parse(store.document(&manifest.config.digest)?)?;
    Ok(Descriptor { platform: Some(config.platform), ..manifest.descriptor() })
}
