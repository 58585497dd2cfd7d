//! The image stream: what is written is read, and nothing else is taken for it.

use std::io::{self, Read};

use layer_format::archive::{Archive, Choice, Spool};
use layer_format::stream::{Heads, Image, Name, Writer};
use layer_format::{Descriptor, Digest, Error, Manifest, media_type};

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
    let heads = Heads::of(&names, &[Image { indexes: vec![], manifests: vec![manifest.clone()] }])
        .expect("a fixture is well formed");
    let mut writer = Writer::new(Vec::new(), &heads).expect("a fixture is well formed");
    writer.document(&manifest.raw, target.digest).expect("a fixture is well formed");
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
