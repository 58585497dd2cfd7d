//! In which order content, names and directories come to the disk, as strace sees it: a file's last byte is written, the
//! file is synced, it gets its name, and the directory with that name is synced. A sync that fails is an error.

use std::path::Path;

use kit::peers::peer;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Output, Producer, Registry, Sandbox};

const CALLS: &str = "trace=write,pwrite64,writev,ftruncate,sendfile,copy_file_range,splice,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlinkat";
const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];

/// A system call that succeeded.
#[derive(Debug)]
struct Call {
    name: String,
    /// Its arguments, with the paths of descriptors: `3</tmp/x>, "a"`.
    arguments: String,
    /// The lines of the trace where it began and where it ended.
    began: usize,
    ended: usize,
}

impl Call {
    fn is_sync(&self) -> bool {
        SYNCS.contains(&self.name.as_str())
    }

    fn is_write(&self) -> bool {
        !self.is_sync() && !self.name.starts_with("rename") && self.name != "unlinkat"
    }

    /// The path of the descriptor that is synced or written to.
    fn path(&self) -> &str {
        let is_second = ["copy_file_range", "splice"].contains(&self.name.as_str());
        let mut paths = self.arguments.split('<').skip(1 + usize::from(is_second));
        paths.next().and_then(|rest| rest.split_once('>')).map_or("", |(path, _)| path)
    }

    /// The paths that a rename is from and to.
    fn renamed(&self) -> Option<(String, String)> {
        self.name.starts_with("rename").then_some(())?;
        let mut paths = vec![];
        let mut directory = "";
        for argument in self.arguments.split(", ") {
            if let Some(name) = argument.strip_prefix('"').and_then(|it| it.strip_suffix('"')) {
                let is_whole = name.starts_with('/') || directory.is_empty();
                paths.push(if is_whole { name.to_owned() } else { format!("{directory}/{name}") });
            } else {
                let path = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
                directory = path.map_or("", |(path, _)| path);
            }
        }
        let to = paths.pop()?;
        Some((paths.pop()?, to))
    }
}

/// What a program did.
#[derive(Debug)]
struct Trace {
    calls: Vec<Call>,
}

impl Trace {
    /// Runs a line of one program under strace.
    #[track_caller]
    fn of(sandbox: &Sandbox, line: &str) -> Self {
        let script = format!("strace -f -y -qq -s 0 -o trace -e {CALLS} -e signal=none {line}");
        sh(sandbox, &script).success();
        Self::parse(&String::from_utf8(sandbox.read("trace")).expect("a trace is text"))
    }

    fn parse(text: &str) -> Self {
        let mut calls = vec![];
        let mut unfinished: Vec<(&str, &str, usize)> = vec![];
        for (n, line) in text.lines().enumerate() {
            let Some((thread, line)) = line.split_once(' ') else { continue };
            let line = line.trim_start();
            if let Some(call) = line.strip_suffix(" <unfinished ...>") {
                unfinished.push((thread, call, n));
                continue;
            }
            let (call, began) = if line.starts_with("<... ") {
                let at = unfinished.iter().position(|it| it.0 == thread).expect("it began");
                let (_, call, began) = unfinished.remove(at);
                (call, began)
            } else {
                (line, n)
            };
            let result = line.rsplit_once(" = ").map_or("", |(_, result)| result);
            let Some((name, arguments)) = call.split_once('(') else { continue };
            if result.is_empty() || result.starts_with('-') || result.starts_with('?') {
                continue;
            }
            let arguments = arguments.rsplit_once(") ").map_or(arguments, |(it, _)| it);
            let (name, arguments) = (name.to_owned(), arguments.trim_end().to_owned());
            calls.push(Call { name, arguments, began, ended: n });
        }
        Self { calls }
    }

