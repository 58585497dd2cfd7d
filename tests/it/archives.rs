//! Archives of other tools with faults of theirs, and ours in the hands of strict readers.

use std::fs;

use kit::archive::{archive, extract_without_parents};
use kit::pipeline::sh;
use kit::{Blob, Codec, Content, Image, Index, Layer, Named, Output, Producer, Registry, Sandbox};
use kit::{check, digest};
use serde_json::{Value, json};

use crate::fixtures::assert_one_line;

const NAME: &str = "docker.io/library/app:1";

fn app() -> Image {
    Image::new()
        .layer(Layer::new().dir("etc", 0o755).file("etc/motd", "base\n"))
        .layer(Layer::new().file("app", "version 1\n"))
        .cmd(&["/app"])
}

/// sylabs/singularity#2935: apptainer, syft and grype make no parents.
#[test]
fn an_extractor_that_makes_no_parents_finds_a_layout_in_every_stream() {
    let registry = Registry::start();
    registry.add("app:1", app());
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, app())]);
    let name = format!("{}/app:1", registry.host());
    let top = Layer::new().file("top", "top\n").tar();
    sandbox.write("top.tar", top);
    let streams = [
        ("pull", format!("pull {name}")),
        ("without a store", format!("pull --no-store {name}")),
        ("save", "save app:1".to_owned()),
        ("an OCI layout alone", "save --format oci app:1".to_owned()),
        ("commit", "commit --base app:1 -t top:1 --stream < top.tar".to_owned()),
    ];
    for (what, script) in streams {
        let output = sh(&sandbox, &script);
        let stream = &output.success().stdout;
        let dir = sandbox.path("layout");
        fs::create_dir(&dir).unwrap();
        extract_without_parents(stream, &dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        check::layout(&dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        fs::remove_dir_all(&dir).unwrap();
    }
    // Those that hold less than a layout.
    for script in ["save --format docker app:1", "save app:1 --base app:1"] {
        let output = sh(&sandbox, script);
        let stream = &output.success().stdout;
        let dir = sandbox.path("part");
        fs::create_dir(&dir).unwrap();
        extract_without_parents(stream, &dir).unwrap_or_else(|error| panic!("{script}: {error}"));
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// What `docker save` makes of images that are stored without compression: `index.json` as given, `manifest.json` of them all
/// without names.
struct Saved {
    images: Vec<Image>,
    index: Value,
    list: Vec<Value>,
}

fn path(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.hex())
}

impl Saved {
    /// As docker 25 and later save images that were asked for by digest (moby#51389): `index.json` has but the first.
    fn by_digest(images: &[Image]) -> Self {
        let list = images.iter().map(|image| {
            let layers: Vec<_> = image.layer_blobs().iter().map(path).collect();
            json!({ "Config": path(&image.config_blob()), "RepoTags": null, "Layers": layers })
        });
        let index = json!({ "schemaVersion": 2, "manifests": [images[0].descriptor()] });
        Self { list: list.collect(), index, images: images.to_vec() }
    }

    fn blobs(&self) -> Vec<Blob> {
        let mut blobs: Vec<_> = self.images.iter().flat_map(Image::blobs).collect();
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        blobs.dedup();
        blobs
    }

    /// The archive, without the blobs of some digests.
    fn without(&self, left_out: &[String]) -> Vec<u8> {
        let blobs: Vec<_> =
            self.blobs().into_iter().filter(|blob| !left_out.contains(&blob.digest)).collect();
        let paths: Vec<_> = blobs.iter().map(path).collect();
        let (index, list) = (self.index.to_string(), json!(self.list).to_string());
        let mut members: Vec<(&str, &[u8])> = vec![];
        members.extend(paths.iter().zip(&blobs).map(|(path, blob)| (&path[..], &blob.bytes[..])));
        members.push(("index.json", index.as_bytes()));
        members.push(("manifest.json", list.as_bytes()));
        members.push(("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#));
        archive(&members)
    }

    fn write(&self) -> Vec<u8> {
        self.without(&[])
    }

    /// The same with the preamble first.
    fn heads_first(&self) -> Vec<u8> {
        let blobs = self.blobs();
        let paths: Vec<_> = blobs.iter().map(path).collect();
        let (index, list) = (self.index.to_string(), json!(self.list).to_string());
        let mut members: Vec<(&str, &[u8])> =
            vec![("index.json", index.as_bytes()), ("manifest.json", list.as_bytes())];
        members.extend(paths.iter().zip(&blobs).map(|(path, blob)| (&path[..], &blob.bytes[..])));
        archive(&members)
    }
}

fn plain(file: &str) -> Image {
    Image::new()
        .codec(Codec::None)
        .layer(Layer::new().dir("etc", 0o755).file("etc/motd", file))
        .layer(Layer::new().file(file, file))
}

/// Every way in for a program that reads one image of the archive `in`.
const READERS: [&str; 8] = [
    "cat in | unpack root",
    "unpack root < in",
    "unpack --from ./in root",
    "cat in | inspect --files -",
    "inspect --files ./in",
    "cat in | flatten - > out",
    "flatten ./in > out",
    "changes ./in ./in",
];

/// moby#51389
#[test]
fn an_image_that_only_manifest_json_names_counts_too() {
    let images = [plain("a"), plain("b")];
    let [a, b] = &images;
    let saved = Saved::by_digest(&images);
    for archive in [saved.write(), saved.heads_first()] {
        let sandbox = Sandbox::new();
        sandbox.write("in", archive);
        // Its own manifest is there, though nothing leads to it.
        let output = sh(&sandbox, "cat in | load");
        let expected =
            format!("Loaded image ID: {}\nLoaded image ID: {}\n", a.digest(), b.digest());
        assert_eq!(output.success().out(), expected);
        for way in READERS {
            let output = sh(&sandbox, way);
            output.fails_with(2);
            let both = [a.digest(), b.config_blob().digest];
            let [first, second] = [a.config_blob().digest, both[1].clone()];
            assert!(output.stderr.contains(&first), "{way}: {}", output.text());
            assert!(output.stderr.contains(&second), "{way}: {}", output.text());
        }
        let choice = b.config_blob().digest;
        sh(&sandbox, &format!("cat in | unpack --image {choice} root")).success();
        assert_eq!(sandbox.read("root/etc/motd"), b"b");
        let registry = Registry::start();
        sh(&sandbox, &format!("cat in | push - {}", registry.name("x:1"))).fails_with(2);
    }
    // Without it a manifest is made.
    let sandbox = Sandbox::new();
    sandbox.write("in", saved.without(&[b.digest()]));
    sh(&sandbox, "load in").success();
    let report = check::layout(sandbox.store()).unwrap();
    assert_eq!(report.diff_ids, [a.diff_ids(), b.diff_ids()].concat());
}

/// An archive can't say two things about one name.
#[test]
fn a_name_of_two_images_is_refused() {
    let images = [plain("a"), plain("b")];
    let mut saved = Saved::by_digest(&images);
    saved.index["manifests"][0]["annotations"] =
        json!({ "io.containerd.image.name": "docker.io/library/x:1" });
    saved.list.remove(0);
    saved.list[0]["RepoTags"] = json!(["x:1"]);
    let sandbox = Sandbox::new();
    sandbox.write("in", saved.write());
    let output = sh(&sandbox, "load in");
    assert!(output.fails_with(4).stderr.contains("x:1"), "{}", output.text());
    sh(&sandbox, "unpack root < in").fails_with(2);
}

/// What docker 25.0.0 and its candidates wrote into the OCI half.
fn faulty() -> Vec<(&'static str, Saved)> {
    let image = plain("a");
    let right = || Saved::by_digest(std::slice::from_ref(&image));
    let other = |manifest: Image| {
        let index = json!({ "schemaVersion": 2, "manifests": [manifest.descriptor()] });
        Saved { index, images: vec![manifest], ..right() }
    };
    let mut layers = image.manifest_blob().bytes;
    let json: Value = serde_json::from_slice(&layers).unwrap();
    layers.clear();
    let [first, second] = [json["layers"][0].clone(), json["layers"][1].clone()];
    let swapped = image.clone().set_manifest("/layers/0", second).set_manifest("/layers/1", first);
    let null = json!({ "schemaVersion": 2, "manifests": null });
    vec![
        ("moby#47210", Saved { index: null, ..right() }),
        ("moby#47065", other(image.clone().set_manifest("/layers", json!([])))),
        ("moby#47150", other(swapped)),
        ("moby#47072", other(image.clone().set_manifest("/layers/1/size", 3))),
    ]
}

#[test]
fn manifest_json_is_taken_where_the_oci_half_is_empty_or_contradicts_itself() {
    for (fault, saved) in faulty() {
        let sandbox = Sandbox::new();
        sandbox.write("in", saved.write());
        let warned = |output: &Output, way: &str| {
            assert_eq!(output.code(), 0, "{fault} {way}: {}", output.text());
            assert!(output.stderr.contains("so manifest.json is taken"), "{fault} {way}");
        };
        warned(&sh(&sandbox, "cat in | load"), "load");
        let report = check::layout(sandbox.store()).unwrap();
        assert_eq!(report.diff_ids, plain("a").diff_ids(), "{fault}");
        for way in READERS {
            warned(&sh(&sandbox, way), way);
            if way.contains("root") {
                assert_eq!(sandbox.read("root/etc/motd"), b"a");
                fs::remove_dir_all(sandbox.path("root")).unwrap();
            }
        }
        let registry = Registry::start();
        warned(&sh(&sandbox, &format!("push - {} < in", registry.name("x:1"))), "push");
        let name = registry.name("x:1");
        sh(&sandbox, &format!("pull --no-store {name} | unpack pushed")).success();
        assert_eq!(sandbox.read("pushed/etc/motd"), b"a");
    }
}

#[test]
fn manifest_json_does_not_stand_in_for_an_image_of_another_name() {
    let [one, two] = ["one", "two"].map(plain);
    for (name, code) in [("docker.io/library/two:2", 0), ("docker.io/library/one:1", 4)] {
        let mut saved = Saved::by_digest(std::slice::from_ref(&two));
        saved.list[0]["RepoTags"] = json!(["two:2"]);
        let mut root = one.descriptor();
        root["annotations"] = json!({ "io.containerd.image.name": name });
        saved.index = json!({ "schemaVersion": 2, "manifests": [root] });
        let sandbox = Sandbox::new();
        sandbox.write("in", saved.write());
        let output = sh(&sandbox, "cat in | unpack root");
        assert_eq!(output.code(), code, "{name}: {}", output.text());
        assert_eq!(output.stderr.contains("so manifest.json is taken"), code == 0, "{name}");
    }
}

#[test]
fn a_list_that_is_wrong_as_well_is_refused() {
    for (fault, mut saved) in faulty() {
        let layers = saved.list[0]["Layers"].as_array_mut().unwrap();
        layers.swap(0, 1);
        let sandbox = Sandbox::new();
        sandbox.write("in", saved.write());
        for way in ["load in", "unpack root < in", "cat in | flatten - > out"] {
            let output = sh(&sandbox, way);
            assert_eq!(output.code(), 4, "{fault} {way}: {}", output.text());
        }
    }
}

#[test]
fn a_codec_that_nothing_here_reads_is_named_with_what_to_type() {
    let codecs: [(&str, &str, &[u8]); 5] = [
        ("xz", "xz -dc", b"\xfd7zXZ\0\0\x04"),
        ("bzip2", "bzip2 -dc", b"BZh91AY&SY"),
        ("lz4", "lz4 -dc", b"\x04\x22\x4d\x18d@"),
        ("lzip", "lzip -dc", b"LZIP\x01\x0c"),
        ("zip", "unzip -p", b"PK\x03\x04\x14\0"),
    ];
    let sandbox = Sandbox::new();
    for (codec, undo, magic) in codecs {
        let bytes = [magic, &[7; 2000][..]].concat();
        sandbox.write("in", &bytes);
        for (program, way) in [
            ("load", "load in"),
            ("load", "cat in | load"),
            ("unpack …", "unpack --from ./in root"),
            ("unpack …", "cat in | unpack root"),
            ("inspect …", "inspect ./in"),
            ("flatten …", "cat in | flatten - > out"),
        ] {
            let output = sh(&sandbox, way);
            let text = format!("the archive is compressed with {codec}, ");
            assert!(output.fails_with(4).stderr.contains(&text), "{way}: {}", output.text());
            let hint = format!("hint: {undo} FILE | {program}\n");
            assert!(output.stderr.contains(&hint), "{way}: {}", output.text());
        }
        let layer = Image::new().layer_blob(&digest(b"x"), bytes);
        for producer in [Producer::SkopeoOci, Producer::Strata] {
            sandbox.write("in", archive_of(producer, &layer));
            for way in ["load in", "cat in | unpack root"] {
                let output = sh(&sandbox, way);
                let text = format!("compressed with {codec}, ");
                assert!(output.fails_with(4).stderr.contains(&text), "{way}: {}", output.text());
            }
        }
    }
}

/// An archive that names its image `app:1` as its producer does; layers of it needn't decompress.
fn archive_of(producer: Producer, image: &Image) -> Vec<u8> {
    let content = Content::from(image);
    let mut descriptor = content.descriptor.clone();
    let name = if producer == Producer::Strata { "docker.io/library/app:1" } else { "1" };
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [descriptor] }).to_string();
    let paths: Vec<_> = content.blobs.iter().map(path).collect();
    let blobs = paths.iter().zip(&content.blobs);
    let mut members: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
    members.extend(blobs.map(|(path, blob)| (&path[..], &blob.bytes[..])));
    archive(&members)
}

/// pack#925: what pack gives to docker. Layers that the daemon has are named by nothing.
#[test]
fn a_thin_docker_archive_is_loaded_over_the_layers_that_the_store_has() {
    let base = Image::new().layer(Layer::new().file("base", "base"));
    let image = base.clone().layer(Layer::new().file("top", "top"));
    let config = image.config_blob();
    let name = format!("{}.json", config.hex());
    let top = Layer::new().file("top", "top").tar();
    let text = "layer 1, with diff id ".to_owned() + &image.diff_ids()[0];
    for below in ["", "/elsewhere.tar"] {
        let list =
            json!([{ "Config": name, "RepoTags": ["app:2"], "Layers": [below, "/top.tar"] }]);
        let list = list.to_string();
        let thin = archive(&[
            (&name, &config.bytes),
            ("top.tar", &top),
            ("manifest.json", list.as_bytes()),
        ]);
        let sandbox = Sandbox::new();
        sandbox.write("in", &thin);
        let output = sh(&sandbox, "load in");
        let code = if below.is_empty() { 3 } else { 4 };
        assert!(output.fails_with(code).stderr.contains("hint: "), "{}", output.text());
        if below.is_empty() {
            assert!(output.stderr.contains(&text), "{}", output.text());
            let output = sh(&sandbox, "unpack root < in");
            assert!(output.fails_with(3).stderr.contains(&text), "{}", output.text());
        }
        sandbox.load(&[Named::new(NAME, &base)]);
        assert_eq!(sh(&sandbox, "cat in | load").success().out(), "Loaded image: app:2\n");
        let report = check::layout(sandbox.store()).unwrap();
        assert!(report.blobs.contains(&base.layer_blobs()[0].digest));
        assert_eq!(report.diff_ids, [base.diff_ids(), image.diff_ids()].concat());
        sh(&sandbox, "unpack --from app:2 root").success();
        assert_eq!(sandbox.read("root/base"), b"base");
    }
}

/// containerd#12890: a link whose target isn't there, though what it stands for is.
#[test]
fn a_linked_layer_without_a_target_is_found_by_its_content() {
    let [one, two] = ["one", "two"].map(|name| Layer::new().file(name, name));
    let image = Image::new().codec(Codec::None).layer(&one).layer(&two);
    let config = image.config_blob();
    let name = format!("{}.json", config.hex());
    let list = json!([{ "Config": name, "RepoTags": ["app:1"],
        "Layers": ["a/layer.tar", "b/layer.tar"] }]);
    let members = |elsewhere: Option<Vec<u8>>| {
        let tar = Layer::new()
            .file(&name, &config.bytes)
            .file("a/layer.tar", one.tar())
            .symlink("b/layer.tar", "../gone/layer.tar")
            .file("manifest.json", list.to_string());
        elsewhere.map_or_else(|| tar.clone(), |layer| tar.clone().file("c/layer.tar", layer)).tar()
    };
    let sandbox = Sandbox::new();
    for layer in [two.tar(), Codec::GZIP.encode(&two.tar())] {
        sandbox.write("in", members(Some(layer)));
        for way in
            ["cat in | unpack root", "unpack root < in", "load in && unpack --from app:1 root"]
        {
            sh(&sandbox, way).success();
            assert_eq!(sandbox.read("root/two"), b"two");
            fs::remove_dir_all(sandbox.path("root")).unwrap();
        }
        fs::remove_dir_all(sandbox.store()).unwrap();
    }
    sandbox.write("in", members(None));
    for way in ["cat in | unpack root", "load in"] {
        let output = sh(&sandbox, way);
        let text = "gone/layer.tar, to which b/layer.tar is a link: is missing from the archive\n\
                    hint: where it was saved: docker pull app:1, then save it again\n";
        assert!(output.fails_with(4).stderr.contains(text), "{}", output.text());
    }
}

#[test]
fn messages_tell_the_real_reason_and_stay_short() {
    let sandbox = Sandbox::new();
    let fails = |bytes: Vec<u8>, text: &str| {
        sandbox.write("in", bytes);
        for way in ["load in", "cat in | load", "cat in | unpack root", "unpack --from ./in root"] {
            let output = sh(&sandbox, way);
            output.fails_with(4);
            assert!(output.stderr.contains(text), "{way}: {}", output.text());
            assert!(output.stderr.len() < 900, "{way}: {} bytes", output.stderr.len());
        }
    };
    let list = |config: &str, layer: &str| {
        json!([{ "Config": config, "RepoTags": ["app:1"], "Layers": [layer] }]).to_string()
    };
    // A config that is too large.
    let large = format!("{{{}}}", " ".repeat(5 << 20));
    let members = list("c.json", "l.tar");
    fails(
        archive(&[("c.json", large.as_bytes()), ("manifest.json", members.as_bytes())]),
        "is larger than 4194304 bytes",
    );
    // Names of 12,000 characters: of a config, of a layer, in a layer.
    // No more components than a path may have.
    let long = format!("begin{}end", "xxxx/".repeat(2400));
    let members = list(&long, "l.tar");
    fails(archive(&[("manifest.json", members.as_bytes())]), "beginxxxx/");
    let image = Image::new().layer(Layer::new().file("a", "a"));
    let config = image.config_blob();
    let members = list("c.json", &long);
    fails(
        archive(&[("c.json", &config.bytes), ("manifest.json", members.as_bytes())]),
        "x/end: is missing from the archive",
    );
    let layer = Layer::new().file("a", "a").hardlink(&long, "nothing");
    sandbox.write("in", archive_of(Producer::Strata, &Image::new().layer(layer)));
    let output = sh(&sandbox, "cat in | unpack root");
    assert!(output.code() != 0 && output.stderr.len() < 900, "{} bytes", output.stderr.len());
    // What isn't an image.
    let root = Layer::new().dir("etc", 0o755).file("etc/motd", "hello").tar();
    fails(root, "hint: commit --base scratch -t NAME < FILE makes an image of it\n");
}

/// An index with two platforms of which the archive has one, as docker and our `save --platform` write it.
fn partial() -> (Index, Image, Vec<u8>) {
    let here = app().platform("linux/s390x");
    let away = app().platform("linux/amd64").env(&["AWAY=1"]);
    let index = Index::new().image(&away).image(&here);
    let only = Index::new().absent(&away).image(&here);
    assert_eq!(index.digest(), only.digest());
    let archive = Producer::DockerContainerd.write(&[Named::new(NAME, &only)]);
    (index, here, archive)
}

#[test]
fn of_an_image_of_several_platforms_that_one_is_pushed_that_is_there() {
    let (index, here, bytes) = partial();
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes);
    let ways = [
        "cat in | push",
        "push --platform linux/s390x < in",
        "load -q in && save --platform linux/s390x app:1 | push",
        "load -q in && save app:1 | push",
        "load -q in && save app:1 | load -q --store other && save --store other app:1 | push",
    ];
    for way in ways {
        let registry = Registry::start();
        let name = registry.name("x:1");
        let output = sh(&sandbox, &way.replace("push", &format!("push - {name}")));
        assert_eq!(output.code(), 0, "{way}: {}", output.text());
        let pushed = registry.manifest("x:1");
        assert_eq!(pushed.map(|raw| digest(&raw)), Some(here.digest()), "{way}");
        assert!(output.out().ends_with(&format!("@{}\n", here.digest())), "{way}");
        if !way.contains("push --platform") {
            assert!(output.stderr.contains("only linux/s390x of the image is here"), "{way}");
        }
    }
    // From the store itself; and for whoever wants all or nothing.
    let registry = Registry::start();
    let name = registry.name("x:1");
    let output = sh(&sandbox, &format!("push app:1 {name}"));
    assert_eq!(output.success().out(), format!("{}@{}\n", registry.name("x"), here.digest()));
    for way in ["push --all-platforms - NAME < in", "push --all-platforms app:1 NAME"] {
        let output = sh(&sandbox, &way.replace("NAME", &registry.name("y:1")));
        assert!(output.fails_with(3).stderr.contains("not whole"), "{}", output.text());
    }
    sh(&sandbox, &format!("push --platform linux/arm64 - {name} < in")).fails_with(3);
    // The registry may have the rest.
    registry.add("z:1", &index);
    let output = sh(&sandbox, &format!("cat in | push - {}", registry.name("z:2")));
    output.success();
    assert_eq!(registry.manifest("z:2").map(|raw| digest(&raw)), Some(index.digest()));
}

#[test]
fn of_an_image_of_several_platforms_that_one_is_read_that_is_there() {
    let (_, here, bytes) = partial();
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes);
    sh(&sandbox, "load in && save app:1 > saved").success();
    check::partial(&sandbox.read("saved")).unwrap();
    for way in ["in", "saved"] {
        for platform in ["", "--platform linux/s390x"] {
            sh(&sandbox, &format!("load --store other {platform} {way}")).success();
            for from in [format!("cat {way} |"), "save --store other app:1 |".to_owned()] {
                // It is for another machine than this.
                let unpack = format!("{from} unpack --platform linux/s390x root");
                sh(&sandbox, &unpack).success();
                assert_eq!(sandbox.read("root/app"), b"version 1\n");
                fs::remove_dir_all(sandbox.path("root")).unwrap();
            }
            let report = check::layout(sandbox.path("other"));
            let diff_ids = report.map(|report| report.diff_ids);
            if !platform.is_empty() {
                assert_eq!(diff_ids.unwrap(), here.diff_ids());
            }
            fs::remove_dir_all(sandbox.path("other")).unwrap();
        }
        sh(&sandbox, &format!("cat {way} | unpack --platform linux/arm64 root")).fails_with(3);
    }
}

