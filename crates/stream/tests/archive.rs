//! The image stream: what is written is read, and nothing else is taken for it.

use std::collections::HashMap;
use std::io::{self, Read};

use layer_format::{Descriptor, Digest, Error, Index, Manifest, media_type};
use stream::archive::{Archive, Blobs, Choice, Spool};
use stream::{Graph, Name, Preamble, Writer};

fn no_spool() -> Spool {
    Box::new(|| Err(io::Error::other("a stream in our order needs no spool")))
}

/// A small stream of one image with these layers, and its manifest's digest.
fn stream(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    let descriptors: Vec<_> =
        layers.iter().map(|layer| Descriptor::of(media_type::OCI_LAYER, layer)).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, &config), "layers": descriptors,
    });
    let manifest =
        Manifest::parse(manifest.to_string().into_bytes()).expect("a fixture is well formed");
    let target = manifest.descriptor();
    let names = [Name {
        reference: Some("demo".parse().expect("a fixture is well formed")),
        target: target.clone(),
    }];
    let preamble =
        Preamble::of(&names, &[Graph { indexes: vec![], manifests: vec![manifest.clone()] }])
            .expect("a fixture is well formed");
    let mut writer = Writer::new(Vec::new(), &preamble).expect("a fixture is well formed");
    writer.document(manifest.raw(), target.digest).expect("a fixture is well formed");
    writer.document(&config, Digest::of(&config)).expect("a fixture is well formed");
    for (descriptor, layer) in descriptors.iter().zip(layers) {
        writer.blob(descriptor, *layer).expect("a fixture is well formed");
    }
    writer.finish().expect("a fixture is well formed")
}

fn read(mut archive: Archive) -> Result<Vec<Vec<u8>>, Error> {
    let image = archive.image(&Choice::default())?;
    let mut layers = Vec::new();
    for position in 0..image.layers.len() {
        let mut content = Vec::new();
        let reading = |source| Error::io("reading a layer", source);
        archive.layer(&image, position)?.read_to_end(&mut content).map_err(reading)?;
        layers.push(content);
    }
    archive.finish()?;
    Ok(layers)
}

fn read_stream(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    read(Archive::from_reader(io::Cursor::new(bytes.to_vec()), no_spool())?)
}

fn read_file(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().expect("a fixture is well formed");
    file.write_all(bytes).expect("a fixture is well formed");
    file.rewind().expect("a fixture is well formed");
    read(Archive::from_file(file, no_spool())?)
}

const LAYERS: [&[u8]; 3] = [b"one", &[7; 3000], b"three"];

#[test]
fn what_is_written_is_read_in_one_pass() {
    let bytes = stream(&LAYERS);
    assert_eq!(read_stream(&bytes).unwrap(), LAYERS);
    assert_eq!(read_file(&bytes).unwrap(), LAYERS);
    assert_eq!(bytes, stream(&LAYERS));
}

