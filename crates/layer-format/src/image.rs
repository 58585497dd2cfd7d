//! Manifests, indexes and configs, of OCI and of Docker schema 2 (image-spec, manifest.md, image-index.md, config.md).
//!
//! Every document keeps the bytes from which it was read, because its digest is theirs. Only these bytes
//! ([`raw`](Manifest::raw)) are ever passed on, never a new serialisation. The content of a document decides its type,
//! because its media type may lie.

use std::collections::BTreeMap;
use std::io::Read;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::descriptor::{Descriptor, media_type, null_is_default};
use crate::digest::{DiffId, Digest};
use crate::error::Error;
use crate::platform::Platform;

/// The most bytes of a manifest, an index or a config. Registries refuse manifests beyond 4 MiB.
pub const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The most values in a document. With two bytes for each value, a text takes up to a hundred times its size in memory.
const VALUES_LIMIT: usize = 1 << 19;

/// The deepest nesting of a document's values.
const DEPTH_LIMIT: usize = 128;

/// Reads a document into memory. It stops reading one byte beyond `limit`. `what` names the document in errors.
///
/// # Errors
/// [`Error::TooLarge`] if the document is larger than `limit` bytes; [`Error::Io`] if it can't be read.
pub fn read_document(reader: impl Read, what: &str, limit: u64) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let n = reader
        .take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|source| Error::io("reading a document", source))?;
    if n as u64 > limit {
        return Err(Error::TooLarge { what: what.to_owned(), limit });
    }
    Ok(content)
}

/// A manifest or an index. Names and index entries point at one of them.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a handful exist at a time")]
pub enum Document {
    /// The manifest of one image.
    Manifest(Manifest),
    /// An index of several images, by platform.
    Index(Index),
}

impl Document {
    /// Parses a manifest or an index. A document that is both is refused: a reader that trusts the media type and one
    /// that trusts the content would see two different images.
    ///
    /// # Errors
    /// [`Error::MalformedJson`], [`Error::BeyondLimit`], [`Error::Contradiction`] if the document is both,
    /// [`Error::NoImage`] if it is neither, and [`Error::Malformed`] for a manifest of Docker's schema 1.
    pub fn parse(raw: Vec<u8>) -> Result<Self, Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[serde(expecting = "an object")]
        struct Shape<'a> {
            #[serde(default)]
            schema_version: Option<u64>,
            #[serde(borrow, default)]
            manifests: Option<&'a RawValue>,
            #[serde(borrow, default)]
            layers: Option<&'a RawValue>,
            #[serde(borrow, default)]
            config: Option<&'a RawValue>,
            #[serde(borrow, default)]
            fs_layers: Option<&'a RawValue>,
        }
        let what = || "manifest".to_owned();
        let shape: Shape<'_> = blob_from_json("manifest", &raw)?;
        if shape.fs_layers.is_some() || shape.schema_version == Some(1) {
            let reason = "Docker schema 1 is too old: push the image again with a current tool";
            return Err(Error::Malformed { what: what(), reason });
        }
        match (shape.manifests.is_some(), shape.config.is_some() || shape.layers.is_some()) {
            (true, true) => {
                let reason = "is both an image and an index";
                Err(Error::Contradiction { what: what(), reason })
            }
            (true, false) => Ok(Self::Index(Index::parse(raw)?)),
            (false, true) => Ok(Self::Manifest(Manifest::parse(raw)?)),
            (false, false) => {
                let reason = "is neither an image nor an index";
                Err(Error::NoImage { what: what(), reason })
            }
        }
    }

    /// The bytes from which the document was read.
    pub fn raw(&self) -> &[u8] {
        match self {
            Self::Manifest(manifest) => &manifest.raw,
            Self::Index(index) => &index.raw,
        }
    }

    /// The descriptor of the document.
    pub fn descriptor(&self) -> Descriptor {
        match self {
            Self::Manifest(manifest) => manifest.descriptor(),
            Self::Index(index) => index.descriptor(),
        }
    }
}