// save wrote an archive without any image, and said that all was well.
#[test]
fn a_platform_that_an_index_lists_and_nobody_has_is_not_found_by_anybody() {
    let (_, _, bytes) = partial();
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes);
    sh(&sandbox, "load -q in").success();
    let registry = Registry::start();
    for platform in ["linux/amd64", "linux/riscv64"] {
        for way in [
            "save app:1",
            "save -o out app:1",
            "unpack --from app:1 root",
            "flatten app:1",
            "push app:1 NAME",
            "push - NAME < in",
            "load --store other in",
        ] {
            let way = way.replace("NAME", &registry.name("x:1"));
            let (program, rest) = way.split_once(' ').unwrap();
            let output = sh(&sandbox, &format!("{program} --platform {platform} {rest} | cat"));
            let said = format!("no image for platform {platform}; there is linux/s390x");
            assert_eq!((&output.pipe[..], output.out()), (&[3, 0][..], String::new()), "{way}");
            assert!(output.stderr.contains(&said), "{way}: {}", output.text());
        }
    }
    assert!(!sandbox.path("out").exists() && !sandbox.path("root").exists());
}

#[test]
fn a_platform_of_a_stream_is_pushed_without_the_layers_of_others() {
    let image = |platform: &str| {
        let file = Layer::new().file("platform", platform);
        Image::new().platform(platform).layer(Layer::new().file("both", "both")).layer(file)
    };
    let (amd, arm) = (image("linux/amd64"), image("linux/arm64"));
    let source = Registry::start();
    source.add("app:1", Index::new().image(&amd).image(&arm));
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let pull = format!("pull --no-store --all-platforms {}", source.name("app:1"));
    for names in [registry.name("x:1"), String::new()] {
        let pull = if names.is_empty() { continue } else { &pull };
        let push = format!("{pull} | push --platform linux/arm64 - {names}");
        sh(&sandbox, &push).success();
    }
    assert_eq!(registry.manifest("x:1").map(|raw| digest(&raw)), Some(arm.digest()));
    let [shared, own] = [0, 1].map(|at| arm.layer_blobs()[at].digest.clone());
    assert!(registry.blob("x", &shared).is_some() && registry.blob("x", &own).is_some());
    assert!(registry.blob("x", &amd.layer_blobs()[1].digest).is_none());
}

