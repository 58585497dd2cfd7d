//! An image whose layers are read twice, wherever it is.

use std::fs::{self, File};
use std::io::{Cursor, Read as _};
use std::path::Path;

use image::{Choice, Input, Location, Opened};
use layer_format::stream::{Heads, Image, Name, Writer};
use layer_format::{Descriptor, Manifest, media_type};

use crate::kit::{Fixture, image, store};

const LAYERS: [&str; 4] = ["base", "second", "base", "top"];

/// The image as a stream of ours.
fn stream(fixture: &Fixture) -> Vec<u8> {
    let manifest = Manifest::parse(fixture.manifest.clone()).unwrap();
    let name = Name { reference: "a:1".parse().ok(), target: manifest.descriptor() };
    let images = [Image { indexes: vec![], manifests: vec![manifest.clone()] }];
    let mut writer = Writer::new(vec![], &Heads::of(&[name], &images).unwrap()).unwrap();
    writer.document(&manifest.raw, manifest.descriptor().digest).unwrap();
    for (part, content) in
        manifest.parts().zip([&fixture.config].into_iter().chain(&fixture.layers))
    {
        writer.document(content, part.digest).unwrap();
    }
    writer.finish().unwrap()
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
    let (dir, store) = store();
    let fixture = image(&LAYERS);
    fixture.store(&store, "a:1");
    let stream = stream(&fixture);
    let path = dir.path().join("archive");
    fs::write(&path, &stream).unwrap();
    let choice = Choice::default;
    let name = || Location::Stored("a:1".to_owned());
    check(|| Opened::open(&name(), None, choice(), Some(&store)).unwrap());
    check(|| at(&path));
    check(|| {
        let input = Input::new((Cursor::new(stream.clone()), None));
        Opened::open(&Location::Input, Some(input), choice(), Some(&store)).unwrap()
    });
    check(|| {
        let file = File::open(&path).unwrap();
        let input = file.try_clone().unwrap();
        let input = Input::new((input, Some(file)));
        Opened::open(&Location::Input, Some(input), choice(), None).unwrap()
    });
    assert!(Opened::open(&name(), None, choice(), None).is_err());
    assert!(Opened::open(&Location::Dir(path), None, choice(), None).is_err());
}

#[test]
fn a_file_that_is_another_the_second_time_is_refused() {
    let (dir, _store) = store();
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
        let input = Some(Input::new((input, None)));
        let mut opened = Opened::open(&Location::Input, input, Choice::default(), None).unwrap();
        read(&mut opened, 0);
        assert!(opened.rewind().is_err(), "{cut}");
    }
}

#[test]
fn what_refers_to_an_image_is_not_the_image_of_a_layout() {
    let (_dir, store) = store();
    let app = image(&["app"]).store(&store, "r.test/a:1");
    let about = format!("r.test/a:{}", app.digest.to_string().replace(':', "-"));
    let open = || {
        let layout = Location::Layout(store.path().to_owned());
        Opened::open(&layout, None, Choice::default(), None).map(drop)
    };
    image(&["signature"]).store(&store, &format!("{about}.sig"));
    let sbom = image(&["sbom"]).descriptor();
    let list = serde_json::json!({ "schemaVersion": 2, "manifests": [sbom] }).to_string();
    let lease = store.lease().unwrap();
    lease.put(list.as_bytes()).unwrap();
    let list = Descriptor::of(media_type::OCI_INDEX, list.as_bytes());
    lease.name(&[store::Image::new(Some(&about.parse().unwrap()), list)]).unwrap();
    drop(lease);
    open().unwrap();
    image(&["other"]).store(&store, "r.test/b:1");
    let error = open().unwrap_err().to_string();
    assert!(!error.contains("sha256-"), "{error}");
}

#[test]
fn what_can_be_read_once_is_opened_once() {
    let (dir, _store) = store();
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
