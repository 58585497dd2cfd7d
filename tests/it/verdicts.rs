//! `commit` makes no image that `unpack` refuses: of odd layers both say the same.

use std::thread;

use kit::pipeline::sh;
use kit::{Codec, Device, Image, Layer, Named, Producer, Sandbox, Sparse};

use crate::fixtures::{assert_one_line, lacks_root};

const NAME: &str = "docker.io/library/base:1";
/// Among how many sandboxes the layers are shared out.
const N_SANDBOXES: usize = 4;

/// What the layers go on top of.
fn base() -> Image {
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 ./
        -rw-r--r-- 0:0 f "file"
        drwxr-xr-x 0:0 d/
        -rw-r--r-- 0:0 d/f "deeper"
        lrwxrwxrwx 0:0 l -> d
        prw-r--r-- 0:0 p
        "#,
    );
    Image::new().codec(Codec::ZSTD).layer(layer)
}

/// Whether the layer can be had on top of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Good,
    Refused,
}

use Is::{Good, Refused};

/// Layers in the kit's notation.
const LINES: &[(&str, &str, Is)] = &[
    ("a link to a file of the base", "-rw-r--r-- a = f", Good),
    ("a link to a fifo of the base", "-rw-r--r-- a = p", Good),
    ("a link to a symbolic link of the base", "-rw-r--r-- a = l", Good),
    ("a link to a file deeper in the base", "-rw-r--r-- x/a = d/f", Good),
    ("a link in place of a file", "-rw-r--r-- d/f = f", Good),
    ("a link in place of a directory", "-rw-r--r-- d = f", Good),
    ("a link to what isn't there", "-rw-r--r-- a = nothing", Refused),
    ("a link to what isn't there, deeper", "-rw-r--r-- a = d/nothing", Refused),
    ("a link to below a file", "-rw-r--r-- a = f/nothing", Refused),
    ("a link through a lower layer's link", "-rw-r--r-- a = l/f", Refused),
    ("a link through the layer's own link", "lrwxrwxrwx m -> d\n-rw-r--r-- a = m/f", Good),
    ("a link through a link to nothing", "lrwxrwxrwx m -> x\n-rw-r--r-- a = m/f", Refused),
    ("a link to a directory of the base", "-rw-r--r-- a = d", Refused),
    ("a link to a directory of its own", "drwxr-xr-x b/\n-rw-r--r-- a = b", Refused),
    ("a link to an implied directory", "-rw-r--r-- b/c 0\n-rw-r--r-- a = b", Refused),
    ("a link to the root", "-rw-r--r-- a = .", Refused),
    ("a link to itself", "-rw-r--r-- a = a", Refused),
    ("a link to itself by another name", "-rw-r--r-- a = ./a", Refused),
    ("a link to a file that comes later", "-rw-r--r-- a = b\n-rw-r--r-- b \"x\"", Refused),
    ("a link to a file that came before", "-rw-r--r-- b \"x\"\n-rw-r--r-- a = b", Good),
    // chown takes the number for "leave it"; others make it 0:0.
    ("an owner that no file can have", "-rw-r--r-- 4294967295:0 a \"x\"", Refused),
    ("a group that no file can have", "-rw-r--r-- 0:4294967295 a \"x\"", Refused),
    ("the last owner that a file can have", "-rw-r--r-- 4294967294:4294967294 a \"x\"", Good),
    ("links in a ring", "-rw-r--r-- a = b\n-rw-r--r-- b = a", Refused),
    ("a link to a link", "-rw-r--r-- b = f\n-rw-r--r-- a = b", Good),
    ("a link to what takes its place", "-rw-r--r-- f/a 0\n-rw-r--r-- f = f/a", Refused),
    ("a link to what was a directory", "-rw-r--r-- d \"x\"\n-rw-r--r-- a = d", Good),
    ("a link to below what was a directory", "-rw-r--r-- d \"x\"\n-rw-r--r-- a = d/f", Refused),
    ("a link to what was a file", "drwxr-xr-x f/\n-rw-r--r-- a = f", Refused),
    ("a link to what is whited out", "-rw-r--r-- .wh.f 0\n-rw-r--r-- a = f", Refused),
    ("a link to what is whited out later", "-rw-r--r-- a = f\n-rw-r--r-- .wh.f 0", Refused),
    (
        "a link to what an opaque marker takes",
        "-rw-r--r-- a = d/f\n-rw-r--r-- d/.wh..wh..opq 0",
        Refused,
    ),
    ("a link to a whiteout", "-rw-r--r-- .wh.f 0\n-rw-r--r-- a = .wh.f", Refused),
    ("a link of a leftover of AUFS", "-rw-r--r-- a = .wh..wh.plnk/1.2", Good),
    ("a link out", "-rw-r--r-- a = ../f", Refused),
    ("an absolute link", "-rw-r--r-- a = /f", Good),
    ("a name that leads out", "-rw-r--r-- d/../a 0", Refused),
    ("an absolute name", "-rw-r--r-- /a 0", Good),
    (
        "entries twice",
        "-rw-r--r-- a \"1\"\ndrwxr-xr-x a/\n-rw-r--r-- a/b 0\n-rw-r--r-- a \"2\"",
        Good,
    ),
    ("a whiteout of what isn't there", "-rw-r--r-- .wh.nothing 0", Good),
    ("a whiteout that is a directory", "drwxr-xr-x .wh.d/", Good),
    ("a whiteout with something in it", "drwxr-xr-x .wh.d/\n-rw-r--r-- .wh.d/x 0", Refused),
    ("a whiteout of nothing", "-rw-r--r-- d/.wh. 0", Refused),
    ("a whiteout of the directory", "-rw-r--r-- d/.wh.. 0", Refused),
    ("a whiteout of the parent", "-rw-r--r-- d/.wh... 0", Refused),
    ("a whiteout of a name of dots", "-rw-r--r-- d/.wh.... 0", Good),
    ("an opaque root", "-rw-r--r-- .wh..wh..opq 0", Good),
    ("an opaque file", "-rw-r--r-- f/.wh..wh..opq 0", Good),
    ("a whiteout of a whiteout", "-rw-r--r-- .wh..wh.f 0", Good),
    ("leftovers of AUFS", "-rw-r--r-- .wh..wh.aufs 0\n-rw-r--r-- .wh..wh.orph/x 0", Good),
    ("our own mark", "-rw-r--r-- .strata-incomplete 0", Refused),
    ("our own mark as a directory", "-rw-r--r-- .strata-incomplete/a 0", Refused),
    ("our own mark, deeper", "-rw-r--r-- d/.strata-incomplete 0", Good),
    ("a whiteout of our own mark", "-rw-r--r-- .wh..strata-incomplete 0", Good),
    ("a device that overlayfs takes for a whiteout", "crw-r--r-- 0:0 a 0,0", Refused),
    ("a block device of that number", "brw-r--r-- 0:0 a 0,0", Good),
    ("an empty value", "-rw-r--r-- a 0 user.a=\"\"", Good),
    ("an attribute without a name", "-rw-r--r-- a 0 user.=\"x\"", Refused),
    ("an attribute of a space that is nobody's", "-rw-r--r-- a 0 nobody.a=\"x\"", Good),
    ("capabilities of no version", "-rw-r--r-- a 0 security.capability=\"x\"", Refused),
    ("a list of nonsense", "-rw-r--r-- a 0 system.posix_acl_access=\"x\"", Refused),
];