/// docker's containerd store saves images that it has pulled lazily, or in part.
#[test]
fn of_several_images_the_whole_ones_are_loaded_and_the_others_named() {
    let names = ["one:1", "two:2", "three:3"];
    let images = ["one", "two", "three"].map(plain);
    let named: Vec<_> = names
        .iter()
        .zip(&images)
        .map(|(name, image)| Named::new(&format!("docker.io/library/{name}"), image))
        .collect();
    let whole = Producer::DockerContainerd.write(&named);
    let config = images[1].config_blob();
    let layer = images[1].layer_blobs().remove(1);
    for lost in [config, layer] {
        let sandbox = Sandbox::new();
        sandbox.write("in", without(&whole, &path(&lost)));
        let output = sh(&sandbox, "cat in | load");
        output.fails_with(4);
        assert_eq!(output.out(), "Loaded image: one:1\nLoaded image: three:3\n");
        let text = format!("load: not loaded: two:2: blob {}: is missing", lost.digest);
        assert!(output.stderr.contains(&text), "{}", output.text());
        let hint = "hint: where it was saved: docker pull two:2, then save it again\n";
        assert!(output.stderr.contains(hint), "{}", output.text());
        let report = check::layout(sandbox.store()).unwrap();
        assert_eq!(report.digests, [images[0].digest(), images[2].digest()]);
        // The whole ones can be used one by one.
        sh(&sandbox, "cat in | unpack --image three:3 root").success();
        let output = sh(&sandbox, "cat in | unpack --image two:2 other");
        assert!(output.fails_with(4).stderr.contains("hint: where it was saved: "));
    }
    // Where only the manifest is lost, manifest.json has the image.
    let sandbox = Sandbox::new();
    sandbox.write("in", without(&whole, &path(&images[1].manifest_blob())));
    for way in ["cat in | load", "cat in | unpack --image two:2 root"] {
        let output = sh(&sandbox, way);
        assert!(output.success().stderr.contains("so manifest.json is taken"), "{way}");
    }
    sh(&sandbox, "unpack --from two:2 again").success();
    assert_eq!(sandbox.read("root/two"), sandbox.read("again/two"));
    // One wrong byte, and nothing is believed.
    let mut wrong = whole.clone();
    let name = path(&images[0].layer_blobs()[0]);
    let at = whole.windows(name.len()).position(|bytes| bytes == name.as_bytes()).unwrap() + 512;
    wrong[at] ^= 1;
    let sandbox = Sandbox::new();
    sandbox.write("in", wrong);
    let output = sh(&sandbox, "cat in | load");
    assert!(output.fails_with(4).stdout.is_empty());
    // Alone, it is the error.
    sandbox.write(
        "in",
        without(&Producer::DockerContainerd.write(&named[1..2]), &path(&images[1].config_blob())),
    );
    let registry = Registry::start();
    let push = format!("cat in | push - {}", registry.name("x:1"));
    for way in ["cat in | load", "cat in | unpack root", &push] {
        let output = sh(&sandbox, way);
        let hint = "hint: where it was saved: ";
        assert!(output.fails_with(4).stderr.contains(hint), "{way}: {}", output.text());
    }
}

