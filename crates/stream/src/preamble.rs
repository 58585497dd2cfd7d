//! The preamble of a stream, `index.json` and `manifest.json`. They are derived from the images alone.

use std::collections::{BTreeMap, HashMap, HashSet};

use layer_format::{
    Descriptor, Digest, Error, Index, Manifest, Platform, Reference, annotation, media_type,
};
use serde::Serialize;

/// A name in a stream and its target. An image without a name has an entry, too.
#[derive(Clone, Debug)]
pub struct Name {
    /// The name, if there is one.
    pub reference: Option<Reference>,
    /// The descriptor of the manifest or index, without annotations.
    pub target: Descriptor,
}

/// The documents that describe an image, or several images of an index.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// The indexes above the manifests, outermost first.
    pub indexes: Vec<Index>,
    /// The manifests that travel. Attestations and the like are among them.
    pub manifests: Vec<Manifest>,
}

/// The documents at the beginning of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// The content of `index.json`.
    pub index: Vec<u8>,
    /// The content of `manifest.json`.
    pub manifest: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IndexJson {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Preamble {
    /// Derives both documents. The same names and images give the same bytes.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if a document can't be serialised.
    pub fn of(names: &[Name], images: &[Graph]) -> Result<Self, Error> {
        let serialised = |source| Error::MalformedJson { what: "index.json".to_owned(), source };
        let manifests = names.iter().map(entry).collect();
        let index = IndexJson { schema_version: 2, media_type: media_type::OCI_INDEX, manifests };
        let docker = docker_images(names, images);
        Ok(Self {
            index: serde_json::to_vec(&index).map_err(serialised)?,
            manifest: serde_json::to_vec(&docker).map_err(serialised)?,
        })
    }
}

/// The entry of `index.json` for a name. The tag is in the image-spec's annotation, and the full name is in the one
/// that containerd and podman use.
fn entry(name: &Name) -> Descriptor {
    let mut entry = name.target.clone();
    entry.annotations.clear();
    if let Some(reference) = &name.reference {
        entry.annotations.insert(annotation::IMAGE_NAME.to_owned(), reference.full());
        if let Some(tag) = reference.tag() {
            entry.annotations.insert(annotation::REF_NAME.to_owned(), tag.to_owned());
        }
    }
    entry
}

/// Docker's list of images. It has every image whose layers make a file system, and none that speaks about another. The
/// names of an index go to its image for linux/amd64, or else to its first one: Docker's older stores know one image
/// for each name, and a stream must not depend on the machine that writes it.
fn docker_images(names: &[Name], images: &[Graph]) -> Vec<DockerImage> {
    let mut tags: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for name in names {
        let tag = name
            .reference
            .as_ref()
            .filter(|reference| reference.tag().is_some() && reference.digest().is_none());
        tags.entry(name.target.digest).or_default().extend(tag.map(Reference::full));
    }
    let about = names.iter().filter(|name| is_about_another(name));
    let about: HashSet<_> = about.map(|name| name.target.digest).collect();
    let mut seen = HashSet::new();
    let mut listed = Vec::new();
    for image in images {
        let entries = image.entries();
        let bearer = bearer(image, &entries);
        let index = image.indexes.first().map(|index| index.descriptor().digest);
        for (position, manifest) in image.manifests.iter().enumerate() {
            let digest = manifest.descriptor().digest;
            let root = index.unwrap_or(digest);
            let is_image = entries.is_runnable(manifest) && !about.contains(&root);
            if !is_image || !seen.insert((root, digest)) {
                continue;
            }
            let repo_tags = if position == bearer {
                tags.get(&root).cloned().unwrap_or_default()
            } else {
                Vec::new()
            };
            let layers = manifest.layers.iter().map(|layer| layer.digest.blob_path()).collect();
            listed.push(DockerImage {
                config: manifest.config.digest.blob_path(),
                repo_tags,
                layers,
            });
        }
    }
    listed
}

/// Whether it is a signature or the like. Those of cosign have an image's config, and yet no files.
fn is_about_another(name: &Name) -> bool {
    name.reference.as_ref().is_some_and(|reference| reference.subject().is_some())
}

fn bearer(image: &Graph, entries: &Entries<'_>) -> usize {
    let is_amd64 = |manifest: &&Manifest| {
        let platform = entries.of(manifest).and_then(|entry| entry.platform.as_ref());
        platform.is_some_and(|platform| platform.to_string() == "linux/amd64")
    };
    let is_runnable = |manifest: &&Manifest| entries.is_runnable(manifest);
    let manifests = || image.manifests.iter();
    manifests()
        .position(|manifest| is_runnable(&manifest) && is_amd64(&manifest))
        .or_else(|| manifests().position(|manifest| is_runnable(&manifest)))
        .unwrap_or(0)
}

/// The entries in an image's indexes for its manifests.
#[derive(Debug)]
pub struct Entries<'a>(HashMap<Digest, &'a Descriptor>);

