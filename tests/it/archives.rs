//! Archives of other tools with faults of theirs, and ours in the hands of strict readers.

use std::fs;

use kit::archive::extract_without_parents;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Registry, Sandbox, check};

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
