//! Archives that lie about what is in them: names that lead out, digests that are paths, documents without end.

use kit::{
    Codec, Image, Layer, Named, Output, Producer, Sandbox, Shape, archive, digest, pipeline,
};
use serde_json::{Value, json};

use crate::fixtures::{assert_one_line, names, small, unpack};

const LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// A sandbox beside which a secret lies.
fn place() -> Sandbox {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.root().join("secret"), Layer::new().file("secret", "x").tar()).unwrap();
    sandbox
}

/// Unpacks by pipe and in place; both are refused with this status, and leave nothing.
#[track_caller]
fn refused(name: &str, bytes: &[u8], code: i32) -> Output {
    let sandbox = place();
    let piped = unpack(&sandbox, bytes);
    assert_eq!(piped.code(), code, "{name}, piped: {}", piped.text());
    assert_one_line(&piped, "unpack");
    assert!(names(sandbox.path("")).is_empty(), "{name}");
    sandbox.write("in", bytes);
    let output = pipeline::sh(&sandbox, "unpack root < in");
    assert_eq!(output.code(), code, "{name}, in place: {}", output.text());
    assert_one_line(&output, "unpack");
    assert_eq!(names(sandbox.path("")), ["in"], "{name}");
    piped
}

/// A docker-archive of one image whose list is changed.
fn docker(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let image = small("x");
    let [config, layer] = [image.config_blob(), image.layer_blobs().remove(0)];
    let path = format!("{}.tar.gz", layer.hex());
    let mut list = json!([{ "Config": config.digest, "RepoTags": ["x:1"], "Layers": [path] }]);
    change(&mut list);
    archive::archive(&[
        (&config.digest, &config.bytes),
        (&path, &layer.bytes),
        ("manifest.json", list.to_string().as_bytes()),
    ])
}

/// A layout whose index.json is changed.
fn layout(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let image = small("x");
    let mut index = json!({ "schemaVersion": 2, "manifests": [image.descriptor()] });
    change(&mut index);
    with_index(&image, index.to_string().as_bytes())
}

/// The blobs of an image beside any index.json.
fn with_index(image: &Image, index: &[u8]) -> Vec<u8> {
    let blobs = image.blobs();
    let paths: Vec<String> =
        blobs.iter().map(|blob| format!("blobs/sha256/{}", blob.hex())).collect();
    let mut members: Vec<(&str, &[u8])> = vec![("oci-layout", LAYOUT), ("index.json", index)];
    for (path, blob) in paths.iter().zip(&blobs) {
        members.push((path, &blob.bytes));
    }
    archive::archive(&members)
}

#[test]
fn two_indexes_that_differ_are_refused_by_every_reader() {
    let index = json!({ "schemaVersion": 2, "manifests": [small("x").descriptor()] }).to_string();
    let with = |second: &[u8]| {
        let image = small("x");
        let blobs = image.blobs();
        let paths: Vec<String> =
            blobs.iter().map(|blob| format!("blobs/sha256/{}", blob.hex())).collect();
        let mut members: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
        members.extend(paths.iter().map(String::as_str).zip(blobs.iter().map(|it| &it.bytes[..])));
        members.push(("index.json", second));
        archive::archive(&members)
    };
    let sandbox = Sandbox::new();
    unpack(&sandbox, with(index.as_bytes())).success();
    sandbox.command("load").input(with(index.as_bytes())).run().success();
    let other = json!({ "schemaVersion": 2, "manifests": [small("y").descriptor()] }).to_string();
    let output = refused("another index", &with(other.as_bytes()), 4);
    assert!(output.stderr.contains("index.json: is there twice"), "{}", output.stderr);
    let output = Sandbox::new().command("load").input(with(other.as_bytes())).run();
    assert_one_line(output.fails_with(4), "load");
}

#[test]
fn members_whose_names_lead_out_are_refused() {
    for name in ["../secret", "blobs/../../secret", "a/../../secret"] {
        let layer = Layer::new().file(name, "x").file("index.json", "{}");
        refused(name, &layer.tar(), 4);
    }
}

