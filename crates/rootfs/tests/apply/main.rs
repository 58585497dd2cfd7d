//! What applying layers does to a tree, seen from outside.
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the tree by paths, from outside the root"
)]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod attributes;
mod hostile;
mod plain_user;
mod properties;
mod removal;
mod replacing;
mod scale;
mod stacked;
mod tree;
mod whiteouts;
