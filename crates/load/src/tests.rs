//! `run` in this process: what is damaged or hostile changes nothing.

use clap::Parser as _;
use cli::Command as _;
use kit::{Image, Layer, Named, Producer, archive};

use super::*;

const NAME: &str = "docker.io/library/app:1";

fn image() -> Image {
    Image::new()
        .layer(Layer::new().file("one", "1\n").tar())
        .layer(Layer::new().file("two", "2\n").tar())
}

fn load(store: &Path, input: impl Into<Vec<u8>>) -> anyhow::Result<String> {
    load_with(&[], store, input)
}

fn load_with(flags: &[&str], store: &Path, input: impl Into<Vec<u8>>) -> anyhow::Result<String> {
    let line = ["load", "--store", store.to_str().unwrap()];
    let args = Args::parse_from(line.iter().chain(flags));
    let mut io = Io::memory(input);
    run(&args, &mut io)?;
    Ok(String::from_utf8(io.written()).unwrap())
}

fn code(error: &anyhow::Error) -> Code {
    cli::error::code(error, Args::ERRORS)
}

/// The store with everything that can be reached, and `index.json`.
fn state(store: &Path) -> (Vec<u8>, kit::check::Report) {
    let report = kit::check::layout(store).unwrap();
    (
        fs::read(store.join("index.json")).unwrap(),
        kit::check::Report { orphans: vec![], blobs: vec![], ..report },
    )
}

/// A stream of ours, without the layers of `base`.
fn stream_of(image: &Image, base: Option<&Image>) -> Vec<u8> {
    use stream::{Name, Preamble, Writer};
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), Producer::Strata.write(&[Named::new(NAME, image)])).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut lookup = |it: &Descriptor| Ok(store.document(&it.digest).ok());
    let root = store.find(NAME).unwrap().descriptor;
    let image = stream::Graph::gather(&root, &[], &mut lookup).unwrap().unwrap();
    let manifest = &image.manifests[0];
    let name = Name { reference: NAME.parse().ok(), target: manifest.descriptor() };
    let images = std::slice::from_ref(&image);
    let preamble = Preamble::of(&[name], images).unwrap();
    let held: Vec<_> = base.map(Image::layer_blobs).unwrap_or_default();
    let is_held = |digest: &Digest| held.iter().any(|blob| blob.digest == digest.to_string());
    let names = vec!["docker.io/library/base:1".to_owned()];
    let thin = Thin::of(names, images, &is_held, &mut lookup).unwrap();
    let thin = base.map(|_| thin);
    let mut writer = Writer::begin(Vec::new(), &preamble, thin.as_ref(), None).unwrap();
    writer.document(manifest.raw(), manifest.descriptor().digest).unwrap();
    for blob in image.blobs().filter(|blob| !is_held(&blob.digest)) {
        writer.blob(blob, store.blob(&blob.digest).unwrap().unwrap()).unwrap();
    }
    writer.finish().unwrap()
}

/// Refuses `input` as not to be trusted, and leaves a store with another image as it was.
#[track_caller]
fn refuses(what: &str, input: Vec<u8>) {
    refuses_with(&[], what, input);
}

/// Refuses `input` with these flags.
#[track_caller]
fn refuses_with(flags: &[&str], what: &str, input: Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), Producer::Strata.write(&[Named::new(NAME, other())])).unwrap();
    let before = state(dir.path());
    let error = load_with(flags, dir.path(), input).expect_err(what);
    assert_eq!(code(&error), Code::Untrusted, "{what}: {error:#}");
    let text = cli::error::line("load", &error);
    let lines = text.lines().filter(|line| !line.starts_with("hint: "));
    assert!(lines.count() == 1 && !text.contains('\x1b'), "{what}: {text}");
    assert_eq!(state(dir.path()), before, "{what}");
}

/// What the store holds to begin with, and a base of `image`.
fn other() -> Image {
    Image::new().layer(Layer::new().file("one", "1\n").tar())
}

#[test]
fn every_flipped_bit_of_a_stream_of_ours_is_noticed() {
    for base in [None, Some(other())] {
        let stream = stream_of(&image(), base.as_ref());
        for position in (0..stream.len()).step_by(101) {
            let mut damaged = stream.clone();
            damaged[position] ^= 1 << (position % 8);
            refuses(&format!("byte {position}"), damaged);
        }
    }
}

#[test]
fn a_thin_stream_is_loaded_over_its_base() {
    let dir = tempfile::tempdir().unwrap();
    load(dir.path(), Producer::Strata.write(&[Named::new(NAME, other())])).unwrap();
    load(dir.path(), stream_of(&image(), Some(&other()))).unwrap();
    let digests = kit::check::layout(dir.path()).unwrap().manifests;
    assert!(digests.contains(&image().digest()), "{digests:?}");
}

