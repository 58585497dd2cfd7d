//! Layers that try to get out, through the real `unpack`: the breakouts that containerd, moby, umoci, podman, runc and
//! GNU tar were found or are tested for. Whatever comes of them, nothing outside the directory changes.
//!
//! The `rootfs` crate has the long table; these rows show that nothing between it and the pipe opens a way round.

use kit::tree::{self, Mtime, Show};
use kit::{Image, Layer, Output, Sandbox, digest, pipeline};

use crate::fixtures::{assert_no_control, assert_one_line, bare, names, stream_of, unpack};
use crate::flatten;

/// The tree outside, which must stay as it is.
const OUTSIDE: &str = r#"
drwxr-x--- outside/ @1400000000.5
-rw------- outside/secret "secret" @1400000001
drwxr-xr-x outside/dir/ @1400000002
-rw-r--r-- outside/dir/file "file" @1400000003
prw-r--r-- outside/fifo @1400000004
"#;

enum Then {
    /// Exit status 4, one line, no directory.
    Refused,
    /// Exit status 0 and this tree; `OUT` stands for the directory outside.
    Holds(&'static str),
    /// Exit status 0 and a tree whose names are those of the temporary directory.
    Inside,
}

use Then::{Holds, Inside, Refused};

struct Case {
    name: &'static str,
    /// What each layer holds, base first.
    layers: &'static [&'static str],
    then: Then,
}

