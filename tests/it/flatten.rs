//! `flatten`: one plain tar of an image's files, the tree that `unpack` makes.

use std::collections::HashSet;

use kit::archive::layout;
use kit::image::random::{Random, random};
use kit::tree::{self, Mtime, Show};
use kit::{Codec, Gzip, Image, Layer, Named, Output, Producer, Sandbox, Zstd, check, pipeline};

use crate::fixtures::{
    assert_demo, assert_one_line, demo, demo_layers, docker_demo, names, shown, stream_of,
};

/// What makes a directory `out` of a tar on a pipe.
pub(crate) const UNTAR: &str = "(mkdir out && tar -C out -xp --numeric-owner --delay-directory-restore --xattrs --xattrs-include='*')";

/// Runs `flatten -` with an image on a pipe.
fn flatten(image: &Image) -> Output {
    Sandbox::new().command("flatten").arg("-").input(stream_of(image)).run()
}

/// The lines of a tar, without times.
fn lines(tar: &[u8]) -> String {
    tree::show_tar(tar, Show { mtime: Mtime::Hidden, ..Show::ALL })
}

/// Checks what every flat tar is: no name twice, nothing before the directory that it is in, no link before its target, no
/// whiteout, and an end.
#[track_caller]
fn assert_plain(tar: &[u8]) {
    assert!(tar.ends_with(&[0; 1024]) && tar.len().is_multiple_of(512), "no end");
    let shown = tree::show_tar(
        tar,
        Show { owner: false, content: false, xattrs: false, mtime: Mtime::Hidden },
    );
    let mut seen = HashSet::new();
    for line in shown.lines() {
        let mut words = line.split(' ').skip(1);
        let path = words.next().unwrap().trim_end_matches('/');
        let parent = path.rsplit_once('/').map_or(".", |(parent, _)| parent);
        assert!(path == "." || seen.contains(parent), "{path} comes before {parent}:\n{shown}");
        assert!(seen.insert(path.to_owned()), "{path} comes twice:\n{shown}");
        assert!(!path.contains(".wh."), "{path}");
        if words.next() == Some("=") {
            let target = words.next().unwrap();
            assert!(seen.contains(target), "{path} comes before {target}:\n{shown}");
        }
    }
}

#[track_caller]
fn check_lines(layers: &[&str], expected: &str) {
    let image = layers.iter().fold(Image::new(), |image, layer| image.layer(parsed(layer)));
    let output = flatten(&image);
    assert_plain(&output.success().stdout);
    assert_eq!(lines(&output.stdout), expected, "{layers:?}");
}

/// A layer of lines; those that begin with `-` and a space are whiteouts.
fn parsed(text: &str) -> Layer {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (markers, entries): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("- "));
    let layer = Layer::text(&entries.join("\n"));
    markers.iter().fold(layer, |layer, line| layer.whiteout(&line[2..]))
}

#[test]
fn the_tar_becomes_the_tree_of_unpack_wherever_the_image_is() {
    let sandbox = Sandbox::new();
    let images = [Named::new("docker.io/library/demo:1", demo())];
    layout(sandbox.store(), &images);
    layout(sandbox.path("layout"), &images);
    sandbox.write("demo.tar", stream_of(&demo()));
    pipeline::sh(&sandbox, &format!("flatten - < demo.tar | tee flat | {UNTAR}")).success();
    assert_demo(sandbox.path("out"));
    let flat = sandbox.read("flat");
    assert_plain(&flat);
    for script in [
        "cat demo.tar | flatten --no-store -",
        "cat demo.tar | flatten -",
        // Now the store knows what the layers hold.
        "cat demo.tar | flatten -",
        "flatten ./demo.tar",
        "flatten --no-store ./demo.tar",
        "flatten --no-store <(cat demo.tar)",
        "gzip < demo.tar | flatten --no-store -",
        "gzip < demo.tar > demo.tar.gz; flatten --no-store ./demo.tar.gz",
        "flatten --no-store layout:layout",
        "flatten --no-store ./layout",
        "rm -r \"$STRATA_STORE/strata\"; flatten demo:1",
        "flatten demo:1",
        // From wherever standard input is.
        "(dd of=/dev/null bs=1 count=7 status=none; flatten --no-store -) < shifted",
    ] {
        sandbox.write("shifted", [b"before\n", &sandbox.read("demo.tar")[..]].concat());
        let output = pipeline::sh(&sandbox, script);
        assert!(output.success().stdout == flat, "{script} differs");
    }
    assert_eq!(names(sandbox.root().join("tmp")), [".pipestatus"], "nothing is left behind");
}

