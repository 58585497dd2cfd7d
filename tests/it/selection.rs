//! `--only` and `--exclude` of `unpack` and `flatten`: some of an image's files.

use std::fs;

use kit::{Image, Layer, Named, Output, Producer, Sandbox, archive, pipeline};

use crate::fixtures::{assert_one_line, is_root, shown, stream_of};
use crate::flatten::UNTAR;

const NAME: &str = "docker.io/library/app:1";

/// Three layers, the second of which has nothing of `/etc`.
fn image() -> Image {
    let base = Layer::text(
        "drwxr-x--x etc/\n-rw------- etc/shadow \"secret\"\n-rw-r--r-- etc/gone \"x\"\n\
         drwxr-xr-x usr/\ndrwx--x--x usr/bin/\n-rwxr-xr-x usr/bin/one \"program\"\n\
         -rw-r--r-- usr/x.conf \"x\"\n",
    );
    let middle = Layer::text("drwxr-xr-x data/\n-rw-r--r-- data/large \"large\"\n");
    let top = Layer::text(
        "drwxr-xr-x etc/\n-rw-r--r-- etc/hosts \"hosts\"\nlrwxrwxrwx etc/mtab -> /proc/mounts\n",
    );
    let top = top.whiteout("etc/gone").hardlink("usr/bin/two", "usr/bin/one");
    Image::new().layer(base).layer(middle).layer(top)
}

/// A sandbox whose store has the image, and which has it as a stream in `image`.
fn prepared() -> Sandbox {
    let sandbox = Sandbox::new();
    let image = image();
    archive::layout(sandbox.store(), &[Named::new(NAME, image.clone())]);
    sandbox.write("image", stream_of(&image));
    sandbox
}

/// The names and contents that a selection leaves, the same from both programs and from wherever the image is.
#[track_caller]
fn selected(flags: &str) -> (String, Output) {
    let sandbox = prepared();
    let owner = if is_root() { "" } else { "--owner ignore" };
    let run = |script: String| {
        let output = pipeline::sh(&sandbox, &script);
        assert_eq!(output.success().pipe.iter().max(), Some(&0), "{}", output.text());
        output
    };
    let from_pipe = run(format!("cat image | unpack {owner} --no-sync {flags} from-pipe"));
    let tree = shown(sandbox.path("from-pipe"));
    for from in ["app:1", "./image"] {
        run(format!("rm -rf other; unpack {owner} --no-sync --from {from} {flags} other"));
        kit::tree::assert_same(&tree, &shown(sandbox.path("other")));
        run(format!("rm -rf out; flatten {from} {flags} | {UNTAR}"));
        kit::tree::assert_same(&tree, &shown(sandbox.path("out")));
    }
    let names = run("cd from-pipe && find . -printf '%P %M %n\\n' | LC_ALL=C sort".to_owned());
    // The root's line comes first.
    let names = names.out();
    (names.split_once('\n').unwrap().1.trim_end().to_owned(), from_pipe)
}

#[test]
fn what_matches_is_taken_with_the_directories_above_it() {
    // ggcr#1382 and undocker#20 ask for a path of an image, instead of all of it.
    let (names, _) = selected("--only /etc --only '*.conf' --exclude shadow");
    assert_eq!(
        names,
        "etc drwxr-xr-x 2\netc/hosts -rw-r--r-- 1\netc/mtab lrwxrwxrwx 1\nusr drwxr-xr-x 2\n\
         usr/x.conf -rw-r--r-- 1"
    );
    let (names, _) = selected("--only 'etc/**' --only '!hosts' --only '!shadow'");
    assert_eq!(names, "etc drwxr-xr-x 2\netc/mtab lrwxrwxrwx 1");
}