#[test]
fn a_stream_that_is_thinner_than_it_says_is_refused() {
    let (whole, thin) = (stream_of(&image(), None), stream_of(&image(), Some(&other())));
    let member = |stream: &[u8], name: &str| {
        let mut blocks = stream.chunks(512);
        let start = blocks.position(|block| block.starts_with(name.as_bytes())).unwrap() * 512;
        let size = std::str::from_utf8(&stream[start + 124..start + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap().next_multiple_of(512) + 512;
        start..start + size
    };
    let mut silent = thin.clone();
    drop(silent.drain(member(&thin, "strata.json")));
    refuses("thin without strata.json", silent);
    let blob = &image().layer_blobs()[1];
    let mut hole = whole.clone();
    drop(hole.drain(member(&whole, &format!("blobs/sha256/{}", blob.hex()))));
    refuses("a layer is gone", hole);
    let strata = thin[member(&thin, "strata.json")].to_vec();
    let place = member(&whole, "manifest.json").end;
    refuses("thin only in words", [&whole[..place], &strata, &whole[place..]].concat());
}

#[test]
fn a_cut_stream_is_refused() {
    for stream in
        [stream_of(&image(), None), Producer::Docker24.write(&[Named::new(NAME, image())])]
    {
        for length in (0..stream.len() - 1024).step_by(1531) {
            refuses(&format!("{length} bytes"), stream[..length].to_vec());
        }
        refuses("half an end", stream[..stream.len() - 512].to_vec());
    }
}

#[test]
fn blobs_that_are_not_what_they_are_called_are_refused() {
    let right = Layer::new().file("one", "1\n").tar();
    let wrong_diff_id =
        Image::new().layer_blob(&kit::digest(b"other"), kit::Codec::GZIP.encode(&right));
    let blobs = image().layer_blobs();
    let swapped = image().set_manifest("/layers/0", blobs[1].descriptor());
    let swapped = swapped.set_manifest("/layers/1", blobs[0].descriptor());
    let too_few = image().set_config("/rootfs/diff_ids", serde_json::json!([kit::digest(b"")]));
    // Those are right by their digests, and refused by the first program that decompresses them.
    for (what, image) in [("wrong diff id", wrong_diff_id), ("swapped layers", swapped)] {
        for producer in [Producer::Strata, Producer::DockerContainerd] {
            refuses_with(&["--verify"], what, producer.write(&[Named::new(NAME, &image)]));
        }
        let dir = tempfile::tempdir().unwrap();
        load(dir.path(), Producer::Strata.write(&[Named::new(NAME, &image)])).unwrap();
    }
    let cases = [
        ("larger", image().set_manifest("/layers/0/size", 1_u64 << 40)),
        ("smaller", image().set_manifest("/layers/0/size", 7)),
        ("config's size", image().set_manifest("/config/size", 7)),
        ("too few diff ids", too_few),
    ];
    for (what, image) in cases {
        for producer in [Producer::Strata, Producer::DockerContainerd] {
            refuses(what, producer.write(&[Named::new(NAME, &image)]));
        }
    }
    // The bytes of one member under the name of another.
    let mut swapped = image().blobs();
    let (one, other) = (swapped[2].bytes.clone(), swapped[3].bytes.clone());
    (swapped[2].bytes, swapped[3].bytes) = (other, one);
    refuses("swapped blobs", oci_archive_of(&image().descriptor(), &swapped));
}

/// A layout in an archive, whatever the documents say.
fn oci_archive(image: &Image) -> Vec<u8> {
    oci_archive_of(&image.descriptor(), &image.blobs())
}

fn oci_archive_of(root: &serde_json::Value, blobs: &[kit::Blob]) -> Vec<u8> {
    let paths: Vec<_> = blobs.iter().map(|blob| format!("blobs/sha256/{}", blob.hex())).collect();
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [root]}).to_string();
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let mut members: Vec<(&str, &[u8])> =
        vec![("oci-layout", layout), ("index.json", index.as_bytes())];
    members.extend(paths.iter().map(String::as_str).zip(blobs.iter().map(|blob| &blob.bytes[..])));
    archive::archive(&members)
}

