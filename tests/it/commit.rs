//! A layer and the image below it become a new image: through real pipes, in a real store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kit::image::random::Random;
use kit::pipeline::{Script, sh};
use kit::{
    Codec, EPOCH, Gzip, Image, Index, Layer, Named, Output, Producer, Sandbox, Zstd, check, digest,
    tree,
};
use serde_json::{Value, json};

use crate::fixtures::{assert_one_line, bare, demo, demo_layers, files, lacks, lacks_root, shown};

const NAME: &str = "docker.io/library/base:1";

/// An image of two layers, with what nobody here knows in it.
fn base() -> Image {
    base_of(Image::new())
}

fn base_of(image: Image) -> Image {
    image
        .layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/motd", "old\n"))
        .layer(Layer::new().file("gone", "x"))
        .env(&["PATH=/bin", "A=1"])
        .cmd(&["/base"])
        .set_config("/x.unknown", json!({"b": 1, "a": [2]}))
        .set_config("/config/Unknown", json!(true))
        .set_manifest("/x.unknown", json!("kept"))
        .annotation("note", "kept")
}

fn top() -> Layer {
    Layer::new().dir("etc", 0o755).file("etc/motd", "new\n").whiteout("gone").file("app", "1\n")
}

/// A sandbox whose store holds this image, with the new layer in a file.
fn sandbox(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, image.clone())]);
    sandbox.write("layer.tar", top().tar());
    sandbox
}

fn commit(sandbox: &Sandbox, args: &[&str], layer: impl Into<Vec<u8>>) -> Output {
    sandbox.command("commit").args(["-q", "-t", "new"]).args(args).input(layer).run()
}

fn json_of(sandbox: &Sandbox, what: &str, image: &str) -> Value {
    let output = sandbox.command("inspect").args([what, image]).run();
    serde_json::from_slice(&output.success().stdout).unwrap()
}

