//! Several layers at once: files are made before their turn, and nobody can tell. Whatever `--jobs` says, the tree, the errors and what
//! is left behind are those of one layer after the other.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use kit::image::random::{Random, random};
use kit::pipeline::{Script, sh};
use kit::tree::{self, Show};
use kit::{Codec, Image, Layer, Named, Producer, Sandbox};
use rustix::process::Signal;

use crate::fixtures::{assert_one_line, half_made, lacks, lacks_root, names, stream_of};
use crate::gc::wait_for;

const NAME: &str = "docker.io/library/app:1";
/// Where files stand before their turn.
const AHEAD: &str = "ahead";

/// All of a tree but the root, which no layer describes here.
fn shown(sandbox: &Sandbox, name: &str) -> String {
    let shown = tree::show_with(sandbox.path(name), Show::ALL);
    shown.lines().filter(|line| !line.contains(" ./ ")).collect::<Vec<_>>().join("\n")
}

/// Three layers of so many files, which don't compress, and the first of them is the longest.
fn noise(n_files: usize) -> Image {
    noise_by(Codec::GZIP, n_files)
}

fn noise_by(codec: Codec, n_files: usize) -> Image {
    let layer = |seed: u64, n_files| {
        (0..n_files).fold(Layer::new(), |layer, n| {
            let file = Random::new(seed + n as u64).bytes(100_000);
            layer.file(format!("layer{seed}/dir{}/{n}", n % 7), file)
        })
    };
    let image = Image::new().codec(codec).layer(layer(1000, 2 * n_files));
    image.layer(layer(2000, n_files)).layer(layer(3000, n_files))
}

/// A store with six layers, for programs whose system calls strace sees or refuses; `None` without strace.
fn six_layers_for_strace() -> Option<Sandbox> {
    if lacks(&["strace"]) {
        return None;
    }
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, random(1, 6, 10))]);
    Some(sandbox)
}

/// Flips a bit in the middle of a layer's blob in the store.
fn damage(sandbox: &Sandbox, image: &Image, layer: usize) {
    let blob = image.layer_blobs().swap_remove(layer);
    let path = sandbox.store().join("blobs/sha256").join(blob.hex());
    let mut file = File::options().read(true).write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(middle)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
}

// containerd#13030: where layers were unpacked at once, whiteouts were lost.
#[test]
fn the_tree_is_the_same_however_many_layers_are_worked_on_at_once() {
    let random = (1..3).map(|seed| random(seed, 6, 40));
    for image in random.chain([Codec::None, Codec::ZSTD].map(|codec| noise_by(codec, 2))) {
        let sandbox = Sandbox::new();
        sandbox.load(&[Named::new(NAME, &image)]);
        sandbox.command("unpack").arg("pipe").input(stream_of(&image)).run().success();
        let expected = shown(&sandbox, "pipe");
        for producer in Producer::ALL {
            sandbox.write("in", producer.write(&[Named::new(NAME, &image)]));
            sh(&sandbox, "unpack -q --jobs 4 root < in").success();
            assert!(shown(&sandbox, "root") == expected, "{producer:?}");
            fs::remove_dir_all(sandbox.path("root")).unwrap();
        }
        for jobs in [1, 2, 3, 64] {
            let script = format!(
                "unpack -q --jobs {jobs} --from app:1 new; mkdir old; unpack -q --jobs {jobs} --from app:1 old"
            );
            sh(&sandbox, &script).success();
            for name in ["new", "old"] {
                assert!(shown(&sandbox, name) == expected, "{name}, {jobs} jobs");
                fs::remove_dir_all(sandbox.path(name)).unwrap();
            }
        }
        assert_eq!(names(sandbox.path("")), ["in", "pipe"]);
    }
}

#[test]
fn as_many_layers_are_worked_on_at_once_as_jobs_are_asked_for() {
    let Some(sandbox) = six_layers_for_strace() else { return };
    for (jobs, n_ahead) in [(1, 0), (2, 1), (4, 3), (6, 5), (7, 5)] {
        let script = format!(
            "strace -f -qq -e trace=mkdirat,mkdir -o calls unpack -q --jobs {jobs} --from app:1 root; rm -rf root"
        );
        sh(&sandbox, &script).success();
        let calls = String::from_utf8(sandbox.read("calls")).unwrap();
        let lanes = (0..9).filter(|lane| calls.contains(&format!(", \"{lane}\", 0700")));
        assert_eq!(lanes.count(), n_ahead, "{jobs} jobs: {calls}");
    }
}

