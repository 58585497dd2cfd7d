//! What only a process shows of `inspect`: every source, every view, exit codes.

#![cfg(test)]

use kit::archive::layout;
use kit::{Codec, Image, Layer, Named, Output, Producer, Sandbox, Sparse, check, tree};
use serde_json::Value;

const APP: &str = "docker.io/library/app:1";

fn base() -> Vec<u8> {
    Layer::new()
        .dir("etc", 0o755)
        .file("etc/os", "base\n")
        .file("etc/gone", "x")
        .symlink("rel", "etc/os")
        .mode(0o644)
        .tar()
}

fn app() -> Image {
    let top = Layer::new()
        .file("etc/os", "top\n")
        .mode(0o4711)
        .owner(7, 8)
        .mtime(1_700_000_000, 250_000_000)
        .hardlink("same", "etc/os")
        .whiteout("etc/gone")
        .file("odd\x1b\\", "")
        .tar();
    Image::new().layer(base()).layer(top).env(&["A=b"])
}

fn other() -> Image {
    Image::new().layer(base()).platform("linux/arm64")
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    let images = [Named::new(APP, app()), Named::new("docker.io/library/other:2", other())];
    layout(sandbox.store(), &images);
    layout(sandbox.path("layout"), &images[..1]);
    sandbox.write("app.tar", Producer::Strata.write(&images[..1]));
    sandbox.write("two.tar", Producer::Strata.write(&images));
    sandbox
}

fn inspect(sandbox: &Sandbox, line: &str) -> Output {
    sandbox.command("inspect").args(line.split_whitespace()).run()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.success().out()).unwrap()
}

#[test]
fn an_image_is_the_same_wherever_it_is() {
    let sandbox = sandbox();
    let archive = sandbox.read("app.tar");
    for view in ["", "--raw", "--config", "--history", "--layers", "--files", "--cat rel"] {
        let expected = inspect(&sandbox, &format!("{view} app:1")).success().stdout.clone();
        for image in ["./app.tar", "./layout", "archive:app.tar", "layout:layout"] {
            let found = inspect(&sandbox, &format!("{view} {image}"));
            assert_eq!(found.success().stdout, expected, "{view} {image}\n{}", found.text());
        }
        let piped = sandbox.command("inspect").args(view.split_whitespace()).arg("-");
        assert_eq!(piped.input(archive.clone()).run().success().stdout, expected, "{view} -");
    }
}

#[test]
fn the_json_is_in_dockers_shape() {
    let sandbox = sandbox();
    let about = json(&inspect(&sandbox, "app:1"));
    let image = app();
    let about = &about[0];
    assert_eq!(about["Id"], image.config_blob().digest);
    assert_eq!(about["RepoTags"], serde_json::json!(["app:1"]));
    assert_eq!(about["RepoDigests"], serde_json::json!([format!("app@{}", image.digest())]));
    assert_eq!(about["Config"]["Env"], serde_json::json!(["A=b"]));
    assert_eq!(about["RootFS"]["Layers"], serde_json::json!(image.diff_ids()));
    let size: usize = image.layer_blobs().iter().map(|blob| blob.bytes.len()).sum();
    assert_eq!(about["Size"], size);
    assert_eq!((&about["Os"], &about["Architecture"]), (&"linux".into(), &"amd64".into()));
    assert_eq!(about["History"].as_array().unwrap().len(), 2);
}

#[test]
fn documents_are_given_byte_for_byte() {
    let sandbox = sandbox();
    assert_eq!(inspect(&sandbox, "--raw app:1").stdout, app().manifest_blob().bytes);
    assert_eq!(inspect(&sandbox, "--config app:1").stdout, app().config_blob().bytes);
    sandbox.write("old.tar", Producer::Docker24.write(&[Named::new(APP, app())]));
    inspect(&sandbox, "--raw ./old.tar").fails_with(3);
    assert_eq!(inspect(&sandbox, "--config ./old.tar").stdout, app().config_blob().bytes);
}

#[test]
fn one_layer_is_the_tar_that_was_made() {
    // moby#11107 and others ask how one layer is had; here it has whiteouts, as it was made.
    let sandbox = sandbox();
    let image = app();
    let manifest: Value = serde_json::from_slice(&image.manifest_blob().bytes).unwrap();
    let blob = manifest["layers"][1]["digest"].as_str().unwrap();
    let [first, second] = &image.diff_ids()[..] else { panic!("two layers") };
    for which in ["2", second, &second[7..19], blob, &blob["sha256:".len()..][..6]] {
        for from in ["app:1", "./app.tar", "./layout"] {
            let output = inspect(&sandbox, &format!("--layer {which} {from}"));
            assert_eq!(kit::digest(&output.success().stdout), *second, "{which} {from}");
        }
    }
    let piped = sandbox.command("inspect").args(["--layer", "1", "-"]);
    let output = piped.input(sandbox.read("app.tar")).run();
    assert_eq!((kit::digest(&output.success().stdout), output.stdout), (first.clone(), base()));
    for (line, code) in [
        ("--layer 3 app:1", 3),
        ("--layer 0 app:1", 3),
        ("--layer abcde app:1", 3),
        ("--layer 1 --json app:1", 2),
        ("--layer 1 --raw app:1", 2),
    ] {
        let output = inspect(&sandbox, line);
        assert!(output.fails_with(code).stdout.is_empty(), "{line}");
    }
    assert!(inspect(&sandbox, "--layer 3 app:1").stderr.contains("the image has 2 layers"));
}

