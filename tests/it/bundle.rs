//! `unpack --bundle`: files and settings appear together or not at all, and a snapshot knows what they were.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use kit::tree;
use kit::{Image, Layer, Output, Sandbox, pipeline};
use serde_json::Value;

use crate::fixtures::{assert_one_line, demo, lacks_root, names, shown, stream_of};

/// An image whose users' file is behind a link.
fn image(user: &str) -> Image {
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 ./
        drwxr-xr-x 0:0 etc/
        lrwxrwxrwx 0:0 etc/passwd -> /../usr/users
        -rw-r--r-- 0:0 etc/group "users:x:100:\nsound:x:29:me\n"
        drwxr-xr-x 0:0 usr/
        -rw-r--r-- 0:0 usr/users "me:x:1000:100::/home/me:/bin/sh\n"
        "#,
    );
    Image::new().layer(layer).user(user).entrypoint(&["/bin/app"]).cmd(&["--all"]).env(&["A=b"])
}

fn unpack(sandbox: &Sandbox, image: &Image) -> Output {
    sandbox.command("unpack").args(["--bundle", "b"]).input(stream_of(image)).run()
}

fn config(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&sandbox.read("b/config.json")).unwrap()
}

#[test]
fn a_bundle_has_the_files_and_the_settings() {
    let sandbox = Sandbox::new();
    unpack(&sandbox, &demo()).success();
    assert_eq!(names(sandbox.path("b")), ["config.json", "rootfs"]);
    let bytes = sandbox.read("b/config.json");
    sandbox.command("unpack").arg("root").input(stream_of(&demo())).run().success();
    tree::assert_same(&shown(sandbox.path("b/rootfs")), &shown(sandbox.path("root")));
    // An empty directory is filled in place, with the same bytes.
    fs::remove_dir_all(sandbox.path("b")).unwrap();
    fs::create_dir(sandbox.path("b")).unwrap();
    unpack(&sandbox, &demo()).success();
    assert_eq!(sandbox.read("b/config.json"), bytes);
    assert_eq!(names(sandbox.path("b")), ["config.json", "rootfs"]);
}

#[test]
fn nobody_else_may_enter_a_bundle() {
    // umoci#181
    let mode = |sandbox: &Sandbox, name: &str| {
        fs::metadata(sandbox.path(name)).unwrap().permissions().mode() & 0o7777
    };
    for exists in [false, true] {
        let sandbox = Sandbox::new();
        if exists {
            fs::create_dir(sandbox.path("b")).unwrap();
            fs::set_permissions(sandbox.path("b"), fs::Permissions::from_mode(0o755)).unwrap();
            // What comes to nothing leaves the mode as it was.
            unpack(&sandbox, &image("you")).fails_with(4);
            assert_eq!(mode(&sandbox, "b"), 0o755);
        }
        unpack(&sandbox, &demo()).success();
        assert_eq!((mode(&sandbox, "b"), mode(&sandbox, "b/rootfs")), (0o700, 0o755));
    }
}

#[test]
fn as_root_the_user_is_looked_up_in_the_image() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    unpack(&sandbox, &image("me")).success();
    let process = &config(&sandbox)["process"];
    let expected = serde_json::json!({"uid": 1000, "gid": 100, "additionalGids": [29]});
    assert_eq!(process["user"], expected);
    assert_eq!(process["args"], serde_json::json!(["/bin/app", "--all"]));
    assert!(process["env"].as_array().unwrap().contains(&"HOME=/home/me".into()));
}

#[test]
fn a_user_who_is_not_there_leaves_no_bundle() {
    let sandbox = Sandbox::new();
    for user in ["you", "me:nobody", "4294967295"] {
        assert_one_line(unpack(&sandbox, &image(user)).fails_with(4), "unpack");
        assert!(!sandbox.path("b").exists(), "{user}");
    }
}

#[test]
fn the_files_of_users_are_those_beneath_the_root() {
    let sandbox = Sandbox::new();
    for entry in ["prw-r--r-- 0:0 etc/passwd", "lrwxrwxrwx 0:0 etc/passwd -> passwd"] {
        let layer = Layer::text(&format!("drwxr-xr-x 0:0 etc/\n{entry}"));
        // This system's users are nobody there, and nothing waits for a fifo's writer.
        let image = Image::new().layer(layer).user("daemon");
        assert_one_line(unpack(&sandbox, &image).fails_with(4), "unpack");
    }
}

#[test]
fn as_root_a_plain_user_is_root_in_the_bundle() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let program = sandbox.command("unpack").args(["--bundle", "b"]).user(65534);
    let output = program.input(stream_of(&image("me"))).run();
    assert!(output.success().stderr.contains("the image's user me is root"), "{}", output.text());
    let config = config(&sandbox);
    assert_eq!(config["process"]["user"]["uid"], 0);
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], 65534);
}

#[test]
fn a_snapshot_of_a_bundle_knows_its_baseline() {
    let sandbox = Sandbox::new();
    let stream = stream_of(&demo());
    sandbox.command("load").input(stream.clone()).run().success();
    sandbox.command("unpack").args(["--bundle", "b"]).input(stream).run().success();
    let script = "echo new > b/rootfs/new && snapshot --list b/rootfs";
    let listed = pipeline::sh(&sandbox, script).success().out();
    assert!(listed.lines().any(|line| line == "A new"), "{listed}");
    assert!(!listed.contains("passwd"), "{listed}");
}
