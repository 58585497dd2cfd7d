//! What the flags of `unpack` promise, and what those without privileges get.

use std::fs;
use std::os::unix::fs::symlink;

use kit::pipeline::Script;
use kit::{Device, Image, Index, Layer, Sandbox, tree};

use crate::fixtures::{
    assert_one_line, bare, demo, lacks_root, names, small, stream_of, stream_of_index, unpack,
};

/// `cap_net_raw`, permitted.
const CAPABILITY: &[u8] = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn the_summary_says_what_was_done_and_quiet_says_nothing() {
    let sandbox = Sandbox::new();
    let output = unpack(&sandbox, stream_of(&small("x")));
    assert!(output.success().stdout.is_empty());
    assert!(output.stderr.contains("1 layer, 3 entries, 1B"), "{}", output.stderr);
    fs::remove_dir_all(sandbox.path("root")).unwrap();
    let output = sandbox.command("unpack").args(["-q", "root"]).input(stream_of(&small("x"))).run();
    assert_eq!(output.success().stderr, "");
}

#[test]
fn a_platform_that_is_not_there_is_not_found() {
    let sandbox = Sandbox::new();
    let at = |platform: &str| {
        let command = sandbox.command("unpack").args(["--platform", platform, "root"]);
        command.input(stream_of(&small("x"))).run()
    };
    assert_one_line(at("linux/arm64").fails_with(3), "unpack");
    assert_one_line(at("plan9").fails_with(2), "unpack");
    assert!(names(sandbox.path("")).is_empty());
    at("linux/amd64").success();
}

#[test]
fn the_platform_of_an_index_is_chosen() {
    let image = |platform: &str| small(platform).platform(platform);
    let index = Index::new()
        .image(&image("linux/amd64"))
        .image(&image("linux/arm/v6"))
        .image(&image("linux/arm/v7"))
        .attestation(&image("linux/amd64"));
    let sandbox = Sandbox::new();
    for (wanted, expected) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/arm/v7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
    ] {
        let command = sandbox.command("unpack").args(["--platform", wanted, "root"]);
        command.input(stream_of_index(&index)).run().success();
        assert_eq!(sandbox.read("root/etc/motd"), expected.as_bytes());
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    let command = sandbox.command("unpack").args(["--platform", "unknown/unknown", "root"]);
    assert_one_line(command.input(stream_of_index(&index)).run().fails_with(3), "unpack");
}

#[test]
fn as_root_owners_are_kept_or_ignored() {
    if lacks_root() {
        return;
    }
    let image = Image::new().layer(Layer::new().file("f", "x").owner(1000, 2000).mode(0o6755));
    let sandbox = Sandbox::new();
    for (owner, expected) in
        [("keep", "-rwsr-sr-x 1000:2000 f 1 \"x\""), ("ignore", "-rwxr-xr-x 0:0 f 1 \"x\"")]
    {
        let command = sandbox.command("unpack").args(["--owner", owner, "root"]);
        command.input(stream_of(&image)).run().success();
        assert!(tree::show(sandbox.path("root")).contains(expected), "{owner}");
        fs::remove_dir_all(sandbox.path("root")).unwrap();
    }
    let command = sandbox.command("unpack").args(["--owner", "mine", "root"]);
    assert_one_line(command.run().fails_with(2), "unpack");
}

#[test]
fn as_root_devices_and_privileged_attributes_are_made() {
    if lacks_root() {
        return;
    }
    let layer = Layer::new()
        .device("null", Device::Char, 1, 3)
        .mode(0o666)
        .file("ping", "x")
        .mode(0o755)
        .owner(5, 6)
        .xattr("security.capability", CAPABILITY)
        .xattr("user.note", "y");
    let sandbox = Sandbox::new();
    unpack(&sandbox, stream_of(&Image::new().layer(layer))).success();
    let shown = tree::show(sandbox.path("root"));
    assert!(shown.contains("crw-rw-rw- 0:0 null 1,3\n"), "{shown}");
    assert!(shown.contains("-rwxr-xr-x 5:6 ping 1 \"x\" security.capability="), "{shown}");
    assert!(shown.contains("user.note=\"y\""), "{shown}");
}

#[test]
fn links_of_lower_layers_are_replaced_or_followed() {
    let base = Layer::text("drwxr-xr-x real/\n-rw-r--r-- real/a \"a\"\nlrwxrwxrwx l -> real");
    let image = Image::new().layer(base).layer(Layer::new().file("l/b", "b"));
    let sandbox = Sandbox::new();
    unpack(&sandbox, stream_of(&image)).success();
    assert_eq!(
        bare(sandbox.path("root")),
        "drwxr-xr-x ./\ndrwxr-xr-x l/\n-rw-r--r-- l/b 1 \"b\"\ndrwxr-xr-x real/\n-rw-r--r-- real/a 1 \"a\"\n"
    );
    fs::remove_dir_all(sandbox.path("root")).unwrap();
    let command = sandbox.command("unpack").args(["--keep-symlinked-dirs", "root"]);
    command.input(stream_of(&image)).run().success();
    assert_eq!(
        bare(sandbox.path("root")),
        "drwxr-xr-x ./\nlrwxrwxrwx l -> real\ndrwxr-xr-x real/\n-rw-r--r-- real/a 1 \"a\"\n-rw-r--r-- real/b 1 \"b\"\n"
    );
}