#[test]
fn every_archive_and_every_codec_gives_the_same_bytes() {
    let mut expected: Option<Vec<u8>> = None;
    let mut check = |archive: Vec<u8>, what: &str| {
        let output = Sandbox::new().command("flatten").arg("-").input(archive.clone()).run();
        let sandbox = Sandbox::new();
        sandbox.write("a.tar", archive);
        let again = sandbox.command("flatten").arg("./a.tar").run();
        let expected = expected.get_or_insert_with(|| output.success().stdout.clone());
        assert!(output.success().stdout == *expected, "{what} on a pipe differs");
        assert!(again.success().stdout == *expected, "{what} in a file differs");
    };
    for producer in Producer::ALL {
        for image in [demo(), docker_demo()] {
            check(producer.write(&[Named::new("demo:1", image)]), &format!("{producer:?}"));
        }
    }
    let members = Gzip { members: 5, padding: 100, ..Gzip::PLAIN };
    for codec in [Codec::None, Codec::GZIP, Codec::Gzip(members), Codec::Zstd(Zstd::PLAIN)] {
        let image = Image::new().codec(codec);
        check(stream_of(&demo_layers().into_iter().fold(image, Image::layer)), "a codec");
    }
}

#[test]
fn directories_come_first_with_what_they_are_in_the_end() {
    check_lines(
        &["drwx------ d/\n-rw-r--r-- d/f \"x\"\ndrwxr-xr-x e/", "drwxr-x--t 1:2 d/ user.a=\"b\""],
        "drwxr-xr-x 0:0 ./\ndrwxr-x--t 1:2 d/ user.a=\"b\"\n-rw-r--r-- 0:0 d/f 1 \"x\"\ndrwxr-xr-x 0:0 e/\n",
    );
    check_lines(
        &["-rw-r--r-- a/b/f \"x\"", "drwx------ a/b/\n- a/b/f", "drwx--x--x ./"],
        "drwx--x--x 0:0 ./\ndrwxr-xr-x 0:0 a/\ndrwx------ 0:0 a/b/\n",
    );
    // A directory that nothing describes, and that holds nothing any more.
    check_lines(
        &["-rw-r--r-- a/b/f \"x\"\n-rw-r--r-- z \"z\"", "- a/b/f"],
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 z 1 \"z\"\ndrwxr-xr-x 0:0 a/\ndrwxr-xr-x 0:0 a/b/\n",
    );
}

#[test]
fn a_directory_without_an_entry_has_the_time_that_unpack_gives() {
    let output = flatten(&Image::new().layer(Layer::new().file("a/f", "x")));
    let shown =
        tree::show_tar(&output.success().stdout, Show { mtime: Mtime::Seconds, ..Show::ALL });
    assert!(shown.starts_with("drwxr-xr-x 0:0 ./ @0\ndrwxr-xr-x 0:0 a/ @0\n"), "{shown}");
}

#[test]
fn only_what_is_left_is_written() {
    check_lines(
        &["-rw-r--r-- f \"old\"\n-rw-r--r-- g \"g\"", "-rw------- f \"new\"\n- g"],
        "drwxr-xr-x 0:0 ./\n-rw------- 0:0 f 3 \"new\"\n",
    );
    check_lines(
        &["-rw-r--r-- f \"1\"\n-rw-r--r-- f \"2\"\ndrwxr-xr-x d/\n-rw-r--r-- d \"3\""],
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 f 1 \"2\"\n-rw-r--r-- 0:0 d 1 \"3\"\n",
    );
    check_lines(
        &["drwxr-xr-x d/\n-rw-r--r-- d/low \"x\"", "- d\ndrwx------ d/\n-rw-r--r-- d/high \"y\""],
        "drwxr-xr-x 0:0 ./\ndrwx------ 0:0 d/\n-rw-r--r-- 0:0 d/high 1 \"y\"\n",
    );
    check_lines(
        &[
            "drwxr-xr-x usr/lib/\nlrwxrwxrwx lib -> usr/lib\n-rw-r--r-- lib/a \"a\"",
            "-rw-r--r-- lib/b \"b\"",
        ],
        "drwxr-xr-x 0:0 ./\ndrwxr-xr-x 0:0 usr/\ndrwxr-xr-x 0:0 usr/lib/\n-rw-r--r-- 0:0 usr/lib/a 1 \"a\"\n\
         drwxr-xr-x 0:0 lib/\n-rw-r--r-- 0:0 lib/b 1 \"b\"\n",
    );
}