#[test]
fn odd_layers_and_digests_are_refused() {
    let damaged = Image::new().layer_blob(&kit::digest(b""), b"\x1f\x8bnonsense".to_vec());
    refuses_with(&["--verify"], "damaged", oci_archive(&damaged));
    let right = image().layer_blobs()[0].digest.clone();
    for digest in [
        "SHA256:ABC".to_owned(),
        right.to_uppercase(),
        right.replace("sha256:", "sha256-"),
        format!(" {right}"),
        format!("{right}0"),
        right[7..].to_owned(),
        format!("sha512:{}", &right[7..]),
        "sha256:../../../etc/passwd".to_owned(),
        format!("sha256:{}", "../".repeat(21) + "x"),
        "\u{1b}[31m".to_owned(),
        kit::digest(b"absent"),
    ] {
        for place in ["/layers/0/digest", "/config/digest"] {
            let image = image().set_manifest(place, digest.as_str());
            refuses(&digest, oci_archive(&image));
        }
        let mut root = image().descriptor();
        root["digest"] = digest.as_str().into();
        refuses(&digest, oci_archive_of(&root, &image().blobs()));
        let image = image().set_config("/rootfs/diff_ids/0", digest.as_str());
        refuses_with(&["--verify"], &digest, oci_archive(&image));
    }
}

#[test]
fn documents_of_a_hundred_megabytes_are_refused() {
    let long = [&b"{\"schemaVersion\":2,\"layers\":["[..], &b"[".repeat(100 << 20)].concat();
    let long = kit::Blob::new("application/vnd.oci.image.manifest.v1+json", long);
    refuses("manifest", oci_archive_of(&long.descriptor(), std::slice::from_ref(&long)));
    let index = archive::archive(&[
        ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
        ("index.json", &long.bytes),
    ]);
    refuses("index.json", index);
    let list = [&b"["[..], &b" ".repeat(100 << 20), b"]"].concat();
    refuses("manifest.json", archive::archive(&[("manifest.json", &list)]));
}

#[test]
fn members_that_lead_elsewhere_lead_nowhere() {
    let whole = oci_archive(&image());
    // What comes first has no end of its own then.
    let with = |path: &str| {
        let evil = archive::archive(&[(path, b"evil")]);
        [&evil[..evil.len() - 1024], &whole].concat()
    };
    for path in ["..", "../planted", "blobs/sha256/../../../planted"] {
        refuses(path, with(path));
    }
    let outside = tempfile::tempdir().unwrap();
    let (store, planted) = (outside.path().join("store"), outside.path().join("planted"));
    load(&store, with(planted.to_str().unwrap())).unwrap();
    assert_eq!(kit::check::layout(&store).unwrap().manifests, [image().digest()]);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn hostile_documents_are_refused() {
    let nested = "[".repeat(200_000);
    let index = |content: &str| {
        archive::archive(&[
            ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            ("index.json", content.as_bytes()),
        ])
    };
    let list = |text: &str| {
        archive::archive(&[("c.json", br#"{"rootfs":{}}"#), ("manifest.json", text.as_bytes())])
    };
    refuses("nothing", vec![]);
    refuses("text", b"hello".repeat(1000));
    refuses("no preamble", archive::archive(&[("a", b"b")]));
    refuses("nested", index(&format!(r#"{{"manifests":{nested}"#)));
    refuses("long", index(&" ".repeat(20 << 20)));
    refuses("empty index", index(r#"{"schemaVersion":2,"manifests":[]}"#));
    refuses("escapes", list(r#"[{"Config":"c.json","RepoTags":["a\u001b[31m"],"Layers":[]}]"#));
    let mut evil = image().descriptor();
    evil["annotations"]["io.containerd.image.name"] = "evil\u{1b}]0;x\u{7}\n:1".into();
    refuses("escapes", oci_archive_of(&evil, &image().blobs()));
    refuses("leads out", list(r#"[{"Config":"../../c.json","RepoTags":["a"],"Layers":[]}]"#));
    refuses("absent", list(r#"[{"Config":"c.json","RepoTags":["a"],"Layers":["x"]}]"#));
}

#[test]
fn what_is_loaded_twice_is_reused() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Producer::Docker25.write(&[Named::new(NAME, image())]);
    let args = Args::parse_from(["load", "--json", "--store", dir.path().to_str().unwrap()]);
    let mut said = Vec::new();
    for _ in 0..2 {
        let mut io = Io::memory(archive.clone());
        run(&args, &mut io).unwrap();
        let line = io.written();
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        said.push((line["newBytes"].as_u64().unwrap(), line["reusedBytes"].as_u64().unwrap()));
    }
    assert!(said[0].0 > 0 && said[0].1 == 0, "{said:?}");
    assert_eq!(said[1], (0, said[0].0));
}
