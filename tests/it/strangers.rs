//! Every archive that another tool writes becomes the same tree, however it comes in.

use std::fs;

use kit::archive::Directories;
use kit::{Codec, Image, Index, Named, Output, Producer, Sandbox, Shape, archive, pipeline, tree};

use crate::fixtures::{
    assert_demo, assert_one_line, bare, demo, docker_demo, names, small, unpack,
};

/// Ways in, as shell commands; the archive is the file `in`.
const WAYS: [&str; 3] = ["cat in | unpack root", "unpack root < in", "unpack --from ./in root"];
const OUTER: [Codec; 3] = [Codec::None, Codec::GZIP, Codec::ZSTD];

/// Everything that may be round about the members.
fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for prefix in ["", "./"] {
        for directories in [Directories::AsProducer, Directories::Always, Directories::Never] {
            for trailing in [vec![], vec![0; 20 * 512], b"garbage".repeat(300)] {
                shapes.push(Shape { prefix, directories, trailing, outer: Codec::None });
            }
        }
    }
    shapes
}

/// Every shape, compression and way, dealt out so that each meets each of the others somewhere.
#[track_caller]
fn check(producer: Producer, image: &Image) {
    let named = [Named::new("docker.io/library/demo:1", image)];
    let sandbox = Sandbox::new();
    for (n, shape) in shapes().into_iter().enumerate() {
        let outer = OUTER[(n + n / 3) % 3];
        sandbox.write("in", producer.write_as(&named, &Shape { outer, ..shape.clone() }));
        let way = WAYS[(n + n / 9) % 3];
        let output = pipeline::sh(&sandbox, way);
        assert_eq!(output.code(), 0, "{producer:?} {shape:?} {outer:?} {way}:\n{}", output.text());
        assert_demo(sandbox.path("root"));
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    // The plain shape in all nine combinations.
    for outer in OUTER {
        sandbox.write("in", producer.write_as(&named, &Shape { outer, ..Shape::PLAIN }));
        for way in WAYS {
            pipeline::sh(&sandbox, way).success();
            assert_demo(sandbox.path("root"));
            fs::remove_dir_all(sandbox.path("root")).unwrap();
        }
    }
    assert_eq!(names(sandbox.root().join("tmp")), [".pipestatus"]);
}

#[test]
fn our_own_archives_unpack() {
    check(Producer::Strata, &demo());
}

#[test]
fn archives_of_docker_25_unpack() {
    check(Producer::Docker25, &docker_demo());
}

#[test]
fn archives_of_docker_with_containerd_unpack() {
    check(Producer::DockerContainerd, &docker_demo());
}

#[test]
fn archives_of_docker_24_unpack() {
    check(Producer::Docker24, &docker_demo());
}

#[test]
fn docker_archives_of_skopeo_and_podman_unpack() {
    check(Producer::SkopeoDocker, &docker_demo());
}

#[test]
fn oci_archives_of_skopeo_and_podman_unpack() {
    check(Producer::SkopeoOci, &demo());
}

#[test]
fn archives_of_crane_unpack() {
    check(Producer::Crane, &demo());
}

#[test]
fn archives_of_regctl_unpack() {
    check(Producer::Regctl, &demo());
}

/// Two images that differ in one file.
fn two() -> [Named; 2] {
    [
        Named::new("docker.io/library/one:1", small("one")),
        Named::new("ghcr.io/a/two:v2", small("two")),
    ]
}

fn motd(output: &Output, sandbox: &Sandbox) -> String {
    output.success();
    let content = sandbox.read("root/etc/motd");
    fs::remove_dir_all(sandbox.path("root")).unwrap();
    String::from_utf8(content).unwrap()
}

#[test]
fn an_archive_of_several_images_lists_them_and_lets_one_be_chosen() {
    for producer in Producer::ALL {
        let sandbox = Sandbox::new();
        sandbox.write("in", producer.write(&two()));
        for way in WAYS {
            let output = pipeline::sh(&sandbox, way);
            output.fails_with(2);
            assert_one_line(&output, "unpack");
            // skopeo's layouts hold tags and no names.
            let listed = match producer {
                Producer::SkopeoOci => ["1", "v2"],
                _ => ["one:1", "two:v2"],
            };
            for name in listed {
                assert!(output.stderr.contains(name), "{producer:?}: {}", output.stderr);
            }
            assert!(output.stderr.contains("hint: choose one with --image NAME"));
            assert_eq!(names(sandbox.path("")), ["in"], "{producer:?}");
        }
        let choices: &[(&str, &str)] = match producer {
            Producer::SkopeoOci => &[("v2", "two"), ("1", "one")],
            _ => {
                &[("one:1", "one"), ("docker.io/library/one:1", "one"), ("ghcr.io/a/two:v2", "two")]
            }
        };
        for (name, expected) in choices {
            for way in WAYS {
                let script = way.replace("unpack", &format!("unpack --image {name}"));
                let output = pipeline::sh(&sandbox, &script);
                assert_eq!(motd(&output, &sandbox), *expected, "{producer:?} {script}");
            }
        }
        let output = pipeline::sh(&sandbox, "unpack --image nosuch:1 root < in");
        assert_one_line(output.fails_with(3), "unpack");
    }
}

#[test]
fn an_image_of_an_archive_is_chosen_by_its_digest() {
    let sandbox = Sandbox::new();
    let digest = small("two").digest();
    for producer in [Producer::Strata, Producer::SkopeoOci, Producer::Regctl] {
        sandbox.write("in", producer.write(&two()));
        let output = pipeline::sh(&sandbox, &format!("unpack --image {digest} root < in"));
        assert_eq!(motd(&output, &sandbox), "two", "{producer:?}");
    }
    // A docker-archive knows an image by its config.
    let id = small("two").config_blob().digest;
    for producer in [Producer::Docker24, Producer::SkopeoDocker, Producer::Crane] {
        sandbox.write("in", producer.write(&two()));
        let output = pipeline::sh(&sandbox, &format!("unpack --image {id} root < in"));
        assert_eq!(motd(&output, &sandbox), "two", "{producer:?}");
    }
}

#[test]
fn two_images_of_one_tag_are_two_images() {
    let sandbox = Sandbox::new();
    let images = [
        Named::new("docker.io/library/one:latest", small("one")),
        Named::new("docker.io/library/two:latest", small("two")),
    ];
    sandbox.write("in", Producer::SkopeoOci.write(&images));
    for words in ["", "--image latest"] {
        let output = pipeline::sh(&sandbox, &format!("unpack {words} root < in"));
        assert_one_line(output.fails_with(2), "unpack");
        for name in ["one", "two"] {
            assert!(output.stderr.contains(&small(name).digest()), "{}", output.stderr);
        }
    }
    let digest = small("two").digest();
    let output = pipeline::sh(&sandbox, &format!("unpack --image {digest} root < in"));
    assert_eq!(motd(&output, &sandbox), "two");
}

#[test]
fn two_names_of_one_image_are_one_image() {
    for producer in Producer::ALL {
        let sandbox = Sandbox::new();
        let images = [
            Named::new("docker.io/library/one:1", small("one")),
            Named::new("docker.io/library/one:latest", small("one")),
        ];
        let output = unpack(&sandbox, producer.write(&images));
        assert_eq!(motd(&output, &sandbox), "one", "{producer:?}");
    }
}

#[test]
fn a_layout_directory_is_unpacked_from() {
    let sandbox = Sandbox::new();
    archive::layout(sandbox.path("layout"), &[Named::new("docker.io/library/demo:1", demo())]);
    for from in ["./layout", "layout:layout"] {
        pipeline::sh(&sandbox, &format!("unpack --from {from} root")).success();
        assert_demo(sandbox.path("root"));
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    let absolute = sandbox.path("layout");
    sandbox.command("unpack").arg("--from").arg(absolute).arg("root").run().success();
    assert_demo(sandbox.path("root"));
}

#[test]
fn a_layout_directory_of_several_images_lets_one_be_chosen() {
    let sandbox = Sandbox::new();
    archive::layout(sandbox.path("layout"), &two());
    let output = pipeline::sh(&sandbox, "unpack --from ./layout root");
    assert_one_line(output.fails_with(2), "unpack");
    assert!(output.stderr.contains("one:1") && output.stderr.contains("two:v2"));
    assert!(output.stderr.contains("hint: choose one with --image NAME"), "{}", output.stderr);
    for name in ["ghcr.io/a/two:v2", &small("two").digest()] {
        let output = pipeline::sh(&sandbox, &format!("unpack --from ./layout --image {name} root"));
        assert_eq!(motd(&output, &sandbox), "two");
    }
}

#[test]
fn a_directory_that_is_no_layout_is_refused() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("dir")).unwrap();
    let output = pipeline::sh(&sandbox, "unpack --from ./dir root");
    assert_one_line(output.fails_with(2), "unpack");
    let output = pipeline::sh(&sandbox, "unpack --from ./missing root");
    assert_one_line(output.fails_with(3), "unpack");
    assert_eq!(names(sandbox.path("")), ["dir"]);
}