#[test]
fn links_span_layers() {
    // A link of an upper layer to a file of a lower one.
    check_lines(
        &["-rw-r----- 1:2 f \"x\" user.a=\"b\"\n-rw-r--r-- g \"g\"", "-rw-r--r-- e = f"],
        "drwxr-xr-x 0:0 ./\n-rw-r----- 1:2 e 1 \"x\" user.a=\"b\"\n-rw-r----- 1:2 f = e user.a=\"b\"\n\
         -rw-r--r-- 0:0 g 1 \"g\"\n",
    );
    // ... whose first name a third removes.
    check_lines(
        &["-rw-r--r-- f \"x\"", "-rw-r--r-- sub/e = f", "- f"],
        "drwxr-xr-x 0:0 ./\ndrwxr-xr-x 0:0 sub/\n-rw-r--r-- 0:0 sub/e 1 \"x\"\n",
    );
    // A group that an upper layer breaks.
    check_lines(
        &["-rw-r--r-- a \"x\"\n-rw-r--r-- b = a\n-rw-r--r-- c = a", "-rw-r--r-- a \"new\""],
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 b 1 \"x\"\n-rw-r--r-- 0:0 c = b\n-rw-r--r-- 0:0 a 3 \"new\"\n",
    );
    // A link to what a later layer has put there.
    check_lines(
        &["-rw-r--r-- a \"1\"", "-rw-r--r-- a \"2\"", "-rw-r--r-- b = a"],
        "drwxr-xr-x 0:0 ./\n-rw-r--r-- 0:0 a 1 \"2\"\n-rw-r--r-- 0:0 b = a\n",
    );
    // Links to what is no file.
    check_lines(
        &["lrwxrwxrwx l -> nowhere\nprw-r--r-- p", "-rw-r--r-- k = l\n-rw-r--r-- q = p"],
        "drwxr-xr-x 0:0 ./\nlrwxrwxrwx 0:0 k -> nowhere\n-rwxrwxrwx 0:0 l = k\nprw-r--r-- 0:0 p\n-rw-r--r-- 0:0 q = p\n",
    );
}

#[test]
fn a_random_image_becomes_the_same_tree() {
    let image = random(21, 6, 150);
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&image));
    let script = format!("unpack root < image && flatten - < image | tee flat | {UNTAR}");
    pipeline::sh(&sandbox, &script).success();
    assert_plain(&sandbox.read("flat"));
    assert_same_trees(&sandbox);
}

/// Checks that `out` is `root`. The root itself has no entry: its time is that of the run.
#[track_caller]
fn assert_same_trees(sandbox: &Sandbox) {
    let [ours, theirs] = ["root", "out"].map(|dir| shown(sandbox.path(dir)));
    tree::assert_same(ours.split_once('\n').unwrap().1, theirs.split_once('\n').unwrap().1);
}

/// Few names, so that they meet often; three levels of them.
fn name(random: &mut Random) -> String {
    let names = (0..=random.below(3)).map(|_| *pick(random, &["a", "b", "c"]));
    names.collect::<Vec<_>>().join("/")
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[small_number(random, from.len())]
}

fn small_number(random: &mut Random, below: usize) -> usize {
    usize::try_from(random.below(below as u64)).unwrap()
}