#[test]
fn zeros_after_the_end_are_no_damage() {
    let bytes = [stream(&LAYERS), vec![0; 10_240]].concat();
    assert_eq!(read_stream(&bytes).unwrap(), LAYERS);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = stream(&LAYERS);
    for length in 0..bytes.len() {
        if length % 512 == 0 || length % 97 == 0 {
            assert!(read_stream(&bytes[..length]).is_err(), "{length}");
            assert!(read_file(&bytes[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let bytes = stream(&LAYERS);
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 1 << (position % 8);
        assert!(read_stream(&damaged).is_err(), "byte {position}");
        assert!(read_file(&damaged).is_err(), "byte {position} in place");
    }
}

#[test]
fn a_layer_that_stands_twice_in_an_image_is_read_twice() {
    let bytes = stream(&[b"empty", b"one", b"empty"]);
    let spool: Spool = Box::new(tempfile::tempfile);
    let archive = Archive::from_reader(io::Cursor::new(bytes.clone()), spool).unwrap();
    assert_eq!(read(archive).unwrap(), [b"empty" as &[u8], b"one", b"empty"]);
    assert_eq!(read_file(&bytes).unwrap().len(), 3);
}

/// More than is kept in memory.
const LARGE: usize = 5 << 20;

/// A stream of an index with two platforms, as the grammar orders it, and the layers of each.
fn two_platforms() -> Vec<u8> {
    let layers = [vec![1; LARGE], vec![2; LARGE]];
    let layers = [&layers[0][..], &layers[1]];
    let mut manifests = vec![];
    let mut entries = vec![];
    let mut configs = vec![];
    for (architecture, layer) in ["amd64", "arm64"].into_iter().zip(layers) {
        let rootfs = serde_json::json!({"type": "layers", "diff_ids": [Digest::of(layer)]});
        let config =
            serde_json::json!({"os": "linux", "architecture": architecture, "rootfs": rootfs});
        let config = config.to_string().into_bytes();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": Descriptor::of(media_type::OCI_CONFIG, &config),
            "layers": [Descriptor::of(media_type::OCI_LAYER, layer)],
        });
        let manifest = Manifest::parse(manifest.to_string().into_bytes()).expect("a manifest");
        let mut entry = manifest.descriptor();
        entry.platform = format!("linux/{architecture}").parse().ok();
        entries.push(entry);
        manifests.push(manifest);
        configs.push(config);
    }
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
    let index = Index::parse(index.to_string().into_bytes()).expect("an index");
    let target = index.descriptor();
    let names = [Name { reference: "demo".parse().ok(), target: target.clone() }];
    let image = Graph { indexes: vec![index.clone()], manifests: manifests.clone() };
    let preamble = Preamble::of(&names, &[image]).expect("preamble");
    let mut writer = Writer::new(Vec::new(), &preamble).expect("a stream");
    writer.document(index.raw(), target.digest).expect("an index");
    for manifest in &manifests {
        writer.document(manifest.raw(), manifest.descriptor().digest).expect("a manifest");
    }
    for ((manifest, config), layer) in manifests.iter().zip(&configs).zip(layers) {
        writer.document(config, manifest.config.digest).expect("a config");
        writer.blob(&manifest.layers[0], layer).expect("a layer");
    }
    writer.finish().expect("an end")
}

#[test]
fn the_second_platform_needs_no_spool_either() {
    let bytes = two_platforms();
    for (platform, first) in [("linux/amd64", 1), ("linux/arm64", 2)] {
        let mut archive = Archive::from_reader(io::Cursor::new(bytes.clone()), no_spool()).unwrap();
        let choice = Choice { name: None, platform: platform.parse().ok() };
        let image = archive.image(&choice).unwrap();
        let mut content = Vec::new();
        archive.layer(&image, 0).unwrap().read_to_end(&mut content).unwrap();
        assert_eq!((content[0], content.len()), (first, LARGE));
        archive.finish().unwrap();
    }
}

/// A docker-archive of these members: files, and links that begin with `->`.
fn docker_archive(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_ustar();
        if let Some(target) = content.strip_prefix("->") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, path, target).expect("a fixture is well formed");
        } else {
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, path, content.as_bytes())
                .expect("a fixture is well formed");
        }
    }
    archive.into_inner().expect("a fixture is well formed")
}

#[test]
fn linked_layers_are_found_whatever_the_order() {
    let diff_ids = [b"one", b"two", b"one"].map(|layer| Digest::of(layer).to_string());
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
    let config = config.to_string();
    let manifest = r#"[{"Config":"c.json","Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]"#;
    let members = [
        ("manifest.json", manifest),
        ("c.json", &config),
        ("a/layer.tar", "one"),
        ("b/layer.tar", "->../elsewhere"),
        ("c/layer.tar", "->../a/layer.tar"),
        ("elsewhere", "two"),
    ];
    for turn in 0..members.len() {
        let mut turned = members;
        turned.rotate_left(turn);
        for backwards in [false, true] {
            if backwards {
                turned.reverse();
            }
            let bytes = docker_archive(&turned);
            let archive = Archive::from_reader(io::Cursor::new(bytes.clone()), no_spool()).unwrap();
            assert_eq!(read(archive).unwrap(), [b"one", b"two", b"one"], "{turned:?}");
            assert_eq!(read_file(&bytes).unwrap(), [b"one", b"two", b"one"], "{turned:?}");
        }
    }
}

/// The members of a stream: header, content and padding of each.
fn blocks(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    let mut at = 0;
    while stream[at] != 0 {
        let size = std::str::from_utf8(&stream[at + 124..at + 135]).expect("a number");
        let size = usize::from_str_radix(size, 8).expect("a number").next_multiple_of(512);
        members.push(stream[at..at + 512 + size].to_vec());
        at += 512 + size;
    }
    members
}

fn joined(members: &[Vec<u8>]) -> Vec<u8> {
    [&members.concat()[..], &[0; 1024]].concat()
}

#[test]
fn a_stream_without_members_for_directories_is_still_read() {
    let mut members = blocks(&stream(&LAYERS));
    assert!(members[3].starts_with(b"blobs/\0") && members[4].starts_with(b"blobs/sha256/\0"));
    members.drain(3..5);
    assert_eq!(read_stream(&joined(&members)).unwrap(), LAYERS);
    assert_eq!(read_file(&joined(&members)).unwrap(), LAYERS);
}