/// The manifest of an image: its config and its layers, base first.
///
/// It is made from bytes alone, by [`parse`](Self::parse). Serde can't make one, because then there would be no bytes
/// to keep:
///
/// ```compile_fail,E0277
/// let manifest: layer_format::Manifest = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Manifest {
    raw: Vec<u8>,
    /// The media type that the document states. Docker manifests always state it, most OCI manifests do.
    pub media_type: String,
    /// The descriptor of the config.
    pub config: Descriptor,
    /// The descriptors of the layers, base first.
    pub layers: Vec<Descriptor>,
    /// Annotations of the image, by key.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
struct ManifestFields {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// The bytes from which the manifest was read.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Parses a manifest.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if it is none, and [`Error::BeyondLimit`].
    pub fn parse(raw: Vec<u8>) -> Result<Self, Error> {
        let fields: ManifestFields = blob_from_json("manifest", &raw)?;
        let ManifestFields { media_type, config, layers, annotations } = fields;
        Ok(Self { raw, media_type, config, layers, annotations })
    }

    /// The bytes from which the manifest was read, without the parsed fields.
    pub fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    /// The descriptor of the manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(or_default(&self.media_type, media_type::OCI_MANIFEST), &self.raw)
    }

    /// The blobs that the manifest refers to: the config, then the layers, base first.
    pub fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// Refuses blobs that neither a stream nor a store can hold.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names the first such blob.
    pub fn check_digests(&self) -> Result<(), Error> {
        self.parts().try_for_each(Descriptor::check_digest)
    }

    /// Refuses an image without files: an artifact, whose config has a type of its own, or layers in a format that
    /// Strata can't read.
    ///
    /// # Errors
    /// [`Error::Unsupported`] names the type.
    pub fn check_image(&self) -> Result<(), Error> {
        let types = ["", media_type::OCI_CONFIG, media_type::DOCKER_CONFIG];
        let is_image = types.contains(&self.config.media_type.as_str());
        let odd = self.layers.iter().find(|layer| !layer.is_tar());
        match odd {
            None if is_image || !self.layers.is_empty() => Ok(()),
            Some(layer) if is_image => Err(Error::Unsupported {
                what: format!("a layer of type {:?}", layer.media_type),
                reason: if layer.is_encrypted() {
                    "it is encrypted, and there is no key for it"
                } else {
                    "it is no tar of files; its index may list another image"
                },
            }),
            _ => Err(self.no_image()),
        }
    }

    /// The digests of the layers' uncompressed bytes, base first, for a caller that reads the layers' files.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if this is no image with files (see [`check_image`](Self::check_image));
    /// [`Error::Contradiction`] if `config` has another number of layers.
    pub fn files<'a>(&self, config: &'a Config) -> Result<&'a [DiffId], Error> {
        self.check_image()?;
        let types = [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG];
        if config.diff_ids().is_empty() && !types.contains(&self.config.media_type.as_str()) {
            return Err(self.no_image());
        }
        config.check_layers(self.layers.len())?;
        Ok(config.diff_ids())
    }

    /// The digest of each layer's uncompressed bytes, base first, for a caller that passes the layers on. It is `None`
    /// for a layer that is no tar or is encrypted, and for all layers of an artifact, whose config has no such digests.
    ///
    /// # Errors
    /// [`Error::Contradiction`] if `config` has another number of layers.
    pub fn diff_ids(&self, config: &Config) -> Result<Vec<Option<DiffId>>, Error> {
        if config.diff_ids().is_empty() {
            return Ok(vec![None; self.layers.len()]);
        }
        config.check_layers(self.layers.len())?;
        let pairs = self.layers.iter().zip(config.diff_ids());
        Ok(pairs.map(|(layer, diff_id)| layer.is_tar().then_some(*diff_id)).collect())
    }

    fn no_image(&self) -> Error {
        Error::Unsupported {
            what: format!("a {:?}", self.config.media_type),
            reason: "this is no container image and has no files; save, load and push pass it on",
        }
    }

    /// Whether this is a Docker manifest, not an OCI manifest.
    pub fn is_docker(&self) -> bool {
        self.media_type == media_type::DOCKER_MANIFEST
    }
}