fn random_layer(random: &mut Random) -> Layer {
    let modes = [0o700, 0o755, 0o1777, 0o2750, 0o500];
    let targets = ["a", "../b", "/c/a", "b/../c", "."];
    (0..=random.below(7)).fold(Layer::new(), |layer, n| {
        let path = name(random);
        let layer = match random.below(16) {
            0..6 => layer.file(path, n.to_string().repeat(small_number(random, 600))),
            6..9 => layer.dir(path, *pick(random, &modes)),
            9 | 10 => layer.symlink(path, pick(random, &targets)),
            11 => layer.hardlink(path, name(random)),
            12 => layer.fifo(path),
            13 | 14 => return layer.whiteout(path),
            _ => return layer.opaque(path),
        };
        layer.mtime(*pick(random, &[0, 1_500_000_000, -7]), *pick(random, &[0, 1, 999_999_999]))
    })
}

#[test]
fn layers_of_any_kind_become_the_same_tree_or_are_refused_alike() {
    let mut n_good = 0;
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let image = (0..=random.below(3))
            .fold(Image::new(), |image, _| image.layer(random_layer(&mut random)));
        let sandbox = Sandbox::new();
        sandbox.write("image", stream_of(&image));
        let unpacked = pipeline::sh(&sandbox, "unpack root < image");
        let flat = pipeline::sh(&sandbox, &format!("flatten - < image | tee flat | {UNTAR}"));
        let flat_code = flat.pipe[0];
        assert_eq!(flat_code, unpacked.code(), "seed {seed}: {}{}", unpacked.text(), flat.text());
        if flat_code == 0 {
            n_good += 1;
            assert_plain(&sandbox.read("flat"));
            assert_same_trees(&sandbox);
        }
    }
    assert!(n_good > 20, "{n_good}");
}

#[test]
fn a_bad_layer_leaves_the_tar_without_an_end() {
    let good = demo();
    let wrong_diff_id = good.clone().set_config("/rootfs/diff_ids/2", good.diff_ids()[0].as_str());
    let sandbox = Sandbox::new();
    for source in ["-", "./image"] {
        sandbox.write("image", stream_of(&wrong_diff_id));
        let output = pipeline::sh(&sandbox, &format!("flatten --no-store {source} < image"));
        assert_one_line(output.fails_with(4), "flatten");
        assert!(!output.stdout.ends_with(&[0; 1024]), "{source}");
        let stream = stream_of(&good);
        for cut in [stream.len() - 1024, stream.len() / 2, 700] {
            sandbox.write("image", &stream[..cut]);
            let output =
                pipeline::sh(&sandbox, &format!("cat image | flatten --no-store {source}"));
            assert_one_line(output.fails_with(4), "flatten");
            assert!(!output.stdout.ends_with(&[0; 1024]), "{source} {cut}");
        }
    }
}

#[test]
fn a_blob_that_changed_after_it_was_listed_is_noticed() {
    let sandbox = Sandbox::new();
    layout(sandbox.store(), &[Named::new("docker.io/library/demo:1", demo())]);
    sandbox.command("flatten").arg("demo:1").run().success();
    // What the layers hold is known now, and read no more; their contents are.
    for blob in demo().layer_blobs() {
        let path = sandbox.store().join("blobs/sha256").join(blob.hex());
        for at in [blob.bytes.len() / 2, blob.bytes.len() - 1] {
            let mut bytes = blob.bytes.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            let output = sandbox.command("flatten").arg("demo:1").run();
            assert_one_line(output.fails_with(4), "flatten");
            assert!(!output.stdout.ends_with(&[0; 1024]));
        }
        std::fs::write(&path, &blob.bytes).unwrap();
    }
    sandbox.command("flatten").arg("demo:1").run().success();
}

