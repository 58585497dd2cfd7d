//! The errors of a store.

use std::io;
use std::path::{Path, PathBuf};

use layer_format::Digest;
use report::{ErrorKind, HasKind};

use crate::word::Word;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of a store; its text names the file, the blob or the image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes of a blob or a document are not what they should be.
    #[error(transparent)]
    Layer(#[from] layer_format::Error),
    /// Another error, and what it is about.
    #[error("{what}")]
    At {
        /// What it is about, for example a layer of an image.
        what: String,
        /// The error.
        #[source]
        source: Box<Self>,
    },
    /// The operating system refused.
    #[error("{operation} {}", shown(path))]
    Io {
        /// What was being done, for example `opening`.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A file of the store that is not JSON of the shape it should have.
    #[error("{}: malformed", shown(path))]
    MalformedJson {
        /// The file.
        path: PathBuf,
        /// Where in the file, and why.
        #[source]
        source: serde_json::Error,
    },
    /// A file of the store that breaks a rule.
    #[error("{}: {reason}", shown(path))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A directory that holds other files, so that no store is made in it.
    #[error("{}: not an image store, and not empty", shown(path))]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// A directory that should be an OCI layout and isn't.
    #[error("{}: no image: neither an OCI layout nor a directory that skopeo wrote", shown(path))]
    NotALayout {
        /// The directory.
        path: PathBuf,
    },
    /// A file that the user named and that doesn't exist.
    #[error("{}", shown(path))]
    NoSuchFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A directory or a layer where an image is needed.
    #[error("{}: only an image can be used here", what.escape_debug())]
    NotAnImage {
        /// What was named.
        what: String,
    },
    /// A layout that should hold an image and holds none.
    #[error("{}: no image in this layout", shown(path))]
    NoImage {
        /// The layout.
        path: PathBuf,
    },
    /// Neither an environment variable nor a home directory says where the store is.
    #[error("no place for the store: set STRATA_STORE or HOME")]
    NoPlace,
    /// No store at the path that the user named.
    #[error("{}: no store is here", shown(path))]
    NoStore {
        /// The path.
        path: PathBuf,
    },
    /// No image by this name or digest.
    #[error("{}: not in the store", text.escape_debug())]
    NotFound {
        /// What was looked for.
        text: String,
    },
    /// Several images by this name or digest.
    #[error("{}: several images match: {}", text.escape_debug(), matches.join(", "))]
    Ambiguous {
        /// What was looked for.
        text: String,
        /// The images, each by name and digest, escaped.
        matches: Vec<String>,
    },
    /// A blob that isn't there.
    #[error("{digest}: the blob is missing")]
    MissingBlob {
        /// The blob.
        digest: Digest,
    },
    /// The store is on a file system that other machines, or other mounts, may use at the same time with caches of their own.
    #[error(
        "{}: on {kind}, where gc can't tell what other users of the store are doing",
        shown(path)
    )]
    Shared {
        /// The store.
        path: PathBuf,
        /// The name of the file system.
        kind: &'static str,
    },
    /// The store is on a file system that grants the same lock twice.
    #[error("{}: locks don't work on this file system", shown(path))]
    LocksNothing {
        /// The store.
        path: PathBuf,
    },
    /// An image that gets no entry because blobs of it are missing.
    #[error("{digest}: not whole: the store has no {}", listed(missing))]
    Incomplete {
        /// The manifest.
        digest: Digest,
        /// The missing blobs.
        missing: Vec<Digest>,
    },
}

