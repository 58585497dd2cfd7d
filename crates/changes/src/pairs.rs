//! The paths of two records, side by side and in order.

use std::cmp::Ordering;
use std::iter::Peekable;

use layer_format::layer::EntryPath;

use crate::record::{Children, Node};

/// A path in one of the records or in both.
pub(crate) struct Pair<'a> {
    pub(crate) path: EntryPath,
    pub(crate) before: Option<Node<'a>>,
    pub(crate) after: Option<Node<'a>>,
    /// Whether both records have the directory that the path is in.
    pub(crate) has_common_parent: bool,
}

/// A directory that is being iterated over, in one record or in both.
struct Level<'a> {
    /// The length of its path, in bytes.
    length: usize,
    before: Peekable<Children<'a>>,
    after: Peekable<Children<'a>>,
    /// Whether both records have it as a directory.
    is_common: bool,
}

/// Iterator over all paths of both records, directories before what is in them.
pub(crate) struct Pairs<'a> {
    /// The roots, before they are given.
    first: Option<Pair<'a>>,
    /// The path of the pair before.
    path: EntryPath,
    /// The directories that it is in, the root first.
    levels: Vec<Level<'a>>,
}

impl<'a> Pairs<'a> {
    /// Begins at the roots of two records, or of one.
    pub(crate) fn new(before: Option<Node<'a>>, after: Option<Node<'a>>) -> Self {
        let root = Pair { path: EntryPath::root(), before, after, has_common_parent: true };
        Self { first: Some(root), path: EntryPath::root(), levels: vec![] }
    }

    fn find(&mut self) -> Option<Pair<'a>> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        loop {
            if let Some(pair) = self.levels.last_mut()?.next(&mut self.path) {
                return Some(pair);
            }
            self.levels.pop();
        }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        let pair = self.find()?;
        let [before, after] = [pair.before, pair.after].map(|node| node.filter(Node::is_directory));
        if before.is_some() || after.is_some() {
            self.levels.push(Level {
                length: pair.path.as_bytes().len(),
                is_common: before.is_some() && after.is_some(),
                before: children(before),
                after: children(after),
            });
        }
        Some(pair)
    }
}

impl<'a> Level<'a> {
    /// The next pair. `path` becomes its path.
    fn next(&mut self, path: &mut EntryPath) -> Option<Pair<'a>> {
        let order = match (self.before.peek(), self.after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((after, _))) => before.cmp(after),
        };
        let before = if order.is_le() { self.before.next() } else { None };
        let after = if order.is_ge() { self.after.next() } else { None };
        let (name, _) = before.or(after)?;
        path.truncate(self.length);
        path.push(name);
        Some(Pair {
            path: path.clone(),
            before: before.map(|(_, node)| node),
            after: after.map(|(_, node)| node),
            has_common_parent: self.is_common,
        })
    }
}

fn children(directory: Option<Node<'_>>) -> Peekable<Children<'_>> {
    let children: Children<'_> = match directory {
        Some(directory) => directory.children(),
        None => Box::new(std::iter::empty()),
    };
    children.peekable()
}