#[test]
fn links_that_are_followed_stay_inside() {
    let sandbox = Sandbox::new();
    sandbox.write("outside/keep", "x");
    let out = sandbox.path("outside");
    let base = Layer::new().symlink("l", out.to_str().unwrap()).symlink("m", "../outside");
    let top = Layer::new().file("l/keep", "broken").file("m/keep", "broken");
    let command = sandbox.command("unpack").args(["--keep-symlinked-dirs", "root"]);
    command.input(stream_of(&Image::new().layer(base).layer(top))).run();
    assert_eq!(sandbox.read("outside/keep"), b"x");
    assert_eq!(names(&out), ["keep"]);
}

#[test]
fn wrong_usage_is_status_two_and_touches_nothing() {
    let sandbox = Sandbox::new();
    symlink("/nowhere", sandbox.path("link")).unwrap();
    for words in [
        &[][..],
        &["--no-such-flag", "root"],
        &["root", "another"],
        &["--from", "layer:./x", "root"],
        &["--progress", "loud", "root"],
    ] {
        let output = sandbox.command("unpack").args(words).run();
        assert_eq!(output.code(), 2, "{words:?}: {}", output.text());
        assert!(output.stdout.is_empty());
    }
    assert_eq!(names(sandbox.path("")), ["link"]);
}

#[test]
fn an_image_that_the_store_lacks_is_not_found_and_the_hint_says_how_to_get_it() {
    let sandbox = Sandbox::new();
    let output = sandbox.command("unpack").args(["--from", "nginx", "root"]).run();
    assert_one_line(output.fails_with(3), "unpack");
    assert!(output.stderr.contains("hint: pull nginx"), "{}", output.stderr);
    assert!(names(sandbox.path("")).is_empty());
}

#[test]
fn a_plain_user_gets_all_that_needs_no_privilege_and_one_line_about_the_rest() {
    let layer = Layer::text(
        r#"
        drwxr-xr-x 0:0 ./
        drwxr-xr-x 0:0 dev/
        crw-rw-rw- 0:0 dev/null 1,3
        dr-xr-xr-x 0:0 closed/
        dr-xr-xr-x 0:0 closed/deep/
        -r-------- 0:0 closed/deep/f "x"
        -rwsr-xr-x 0:0 su "su"
        "#,
    );
    let image = Image::new().layer(layer.file("cap", "x").xattr("security.capability", CAPABILITY));
    let image = image.layer(Layer::new().file("closed/deep/g", "y").whiteout("closed/deep/f"));
    let sandbox = Sandbox::new();
    sandbox.write("in", stream_of(&image));
    let output = Script::new(&sandbox, "cat in | unpack root").as_plain_user().run();
    assert_eq!(output.success().pipe, [0, 0]);
    let lines: Vec<&str> =
        output.stderr.lines().filter(|line| line.contains("privilege")).collect();
    let [line] = lines[..] else { panic!("not one line: {}", output.stderr) };
    assert!(line.starts_with("unpack: warning: not set, for lack of privilege: "), "{line}");
    assert!(line.contains("1 device") && line.contains("1 extended attribute"), "{line}");
    assert_eq!(
        bare(sandbox.path("root")),
        "drwxr-xr-x ./\n-rw-r--r-- cap 1 \"x\"\ndr-xr-xr-x closed/\ndr-xr-xr-x closed/deep/\n\
         -rw-r--r-- closed/deep/g 1 \"y\"\ndrwxr-xr-x dev/\n-rwxr-xr-x su 2 \"su\"\n"
    );
}

#[test]
fn a_directory_that_was_there_loses_its_mark_whatever_its_mode() {
    for mode in ["r-xr-xr-x", "---------", "rw-rw-rw-"] {
        let layer = Layer::text(&format!("d{mode} 0:0 ./ @1000000000.5\n-rw-r--r-- 0:0 f \"x\""));
        let sandbox = Sandbox::new();
        sandbox.write("in", stream_of(&Image::new().layer(layer)));
        let script = "mkdir root && cat in | unpack root && stat -c %A-%Y root && \
                      chmod 700 root && ls -A root";
        let output = Script::new(&sandbox, script).as_plain_user().run();
        let said = String::from_utf8_lossy(&output.success().stdout).into_owned();
        assert_eq!(said, format!("d{mode}-1000000000\nf\n"));
    }
}

#[test]
fn a_plain_user_who_fails_leaves_nothing_that_is_closed() {
    let layer = Layer::text("dr-xr-xr-x 0:0 closed/\n-r-------- 0:0 closed/f \"x\"");
    let bytes = stream_of(&Image::new().layer(layer).layer(demo().layer_blobs()[0].bytes.clone()));
    let sandbox = Sandbox::new();
    sandbox.write("in", &bytes[..bytes.len() - 1024]);
    let output = Script::new(&sandbox, "cat in | unpack root").as_plain_user().run();
    output.fails_with(4);
    assert_eq!(names(sandbox.path("")), ["in"]);
}
