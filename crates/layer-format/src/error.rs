//! Everything that can be wrong with the bytes of an image.

use std::collections::HashSet;
use std::io;

use crate::digest::{DiffId, Digest};
use crate::error_kind::{ErrorKind, HasKind};

/// What is wrong, and with which thing. The text never holds the cause; [`source`](std::error::Error::source) does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not `sha256:` and 64 lower-case hex digits, nor `sha512:` and 128.
    #[error("malformed digest {text:?}")]
    MalformedDigest {
        /// What stood there, cut to a readable length.
        text: String,
    },
    /// Content whose hash is another than promised.
    #[error("{what}: digest mismatch: expected {expected}, found {found}")]
    DigestMismatch {
        /// The thing: `blob`, `layer`, `config`…
        what: &'static str,
        /// What was promised.
        expected: Box<Digest>,
        /// What the bytes hash to.
        found: Box<Digest>,
    },
    /// Content that is longer or shorter than promised.
    #[error("{digest}: size mismatch: expected {expected} bytes, found {found}")]
    SizeMismatch {
        /// The blob.
        digest: Digest,
        /// Promised, in bytes.
        expected: u64,
        /// Present, in bytes; one more than promised stands for any larger number.
        found: u64,
    },
    /// An image name that no registry could have.
    #[error("malformed image name {text:?}: {reason}")]
    MalformedReference {
        /// The name as it was given.
        text: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A platform that is not `os/architecture[/variant]`.
    #[error("malformed platform {text:?}: use os/architecture[/variant], as linux/arm64/v8")]
    MalformedPlatform {
        /// The platform as it was given.
        text: String,
    },
    /// A JSON document that is not JSON, or not of the shape that the spec gives it.
    #[error("malformed {what}")]
    MalformedJson {
        /// The document: `index.json`, or of a blob its kind and digest.
        what: String,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// A document that is JSON of the right shape and makes no sense for another reason than those of
    /// [`BeyondLimit`](Self::BeyondLimit), [`NoImage`](Self::NoImage) and [`Contradiction`](Self::Contradiction).
    #[error("{what}: {reason}")]
    Malformed {
        /// The document or archive member.
        what: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A document or an archive beyond a limit that no honest one reaches: nested too deep, or of too many values.
    #[error("{what}: {reason}")]
    BeyondLimit {
        /// The document or archive.
        what: String,
        /// Which limit it is.
        reason: &'static str,
    },
    /// A document or an archive that describes no image: it is empty, or holds something else.
    #[error("{what}: {reason}")]
    NoImage {
        /// The document or archive.
        what: String,
        /// What it has instead.
        reason: &'static str,
    },
    /// A document or an archive of which two parts say different things.
    #[error("{what}: {reason}")]
    Contradiction {
        /// The document, archive member or name.
        what: String,
        /// What the two are.
        reason: &'static str,
    },
    /// Something that is right by itself, and that nobody here can deal with: an artifact where files are wanted, layers that are
    /// no tars, digests of another kind.
    #[error("{what}: {reason}")]
    Unsupported {
        /// What it is.
        what: String,
        /// Why it is of no use here.
        reason: &'static str,
    },
    /// An entry of a layer or a member of an archive that can't be what it says.
    #[error("entry {path}: {reason}")]
    MalformedEntry {
        /// The entry's name, escaped.
        path: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A tar header that isn't one.
    #[error("malformed tar header: {reason}")]
    MalformedHeader {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// Something that is read into memory and claims to be larger than anyone needs.
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
        /// What was being read.
        what: String,
    },
    /// Compressed bytes that don't decompress, or a codec that nothing here reads.
    #[error("malformed {codec} data")]
    MalformedCompression {
        /// `gzip` or `zstd`.
        codec: &'static str,
        /// What the decoder said.
        #[source]
        source: io::Error,
    },
    /// Bytes in a codec that the image-spec doesn't have.
    #[error("{what} is compressed with {codec}, which the image-spec doesn't have")]
    ForeignCodec {
        /// The thing: [`ARCHIVE`](Self::ARCHIVE), `the layer`…
        what: &'static str,
        /// The codec.
        codec: &'static str,
        /// The command that undoes it, without the file.
        undo: &'static str,
    },
    /// A tar of files where an image is meant.
    #[error(
        "the archive has neither index.json nor manifest.json: it is the tar of a root file system"
    )]
    RootFileSystem,
    /// A member that the archive names and doesn't have.
    #[error("{what}: is missing from the archive")]
    MissingMember {
        /// The member, escaped and cut to a readable length.
        what: String,
        /// A name of the image that needs it, likewise.
        image: Option<String>,
    },
    /// A layer of a thin docker-archive that nobody has.
    #[error(
        "a thin archive leaves out layer {position}, with diff id {diff_id}, and it is not here"
    )]
    MissingLayer {
        /// Which layer it is, counted from 1 at the base.
        position: usize,
        /// What the layer decompresses to.
        diff_id: Box<DiffId>,
    },
    /// What was asked for isn't in the archive.
    #[error("{what}: not in this archive")]
    NotFound {
        /// An image name, a blob…
        what: String,
    },
    /// More than one image where one is meant.
    #[error("several images in this archive: {}", some(names))]
    Ambiguous {
        /// What there is to choose from.
        names: Vec<String>,
    },
    /// No image for the wanted platform.
    #[error("no image for platform {wanted}; there is {}", some_or_none(present))]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        present: Vec<String>,
    },
    /// Reading or writing failed.
    #[error("{operation}")]
    Io {
        /// What was being done, to what.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What [`ForeignCodec`](Self::ForeignCodec) calls an archive as a whole.
    pub const ARCHIVE: &str = "the archive";

    /// Wraps an I/O error; one that carries an [`Error`] already gives that back.
    pub fn io(operation: &'static str, source: io::Error) -> Self {
        match source.downcast::<Self>() {
            Ok(inner) => inner,
            Err(source) => Self::Io { operation, source },
        }
    }
}