    /// Checks that what got names that end so was on the disk before, and its names are afterwards; says when the first
    /// of them began to get its name, and when the last one was on the disk.
    #[track_caller]
    fn check(&self, is_wanted: impl Fn(&str) -> bool, n_expected: usize) -> (usize, usize) {
        let renames = self.calls.iter().filter_map(|call| Some((call, call.renamed()?)));
        let renames: Vec<_> = renames.filter(|(_, (_, to))| is_wanted(to)).collect();
        assert_eq!(renames.len(), n_expected, "{renames:#?}");
        let mut span = (usize::MAX, 0);
        for (rename, (from, to)) in &renames {
            let above = Path::new(to).parent().and_then(Path::to_str).expect("a whole path");
            // A tree is synced as a whole.
            let content = self.calls.iter().filter(|call| call.is_sync() && call.path() == from);
            let synced = content.filter(|call| call.ended < rename.began).max_by_key(|it| it.began);
            let synced = synced.unwrap_or_else(|| panic!("{from} isn't synced: {self:#?}"));
            let is_late = |call: &&Call| {
                call.is_write()
                    && call.ended > synced.began
                    && (call.path() == from || call.path().starts_with(&format!("{from}/")))
            };
            let late = self.calls.iter().find(is_late);
            assert!(late.is_none(), "{late:#?} comes after {synced:#?}");
            let named = self
                .calls
                .iter()
                .find(|call| call.is_sync() && call.path() == above && call.began > rename.ended);
            let named = named.unwrap_or_else(|| panic!("{above} isn't synced: {self:#?}"));
            span = (span.0.min(rename.began), span.1.max(named.ended));
        }
        span
    }

    /// Checks that the store's new blobs, so many, are on the disk before the new index is there, and that so is.
    #[track_caller]
    fn check_store(&self, n_blobs: usize) {
        let (index, _) = self.check(|to| to.ends_with("/index.json"), 1);
        if n_blobs > 0 {
            let (_, blobs) = self.check(|to| to.contains("/blobs/sha256/"), n_blobs);
            assert!(blobs < index, "blobs at {blobs}, the index at {index}: {self:#?}");
        }
    }
}

fn image() -> Image {
    Image::new().layer(Layer::new().file("f", "x")).layer(Layer::new().file("g", vec![7; 100_000]))
}

fn sandbox() -> Option<Sandbox> {
    peer("strace")?;
    let sandbox = Sandbox::new();
    sandbox.write("in", Producer::Strata.write(&[Named::new("docker.io/library/app:1", image())]));
    let before = Image::new().layer(Layer::new().file("before", "x"));
    sandbox
        .write("before", Producer::Strata.write(&[Named::new("docker.io/library/old:1", &before)]));
    sh(&sandbox, "load -q before && load -q --store other in && rm before").success();
    Some(sandbox)
}

/// The files that a tree's bytes went to.
fn written(trace: &Trace, below: &str) -> usize {
    trace.calls.iter().filter(|it| it.is_write() && it.path().contains(below)).count()
}

#[test]
fn a_new_directory_has_its_name_after_it_is_on_the_disk_and_the_name_is_synced() {
    let Some(sandbox) = sandbox() else { return };
    for line in ["unpack -q --from ./in root", "unpack -q --bundle --from ./in b"] {
        let trace = Trace::of(&sandbox, line);
        assert!(written(&trace, "/tree/") > 1, "{trace:#?}");
        trace.check(|to| to.ends_with("/work/root") || to.ends_with("/work/b"), 1);
    }
    let trace = Trace::of(&sandbox, "unpack -q --no-sync --from ./in cached");
    let syncs = trace.calls.iter().filter(|it| it.is_sync() && it.path().contains("/work"));
    assert_eq!(syncs.count(), 0);
}

#[test]
fn an_existing_directory_loses_its_mark_after_it_is_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    std::fs::create_dir(sandbox.path("root")).unwrap();
    let trace = Trace::of(&sandbox, "unpack -q --from ./in root");
    let is_unmarking =
        |call: &&Call| call.name == "unlinkat" && call.arguments.contains(".strata-incomplete");
    let unmarked = trace.calls.iter().rfind(is_unmarking).unwrap();
    let syncs =
        || trace.calls.iter().filter(|it| it.is_sync() && it.path().ends_with("/work/root"));
    let before = syncs().filter(|it| it.ended < unmarked.began).max_by_key(|it| it.began).unwrap();
    assert!(syncs().any(|it| it.began > unmarked.ended), "{trace:#?}");
    let in_tree = |it: &&Call| it.is_write() && it.path().contains("/work/root/");
    let last = trace.calls.iter().filter(in_tree).map(|it| it.ended).max().unwrap();
    assert!(last < before.began, "{trace:#?}");
}

