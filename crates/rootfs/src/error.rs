//! The errors of this crate.

use std::io;
use std::path::Path;

use layer_format::layer::{EntryPath, escape};
use report::{ErrorKind, HasKind};
use rustix::io::Errno;

/// What went wrong, and at which path. The cause is not part of the text, but is the
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory that was to be the root can't be opened.
    #[error("{path}: opening the directory")]
    Open {
        /// The path as it was given, escaped.
        path: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The machine would not do what the layer asks for.
    #[error("{path}: {operation}")]
    Io {
        /// The path beneath the root.
        path: EntryPath,
        /// What was being done, in the -ing form.
        operation: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Reading a file's content out of the layer failed.
    #[error("{path}: reading its content")]
    Content {
        /// The file.
        path: EntryPath,
        /// The error of the layer's reader, which may hold a [`layer_format::Error`].
        #[source]
        source: io::Error,
    },
    /// A file's content can't be written to where it is copied.
    #[error("{path}: writing its content")]
    Writing {
        /// The file.
        path: EntryPath,
        /// The error of the writer.
        #[source]
        source: io::Error,
    },
    /// The tree changes while it is read, so that what was read may never have existed at one time.
    #[error("{path}: {how} while it was being read")]
    Changed {
        /// The file or directory that has changed.
        path: EntryPath,
        /// `changed` or `vanished`.
        how: &'static str,
    },
    /// The tree has something that a layer can't hold.
    #[error("{path}: {reason}")]
    Unfit {
        /// The path beneath the root.
        path: EntryPath,
        /// Why a layer can't hold it.
        reason: &'static str,
    },
    /// An owner, or another id, is outside of the ranges that are mapped.
    #[error("{path}: {} {} is in no range that is mapped", id.what, id.id)]
    Unmapped {
        /// The path beneath the root.
        path: EntryPath,
        /// The id.
        id: UnmappedId,
    },
    /// The kernel doesn't mount the union.
    #[error("mounting{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Mount {
        /// The kernel's message, escaped.
        said: Option<String>,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The kernel doesn't unmount the union.
    #[error("unmounting")]
    Unmount {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// There are more layers than the kernel puts on top of each other.
    #[error("{n_layers} layers, and the kernel takes {most} at most")]
    TooManyLayers {
        /// The number of layers.
        n_layers: usize,
        /// The largest number that the kernel takes.
        most: usize,
    },
    /// An entry that no file system could hold.
    #[error("entry {path}: {reason}")]
    Impossible {
        /// The entry.
        path: EntryPath,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A hard link to something that can't be linked to.
    #[error("entry {path}: hard link to {target}: {reason}")]
    Link {
        /// The link.
        path: EntryPath,
        /// The path that it should be another name of.
        target: EntryPath,
        /// Why it can't be linked to.
        reason: &'static str,
    },
}

impl Error {
    /// Whether something that was found in a tree has been removed since.
    pub fn has_vanished(&self) -> bool {
        matches!(self, Self::Changed { how, .. } if *how == VANISHED)
    }

    pub(crate) fn open(path: &Path, source: Errno) -> Self {
        Self::Open { path: escape(path.as_os_str().as_encoded_bytes()), source: source.into() }
    }

    pub(crate) fn mount(source: Errno, said: Option<String>) -> Self {
        Self::Mount { said, source: source.into() }
    }

    pub(crate) fn impossible(path: &EntryPath, reason: &'static str) -> Self {
        Self::Impossible { path: path.clone(), reason }
    }
}

impl HasKind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::Open { .. }
            | Self::Io { .. }
            | Self::Writing { .. }
            | Self::Changed { .. }
            | Self::Unfit { .. }
            | Self::Unmapped { .. }
            | Self::Mount { .. }
            | Self::Unmount { .. }
            | Self::TooManyLayers { .. } => ErrorKind::Failed,
            Self::Content { source, .. } => source
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<layer_format::Error>())
                .map_or(ErrorKind::Failed, HasKind::kind),
            Self::Impossible { .. } | Self::Link { .. } => ErrorKind::Untrusted,
        }
    }
}

/// An id that is in no range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmappedId {
    /// What it is of, for example `its group`.
    pub what: &'static str,
    /// The id, of the image or of the disk.
    pub id: u32,
}