#[test]
fn directories_anywhere_but_before_the_first_blob_are_damage() {
    let sound = blocks(&stream(&LAYERS));
    let (outer, inner) = (sound[3].clone(), sound[4].clone());
    let with = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut members = sound.clone();
        change(&mut members);
        joined(&members)
    };
    let damaged = [
        ("one of two", with(&|members| drop(members.remove(3)))),
        ("the other of two", with(&|members| drop(members.remove(4)))),
        ("the inner one first", with(&|members| members.swap(3, 4))),
        ("twice", with(&|members| members.insert(5, inner.clone()))),
        ("again later", with(&|members| members.insert(6, inner.clone()))),
        ("before the preamble", with(&|members| members.insert(1, outer.clone()))),
        ("before a head", with(&|members| members.swap(2, 3))),
        ("after the first blob", with(&|members| members[3..6].rotate_left(2))),
        ("at the end", with(&|members| members.push(outer.clone()))),
    ];
    for (what, bytes) in damaged {
        assert!(read_stream(&bytes).is_err(), "{what}");
        assert!(read_file(&bytes).is_err(), "{what} in place");
    }
    read_stream(&joined(&sound)).unwrap();
}

#[test]
fn large_layers_that_come_before_the_manifest_are_each_kept_whole() {
    let texts = ["1", "2", "3"].map(|text| text.repeat(LARGE));
    let diff_ids = texts.each_ref().map(|text| Digest::of(text.as_bytes()).to_string());
    let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": diff_ids}});
    let config = config.to_string();
    let manifest = r#"[{"Config":"c.json","Layers":["a","b","c"]}]"#;
    let members = [
        ("a", &texts[0][..]),
        ("small", "small"),
        ("b", &texts[1]),
        ("c", &texts[2]),
        ("c.json", &config),
        ("manifest.json", manifest),
    ];
    let bytes = docker_archive(&members);
    let spool: Spool = Box::new(tempfile::tempfile);
    let archive = Archive::from_reader(io::Cursor::new(bytes.clone()), spool).unwrap();
    let expected = texts.map(String::into_bytes);
    assert!(read(archive).unwrap() == expected);
    assert!(read_file(&bytes).unwrap() == expected);
}

/// Blobs that are kept in memory.
#[derive(Default)]
struct Kept(HashMap<Digest, Vec<u8>>);

impl Blobs for Kept {
    fn has(&mut self, blob: &Descriptor) -> Result<bool, Error> {
        Ok(self.0.contains_key(&blob.digest))
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(&descriptor.digest).cloned())
    }
}

/// A layout of one image a platform, all of them under one name.
fn one_name_for(platforms: &[&str]) -> Vec<u8> {
    let members = members_for(platforms);
    docker_archive(&members.iter().map(|(path, bytes)| (&path[..], &bytes[..])).collect::<Vec<_>>())
}

fn members_for(platforms: &[&str]) -> Vec<(String, String)> {
    let mut blobs = vec![];
    let mut put = |media_type: &str, bytes: Vec<u8>| {
        let descriptor = Descriptor::of(media_type, &bytes);
        let text = String::from_utf8(bytes).expect("a fixture is text");
        blobs.push((descriptor.digest.blob_path(), text));
        descriptor
    };
    let mut entries = vec![];
    for platform in platforms {
        let layer = put(media_type::OCI_LAYER, platform.as_bytes().to_vec());
        let (os, architecture) = platform.split_once('/').expect("a platform has two parts");
        let config = serde_json::json!({"os": os, "architecture": architecture, "rootfs": {"type": "layers", "diff_ids": [layer.digest]}});
        let config = put(media_type::OCI_CONFIG, config.to_string().into_bytes());
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer]});
        let mut entry = put(media_type::OCI_MANIFEST, manifest.to_string().into_bytes());
        entry.platform = platform.parse().ok();
        let name = "docker.io/library/demo:1".to_owned();
        entry.annotations.insert("io.containerd.image.name".to_owned(), name);
        entries.push(entry);
    }
    let index = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let layout = r#"{"imageLayoutVersion":"1.0.0"}"#.to_owned();
    let preamble = [("oci-layout".to_owned(), layout), ("index.json".to_owned(), index)];
    preamble.into_iter().chain(blobs).collect()
}

