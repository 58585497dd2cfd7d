//! What is chosen, left out or refused by the flags of the programs that read images and directories.

use kit::pipeline::sh;
use kit::{Image, Index, Layer, Named, Producer, Sandbox};

use crate::fixtures::{assert_one_line, stream_of_index};

/// `two.tar` with `one:1` and `two:1`, and `index.tar` with the same files for two platforms. `root` holds the second one's.
fn start() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = |name: &str| Image::new().layer(Layer::new().file(name, "12345"));
    let named = |name: &str| Named::new(&format!("docker.io/library/{name}:1"), image(name));
    sandbox.write("two.tar", Producer::Strata.write(&[named("one"), named("two")]));
    let index = Index::new()
        .image(&image("one").platform("linux/amd64"))
        .image(&image("two").platform("linux/arm64"));
    sandbox.write("index.tar", stream_of_index(&index));
    sh(&sandbox, "unpack -q --no-sync --from ./two.tar --image two:1 root").success();
    sandbox
}

/// Checks what lines with an option and without print.
#[track_caller]
fn check(lines: &[(&str, &str)]) {
    let sandbox = start();
    for (line, expected) in lines {
        let output = sh(&sandbox, line);
        assert_eq!(output.out(), *expected, "{line}: {}", output.text());
    }
}

#[test]
fn the_image_that_is_named_is_the_one_of_several() {
    check(&[
        ("snapshot -q --list --base ./two.tar --image one:1 root", "D one\nA two\n"),
        ("snapshot -q --list --base ./two.tar --image two:1 root", ""),
        ("inspect --files -0 --image two:1 ./two.tar | tr '\\0' ' '", "two "),
        ("changes --image one:1 ./two.tar ./root", "D one\nA two\n"),
        ("changes --image one:1 --image two:1 ./two.tar ./two.tar", "D one\nA two\n"),
        ("flatten -q --image two:1 ./two.tar | tar t", "./\ntwo\n"),
    ]);
}

#[test]
fn the_platform_that_is_named_is_the_one_of_several() {
    check(&[
        ("snapshot -q --list --base ./index.tar --platform linux/arm64 root", ""),
        ("snapshot -q --list --base ./index.tar --platform linux/amd64 root", "D one\nA two\n"),
        ("inspect --files -0 --platform linux/arm64 ./index.tar | tr '\\0' ' '", "two "),
        ("inspect --files -0 --platform linux/amd64 ./index.tar | tr '\\0' ' '", "one "),
        ("changes --ignore config --platform linux/arm64 ./index.tar ./root", ""),
        ("changes --ignore config --platform linux/amd64 ./index.tar ./root", "D one\nA two\n"),
        ("flatten -q --platform linux/arm64 ./index.tar | tar t", "./\ntwo\n"),
        ("flatten -q --platform linux/amd64 ./index.tar | tar t", "./\none\n"),
    ]);
}

#[test]
fn a_snapshot_leaves_out_what_matches_and_gives_new_files_away() {
    let before = "mkdir -p r/d; echo x > r/d/a.log; echo x > r/b; snapshot -q --base scratch";
    check(&[
        (&format!("{before} --list r"), "A .\nA b\nA d\nA d/a.log\n"),
        (&format!("{before} --list --exclude '*.log' r"), "A .\nA b\nA d\n"),
        (&format!("{before} --list --exclude '*.log' --exclude /b r"), "A .\nA d\n"),
        (
            &format!(
                "{before} --default-owner 7:8 --exclude d r | tar tv --numeric-owner | cut -d' ' -f2"
            ),
            "7/8\n7/8\n",
        ),
    ]);
}

#[test]
fn no_file_larger_than_allowed_is_written_or_compared() {
    let sandbox = start();
    for (program, line) in [
        ("inspect", "inspect --image two:1 --cat two --max-size SIZE ./two.tar"),
        ("changes", "changes --image two:1 --checksum --max-size SIZE ./two.tar ./root"),
    ] {
        sh(&sandbox, &line.replace("SIZE", "5")).success();
        let output = sh(&sandbox, &line.replace("SIZE", "4"));
        assert_one_line(output.fails_with(4), program);
        assert!(output.stdout.is_empty(), "{}", output.text());
    }
}

#[test]
fn only_what_is_for_the_platform_is_loaded() {
    let sandbox = start();
    let script = "load -q --platform linux/arm64 index.tar > /dev/null; images --json";
    let json = sh(&sandbox, script).success().out();
    assert!(json.contains(r#""platforms":["linux/arm64"]"#), "{json}");
}

#[test]
fn a_commit_is_what_its_flags_say() {
    let sandbox = start();
    sandbox.write("layer.tar", Layer::new().file("new", "x").tar());
    let script = "commit -q -t a --tag b --base scratch --platform linux/arm64 --message why --author who \
                  --change 'USER app' --timestamp 86400 --compress gzip --level 9 layer.tar > /dev/null; \
                  images -0 | tr '\\0' ' '; inspect --config a";
    let text = sh(&sandbox, script).success().out();
    let (names, config) = text.split_once('{').unwrap();
    assert_eq!(names, "a:latest b:latest ");
    let config: serde_json::Value = serde_json::from_str(&format!("{{{config}")).unwrap();
    assert_eq!((&config["architecture"], &config["author"]), (&"arm64".into(), &"who".into()));
    assert_eq!(config["created"], "1970-01-02T00:00:00Z");
    assert_eq!(config["config"]["User"], "app");
    assert_eq!(config["history"][0]["comment"], "why");
}

#[test]
fn a_layer_is_compressed_as_hard_as_it_is_told() {
    let sandbox = start();
    let words: Vec<String> = (0..20_000).map(|n| (n % 977).to_string()).collect();
    sandbox.write("layer.tar", Layer::new().file("new", words.join(" ")).tar());
    let size = |flags: &str| {
        let script = format!(
            "commit -q -t a --base scratch {flags} layer.tar > /dev/null; inspect --layers --json a"
        );
        let output = sh(&sandbox, &script);
        let layers: serde_json::Value = serde_json::from_slice(&output.success().stdout).unwrap();
        (layers[0]["size"].as_u64().unwrap(), layers[0]["mediaType"].as_str().unwrap().to_owned())
    };
    for codec in ["gzip", "zstd"] {
        let [quick, small] =
            [1, 9].map(|level| size(&format!("--compress {codec} --level {level}")));
        assert!(quick.0 > small.0, "{codec}: {quick:?} {small:?}");
        assert!(quick.1.ends_with(codec), "{quick:?}");
    }
}

#[test]
fn without_a_store_no_image_of_it_is_found() {
    let sandbox = start();
    sh(&sandbox, "load -q two.tar > /dev/null; flatten -q one:1 > /dev/null").success();
    let output = sh(&sandbox, "flatten -q --no-store one:1 > /dev/null");
    assert_ne!(output.code(), 0, "{}", output.text());
    assert_one_line(&output, "flatten");
}

#[test]
fn only_what_is_in_the_store_is_saved() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(
        "docker.io/library/app:1",
        Image::new().layer(Layer::new().file("f", "f")),
    )]);
    for word in ["-", "./app", "/app", "archive:app", "layout:app", "dir:app", "layer:app"] {
        let output = sh(&sandbox, &format!("save {word}"));
        let said =
            format!("save: {word}: only images of the store can be saved\nhint: load it first\n");
        assert_eq!((output.fails_with(2).out(), &output.stderr), (String::new(), &said), "{word}");
    }
}
