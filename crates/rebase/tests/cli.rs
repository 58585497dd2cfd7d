//! What only a process shows.

use kit::usage;

#[test]
fn help_ends_with_examples() {
    assert!(usage::examples("rebase").contains("rebase"));
}
