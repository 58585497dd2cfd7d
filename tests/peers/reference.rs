//! The tree that Debian's image must become, as umoci makes it, and the ways of getting there.

use std::sync::OnceLock;

use kit::peers::root_peer;
use kit::tree::{self, Show};
use kit::{Image, Sandbox, pipeline};

use crate::debian;

/// The whole tree of [`debian::image`] by `umoci raw unpack`; made once and kept beside the build.
pub(crate) fn tree() -> Option<&'static str> {
    static TREE: OnceLock<Option<String>> = OnceLock::new();
    // Asked every time, so that every test that is skipped says so.
    root_peer("umoci")?;
    let make = || {
        let image = debian::image()?;
        let dir = debian::kept(&format!("tree-{}", image.manifest_blob().hex()), |dir| {
            let tree = umoci(image, Show::ALL);
            std::fs::write(dir.join("tree"), tree).expect("the fixture can be made");
            Some(())
        })?;
        Some(std::fs::read_to_string(dir.join("tree")).expect("the fixture can be made"))
    };
    TREE.get_or_init(make).as_deref()
}

/// The tree of any image by `umoci raw unpack`.
pub(crate) fn umoci(image: &Image, show: Show) -> String {
    let sandbox = Sandbox::new();
    debian::layout(&sandbox, image);
    let umoci = root_peer("umoci").expect("the fixture can be made");
    umoci.program(&sandbox).args(["raw", "unpack", "--image", "in:debian", "root"]).run().success();
    tree::show_with(sandbox.path("root"), show)
}

/// Runs a script that makes the directory `root`, and gives its tree; the directory is gone afterwards.
#[track_caller]
pub(crate) fn made_by(sandbox: &Sandbox, script: &str) -> String {
    pipeline::sh(sandbox, script).success();
    let root = sandbox.path("root");
    let shown = tree::show_with(&root, Show::ALL);
    std::fs::remove_dir_all(root).expect("the fixture can be made");
    shown
}
