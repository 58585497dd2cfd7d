//! The exit status and the exact bytes of each form that an answer can take.

use kit::pipeline::sh;
use kit::{Codec, Image, Layer, Named, Sandbox};

use crate::fixtures::{lacks_root, stream_of};

/// A directory unpacked from an image in a file, then changed: one file more, one less, one longer.
fn changed() -> Sandbox {
    let sandbox = Sandbox::new();
    let layer = Layer::new()
        .dir("./", 0o755)
        .dir("etc", 0o755)
        .file("etc/gone", "12345")
        .file("etc/motd", "old\n")
        .file("kept", "");
    sandbox.write("image", stream_of(&Image::new().layer(layer)));
    let script = "unpack -q --from ./image root && rm root/etc/gone && \
                  printf 'longer\\n' > root/etc/motd && printf n > root/new";
    sh(&sandbox, script).success();
    sandbox
}

/// Runs a line and compares its status and every byte of its standard output.
#[track_caller]
fn check(line: &str, status: i32, expected: &str) {
    let sandbox = changed();
    let output = sh(&sandbox, line);
    assert_eq!((output.code(), output.out().as_str()), (status, expected), "{}", output.text());
}

#[test]
fn changes_tells_differences_in_lines_nulls_json_and_sums() {
    let line = "changes --ignore mtime,config ./image ./root";
    check(line, 1, "D etc/gone\nC etc/motd  size\nA new\n");
    check(&format!("{line} -0"), 1, "D etc/gone\0C etc/motd\0A new\0");
    check(
        &format!("{line} --stat"),
        1,
        "ADDED   CHANGED   REMOVED   GROWTH   DIRECTORY\n\
         1       1         1         -1B      .\n\
         0       1         1         -2B      etc\n",
    );
    check(
        &format!("{line} --json"),
        1,
        "[\n{\"change\":\"D\",\"path\":\"etc/gone\",\"sizeBefore\":5},\n\
         {\"attributes\":[\"size\"],\"change\":\"C\",\"path\":\"etc/motd\",\"sizeAfter\":7,\"sizeBefore\":4},\n\
         {\"change\":\"A\",\"path\":\"new\",\"sizeAfter\":1}\n]\n",
    );
    check(
        &format!("{line} --stat --json"),
        1,
        "[\n{\"added\":1,\"changed\":1,\"directory\":\".\",\"growth\":-1,\"removed\":1},\n\
         {\"added\":0,\"changed\":1,\"directory\":\"etc\",\"growth\":-2,\"removed\":1}\n]\n",
    );
}

#[test]
fn changes_says_nothing_of_what_is_the_same_and_exits_with_0() {
    for (form, expected) in [("", ""), ("-0", ""), ("--json", "[]\n"), ("--stat", "")] {
        check(&format!("changes {form} ./image ./image"), 0, expected);
    }
}

#[test]
fn changes_of_a_cut_archive_is_trouble_and_no_difference() {
    for codec in [Codec::None, Codec::GZIP, Codec::ZSTD] {
        let sandbox = changed();
        let layer = Layer::new().dir("./", 0o755).file("big", vec![7; 300_000]);
        let stream = stream_of(&Image::new().codec(codec).layer(layer));
        for (form, line) in [
            ("a file", "changes ./cut ./root"),
            ("a pipe", "changes - ./root < cut"),
            ("a slow pipe", "cat cut | changes ./root -"),
        ] {
            sandbox.write("cut", &stream[..stream.len() - 1024]);
            let output = sh(&sandbox, line);
            assert_eq!(output.code(), 4, "{form}: {}", output.text());
        }
    }
}

#[test]
fn snapshot_lists_in_lines_nulls_and_json() {
    let line = "snapshot -q --ignore mtime --base ./image --list root";
    check(line, 0, "D etc/gone\nC etc/motd\nA new\n");
    check(&format!("{line} --null"), 0, "D etc/gone\0C etc/motd\0A new\0");
    check(
        &format!("{line} --json"),
        0,
        "[\n{\"change\":\"D\",\"path\":\"etc/gone\"},\n{\"attributes\":[\"size\"],\"change\":\"C\",\"path\":\"etc/motd\"},\n\
         {\"change\":\"A\",\"path\":\"new\"}\n]\n",
    );
}

#[test]
fn checksum_finds_what_attributes_hide_whatever_the_base_is() {
    let sandbox = changed();
    let script = "save() { command save \"$@\"; }; load -q < image; \
                  unpack -q --from ./image same && printf 'OLD\\n' > new && \
                  touch -r same/etc/motd time && cat new > same/etc/motd && touch -r time same/etc/motd && \
                  touch -r root/kept same/kept";
    sh(&sandbox, script).success();
    let name = sh(&sandbox, "images digests | head -1").success().out();
    assert!(!name.is_empty());
    for base in ["./image", "dir:same2"] {
        let script = format!(
            "test -d same2 || cp -a same same2; printf 'old\\n' > same2/etc/motd; touch -r time same2/etc/motd; \
             snapshot -q --list --base {base} same; echo .; snapshot -q --checksum --list --base {base} same; \
             snapshot -q --checksum --base {base} same | tar xO etc/motd"
        );
        let output = sh(&sandbox, &script);
        assert_eq!(output.success().out(), ".\nC etc/motd\nOLD\n", "{base}: {}", output.text());
    }
}

