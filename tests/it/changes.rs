//! `changes`: nothing is different from itself, in whatever form, and what differs is what `snapshot` says.

use kit::image::random::random;
use kit::{Image, Layer, Sandbox, pipeline};

use crate::fixtures::{demo, stream_of};

fn sandbox(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("image", stream_of(image));
    sandbox
}

#[test]
fn an_image_is_what_it_becomes() {
    let random = random(8, 4, 80).layer(Layer::new().dir("./", 0o755));
    for image in [demo(), random] {
        let sandbox = sandbox(&image);
        let script = "unpack --from ./image root && flatten ./image > flat \
            && flatten ./image --as-image flat > one && unpack --from ./one other";
        pipeline::sh(&sandbox, script).success();
        for words in [
            "./image ./root",
            "./root ./image",
            "./image layer:flat",
            "./image ./other",
            "./root - < one",
            "layer:- ./root < flat",
            "--ignore config ./one ./image",
            "--checksum ./one - < image",
            "--checksum ./root layer:flat",
        ] {
            let output = pipeline::sh(&sandbox, &format!("changes {words}"));
            assert_eq!(output.success().out(), "", "{words}");
        }
    }
}

#[test]
fn a_changed_directory_differs_as_snapshot_says() {
    let sandbox = sandbox(&demo());
    let script = "unpack --from ./image root && cd root && rm var/cache/new && echo x > etc/new && chmod 4711 etc/passwd \
        && ln usr/bin/su usr/bin/su3 && touch -d @7 tmp && mv lib lib64";
    pipeline::sh(&sandbox, script).success();
    let snapshot = pipeline::sh(&sandbox, "snapshot --list --base ./image root");
    let mut expected: Vec<String> = snapshot.success().out().lines().map(str::to_owned).collect();
    expected.sort();
    let changes = pipeline::sh(&sandbox, "changes ./image ./root").fails_with(1).out();
    let mut found: Vec<String> = changes
        .lines()
        .map(|line| line.split_once("  ").map_or(line, |(path, _)| path).to_owned())
        .collect();
    found.sort();
    assert_eq!(found, expected, "{changes}");
}

#[test]
fn a_plain_user_sees_no_difference_that_his_rights_make() {
    let sandbox = sandbox(
        &Image::new().layer(
            Layer::new()
                .dir("./", 0o755)
                .file("f", "x")
                .owner(7, 8)
                .mode(0o4755)
                .xattr("trusted.x", "y")
                .device("null", kit::Device::Char, 1, 3)
                .hardlink("zero", "null"),
        ),
    );
    let script =
        "unpack -q --from ./image root && changes ./image ./root && changes ./root ./image";
    pipeline::Script::new(&sandbox, script).user(65534).run().success();
}

#[test]
fn what_no_file_system_can_hold_is_no_difference() {
    let layer = Layer::new().symlink("l", "t").xattr("user.x", "y").fifo("p").xattr("user.x", "y");
    let sandbox = sandbox(&Image::new().layer(layer.file("f", "x")));
    let script = "unpack -q --from ./image root && changes ./image ./root && changes ./root ./image \
        && snapshot -q --list --base ./image root";
    assert_eq!(pipeline::sh(&sandbox, script).success().out(), "");
}