const fn case(name: &'static str, layers: &'static [&'static str], then: Then) -> Case {
    Case { name, layers, then }
}

const CASES: &[Case] = &[
    case("parent", &["-rw-r--r-- ../outside/new \"x\""], Refused),
    case("parent later", &["drwxr-xr-x a/\n-rw-r--r-- a/../../outside/new \"x\""], Refused),
    case("parent as a directory", &["drwxrwxrwx ../"], Refused),
    case("parent of a link", &["lrwxrwxrwx ../outside/new -> x"], Refused),
    case(
        "absolute name",
        &["-rw-r--r-- /etc/secret \"in\""],
        Holds("drwxr-xr-x ./\ndrwxr-xr-x etc/\n-rw-r--r-- etc/secret 2 \"in\"\n"),
    ),
    case(
        "link out, then a file through it",
        &["lrwxrwxrwx l -> OUT\n-rw-r--r-- l/secret \"in\""],
        Inside,
    ),
    case(
        "link out in a lower layer, then a file through it",
        &["lrwxrwxrwx l -> OUT", "-rw-r--r-- l/secret \"in\""],
        Holds("drwxr-xr-x ./\ndrwxr-xr-x l/\n-rw-r--r-- l/secret 2 \"in\"\n"),
    ),
    case(
        "link up, then a file through it",
        &["lrwxrwxrwx l -> ../outside\n-rw-r--r-- l/secret \"in\""],
        Holds(
            "drwxr-xr-x ./\nlrwxrwxrwx l -> ../outside\ndrwxr-xr-x outside/\n-rw-r--r-- outside/secret 2 \"in\"\n",
        ),
    ),
    case(
        "links to links out",
        &["lrwxrwxrwx a -> b/dir\nlrwxrwxrwx b -> OUT\n-rw-r--r-- a/file \"in\""],
        Inside,
    ),
    case(
        "directory, replaced by a link out, then a file",
        &["drwxr-xr-x d/\nlrwxrwxrwx d -> OUT/dir\n-rw-r--r-- d/file \"in\""],
        Inside,
    ),
    case(
        "file over a link out",
        &["lrwxrwxrwx l -> OUT/secret", "-rw-r--r-- l \"in\""],
        Holds("drwxr-xr-x ./\n-rw-r--r-- l 2 \"in\"\n"),
    ),
    case(
        "mode and time of a directory that is a link out",
        &["lrwxrwxrwx l -> OUT", "drwxrwxrwt l/ @9"],
        Holds("drwxr-xr-x ./\ndrwxrwxrwt l/\n"),
    ),
    case("hard link out, absolute", &["-rw-r--r-- h = OUT/secret"], Refused),
    case("hard link out, by parents", &["-rw-r--r-- h = ../outside/secret"], Refused),
    case(
        "hard link out through a link",
        &["lrwxrwxrwx l -> OUT\n-rw-r--r-- h = l/secret"],
        Refused,
    ),
    case(
        "hard link to a link out, then a file over it",
        &["lrwxrwxrwx l -> OUT/secret\n-rw-r--r-- h = l\n-rw-r--r-- h \"in\""],
        Holds("drwxr-xr-x ./\n-rw-r--r-- h 2 \"in\"\nlrwxrwxrwx l -> OUT/secret\n"),
    ),
    case("hard link to a directory", &["drwxr-xr-x d/\n-rw-r--r-- h = d"], Refused),
    case("whiteout of nothing", &["-rw-r--r-- a \"x\"", "-rw-r--r-- .wh."], Refused),
    case("whiteout of the root", &["-rw-r--r-- a \"x\"", "-rw-r--r-- .wh.."], Refused),
    case("whiteout of the root's parent", &["-rw-r--r-- a \"x\"", "-rw-r--r-- .wh..."], Refused),
    case("whiteout of a parent, deeper", &["drwxr-xr-x d/\n-rw-r--r-- d/.wh..."], Refused),
    case(
        "whiteout through a link out",
        &["lrwxrwxrwx l -> OUT", "-rw-r--r-- l/.wh.secret"],
        Holds("drwxr-xr-x ./\nlrwxrwxrwx l -> OUT\n"),
    ),
    case(
        "opaque marker through a link out",
        &["lrwxrwxrwx l -> OUT", "-rw-r--r-- l/.wh..wh..opq\n-rw-r--r-- l/dir/.wh..wh..opq"],
        Holds("drwxr-xr-x ./\nlrwxrwxrwx l -> OUT\n"),
    ),
    case(
        "whiteout of a link out",
        &["lrwxrwxrwx l -> OUT/dir", "-rw-r--r-- .wh.l"],
        Holds("drwxr-xr-x ./\n"),
    ),
    case(
        "magic links",
        &["lrwxrwxrwx l -> /proc/self/root\n-rw-r--r-- l/etc/f \"in\"\n\
           lrwxrwxrwx m -> /proc/self/cwd\n-rw-r--r-- m/outside/secret \"in\""],
        Holds(
            "drwxr-xr-x ./\nlrwxrwxrwx l -> /proc/self/root\nlrwxrwxrwx m -> /proc/self/cwd\n\
             drwxr-xr-x proc/\ndrwxr-xr-x proc/self/\ndrwxr-xr-x proc/self/cwd/\n\
             drwxr-xr-x proc/self/cwd/outside/\n-rw-r--r-- proc/self/cwd/outside/secret 2 \"in\"\n\
             drwxr-xr-x proc/self/root/\ndrwxr-xr-x proc/self/root/etc/\n-rw-r--r-- proc/self/root/etc/f 2 \"in\"\n",
        ),
    ),
    case("root as a link", &["lrwxrwxrwx ./ -> OUT\n-rw-r--r-- secret \"in\""], Refused),
    case("root as a file", &["-rw-r--r-- ./ \"in\""], Refused),
    case(
        "fifo, then a file over it and below it",
        &["prw-r--r-- p\nprw-r--r-- q", "-rw-r--r-- p \"in\"\n-rw-r--r-- q/f \"in\""],
        Holds("drwxr-xr-x ./\n-rw-r--r-- p 2 \"in\"\ndrwxr-xr-x q/\n-rw-r--r-- q/f 2 \"in\"\n"),
    ),
];

/// A sandbox with a tree outside, and its show.
struct Place {
    sandbox: Sandbox,
    before: String,
}

impl Place {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        tree::build(sandbox.path(""), OUTSIDE);
        let before = tree::show_with(sandbox.path("outside"), Show::ALL);
        Self { sandbox, before }
    }

    fn out(&self) -> String {
        self.sandbox.path("outside").to_string_lossy().into_owned()
    }

    /// Unpacks, and checks that nothing came to the outside.
    #[track_caller]
    fn unpack(&self, name: &str, image: &Image) -> Output {
        let output = unpack(&self.sandbox, stream_of(image));
        let after = tree::show_with(self.sandbox.path("outside"), Show::ALL);
        assert_eq!(self.before, after, "{name}: {}", output.text());
        let expected: &[&str] =
            if output.code() == 0 { &["outside", "root"] } else { &["outside"] };
        assert_eq!(names(self.sandbox.path("")), expected, "{name}: {}", output.text());
        self.unpack_ahead(name, image, &output);
        self.flatten(name, image, output.code());
        output
    }

    /// Unpacks with files made before their turn, and checks that it comes to the same.
    #[track_caller]
    fn unpack_ahead(&self, name: &str, image: &Image, before: &Output) {
        self.sandbox.write("in", stream_of(image));
        let output = pipeline::sh(&self.sandbox, "unpack --jobs 3 ahead < in");
        std::fs::remove_file(self.sandbox.path("in")).unwrap();
        let error = |output: &Output| output.stderr.lines().last().unwrap_or_default().to_owned();
        assert_eq!((output.code(), error(&output)), (before.code(), error(before)), "{name}");
        let after = tree::show_with(self.sandbox.path("outside"), Show::ALL);
        assert_eq!(self.before, after, "{name}: {}", output.text());
        let ahead = self.sandbox.path("ahead");
        if output.code() == 0 {
            assert_eq!(bare(&ahead), bare(self.sandbox.path("root")), "{name}");
            std::fs::remove_dir_all(&ahead).unwrap();
        }
        assert!(!ahead.exists(), "{name}");
    }

    /// Flattens what was unpacked, and checks that it comes to the same.
    #[track_caller]
    fn flatten(&self, name: &str, image: &Image, code: i32) {
        let output = self.sandbox.command("flatten").arg("-").input(stream_of(image)).run();
        assert_eq!(output.code(), code, "{name}: {}", output.text());
        assert_no_control(&output);
        if code != 0 {
            assert_one_line(&output, "flatten");
            assert!(!output.stdout.ends_with(&[0; 1024]), "{name}");
            return;
        }
        let untar = pipeline::Script::new(&self.sandbox, flatten::UNTAR).input(output.stdout);
        untar.run().success();
        assert_eq!(bare(self.sandbox.path("out")), bare(self.sandbox.path("root")), "{name}");
        let after = tree::show_with(self.sandbox.path("outside"), Show::ALL);
        assert_eq!(self.before, after, "{name}");
    }

    /// The tree that was unpacked, with `OUT` for the directory outside.
    fn root(&self) -> String {
        bare(self.sandbox.path("root")).replace(&self.out(), "OUT")
    }
}