#[test]
fn a_docker_archive_with_empty_lists_unpacks() {
    let image = Image::new().set_config("/history", serde_json::Value::Null);
    for producer in Producer::ALL {
        let sandbox = Sandbox::new();
        let output = unpack(&sandbox, producer.write(&[Named::new("docker.io/a/b:1", &image)]));
        assert_eq!(output.code(), 0, "{producer:?}: {}", output.text());
        assert_eq!(bare(sandbox.path("root")), "drwxr-xr-x ./\n", "{producer:?}");
    }
}

#[test]
fn an_index_in_an_archive_gives_the_image_of_the_platform() {
    let arm = demo().platform("linux/arm64/v8");
    let amd = small("amd64");
    let index = Index::new().image(&amd).image(&arm).attestation(&amd).attestation(&arm);
    for producer in [Producer::Strata, Producer::SkopeoOci, Producer::Regctl] {
        let sandbox = Sandbox::new();
        sandbox.write("in", producer.write(&[Named::new("docker.io/library/demo:1", &index)]));
        for way in WAYS {
            let at =
                |platform: &str| way.replace("unpack", &format!("unpack --platform {platform}"));
            assert_eq!(motd(&pipeline::sh(&sandbox, &at("linux/amd64")), &sandbox), "amd64");
            pipeline::sh(&sandbox, &at("linux/arm64")).success();
            assert_demo(sandbox.path("root"));
            fs::remove_dir_all(sandbox.path("root")).unwrap();
            let output = pipeline::sh(&sandbox, &at("linux/s390x"));
            assert_one_line(output.fails_with(3), "unpack");
        }
    }
}

