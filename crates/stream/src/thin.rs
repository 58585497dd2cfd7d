//! `strata.json`, which lists the blobs that a thin stream leaves out.
//!
//! ```json
//! {"version":1,"base":["docker.io/library/debian:12"],"left_out":[{"digest":"sha256:…","size":1,"diff_id":"sha256:…"}],
//!  "seal":"sha256:…"}
//! ```
//!
//! The list of blobs follows from the images and the blobs that travel, so a strict reader makes it again. The names of
//! the base follow from nothing. The seal, a digest of everything before it, covers them. Changing any of this breaks
//! readers.

use std::collections::HashSet;

use layer_format::{Config, Descriptor, DiffId, Digest, Error, from_json};
use serde::{Deserialize, Serialize};

use super::Graph;

/// The only version.
const VERSION: u32 = 1;

/// The description of a thin stream: its base, and the blobs that it leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thin {
    /// The full names or the digests of the images that the receiver should have.
    pub base: Vec<String>,
    /// The blobs that don't travel, in the order that they would have in the stream.
    pub left_out: Vec<LeftOut>,
}

/// A blob that doesn't travel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct LeftOut {
    /// The digest of the stored bytes.
    pub digest: Digest,
    /// The number of stored bytes.
    pub size: u64,
    /// The digest of the uncompressed bytes, if the blob is a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff_id: Option<DiffId>,
}

/// The document without its seal.
#[derive(Serialize)]
struct Unsealed<'a> {
    version: u32,
    base: &'a [String],
    left_out: &'a [LeftOut],
}

#[derive(Serialize)]
struct Sealed<'a> {
    #[serde(flatten)]
    unsealed: Unsealed<'a>,
    seal: Digest,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Parsed {
    version: u32,
    #[serde(default)]
    base: Vec<String>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

impl Thin {
    /// Finds the layers of `images` that are left out. `config` is called for each config with such a layer.
    ///
    /// # Errors
    /// [`Error::NotFound`] if a config is missing; and the errors of malformed configs and of `config`.
    pub fn of(
        base: Vec<String>,
        images: &[Graph],
        is_left_out: &dyn Fn(&Digest) -> bool,
        config: &mut super::Lookup<'_>,
    ) -> Result<Self, Error> {
        let mut thin = Self { base, left_out: vec![] };
        let mut seen = HashSet::new();
        for image in images {
            let entries = image.entries();
            for manifest in &image.manifests {
                let layers = manifest.layers.iter().enumerate();
                let left_out: Vec<_> = layers
                    .filter(|(_, layer)| is_left_out(&layer.digest) && seen.insert(layer.digest))
                    .collect();
                let is_known = !left_out.is_empty() && entries.is_runnable(manifest);
                let known = is_known.then(|| diff_ids(&manifest.config, config)).transpose()?;
                let known = known.unwrap_or_default();
                thin.left_out.extend(left_out.into_iter().map(|(position, layer)| LeftOut {
                    digest: layer.digest,
                    size: layer.size,
                    diff_id: known.get(position).copied(),
                }));
            }
        }
        Ok(thin)
    }

    /// Whether the stream has none of these layers, and not because of a base: it was made to carry documents only.
    pub fn is_documents_only(&self, layers: impl IntoIterator<Item = Digest>) -> bool {
        let left_out: HashSet<_> = self.left_out.iter().map(|it| it.digest).collect();
        self.base.is_empty() && layers.into_iter().all(|layer| left_out.contains(&layer))
    }

    /// The bytes of `strata.json`. The same content gives the same bytes.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if it can't be serialised.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let serialised = |source| Error::MalformedJson { what: "strata.json".to_owned(), source };
        let unsealed = || Unsealed { version: VERSION, base: &self.base, left_out: &self.left_out };
        let seal = Digest::of(&serde_json::to_vec(&unsealed()).map_err(serialised)?);
        serde_json::to_vec(&Sealed { unsealed: unsealed(), seal }).map_err(serialised)
    }

    /// Parses `strata.json`. It doesn't check the seal; a strict reader makes the document again and compares it.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], [`Error::BeyondLimit`], and [`Error::Malformed`] for another version.
    pub fn parse(raw: &[u8]) -> Result<Self, Error> {
        let parsed: Parsed = from_json("strata.json", raw)?;
        if parsed.version != VERSION {
            let reason = "is of a version that this program doesn't know";
            return Err(Error::Malformed { what: "strata.json".to_owned(), reason });
        }
        Ok(Self { base: parsed.base, left_out: parsed.left_out })
    }
}

fn diff_ids(config: &Descriptor, lookup: &mut super::Lookup<'_>) -> Result<Vec<DiffId>, Error> {
    let missing = || Error::NotFound { what: format!("config {}", config.digest) };
    let raw = lookup(config)?.ok_or_else(missing)?;
    Ok(Config::parse(raw)?.diff_ids().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use layer_format::Manifest;
    use layer_format::media_type;

    #[test]
    fn what_is_left_out_is_listed_once_with_its_diff_id() {
        let diff_ids: Vec<_> = [b"A", b"B", b"C"].map(|text| Digest::of(text)).into();
        let config = serde_json::json!({"rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string().into_bytes();
        let layers = [b"a", b"b", b"a"].map(|text| Descriptor::of(media_type::OCI_LAYER, text));
        let manifest = serde_json::json!({
            "schemaVersion": 2, "layers": layers,
            "config": Descriptor::of(media_type::OCI_CONFIG, &config),
        });
        let manifest = Manifest::parse(manifest.to_string().into_bytes()).unwrap();
        let images = vec![Graph { indexes: vec![], manifests: vec![manifest] }; 2];
        let is_left_out = |digest: &Digest| *digest == Digest::of(b"a");
        let base = vec!["docker.io/library/base:1".to_owned()];
        let thin =
            Thin::of(base, &images, &is_left_out, &mut |_| Ok(Some(config.clone()))).unwrap();
        let diff_id = Some(DiffId(Digest::of(b"A")));
        assert_eq!(thin.left_out, [LeftOut { digest: Digest::of(b"a"), size: 1, diff_id }]);
        assert_eq!(Thin::parse(&thin.to_json().unwrap()).unwrap(), thin);
    }

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let text = String::from_utf8(Thin::default().to_json().unwrap()).unwrap();
        let unsealed = r#"{"version":1,"base":[],"left_out":[]}"#;
        let seal = Digest::of(unsealed.as_bytes());
        assert_eq!(text, format!(r#"{{"version":1,"base":[],"left_out":[],"seal":"{seal}"}}"#));
        assert!(Thin::parse(br#"{"version":2}"#).is_err());
    }
}