#[test]
fn a_hard_link_to_what_is_left_out_becomes_a_copy_and_that_is_said() {
    for flags in
        ["--only usr/bin/two", "--exclude '*' --exclude '!usr' --exclude '!bin' --exclude '!two'"]
    {
        let (names, output) = selected(flags);
        assert_eq!(
            names, "usr drwxr-xr-x 3\nusr/bin drwx--x--x 2\nusr/bin/two -rwxr-xr-x 1",
            "{flags}"
        );
        let expected = "usr/bin/two: a copy, since other names of that file are left out";
        assert!(output.stderr.contains(expected), "{}", output.stderr);
    }
    let (names, output) = selected("--only /usr/bin");
    assert_eq!(
        names,
        "usr drwxr-xr-x 3\nusr/bin drwx--x--x 2\nusr/bin/one -rwxr-xr-x 2\nusr/bin/two -rwxr-xr-x 2"
    );
    assert!(!output.stderr.contains("copy"), "{}", output.stderr);
}

#[test]
fn a_layer_that_has_nothing_of_it_is_not_read_where_the_store_knows_what_layers_hold() {
    let sandbox = prepared();
    pipeline::sh(&sandbox, "images verify && unpack -q --no-sync --from app:1 all").success();
    let layer = |position: usize| {
        let manifest: serde_json::Value =
            serde_json::from_slice(&image().manifest_blob().bytes).unwrap();
        let digest = manifest["layers"][position]["digest"].as_str().unwrap().to_owned();
        sandbox.store().join("blobs").join(digest.replace(':', "/"))
    };
    let run = |script: &str| pipeline::sh(&sandbox, script);
    fs::write(layer(1), "damaged").unwrap();
    run("unpack -q --no-sync --from app:1 --only etc some && flatten -q app:1 --only etc")
        .success();
    run("flatten -q app:1 --exclude large").success();
    for script in ["unpack -q --from app:1 --only data data", "flatten -q app:1"] {
        assert_one_line(run(script).fails_with(4), script.split(' ').next().unwrap());
    }
    assert!(!sandbox.path("data").exists());
}

#[test]
fn a_pattern_that_nothing_matches_is_told_and_if_no_other_does_nothing_is_made() {
    let sandbox = prepared();
    for program in ["unpack --from app:1 out", "unpack out < image", "flatten app:1 > out"] {
        let (before, after) = program.split_at(program.find(' ').unwrap());
        let output = pipeline::sh(&sandbox, &format!("{before} -q --only /nothing{after}"));
        output.fails_with(3);
        let expected = format!("{before}: --only /nothing: nothing in the image matches\nhint: ");
        assert!(output.stderr.starts_with(&expected), "{}", output.text());
    }
    assert!(sandbox.read("out").is_empty());
    let output =
        pipeline::sh(&sandbox, "unpack --no-sync --from app:1 --only nothing --only hosts some");
    let expected = "warning: --only nothing: nothing in the image matches";
    assert!(output.success().stderr.contains(expected), "{}", output.text());
}

#[test]
fn some_of_an_image_is_no_base_of_a_snapshot_by_itself() {
    let sandbox = prepared();
    pipeline::sh(&sandbox, "unpack -q --no-sync --from app:1 --only etc some").success();
    let output = pipeline::sh(&sandbox, "snapshot --list some");
    assert!(output.fails_with(2).stderr.contains("--base"), "{}", output.text());
}

#[test]
fn limits_are_for_what_is_selected() {
    let sandbox = prepared();
    let unpack = |flags: &str| {
        let script = format!("rm -rf out; unpack -q --no-sync --from app:1 --only etc {flags} out");
        pipeline::sh(&sandbox, &script)
    };
    unpack("--max-entries 4 --max-size 11").success();
    assert_one_line(unpack("--max-entries 3").fails_with(4), "unpack");
    assert_one_line(unpack("--max-size 10").fails_with(4), "unpack");
}

#[test]
fn a_damaged_or_cut_image_is_refused_also_for_a_part_of_it() {
    let sandbox = Sandbox::new();
    let mut bytes = Producer::Docker25.write(&[Named::new(NAME, image())]);
    let at = bytes.windows(5).position(|it| it == b"large").unwrap();
    bytes[at] = b'L';
    sandbox.write("damaged", bytes);
    let cut = stream_of(&image());
    sandbox.write("cut", &cut[..cut.len() - 1500]);
    for name in ["damaged", "cut"] {
        let script = format!("cat {name} | unpack -q --no-sync --only etc/hosts out");
        assert_one_line(pipeline::sh(&sandbox, &script).fails_with(4), "unpack");
        assert!(!sandbox.path("out").exists());
    }
}