/// An index: several images under one name, by platform.
#[derive(Clone, Debug)]
pub struct Index {
    raw: Vec<u8>,
    /// The media type that the document states.
    pub media_type: String,
    /// The images, and what speaks about them.
    pub manifests: Vec<Descriptor>,
    /// Annotations of the index, by key.
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[serde(expecting = "an object")]
struct IndexFields {
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "null_is_default")]
    annotations: BTreeMap<String, String>,
}

impl Index {
    /// The bytes from which the index was read.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Parses an index.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if it is none, and [`Error::BeyondLimit`].
    pub fn parse(raw: Vec<u8>) -> Result<Self, Error> {
        let IndexFields { media_type, manifests, annotations } = from_json("index", &raw)?;
        Ok(Self { raw, media_type, manifests, annotations })
    }

    /// Makes an OCI index of `manifests`. The same entries give the same bytes.
    ///
    /// # Errors
    /// [`Error::BeyondLimit`] if there are too many entries.
    pub fn listing(manifests: &[Descriptor]) -> Result<Self, Error> {
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": manifests,
        });
        Self::parse(index.to_string().into_bytes())
    }

    /// The descriptor of the index.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::of(or_default(&self.media_type, media_type::OCI_INDEX), &self.raw)
    }
}

/// An image's config: the fields that Strata uses about how the image was made and is run.
#[derive(Clone, Debug)]
pub struct Config {
    raw: Vec<u8>,
    /// The platform that the image is for.
    pub platform: Platform,
    /// The time at which the image was made, in RFC 3339.
    pub created: Option<String>,
    /// The layers.
    pub rootfs: RootFs,
    /// The steps by which the image was made, first one first.
    pub history: Vec<History>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct ConfigFields {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    created: Option<String>,
    #[serde(default, deserialize_with = "null_is_default")]
    rootfs: RootFs,
    #[serde(default, deserialize_with = "null_is_default")]
    history: Vec<History>,
}

/// The list of layers in a config.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
pub struct RootFs {
    /// The type, which is `layers`; the specification has no other.
    #[serde(rename = "type", default, deserialize_with = "null_is_default")]
    pub kind: String,
    /// The digests of the layers' uncompressed bytes, base first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<DiffId>,
}

/// One step by which an image was made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(expecting = "an object")]
pub struct History {
    /// The time of the step, in RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// The command that was run.
    #[serde(default)]
    pub created_by: Option<String>,
    /// The author of the step.
    #[serde(default)]
    pub author: Option<String>,
    /// A comment on the step.
    #[serde(default)]
    pub comment: Option<String>,
    /// Whether the step changed only the config and made no layer.
    #[serde(default, deserialize_with = "null_is_default")]
    pub empty_layer: bool,
}

impl Config {
    /// The bytes from which the config was read.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Parses a config.
    ///
    /// # Errors
    /// [`Error::MalformedJson`] if it is none, [`Error::BeyondLimit`], and [`Error::Malformed`] if its root file system
    /// isn't made of layers.
    pub fn parse(raw: Vec<u8>) -> Result<Self, Error> {
        let fields: ConfigFields = blob_from_json("config", &raw)?;
        let ConfigFields { platform, created, rootfs, history } = fields;
        if !matches!(rootfs.kind.as_str(), "" | "layers") {
            let reason = "its root file system is of an unknown type";
            return Err(Error::Malformed { what: blob_name("config", &raw), reason });
        }
        Ok(Self { raw, platform, created, rootfs, history })
    }

    /// Whether the config says that its layers make a root file system. An artifact's config need not.
    pub fn has_root_file_system(&self) -> bool {
        self.rootfs.kind == "layers"
    }

    /// The digests of the layers' uncompressed bytes, base first.
    pub fn diff_ids(&self) -> &[DiffId] {
        &self.rootfs.diff_ids
    }