/// A system call that failed, without the path, which the caller [adds](Self::at).
#[derive(Debug)]
pub(crate) struct SystemError {
    operation: &'static str,
    errno: Errno,
    /// The id that is to blame, if one is.
    unmapped: Option<UnmappedId>,
}

impl SystemError {
    fn new(operation: &'static str, errno: Errno) -> Self {
        Self { operation, errno, unmapped: None }
    }

    /// An id is in no range.
    pub(crate) fn unmapped(id: UnmappedId) -> Self {
        Self { unmapped: Some(id), ..Self::new("mapping its owner", Errno::OVERFLOW) }
    }

    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }

    /// The file or directory isn't what was found before.
    pub(crate) fn changed() -> Self {
        Self::new(CHANGED, Errno::STALE)
    }

    /// The file or directory was removed.
    pub(crate) fn vanished() -> Self {
        Self::new(VANISHED, Errno::NOENT)
    }

    /// The caller has asked to stop.
    pub(crate) fn stopped() -> Self {
        Self::new("reading the directory", Errno::INTR)
    }

    /// The error at a path. The layer is to blame for a name that is too long and for an attribute that no system takes.
    pub(crate) fn at(self, path: EntryPath) -> Error {
        if [CHANGED, VANISHED].contains(&self.operation) {
            return Error::Changed { path, how: self.operation };
        }
        if let Some(id) = self.unmapped {
            return Error::Unmapped { path, id };
        }
        match self.errno {
            Errno::NAMETOOLONG => {
                Error::Impossible { path, reason: "a name is longer than any file system takes" }
            }
            Errno::INVAL | Errno::RANGE | Errno::TOOBIG if self.operation == SETTING_XATTR => {
                Error::Impossible {
                    path,
                    reason: "an extended attribute has a name or a value that no system takes",
                }
            }
            errno => Error::Io { path, operation: self.operation, source: errno.into() },
        }
    }
}

/// The operation whose failure [`SystemError::at`] looks at more closely.
pub(crate) const SETTING_XATTR: &str = "setting an extended attribute";

const CHANGED: &str = "changed";
const VANISHED: &str = "vanished";

/// Adds to the error of a system call what it was meant to do.
pub(crate) trait Doing<T> {
    fn doing(self, operation: &'static str) -> Result<T, SystemError>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, operation: &'static str) -> Result<T, SystemError> {
        self.map_err(|errno| SystemError::new(operation, errno))
    }
}

/// Adds the path to the error of a system call.
pub(crate) trait AtPath<T> {
    fn at_path(self, path: &EntryPath) -> Result<T, Error>;
}

impl<T> AtPath<T> for Result<T, SystemError> {
    fn at_path(self, path: &EntryPath) -> Result<T, Error> {
        self.map_err(|failure| failure.at(path.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &Error, text: &str, trouble: ErrorKind) {
        assert_eq!((error.to_string().as_str(), error.kind()), (text, trouble));
    }

    #[test]
    fn a_failure_tells_the_layers_fault_from_the_machines() {
        let at = |errno, operation| {
            Err::<(), _>(errno).doing(operation).unwrap_err().at(EntryPath::parse(b"a/b").unwrap())
        };
        check(&at(Errno::NOSPC, "writing"), "a/b: writing", ErrorKind::Failed);
        check(&at(Errno::INVAL, "writing"), "a/b: writing", ErrorKind::Failed);
        let name = "entry a/b: a name is longer than any file system takes";
        check(&at(Errno::NAMETOOLONG, "making the file"), name, ErrorKind::Untrusted);
        let xattr = "entry a/b: an extended attribute has a name or a value that no system takes";
        check(&at(Errno::TOOBIG, SETTING_XATTR), xattr, ErrorKind::Untrusted);
    }

    #[test]
    fn an_error_of_the_layer_keeps_its_kind() {
        let content = |source| Error::Content { path: EntryPath::default(), source };
        let truncated = layer_format::Error::Truncated { what: "a file".into() };
        check(&content(truncated.into()), ".: reading its content", ErrorKind::Untrusted);
        check(
            &content(io::ErrorKind::TimedOut.into()),
            ".: reading its content",
            ErrorKind::Failed,
        );
    }
}