#[test]
fn a_flat_image_keeps_the_config() {
    let image = demo().env(&["A=b"]).cmd(&["/bin/x"]).set_config("/unknown", "kept");
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&image));
    let script = "flatten ./image --as-image flat:1 | tee stream | load && unpack --from flat:1 root && flatten ./image > flat";
    pipeline::sh(&sandbox, script).success();
    assert_demo(sandbox.path("root"));
    let stream = sandbox.read("stream");
    let report = check::canonical(&stream).unwrap();
    assert_eq!(report.names, ["docker.io/library/flat:1"]);
    assert_eq!(report.diff_ids, [kit::digest(&sandbox.read("flat"))]);
    let output = sandbox.command("inspect").args(["--config", "flat:1"]).run();
    let config: serde_json::Value = serde_json::from_slice(&output.success().stdout).unwrap();
    assert_eq!(config["config"]["Env"], serde_json::json!(["A=b"]));
    assert_eq!(
        (&config["unknown"], &config["config"]["Cmd"][0]),
        (&"kept".into(), &"/bin/x".into())
    );
    assert_eq!(config["history"].as_array().unwrap().len(), 1);
    let again = sandbox.command("flatten").args(["./image", "--as-image", "flat:1"]).run();
    assert!(again.success().stdout == stream);
    for (codec, kind) in [("none", "tar"), ("zstd --level 19", "tar+zstd"), ("gzip", "tar+gzip")] {
        let script =
            format!("flatten ./image --as-image flat:1 --compress {codec} | tee stream | load");
        pipeline::sh(&sandbox, &script).success();
        let report = check::canonical(&sandbox.read("stream")).unwrap();
        assert_eq!(report.diff_ids, [kit::digest(&sandbox.read("flat"))]);
        let manifest = sandbox.command("inspect").args(["--raw", "flat:1"]).run().success().out();
        assert!(manifest.contains(&format!("layer.v1.{kind}\"")), "{codec}: {manifest}");
    }
    pipeline::sh(&sandbox, "flatten ./image --as-image a --compress none --level 1").fails_with(2);
    // Flat is flat: once more changes nothing but the order.
    let output = pipeline::sh(&sandbox, "flatten flat:1 | cmp - flat");
    output.success();
}

/// The lines of what a script writes as a tar, in the order of paths.
fn sorted(sandbox: &Sandbox, script: &str) -> Vec<String> {
    let output = pipeline::sh(sandbox, script);
    let shown = tree::show_tar(&output.success().stdout, Show::ALL);
    let mut lines: Vec<_> = shown.lines().map(str::to_owned).collect();
    lines.sort_by_key(|line| line.split(' ').nth(2).map(str::to_owned));
    lines
}

// docker-squash#154 and the like: what upper layers take away must be gone on the base, too.
#[test]
fn what_is_squashed_onto_a_base_is_the_same_tree() {
    let mut n_good = 0;
    for seed in 0..24 {
        let mut random = Random::new(1000 + seed);
        let mut layers: Vec<_> =
            (0..2 + random.below(3)).map(|_| random_layer(&mut random)).collect();
        if seed % 3 == 0 {
            layers = random_layers(seed);
        }
        let n_base = 1 + small_number(&mut random, layers.len() - 1);
        let image = |layers: &[Layer]| layers.iter().cloned().fold(Image::new(), Image::layer);
        let sandbox = Sandbox::new();
        sandbox.write("image", stream_of(&image(&layers)));
        if pipeline::sh(&sandbox, "flatten ./image").code() != 0 {
            continue;
        }
        n_good += 1;
        sandbox.load(&[Named::new("docker.io/library/base:1", image(&layers[..n_base]))]);
        let script = "flatten ./image --onto base:1 --as-image out:1 | tee stream | load -q \
            && unpack -q --from out:1 out && unpack -q --from ./image root";
        pipeline::sh(&sandbox, script).success();
        let (found, expected) =
            (sorted(&sandbox, "flatten out:1"), sorted(&sandbox, "flatten ./image"));
        assert_eq!(found, expected, "seed {seed}: {n_base} of {} layers", layers.len());
        assert_same_trees(&sandbox);
        let report = check::canonical(&sandbox.read("stream")).unwrap();
        let base = image(&layers[..n_base]);
        assert_eq!(report.diff_ids[..n_base], base.diff_ids());
        assert_eq!(report.diff_ids.len(), n_base + 1);
    }
    assert!(n_good > 8, "{n_good}");
}

