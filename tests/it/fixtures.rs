//! What several modules need: one image that shows what layers can do, the tree it must become, and quick ways to run.

use std::path::{Path, PathBuf};

use kit::image::random::Random;
use kit::tree::{self, Mtime, Show};
use kit::{Codec, Gzip, Image, Layer, Output, Sandbox, Sparse, Zstd, check};
use layer_format::{Digest, Document, Index, Manifest};
use stream::{Graph, Name, Preamble, Writer};

/// What [`demo`] becomes, for whoever may set owners.
pub(crate) const DEMO_TREE: &str = r#"
drwxr-xr-x 0:0 ./ @1500000000.5
drwxr-xr-x 0:0 etc/ @1500000001.000000001
-rw-r----- 0:42 etc/passwd 17 "root:x:0:0:root:\n" @1500000002
lrwxrwxrwx 0:0 lib -> usr/lib @1500000003.25
drwxrwxrwt 0:0 tmp/ @1500000004
drwxr-xr-x 0:0 usr/ @1500000005
drwxr-sr-x 0:5 usr/bin/ @1500000006
-rwsr-xr-x 0:0 usr/bin/su 3 "su\n" @1500000007.123456789
-rwsr-xr-x 0:0 usr/bin/su2 = usr/bin/su @1500000007.123456789
drwxr-xr-x 0:0 var/ @1500000008
-rw-r--r-- 0:0 var/big 1048576 @1500000009
drwx------ 7:7 var/cache/ @1500000010
-rw-r--r-- 7:7 var/cache/new 4 "new\n" @1500000011
prw-r--r-- 0:0 var/fifo @1500000012
-rw-r--r-- 0:0 var/größe\x20\xff 0 @1500000013
"#;

/// Three layers, each compressed in another way: whiteouts, opaque directories, replaced files, links, special bits,
/// times below the second, holes, names that are no text.
pub(crate) fn demo() -> Image {
    demo_from(Image::new())
}

/// The same in the words of Docker's schema 2.
pub(crate) fn docker_demo() -> Image {
    demo_from(Image::new().docker())
}

fn demo_from(image: Image) -> Image {
    let gzip = Gzip { members: 3, name: Some(b"layer.tar"), header_crc: true, ..Gzip::PLAIN };
    let zstd = Zstd { frames: 2, skippable: true, ..Zstd::PLAIN };
    let [base, middle, top] = demo_layers();
    let image = image.codec(Codec::None).layer(base);
    image.codec(Codec::Gzip(gzip)).layer(middle).codec(Codec::Zstd(zstd)).layer(top)
}

/// The three layers of [`demo`].
pub(crate) fn demo_layers() -> [Layer; 3] {
    let base = Layer::text(
        r#"
        drwxr-xr-x 0:0 ./ @1500000000.5
        drwxr-xr-x 0:0 etc/ @1500000001.000000001
        -rw-r--r-- 0:0 etc/gone "gone"
        -rw-r--r-- 0:0 etc/passwd "root" @5
        drwxr-xr-x 0:0 usr/ @1500000005
        drwxr-sr-x 0:5 usr/bin/ @1500000006
        -rwsr-xr-x 0:0 usr/bin/su "su\n" @1500000007.123456789
        drwxr-xr-x 0:0 lib/ @1
        -rw-r--r-- 0:0 lib/old "old"
        drwxr-xr-x 0:0 var/ @1500000008
        drwx------ 7:7 var/cache/ @1
        -rw-r--r-- 0:0 var/cache/old "old"
        "#,
    );
    let base = base.hardlink("usr/bin/su2", "usr/bin/su");
    let base = base.sparse("var/big", Sparse::Pax10, 1 << 20, &[]).mtime(1_500_000_009, 0);
    let middle = Layer::text("-rw-r--r-- 7:7 var/cache/new \"new\\n\" @1500000011")
        .whiteout("etc/gone")
        .opaque("var/cache")
        .dir("var/cache", 0o700)
        .owner(7, 7)
        .mtime(1_500_000_010, 0)
        .whiteout("lib")
        .file("etc/passwd", "root:x:0:0:root:\n")
        .owner(0, 42)
        .mode(0o640)
        .mtime(1_500_000_002, 0);
    let top = Layer::text(
        r"
        lrwxrwxrwx 0:0 lib -> usr/lib @1500000003.25
        drwxrwxrwt 0:0 tmp/ @1500000004
        prw-r--r-- 0:0 var/fifo @1500000012
        ",
    );
    [base, middle, top.file(b"var/gr\xc3\xb6\xc3\x9fe \xff", "").mtime(1_500_000_013, 0)]
}

/// A small image of one gzip layer.
pub(crate) fn small(content: &str) -> Image {
    Image::new().layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/motd", content))
}

/// An image of three layers, each a file `noise0` and so on of as many bytes, and stored as they are.
pub(crate) fn noise(size: usize) -> Image {
    (0..3).fold(Image::new().codec(Codec::None), |image, n| {
        image.layer(Layer::new().file(format!("noise{n}"), Random::new(n).bytes(size)))
    })
}

/// Checks that the store has this [`noise`] whole, with nothing half beside it, and that it was unpacked to `root`.
#[track_caller]
pub(crate) fn assert_noise(sandbox: &Sandbox, image: &Image, size: usize) {
    let report = check::layout(sandbox.store()).expect("a sound store");
    assert_eq!(report.manifests, [image.digest()]);
    assert!(names(sandbox.store().join("strata/partial")).is_empty());
    for n in 0..3 {
        assert!(sandbox.read(&format!("root/noise{n}")) == Random::new(n).bytes(size));
    }
}