fn check(case: &Case) -> Result<(), String> {
    let place = Place::new();
    let layers = case.layers.iter().map(|text| Layer::text(&text.replace("OUT", &place.out())));
    let image = layers.fold(Image::new(), Image::layer);
    let output = place.unpack(case.name, &image);
    match case.then {
        Refused if output.code() == 4 => {
            assert_one_line(&output, "unpack");
            Ok(())
        }
        Holds(expected) if output.code() == 0 => {
            let root = place.root();
            (root == expected).then_some(()).ok_or(root)
        }
        Inside if output.code() == 0 => Ok(()),
        _ => Err(output.text()),
    }
}

#[test]
fn nothing_gets_out() {
    let wrong: Vec<String> = CASES
        .iter()
        .filter_map(|case| check(case).err().map(|found| format!("{}: {found}", case.name)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn our_own_mark_is_no_file_of_an_image_but_in_a_tar() {
    let place = Place::new();
    let link = format!("lrwxrwxrwx .strata-incomplete -> {}/secret\n", place.out());
    let layer = Layer::text(&(link + "-rw-r--r-- .strata-incomplete \"in\""));
    let stream = stream_of(&Image::new().layer(layer));
    let output = unpack(&place.sandbox, stream.clone());
    assert_one_line(output.fails_with(4), "unpack");
    let after = tree::show_with(place.sandbox.path("outside"), Show::ALL);
    assert_eq!((place.before, names(place.sandbox.path(""))), (after, vec!["outside".to_owned()]));
    let output = place.sandbox.command("flatten").arg("-").input(stream).run();
    let show = Show { mtime: Mtime::Hidden, ..Show::ALL };
    let shown = tree::show_tar(&output.success().stdout, show);
    assert_eq!(shown, "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 .strata-incomplete 2 \"in\"\n");
}

#[test]
fn long_names_get_no_further_than_short_ones() {
    for (name, layer) in [
        ("PAX path", Layer::new().file("x", "in").pax("path", "../outside/new")),
        ("PAX link", Layer::new().hardlink("h", "x").pax("linkpath", "../outside/secret")),
        ("GNU name", Layer::new().file(format!("{}../outside/new", "./".repeat(60)), "in").gnu()),
        (
            "GNU link",
            Layer::new().hardlink("h", format!("{}../outside/secret", "./".repeat(60))).gnu(),
        ),
    ] {
        let place = Place::new();
        let output = place.unpack(name, &Image::new().layer(layer));
        assert_one_line(output.fails_with(4), "unpack");
    }
}

#[test]
fn a_lying_layer_is_refused() {
    let cut = Layer::new().file("a", [b'x'; 600]).tar()[..1100].to_vec();
    for (name, layer) in [
        ("a cut file", cut),
        ("a size beyond the end", Layer::new().file("a", "x").claim_size(1 << 40).tar()),
        ("a wrong checksum", Layer::new().file("a", "x").bad_checksum().tar()),
        ("a PAX header of nonsense", Layer::new().file("a", "x").raw_pax("999999 a=b\n").tar()),
        ("no tar", b"this is no tar at all".repeat(100)),
    ] {
        let place = Place::new();
        let output = place.unpack(name, &Image::new().layer(layer));
        assert_eq!(output.code(), 4, "{name}: {}", output.text());
        assert_one_line(&output, "unpack");
    }
}

#[test]
fn names_that_a_terminal_would_obey_are_escaped() {
    let name = b"\x1b]0;owned\x07\x1b[2J\r\nunpack: ok\xe2\x80\xae\xff";
    for layer in [
        Layer::new().hardlink([name.as_slice(), b"/h"].concat(), "nowhere"),
        Layer::new().hardlink("h", name),
        Layer::new().file([name.as_slice(), b"/../../x"].concat(), ""),
        Layer::new().file("x", "").pax("size", name),
    ] {
        let place = Place::new();
        let output = place.unpack("escapes", &Image::new().layer(layer));
        assert_one_line(output.fails_with(4), "unpack");
    }
    // Where the image is sound, so is the talk.
    let place = Place::new();
    let image = Image::new().layer(Layer::new().file(name, "x")).cmd(&["\x1b[2J"]);
    assert_no_control(place.unpack("escapes", &image).success());
}

#[test]
fn a_wrong_digest_is_refused_before_the_directory_appears() {
    let tar = Layer::new().file("a", "x").tar();
    let other = digest(b"another layer");
    let wrong_diff_id = Image::new().layer_blob(&other, kit::Codec::GZIP.encode(&tar));
    let sound = Image::new().layer(tar.clone()).layer(Layer::new().file("b", "y"));
    let swapped = {
        let blobs = sound.layer_blobs();
        let image = sound.clone().set_manifest("/layers/0", blobs[1].descriptor());
        image.set_manifest("/layers/1", blobs[0].descriptor())
    };
    let cases = [
        ("wrong diff id", wrong_diff_id),
        ("swapped layers", swapped),
        ("too few diff ids", sound.clone().drop_config("/rootfs/diff_ids/1")),
        ("wrong size, larger", sound.clone().set_manifest("/layers/1/size", 7777)),
        ("wrong size, smaller", sound.clone().set_manifest("/layers/1/size", 1)),
        ("wrong config size", sound.set_manifest("/config/size", 1)),
    ];
    for (name, image) in cases {
        for producer in [kit::Producer::Strata, kit::Producer::SkopeoOci] {
            let place = Place::new();
            let named = [kit::Named::new("docker.io/library/x:1", whole(&image))];
            let bytes = producer.write(&named);
            let output = unpack(&place.sandbox, bytes.clone());
            assert_eq!(output.code(), 4, "{name} {producer:?}: {}", output.text());
            assert_one_line(&output, "unpack");
            place.sandbox.write("in", bytes);
            let output = pipeline::sh(&place.sandbox, "unpack root < in");
            assert_eq!(output.code(), 4, "{name} {producer:?}: {}", output.text());
            assert_eq!(names(place.sandbox.path("")), ["in", "outside"], "{name}");
            for image in ["- < in", "./in"] {
                let output = pipeline::sh(&place.sandbox, &format!("flatten {image}"));
                assert_one_line(output.fails_with(4), "flatten");
                assert!(!output.stdout.ends_with(&[0; 1024]), "{name} {producer:?}");
            }
        }
    }
}

#[test]
fn a_wrong_diff_id_is_refused_by_every_reader_whatever_the_codec() {
    for codec in [kit::Codec::None, kit::Codec::GZIP, kit::Codec::ZSTD] {
        let layer = Layer::new().dir("./", 0o755).file("f", "x");
        let other = Layer::new().file("f", "y").diff_id();
        let image = Image::new().codec(codec).layer(Layer::new().file("below", "b")).layer(layer);
        let sandbox = Sandbox::new();
        let image = image.set_config("/rootfs/diff_ids/1", other);
        sandbox.write("image", stream_of(&image));
        for line in [
            "unpack root < image",
            "cat image | unpack root",
            "unpack --from ./image root",
            "flatten ./image > flat",
            "flatten - < image > flat",
            "inspect --files ./image",
            "inspect --cat f ./image",
            "changes ./image ./image2",
            "snapshot --base ./image --list empty",
        ] {
            let script = format!("mkdir -p empty; cp image image2; printf x >> image2; {line}");
            let output = pipeline::sh(&sandbox, &script);
            assert_eq!(output.code(), 4, "{codec:?}: {line}: {}", output.text());
            assert!(!sandbox.path("root").exists(), "{codec:?}: {line}");
        }
        let load =
            |flags: &[&str]| sandbox.command("load").args(flags).input(sandbox.read("image")).run();
        assert_one_line(load(&["--verify"]).fails_with(4), "load");
        let images = sandbox.command("images").run();
        assert_eq!(images.success().out().lines().count(), 1, "{codec:?}");
        // A digest vouches for a compressed layer, so a store may have it; but nobody believes what it decompresses to.
        if codec == kit::Codec::None {
            assert_one_line(load(&[]).fails_with(4), "load");
            std::fs::remove_dir_all(sandbox.store()).unwrap();
            let named = kit::Named::new("docker.io/library/liar:1", whole(&image));
            kit::archive::layout(sandbox.store(), &[named]);
        } else {
            load(&[]).success();
            let digest = image.manifest_blob().digest;
            sandbox.command("images").args(["tag", &digest, "liar:1"]).run().success();
        }
        for line in [
            "unpack root --from liar:1",
            "flatten liar:1 > flat",
            "inspect --files liar:1",
            "inspect --cat f liar:1",
            "changes liar:1 dir:empty",
            "snapshot --base liar:1 --list empty",
            "snapshot --checksum --base liar:1 --list empty",
            "commit --base liar:1 -t new:1 < layer.tar",
            "images verify",
            "images verify liar:1",
        ] {
            let layer = Layer::new().hardlink("g", "f").tar();
            sandbox.write("layer.tar", layer);
            let output = pipeline::sh(&sandbox, line);
            assert_eq!(output.code(), 4, "{codec:?}: {line}: {}", output.text());
            assert!(!sandbox.path("root").exists(), "{codec:?}: {line}");
        }
        // As `env` does, it says 125 for whatever goes wrong before the command.
        let output = pipeline::sh(&sandbox, "union liar:1 m -- true");
        assert_eq!(output.code(), 125, "{codec:?}: {}", output.text());
        assert!(output.stderr.contains("uncompressed layer"), "{codec:?}: {}", output.text());
        let images = sandbox.command("images").run();
        assert!(!images.success().out().contains("new"), "{codec:?}: {}", images.text());
    }
}

/// An image's blobs, and nothing that its manifest says of them.
fn whole(image: &Image) -> kit::Content {
    kit::Content { descriptor: image.manifest_blob().descriptor(), blobs: image.blobs() }
}