/// An archive without one member.
fn without(archive: &[u8], path: &str) -> Vec<u8> {
    let mut left = Vec::new();
    let mut at = 0;
    while archive[at] != 0 {
        let size = std::str::from_utf8(&archive[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size.trim_matches('\0'), 8).unwrap();
        let end = at + 512 + size.next_multiple_of(512);
        if !archive[at..].starts_with(path.as_bytes()) {
            left.extend_from_slice(&archive[at..end]);
        }
        at = end;
    }
    left.extend_from_slice(&archive[at..]);
    left
}

#[test]
fn an_index_without_manifests_is_called_that() {
    let empty = Index::new();
    let blob = empty.index_blob();
    let index = json!({ "schemaVersion": 2, "manifests": [blob.descriptor()] }).to_string();
    let bytes = archive(&[("index.json", index.as_bytes()), (&path(&blob), &blob.bytes)]);
    let sandbox = Sandbox::new();
    sandbox.write("in", bytes);
    let registry = Registry::start();
    registry.add("x:1", &empty);
    let pull = format!("pull {}", registry.name("x:1"));
    for way in ["cat in | unpack root", "unpack root < in", "load in", "inspect ./in", &pull] {
        let output = sh(&sandbox, way);
        let text = "the index names no manifest\n";
        assert!(output.fails_with(4).stderr.contains(text), "{way}: {}", output.text());
    }
}

#[test]
fn an_empty_input_is_told_in_one_sentence_by_every_program() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("dir")).unwrap();
    for command in [
        "unpack root",
        "load",
        "commit --base - -t x --no-store --stream layer",
        "snapshot --base - dir",
        "changes - dir",
        "flatten -",
        "inspect -",
        "inspect --files -",
        "push - localhost:1/x",
    ] {
        for input in [format!("printf '' | {command}"), format!("{command} < /dev/null")] {
            let output = sh(&sandbox, &input);
            assert_one_line(output.fails_with(4), command.split(' ').next().unwrap());
            let said = output.stderr.lines().next().unwrap().split_once(": ").unwrap().1;
            assert_eq!(said, "standard input: the image archive: is empty", "{command}");
        }
    }
}