/// The media types of a commit on an image in Docker's words: the manifest's, the config's, the layers'.
#[track_caller]
fn check_types(base: Codec, compress: &str, expected: [&str; 4]) {
    let sandbox = Sandbox::new();
    let image = Image::new().docker().codec(base).layer(Layer::new().file("a", "1"));
    sandbox.load(&[Named::new("docker.io/library/base:1", image)]);
    sandbox.write("layer.tar", Layer::new().file("b", "2").tar());
    // Docker has no type for zstd.
    let oci = if compress == "zstd" { "--oci" } else { "" };
    let script = format!(
        "commit -q -t new --base base:1 --compress {compress} {oci} < layer.tar > digest && inspect --raw new"
    );
    let manifest: serde_json::Value =
        serde_json::from_slice(&sh(&sandbox, &script).success().stdout).unwrap();
    let found = [&manifest, &manifest["config"], &manifest["layers"][0], &manifest["layers"][1]]
        .map(|value| value["mediaType"].as_str().unwrap());
    assert_eq!(found, expected);
}

#[test]
fn a_commit_on_docker_s_image_has_types_of_one_kind() {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    const DOCKER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    const OCI: &str = "application/vnd.oci.image.layer.v1.tar";
    const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const OCI_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    let docker = |layers: [&'static str; 2]| {
        let [below, added] = layers;
        let manifest = "application/vnd.docker.distribution.manifest.v2+json";
        [manifest, "application/vnd.docker.container.image.v1+json", below, added]
    };
    let oci = |layers: [&'static str; 2]| {
        let [below, added] = layers;
        let manifest = "application/vnd.oci.image.manifest.v1+json";
        [manifest, "application/vnd.oci.image.config.v1+json", below, added]
    };
    check_types(Codec::None, "gzip", docker([DOCKER, DOCKER_GZIP]));
    check_types(Codec::GZIP, "none", docker([DOCKER_GZIP, DOCKER]));
    check_types(Codec::None, "zstd", oci([OCI, OCI_ZSTD]));
    check_types(Codec::GZIP, "zstd", oci([OCI_GZIP, OCI_ZSTD]));
    check_types(Codec::ZSTD, "zstd", oci([OCI_ZSTD, OCI_ZSTD]));
}

#[test]
fn as_root_a_command_in_a_union_has_its_own_proc_and_the_machine_s_sys_and_dev() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let busybox = std::fs::read("/bin/busybox").ok();
    let Some(busybox) = busybox else { return kit::peers::skip("a union's command", "no busybox") };
    let layer =
        Layer::new().dir("./", 0o755).dir("bin", 0o755).file("bin/busybox", busybox).mode(0o755);
    let layer = layer.dir("proc", 0o755).dir("sys", 0o755).dir("dev", 0o755);
    sandbox.load(&[Named::new("docker.io/library/box:1", Image::new().layer(layer))]);
    let inside =
        "test -e /proc/self/stat && test -d /sys/kernel && test -c /dev/null && echo there";
    let script = format!("union box:1 -- /bin/busybox sh -c '{inside}'");
    assert_eq!(sh(&sandbox, &script).success().out(), "there\n");
}

#[test]
fn names_are_shown_the_same_and_harmless_by_every_program() {
    let sandbox = Sandbox::new();
    let hostile =
        ['\u{61c}', '\u{200d}', '\u{202e}', '\u{2066}', '\u{fff9}', '\u{e0041}', '\u{1b}'];
    std::fs::create_dir(sandbox.path("t")).unwrap();
    let mut expected = vec![];
    for (n, c) in hostile.into_iter().enumerate() {
        std::fs::write(sandbox.path(format!("t/{n}{c}x")), "").unwrap();
        let code = u32::from(c);
        expected.push(if c.is_ascii() {
            format!("{n}\\x{code:02x}x")
        } else {
            format!("{n}\\u{{{code:x}}}x")
        });
    }
    let listed = sh(&sandbox, "snapshot -q --base scratch --list t").success().out();
    let listed: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("A "))
        .filter(|name| *name != ".")
        .collect();
    assert_eq!(listed, expected);
    let script =
        "snapshot -q --base scratch t | commit -q --base scratch -t x:1 && inspect -q --files x:1";
    let files = sh(&sandbox, script).success().out();
    let files: Vec<_> = files
        .lines()
        .filter_map(|line| line.rsplit(' ').next())
        .filter(|it| it.ends_with('x'))
        .collect();
    assert_eq!(files, expected);
    // In an error: nothing of the kind is in the image.
    for (n, c) in hostile.into_iter().enumerate() {
        let output =
            sandbox.command("inspect").args(["-q", "x:1", "--cat"]).arg(format!("{n}{c}y")).run();
        assert!(!output.fails_with(3).stderr.contains(c), "{}", output.text());
        assert!(
            output.stderr.contains(&expected[n].replace('x', "y").replace("\\y", "\\x")),
            "{}",
            output.text()
        );
    }
}