/// Larger layers than [`random_layer`] makes, of which most are good.
fn random_layers(seed: u64) -> Vec<Layer> {
    let mut random = Random::new(seed);
    let mut files: Vec<String> = vec![];
    (0..4_u64)
        .map(|n| {
            let mut layer = Layer::new().dir("./", 0o711).dir(format!("d{n}"), 0o750);
            for i in 0..30 {
                let path = format!("d{}/f{n}.{i}", random.below(n + 1));
                let choice = if files.is_empty() { 3 } else { random.below(8) };
                let old = small_number(&mut random, files.len().max(1));
                layer = match choice {
                    0 => {
                        layer = layer.whiteout(files.swap_remove(old));
                        continue;
                    }
                    1 => layer.hardlink(&path, &files[old]),
                    2 => layer.file(&files[old], "changed"),
                    _ => layer.file(&path, format!("{n} {i}")),
                };
                if choice != 2 {
                    files.push(path);
                }
            }
            layer
        })
        .collect()
}

#[test]
fn a_squashed_layer_says_nothing_of_a_root_that_no_layer_describes() {
    let base = Image::new().layer(Layer::new().file("a", "1").file("d/gone", "x"));
    let image =
        base.clone().layer(Layer::new().file("b", "2")).layer(Layer::new().whiteout("d/gone"));
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("docker.io/library/base:1", base)]);
    sandbox.write("image", stream_of(&image));
    let script = "flatten - --onto base:1 --as-image out:1 --compress none < image | load -q > loaded && inspect --raw out:1";
    let output = pipeline::sh(&sandbox, script).success().out();
    let manifest: serde_json::Value = serde_json::from_str(&output).unwrap();
    let hex = manifest["layers"][1]["digest"].as_str().unwrap()[7..].to_owned();
    let layer = std::fs::read(sandbox.store().join("blobs/sha256").join(hex)).unwrap();
    let show = Show { mtime: Mtime::Hidden, ..Show::PLAIN };
    let expected = "drwxr-xr-x 0:0 d/\n---------- 0:0 d/.wh.gone 0\n-rw-r--r-- 0:0 b 1 \"2\"\n";
    assert_eq!(tree::show_tar(&layer, show), expected);
}

