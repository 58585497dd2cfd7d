//! Everything that can be wrong with the bytes of an image.

use std::collections::HashSet;
use std::io;

use crate::digest::{DiffId, Digest};

/// What is wrong, and with which thing. The text never includes the cause, which [`source`](std::error::Error::source)
/// gives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A digest that is neither `sha256:` and 64 lower-case hex digits, nor `sha512:` and 128.
    #[error("malformed digest {text:?}")]
    MalformedDigest {
        /// The text in its place, cut to a readable length.
        text: String,
    },
    /// Content whose hash differs from the expected one.
    #[error("{what}: digest mismatch: expected {expected}, found {found}")]
    DigestMismatch {
        /// The kind of content: `blob`, `layer`, `config`…
        what: &'static str,
        /// The expected digest.
        expected: Box<Digest>,
        /// The digest of the actual bytes.
        found: Box<Digest>,
    },
    /// Content that is longer or shorter than expected.
    #[error("{digest}: size mismatch: expected {expected} bytes, found {found}")]
    SizeMismatch {
        /// The blob's digest.
        digest: Digest,
        /// The expected number of bytes.
        expected: u64,
        /// The actual number of bytes. The expected number plus one stands for any larger number.
        found: u64,
    },
    /// An image name that no registry could have.
    #[error("malformed image name {text:?}: {reason}")]
    MalformedReference {
        /// The name that was given.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A platform that is not `os/architecture[/variant]`.
    #[error("malformed platform {text:?}: use os/architecture[/variant], as linux/arm64/v8")]
    MalformedPlatform {
        /// The platform that was given.
        text: String,
    },
    /// A document that is no JSON, or whose shape isn't the one in the specification.
    #[error("malformed {what}")]
    MalformedJson {
        /// The document: `index.json`, or a blob's kind and digest.
        what: String,
        /// The place in the document, and the reason.
        #[source]
        source: serde_json::Error,
    },
    /// A document of JSON in the right shape that is wrong for another reason than those of
    /// [`BeyondLimit`](Self::BeyondLimit), [`NoImage`](Self::NoImage) and [`Contradiction`](Self::Contradiction).
    #[error("{what}: {reason}")]
    Malformed {
        /// The document or archive member.
        what: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A document or an archive that exceeds a limit no honest one reaches: it is nested too deep, or has too many
    /// values.
    #[error("{what}: {reason}")]
    BeyondLimit {
        /// The document or archive.
        what: String,
        /// The limit that it exceeds.
        reason: &'static str,
    },
    /// A document or an archive without an image: it is empty, or holds something else.
    #[error("{what}: {reason}")]
    NoImage {
        /// The document or archive.
        what: String,
        /// What it holds instead.
        reason: &'static str,
    },
    /// A document or an archive with two parts that contradict each other.
    #[error("{what}: {reason}")]
    Contradiction {
        /// The document, archive member or name.
        what: String,
        /// The two parts.
        reason: &'static str,
    },
    /// Something valid that can't be handled here: an artifact where files are wanted, layers that are no tars, or
    /// digests of another kind.
    #[error("{what}: {reason}")]
    Unsupported {
        /// The thing that can't be handled.
        what: String,
        /// The reason why it can't be handled.
        reason: &'static str,
    },
    /// An entry of a layer or a member of an archive that contradicts itself or breaks a rule.
    #[error("entry {path}: {reason}")]
    MalformedEntry {
        /// The entry's name, escaped.
        path: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A block in the place of a tar header that is none.
    #[error("malformed tar header: {reason}")]
    MalformedHeader {
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A document that would be read into memory and is larger than its limit.
    #[error("{what} is larger than {limit} bytes")]
    TooLarge {
        /// The document.
        what: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The input stopped before its end.
    #[error("ended inside {what}")]
    Truncated {
        /// The part that was being read.
        what: String,
    },
    /// Compressed data that can't be decompressed, or data in a codec that isn't compiled in.
    #[error("malformed {codec} data")]
    MalformedCompression {
        /// `gzip` or `zstd`.
        codec: &'static str,
        /// The error of the decoder.
        #[source]
        source: io::Error,
    },
    /// Data in a codec that the image-spec doesn't have.
    #[error("{what} is compressed with {codec}, which layers can't be")]
    ForeignCodec {
        /// The compressed thing: [`ARCHIVE`](Self::ARCHIVE), `the layer`…
        what: &'static str,
        /// The name of the codec.
        codec: &'static str,
        /// The command that decompresses it, without the file's name.
        undo: &'static str,
    },
    /// A tar of files in the place of an image.
    #[error(
        "the archive has neither index.json nor manifest.json: it is the tar of a root file system"
    )]
    RootFileSystem,
    /// A member that the archive refers to and doesn't contain.
    #[error("{what}: is missing from the archive")]
    MissingMember {
        /// The member, escaped and cut to a readable length.
        what: String,
        /// A name of the image that needs it, in the same form.
        image: Option<String>,
    },
    /// A layer that a thin docker-archive leaves out, and that isn't available.
    #[error(
        "a thin archive leaves out layer {position}, with diff id {diff_id}, and it is not here"
    )]
    MissingLayer {
        /// The number of the layer, counted from 1 at the base.
        position: usize,
        /// The digest of the layer's uncompressed bytes.
        diff_id: Box<DiffId>,
    },
    /// A layer that a thin stream leaves out.
    #[error("{what} ({}): not in this archive", why_left_out(*documents_only))]
    LeftOut {
        /// The member of the stream that would hold the layer, escaped and cut to a readable length.
        what: String,
        /// Whether the stream has no layer of the image.
        documents_only: bool,
    },
    /// A thing that was asked for and isn't in the archive.
    #[error("{what}: not in this archive")]
    NotFound {
        /// The thing: an image name, a blob…
        what: String,
    },
    /// Several images where one is needed.
    #[error("several images in this archive: {}", some(names))]
    Ambiguous {
        /// The names to choose from.
        names: Vec<String>,
    },
    /// No image for the wanted platform.
    #[error("no image for platform {wanted}; there is {}", some_or_none(present))]
    NoPlatform {
        /// The platform that was asked for.
        wanted: String,
        /// The platforms that are present.
        present: Vec<String>,
    },
    /// A read or a write failed.
    #[error("{operation}")]
    Io {
        /// The operation and its object.
        operation: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// The name of an archive as a whole in [`ForeignCodec`](Self::ForeignCodec).
    pub const ARCHIVE: &str = "the archive";

    /// Wraps an I/O error. If it holds an [`Error`] already, that one is returned.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(inner) => inner,
            Err(source) => Self::Io { operation, source },
        }
    }
}

fn why_left_out(documents_only: bool) -> &'static str {
    if documents_only {
        "the stream has documents only"
    } else {
        "a thin stream leaves out what its base has"
    }
}

fn some_or_none(names: &[String]) -> String {
    if names.is_empty() { "none that says its platform".to_owned() } else { some(names) }
}

/// Formats a list: each name once, and only the first of very many.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut seen = HashSet::new();
    let names: Vec<&str> =
        names.iter().map(String::as_str).filter(|name| seen.insert(*name)).collect();
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => shown,
        Some(n) => format!("{shown} and {n} more"),
    }
}

impl From<Error> for io::Error {
    /// Puts the error into an `io::Error`, so that it can pass through readers. [`Error::io`] takes it out again.
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_very_many_names_the_first_are_shown() {
        let names = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
        assert_eq!(some(&names(3)), "0, 1, 2");
        assert_eq!(some(&[names(3), names(3)].concat()), "0, 1, 2");
        assert!(some(&names(20)).ends_with("18, 19"));
        assert!(some(&names(100_000)).ends_with("18, 19 and 99980 more"));
    }
}
