//! One difference, as a layer says it.

use layer_format::layer::Change;

use super::attributes::Attributes;
use crate::scan::ScanEntry;

/// One difference, which is a change of a layer.
#[derive(Debug)]
pub struct Difference<'a> {
    /// What has happened to the path.
    pub kind: ChangeKind,
    /// The change of the layer.
    pub change: Change,
    /// The file whose content the layer has; `None` for a change without content.
    pub content: Option<ScanEntry<'a>>,
}

/// What has happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// These attributes are different.
    Changed(Attributes),
    /// It was removed.
    Removed,
    /// Nothing, but something below it has changed.
    Above,
}