impl Error {
    /// What the user can do about the error, where something is known. For a program that also takes archives and layouts.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::At { source, .. } => source.hint(),
            Self::NotFound { text } => Some(match Word::of(text) {
                Word::File => format!("./{text}"),
                Word::Foreign(foreign) => foreign.as_image(),
                word => word.as_stored(text),
            }),
            _ => self.hint_in_store(),
        }
    }

    /// The same for a program that takes only images of the store.
    pub fn hint_in_store(&self) -> Option<String> {
        match self {
            Self::At { source, .. } => source.hint_in_store(),
            Self::NotFound { text } => Some(Word::of(text).as_stored(text)),
            Self::NoStore { .. } => Some(
                "--store or STRATA_STORE says where the store is; pull, load and commit make one"
                    .to_owned(),
            ),
            Self::Layer(layer_format::Error::Ambiguous { .. }) => {
                Some("choose one with --image NAME".to_owned())
            }
            Self::Shared { .. } => Some(
                "run it on the machine that the disk is in, or, if nothing else uses the store, with --force"
                    .to_owned(),
            ),
            Self::LocksNothing { .. } => {
                Some("if nothing else uses the store, --force removes all the same".to_owned())
            }
            _ if self.is_about_locking() => {
                Some("a store takes a file system that can lock: --store DIR on a local disk".to_owned())
            }
            _ => None,
        }
    }

    /// Whether it is about a word that names no image anywhere: a file's, one of another tool's, too few digits.
    pub fn is_about_spelling(&self) -> bool {
        match self {
            Self::At { source, .. } => source.is_about_spelling(),
            Self::NotFound { text } => {
                !matches!(Word::of(text), Word::Name | Word::Digest | Word::Other)
            }
            _ => false,
        }
    }

    /// Makes an error of an I/O error, what was being done, and the file. If the I/O error wraps an error of the format, the
    /// result is that one.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.downcast::<layer_format::Error>() {
            Ok(inner) => Self::Layer(inner),
            Err(source) => Self::Io { operation, path: path.to_owned(), source },
        }
    }

    /// Whether access was denied, as to another user's file.
    pub(crate) fn is_about_permission(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The error of the format that this one is, or is about; `None` for an error of the store itself.
    pub fn of_format(&self) -> Option<&layer_format::Error> {
        match self {
            Self::At { source, .. } => source.of_format(),
            Self::Layer(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the store is on a read-only file system.
    pub fn is_read_only(&self) -> bool {
        use io::ErrorKind::ReadOnlyFilesystem;
        matches!(self, Self::Io { source, .. } if source.kind() == ReadOnlyFilesystem)
    }

    /// Whether the store can't be written to or locked. A reader can go on without.
    pub(crate) fn is_about_writing(&self) -> bool {
        use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        let Self::Io { source, .. } = self else { return false };
        let kind = source.kind();
        matches!(kind, PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull)
            || self.is_about_locking()
    }

    /// Whether the file system has no locks.
    fn is_about_locking(&self) -> bool {
        use rustix::io::Errno;
        let Self::Io { operation: "locking", source, .. } = self else { return false };
        let none = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP];
        none.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
    }
}

impl HasKind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Layer(inner) => inner.kind(),
            Self::At { source, .. } => source.kind(),
            Self::Io { .. } | Self::Shared { .. } | Self::LocksNothing { .. } => ErrorKind::Failed,
            Self::MalformedJson { .. } | Self::Malformed { .. } => ErrorKind::Untrusted,
            Self::NotAStore { .. }
            | Self::NotALayout { .. }
            | Self::NotAnImage { .. }
            | Self::NoPlace
            | Self::Ambiguous { .. } => ErrorKind::Usage,
            Self::NoSuchFile { .. }
            | Self::NoImage { .. }
            | Self::NoStore { .. }
            | Self::NotFound { .. }
            | Self::MissingBlob { .. }
            | Self::Incomplete { .. } => ErrorKind::NotFound,
        }
    }

    fn advice(&self, program: &str) -> Option<String> {
        match self {
            Self::Layer(inner) => inner.advice(program),
            Self::At { source, .. } => source.advice(program),
            _ => None,
        }
    }
}

/// A path for a message: as it is if it is plain, else quoted and escaped.
fn shown(path: &Path) -> String {
    let is_plain =
        |c: char| !c.is_whitespace() && !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    let text = path.to_string_lossy();
    if text.chars().all(is_plain) {
        text.into_owned()
    } else {
        format!("\"{}\"", text.escape_debug())
    }
}

fn listed(digests: &[Digest]) -> String {
    digests.iter().map(Digest::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_an_image_lacks_is_listed() {
        let [image, a, b] = [&b"image"[..], b"a", b"b"].map(Digest::of);
        let text = |missing: &[Digest]| {
            Error::Incomplete { digest: image, missing: missing.to_vec() }.to_string()
        };
        assert_eq!(text(&[a]), format!("{image}: not whole: the store has no {a}"));
        assert_eq!(text(&[a, b]), format!("{image}: not whole: the store has no {a}, {b}"));
    }

    #[test]
    fn a_reader_goes_on_without_writing_and_not_over_what_is_broken() {
        use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let io = |operation, source| Error::Io { operation, path: "x".into(), source };
        let passes = |kind: io::ErrorKind| io("opening", kind.into()).is_about_writing();
        let kinds = [PermissionDenied, ReadOnlyFilesystem, StorageFull, NotADirectory];
        assert_eq!(kinds.map(passes), [true, true, true, false]);
        let no_locks = || rustix::io::Errno::NOLCK.into();
        assert!(io("locking", no_locks()).is_about_writing());
        assert!(!io("opening", no_locks()).is_about_writing());
        let incomplete = Error::Incomplete { digest: Digest::of(b""), missing: vec![] };
        assert!(!incomplete.is_about_writing());
    }

    #[test]
    fn paths_are_quoted_only_where_they_must_be() {
        assert_eq!(shown(Path::new("/a/b.json")), "/a/b.json");
        assert_eq!(shown(Path::new("/a b\x1b")), r#""/a b\u{1b}""#);
    }
}