#[test]
fn paths_in_a_docker_archive_lead_nowhere_else() {
    let set = |pointer: &'static str, value: Value| {
        move |list: &mut Value| *list.pointer_mut(pointer).unwrap() = value
    };
    for path in ["../secret", "../../secret", "a/../../secret"] {
        refused(path, &docker(set("/0/Config", json!(path))), 4);
        refused(path, &docker(set("/0/Layers/0", json!(path))), 4);
    }
    for (name, pointer, value) in [
        ("absolute config", "/0/Config", json!("/etc/passwd")),
        ("absolute layer", "/0/Layers/0", json!("/etc/passwd")),
        ("empty config", "/0/Config", json!("")),
        ("config without a path", "/0/Config", Value::Null),
        ("config of another type", "/0/Config", json!(["a"])),
        ("more layers than diff ids", "/0/Layers", json!(["a", "b"])),
        ("no layers", "/0/Layers", Value::Null),
        ("no image", "", json!([])),
        ("no list", "", json!("x")),
    ] {
        refused(name, &docker(set(pointer, value)), 4);
    }
}

#[test]
fn links_in_an_archive_lead_nowhere_else() {
    let image = small("x");
    let config = image.config_blob();
    for target in ["../secret", "../../secret", "/etc/passwd", "layer.tar", "../x/layer.tar"] {
        let list = json!([{ "Config": "c.json", "RepoTags": ["x:1"], "Layers": ["x/layer.tar"] }]);
        let tar = Layer::new().file("c.json", &config.bytes).symlink("x/layer.tar", target);
        refused(target, &tar.file("manifest.json", list.to_string()).tar(), 4);
        let tar = Layer::new().file("c.json", &config.bytes).hardlink("x/layer.tar", target);
        refused(target, &tar.file("manifest.json", list.to_string()).tar(), 4);
    }
    // The documents themselves may be no links out either.
    for name in ["manifest.json", "index.json", "oci-layout"] {
        refused(name, &Layer::new().symlink(name, "../../secret").tar(), 4);
    }
}

#[test]
fn digests_are_digests_and_no_paths() {
    let image = small("x");
    let right = image.digest();
    let hex = right.trim_start_matches("sha256:");
    for wrong in [
        format!("sha256:{}", hex.to_uppercase()),
        format!("SHA256:{hex}"),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("sha256:../../{}", &hex[6..]),
        format!("sha256:{}/", &hex[1..]),
        format!("../../secret:{hex}"),
        format!("sha256:{hex}\n"),
        format!("sha256:\u{1b}[2J{}", &hex[4..]),
        format!("md5:{}", &hex[..32]),
        "sha256:".to_owned(),
        hex.to_owned(),
        String::new(),
    ] {
        refused(&wrong, &layout(|index| index["manifests"][0]["digest"] = json!(wrong)), 4);
        let image = image.clone().set_manifest("/config/digest", wrong.as_str());
        let index = json!({ "schemaVersion": 2, "manifests": [image.descriptor()] });
        refused(&wrong, &with_index(&image, index.to_string().as_bytes()), 4);
    }
}

#[test]
fn a_blob_that_its_name_does_not_fit_is_refused() {
    let image = small("x");
    for blob in image.blobs() {
        let sound = layout(|_| {});
        let at = sound.windows(blob.bytes.len()).position(|found| found == blob.bytes).unwrap();
        let mut wrong = sound;
        wrong[at + blob.bytes.len() / 2] ^= 1;
        refused(&blob.media_type, &wrong, 4);
    }
}

#[test]
fn documents_without_end_or_bottom_are_refused() {
    let deep = |n: usize| ["[".repeat(n), "]".repeat(n)].concat().into_bytes();
    let objects = r#"{"manifests":[{"a":"#.repeat(100_000).into_bytes();
    let image = small("x");
    for (name, document) in [
        ("deep lists", deep(300_000)),
        ("deep objects", objects),
        ("no JSON", b"<html>".to_vec()),
        ("two documents", b"{}{}".to_vec()),
        ("nothing", Vec::new()),
        ("not UTF-8", b"{\"manifests\":\"\xff\"}".to_vec()),
    ] {
        refused(name, &with_index(&image, &document), 4);
    }
    let spaces = vec![b' '; 20 << 20];
    refused("manifest.json", &archive::archive(&[("manifest.json", &spaces)]), 4);
}

#[test]
fn hundred_megabytes_of_json_in_a_few_kilobytes_are_refused() {
    let spaces = vec![b' '; 100 << 20];
    refused("bomb", &Codec::ZSTD.encode(&archive::archive(&[("index.json", &spaces)])), 4);
}