#[test]
fn a_stream_for_another_machine_is_refused_with_the_flag_that_takes_it() {
    let (_, _, bytes) = partial();
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes);
    fs::create_dir(sandbox.path("dir")).unwrap();
    for command in
        ["unpack root", "flatten -", "inspect -", "changes - ./dir", "snapshot --base - dir"]
    {
        let output = sh(&sandbox, &format!("{command} < in"));
        assert_one_line(output.fails_with(3), command.split(' ').next().unwrap());
        let hint = "hint: --platform linux/s390x takes that one\n";
        assert!(output.stderr.ends_with(hint), "{command}: {}", output.stderr);
    }
}

#[test]
fn a_name_that_names_another_image_is_not_what_was_loaded() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, app())]);
    let other = format!("app@sha256:{}", "0".repeat(64));
    let script = format!(
        "save app:1 | tar -C $(mkdir -p t && echo t) -x && sed -i 's/app:1/{other}/' t/index.json t/manifest.json && \
         tar -C t -c . | load --store other 2> said; images --store other --json | grep -c '\"name\":null'"
    );
    let digest = app().digest();
    let output = sh(&sandbox, &script);
    assert_eq!(output.out(), format!("Loaded image ID: {digest}\n1\n"), "{}", output.text());
}

#[test]
fn a_member_without_a_name_is_said_to_be_missing_in_words() {
    let sandbox = Sandbox::new();
    sandbox.write("manifest.json", r#"[{"Config":"","RepoTags":["a:1"],"Layers":[]}]"#);
    let output = sh(&sandbox, "tar -c manifest.json | load");
    let said = "load: manifest.json: a member with an empty name: is missing from the archive";
    assert!(output.stderr.contains(said), "{}", output.text());
}
