//! The media types of an image: the OCI's or Docker's.

use layer_format::{Codec, media_type};

/// The family of media types that an image's documents and layers have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The OCI's.
    Oci,
    /// Docker's, of image manifest version 2, schema 2.
    Docker,
}

impl Format {
    /// The media type of a layer; `None` if there is none for this codec.
    pub(crate) fn layer(self, codec: Codec) -> Option<&'static str> {
        match (self, codec) {
            (Self::Oci, codec) => Some(codec.layer_type()),
            (Self::Docker, Codec::None) => Some(media_type::DOCKER_LAYER),
            (Self::Docker, Codec::Gzip) => Some(media_type::DOCKER_LAYER_GZIP),
            (Self::Docker, Codec::Zstd) => None,
        }
    }

    /// The media type of a manifest.
    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_MANIFEST,
            Self::Docker => media_type::DOCKER_MANIFEST,
        }
    }

    /// The media type of a config.
    pub(crate) fn config(self) -> &'static str {
        match self {
            Self::Oci => media_type::OCI_CONFIG,
            Self::Docker => media_type::DOCKER_CONFIG,
        }
    }
}