/// Every file of a store but its lock, with its content; partial and temporary ones too.
fn contents(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let kept = files(store).into_iter().filter(|path| !path.ends_with("lock"));
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

#[test]
fn a_layer_on_a_base_is_what_unpacks() {
    let sandbox = sandbox(&base());
    let script =
        "cat layer.tar | commit -t new --base base:1 | tee digest && unpack --from new root";
    sh(&sandbox, script).success();
    assert_eq!(sandbox.read("root/etc/motd"), b"new\n");
    assert_eq!(sandbox.read("root/app"), b"1\n");
    assert!(!sandbox.path("root/gone").exists());
    let report = check::layout(sandbox.store()).unwrap();
    let said = String::from_utf8(sandbox.read("digest")).unwrap();
    assert_eq!(report.digests, [base().digest(), said.trim_end().to_owned()]);
    assert_eq!(report.names, [NAME, "docker.io/library/new:latest"]);
    let manifest = json_of(&sandbox, "--raw", "new");
    let digests: Vec<_> = manifest["layers"].as_array().unwrap()[..2].to_vec();
    let below: Vec<_> = base().layer_blobs().iter().map(kit::Blob::descriptor).collect();
    assert_eq!(digests, below);
    assert_eq!(json_of(&sandbox, "--config", "new")["rootfs"]["diff_ids"][2], top().diff_id());
}

#[test]
fn as_root_the_tree_is_that_of_all_the_layers_at_once() {
    if lacks_root() || lacks(&["zstd"]) {
        return;
    }
    let [one, two, three] = demo_layers().map(|layer| layer.tar());
    let sandbox = Sandbox::new();
    for (name, layer) in [("1", one), ("2", two), ("3", three)] {
        sandbox.write(name, layer);
    }
    let script = "commit -t a --base scratch 1 && gzip < 2 | commit -t a --base a --compress zstd \
                  && zstd -q < 3 | commit -t a --base a --compress none && unpack --from a root";
    sh(&sandbox, script).success();
    let stream = Producer::Strata.write(&[Named::new(NAME, demo())]);
    sandbox.command("unpack").arg("expected").input(stream).run().success();
    tree::assert_same(&shown(sandbox.path("root")), &shown(sandbox.path("expected")));
    check::layout(sandbox.store()).unwrap();
    let types: Vec<_> = json_of(&sandbox, "--raw", "a")["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["mediaType"].as_str().unwrap().to_owned())
        .collect();
    let prefix = "application/vnd.oci.image.layer.v1.tar";
    assert_eq!(types, [format!("{prefix}+gzip"), format!("{prefix}+zstd"), prefix.to_owned()]);
}

#[test]
fn config_and_manifest_are_the_base_s_and_what_the_commit_says() {
    let sandbox = sandbox(&base());
    let args =
        ["--base", "base:1", "-m", "why", "-a", "me", "-c", "CMD [\"/app\"]", "-c", "ENV A=2 B=$A"];
    commit(&sandbox, &args, top().tar()).success();
    let config = json_of(&sandbox, "--config", "new");
    assert_eq!(config["x.unknown"], json!({"b": 1, "a": [2]}));
    assert_eq!(config["config"]["Unknown"], true);
    assert_eq!(config["config"]["Env"], json!(["PATH=/bin", "A=2", "B=1"]));
    assert_eq!(config["config"]["Cmd"], json!(["/app"]));
    assert_eq!(
        (&config["author"], &config["created"]),
        (&json!("me"), &json!("2020-09-13T12:26:40Z"))
    );
    let history = config["history"].as_array().unwrap();
    let expected = json!({"created": "2020-09-13T12:26:40Z", "author": "me", "comment": "why",
        "created_by": "commit -c 'CMD [\"/app\"]' -c 'ENV A=2 B=$A'"});
    assert_eq!((history.len(), history.last().unwrap()), (3, &expected));
    let manifest = json_of(&sandbox, "--raw", "new");
    let annotations = json!({"note": "kept", "org.opencontainers.image.base.digest": base().digest(),
        "org.opencontainers.image.base.name": NAME});
    assert_eq!((&manifest["annotations"], &manifest["x.unknown"]), (&annotations, &json!("kept")));
}

// ggcr#1456: settings of all platforms at once, and an index again.
#[test]
fn settings_change_of_all_platforms() {
    let image = |platform: &str| {
        Image::new().platform(platform).env(&["A=1"]).layer(Layer::new().file("f", platform))
    };
    let platforms = ["linux/amd64", "linux/arm64/v8"];
    let index = platforms.iter().fold(Index::new(), |index, it| index.image(&image(it)));
    let sandbox = Sandbox::new();
    sandbox.load(&[
        Named::new("docker.io/library/all:1", index.set("/annotations", json!({"note": "kept"}))),
        Named::new("docker.io/library/one:1", image("linux/arm64/v8")),
    ]);
    let commit = "commit --no-layer --timestamp 0 -c 'USER app' --unset Env.A";
    let output = sh(&sandbox, &format!("{commit} --all-platforms --base all:1 -t new"));
    let digest = output.success().out();
    let text = "committed new:latest: 2 platforms, no new layer\n";
    assert!(output.stderr.ends_with(text), "{}", output.text());
    let made = fs::read(sandbox.store().join("blobs").join(digest.trim().replace(':', "/")));
    let made: Value = serde_json::from_slice(&made.unwrap()).unwrap();
    assert_eq!(made["annotations"], json!({"note": "kept"}));
    let entries = made["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for (platform, entry) in platforms.iter().zip(entries) {
        let one =
            format!("{commit} -q --base all:1 --platform {platform} -t one:{}", platform.len());
        assert_eq!(format!("{}\n", entry["digest"].as_str().unwrap()), sh(&sandbox, &one).out());
        let config = sh(&sandbox, &format!("inspect --config --platform {platform} new"));
        let config: Value = serde_json::from_str(&config.success().out()).unwrap();
        assert_eq!(
            (&config["config"]["User"], &config["config"]["Env"]),
            (&json!("app"), &json!([]))
        );
    }
    sh(&sandbox, "images verify new").success();
    let output = sh(&sandbox, &format!("{commit} --all-platforms --base one:1 -t no"));
    let text = "one:1: one image, and not those of several platforms";
    assert!(output.fails_with(2).stderr.contains(text), "{}", output.text());
}

// umoci config, crane mutate, docker commit --change: other settings without a layer; umoci#290, ggcr#1081.
#[test]
fn settings_change_without_a_layer() {
    let sandbox = sandbox(&base());
    let script = "commit -q --no-layer --base base:1 -t new -c 'USER app' --unset Env.A --unset Cmd --unset Labels.none \
        --annotation a.b=c=d --unset Annotations.note --created-by 'by hand' -m why";
    let output = sh(&sandbox, &script.replace("-q ", ""));
    let text = "commit: warning: Labels.none: the base has no such setting\ncommitted new:latest: no new layer\n";
    assert!(output.success().text().ends_with(text), "{}", output.text());
    let config = json_of(&sandbox, "--config", "new");
    assert_eq!(config["config"]["Env"], json!(["PATH=/bin"]));
    assert_eq!(
        (&config["config"]["User"], &config["config"]["Cmd"]),
        (&json!("app"), &Value::Null)
    );
    let history = config["history"].as_array().unwrap();
    let expected = json!({"created": "2020-09-13T12:26:40Z", "comment": "why", "created_by": "by hand",
        "empty_layer": true});
    assert_eq!(history.last().unwrap(), &expected);
    let (manifest, before) =
        (json_of(&sandbox, "--raw", "new"), json_of(&sandbox, "--raw", "base:1"));
    assert_eq!(manifest["layers"], before["layers"]);
    assert_eq!(manifest["annotations"], json!({"a.b": "c=d"}));
    // It is an image like any other, and says what is below it as before.
    sh(&sandbox, "images verify new && unpack -q --from new root && [ -e root/gone ]").success();
    sh(&sandbox, "commit -q --base base:1 -t app layer.tar && commit -q --no-layer --base app -t app:2 -c 'CMD x'")
        .success();
    let manifest = json_of(&sandbox, "--raw", "app:2");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.base.digest"], base().digest());
    sh(
        &sandbox,
        "commit -q --no-layer --base new --stream -t streamed -c 'ENV X=1' | load -q --store there",
    )
    .success();
    assert_eq!(
        sh(&sandbox, "inspect --store there --config streamed | grep -c X=1").success().out(),
        "1\n"
    );
}

#[test]
fn an_image_of_settings_alone_has_all_that_a_config_needs() {
    let sandbox = Sandbox::new();
    sh(&sandbox, "commit -q --no-layer --base scratch -t new -c 'CMD [\"a\"]'").success();
    let config = json_of(&sandbox, "--config", "new");
    assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": []}));
    assert_eq!(json_of(&sandbox, "--raw", "new")["layers"], json!([]));
}

#[test]
fn a_docker_image_has_no_room_for_annotations() {
    let sandbox = sandbox(&base_of(Image::new().docker()));
    let output = sh(&sandbox, "commit -q --no-layer --base base:1 -t new --annotation a=b");
    let text = "commit: the base is a Docker schema 2 image, which has no annotations\n\
        hint: add --oci to make an OCI image of it\n";
    assert!(output.fails_with(2).text().ends_with(text), "{}", output.text());
    sh(&sandbox, "commit -q --no-layer --base base:1 -t new --annotation a=b --oci").success();
    assert_eq!(json_of(&sandbox, "--raw", "new")["annotations"]["a"], "b");
}

#[test]
fn every_name_is_given_and_the_digest_alone_is_printed() {
    let sandbox = sandbox(&base());
    let output = commit(
        &sandbox,
        &["-t", "app:2", "-t", "example.com/app", "--base", "base:1"],
        top().tar(),
    );
    let said = output.success().out();
    assert!(said.starts_with("sha256:") && said.len() == 72 && said.ends_with('\n'), "{said}");
    let report = check::layout(sandbox.store()).unwrap();
    let names = ["app:2", "new:latest"].map(|name| format!("docker.io/library/{name}"));
    for name in names.iter().map(String::as_str).chain(["example.com/app:latest"]) {
        assert!(report.names.iter().any(|it| it == name), "{name}: {:?}", report.names);
    }
    assert_eq!(report.digests.iter().filter(|digest| **digest == said.trim_end()).count(), 3);
}

#[test]
fn the_same_commit_is_the_same_image_and_the_clock_counts_without_an_epoch() {
    let sandbox = sandbox(&base());
    let args = ["--base", "base:1"];
    let first = commit(&sandbox, &args, top().tar()).success().out();
    assert_eq!(commit(&sandbox, &args, Codec::GZIP.encode(&top().tar())).success().out(), first);
    let at = |seconds: &str| {
        let command = sandbox.command("commit").args(["-q", "-t", "new", "--base", "base:1"]);
        command.env("SOURCE_DATE_EPOCH", seconds).input(top().tar()).run().success().out()
    };
    assert_eq!(at(&EPOCH.to_string()), first);
    assert_ne!(at("0"), first);
    let command = sandbox.command("commit").args(["-q", "-t", "new", "--base", "base:1"]);
    command.env_remove("SOURCE_DATE_EPOCH").input(top().tar()).run().success();
    assert!(json_of(&sandbox, "--config", "new")["created"].as_str().unwrap() > "2026");
    // Empty is as good as not set.
    at("");
    assert!(json_of(&sandbox, "--config", "new")["created"].as_str().unwrap() > "2026");
}

#[test]
fn the_base_is_what_the_layer_says() {
    let sandbox = sandbox(&base());
    let comment = |digest: &str| {
        let comment = format!("strata base {digest}");
        let layer = Layer::new().global(&[("comment", &comment)]).raw(top().end("").tar());
        layer.tar()
    };
    let other = digest(b"other");
    let ours = comment(&base().digest());
    let told = commit(&sandbox, &[], &*ours).success().out();
    assert_eq!(commit(&sandbox, &["--base", "base:1"], &*ours).success().out(), told);
    // What the layer was taken against is no part of it.
    assert_eq!(commit(&sandbox, &["--base", "base:1"], top().tar()).success().out(), told);
    assert_eq!(json_of(&sandbox, "--config", "new")["rootfs"]["diff_ids"][2], top().diff_id());

    let before = contents(&sandbox.store());
    let check = |args: &[&str], layer: &[u8], code: i32, text: &str| {
        let output = commit(&sandbox, args, layer);
        output.fails_with(code);
        assert!(output.stderr.contains(text), "{}", output.stderr);
        assert!(contents(&sandbox.store()) == before);
    };
    check(&["--base", "base:1"], &comment(&other), 2, "hint: leave --base out");
    check(&["--base", "scratch"], &ours, 2, "not scratch");
    check(&[], &comment(&other), 3, &format!("hint: pull NAME@{other}, with"));
    check(&[], &comment("sha256:0"), 4, "malformed digest");
    check(&[], &top().tar(), 2, "hint: name the image below it with --base IMAGE");
    check(&["--base", "nope"], &top().tar(), 3, "hint: pull nope");
    check(&["--base", "./x.tar"], &top().tar(), 2, "hint: load it first");
}

#[test]
fn of_an_index_the_platform_s_image_is_the_base() {
    let image = |platform: &str| {
        let layer = Layer::new().file("etc/motd", platform).tar();
        Image::new().platform(platform).layer(layer)
    };
    let index = Index::new().image(&image("linux/amd64")).image(&image("linux/arm64"));
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, index)]);
    for platform in ["linux/arm64", "linux/amd64"] {
        let layer = Layer::new().file("app", "1").tar();
        commit(&sandbox, &["--base", "base:1", "--platform", platform], layer).success();
        let manifest = json_of(&sandbox, "--raw", "new");
        let expected = &manifest["annotations"]["org.opencontainers.image.base.digest"];
        assert_eq!(*expected, image(platform).digest());
        assert_eq!(json_of(&sandbox, "--config", "new")["architecture"], platform[6..]);
    }
    let output = commit(&sandbox, &["--base", "base:1", "--platform", "linux/s390x"], top().tar());
    assert_one_line(output.fails_with(3), "commit");
}