// Landlock answers EXDEV where a process may make files and not move them between directories.
#[test]
fn where_no_file_may_be_moved_the_layers_are_applied_one_by_one() {
    let Some(sandbox) = six_layers_for_strace() else { return };
    let strace = "strace -f -o /dev/null -e trace=renameat,renameat2 -e inject=renameat,renameat2:error=EXDEV";
    let script = format!(
        "mkdir one two; unpack -q --from app:1 one; {strace} unpack -q --jobs 3 --from app:1 two"
    );
    sh(&sandbox, &script).success();
    assert_eq!(shown(&sandbox, "one"), shown(&sandbox, "two"));
}

#[test]
fn an_error_is_told_in_its_turn_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    let image = noise(8);
    sandbox.load(&[Named::new(NAME, &image)]);
    // The first damage is the one to be told, though the second one is found earlier.
    for (layer, told) in [(2, "layer 3 of 3"), (1, "layer 2 of 3"), (0, "layer 1 of 3")] {
        damage(&sandbox, &image, layer);
        for jobs in [1, 2, 3] {
            for make in ["", "mkdir root;"] {
                let script = format!("{make} unpack --jobs {jobs} --from app:1 root");
                let output = sh(&sandbox, &script);
                assert_one_line(output.fails_with(4), "unpack");
                assert!(output.stderr.contains(told), "{jobs} jobs: {}", output.stderr);
                if !make.is_empty() {
                    assert!(names(sandbox.path("root")).is_empty());
                    fs::remove_dir(sandbox.path("root")).unwrap();
                }
                assert!(names(sandbox.path("")).is_empty(), "{jobs} jobs");
            }
        }
    }
}

/// The status and the error of a script for each number of jobs, which must be the same.
fn same(sandbox: &Sandbox, script: impl Fn(usize) -> String) -> (i32, String) {
    let said = [1, 2, 4].map(|jobs| {
        let output = sh(sandbox, &script(jobs));
        let lines = output.stderr.lines().filter(|line| line.starts_with("unpack: "));
        (output.code(), lines.collect::<String>())
    });
    assert_eq!(said[0], said[1]);
    assert_eq!(said[0], said[2]);
    let [said, ..] = said;
    said
}

#[test]
fn what_the_layers_below_make_impossible_is_refused_as_ever() {
    let link = Layer::new().file("a", "x").hardlink("b", "gone");
    let image = Image::new().layer(Layer::new().file("f", "x")).layer(link);
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, image.layer(Layer::new().file("g", "x")))]);
    let (code, told) = same(&sandbox, |jobs| format!("unpack --jobs {jobs} --from app:1 root"));
    assert!(code == 4 && told.contains("layer 2 of 3"), "{told}");
    assert!(told.contains("hard link to gone"), "{told}");
}

#[test]
fn limits_name_the_layer_that_breaks_them() {
    let sandbox = Sandbox::new();
    let bomb = Layer::new().file("bomb", vec![0; 64 << 20]);
    sandbox.load(&[Named::new(NAME, noise(8).layer(bomb))]);
    for (limit, layer) in [("--max-size 20M", 4), ("--max-entries 20", 2)] {
        let (code, told) =
            same(&sandbox, |jobs| format!("unpack --jobs {jobs} {limit} --from app:1 root"));
        assert!(code == 4 && told.contains(&format!("layer {layer} of 4")), "{told}");
        assert!(names(sandbox.path("")).is_empty());
    }
}

#[test]
fn a_layer_that_is_cut_off_is_told_in_the_same_words() {
    let sandbox = Sandbox::new();
    let bytes = stream_of(&noise_by(Codec::None, 2));
    for part in [2, 5, 8] {
        sandbox.write("in", &bytes[..bytes.len() / 10 * part]);
        let (code, told) = same(&sandbox, |jobs| format!("unpack --jobs {jobs} root < in"));
        assert!(code == 4 && told.contains("ended inside"), "{told}");
    }
}

#[test]
fn what_stands_in_a_directory_that_is_filled_in_place_is_out_of_reach() {
    let sandbox = Sandbox::new();
    let link = Layer::new().file("a", "x").symlink("s", "../ahead/0").symlink("t", "ahead/0");
    let through =
        Layer::new().file("pad", vec![1; 1 << 20]).file("s/0", "evil").file("t/0", "evil");
    let image = Image::new().layer(link).layer(through).layer(Layer::new().file("d", "sound"));
    sandbox.load(&[Named::new(NAME, &image)]);
    for make in ["", "mkdir root;"] {
        let trees = [1, 2, 3].map(|jobs| {
            let flags = format!("-q --keep-symlinked-dirs --jobs {jobs} --from app:1");
            sh(&sandbox, &format!("rm -rf root; {make} unpack {flags} root")).success();
            shown(&sandbox, "root")
        });
        assert!(trees[0].contains("sound"), "{}", trees[0]);
        assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:#?}");
    }
}