fn layers() -> impl Iterator<Item = (&'static str, Layer, Is)> {
    let lines = LINES.iter().map(|&(name, lines, is)| (name, Layer::text(lines), is));
    lines.chain(limits()).chain(attributes()).chain(headers())
}

fn long(n: usize) -> Vec<u8> {
    vec![b'n'; n]
}

fn file() -> Layer {
    Layer::new().file("a", "x")
}

/// What is as long as it may be, or longer.
fn limits() -> Vec<(&'static str, Layer, Is)> {
    vec![
        ("a name of 255 bytes", Layer::new().file(long(255), ""), Good),
        ("a name of 256 bytes", Layer::new().file(long(256), ""), Refused),
        ("a directory of 256 bytes", Layer::new().dir(long(256), 0o755), Refused),
        ("a link to a long name", Layer::new().hardlink("a", long(256)), Refused),
        ("a whiteout of a long name", Layer::new().whiteout(long(256)), Good),
        ("an opaque long name", Layer::new().opaque(long(256)), Good),
        ("a deep path", Layer::new().file(vec!["d"; 3000].join("/"), ""), Good),
        ("a link of 4095 bytes", Layer::new().symlink("a", long(4095)), Good),
        ("a link of 4096 bytes", Layer::new().symlink("a", long(4096)), Refused),
        ("a link to nothing", Layer::new().symlink("a", ""), Refused),
        ("the last device", Layer::new().device("a", Device::Char, 0xfff, 0xf_ffff), Good),
        ("a major number too far", Layer::new().device("a", Device::Block, 0x1000, 0), Refused),
        ("a minor number too far", Layer::new().device("a", Device::Char, 0, 0x10_0000), Refused),
        ("the owner that is nobody", file().owner(u64::from(u32::MAX), 0), Refused),
        ("an owner beyond 32 bits", file().owner(1 << 32, 0), Refused),
        ("the last owner", file().owner(u64::from(u32::MAX) - 1, 9), Good),
    ]
}