#[test]
fn from_scratch_the_platform_is_the_one_that_is_named() {
    let sandbox = Sandbox::new();
    commit(&sandbox, &["--base", "scratch", "--platform", "linux/arm/v6"], top().tar()).success();
    let config = json_of(&sandbox, "--config", "new");
    let machine = ["os", "architecture", "variant"].map(|key| config[key].clone());
    assert_eq!(machine, ["linux", "arm", "v6"]);
    assert!(json_of(&sandbox, "--raw", "new").get("annotations").is_none());
    check::layout(sandbox.store()).unwrap();
}

#[test]
fn docker_s_stay_docker_s_unless_told_otherwise() {
    let base = base_of(Image::new().docker());
    let sandbox = sandbox(&base);
    let types = |args: &[&str]| {
        commit(&sandbox, args, top().tar()).success();
        check::layout(sandbox.store()).unwrap();
        let manifest = json_of(&sandbox, "--raw", "new");
        let types = manifest["layers"].as_array().unwrap().iter().map(|layer| &layer["mediaType"]);
        let types: Vec<_> = [&manifest["mediaType"], &manifest["config"]["mediaType"]]
            .into_iter()
            .chain(types)
            .map(|text| text.as_str().unwrap().replace("application/vnd.", ""))
            .collect();
        types.join(" ")
    };
    let gzip = "docker.image.rootfs.diff.tar.gzip";
    let docker = "docker.distribution.manifest.v2+json docker.container.image.v1+json";
    assert_eq!(types(&["--base", "base:1"]), format!("{docker} {gzip} {gzip} {gzip}"));
    let layer = "oci.image.layer.v1.tar+";
    let oci = "oci.image.manifest.v1+json oci.image.config.v1+json";
    let args = ["--base", "base:1", "--oci", "--compress", "zstd"];
    assert_eq!(types(&args), format!("{oci} {layer}gzip {layer}gzip {layer}zstd"));
    let output = commit(&sandbox, &["--base", "base:1", "--compress", "zstd"], top().tar());
    assert!(output.fails_with(2).stderr.contains("hint: add --oci"), "{}", output.stderr);
}

