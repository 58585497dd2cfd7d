//! A store whose disk fails, and one that is seen through two mounts, by tools that make such things: strace and bindfs.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kit::peers::{Peer, peer, root_peer};
use kit::{Image, Layer, Named, Output, Sandbox};

fn image(content: &str) -> Image {
    Image::new().layer(Layer::new().dir("./", 0o755).file("f", content).tar())
}

/// A store in which one image has a name, and another has lost it.
fn place() -> Sandbox {
    let sandbox = Sandbox::new();
    let images = [("kept:1", image("kept")), ("gone:1", image("gone"))];
    sandbox.load(&images.map(|(name, it)| Named::new(&format!("docker.io/library/{name}"), it)));
    sandbox.command("images").args(["rm", "gone:1"]).run().success();
    sandbox
}

/// Runs a program of ours with system calls that fail.
fn inject(strace: &Peer, sandbox: &Sandbox, faults: &[&str], words: &[&str]) -> Output {
    let strace = sandbox.program(strace.path()).args(["-f", "-qq", "-o", "/dev/null"]).args(faults);
    strace.args(words).run()
}

fn n_blobs(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.store().join("blobs/sha256")).map_or(0, Iterator::count)
}

#[test]
fn a_disk_that_can_not_be_read_is_no_empty_disk() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    let store = sandbox.store();
    let index = fs::read_to_string(store.join("index.json")).unwrap();
    let manifest = store.join("blobs/sha256").join(&index.split("sha256:").nth(1).unwrap()[..64]);
    let reads = "inject=read,pread64:error=EIO";
    let opens = "inject=openat:error=EIO";
    let looks = "inject=statx:error=EIO";
    let lists = "inject=getdents64:error=EIO";
    for (path, fault) in [
        (store.join("index.json"), reads),
        (store.join("index.json"), opens),
        (manifest.clone(), reads),
        (manifest.clone(), opens),
        (manifest, looks),
        (store.join("blobs/sha256"), lists),
        (store.join("strata/leases"), lists),
        (store.join("strata/leases"), opens),
        (store.join("strata/unions"), lists),
    ] {
        let path = path.to_str().unwrap().to_owned();
        let output = inject(&strace, &sandbox, &["-P", &path, "-e", fault], &["images", "gc"]);
        assert!(output.fails_with(1).stderr.contains("nput/output error"), "{}", output.text());
        // The layers of unions come after the blobs.
        if !path.ends_with("unions") {
            assert_eq!(n_blobs(&sandbox), 6, "{path} {fault}");
        }
    }
}

#[test]
fn what_can_not_be_removed_is_told_and_not_counted() {
    let Some(strace) = peer("strace") else { return };
    for (errno, said) in [("EIO", "nput/output error"), ("EACCES", "ermission denied")] {
        let sandbox = place();
        let fault = ["-e", &format!("inject=unlink,unlinkat:error={errno}")];
        let output = inject(&strace, &sandbox, &fault, &["images", "gc"]);
        assert!(output.fails_with(1).stderr.contains(said), "{}", output.text());
        assert_eq!(output.out(), "", "{errno}");
        assert_eq!(n_blobs(&sandbox), 6);
        sandbox.command("images").arg("gc").run().success();
        assert_eq!(n_blobs(&sandbox), 3);
    }
}

/// Every file of a store with its content, but for locks and the like, which are empty.
fn contents(sandbox: &Sandbox) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut contents, mut dirs) = (BTreeMap::new(), vec![sandbox.store()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                contents.insert(path.clone(), fs::read(path).unwrap_or_default());
            }
        }
    }
    contents.retain(|_, content: &mut Vec<u8>| !content.is_empty());
    contents
}