#[test]
fn a_loaded_image_has_its_name_after_its_blobs_are_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    // Two layers, config and manifest.
    Trace::of(&sandbox, "load -q in").check_store(4);
}

#[test]
fn a_pulled_image_has_its_name_after_its_blobs_are_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    let registry = Registry::start();
    registry.add("app:1", image());
    let line = format!("pull -q --no-stream {}", registry.name("app:1"));
    Trace::of(&sandbox, &line).check_store(4);
}

#[test]
fn a_committed_image_has_its_name_after_its_blobs_are_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    sandbox.write("layer", Layer::new().file("new", "x").tar());
    let line = "commit -q --base scratch -t mine:1 < layer";
    sh(&sandbox, "load -q in").success();
    Trace::of(&sandbox, line).check_store(3);
}

#[test]
fn a_tag_is_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    sh(&sandbox, "load -q in").success();
    Trace::of(&sandbox, "images tag app:1 other:2").check_store(0);
    Trace::of(&sandbox, "images rm app:1").check_store(0);
}

#[test]
fn a_saved_archive_has_its_name_after_it_is_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    let trace = Trace::of(&sandbox, "save -q --store other app:1 -o $PWD/out.tar");
    trace.check(|to| to.ends_with("/out.tar"), 1);
}

#[test]
fn a_new_stores_own_names_are_on_the_disk() {
    let Some(sandbox) = sandbox() else { return };
    let trace = Trace::of(&sandbox, "load -q --store new/deep/store in");
    for above in ["/work", "/work/new", "/work/new/deep"] {
        let is_synced = |it: &Call| it.is_sync() && it.path().ends_with(above);
        assert!(trace.calls.iter().any(is_synced), "{above}: {trace:#?}");
    }
}

/// Runs a line while every call of `call` fails.
fn with_fault(sandbox: &Sandbox, call: &str, line: &str) -> Output {
    let fault = format!("-e trace={call} -e inject={call}:error=EIO");
    sh(sandbox, &format!("strace -f -qq -o /dev/null {fault} {line}"))
}

#[test]
fn a_sync_that_fails_is_an_error_and_nothing_is_named() {
    let Some(sandbox) = sandbox() else { return };
    std::fs::create_dir(sandbox.path("empty")).unwrap();
    let digests = sh(&sandbox, "images digests").out();
    for (call, line) in [
        ("syncfs", "unpack -q --from ./in root"),
        ("syncfs", "unpack -q --from ./in empty"),
        ("fsync", "save -q --store other app:1 -o out.tar"),
        ("fsync,fdatasync", "load -q in"),
    ] {
        let output = with_fault(&sandbox, call, line);
        assert_eq!(output.code(), 1, "{line}: {}", output.text());
        assert_eq!(output.stderr.lines().count(), 1, "{}", output.text());
        assert!(output.stderr.contains("input/output error"), "{}", output.text());
    }
    let mut names: Vec<_> = std::fs::read_dir(sandbox.path("")).unwrap().flatten().collect();
    names.retain(|it| it.file_name() != "in" && it.file_name() != "other");
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(std::fs::read_dir(sandbox.path("empty")).unwrap().count(), 0);
    assert_eq!(sh(&sandbox, "images digests").out(), digests);
}

#[test]
fn a_name_that_cannot_be_synced_is_an_error() {
    let Some(sandbox) = sandbox() else { return };
    for (fault, line) in [
        ("fsync:error=EIO", "unpack -q --from ./in root"),
        ("fsync:error=EIO:when=2+", "save -q --store other app:1 -o out.tar"),
    ] {
        let fault = format!("-e trace=fsync -e inject={fault}");
        let output = sh(&sandbox, &format!("strace -f -qq -o /dev/null {fault} {line}"));
        assert_eq!(output.code(), 1, "{line}: {}", output.text());
        assert!(output.stderr.contains("input/output error"), "{}", output.text());
    }
    // What says that it can't sync directories is believed; the file system is synced then.
    let fault = "-e trace=fsync,syncfs -e inject=fsync:error=EINVAL";
    let line = "unpack -q --from ./in second";
    sh(&sandbox, &format!("strace -f -qq -o trace {fault} {line}")).success();
    let trace = String::from_utf8(sandbox.read("trace")).unwrap();
    assert_eq!(trace.matches("syncfs(").count(), 2, "{trace}");
}