#[test]
fn a_manifest_beyond_four_megabytes_is_refused() {
    let mut bytes = small("x").manifest_blob().bytes;
    bytes.resize(5 << 20, b' ');
    let digest = digest(&bytes);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    for size in [bytes.len(), 500] {
        let entry = json!({ "mediaType": media_type, "digest": digest, "size": size });
        let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
        let path = format!("blobs/sha256/{}", &digest[7..]);
        let members = [("oci-layout", LAYOUT), ("index.json", index.as_bytes()), (&path, &bytes)];
        refused("manifest", &archive::archive(&members), 4);
    }
}

#[test]
fn indexes_nested_without_end_are_refused() {
    let mut index = kit::Index::new().image(&small("x"));
    for _ in 0..20 {
        index = kit::Index::new().nested(&index);
    }
    let named = [Named::new("docker.io/library/x:1", &index)];
    for producer in [Producer::Strata, Producer::SkopeoOci] {
        refused("nested", &producer.write(&named), 4);
    }
}

#[test]
fn null_where_a_list_is_meant_is_an_empty_list() {
    let image = Image::new()
        .set_config("/rootfs/diff_ids", Value::Null)
        .set_config("/history", Value::Null)
        .set_manifest("/layers", Value::Null)
        .set_manifest("/annotations", Value::Null);
    let index =
        json!({ "schemaVersion": 2, "manifests": [image.descriptor()], "annotations": null });
    let sandbox = place();
    unpack(&sandbox, with_index(&image, index.to_string().as_bytes())).success();
    assert!(names(sandbox.path("root")).is_empty());
    refused("null manifests", &layout(|index| index["manifests"] = Value::Null), 4);
    refused("empty manifests", &layout(|index| index["manifests"] = json!([])), 4);
}

#[test]
fn nothing_that_is_no_archive_is_taken_for_one() {
    let gzip = Codec::GZIP.encode(&layout(|_| {}));
    let zstd = Codec::ZSTD.encode(&layout(|_| {}));
    for (name, bytes) in [
        ("nothing", vec![]),
        ("zeros", vec![0; 10_240]),
        ("one zero block", vec![0; 512]),
        ("text", b"hello\n".to_vec()),
        ("an empty gzip", Codec::GZIP.encode(b"")),
        ("a cut gzip", gzip[..gzip.len() - 9].to_vec()),
        ("a gzip without its trailer", gzip[..gzip.len() - 8].to_vec()),
        ("a cut zstd", zstd[..zstd.len() - 5].to_vec()),
        ("a gzip header", gzip[..10].to_vec()),
        ("a tar of other things", Layer::new().file("etc/passwd", "root").tar()),
    ] {
        refused(name, &bytes, 4);
    }
}

#[test]
fn of_two_members_with_one_name_no_reader_is_misled() {
    let [one, two] = [small("one"), small("two")];
    let index = |image: &Image| {
        json!({ "schemaVersion": 2, "manifests": [image.descriptor()] }).to_string()
    };
    let bytes =
        [with_index(&one, index(&one).as_bytes()), with_index(&two, index(&two).as_bytes())];
    let both = [&bytes[0][..bytes[0].len() - 1024], &bytes[1]].concat();
    let sandbox = place();
    sandbox.write("in", &both);
    for script in ["cat in | unpack root", "unpack root < in"] {
        let output = pipeline::sh(&sandbox, script);
        if output.code() == 0 {
            let motd = sandbox.read("root/etc/motd");
            assert!([b"one", b"two"].contains(&motd.as_slice().try_into().unwrap()));
            std::fs::remove_dir_all(sandbox.path("root")).unwrap();
        } else {
            assert_one_line(output.fails_with(4), "unpack");
        }
    }
    // A second blob under the name of the first, with other bytes.
    let layer = one.layer_blobs().remove(0);
    let path = format!("blobs/sha256/{}", layer.hex());
    let wrong = archive::archive(&[(&path, &vec![b'x'; layer.bytes.len()])]);
    let sound = with_index(&one, index(&one).as_bytes());
    let before = [&wrong[..wrong.len() - 1024], &sound].concat();
    let after = [&sound[..sound.len() - 1024], &wrong].concat();
    for bytes in [before, after] {
        let sandbox = place();
        let output = unpack(&sandbox, bytes);
        if output.code() == 0 {
            assert_eq!(sandbox.read("root/etc/motd"), b"one");
        } else {
            assert_one_line(output.fails_with(4), "unpack");
        }
    }
}

