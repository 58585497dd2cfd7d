//! Whoever decompresses a long layer whole leaves a seek index in the store, and with it the same comes out: by several threads
//! at once, or of one file alone.

use std::fs;
use std::path::PathBuf;

use kit::image::random::Random;
use kit::pipeline::sh;
use kit::tree;
use kit::{Codec, Gzip, Image, Layer, Named, Producer, Sandbox};
use layer_format::SeekIndex;

use crate::fixtures::{assert_one_line, names};

const NAME: &str = "docker.io/library/long:1";
/// How long each file is, in bytes. A layer of 8 of them has at least three checkpoints.
const SIZE: usize = 1 << 20;

/// Text that is like itself no two times.
fn text(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..SIZE).map(|_| b'a' + u8::try_from(random.below(20)).unwrap()).collect()
}

/// Two long layers in gzip, and a short one. The middle one replaces a file of the first.
fn image() -> Image {
    let long = |seed: u64| {
        (0..8).fold(Layer::new().dir("d", 0o755), |layer, n| {
            layer.file(format!("d/{}", seed + n), text(seed + n))
        })
    };
    let gzip = Codec::Gzip(Gzip::PLAIN);
    let middle = long(8).file("d/0", "replaced\n").whiteout("d/7");
    Image::new().codec(gzip).layer(long(0)).layer(middle).layer(Layer::new().file("short", "s"))
}

/// A store with the image, and with the indexes of its layers.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("image.tar", Producer::Strata.write(&[Named::new(NAME, image())]));
    sh(&sandbox, "load image.tar && unpack --from long:1 first").success();
    sandbox
}

fn indexes(sandbox: &Sandbox) -> Vec<PathBuf> {
    let folder = sandbox.store().join("strata/seek");
    names(&folder).into_iter().map(|name| folder.join(name)).collect()
}

fn blob(sandbox: &Sandbox, index: &std::path::Path) -> PathBuf {
    let name = index.file_name().unwrap().to_str().unwrap().replacen('-', "/", 1);
    sandbox.store().join("blobs").join(name)
}

#[track_caller]
fn same_tree(sandbox: &Sandbox, name: &str) {
    tree::assert_same(&tree::show(sandbox.path(name)), &tree::show(sandbox.path("first")));
}

#[test]
fn a_layer_is_the_same_with_an_index_as_without() {
    let sandbox = sandbox();
    assert_eq!(indexes(&sandbox).len(), 2);
    let flat = "flatten long:1 | sha256sum; flatten - < image.tar | sha256sum";
    let with = sh(&sandbox, flat);
    sh(
        &sandbox,
        "unpack --from long:1 store; unpack pipe < image.tar; unpack --from ./image.tar file",
    )
    .success();
    for name in ["store", "pipe", "file"] {
        same_tree(&sandbox, name);
    }
    fs::remove_dir_all(sandbox.store().join("strata/seek")).unwrap();
    let without = sh(&sandbox, flat);
    assert_eq!(with.success().out(), without.success().out());
    assert_eq!(indexes(&sandbox).len(), 2);
}

#[test]
fn whoever_reads_a_layer_whole_leaves_its_index() {
    let sandbox = sandbox();
    let expected = indexes(&sandbox);
    for script in [
        "unpack --from long:1 again",
        "unpack pipe < image.tar",
        "inspect --layers long:1",
        "rm -r $STRATA_STORE/strata/listing; inspect --files long:1",
    ] {
        fs::remove_dir_all(sandbox.store().join("strata/seek")).unwrap();
        sh(&sandbox, script).success();
        assert_eq!(indexes(&sandbox), expected, "{script}");
    }
    assert!(names(sandbox.store().join("strata/temp")).is_empty());
}

#[test]
fn an_index_that_is_damaged_or_of_another_blob_is_none() {
    let sandbox = sandbox();
    let [one, other] = &indexes(&sandbox)[..] else { panic!("two layers are long") };
    let good = fs::read(one).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (n, damage) in [flipped, good[..good.len() / 2].to_vec(), vec![], fs::read(other).unwrap()]
        .iter()
        .enumerate()
    {
        fs::write(one, damage).unwrap();
        sh(
            &sandbox,
            &format!("unpack --from long:1 again{n}; inspect --cat d/3 long:1 | cmp - first/d/3"),
        )
        .success();
        same_tree(&sandbox, &format!("again{n}"));
        // And there is a good one again.
        assert!(fs::read(one).unwrap().len() > good.len() / 2, "{n}");
    }
}

