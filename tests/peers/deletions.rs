//! An image whose layers take away, replace and bring back what those below have, and the tree that is left.
//!
//! Every layer has entries for the directories that it changes, as builders write them; what layers without them come to is
//! in [`crate::layers`]. No layer removes and makes the same directory: docker loads none that does.

use kit::{Device, Image, Layer};

/// `cap_net_bind_service=ep`, as the kernel keeps it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is left.
pub(crate) const TREE: &str = r#"drwxr-xr-x 0:0 ./ @1500000000.500000000
drwxr-xr-x 0:0 again/ @30.000000003
-rw-r--r-- 0:0 again/high 5 "high\n" @1600000000.000000000
drwxr-xr-x 0:0 back/ @40.000000000
-rw-r--r-- 0:0 back/last 5 "last\n" @1600000000.000000000
drwxr-xr-x 0:0 kinds/ @20.000000002
-rw-r--r-- 0:0 kinds/dir-to-file 5 "file\n" @1600000000.000000000
lrwxrwxrwx 0:0 kinds/dir-to-link -> other @20.000000000
-rw-r--r-- 0:0 kinds/fifo-to-file 5 "file\n" @1600000000.000000000
brw-r----- 0:6 kinds/file-to-block 7,3 @1600000000.000000000
drwx--x--x 3:4 kinds/file-to-dir/ @20.000000000
-rw-r--r-- 0:0 kinds/file-to-dir/in 3 "in\n" @1600000000.000000000
drwxr-xr-x 0:0 kinds/link-to-dir/ @20.000000000
-rw-r--r-- 0:0 kinds/link-to-dir/in 3 "in\n" @1600000000.000000000
drwxr-xr-x 0:0 kinds/other/ @1600000000.000000000
-rw-r--r-- 0:0 kinds/other/kept 5 "kept\n" @1600000000.000000000
drwxr-xr-x 0:0 links/ @30.000000000
-rw-r--r-- 0:0 links/across-1 7 "across\n" @10.000000001
-rw-r--r-- 0:0 links/across-2 = links/across-1 @10.000000001
-rw-r--r-- 0:0 links/broken-1 4 "own\n" @1600000000.000000000
-rw-r--r-- 0:0 links/broken-2 7 "broken\n" @10.000000000
-rw-r--r-- 0:0 links/broken-3 = links/broken-2 @10.000000000
-rw-r--r-- 0:0 links/first-2 6 "first\n" @10.000000000
-rw-r--r-- 0:0 links/first-3 = links/first-2 @10.000000000
-rw-r--r-- 0:0 links/only 5 "only\n" @10.000000000
-rw-r--r-- 0:0 links/renewed-1 8 "renewed\n" @30.000000000
-rw-r--r-- 0:0 links/renewed-2 = links/renewed-1 @30.000000000
drwxr-xr-x 0:0 marks/ @20.000000000
-rwxr-xr-x 0:0 marks/capable 8 "capable\n" @1600000000.000000000 security.capability="\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
-rwxr-xr-x 0:0 marks/incapable 8 "capable\n" @20.000000000
drwxr-xr-x 0:0 marks/noted/ @20.000000000 user.new="2"
-rw-r--r-- 0:0 marks/plain 6 "plain\n" @20.000000000 user.b="b"
-rwxr-xr-x 1:1 marks/su 3 "su\n" @20.000000000
drwxr-xr-x 0:0 nodes/ @20.000000000
crw-rw---- 0:6 nodes/changes 10,200 @21.000000000
prw-r--r-- 0:0 nodes/to-fifo @1600000000.000000000
-rw-r--r-- 0:0 nodes/to-file 5 "file\n" @1600000000.000000000
drwxr-x--- 1:2 opaque/ @20.000000000
drwxr-xr-x 0:0 opaque/deep/ @30.000000000
-rw-r--r-- 0:0 opaque/deep/high 5 "high\n" @1600000000.000000000
-rw-r--r-- 0:0 opaque/high 5 "high\n" @1600000000.000000000
"#;

/// The image: five layers.
pub(crate) fn image() -> Image {
    [
        base(),
        removals(),
        returns(),
        last(),
        Layer::new().dir("./", 0o755).mtime(1_500_000_000, 500_000_000),
    ]
    .into_iter()
    .fold(Image::new().cmd(&["/bin/none"]), Image::layer)
}

fn root() -> Layer {
    Layer::new().dir("./", 0o755).mtime(1, 0)
}

/// A directory of a layer, and when it was changed.
fn dir(layer: Layer, path: &str, seconds: i64, nanoseconds: u32) -> Layer {
    layer.dir(path, 0o755).mtime(seconds, nanoseconds)
}