#[test]
fn names_of_an_archive_are_shown_without_what_a_terminal_would_obey() {
    let evil = "docker.io/library/\u{1b}[2J\u{202e}\r\n:1";
    for producer in Producer::ALL {
        let images =
            [Named::new(evil, small("one")), Named::new("docker.io/library/two:2", small("two"))];
        refused("two names", &producer.write_as(&images, &Shape::PLAIN), 2);
    }
    let annotated = layout(|index| {
        index["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": evil });
        index["manifests"][0]["digest"] = json!(evil);
    });
    refused("digest", &annotated, 4);
    refused("path", &docker(|list| list[0]["Layers"][0] = json!(evil)), 4);
    refused("config", &docker(|list| list[0]["Config"] = json!(evil)), 4);
}

/// Refused by `unpack` in both ways, and by `load`, which keeps nothing.
#[track_caller]
fn refused_by_all(name: &str, bytes: &[u8]) {
    refused(name, bytes, 4);
    let sandbox = place();
    let output = sandbox.command("load").input(bytes).run();
    assert_one_line(output.fails_with(4), "load");
    let images = sandbox.command("images").run();
    assert_eq!(images.success().stdout.split(|&byte| byte == b'\n').count(), 2, "{name}");
}

#[test]
fn archives_of_nothing_but_names_are_refused() {
    let long = "x".repeat(200);
    let name = |n: u32| format!("{long}/{long}/{long}/{long}/{long}/{long}/{long}/{n}");
    let members = (0..21_000).fold(Layer::new(), |layer, n| layer.file(name(n), ""));
    let links = (0..19_000).fold(Layer::new(), |layer, n| layer.symlink(format!("{n}"), name(n)));
    for layer in [members, links] {
        let output = refused("members", &layer.tar(), 4);
        assert!(output.stderr.contains("the list of the archive's members"), "{}", output.text());
    }
}

#[test]
fn one_large_image_under_hundreds_of_names_is_refused() {
    let image = small("x").set_manifest("/annotations", json!({ "x": "y".repeat(200_000) }));
    let named = |name: &str| {
        let mut entry = image.descriptor();
        entry["annotations"] = json!({ "io.containerd.image.name": name });
        entry
    };
    let entries: Vec<_> = (0..350).map(|n| named(&format!("docker.io/library/x:{n}"))).collect();
    let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
    let bytes = with_index(&image, index.as_bytes());
    let sandbox = place();
    let output = sandbox.command("load").input(bytes).run();
    assert_one_line(output.fails_with(4), "load");
    assert!(output.stderr.contains("describes the archive's images"), "{}", output.text());
}

#[test]
fn an_index_that_lists_another_many_times_is_read_once() {
    let image = small("x");
    let document = |entries: Vec<Value>| {
        json!({ "schemaVersion": 2, "manifests": entries }).to_string().into_bytes()
    };
    let entry = |raw: &[u8]| {
        let media_type = "application/vnd.oci.image.index.v1+json";
        json!({ "mediaType": media_type, "digest": digest(raw), "size": raw.len() })
    };
    let inner = document(vec![image.descriptor(); 5000]);
    let outer = document(vec![entry(&inner); 5000]);
    let index = document(vec![entry(&outer)]);
    let mut members: Vec<(String, Vec<u8>)> =
        vec![("oci-layout".to_owned(), LAYOUT.to_vec()), ("index.json".to_owned(), index)];
    let path = |digest: &str| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
    members.extend([&outer, &inner].map(|raw| (path(&digest(raw)), raw.clone())));
    members.extend(image.blobs().into_iter().map(|blob| (path(&blob.digest), blob.bytes)));
    let members: Vec<_> = members.iter().map(|(name, raw)| (name.as_str(), &raw[..])).collect();
    let sandbox = place();
    sandbox.write("in", archive::archive(&members));
    pipeline::sh(&sandbox, "cat in | unpack a && unpack b < in && load in").success();
    assert_eq!(sandbox.read("b/etc/motd"), b"x");
}