#[test]
fn platforms_that_stayed_behind_are_no_obstacle() {
    let arm = small("arm64").platform("linux/arm64");
    let index = Index::new().absent(&arm).image(&demo()).attestation(&demo());
    let sandbox = Sandbox::new();
    sandbox.write(
        "in",
        Producer::DockerContainerd.write(&[Named::new("docker.io/library/demo:1", &index)]),
    );
    for way in WAYS {
        let script = way.replace("unpack", "unpack --platform linux/amd64");
        pipeline::sh(&sandbox, &script).success();
        assert_demo(sandbox.path("root"));
        fs::remove_dir_all(sandbox.path("root")).unwrap();
        let script = way.replace("unpack", "unpack --platform linux/arm64");
        assert_one_line(pipeline::sh(&sandbox, &script).fails_with(3), "unpack");
    }
}

#[test]
fn a_pipe_is_read_to_its_end() {
    for producer in Producer::ALL {
        let sandbox = Sandbox::new();
        let shape = Shape { trailing: vec![0; 3 << 20], ..Shape::PLAIN };
        sandbox
            .write("in", producer.write_as(&[Named::new("docker.io/a/b:1", small("x"))], &shape));
        let output = pipeline::sh(&sandbox, "cat in | unpack root");
        assert_eq!(output.success().pipe, [0, 0], "{producer:?}");
        tree::show(sandbox.path("root"));
    }
}
