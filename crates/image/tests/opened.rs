//! An image whose layers are read twice, wherever it is.

#![cfg(test)]

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::path::Path;

use image::{Choice, Input, Location, Opened};
use kit::archive::layout;
use kit::{Codec, Image, Named, Producer, digest};
use layer_format::{Descriptor, media_type};
use store::Store;

const NAME: &str = "docker.io/library/a:1";
const LAYERS: [&str; 4] = ["base", "second", "base", "top"];

/// An image of these layers, as they are stored: nobody here looks into them.
fn image(layers: &[&str]) -> Image {
    layers.iter().fold(Image::new().codec(Codec::None), |image, layer| {
        image.layer_blob(&digest(layer.as_bytes()), layer.as_bytes().to_vec())
    })
}

/// The image as a stream of ours.
fn stream(image: &Image) -> Vec<u8> {
    Producer::Strata.write(&[Named::new(NAME, image)])
}

fn read(opened: &mut Opened, position: usize) -> String {
    let mut text = String::new();
    opened.stored(position).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// Reads some of the layers, then all of them.
#[track_caller]
fn check(open: impl Fn() -> Opened) {
    for first in 0..1_usize << LAYERS.len() {
        let mut opened = open();
        for position in (0..LAYERS.len()).filter(|position| first >> position & 1 == 1) {
            assert_eq!(read(&mut opened, position), LAYERS[position]);
        }
        opened.rewind().unwrap();
        for (position, layer) in LAYERS.iter().enumerate() {
            assert_eq!(read(&mut opened, position), *layer, "layer {position}, first {first:b}");
        }
        opened.finish().unwrap();
    }
}

fn at(path: &Path) -> Opened {
    Opened::open(&Location::Path(path.to_owned()), None, Choice::default(), None).unwrap()
}

#[test]
fn layers_come_twice_from_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let image = image(&LAYERS);
    layout(dir.path().join("store"), &[Named::new(NAME, &image)]);
    let store = Store::open(dir.path().join("store")).unwrap();
    let stream = stream(&image);
    let path = dir.path().join("archive");
    fs::write(&path, &stream).unwrap();
    let choice = Choice::default;
    let name = || Location::Stored("a:1".to_owned());
    check(|| Opened::open(&name(), None, choice(), Some(&store)).unwrap());
    check(|| at(&path));
    check(|| {
        let input = Input::new(Cursor::new(stream.clone()), None);
        Opened::open(&Location::Input, Some(input), choice(), Some(&store)).unwrap()
    });
    check(|| {
        let file = File::open(&path).unwrap();
        let input = file.try_clone().unwrap();
        let input = Input::new(input, Some(file));
        Opened::open(&Location::Input, Some(input), choice(), None).unwrap()
    });
    assert!(Opened::open(&name(), None, choice(), None).is_err());
    assert!(Opened::open(&Location::Dir(path), None, choice(), None).is_err());
}

#[test]
fn a_file_that_is_another_the_second_time_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("archive");
    fs::write(&path, stream(&image(&LAYERS))).unwrap();
    let mut opened = at(&path);
    read(&mut opened, 0);
    fs::remove_file(&path).unwrap();
    fs::write(&path, stream(&image(&["base", "another", "base", "top"]))).unwrap();
    let error = opened.rewind().unwrap_err().to_string();
    assert!(error.contains("changed while it was read"), "{error}");
}

#[test]
fn a_pipe_that_is_cut_is_noticed_before_the_second_round() {
    let stream = stream(&image(&LAYERS));
    for cut in [stream.len() - 1024, stream.len() - 2000] {
        let input = Cursor::new(stream[..cut].to_vec());
        let input = Some(Input::new(input, None));
        let mut opened = Opened::open(&Location::Input, input, Choice::default(), None).unwrap();
        read(&mut opened, 0);
        assert!(opened.rewind().is_err(), "{cut}");
    }
}

#[test]
fn what_refers_to_an_image_is_not_the_image_of_a_layout() {
    let dir = tempfile::tempdir().unwrap();
    let app = image(&["app"]);
    let about = format!("r.test/a:{}", app.digest().replace(':', "-"));
    let signature = Named::new(&format!("{about}.sig"), image(&["signature"]));
    let images = vec![Named::new("r.test/a:1", app), signature];
    let open = |images: &[Named]| {
        layout(dir.path(), images);
        let store = Store::open(dir.path()).unwrap();
        let sbom = Descriptor::of(media_type::OCI_MANIFEST, b"an sbom");
        let list = serde_json::json!({ "schemaVersion": 2, "manifests": [sbom] }).to_string();
        let lease = store.lease().unwrap();
        lease.put(list.as_bytes()).unwrap();
        let list = Descriptor::of(media_type::OCI_INDEX, list.as_bytes());
        lease.name(&[store::IndexEntry::new(Some(&about.parse().unwrap()), list)]).unwrap();
        let layout = Location::Layout(dir.path().to_owned());
        Opened::open(&layout, None, Choice::default(), None).map(drop)
    };
    open(&images).unwrap();
    let other = Named::new("r.test/b:1", image(&["other"]));
    let error = open(&[images, vec![other]].concat()).unwrap_err().to_string();
    assert!(!error.contains("sha256-"), "{error}");
}

#[test]
fn what_can_be_read_once_is_opened_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let stream = stream(&image(&LAYERS));
    for _ in 0..200 {
        std::thread::scope(|scope| {
            // Whoever writes into it before somebody opens it for the second time writes to nobody.
            let writer = scope.spawn(|| fs::write(&path, &stream));
            let mut opened = at(&path);
            assert_eq!(read(&mut opened, 0), LAYERS[0]);
            opened.rewind().unwrap();
            writer.join().unwrap().unwrap();
        });
    }
}
