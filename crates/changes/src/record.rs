//! What one of the two holds: the tree of an image or a layer, or a directory as it was scanned.

use layer_format::layer::EntryKind;
use layer_format::listing::{Origin, Place, Tree};
use rootfs::{Found, Scan};

/// All that one of the two holds, without contents.
#[derive(Debug)]
pub(crate) enum Record {
    Tree(Tree),
    Scan(Scan),
}

/// Both. Of a directory beside an image, what is in it as in the image stands in the image's record alone.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) before: Record,
    pub(crate) after: Record,
}

/// A name in a record.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Node<'a> {
    Tree(Place<'a>),
    Scan(Found<'a>),
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

    /// Whether a name of the other record, which this one lacks, was found here just so.
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

    /// How many bytes it has, if it is a file.
    pub(crate) fn size(&self) -> Option<u64> {
        match self.kind()? {
            EntryKind::File { size, .. } => Some(size),
            _ => None,
        }
    }

    /// Which change of which layer described it.
    pub(crate) fn origin(&self) -> Option<Origin> {
        match self {
            Self::Tree(place) => place.origin(),
            Self::Scan(_) => None,
        }
    }

    /// What is in it, by name. Sockets are in no image, and of what a mount of a file hides nothing is known.
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