/// The path of the config for a platform, as `manifest.json` has it.
fn config_of(members: &[(String, String)], platform: &str) -> String {
    let (_, architecture) = platform.split_once('/').expect("a platform has two parts");
    let is_config = |text: &str| {
        text.contains("diff_ids") && text.contains(&format!(r#""architecture":"{architecture}""#))
    };
    let config = members.iter().find(|(_, text)| is_config(text));
    config.expect("each platform has one").0.clone()
}

/// The platforms in index.json, the tags of a further image, whether that is one of those, and whether it is another image: as a
/// file, and down a pipe where only the end of the archive tells.
type Case<'a> = (&'a [&'a str], &'a [&'a str], bool, [bool; 2]);

/// Where the same archive lists its images twice, the lists may differ: what `manifest.json` lists beside the image counts as
/// another one, unless it is the same name's image for another platform, or about an image, such as a signature.
#[test]
fn an_image_that_only_the_second_list_has_is_another_one() {
    const OWN: &str = "demo:1";
    let host = layer_format::Platform::host().to_string();
    let host = &host.split('/').take(2).collect::<Vec<_>>().join("/")[..];
    let signature = format!("demo:sha256-{}.sig", "0".repeat(64));
    let unknown = Digest::of(b"unknown").blob_path();
    let both = [host, "linux/mips64le"];
    let cases: [Case<'_>; 11] = [
        (&both, &[OWN], false, [false, false]),
        (&both, &["docker.io/library/demo:1"], false, [false, false]),
        (&both, &["other:1"], false, [true, true]),
        (&both, &[OWN, "other:1"], false, [true, true]),
        (&both, &[], false, [true, false]),
        (&both, &[], true, [false, false]),
        (&both, &["other:1"], true, [false, true]),
        (&both, &[&signature], false, [false, false]),
        (&both[..1], &[OWN], false, [true, true]),
        (&both[..1], &[], false, [true, true]),
        (&both[..1], &[&signature], false, [false, false]),
    ];
    for (platforms, tags, is_known, expected) in cases {
        let members = members_for(platforms);
        let further =
            if is_known { config_of(&members, "linux/mips64le") } else { unknown.clone() };
        let listed = |config: &str, tags: &[&str]| serde_json::json!({ "Config": config, "RepoTags": tags, "Layers": [] });
        let list =
            serde_json::json!([listed(&config_of(&members, host), &[OWN]), listed(&further, tags)]);
        let list = ("manifest.json".to_owned(), list.to_string());
        let last = [&members[..], &[list]].concat();
        let last = last.iter().map(|(path, bytes)| (&path[..], &bytes[..])).collect::<Vec<_>>();
        let bytes = docker_archive(&last);
        let check = |found: Result<Vec<Vec<u8>>, Error>, expected: bool| match found {
            Ok(layers) => {
                assert!(!expected, "{platforms:?} {tags:?} {is_known}");
                assert_eq!(layers, [host.as_bytes()]);
            }
            Err(Error::Ambiguous { .. }) => assert!(expected, "{platforms:?} {tags:?} {is_known}"),
            Err(error) => panic!("{error}"),
        };
        check(read_file(&bytes), expected[0]);
        let archive = Archive::from_reader(io::Cursor::new(bytes), Box::new(tempfile::tempfile));
        check(read(archive.unwrap()), expected[1]);
    }
}

#[test]
fn of_several_platforms_under_one_name_this_machines_has_it_and_else_the_first() {
    let host = layer_format::Platform::host().to_string();
    let host = &host.split('/').take(2).collect::<Vec<_>>().join("/")[..];
    for (platforms, expected) in [
        (&["linux/s390x", host][..], host),
        (&[host, "linux/s390x"], host),
        (&["linux/mips64le", "linux/s390x"], "linux/mips64le"),
        (&["linux/mips64le", "linux/s390x", host, "linux/ppc64le"], host),
    ] {
        let spool: Spool = Box::new(tempfile::tempfile);
        let bytes = io::Cursor::new(one_name_for(platforms));
        let mut all = Archive::from_reader(bytes, spool).unwrap().all();
        let mut blobs = Kept::default();
        while let Some(incoming) = all.next_blob().unwrap() {
            let mut bytes = vec![];
            all.content().read_to_end(&mut bytes).unwrap();
            let digest = Digest::of(&bytes);
            blobs.0.insert(digest, bytes);
            all.received(incoming, digest, layer_format::Codec::None).unwrap();
        }
        let contents = all.finish(None, &mut blobs).unwrap();
        let named = contents.images.iter().filter(|image| image.name.is_some());
        let named: Vec<_> = named.flat_map(|image| image.platforms.clone()).collect();
        assert_eq!(named, [expected.parse().unwrap()], "{platforms:?}");
        assert_eq!(contents.images.len(), platforms.len());
    }
}
