//! The layers above Debian: one adds everything a layer can hold, two change and remove it again.

use kit::{Device, Image, Layer};

/// `cap_net_bind_service=ep`, as the kernel keeps it.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// All of them, the lowest first.
pub(crate) fn all() -> Vec<Layer> {
    vec![additions(), changes(), returns()]
}

/// A small image where Debian is not the point: the same layers above a handful of files.
pub(crate) fn small(image: Image) -> Image {
    let dirs = ["./", "etc", "usr", "usr/share", "usr/share/keyrings", "var", "var/log"];
    let ground = dirs.iter().fold(Layer::new(), |layer, dir| layer.dir(*dir, 0o755));
    let ground = ground.file("etc/motd", "hello\n").file("var/log/old", "old\n");
    all().into_iter().fold(image.cmd(&["/bin/none"]).layer(ground), Image::layer)
}

fn additions() -> Layer {
    let layer = Layer::new().dir("srv", 0o755).dir("srv/all", 0o755).mtime(1_234_567_890, 1);
    let layer = names(links(attributes(layer)));
    to_be_changed(layer)
}

/// Modes, owners, times, extended attributes, and every type of inode.
fn attributes(layer: Layer) -> Layer {
    layer
        .file("srv/all/setuid", "#!/bin/sh\n")
        .mode(0o4755)
        .file("srv/all/setgid", "#!/bin/sh\n")
        .mode(0o2755)
        .owner(0, 50)
        .dir("srv/all/shared", 0o3775)
        .owner(0, 50)
        .dir("srv/all/private", 0o700)
        .owner(1000, 1000)
        .file("srv/all/private/none", "nobody reads this\n")
        .mode(0)
        .file("srv/all/far", "an id above 21 bits\n")
        .owner(3_000_000, 4_000_000)
        .file("srv/all/empty", "")
        .file("srv/all/nanoseconds", "")
        .mtime(1_500_000_000, 123_456_789)
        .file("srv/all/old", "")
        .mtime(-2, 500_000_000)
        .file("srv/all/late", "")
        .mtime(9_000_000_000, 1)
        .file("srv/all/capable", "#!/bin/sh\n")
        .mode(0o755)
        .xattr("security.capability", CAPABILITY)
        .file("srv/all/noted", "noted\n")
        .xattr("user.note", "a note")
        .xattr("user.bytes", b"\0\xff=\n")
        .dir("srv/all/trusted", 0o755)
        .xattr("trusted.level", "9")
        .fifo("srv/all/fifo")
        .mode(0o620)
        .device("srv/all/char", Device::Char, 5, 300)
        .mode(0o660)
        .owner(0, 5)
        .device("srv/all/block", Device::Block, 259, 70_000)
        .mode(0o660)
}

/// Links of both kinds.
fn links(layer: Layer) -> Layer {
    layer
        .symlink("srv/all/relative", "private/none")
        .symlink("srv/all/absolute", "/etc/os-release")
        .symlink("srv/all/above", "../../../../../etc/passwd")
        .symlink("srv/all/nowhere", "no such thing")
        .mtime(1_500_000_000, 987_654_321)
        .file("srv/all/link-1", "of three names\n")
        .mode(0o640)
        .mtime(1_400_000_000, 5)
        .hardlink("srv/all/link-2", "srv/all/link-1")
        .mode(0o640)
        .mtime(1_400_000_000, 5)
        .hardlink("srv/all/shared/link-3", "srv/all/link-2")
        .mode(0o640)
        .mtime(1_400_000_000, 5)
}

/// Names that some header cannot hold.
fn names(layer: Layer) -> Layer {
    let long = "n".repeat(200);
    layer
        .file("srv/all/ spaces and\nlines ", "")
        .file("srv/all/grüße-世界", "")
        .file(b"srv/all/caf\xe9".as_slice(), "")
        .dir(format!("srv/all/{long}"), 0o755)
        .file(format!("srv/all/{long}/{long}"), "long\n")
        .symlink(format!("srv/all/{long}/link"), format!("{long}/../{long}"))
        .file("srv/all/gnu-".to_owned() + &long, "long, and not in PAX\n")
        .gnu()
        .file("srv/all/-n", "")
        .file("srv/all/.wh", "not a whiteout\n")
}

/// What the layers above work upon.
fn to_be_changed(layer: Layer) -> Layer {
    let layer = layer.dir("srv/low", 0o755);
    let layer = ["file", "gone", "grows", "touched", "to-dir", "to-link", "to-device"]
        .iter()
        .fold(layer, |layer, name| layer.file(format!("srv/low/{name}"), format!("low {name}\n")));
    let dirs = ["kept", "removed", "opaque", "refilled", "to-file", "to-symlink", "and-back"];
    let layer = dirs.iter().fold(layer, |layer, name| {
        let dir = format!("srv/low/d-{name}");
        let layer = layer.dir(&dir, 0o750).owner(1, 2).dir(format!("{dir}/sub"), 0o755);
        layer.file(format!("{dir}/sub/low"), "low\n").file(format!("{dir}/low"), "low\n")
    });
    layer
        .symlink("srv/low/symlink-to-dir", "d-kept")
        .file("srv/low/group-1", "group\n")
        .hardlink("srv/low/group-2", "srv/low/group-1")
        .hardlink("srv/low/group-3", "srv/low/group-1")
}

/// Removals and replacements, in Debian's own files too.
fn changes() -> Layer {
    Layer::new()
        .whiteout("etc/motd")
        .whiteout("usr/share/keyrings")
        .opaque("var/log")
        .dir("var/log", 0o755)
        .file("var/log/only", "what an opaque directory has is new\n")
        .file("etc/hostname", "strata\n")
        .dir("srv/low", 0o711)
        .mtime(1_450_000_000, 45)
        .file("srv/low/file", "high\n")
        .mode(0o600)
        .whiteout("srv/low/gone")
        .file("srv/low/grows", "x".repeat(70_000))
        .file("srv/low/touched", "low touched\n")
        .owner(7, 8)
        .mtime(1_450_000_000, 46)
        .dir("srv/low/to-dir", 0o700)
        .file("srv/low/to-dir/inside", "")
        .symlink("srv/low/to-link", "grows")
        .device("srv/low/to-device", Device::Char, 1, 3)
        .dir("srv/low/d-kept", 0o705)
        .file("srv/low/d-kept/high", "high\n")
        .whiteout("srv/low/d-removed")
        .dir("srv/low/d-opaque", 0o755)
        .opaque("srv/low/d-opaque")
        .file("srv/low/d-opaque/high", "high\n")
        .file("srv/low/d-to-file", "a file now\n")
        .symlink("srv/low/d-to-symlink", "d-kept")
        .file("srv/low/d-and-back", "a file for one layer\n")
        .dir("srv/low/symlink-to-dir", 0o755)
        .file("srv/low/symlink-to-dir/inside", "not in d-kept\n")
        .whiteout("srv/low/group-1")
        .file("srv/low/group-3", "a file of its own\n")
}

/// What was removed is there again, in other forms.
fn returns() -> Layer {
    Layer::new()
        .dir("srv/low/d-and-back", 0o755)
        .file("srv/low/d-and-back/high", "high\n")
        .dir("srv/low/d-removed", 0o711)
        .file("srv/low/d-removed/high", "high\n")
        .file("srv/low/gone", "back again\n")
        .file("srv/low/to-dir", "a file again\n")
        .whiteout("srv/low/d-opaque/high")
        .file("srv/low/group-1", "another\n")
        .hardlink("srv/low/group-4", "srv/low/group-1")
}