#[test]
fn what_is_no_layer_is_told_as_such() {
    let sandbox = sandbox(&base());
    sandbox.write("text", "What is a layer?\n".repeat(100));
    fs::create_dir(sandbox.path("dir")).unwrap();
    for args in ["", "--base base:1"] {
        for text in ["cat text", "head -c 20 text", "gzip -c text"] {
            let output = sh(&sandbox, &format!("{text} | commit -t nothing {args}"));
            let text = &output.fails_with(4).stderr;
            let expected = "commit: standard input: the layer: isn't a tar archive\nhint: ";
            assert!(text.contains(expected), "{text}");
        }
    }
    let output = sh(&sandbox, "commit -t nothing ./dir");
    let text = &output.fails_with(2).stderr;
    assert!(text.contains("./dir: a directory, and no layer\nhint: snapshot ./dir | "), "{text}");
}

#[test]
fn an_empty_layer_is_a_layer_and_no_layer_is_none() {
    let sandbox = sandbox(&base());
    commit(&sandbox, &["--base", "base:1"], vec![0; 1024]).success();
    assert_eq!(json_of(&sandbox, "--raw", "new")["layers"].as_array().unwrap().len(), 3);
    for args in ["", "--base base:1"] {
        let output = sh(&sandbox, &format!("false | commit -t nothing {args}"));
        let text = &output.fails_with(4).stderr;
        assert!(text.contains("commit: standard input: the layer: is empty\nhint: "), "{text}");
        assert_eq!(output.pipe, [1, 4]);
    }
}