#[test]
fn too_few_open_files_are_enough_for_one_layer_after_the_other() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, random(1, 6, 20))]);
    for n in [30, 34, 40] {
        let script = |jobs| {
            format!(
                "ulimit -n {n}; unpack -q --jobs {jobs} --from app:1 root; code=$?; rm -rf root; exit $code"
            )
        };
        assert_eq!(same(&sandbox, script), (0, String::new()), "{n}");
    }
}

#[test]
fn a_run_that_is_stopped_leaves_nothing_and_after_one_that_is_killed_the_next_tidies_up() {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, noise(100))]);
    let start = || Script::new(&sandbox, "exec unpack -q --jobs 3 --from app:1 root").start();
    let is_at_work = |left: Option<&Path>| {
        let tree = half_made(&sandbox).filter(|tree| Some(&**tree) != left);
        let ahead = tree.map(|tree| tree.with_file_name(AHEAD));
        ahead.is_some_and(|ahead| ahead.join("0/0").exists() || ahead.join("1/0").exists())
    };
    start().kill_when(|| is_at_work(None));
    let left = half_made(&sandbox).expect("a killed program leaves what it made");
    let running = start();
    wait_for(|| is_at_work(Some(&left)));
    running.signal(Signal::INT);
    assert_eq!(running.wait().code(), 130);
    assert!(names(sandbox.path("")).is_empty());
    start().wait().success();
    assert_eq!(names(sandbox.path("root")), ["layer1000", "layer2000", "layer3000"]);
}

#[test]
fn as_root_a_full_disk_is_told_and_left_empty() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new(NAME, noise(20))]);
    let script = "mkdir disk && mount -t tmpfs -o size=5m tmpfs disk || exit 99
        unpack -q --jobs 3 --from app:1 disk/root; code=$?; ls -A disk; umount disk; exit $code";
    let output = sh(&sandbox, script);
    assert_one_line(output.fails_with(1), "unpack");
    assert!(output.stderr.contains("no space left"), "{}", output.stderr);
    assert_eq!(output.out(), "");
}

#[test]
fn as_root_what_fits_a_disk_layer_by_layer_fits_it_whatever_the_number_of_jobs() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let layer = |seed| Layer::new().file("same", Random::new(seed).bytes(2_000_000));
    sandbox.load(&[Named::new(NAME, Image::new().layer(layer(1)).layer(layer(2)))]);
    let script = |jobs| {
        format!(
            "mkdir disk && mount -t tmpfs -o size=3m tmpfs disk || exit 99
             unpack -q --jobs {jobs} --from app:1 disk/root; code=$?; umount disk; rmdir disk; exit $code"
        )
    };
    assert_eq!(same(&sandbox, script), (0, String::new()));
}

#[test]
fn as_root_files_get_the_group_that_they_get_one_layer_after_the_other() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let layer = |name| Layer::new().file(name, "x").mode(0o2755);
    sandbox.load(&[Named::new(NAME, Image::new().layer(layer("a")).layer(layer("b")))]);
    sh(&sandbox, "mkdir p && chown 0:77 p && chmod 2755 p").success();
    for flags in ["--owner ignore", "--owner ignore --keep-setuid", ""] {
        let trees = [1, 2].map(|jobs| {
            let unpack = format!("unpack -q {flags} --jobs {jobs} --from app:1 p/root");
            sh(&sandbox, &format!("rm -rf p/root; {unpack}")).success();
            shown(&sandbox, "p/root")
        });
        assert_eq!(trees[0], trees[1], "{flags}");
    }
}

// moby#19647: chown after the content takes setuid away, whoever makes the file.
#[test]
fn as_root_owners_special_bits_and_attributes_are_those_of_the_layer() {
    if lacks_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let special = "-rwsr-sr-x 7:8 su \"x\"\n-r--r--r-- 7:8 ro \"x\" @12.5 user.a=\"b\"\n";
    let first = Image::new().layer(Layer::new().file("big", vec![1; 1 << 20]));
    let image = first.layer(Layer::text(special));
    sandbox.load(&[Named::new(NAME, &image)]);
    // Where the directory passes group and lists on, files get what the layer says all the same.
    let script = "mkdir plain passing && chgrp 9 passing && chmod 2755 passing && setfacl -d -m u:5:rwx passing
        unpack -q --jobs 2 --from app:1 plain && unpack -q --jobs 2 --from app:1 passing
        getfacl -cp passing/su plain/su";
    sh(&sandbox, script).success();
    assert_eq!(shown(&sandbox, "plain"), shown(&sandbox, "passing"));
}
