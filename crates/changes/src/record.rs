//! What one of the two holds: the tree of an image or a layer, or a scanned directory.

use layer_format::Error;
use layer_format::layer::{Entry, EntryKind, EntryPath, impossible};
use layer_format::listing::{Origin, Place, Tree};
use rootfs::{Scan, ScanEntry};

/// All that one of the two holds, without contents.
#[derive(Debug)]
pub(crate) enum Record {
    Tree(Tree),
    Scan(Scan),
}

/// The records of both. If one is a directory and the other an image, what they have in common may be in the image's record
/// alone.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) before: Record,
    pub(crate) after: Record,
}

/// What a record has at a path.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node<'a> {
    Tree(Place<'a>),
    Scan(ScanEntry<'a>),
}

/// The names in a directory, in order.
pub(crate) type Children<'a> = Box<dyn Iterator<Item = (&'a [u8], Node<'a>)> + 'a>;

impl Record {
    pub(crate) fn root(&self) -> Node<'_> {
        match self {
            Self::Tree(tree) => Node::Tree(tree.root()),
            Self::Scan(scan) => Node::Scan(scan.top()),
        }
    }

    /// Whether this record lacks what the other one has only because it was found to be the same.
    pub(crate) fn has_same(&self, other: Node<'_>) -> bool {
        match (self, other) {
            (Self::Scan(scan), Node::Tree(place)) => scan.has_same(&place),
            _ => false,
        }
    }
}

impl<'a> Node<'a> {
    pub(crate) fn is_directory(&self) -> bool {
        match self {
            Self::Tree(place) => place.is_directory(),
            Self::Scan(found) => found.is_directory(),
        }
    }

    /// What it is, hard links aside.
    pub(crate) fn kind(&self) -> Option<EntryKind> {
        match self {
            Self::Tree(place) => Some(place.inode().kind),
            Self::Scan(found) => found.kind(),
        }
    }

    /// Its size in bytes, if it is a file.
    pub(crate) fn size(&self) -> Option<u64> {
        match self.kind()? {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        }
    }

    /// The change of a layer that described it; `None` for what was scanned.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Tree(place) => place.origin(),
            Self::Scan(_) => None,
        }
    }

    /// Refuses what no image can hold. The reader of an image has already refused it there.
    ///
    /// # Errors
    /// [`Error::MalformedEntry`] for a device whose numbers no entry can have.
    pub(crate) fn check(&self, path: &EntryPath) -> Result<(), Error> {
        let Self::Scan(found) = self else { return Ok(()) };
        let Some(kind @ EntryKind::CharDevice { .. }) = found.kind() else { return Ok(()) };
        let (uid, gid) = found.owner();
        let entry = Entry {
            path: path.clone(),
            kind,
            mode: found.mode(),
            uid,
            gid,
            mtime: found.mtime(),
            xattrs: vec![],
        };
        match impossible(&entry) {
            Some(reason) => Err(Error::MalformedEntry { path: path.to_string(), reason }),
            None => Ok(()),
        }
    }

    /// What is in it, by name. Sockets are left out, since no image has any, and so are files on which something is mounted,
    /// since nothing is known of them.
    pub(crate) fn children(&self) -> Children<'a> {
        match self {
            Self::Tree(place) => {
                Box::new(place.children().map(|(name, place)| (name, Self::Tree(place))))
            }
            Self::Scan(found) => {
                let told = found.children().filter(|it| !it.is_socket() && !it.is_hidden());
                Box::new(told.map(|found| (found.name(), Self::Scan(found))))
            }
        }
    }
}