#[test]
fn what_is_no_layer_changes_nothing() {
    let sandbox = sandbox(&base());
    let before = contents(&sandbox.store());
    let whole = top().tar();
    let gzip = Codec::GZIP.encode(&whole);
    let stream = Producer::Strata.write(&[Named::new(NAME, base())]);
    let layers: Vec<(&str, Vec<u8>, i32)> = vec![
        ("nothing", vec![], 4),
        ("garbage", b"garbage".repeat(1000), 4),
        ("cut in an entry", whole[..700].to_vec(), 4),
        ("cut before the end", top().end("").tar(), 4),
        ("half an end", top().end([0; 512]).tar(), 4),
        ("cut gzip", gzip[..gzip.len() - 9].to_vec(), 4),
        ("wrong check sum", [&gzip[..gzip.len() - 8], &[1; 8]].concat(), 4),
        ("garbage after gzip", [&gzip[..], b"x"].concat(), 4),
        ("up and out", Layer::new().file("a/../../b", "").tar(), 4),
        ("a whiteout of nothing", Layer::new().file(".wh.", "").tar(), 4),
        ("a whiteout of the parent", Layer::new().file(".wh...", "").tar(), 4),
        ("a whiteout with children", Layer::new().file(".wh.a/b", "").tar(), 4),
        ("a bad check sum", top().bad_checksum().tar(), 4),
        ("an image stream", stream, 2),
    ];
    let check = |what: &str, how: &str, layer: &[u8], code: i32| {
        let output = commit(&sandbox, &["--base", "base:1", "--compress", how], layer);
        assert!(output.code() == code, "{what} {how}: {}", output.text());
        assert!(output.stdout.is_empty() && output.stderr.starts_with("commit: standard input: "));
        assert!(contents(&sandbox.store()) == before, "{what}");
    };
    for (what, layer, code) in layers {
        check(what, "gzip", &layer, code);
        check(what, "keep", &layer, code);
    }
    // What would be kept must be what every reader takes.
    check("zeros after gzip", "keep", &[&gzip[..], &[0; 512]].concat(), 4);
    commit(&sandbox, &["--base", "base:1"], [&gzip[..], &[0; 512]].concat()).success();
}

