//! Everything that can go wrong between a layer and a file system.

use std::io;
use std::path::Path;

use layer_format::layer::{EntryPath, escape};
use layer_format::{ErrorKind, HasKind};
use rustix::io::Errno;

/// What went wrong, and at which path. The text never holds the cause; [`source`](std::error::Error::source) does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory that was to be the root can't be opened.
    #[error("{path}: opening the directory")]
    Open {
        /// As it was given, escaped.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The machine would not do what the layer asks for.
    #[error("{path}: {operation}")]
    Io {
        /// Where, beneath the root.
        path: EntryPath,
        /// What was being done, in the -ing form.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Reading a file's content out of the layer failed.
    #[error("{path}: reading its content")]
    Content {
        /// The file.
        path: EntryPath,
        /// Why; a [`layer_format::Error`] may be inside.
        #[source]
        source: io::Error,
    },
    /// A file's content can't be passed on.
    #[error("{path}: writing its content")]
    Writing {
        /// The file.
        path: EntryPath,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A tree that doesn't keep still: what was read of it may never have been there at once.
    #[error("{path}: {how} while it was being read")]
    Changed {
        /// What didn't keep still.
        path: EntryPath,
        /// `changed` or `vanished`.
        how: &'static str,
    },
    /// Something that a layer can't hold.
    #[error("{path}: {reason}")]
    Unfit {
        /// Where.
        path: EntryPath,
        /// What a layer would take it for.
        reason: &'static str,
    },
    /// The kernel doesn't mount the union.
    #[error("mounting{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Mount {
        /// The kernel's own words, escaped.
        said: Option<String>,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel doesn't take a union away.
    #[error("unmounting")]
    Unmount {
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More layers than the kernel puts on top of each other.
    #[error("{n_layers} layers, and the kernel takes {most} at most")]
    TooManyLayers {
        /// How many there are.
        n_layers: usize,
        /// How many there could be.
        most: usize,
    },
    /// An entry that no file system could hold.
    #[error("entry {path}: {reason}")]
    Impossible {
        /// The entry.
        path: EntryPath,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A hard link to something that can't be linked to.
    #[error("entry {path}: hard link to {target}: {reason}")]
    Link {
        /// The link.
        path: EntryPath,
        /// What it should be another name of.
        target: EntryPath,
        /// Why that can't be.
        reason: &'static str,
    },
}

impl Error {
    /// Whether what was found in a tree isn't there any more.
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

/// A system call that failed, before anyone has said at which path.
#[derive(Debug)]
pub(crate) struct Failure {
    operation: &'static str,
    errno: Errno,
}

impl Failure {
    pub(crate) fn errno(&self) -> Errno {
        self.errno
    }

    /// What is there isn't what was there.
    pub(crate) fn changed() -> Self {
        Self { operation: CHANGED, errno: Errno::STALE }
    }

    /// What was there has gone.
    pub(crate) fn vanished() -> Self {
        Self { operation: VANISHED, errno: Errno::NOENT }
    }

    /// Somebody has asked to stop.
    pub(crate) fn stopped() -> Self {
        Self { operation: "reading the directory", errno: Errno::INTR }
    }

    /// Names the path. A name that is too long, and an attribute that is nonsense, are the layer's fault.
    pub(crate) fn at(self, path: EntryPath) -> Error {
        if [CHANGED, VANISHED].contains(&self.operation) {
            return Error::Changed { path, how: self.operation };
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

/// The operation whose failure [`Failure::at`] looks at more closely.
pub(crate) const SETTING_XATTR: &str = "setting an extended attribute";

const CHANGED: &str = "changed";
const VANISHED: &str = "vanished";

/// Says what a system call was meant to do.
pub(crate) trait Doing<T> {
    fn doing(self, operation: &'static str) -> Result<T, Failure>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, operation: &'static str) -> Result<T, Failure> {
        self.map_err(|errno| Failure { operation, errno })
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