/// Whether owners and devices can be expected.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that a test needs root, unless this is root.
pub(crate) fn lacks_root() -> bool {
    if !is_root() {
        kit::peers::skip("this test", "it is for root");
    }
    !is_root()
}

/// Whether a tool is missing that most machines have; says so.
pub(crate) fn lacks(tools: &[&str]) -> bool {
    tools.iter().any(|tool| kit::peers::peer(tool).is_none())
}

/// All of a tree that this user can set.
pub(crate) fn shown(dir: impl AsRef<Path>) -> String {
    let shown = tree::show_with(dir, Show { owner: is_root(), ..Show::ALL });
    if is_root() { shown } else { shown.split_inclusive('\n').map(without_special_bits).collect() }
}

/// A file's line as it is where the owner wasn't set: with neither setuid nor setgid.
fn without_special_bits(line: &str) -> String {
    match line.split_once(' ') {
        Some((mode, rest)) if mode.starts_with('-') => {
            format!("{} {rest}", mode.replace('s', "x").replace('S', "-"))
        }
        _ => line.to_owned(),
    }
}

/// Without times, owners and attributes: what hostile tables compare.
pub(crate) fn bare(dir: impl AsRef<Path>) -> String {
    tree::show_with(dir, Show { mtime: Mtime::Hidden, owner: false, ..Show::PLAIN })
}

/// What [`shown`] must say of [`demo`].
pub(crate) fn expected_demo() -> String {
    static EXPECTED: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    let make = || {
        let sandbox = Sandbox::new();
        tree::build(sandbox.path("expected"), DEMO_TREE);
        shown(sandbox.path("expected"))
    };
    EXPECTED.get_or_init(make).clone()
}

/// Checks that a directory is what [`demo`] becomes.
#[track_caller]
pub(crate) fn assert_demo(dir: impl AsRef<Path>) {
    tree::assert_same(&expected_demo(), &shown(dir));
}

/// An image stream of ours, with the marks that make readers strict.
pub(crate) fn stream_of(image: &Image) -> Vec<u8> {
    let parse = |raw: Vec<u8>| Manifest::parse(raw).expect("a fixture is well formed");
    let manifest = parse(image.manifest_blob().bytes);
    stream(image, Graph { indexes: vec![], manifests: vec![manifest] })
}

/// The same for an index and all its images.
pub(crate) fn stream_of_index(index: &kit::Index) -> Vec<u8> {
    let content = kit::Content::from(index);
    let outer = Index::parse(index.index_blob().bytes).expect("a fixture is well formed");
    let manifests = outer.manifests.iter().map(|entry| {
        let blob = content.blob(&entry.digest.to_string()).expect("a fixture is whole");
        match Document::parse(blob.bytes.clone()).expect("a fixture is well formed") {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => panic!("a fixture without nested indexes"),
        }
    });
    let manifests = manifests.collect();
    stream(content, Graph { indexes: vec![outer], manifests })
}

fn stream(content: impl Into<kit::Content>, parts: Graph) -> Vec<u8> {
    let content: kit::Content = content.into();
    let target = parts.indexes.first().map(Index::descriptor);
    let target = target.unwrap_or_else(|| parts.manifests[0].descriptor());
    let name = Name { reference: "demo:1".parse().ok(), target };
    let preamble = Preamble::of(&[name], &[parts]).expect("a fixture is well formed");
    let mut writer = Writer::new(Vec::new(), &preamble).expect("memory takes all");
    for blob in &content.blobs {
        let digest: Digest = blob.digest.parse().expect("a fixture is well formed");
        writer.document(&blob.bytes, digest).expect("memory takes all");
    }
    writer.finish().expect("memory takes all")
}

/// Runs `unpack root` with these bytes on a pipe.
pub(crate) fn unpack(sandbox: &Sandbox, stream: impl Into<Vec<u8>>) -> Output {
    sandbox.command("unpack").arg("root").input(stream).run()
}

/// Every file in a directory and in those below.
pub(crate) fn files(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut found = vec![];
    let mut waiting = vec![dir.as_ref().to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { waiting.push(path) } else { found.push(path) }
        }
    }
    found
}

/// What stands in a directory, sorted.
pub(crate) fn names(dir: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(dir).expect("a directory of the sandbox is readable");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("a directory is readable").file_name().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// Where a program builds `root` before it appears, once it does.
pub(crate) fn half_made(sandbox: &Sandbox) -> Option<PathBuf> {
    let found = names(sandbox.path("")).into_iter().find(|name| name.starts_with(".root.strata-"));
    found.map(|name| sandbox.path(name).join("tree"))
}

/// Checks that a program failed with one line, or one and hints, that hold nothing a terminal would obey. Plain progress,
/// `0123456789ab: Extracting`, may stand before it.
#[track_caller]
pub(crate) fn assert_one_line(output: &Output, program: &str) {
    let is_progress = |line: &&str| {
        line.get(..12).is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let lines: Vec<&str> = output.stderr.lines().filter(|line| !is_progress(line)).collect();
    let about = lines.iter().filter(|line| line.starts_with(&format!("{program}: "))).count();
    let rest = lines.iter().filter(|line| line.starts_with("hint: ")).count();
    assert!(about == 1 && about + rest == lines.len(), "not one line:\n{}", output.text());
    assert_no_control(output);
}

/// Checks that nothing a terminal would obey was said.
#[track_caller]
pub(crate) fn assert_no_control(output: &Output) {
    let hostile = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!output.stderr.contains(hostile), "raw control characters: {:?}", output.stderr);
}