/// Extended attributes.
fn attributes() -> Vec<(&'static str, Layer, Is)> {
    let acl = |entries: &[[u8; 8]]| [&[2, 0, 0, 0], entries.as_flattened()].concat();
    let with_acl = |entries: &[[u8; 8]]| {
        Layer::new().dir("a", 0o755).xattr("system.posix_acl_default", acl(entries))
    };
    let entry = |tag, bits| [tag, 0, bits, 0, 0, 0, 0, 0];
    vec![
        ("values", file().xattr("user.a", long(1000)).xattr("user.b", ""), Good),
        ("a value beyond 64 KiB", file().xattr("user.a", long(65_537)), Refused),
        (
            "an attribute's name of 256 bytes",
            file().xattr([b"user.", &long(251)[..]].concat(), ""),
            Refused,
        ),
        ("a good list", with_acl(&[entry(1, 7), entry(4, 5), entry(32, 0)]), Good),
        ("a list out of order", with_acl(&[entry(4, 5), entry(1, 7), entry(32, 0)]), Refused),
        (
            "a list without a mask",
            with_acl(&[entry(1, 7), entry(2, 7), entry(4, 5), entry(32, 0)]),
            Refused,
        ),
        (
            "a list with a mask",
            with_acl(&[entry(1, 7), entry(2, 7), entry(4, 5), entry(16, 7), entry(32, 0)]),
            Good,
        ),
    ]
}

/// What only the bytes of an archive show.
fn headers() -> Vec<(&'static str, Layer, Is)> {
    let sparse = |size| Layer::new().sparse("a", Sparse::Pax10, size, &[(0, b"x")]);
    vec![
        ("a bad PAX record", file().raw_pax("8 path=a\n"), Refused),
        ("a PAX record of no number", file().pax("mtime", "now"), Refused),
        ("PAX records without an entry", Layer::new().entry(b'x', "x").raw(""), Refused),
        ("an unknown type", Layer::new().entry(b'Z', "a"), Refused),
        ("a file of another root", Layer::new().file("./", "x"), Refused),
        ("a root that is a link", Layer::new().symlink(".", "d"), Refused),
        ("the root again", Layer::new().dir("./", 0o700).dir("/", 0o711), Good),
        ("holes", sparse(1 << 30), Good),
        (
            "a piece beyond the end",
            Layer::new().sparse("a", Sparse::Pax01, 0, &[(512, b"x")]),
            Refused,
        ),
        (
            "a time before 1970 and one far ahead",
            file().mtime(-5, 1).file("b", "").mtime(1 << 40, 0),
            Good,
        ),
        ("less than it says", file().claim_size(5000), Refused),
    ]
}