fn some_or_none(names: &[String]) -> String {
    if names.is_empty() { "none that says its platform".to_owned() } else { some(names) }
}

/// A list as it is shown: each once, and of very many the first.
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
    /// For readers: the error travels inside the `io::Error` and [`Error::io`] takes it out again.
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Truncated { .. } => io::ErrorKind::UnexpectedEof,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl HasKind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::MalformedReference { .. }
            | Self::MalformedPlatform { .. }
            | Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::NotFound { .. } | Self::NoPlatform { .. } | Self::MissingLayer { .. } => {
                ErrorKind::NotFound
            }
            Self::Io { .. } | Self::Unsupported { .. } => ErrorKind::Failed,
            _ => ErrorKind::Untrusted,
        }
    }

    fn advice(&self, program: &str) -> Option<String> {
        match self {
            Self::ForeignCodec { what, undo, .. } if *what == Self::ARCHIVE => {
                let rest = if program == "load" { "" } else { " …" };
                Some(format!("{undo} FILE | {program}{rest}"))
            }
            Self::RootFileSystem => {
                Some("commit --base scratch -t NAME < FILE makes an image of it".to_owned())
            }
            Self::NoPlatform { present, .. } => match &present[..] {
                [] => None,
                [only] => Some(format!("--platform {only} takes that one")),
                [first, ..] => Some(format!("choose one with --platform, as --platform {first}")),
            },
            Self::MissingMember { image: Some(image), .. } => {
                Some(format!("where it was saved: docker pull {image}, then save it again"))
            }
            Self::MissingMember { image: None, .. } => {
                Some("where it was saved: pull the image again, then save it again".to_owned())
            }
            Self::MissingLayer { .. } if program == "load" => {
                Some("load or pull the image that it was built on first".to_owned())
            }
            Self::MissingLayer { .. } => Some(
                "load it into a store that has the image that it was built on, and take it from there"
                    .to_owned(),
            ),
            _ => None,
        }
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