/// A sound index of the right blob that says what isn't so, as a mistake in our own code would leave it.
#[test]
fn an_index_that_is_wrong_is_in_the_way_only_once() {
    let sandbox = sandbox();
    let index = &indexes(&sandbox)[0];
    let blob = index.file_name().unwrap().to_str().unwrap().replacen('-', ":", 1).parse().unwrap();
    let right = stream::seek::from_bytes(&fs::read(index).unwrap(), &blob).unwrap();
    let mut checkpoints = right.checkpoints().to_vec();
    let window = checkpoints[1].window.as_mut().unwrap();
    *window = vec![7; 32 << 10];
    let wrong = SeekIndex::new(checkpoints, right.stored_size(), right.size()).unwrap();
    for (script, name) in [("unpack --from long:1 {}", "one"), ("flatten long:1 > {}", "two")] {
        fs::write(index, stream::seek::to_bytes(&wrong, &blob)).unwrap();
        let script = script.replace("{}", name);
        let output = sh(&sandbox, &script);
        assert!(output.fails_with(4).stderr.contains("seek index"), "{}", output.text());
        sh(&sandbox, &script).success();
    }
    same_tree(&sandbox, "one");
}

/// What lies elsewhere in the blob isn't read: it is overwritten here.
#[test]
fn one_file_is_read_without_what_comes_before_it() {
    let sandbox = sandbox();
    let cat = |path: &str| {
        let script = format!("inspect --cat {path} long:1 | cmp - first/{path} && echo same");
        sh(&sandbox, &script)
    };
    for path in ["d/0", "d/1", "d/6", "d/8", "d/12", "d/15", "short"] {
        assert_eq!(cat(path).success().out(), "same\n", "{path}");
    }
    sh(&sandbox, "inspect --cat d/7 long:1").fails_with(3);
    for index in indexes(&sandbox) {
        let blob = blob(&sandbox, &index);
        let mut content = fs::read(&blob).unwrap();
        let half = content.len() / 2;
        content[100..half].fill(0);
        fs::set_permissions(&blob, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(&blob, content).unwrap();
    }
    for path in ["d/6", "d/15"] {
        assert_eq!(cat(path).success().out(), "same\n", "{path}");
    }
    // What lies there is no longer what it was.
    for path in ["d/1", "d/8"] {
        let output = sh(&sandbox, &format!("inspect --cat {path} long:1"));
        assert!(output.fails_with(4).stderr.contains("gzip"), "{}", output.text());
    }
    sh(&sandbox, "unpack --from long:1 damaged").fails_with(4);
    assert!(!sandbox.path("damaged").exists());
}

#[test]
fn gc_keeps_the_index_of_a_blob_for_a_while() {
    let sandbox = sandbox();
    sh(&sandbox, "images rm long:1 && images gc").success();
    assert_eq!(indexes(&sandbox).len(), 2);
    let script = "touch -d '40 days ago' $STRATA_STORE/strata/seek/* && images gc";
    sh(&sandbox, script).success();
    assert_eq!(indexes(&sandbox), [] as [PathBuf; 0]);
}

#[test]
fn a_damaged_layer_without_an_index_gives_no_content() {
    // Its listing is there, so nothing of it would have to be read but the file.
    for codec in Codec::ALL {
        let sandbox = Sandbox::new();
        let layer =
            Layer::new().file("first", text(1)).file("last", text(2)).hardlink("other", "first");
        let image = Image::new().codec(codec).layer(layer);
        let layer = sandbox.store().join("blobs/sha256").join(&image.layer_blobs()[0].digest[7..]);
        sandbox.write("image.tar", Producer::Strata.write(&[Named::new(NAME, image)]));
        sh(&sandbox, "load image.tar && unpack --from long:1 whole").success();
        sh(&sandbox, "inspect --cat first long:1 | cmp - whole/first").success();
        drop(fs::remove_dir_all(sandbox.store().join("strata/seek")));
        let mut bytes = fs::read(&layer).unwrap();
        let at = bytes.len() / 4;
        bytes[at] ^= 1;
        fs::set_permissions(&layer, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        fs::write(&layer, bytes).unwrap();
        for path in ["first", "other", "last"] {
            let output = sh(&sandbox, &format!("inspect --cat {path} long:1"));
            assert_eq!((output.code(), output.stdout.len()), (4, 0), "{path}: {}", output.stderr);
            assert_one_line(&output, "inspect");
        }
    }
}