#[test]
fn a_damaged_layer_has_no_end() {
    let sandbox = Sandbox::new();
    let image = Image::new().codec(Codec::None).layer(base());
    let mut archive = Producer::Strata.write(&[Named::new(APP, image)]);
    let at = archive.windows(5).position(|it| it == b"base\n").unwrap();
    archive[at] = b'X';
    let output = sandbox.command("inspect").args(["--layer", "1", "-"]).input(archive).run();
    output.fails_with(4);
    assert!(
        !output.stdout.is_empty() && output.stdout.last() != Some(&0),
        "{}",
        output.stdout.len()
    );
}

#[test]
fn files_are_those_of_the_merged_layers() {
    let sandbox = sandbox();
    let text = inspect(&sandbox, "--files app:1").success().out();
    assert_eq!(
        text,
        "drwxr-xr-x       0:0          0 2020-09-13T12:26:40Z   1 etc\n\
         -rws--x--x       7:8          4 2023-11-14T22:13:20Z   2 etc/os\n\
         -rw-r--r--       0:0          0 2020-09-13T12:26:40Z   2 odd\\x1b\\\\\n\
         lrwxrwxrwx       0:0          6 2020-09-13T12:26:40Z   1 rel -> etc/os\n\
         -rws--x--x       7:8          4 2023-11-14T22:13:20Z   2 same link to etc/os\n"
    );
    let paths = inspect(&sandbox, "--files -0 app:1").success().stdout.clone();
    assert_eq!(paths, b"etc\0etc/os\0odd\x1b\\\0rel\0same\0");
    let list = json(&inspect(&sandbox, "--files --json app:1"));
    assert_eq!(list[1]["path"], "etc/os");
    assert_eq!(
        (&list[1]["mode"], &list[1]["mtime"]),
        (&"4711".into(), &"2023-11-14T22:13:20.25Z".into())
    );
    assert_eq!(list[3]["mode"], "0777");
    assert_eq!(list[1]["diffId"], app().diff_ids()[1].as_str());
    assert_eq!((&list[3]["target"], &list[4]["linkTo"]), (&"etc/os".into(), &"etc/os".into()));
    inspect(&sandbox, "-0 app:1").fails_with(2);
    inspect(&sandbox, "--files --raw app:1").fails_with(2);
}

#[test]
fn one_file_is_written_out_of_every_kind_of_archive() {
    let sandbox = Sandbox::new();
    let data: [(u64, &[u8]); 1] = [(65_536, b"data")];
    let top = Layer::new().sparse("holes", Sparse::Pax10, 70_000, &data).file("etc/os", "top\n");
    for producer in Producer::ALL {
        for codec in [Codec::None, Codec::GZIP] {
            let image = Image::new().codec(codec).layer(base());
            let image = image.layer(top.clone().hardlink("same", "etc/os").tar());
            let archive = producer.write(&[Named::new(APP, image)]);
            let cat = |path: &str| {
                sandbox.command("inspect").args(["--cat", path, "-"]).input(archive.clone()).run()
            };
            assert_eq!(cat("rel").success().out(), "top\n", "{producer:?}");
            let holes = cat("/holes").success().stdout.clone();
            assert_eq!((holes.len(), &holes[65_536..65_540]), (70_000, &b"data"[..]));
            sandbox.write("a.tar", archive.clone());
            assert_eq!(inspect(&sandbox, "--cat /etc/../same ./a.tar").success().out(), "top\n");
        }
    }
}

#[test]
fn a_file_of_the_store_is_found_by_each_of_its_names() {
    let sandbox = sandbox();
    // First the layers are read, then their listings.
    for _ in 0..2 {
        for path in ["etc/os", "same", "rel", "/etc/../rel"] {
            let output = inspect(&sandbox, &format!("--cat {path} app:1"));
            assert_eq!(output.success().out(), "top\n", "{path}");
        }
    }
}

