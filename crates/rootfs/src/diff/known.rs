//! When a file that is being scanned is as an earlier record has it, whatever else will be asked of the scan.

use layer_format::listing::Tree;

use super::attributes::Attributes;
use super::compare::Comparer;
use super::identity::Identity;
use crate::powers;
use crate::root::Root;
use crate::scan::{IsSame, Known};

impl<'a> Known<'a> {
    /// What this process made of `tree` at `root`, or would have. What may be different without being a change is `ignore`d.
    pub fn new(tree: &'a Tree, root: &Root, ignore: Attributes) -> Self {
        // Whose files they are may follow from all of them. What is the same to a tree that says what it is, is to any.
        if powers::may_make_up_owners(root) {
            return Self::with(tree, Identity::REAL, ignore);
        }
        Self::with(tree, Identity::of_process(root), ignore)
    }

    fn with(tree: &'a Tree, identity: Identity, ignore: Attributes) -> Self {
        // What only the file system can tell of a time is asked later.
        let comparer = Comparer::without_scan(identity);
        let is_same: IsSame<'a> = Box::new(move |base, found| {
            comparer.compare_inodes(base, found).without(ignore).is_empty()
        });
        Self { tree, is_same }
    }
}