#[test]
fn a_layer_is_kept_as_it_comes() {
    let members = Gzip { members: 3, name: Some(b"layer.tar"), header_crc: true, ..Gzip::PLAIN };
    let frames = Zstd { frames: 2, skippable: true, ..Zstd::PLAIN };
    let sandbox = sandbox(&base());
    // A link to a file of the base makes the layer be read again.
    let tar =
        Layer::new().file("app", Random::new(1).bytes(400_000)).hardlink("motd", "etc/motd").tar();
    for (codec, kind) in
        [(Codec::None, ""), (Codec::Gzip(members), "+gzip"), (Codec::Zstd(frames), "+zstd")]
    {
        let blob = codec.encode(&tar);
        sandbox.write("blob", &blob);
        let script = "commit -q --base base:1 --compress keep -t new < blob && images verify -q new && unpack -q --from new root \
            && cmp root/motd root/etc/motd && rm -r root && commit -q --base base:1 --compress keep -t new blob \
            && save base:1 > base.tar && commit -q --base ./base.tar --compress keep -t new --no-store --stream blob | load -q --store there";
        let output = sh(&sandbox, script).success().out();
        let digests: Vec<&str> =
            output.lines().filter(|line| line.starts_with("sha256:")).collect();
        assert_eq!(digests[0], digests[1]);
        let manifest = json_of(&sandbox, "--raw", "new");
        let expected = json!({"mediaType": format!("application/vnd.oci.image.layer.v1.tar{kind}"), "digest": digest(&blob), "size": blob.len()});
        assert_eq!(manifest["layers"][2], expected);
        assert_eq!(json_of(&sandbox, "--config", "new")["rootfs"]["diff_ids"][2], digest(&tar));
        assert_eq!(
            sh(&sandbox, "inspect --raw --store there new").success().out(),
            sh(&sandbox, "inspect --raw new").out()
        );
    }
    // What a layer says about its base counts, and stays.
    let script = "unpack -q --from base:1 root && echo x > root/x && snapshot -q root | gzip -n > layer.gz \
        && commit -q --compress keep -t new layer.gz && images verify -q new && unpack -q --from new again && [ -e again/x ]";
    sh(&sandbox, script).success();
    let kept = json_of(&sandbox, "--raw", "new")["layers"][2]["digest"].clone();
    assert_eq!(kept, digest(&sandbox.read("layer.gz")));
    let output = sh(&sandbox, "commit -q --compress keep -t new --base scratch layer.gz");
    assert!(
        output.fails_with(2).stderr.contains("the layer was taken against"),
        "{}",
        output.stderr
    );
    sh(&sandbox, "commit -q --compress keep --level 1 --base base:1 -t new layer.gz").fails_with(2);
}