#[test]
fn documents_of_nothing_but_small_values_are_refused() {
    let items = format!("[{}]", vec!["0"; 600_000].join(","));
    let text = json!({ "schemaVersion": 2, "manifests": [small("x").descriptor()] }).to_string();
    let more = format!("{},\"zz\":{items}}}", text.trim_end_matches('}'));
    refused_by_all("index.json", &with_index(&small("x"), more.as_bytes()));
    let list =
        format!(r#"[{{"Config":"c","Layers":[],"RepoTags":[{}""]}}]"#, "\"\",".repeat(600_000));
    refused_by_all("manifest.json", &archive::archive(&[("manifest.json", list.as_bytes())]));
}

#[test]
fn of_thousands_of_images_the_first_are_shown() {
    let entry = |n: u32| json!({ "digest": digest(&n.to_be_bytes()), "size": 4 });
    let index = json!({ "manifests": (0..3000).map(entry).collect::<Vec<_>>() }).to_string();
    let output = refused("names", &with_index(&small("x"), index.as_bytes()), 2);
    assert!(output.stderr.len() < 3000 && output.stderr.contains(" and 2980 more"));
}

#[test]
fn an_artifact_without_layers_is_no_empty_image() {
    let empty = "application/vnd.oci.empty.v1+json";
    let artifact = Image::new().set_manifest("/config/mediaType", empty);
    let index = json!({ "schemaVersion": 2, "manifests": [artifact.descriptor()] }).to_string();
    let output = refused("artifact", &with_index(&artifact, index.as_bytes()), 1);
    assert!(output.stderr.contains("this is no container image"), "{}", output.text());
}

#[test]
fn an_index_of_nothing_that_is_there_is_refused() {
    let absent = small("absent").descriptor();
    let inner = json!({ "schemaVersion": 2, "manifests": [absent] }).to_string();
    let entry = json!({
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": digest(inner.as_bytes()),
        "size": inner.len(),
    });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let path = format!("blobs/sha256/{}", &digest(inner.as_bytes())[7..]);
    let members = [("index.json", index.as_bytes()), (&path, inner.as_bytes())];
    refused_by_all("absent", &archive::archive(&members));
}

#[test]
fn a_document_of_the_wrong_shape_is_told_in_words_and_which_it_is() {
    let said = |bytes: &[u8], code: i32| {
        let sandbox = place();
        sandbox.write("in", bytes);
        let output = pipeline::sh(&sandbox, "load -q < in");
        assert_one_line(output.fails_with(code), "load");
        output.stderr
    };
    let list = said(&docker(|list| *list = json!([null])), 4);
    assert!(
        list.contains("expected an image: an object with Config, RepoTags and Layers"),
        "{list}"
    );
    let unnamed = said(&docker(|list| list[0]["RepoTags"] = json!([""])), 4);
    assert!(unnamed.contains("load: \"\": is no name that an image can have"), "{unnamed}");
    let image = small("x").set_config("/architecture", 1);
    let config = image.config_blob().digest;
    let index = json!({ "schemaVersion": 2, "manifests": [image.descriptor()] });
    let said = said(&with_index(&image, index.to_string().as_bytes()), 4);
    assert!(said.contains(&format!("malformed config {config}: invalid type")), "{said}");
}

#[test]
fn of_a_link_that_leads_nowhere_both_ends_are_named() {
    let image = small("x");
    let config = image.config_blob();
    let list = json!([{ "Config": config.digest, "RepoTags": ["x:1"], "Layers": ["l/layer.tar"] }]);
    let mut bytes = Layer::new().symlink("l/layer.tar", "../gone/layer.tar").tar();
    let rest = archive::archive(&[
        (&config.digest, &config.bytes),
        ("manifest.json", list.to_string().as_bytes()),
    ]);
    bytes.truncate(512);
    bytes.extend(rest);
    let sandbox = place();
    sandbox.write("in", bytes);
    for command in ["load", "unpack root", "cat | load", "cat | unpack root"] {
        let output = pipeline::sh(&sandbox, &format!("{command} < in"));
        let said = "gone/layer.tar, to which l/layer.tar is a link: is missing from the archive";
        assert!(output.fails_with(4).stderr.contains(said), "{command}: {}", output.text());
    }
}