// A file that fails is read as no other, and nothing is done as if it weren't there. What only saves work may be lost.
#[test]
fn no_file_of_a_store_that_can_not_be_read_is_one_that_is_not_there() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    sandbox.command("images").arg("gc").run().success();
    sandbox.command("unpack").args(["-q", "--from", "kept:1", "first"]).run().success();
    sandbox.command("commit").args(["-q", "--base", "kept:1", "-t", "two:1", "--no-layer"]).run();
    let saved = sandbox.command("save").args(["-q", "kept:1"]).run().success().stdout.clone();
    let before = contents(&sandbox);
    let is_whole = || {
        let after = contents(&sandbox);
        before.iter().filter(|(path, _)| !path.ends_with("strata/origins")).all(
            |(path, content)| {
                let is_note = path.starts_with(sandbox.store().join("strata"));
                is_note || after.get(path) == Some(content)
            },
        )
    };
    let mut n_failed = 0;
    for path in before.keys() {
        let text = path.to_str().unwrap();
        for fault in [
            "inject=openat:error=EIO",
            "inject=openat:error=EACCES",
            "inject=read,pread64:error=EIO",
        ] {
            let run = |words: &[&str]| inject(&strace, &sandbox, &["-P", text, "-e", fault], words);
            for words in [&["save", "-q", "kept:1"][..], &["images", "-q", "gc"]] {
                let output = run(words);
                let errno = ["nput/output error", "ermission denied"];
                match output.code() {
                    0 if words[0] == "save" => assert!(output.stdout == saved, "{text} {fault}"),
                    0 => {}
                    1 => assert!(
                        errno.iter().any(|it| output.stderr.contains(it)),
                        "{text} {fault} {words:?}: {}",
                        output.text()
                    ),
                    _ => panic!("{text} {fault} {words:?}: {}", output.text()),
                }
                n_failed += usize::from(output.code() == 1);
                assert!(is_whole(), "{text} {fault} {words:?}: {}", output.text());
            }
        }
    }
    assert!(n_failed >= 12, "only {n_failed} failed");
}

#[test]
fn a_load_that_the_disk_refuses_names_nothing_and_takes_nothing_away() {
    let Some(strace) = peer("strace") else { return };
    let other = [Named::new("docker.io/library/other:1", image("other"))];
    let archive = kit::Producer::Strata.write(&other);
    for (calls, errno, said) in [
        ("rename,renameat,renameat2", "EIO", "nput/output error"),
        ("rename,renameat,renameat2", "ENOSPC", "o space left"),
        ("rename,renameat,renameat2", "EACCES", "ermission denied"),
        ("fsync,fdatasync,syncfs", "EIO", "nput/output error"),
        ("fsync,fdatasync,syncfs", "ENOSPC", "o space left"),
        ("pwrite64,ftruncate", "ENOSPC", "o space left"),
        ("mkdir,mkdirat", "ENOSPC", "o space left"),
    ] {
        // All such calls, and all but the first.
        for when in ["1+", "2+"] {
            let sandbox = place();
            sandbox.write("other.tar", &archive);
            let before = contents(&sandbox);
            let fault = ["-e", &format!("inject={calls}:error={errno}:when={when}")];
            let output = inject(&strace, &sandbox, &fault, &["load", "other.tar"]);
            let shown = || format!("{calls} {errno} {when}: {}", output.text());
            let after = contents(&sandbox);
            let is_kept = |path: &PathBuf| {
                path.ends_with("index.json") || after.get(path) == before.get(path)
            };
            assert!(before.keys().all(is_kept), "{}", shown());
            let images = sandbox.command("images").run().success().out();
            match output.code() {
                0 => assert!(images.contains("other:1"), "{}", shown()),
                1 => {
                    assert!(output.stderr.contains(said), "{}", shown());
                    // It may have its name already where that couldn't be brought to the disk.
                    let is_named = images.contains("other:1");
                    assert!(!is_named || calls.contains("fsync"), "{}", shown());
                }
                _ => panic!("{}", shown()),
            }
            sandbox.command("load").args(["-q", "other.tar"]).run().success();
            sandbox.command("images").args(["verify", "-q"]).run().success();
        }
    }
}

#[test]
fn where_locks_keep_nobody_out_nothing_is_collected() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    let granted = ["-e", "inject=flock:retval=0"];
    let output = inject(&strace, &sandbox, &granted, &["images", "gc"]);
    assert!(output.fails_with(1).stderr.contains("locks don't work"), "{}", output.text());
    assert!(output.stderr.contains("--force"), "{}", output.text());
    assert_eq!(n_blobs(&sandbox), 6);
}