#[test]
fn an_image_squashed_onto_its_base_keeps_config_annotations_and_the_base_s_layers() {
    let base = Image::new()
        .codec(Codec::ZSTD)
        .layer(Layer::new().dir("./", 0o755).file("a", "1").file("gone", "x"))
        .annotation("of", "base");
    let image = base
        .clone()
        .layer(Layer::new().file("b", "2").whiteout("gone"))
        .layer(Layer::new().file("b", "3").file("dev", "4"))
        .annotation("of", "image")
        .env(&["A=b"])
        .set_config("/unknown", "kept")
        .set_config(
            "/history",
            serde_json::json!([{"created_by": "base"}, {"created_by": "ENV", "empty_layer": true}, {"created_by": "1"}, {"created_by": "2"}]),
        );
    let sandbox = Sandbox::new();
    let named = [("base:1", &base), ("image:1", &image)];
    let named =
        named.map(|(name, image)| Named::new(&format!("docker.io/library/{name}"), image.clone()));
    sandbox.load(&named);
    let script =
        "flatten image:1 --onto base:1 --exclude dev --as-image out:1 --compress none | load -q";
    pipeline::sh(&sandbox, script).success();
    let json = |args: &str| -> serde_json::Value {
        let output = pipeline::sh(&sandbox, &format!("inspect {args} out:1"));
        serde_json::from_slice(&output.success().stdout).unwrap()
    };
    let (config, manifest) = (json("--config"), json("--raw"));
    assert_eq!(manifest["layers"][0], base.layer_blobs()[0].descriptor());
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.oci.image.layer.v1.tar");
    let annotations = serde_json::json!({"of": "image", "org.opencontainers.image.base.digest": base.digest(),
        "org.opencontainers.image.base.name": "docker.io/library/base:1"});
    assert_eq!(manifest["annotations"], annotations);
    assert_eq!((&config["unknown"], &config["config"]["Env"][0]), (&"kept".into(), &"A=b".into()));
    let steps: Vec<_> = config["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["created_by"].as_str().unwrap(), step["empty_layer"] == true))
        .collect();
    let expected = [
        ("kit: layer 1", false),
        ("ENV", true),
        ("1", true),
        ("2", true),
        ("flatten --onto", false),
    ];
    assert_eq!(steps, expected);
    pipeline::sh(&sandbox, "unpack -q --from out:1 root && images verify -q").success();
    assert_eq!(names(sandbox.path("root")), ["a", "b"]);
    // It can be put on another base, and squashed again.
    pipeline::sh(&sandbox, "rebase -q out:1 --onto base:1 -t again").success();
    let check = |args: &str, text: &str| {
        let output = pipeline::sh(&sandbox, &format!("flatten {args} --as-image x > stream"));
        assert_eq!(
            output.fails_with(if text.contains("not in the store") { 3 } else { 2 }).stderr,
            format!("flatten: {text}\n"),
            "{args}"
        );
        assert_eq!(sandbox.read("stream"), b"");
    };
    let hint = "\nhint: inspect --layers shows the diff ids of both";
    check(
        "base:1 --onto image:1",
        &format!("the image has 1 layer, and image:1 has 3: there is nothing above it{hint}"),
    );
    check(
        "image:1 --onto image:1",
        &format!("the image has 3 layers, and image:1 has 3: there is nothing above it{hint}"),
    );
    check(
        "out:1 --onto image:1",
        &format!(
            "the image is not on image:1: layer 2 is {}, and not {}{hint}",
            config["rootfs"]["diff_ids"][1].as_str().unwrap(),
            image.diff_ids()[1]
        ),
    );
    check("image:1 --onto none", "none: not in the store\nhint: pull none");
    check(
        "image:1 --onto ./x",
        "./x: the base is an image of the store\nhint: load brings an archive or a layout into the store",
    );
}

#[test]
fn one_image_of_several_and_platforms_are_chosen() {
    let sandbox = Sandbox::new();
    let other = Image::new().platform("linux/arm64").layer(Layer::new().file("other", "x"));
    let images =
        [Named::new("docker.io/library/a:1", demo()), Named::new("docker.io/library/b:2", other)];
    sandbox.write("two", Producer::Strata.write(&images));
    let run = |words: &str| pipeline::sh(&sandbox, &format!("flatten {words} ./two"));
    assert!(run("").fails_with(2).stderr.contains("hint: choose one with --image NAME"));
    assert!(lines(&run("--image b:2").success().stdout).contains("other"));
    run("--image b:2 --platform linux/s390x").fails_with(3);
    pipeline::sh(&sandbox, "flatten nothing").fails_with(3);
    pipeline::sh(&sandbox, "flatten --no-store nothing").fails_with(2);
    pipeline::sh(&sandbox, "flatten dir:/").fails_with(2);
    pipeline::sh(&sandbox, "flatten ./nothing").fails_with(3);
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&random(5, 2, 400)));
    let output = pipeline::sh(&sandbox, "flatten ./image | head -c 100000 | wc -c");
    assert_eq!(output.pipe[0], 141, "{}", output.text());
    assert!(!output.stderr.contains("flatten:"), "{}", output.stderr);
    let output = pipeline::sh(&sandbox, "flatten ./image > /dev/full");
    assert_one_line(output.fails_with(1), "flatten");
    let output = pipeline::sh(&sandbox, "script -qec 'flatten ./image' /dev/null");
    assert!(output.fails_with(2).out().starts_with("flatten: standard output is a terminal"));
}

/// What is left out, and what is left of it.
#[track_caller]
fn check_left_out(flags: &[&str], expected: &str) {
    let layer = Layer::text(
        "drwxr-xr-x dev/\ncrw-rw-rw- dev/null 1,3\nbrw-rw---- dev/sda 8,0\nprw-r--r-- dev/log\n\
         drwxr-xr-x tmp/\n-rw-r--r-- tmp/a \"content\"\n-rw-r--r-- x.log \"log\"\n",
    );
    let layer = layer.hardlink("zkept", "tmp/a");
    let output = Sandbox::new()
        .command("flatten")
        .args(["-q", "-"])
        .args(flags)
        .input(stream_of(&Image::new().layer(layer)))
        .run();
    assert_plain(&output.success().stdout);
    let shown =
        tree::show_tar(&output.stdout, Show { mtime: Mtime::Hidden, owner: false, ..Show::PLAIN });
    let paths: Vec<_> = shown.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(paths.join(", "), expected, "{flags:?}");
}