#[test]
fn what_comes_compressed_decides_the_type_of_a_docker_image_s_layer() {
    let sandbox = sandbox(&base_of(Image::new().docker()));
    sandbox.write("zst", Codec::ZSTD.encode(&top().tar()));
    sandbox.write("gz", Codec::GZIP.encode(&top().tar()));
    let output = sh(&sandbox, "commit -q --base base:1 --compress keep -t new zst");
    assert!(output.fails_with(2).stderr.contains("hint: add --oci"), "{}", output.stderr);
    for (words, expected) in [
        ("gz", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ("layer.tar", "application/vnd.docker.image.rootfs.diff.tar"),
        ("--oci zst", "application/vnd.oci.image.layer.v1.tar+zstd"),
    ] {
        sh(&sandbox, &format!("commit -q --base base:1 --compress keep -t new {words}")).success();
        assert_eq!(json_of(&sandbox, "--raw", "new")["layers"][2]["mediaType"], expected);
    }
}

#[test]
fn what_is_taken_out_stands_in_the_history() {
    let sandbox = sandbox(&base());
    let script = "commit -q --no-layer --base base:1 -t new -c 'USER a' --unset Env.A --unset \"Labels.it's\"";
    sh(&sandbox, script).success();
    let config = json_of(&sandbox, "--config", "new");
    let said = config["history"].as_array().unwrap().last().unwrap()["created_by"].clone();
    assert_eq!(said, r"commit --unset 'Env.A' --unset 'Labels.it'\''s' -c 'USER a'");
    // What only a commit with a layer can do isn't hinted at.
    let hint = |words: &str| {
        let output = sh(&sandbox, &format!("commit -q --base ./x.tar -t new {words}"));
        output.fails_with(2).stderr.lines().nth(1).unwrap().to_owned()
    };
    assert_eq!(hint("--no-layer"), "hint: load it first");
    assert_eq!(hint("layer.tar"), "hint: load it first, or add --no-store --stream");
    let output = sh(&sandbox, "commit -q --no-layer --base base:1 -t new --unset author");
    assert!(output.fails_with(2).stderr.contains("--author names another"), "{}", output.stderr);
}

#[test]
fn a_commit_that_is_told_to_stop_changes_nothing() {
    let sandbox = sandbox(&base());
    let before = contents(&sandbox.store());
    let script = "{ cat layer.tar; sleep 2; } | commit -t new --base base:1 &
        until compgen -G \"$STRATA_STORE/strata/temp/*\" > /dev/null; do sleep 0.01; done
        kill -TERM $!; wait $!";
    assert_eq!(sh(&sandbox, script).code(), 143);
    assert!(contents(&sandbox.store()) == before);
}

#[test]
fn arguments_that_make_no_sense_are_told_before_anything_is_read() {
    let sandbox = sandbox(&base());
    let before = contents(&sandbox.store());
    let pinned = format!("x@{}", digest(b""));
    let cases: &[&[&str]] = &[
        &["-c", "RUN x"],
        &["-c", "ENV A"],
        &["-c", "CMD [1]"],
        &["-t", &pinned],
        &["-t", "UPPER"],
        &["--timestamp", "253402300800"],
        &["--level", "10"],
        &["--compress", "none", "--level", "1"],
        &["--compress", "xz"],
        &["--unset", "Nope"],
        &["--annotation", "x"],
        &["--no-layer"],
        &["--no-layer", "--base", "base:1", "layer.tar"],
        &["--no-layer", "--base", "base:1", "--compress", "zstd"],
        &["--no-layer", "--base", "base:1", "--no-store", "--stream"],
        &["--no-store"],
        &["--no-store", "--stream"],
        &["--no-store", "--stream", "--base", "base:1"],
        &["--no-store", "--stream", "--base", "-"],
    ];
    for args in cases {
        let output = commit(&sandbox, args, top().tar());
        assert!(output.code() == 2, "{args:?}: {}", output.text());
    }
    let output = commit(&sandbox, &["--base", "base:1", "-c", "EXPOSE x"], top().tar());
    assert_one_line(output.fails_with(2), "commit");
    let output = sandbox.command("commit").args(["-t", "x", "--base", "base:1", "no/file"]).run();
    assert_one_line(output.fails_with(3), "commit");
    assert!(contents(&sandbox.store()) == before);
}

#[test]
fn the_image_streams_out_as_save_would_have_it() {
    let sandbox = sandbox(&base());
    let script = "commit -t new:2 -t other --base base:1 --stream layer.tar > stream && save new:2 other > saved";
    let output = sh(&sandbox, script);
    let stream = sandbox.read("stream");
    assert!(stream == sandbox.read("saved"));
    let report = check::canonical(&stream).unwrap();
    assert!(output.success().stderr.contains(&report.digests[0]), "{}", output.stderr);
}

#[test]
fn without_a_store_the_image_only_streams() {
    let sandbox = sandbox(&base());
    let script = "save base:1 > base.tar; mkdir layout; load -q --store layout base.tar
        export STRATA_STORE=nowhere
        commit -t new --base ./base.tar --no-store --stream layer.tar > file
        commit -t new --base layout:layout --no-store --stream < layer.tar > layout.stream
        cat base.tar | commit -t new --base - --no-store --stream layer.tar > pipe
        commit -t new --base scratch --no-store --stream < layer.tar > scratch";
    sh(&sandbox, script).success();
    assert!(!sandbox.path("nowhere").exists());
    let script = "commit -t new --base base:1 --stream layer.tar";
    let kept = sh(&sandbox, script).success().stdout.clone();
    for name in ["file", "layout.stream", "pipe"] {
        assert!(sandbox.read(name) == kept, "{name}");
    }
    assert_eq!(check::canonical(&sandbox.read("scratch")).unwrap().names.len(), 1);
    sh(&sandbox, "unpack root < scratch").success();
    assert_eq!(sandbox.read("root/app"), b"1\n");
}

#[test]
fn a_damaged_base_ends_the_stream_without_its_end() {
    let sandbox = sandbox(&base());
    let mut base = sh(&sandbox, "save base:1").success().stdout.clone();
    let at = base.windows(2).rposition(|pair| pair == [0x1f, 0x8b]).unwrap();
    base[at + 20] ^= 1;
    sandbox.write("base.tar", base);
    let script = "commit -t new --base ./base.tar --no-store --stream layer.tar | unpack root";
    let output = sh(&sandbox, script);
    assert_eq!(output.pipe, [4, 4]);
    assert!(!sandbox.path("root").exists());
}

#[test]
fn a_store_and_its_listing_agree_with_other_programs() {
    let sandbox = sandbox(&base());
    let script =
        "commit -t new --base base:1 -m why layer.tar && images verify && images digests > digests";
    sh(&sandbox, script).success();
    let before = check::layout(sandbox.store()).unwrap();
    sh(&sandbox, "images rm base:1 && images gc && unpack --from new root").success();
    assert!(bare(sandbox.path("root")).contains("etc/motd"));
    assert!(before.names.len() == 2);
}

#[test]
fn memory_is_bounded() {
    let sandbox = Sandbox::new();
    // A gigabyte of zeros in one file, and the layer's end.
    let header = Layer::new().file("zeros", "").claim_size(1 << 30).end("").tar();
    sandbox.write("header", header);
    let content = "{ cat header; head -c 1073742848 /dev/zero; }";
    for codec in ["gzip", "zstd"] {
        let commit = format!("commit -t {codec} --base scratch --compress {codec} --level 1");
        // Less than the content, and enough for the stacks of the threads that many cores have.
        let script = format!("export MALLOC_ARENA_MAX=1; ulimit -v 800000; {content} | {commit}");
        let script = Script::new(&sandbox, &script);
        script
            .with(|program| program.patience(std::time::Duration::from_secs(300)))
            .run()
            .success();
    }
}

// GNU tar's --acls and bsdtar write lists in words, with the names of users: they went without one.
#[test]
fn lists_in_words_are_not_kept_and_that_is_said() {
    let sandbox = Sandbox::new();
    let record = b"39 SCHILY.acl.access=user:joe:rwx:1000\n";
    let mut tar = tar::Builder::new(vec![]);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(record.len() as u64);
    tar.append_data(&mut header, "x", &record[..]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    tar.append_data(&mut header, "file", &[][..]).unwrap();
    sandbox.write("layer.tar", tar.into_inner().unwrap());
    let output =
        sandbox.command("commit").args(["--base", "scratch", "-t", "a", "layer.tar"]).run();
    let said = "commit: warning: layer.tar: the access control lists of 1 entry are in words (tar --acls), and not kept: \
                tar --xattrs --xattrs-include='*' writes them so that they are\n";
    assert!(output.success().stderr.contains(said), "{}", output.text());
    let line = ["--base", "scratch", "-t", "a", "--no-store", "--stream", "layer.tar"];
    let output = sandbox.command("commit").args(line).run();
    assert!(output.success().stderr.contains(said), "without a store: {}", output.text());
}
