//! Two images compared by their documents alone: settings, and which layers are others (dredge#300, container-diff#201).

use kit::pipeline::sh;
use kit::{Codec, Image, Index, Layer, Named, Registry, Sandbox};
use serde_json::{Value, json};

fn old() -> Image {
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("base", "base"));
    image.layer(Layer::new().file("app", "one")).env(&["A=1", "B=2"]).cmd(&["/run"])
}

fn new() -> Image {
    let image = Image::new().codec(Codec::None).layer(Layer::new().file("base", "base"));
    let image = image.layer(Layer::new().file("app", "two")).layer(Layer::new().file("more", ""));
    image.env(&["A=2", "B=2"]).cmd(&["/run"])
}

/// What both ways must say.
fn expected() -> String {
    let [old, new] = [old().diff_ids(), new().diff_ids()];
    format!(
        "config C Env.A  \"1\" -> \"2\"\n\
         config C Layers.2  \"{}\" -> \"{}\"\n\
         config A Layers.3  \"{}\"\n",
        old[1], new[1], new[2]
    )
}

#[test]
fn two_images_of_registries_are_compared_and_no_layer_is_fetched() {
    let (one, other) = (Registry::start(), Registry::start());
    one.add("app:1", old());
    other.add("team/app:2", new());
    let sandbox = Sandbox::new();
    let line = format!("{} {}", one.name("app:1"), other.name("team/app:2"));
    let output = sh(&sandbox, &format!("remote changes {line}"));
    assert_eq!((output.code(), output.out(), &output.stderr[..]), (1, expected(), ""));
    for blob in old().layer_blobs().into_iter().chain(new().layer_blobs()) {
        assert_eq!(one.n_requests("GET", &blob.digest) + other.n_requests("GET", &blob.digest), 0);
    }
    let json = sh(&sandbox, &format!("remote changes --json {line}"));
    let json: Value = serde_json::from_str(&json.out()).unwrap();
    let first = json!({"change": "C", "config": "Env.A", "before": "1", "after": "2"});
    assert_eq!((&json[0], json.as_array().unwrap().len()), (&first, 3));
    let same = format!("remote changes {0} {0}", one.name("app:1"));
    assert_eq!(sh(&sandbox, &same).success().out(), "");
    sh(&sandbox, &format!("remote changes {0}0 {0}", one.name("app:1"))).fails_with(3);
    assert!(!sandbox.store().exists());
}

#[test]
fn of_images_of_several_platforms_those_for_one_are_compared() {
    let registry = Registry::start();
    let index = |image: Image| {
        Index::new().image(&old().platform("linux/amd64")).image(&image.platform("linux/arm64"))
    };
    registry.add("app:1", index(old()));
    registry.add("app:2", index(new()));
    let line = format!("{} {}", registry.name("app:1"), registry.name("app:2"));
    let changes = |platform: &str| {
        sh(&Sandbox::new(), &format!("remote changes --platform {platform} {line}"))
    };
    assert_eq!(changes("linux/amd64").success().out(), "");
    assert_eq!(changes("linux/arm64").out(), expected());
}

#[test]
fn streams_without_layers_and_images_of_the_store_are_compared_by_their_documents() {
    let registry = Registry::start();
    registry.add("app:1", old());
    registry.add("app:2", new());
    let sandbox = Sandbox::new();
    let [one, two] =
        ["app:1", "app:2"].map(|name| format!("pull --no-layers {}", registry.name(name)));
    for script in [
        format!("changes --config <({one}) <({two})"),
        format!("{one} | changes --config - <({two})"),
    ] {
        assert_eq!(sh(&sandbox, &script).out(), expected(), "{script}");
    }
    sandbox.load(&[Named::new("old:1", old())]);
    for blob in old().layer_blobs() {
        std::fs::remove_file(sandbox.store().join("blobs/sha256").join(blob.hex())).unwrap();
    }
    let output = sh(&sandbox, &format!("{two} | changes --config old:1 -"));
    assert_eq!((output.out(), output.pipe.last()), (expected(), Some(&1)));
    assert_eq!(sh(&sandbox, "changes --config old:1 old:1").success().out(), "");
    // A directory has no config.
    sh(&sandbox, "mkdir d; changes --config old:1 ./d").fails_with(2);
    sh(&sandbox, "changes --config --checksum old:1 old:1").fails_with(2);
    for blob in old().layer_blobs().into_iter().chain(new().layer_blobs()) {
        assert_eq!(registry.n_requests("GET", &blob.digest), 0, "{}", registry.log());
    }
}