#[test]
fn devices_and_what_matches_are_left_out() {
    check_left_out(
        &["--no-devices"],
        "./, dev/, dev/log, tmp/, tmp/a 7 \"content\", zkept = tmp/a, x.log 3 \"log\"",
    );
    // The content comes with the first name that is left.
    check_left_out(
        &["--exclude", "/tmp", "--exclude", "*.log", "--exclude", "dev/*"],
        "./, dev/, zkept 7 \"content\"",
    );
    check_left_out(&["--exclude", "*", "--exclude", "!zkept"], "./, zkept 7 \"content\"");
}

#[test]
fn a_plain_user_extracts_what_has_no_devices() {
    // hpc/charliecloud: a user can make no device nodes, and tar stops at them.
    let layer = Layer::text("drwxr-xr-x dev/\ncrw-rw-rw- dev/null 1,3\n-rw-r--r-- a \"a\"\n");
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    for (flags, code) in [("", 2), ("--no-devices", 0)] {
        let script = format!("flatten -q {flags} - < image | (mkdir -p out && tar -C out -x)");
        pipeline::Script::new(&sandbox, &script).as_plain_user().run().fails_with(code);
    }
    assert_eq!(sandbox.read("out/a"), b"a");
}

#[test]
fn limits_are_kept_before_the_first_byte_is_written() {
    let gigantic =
        Layer::new().dir("a", 0o755).sparse("hole", kit::Sparse::Pax10, i64::MAX as u64, &[]);
    let (gigantic, small) =
        (Image::new().layer(gigantic), Image::new().layer(Layer::text("-rw-r--r-- a \"12345\"")));
    let check = |image: &Image, flags: &[&str], expected: Option<&str>| {
        let sandbox = Sandbox::new();
        let program = sandbox.command("flatten").args(["-q", "-"]).args(flags);
        let output = program.input(stream_of(image)).run();
        let Some(expected) = expected else {
            output.success();
            return;
        };
        assert_one_line(output.fails_with(4), "flatten");
        assert!(output.stderr.contains(expected) && output.stdout.is_empty(), "{}", output.text());
    };
    check(&gigantic, &[], Some("the image's files are 9.22EB large, and 17.6TB are allowed"));
    check(&gigantic, &["--as-image", "x:1"], Some("9.22EB"));
    check(&gigantic, &["--exclude", "hole"], None);
    check(&small, &["--max-size", "4"], Some("5B large, and 4B are allowed"));
    check(&small, &["--max-size", "5", "--max-entries", "2"], None);
    check(&small, &["--max-entries", "1"], None);
    check(&small, &["--max-entries", "0"], Some("the image has 1 entries, and 0 are allowed"));
    let sandbox = Sandbox::new();
    let cat = |flags: &[&str]| {
        let program = sandbox.command("inspect").args(["-q", "--cat", "hole", "-"]).args(flags);
        program.input(stream_of(&gigantic)).run()
    };
    for flags in [&[][..], &["--max-size", "1P"]] {
        assert_one_line(cat(flags).fails_with(4), "inspect");
        assert!(cat(flags).stderr.contains("hole is 9.22EB large"), "{}", cat(flags).text());
    }
    sandbox.write("one", stream_of(&gigantic));
    let changed = Layer::new().sparse("hole", kit::Sparse::Pax10, i64::MAX as u64, &[]);
    sandbox.write("other", stream_of(&Image::new().layer(changed)));
    let output = pipeline::sh(&sandbox, "changes -q --checksum ./one ./other");
    assert_one_line(output.fails_with(4), "changes");
}

#[test]
fn a_limit_of_entries_is_the_same_for_flatten_and_unpack() {
    for root in [None, Some("./")] {
        let layer = Layer::new();
        let layer = root.map_or(layer.clone(), |root| layer.dir(root, 0o755));
        let image = Image::new().layer(layer.dir("d", 0o755).file("d/a", "a").symlink("l", "d"));
        for (most, code) in [(3, 0), (2, 4)] {
            let sandbox = Sandbox::new();
            sandbox.write("in", stream_of(&image));
            for program in ["unpack -q root", "flatten -q -"] {
                let script = format!("{program} --max-entries {most} < in > out");
                assert_eq!(pipeline::sh(&sandbox, &script).code(), code, "{root:?} {script}");
            }
        }
    }
}