    /// Checks that the config has `n_layers` layers, the number in the manifest.
    ///
    /// # Errors
    /// [`Error::Contradiction`] if it has another number.
    pub fn check_layers(&self, n_layers: usize) -> Result<(), Error> {
        if self.diff_ids().len() == n_layers {
            return Ok(());
        }
        let reason = "the numbers of layers and of diff_ids differ";
        Err(Error::Contradiction { what: blob_name("config", &self.raw), reason })
    }
}

fn or_default<'a>(media_type: &'a str, default: &'a str) -> &'a str {
    if media_type.is_empty() { default } else { media_type }
}

/// Parses the JSON of a blob. An archive or a store has many blobs, so errors include the digest.
pub(crate) fn blob_from_json<'a, T: Deserialize<'a>>(
    kind: &str,
    raw: &'a [u8],
) -> Result<T, Error> {
    from_json(kind, raw).map_err(|error| match error {
        Error::MalformedJson { source, .. } => {
            Error::MalformedJson { what: blob_name(kind, raw), source }
        }
        Error::BeyondLimit { reason, .. } => {
            Error::BeyondLimit { what: blob_name(kind, raw), reason }
        }
        error => error,
    })
}

/// The name of a document in errors: its kind and its digest.
fn blob_name(kind: &str, raw: &[u8]) -> String {
    format!("{kind} {}", Digest::of(raw))
}

/// Parses the JSON of a document, which `what` names in errors. The number of its values and their nesting are checked
/// before it is parsed.
///
/// # Errors
/// [`Error::BeyondLimit`] and [`Error::MalformedJson`].
pub fn from_json<'a, T: Deserialize<'a>>(what: &str, raw: &'a [u8]) -> Result<T, Error> {
    let (n_values, depth) = measure(raw);
    let reason = match () {
        () if n_values > VALUES_LIMIT => Some("holds more values than an image needs"),
        () if depth > DEPTH_LIMIT => Some("is nested too deep"),
        () => None,
    };
    if let Some(reason) = reason {
        return Err(Error::BeyondLimit { what: what.to_owned(), reason });
    }
    serde_json::from_slice(raw)
        .map_err(|source| Error::MalformedJson { what: what.to_owned(), source })
}

/// The number of values in a JSON text, at most, and the depth of their nesting. A value is counted at each comma and
/// at the beginning of each list or object.
fn measure(raw: &[u8]) -> (usize, usize) {
    let (mut n_values, mut depth, mut deepest) = (0, 0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for &byte in raw {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = is_text,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b',' => n_values += 1,
            b'[' | b'{' => (n_values, depth) = (n_values + 1, depth + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    (n_values, deepest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"m","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}"#;

    fn parse(text: &str) -> Result<Document, Error> {
        Document::parse(text.as_bytes().to_vec())
    }

    #[test]
    fn a_document_is_read_up_to_its_limit_and_no_further() {
        for (limit, is_fine) in [(6, true), (5, true), (4, false), (0, false)] {
            let mut rest = &b"12345, and much more"[..];
            let read = read_document(rest.by_ref().take(5), "a document", limit);
            match read {
                Ok(content) => assert!(is_fine && content == b"12345", "{limit}"),
                Err(error) => {
                    assert!(!is_fine && matches!(error, Error::TooLarge { limit: 4 | 0, .. }));
                    assert_eq!(rest.len() as u64, 19 - limit, "one byte more shows it");
                }
            }
        }
    }

    #[test]
    fn documents_are_told_by_what_they_hold() {
        let manifest = format!(r#"{{"schemaVersion":2,"config":{DESCRIPTOR},"layers":null}}"#);
        assert!(
            matches!(parse(&manifest).unwrap(), Document::Manifest(manifest) if manifest.layers.is_empty())
        );
        let index =
            format!(r#"{{"mediaType":"{}","manifests":[{DESCRIPTOR}]}}"#, media_type::OCI_MANIFEST);
        assert!(
            matches!(parse(&index).unwrap(), Document::Index(index) if index.manifests.len() == 1)
        );
    }

    #[test]
    fn ambiguous_and_senseless_documents_are_refused() {
        let both = format!(r#"{{"config":{DESCRIPTOR},"layers":[],"manifests":[]}}"#);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in
            [&both, "{}", "", "<html>", r#"{"schemaVersion":1,"fsLayers":[]}"#, &deep, "[]", "null"]
        {
            assert!(parse(text).is_err(), "{text:.60}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_document_can_be_matched() {
        let refused = |text: &str| parse(text).unwrap_err();
        let deep = format!(r#"{{"layers":[],"x":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let error = refused(&deep);
        assert!(matches!(error, Error::BeyondLimit { .. }), "{error:?}");
        let name = format!("manifest {}", Digest::of(deep.as_bytes()));
        assert_eq!(error.to_string(), format!("{name}: is nested too deep"));
        let both = format!(r#"{{"config":{DESCRIPTOR},"layers":[],"manifests":[]}}"#);
        let error = refused(&both);
        assert!(matches!(error, Error::Contradiction { .. }), "{error:?}");
        assert_eq!(error.to_string(), "manifest: is both an image and an index");
        assert!(matches!(refused("{}"), Error::NoImage { .. }));
        assert!(matches!(refused(r#"{"schemaVersion":1}"#), Error::Malformed { .. }));
        assert!(matches!(refused("<html>"), Error::MalformedJson { .. }));
        let config = Config::parse(br#"{"rootfs":{"type":"layers"}}"#.to_vec()).unwrap();
        assert!(matches!(config.check_layers(1), Err(Error::Contradiction { .. })));
    }

    #[test]
    fn a_config_may_leave_things_out() {
        let config = Config::parse(
            br#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":null}}"#
                .to_vec(),
        );
        let config = config.unwrap();
        assert!(config.check_layers(0).is_ok() && config.check_layers(1).is_err());
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert!(Config::parse(br#"{"rootfs":{"type":"base+layers"}}"#.to_vec()).is_err());
        let config = Config::parse(br#"{"os":null,"architecture":null,"rootfs":null}"#.to_vec());
        assert!(config.unwrap().diff_ids().is_empty());
    }

    #[test]
    fn documents_of_nothing_but_values_are_refused() {
        let layers = |item: &str, n: usize| {
            let items = vec![item; n].join(",");
            parse(&format!(r#"{{"config":{DESCRIPTOR},"layers":[],"x":[{items}]}}"#))
        };
        assert!(layers("0", 500_000).is_ok());
        assert!(layers("0", VALUES_LIMIT + 1).is_err());
        assert!(layers("{}", VALUES_LIMIT / 2 + 1).is_err());
        // What counts: a list or an object that begins, and a comma. Of the others there are eight.
        for n in [VALUES_LIMIT - 1, VALUES_LIMIT, VALUES_LIMIT + 1] {
            assert_eq!(layers("0", n - 7).is_ok(), n <= VALUES_LIMIT, "{n}");
        }
        assert!(layers(r#""\"[,{[,{[,{\\\"[,{""#, 100_000).is_ok(), "what is in texts is none");
    }

    #[test]
    fn nesting_has_an_end_in_fields_that_nobody_knows_too() {
        let nested = |n: usize| {
            let (open, close) = ("[".repeat(n), "]".repeat(n));
            parse(&format!(r#"{{"manifests":[{DESCRIPTOR}],"x":"{open}","y":{open}{close}}}"#))
        };
        assert!(nested(120).is_ok());
        assert!(nested(140).is_err());
        assert!(nested(100_000).is_err());
    }

    #[test]
    fn a_document_beyond_the_limit_is_not_read() {
        assert!(matches!(
            read_document(std::io::repeat(b'{'), "manifest", 1000),
            Err(Error::TooLarge { .. })
        ));
        assert_eq!(read_document(&b"12"[..], "manifest", 2).unwrap(), b"12");
    }
}