fn base() -> Layer {
    let dirs = ["again", "again/sub", "back", "opaque", "opaque/deep", "gone", "gone/sub"];
    let layer = dirs
        .iter()
        .fold(root(), |layer, path| layer.dir(path, 0o755).file(format!("{path}/low"), "low\n"));
    let layer =
        layer.dir("kinds", 0o755).dir("kinds/other", 0o755).file("kinds/other/kept", "kept\n");
    let layer = layer
        .dir("kinds/dir-to-file", 0o755)
        .file("kinds/dir-to-file/in", "in\n")
        .dir("kinds/dir-to-link", 0o755)
        .file("kinds/dir-to-link/in", "in\n")
        .file("kinds/file-to-block", "file\n")
        .file("kinds/file-to-dir", "file\n")
        .fifo("kinds/fifo-to-file")
        .symlink("kinds/link-to-dir", "other");
    let layer = ["across", "broken", "first", "renewed"].iter().fold(
        dir(layer, "links", 10, 0),
        |layer, name| {
            let file = format!("links/{name}-1");
            let layer =
                layer.file(&file, format!("{name}\n")).mtime(10, u32::from(*name == "across"));
            if *name == "across" {
                return layer;
            }
            layer
                .hardlink(format!("links/{name}-2"), &file)
                .mtime(10, 0)
                .hardlink(format!("links/{name}-3"), &file)
                .mtime(10, 0)
        },
    );
    let layer = layer
        .file("links/lost", "only\n")
        .mtime(10, 0)
        .hardlink("links/only", "links/lost")
        .mtime(10, 0);
    let layer = layer
        .dir("marks", 0o755)
        .file("marks/capable", "not yet\n")
        .file("marks/incapable", "capable\n")
        .mode(0o755)
        .xattr("security.capability", CAPABILITY)
        .dir("marks/noted", 0o755)
        .xattr("user.old", "1")
        .file("marks/plain", "plain\n")
        .xattr("user.a", "a")
        .file("marks/su", "su\n")
        .mode(0o4755);
    layer
        .dir("nodes", 0o755)
        .device("nodes/changes", Device::Char, 1, 3)
        .device("nodes/removed", Device::Block, 7, 0)
        .device("nodes/to-fifo", Device::Char, 1, 5)
        .device("nodes/to-file", Device::Block, 7, 1)
}

fn removals() -> Layer {
    let layer = root().whiteout("again").whiteout("back").whiteout("gone").whiteout("nothing");
    let layer = dir(layer, "opaque", 20, 0).mode(0o750).owner(1, 2).opaque("opaque");
    let layer = layer.file("opaque/high", "high\n").dir("opaque/deep", 0o700);
    let layer = dir(layer, "kinds", 20, 2)
        .file("kinds/dir-to-file", "file\n")
        .symlink("kinds/dir-to-link", "other")
        .mtime(20, 0)
        .device("kinds/file-to-block", Device::Block, 7, 3)
        .mode(0o640)
        .owner(0, 6)
        .dir("kinds/file-to-dir", 0o711)
        .owner(3, 4)
        .mtime(20, 0)
        .file("kinds/file-to-dir/in", "in\n")
        .file("kinds/fifo-to-file", "file\n");
    let layer = dir(layer, "kinds/link-to-dir", 20, 0).file("kinds/link-to-dir/in", "in\n");
    let layer = dir(layer, "links", 20, 0)
        .file("links/broken-1", "own\n")
        .whiteout("links/first-1")
        .whiteout("links/lost")
        .whiteout("links/renewed-1")
        .whiteout("links/renewed-2")
        .file("links/across-1", "across\n")
        .mtime(10, 1)
        .hardlink("links/across-2", "links/across-1")
        .mtime(10, 1);
    let layer = dir(layer, "marks", 20, 0)
        .file("marks/capable", "capable\n")
        .mode(0o755)
        .xattr("security.capability", CAPABILITY)
        .file("marks/incapable", "capable\n")
        .mode(0o755)
        .mtime(20, 0)
        .dir("marks/noted", 0o755)
        .mtime(20, 0)
        .xattr("user.new", "2")
        .file("marks/plain", "plain\n")
        .mtime(20, 0)
        .xattr("user.b", "b")
        .file("marks/su", "su\n")
        .mode(0o755)
        .owner(1, 1)
        .mtime(20, 0);
    dir(layer, "nodes", 20, 0)
        .whiteout("nodes/removed")
        .device("nodes/changes", Device::Char, 10, 200)
        .mode(0o660)
        .owner(0, 6)
        .mtime(21, 0)
        .fifo("nodes/to-fifo")
        .file("nodes/to-file", "file\n")
}

fn returns() -> Layer {
    let layer = dir(root(), "again", 30, 3).file("again/high", "high\n");
    let layer = dir(layer, "back", 30, 0).file("back/high", "high\n");
    let layer = layer.dir("opaque", 0o750).owner(1, 2).mtime(20, 0);
    let layer = dir(layer, "opaque/deep", 30, 0).file("opaque/deep/high", "high\n");
    dir(layer, "links", 30, 0)
        .whiteout("links/renewed-3")
        .file("links/renewed-1", "renewed\n")
        .mtime(30, 0)
        .hardlink("links/renewed-2", "links/renewed-1")
        .mtime(30, 0)
}

fn last() -> Layer {
    dir(root(), "back", 40, 0).opaque("back").file("back/last", "last\n")
}
