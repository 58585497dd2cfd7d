//! The media types of an image: the OCI's or Docker's.

use layer_format::{Codec, Error, Manifest, media_type};

use crate::edit::RawObject;

/// The family of media types that an image's documents and layers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The OCI's.
    Oci,
    /// Docker's, of image manifest version 2, schema 2.
    Docker,
}

impl Format {
    /// The format of an image's manifest.
    pub fn of(manifest: &Manifest) -> Self {
        if manifest.is_docker() { Self::Docker } else { Self::Oci }
    }

    /// The media type of a layer; `None` if there is none for this codec.
    pub fn layer(self, codec: Codec) -> Option<&'static str> {
        match (self, codec) {
            (Self::Oci, codec) => Some(codec.layer_type()),
            (Self::Docker, Codec::None) => Some(media_type::DOCKER_LAYER),
            (Self::Docker, Codec::Gzip) => Some(media_type::DOCKER_LAYER_GZIP),
            (Self::Docker, Codec::Zstd) => None,
        }
    }

    /// The media type of a manifest.
    pub fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    /// The media type of a config.
    pub fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }
}

/// Changes the media type of a layer's descriptor from Docker's to the OCI's for the same bytes. Other types stay.
///
/// # Errors
/// [`Error::MalformedJson`], if the descriptor is malformed.
pub fn to_oci(layer: &mut RawObject) -> Result<(), Error> {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.";
    let media_type: String = layer.read("mediaType")?;
    let Some(rest) = media_type.strip_prefix(DOCKER) else { return Ok(()) };
    let (foreign, codec) = match rest.strip_prefix("foreign.") {
        Some(codec) => ("nondistributable.", codec),
        None => ("", rest),
    };
    let codec = match codec {
        "diff.tar" => "",
        "diff.tar.gzip" => "+gzip",
        "diff.tar.zstd" => "+zstd",
        _ => return Ok(()),
    };
    layer.set("mediaType", &format!("application/vnd.oci.image.layer.{foreign}v1.tar{codec}"))
}