#[test]
fn where_there_are_no_locks_what_only_reads_works_and_says_so() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    for errno in ["ENOLCK", "EOPNOTSUPP", "ENOSYS"] {
        let none = ["-e", &format!("inject=flock:error={errno}")];
        let output = inject(&strace, &sandbox, &none, &["save", "kept:1", "-o", "saved.tar"]);
        let said = output.success().stderr.contains("nothing keeps gc from the image");
        assert!(said, "{}", output.text());
        let output = inject(&strace, &sandbox, &none, &["load", "saved.tar"]);
        assert!(output.fails_with(1).stderr.contains("hint: a store takes"), "{}", output.text());
    }
}

#[test]
fn a_name_that_could_not_be_synced_is_no_success() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    fs::create_dir(sandbox.path("d")).unwrap();
    let path = sandbox.path("d");
    let path = path.to_str().unwrap();
    let save = ["save", "kept:1", "-o", "d/saved.tar"];
    let output = inject(&strace, &sandbox, &["-P", path, "-e", "inject=fsync:error=EIO"], &save);
    assert!(output.fails_with(1).stderr.contains("nput/output error"), "{}", output.text());
    // A file system that can't.
    let output = inject(&strace, &sandbox, &["-P", path, "-e", "inject=fsync:error=EINVAL"], &save);
    output.success();
}

/// Unmounts when dropped, so that a failing test leaves nothing.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        Command::new("umount").args(["-q", "-l"]).arg(&self.0).status().ok();
    }
}

#[test]
fn as_root_where_the_kernel_tells_nothing_of_numbers_gc_goes_by_what_it_sees() {
    let Some(strace) = root_peer("strace") else { return };
    for errno in ["ENOSYS", "EPERM"] {
        let sandbox = Sandbox::new();
        let own = image(&format!("{errno} {}", std::process::id()));
        sandbox.load(&[Named::new("docker.io/library/app:1", own)]);
        let union = |words: &[&str]| sandbox.command("union").arg("-q").args(words).run();
        let mounted = Mount(sandbox.path("m"));
        union(&["app:1", "m"]).success();
        let none = ["-e", &format!("inject=ustat:error={errno}")];
        let elsewhere = [
            "unshare",
            "--pid",
            "--mount",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            "umount m; images gc",
        ];
        let n_layers = || {
            let kinds = fs::read_dir(sandbox.store().join("strata/layers")).unwrap();
            kinds.map(|kind| fs::read_dir(kind.unwrap().path()).unwrap().count()).sum::<usize>()
        };
        let output = inject(&strace, &sandbox, &none, &elsewhere);
        assert!(output.success().stderr.contains("PID namespaces"), "{}", output.text());
        assert_eq!(n_layers(), 2);
        // Who sees every process knows when it is over.
        inject(&strace, &sandbox, &none, &["images", "gc"]).success();
        assert_eq!(n_layers(), 2);
        drop(mounted);
        inject(&strace, &sandbox, &none, &["images", "gc"]).success();
        assert_eq!(n_layers(), 0);
    }
}

// As docker/docs#6267 and moby#15239 on NFS.
#[test]
fn as_root_a_store_that_is_seen_through_two_mounts_is_not_collected() {
    let Some(bindfs) = root_peer("bindfs") else { return };
    let sandbox = place();
    let store = sandbox.store();
    let mounts = ["a", "b"].map(|name| {
        let mount = Mount(sandbox.path(name));
        fs::create_dir(&mount.0).unwrap();
        bindfs.program(&sandbox).arg(&store).arg(&mount.0).run().success();
        mount
    });
    let images = |mount: &Mount, words: &[&str]| {
        sandbox.command("images").arg("--store").arg(&mount.0).args(words).run()
    };
    let output = images(&mounts[0], &["gc"]);
    assert!(output.fails_with(1).stderr.contains("FUSE"), "{}", output.text());
    assert!(output.stderr.contains("\nhint: "), "{}", output.text());
    assert_eq!(n_blobs(&sandbox), 6);
    // Everything else works: what one side loads, the other has.
    images(&mounts[1], &["verify"]).success();
    assert!(images(&mounts[0], &["gc", "--dry-run"]).success().out().contains("3 blobs"));
    images(&mounts[0], &["gc", "--force"]).success();
    assert_eq!(n_blobs(&sandbox), 3);
}