#[test]
fn commit_and_unpack_say_the_same_of_odd_layers() {
    // Most of the time is waiting for the disk, which several can do at once.
    let layers: Vec<_> = layers().collect();
    let wrong: Vec<String> = thread::scope(|scope| {
        let parts = layers.chunks(layers.len().div_ceil(N_SANDBOXES));
        let threads: Vec<_> = parts.map(|part| scope.spawn(|| differences(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Of which of these layers `commit` and `unpack` don't both say what is expected.
fn differences(layers: &[(&str, Layer, Is)]) -> Vec<String> {
    let sandbox = Sandbox::new();
    let stream = Producer::Strata.write(&[Named::new(NAME, base())]);
    sandbox.command("load").input(stream.clone()).run().success();
    sandbox.write("base.tar", stream);
    let mut wrong = vec![];
    for (name, layer, is) in layers {
        let image = Named::new(NAME, base().codec(Codec::None).layer(layer.clone()));
        let unpack = sandbox.command("unpack").args(["--no-sync", "root"]);
        let unpacked = unpack.input(Producer::Strata.write(&[image])).run();
        sh(&sandbox, "rm -rf root").success();
        let commit = |args: &[&str]| {
            let command = sandbox.command("commit").args(["-q", "-t", "new"]).args(args);
            command.input(layer.tar()).run()
        };
        let committed = commit(&["--base", "base:1"]);
        let streamed = commit(&["--base", "./base.tar", "--no-store", "--stream"]);
        let expected = if *is == Good { 0 } else { 4 };
        let codes = [&unpacked, &committed, &streamed].map(kit::Output::code);
        if codes != [expected; 3] {
            wrong.push(format!("{name}: {codes:?}: {}{}", unpacked.stderr, committed.stderr));
            continue;
        }
        if *is == Refused {
            assert_one_line(&committed, "commit");
            assert!(committed.stderr.starts_with("commit: standard input: "), "{name}");
            continue;
        }
        sh(&sandbox, "unpack -q --no-sync --from new root && rm -r root").success();
    }
    wrong
}

#[test]
fn as_root_a_device_that_is_a_whiteout_to_overlayfs_is_refused_by_all() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let device = Layer::new().device("d/f", Device::Char, 0, 0);
    let image = base().codec(Codec::None).layer(device);
    sandbox.load(&[Named::new("docker.io/library/odd:1", image), Named::new(NAME, base())]);
    for line in [
        "unpack --from odd:1 root",
        "unpack --bundle --from odd:1 root",
        "union odd:1 root",
        "flatten odd:1 > flat.tar",
        "inspect --files odd:1",
        "changes base:1 odd:1",
        "snapshot --base odd:1 .",
    ] {
        let output = sh(&sandbox, line);
        // changes(1) has the manners of diff(1).
        let expected = if line.starts_with("changes") { [2, 4] } else { [4; 2] };
        assert!(expected.contains(&output.code()), "{line}: {}", output.text());
        let reason = "d/f: a character device 0:0, which overlayfs takes for a whiteout";
        assert!(output.stderr.contains(reason), "{line}: {}", output.stderr);
        assert!(!sandbox.path("root").exists(), "{line}");
    }
    // A directory that holds one has no layer either.
    sh(&sandbox, "mkdir root && mknod root/n c 0 0").success();
    let output = sh(&sandbox, "snapshot --base scratch root");
    assert_eq!(output.code(), 1);
    assert!(output.stderr.contains("n: a character device 0:0 is a whiteout"), "{}", output.stderr);
}
