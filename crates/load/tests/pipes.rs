//! Offline transfer, end to end: `save` and `load` through real pipes, between two stores.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use kit::archive::layout;
use kit::check;
use kit::image::random::random;
use kit::pipeline::sh;
use kit::{Image, Index, Layer, Named, Producer, Sandbox, Shape};

const NAME: &str = "docker.io/library/app:1";

fn base() -> Image {
    Image::new().layer(Layer::new().dir("etc", 0o755).file("etc/motd", "base\n").tar())
}

fn app() -> Image {
    base().layer(Layer::new().file("app", "version 1\n").tar()).cmd(&["/app"])
}

/// A sandbox whose usual store holds these images.
fn sandbox(images: &[Named]) -> Sandbox {
    let sandbox = Sandbox::new();
    let input = Producer::Strata.write(images);
    sandbox.command("load").input(input).run().success();
    sandbox
}

/// The names, digests and platforms of a store.
fn report(sandbox: &Sandbox, store: &str) -> (Vec<String>, Vec<String>) {
    let report = check::layout(sandbox.path(store)).unwrap();
    assert!(report.orphans.is_empty(), "{:?}", report.orphans);
    (report.names, report.digests)
}

fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.display().to_string());
            }
        }
    }
    found
}

#[test]
fn what_is_saved_is_loaded_and_saved_the_same() {
    let sandbox = sandbox(&[Named::new(NAME, &app())]);
    sh(
        &sandbox,
        "save app:1 > a.tar; save app:1 | load --store other && save --store other app:1 -o b.tar",
    )
    .success();
    let saved = sandbox.read("a.tar");
    assert_eq!(check::canonical(&saved).unwrap().digests, [app().digest()]);
    assert!(saved == sandbox.read("b.tar"));
    assert!(sh(&sandbox, "save app:1").success().stdout == saved);
    assert_eq!(report(&sandbox, "other"), (vec![NAME.to_owned()], vec![app().digest()]));
}