impl Graph {
    /// The entries in the indexes for the manifests.
    pub fn entries(&self) -> Entries<'_> {
        let mut entries = HashMap::new();
        for entry in self.indexes.iter().flat_map(|index| &index.manifests) {
            entries.entry(entry.digest).or_insert(entry);
        }
        Entries(entries)
    }
}

impl Entries<'_> {
    /// Whether a manifest is that of a container image, and not an artifact or something that speaks about another
    /// image.
    pub fn is_runnable(&self, manifest: &Manifest) -> bool {
        let is_config = manifest.config.media_type == media_type::OCI_CONFIG
            || manifest.config.media_type == media_type::DOCKER_CONFIG;
        is_config && !self.is_attestation(manifest)
    }

    /// Whether a manifest speaks about another image.
    pub fn is_attestation(&self, manifest: &Manifest) -> bool {
        self.of(manifest).is_some_and(Descriptor::is_attestation)
    }

    /// The platform in the manifest's entry, if it has one.
    pub fn platform(&self, manifest: &Manifest) -> Option<&Platform> {
        self.of(manifest)?.platform.as_ref()
    }

    fn of(&self, manifest: &Manifest) -> Option<&Descriptor> {
        self.0.get(&manifest.descriptor().digest).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(layers: &[&[u8]]) -> Manifest {
        let layers: Vec<_> =
            layers.iter().map(|layer| Descriptor::of(media_type::OCI_LAYER, layer)).collect();
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let raw = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers});
        Manifest::parse(raw.to_string().into_bytes()).unwrap()
    }

    fn image(layers: &[&[u8]]) -> Graph {
        Graph { indexes: vec![], manifests: vec![manifest(layers)] }
    }

    #[test]
    fn two_names_of_one_image_are_listed_once() {
        let image = image(&[b"a"]);
        let target = image.manifests[0].descriptor();
        let name =
            |text: &str| Name { reference: Some(text.parse().unwrap()), target: target.clone() };
        let preamble = Preamble::of(&[name("b"), name("a:1")], &[image.clone(), image]).unwrap();
        let expected = format!(
            r#"[{{"Config":"{}","RepoTags":["docker.io/library/b:latest","docker.io/library/a:1"],"Layers":["{}"]}}]"#,
            Digest::of(b"{}").blob_path(),
            Digest::of(b"a").blob_path()
        );
        assert_eq!(String::from_utf8(preamble.manifest).unwrap(), expected);
        let index: Index = Index::parse(preamble.index).unwrap();
        assert_eq!(index.manifests[1].annotation(annotation::REF_NAME), Some("1"));
        assert_eq!(
            index.manifests[0].annotation(annotation::IMAGE_NAME),
            Some("docker.io/library/b:latest")
        );
    }

    #[test]
    fn a_name_with_a_digest_is_no_tag_for_docker() {
        let image = image(&[]);
        let target = image.manifests[0].descriptor();
        let reference = format!("a@{}", target.digest).parse().ok();
        let preamble = Preamble::of(&[Name { reference, target }], &[image]).unwrap();
        assert!(String::from_utf8(preamble.manifest).unwrap().contains(r#""RepoTags":[]"#));
    }
}
