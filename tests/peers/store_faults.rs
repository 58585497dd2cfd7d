//! A store whose disk fails, and one that is seen through two mounts, by tools that make such things: strace and bindfs.

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
fn where_locks_keep_nobody_out_nothing_is_collected() {
    let Some(strace) = peer("strace") else { return };
    let sandbox = place();
    let granted = ["-e", "inject=flock:retval=0"];
    let output = inject(&strace, &sandbox, &granted, &["images", "gc"]);
    assert!(output.fails_with(1).stderr.contains("locks keep nobody out"), "{}", output.text());
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