// go-containerregistry#2002 and #977: a name of a file is replaced or removed, and the others stay what they are.
#[test]
fn a_name_that_changes_leaves_the_others_of_its_file_alone() {
    let sandbox = Sandbox::new();
    let links = Layer::new().file("t2", "123").hardlink("t1", "t2").hardlink("t3", "t2");
    let image = |top: Layer| Image::new().layer(links.clone().tar()).layer(top.tar());
    let images = [
        Named::new("docker.io/library/changed:1", image(Layer::new().file("t1", "456"))),
        Named::new("docker.io/library/removed:1", image(Layer::new().whiteout("t2"))),
    ];
    layout(sandbox.store(), &images);
    for _ in 0..2 {
        let cat = |path: &str, name: &str| inspect(&sandbox, &format!("--cat {path} {name}"));
        let contents = ["t1", "t2", "t3"].map(|path| cat(path, "changed:1").success().out());
        assert_eq!(contents, ["456", "123", "123"]);
        let contents = ["t1", "t3"].map(|path| cat(path, "removed:1").success().out());
        assert_eq!(contents, ["123", "123"]);
        cat("t2", "removed:1").fails_with(3);
    }
}

#[test]
fn what_is_not_there_or_no_file_is_said() {
    let sandbox = sandbox();
    let said = |line: &str, code: i32| {
        let output = inspect(&sandbox, line);
        output.fails_with(code).stderr.clone()
    };
    assert!(said("--cat etc/gone app:1", 3).contains("etc/gone: not in this image"));
    assert!(said("--cat etc app:1", 1).contains("etc: is a directory"));
    assert!(said("nothing", 3).ends_with("hint: pull nothing\n"));
    assert!(said("./nothing", 3).contains("no such file"));
    assert!(said("./two.tar", 2).contains("hint: choose one with --image NAME"));
    assert!(said("./app.tar --image b", 3).contains("b: not in this archive"));
    said("app:1 --platform linux/s390x", 3);
    said("layer:layout", 2);
    assert!(inspect(&sandbox, "./two.tar --image other:2").success().out().contains("arm64"));
    let empty = Sandbox::new();
    assert!(
        inspect(&empty, "app")
            .fails_with(3)
            .stderr
            .contains(": no store is here\nhint: --store or ")
    );
    assert!(!empty.store().exists());
}

#[test]
fn a_look_up_is_without_a_word_unless_progress_is_asked_for() {
    for view in ["--layers", "--cat rel"] {
        // A file is read without its layers once the store has listings of them.
        let sandbox = sandbox();
        let told = inspect(&sandbox, &format!("--progress plain {view} app:1"));
        assert_eq!(inspect(&sandbox, &format!("{view} app:1")).success().stderr, "", "{view}");
        assert!(told.success().stderr.contains(": Reading\n"), "{view}: {}", told.text());
    }
}

#[test]
fn layers_tell_who_else_has_them() {
    let sandbox = sandbox();
    let layers = json(&inspect(&sandbox, "--layers --json app:1"));
    assert_eq!(layers[0]["sharedWith"], serde_json::json!(["other:2"]));
    assert_eq!(layers[1]["sharedWith"], serde_json::json!([]));
    assert_eq!(layers[0]["uncompressedSize"], base().len());
    assert_eq!(layers[0]["size"], app().layer_blobs()[0].bytes.len());
    let text = inspect(&sandbox, "--layers ./app.tar").success().out();
    assert!(text.lines().nth(1).unwrap().ends_with("other:2"), "{text}");
    let history = json(&inspect(&sandbox, "--history --json app:1"));
    assert_eq!(
        (&history[0]["layer"], &history[0]["createdBy"]),
        (&2.into(), &"kit: layer 2".into())
    );
}

#[test]
fn damage_is_never_shown_as_an_image() {
    let sandbox = sandbox();
    let archive = sandbox.read("app.tar");
    for view in ["", "--raw", "--files", "--cat rel", "--layers"] {
        for cut in [archive.len() / 2, archive.len() - 1024] {
            let command = sandbox.command("inspect").args(view.split_whitespace()).arg("-");
            let output = command.input(&archive[..cut]).run();
            assert_eq!((output.code(), output.out().as_str()), (4, ""), "{view} {cut}");
        }
    }
    let wrong = app().set_config("/rootfs/diff_ids/1", app().diff_ids()[0].as_str());
    sandbox.write("wrong.tar", Producer::Strata.write(&[Named::new(APP, wrong)]));
    let name = format!("layer 2 of 2 ({})", &app().layer_blobs()[1].digest[..19]);
    for view in ["--files", "--cat rel", "--layers"] {
        let output = inspect(&sandbox, &format!("{view} ./wrong.tar"));
        assert!(output.fails_with(4).stderr.contains(&name), "{}", output.text());
    }
}

#[test]
fn looking_changes_nothing_in_the_store_but_caches() {
    let sandbox = sandbox();
    let images = || {
        let blobs = tree::show(sandbox.store().join("blobs"));
        (blobs, std::fs::read(sandbox.store().join("index.json")).unwrap())
    };
    let before = images();
    for view in ["", "--raw", "--history", "--layers", "--files", "--cat rel"] {
        inspect(&sandbox, &format!("{view} app:1")).success();
    }
    assert_eq!(images(), before);
    check::layout(sandbox.store()).unwrap();
}
