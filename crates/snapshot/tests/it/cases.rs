//! Single cases, each with what must come out.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use kit::command::plain_user::run_as_plain_user;
use kit::tree::{self, Mtime, Show};

use crate::{apply, is_root, quick_dir, show, snapshot, try_snapshot};

/// The lengths at the edges of the buffers that attributes pass through, to the most that Linux allows.
const LENGTHS: [usize; 8] = [0, 1, 255, 256, 257, 1024, 4095, 65_536];

// restic#4929: values of more than 256 bytes became empty, and lists of names of more than 1,024 bytes lost all.
#[test]
fn attributes_of_every_length_come_back_and_tell_of_a_change() {
    for length in LENGTHS {
        let value = |last: char| format!("{}{last}", "v".repeat(length.saturating_sub(1)));
        let line =
            |value: &str| format!("-rw-r--r-- 0:0 f \"x\" @5 user.a=\"{value}\" user.b=\"b\"");
        let trees = Trees::new(&line(&value('1')[..length]));
        assert_eq!(trees.list(&[]), "", "{length}");
        fs::remove_file(trees.path("now/f")).unwrap();
        let other = value('2');
        tree::build(trees.path("now"), &line(if length == 0 { "x" } else { &other }));
        assert_eq!(trees.list(&["--ignore", "mtime"]), "C f\n", "{length}");
        let again = trees.again(&trees.layer(&[]));
        tree::assert_same(&show(&trees.path("now")), &show(&again));
    }
}

#[test]
fn lists_of_names_longer_than_any_first_buffer_come_back() {
    // A name of 255 bytes is the longest; 250 of them are nearly the longest list.
    for n_names in [4, 5, 40, 250] {
        let names = (0..n_names).map(|n| format!(" user.{n:0>250}=\"{n}\""));
        let line = format!("-rwxr-xr-x 0:0 f \"x\" @5{}", names.collect::<String>());
        let trees = Trees::new(&line);
        assert_eq!(trees.list(&[]), "", "{n_names}");
        fs::set_permissions(trees.path("now/f"), fs::Permissions::from_mode(0o700)).unwrap();
        let again = trees.again(&trees.layer(&[]));
        tree::assert_same(&show(&trees.path("now")), &show(&again));
        assert!(show(&again).contains(&format!("{:0>250}", n_names - 1)), "{n_names}");
    }
}

#[test]
fn as_root_access_lists_of_forty_entries_come_back() {
    if !is_root() {
        return kit::peers::skip("access lists of strangers", "they need root");
    }
    let entry = |tag: u8, permissions: u8, id: u32| {
        [&[tag, 0, permissions, 0][..], &id.to_le_bytes()].concat()
    };
    let users = (0..40).flat_map(|id| entry(2, 4, 1000 + id));
    let none = u32::MAX;
    let acl: Vec<u8> = [2, 0, 0, 0]
        .into_iter()
        .chain(entry(1, 6, none))
        .chain(users)
        .chain([entry(4, 4, none), entry(16, 4, none), entry(32, 4, none)].concat())
        .collect();
    let value = acl.iter().fold(String::new(), |text, byte| format!("{text}\\x{byte:02x}"));
    let trees = Trees::new(&format!(
        "-rw-r--r-- 0:0 f \"x\" @5 system.posix_acl_access=\"{value}\"\n\
         drwxr-xr-x 0:0 d/ @5 system.posix_acl_default=\"{value}\""
    ));
    assert_eq!(trees.list(&[]), "");
    let again = trees.again(&trees.layer(&[]));
    tree::assert_same(&show(&trees.path("base")), &show(&again));
    assert_eq!(show(&again).matches("\\xe8\\x03").count(), 2, "{}", show(&again));
}

/// A base and a copy of it, made from lines of the kit's.
struct Trees {
    place: tempfile::TempDir,
}

impl Trees {
    fn new(lines: &str) -> Self {
        Self::at(quick_dir(), lines)
    }

    fn at(place: tempfile::TempDir, lines: &str) -> Self {
        tree::build(place.path().join("base"), lines);
        let trees = Self { place };
        trees.copy("now");
        trees
    }

    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.place.path().join(name);
        fs::create_dir(&copy).unwrap();
        apply(&copy, &[&snapshot(&self.path("base"), "scratch", &[])]);
        copy
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn base(&self) -> String {
        format!("dir:{}", self.path("base").display())
    }

    fn layer(&self, words: &[&str]) -> Vec<u8> {
        snapshot(&self.path("now"), &self.base(), words)
    }

    fn list(&self, words: &[&str]) -> String {
        let words: Vec<_> = ["--list"].iter().chain(words).copied().collect();
        String::from_utf8(self.layer(&words)).unwrap()
    }

    /// Base and layer, applied.
    fn again(&self, layer: &[u8]) -> PathBuf {
        let again = self.copy("again");
        apply(&again, &[layer]);
        again
    }

    /// The base and its snapshot make the same tree.
    #[track_caller]
    fn check(&self, list: &str) {
        assert_eq!(self.list(&["--ignore", "mtime"]), list);
        let again = self.again(&self.layer(&[]));
        tree::assert_same(&show(&self.path("now")), &show(&again));
    }
}

fn entries(layer: &[u8]) -> String {
    tree::show_tar(layer, Show { mtime: Mtime::Hidden, owner: false, ..Show::ALL })
}

#[test]
fn nothing_changed_is_an_empty_layer() {
    let trees = Trees::new("-rw-r--r-- 0:0 a/b/c 1 \"x\"\nlrwxrwxrwx 0:0 l -> a");
    assert_eq!(trees.layer(&[]), [0; 1024]);
    assert_eq!(trees.list(&["--json"]), "[]\n");
}

#[test]
fn whiteouts_come_before_their_siblings_and_parents_with_them() {
    let trees = Trees::new("-rw-r--r-- 0:0 a/x 0\n-rw-r--r-- 0:0 a/z 0\n-rw-r--r-- 0:0 b/y 0");
    let now = trees.path("now");
    fs::remove_file(now.join("a/z")).unwrap();
    fs::write(now.join("a/m"), "new").unwrap();
    fs::write(now.join("b/y"), "more").unwrap();
    trees.check("D a/z\nA a/m\nC b/y\n");
    let layer = entries(&trees.layer(&["--ignore", "mtime"]));
    let paths: Vec<_> = layer.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(paths, ["./", "a/", "a/.wh.z", "a/m", "b/", "b/y"], "{layer}");
}

#[test]
fn directories_and_files_take_each_others_places() {
    let trees = Trees::new("-rw-r--r-- 0:0 d/x 0\n-rw-r--r-- 0:0 f 0\nlrwxrwxrwx 0:0 l -> d");
    let now = trees.path("now");
    fs::remove_dir_all(now.join("d")).unwrap();
    fs::write(now.join("d"), "").unwrap();
    fs::remove_file(now.join("f")).unwrap();
    fs::create_dir(now.join("f")).unwrap();
    fs::write(now.join("f/y"), "").unwrap();
    fs::remove_file(now.join("l")).unwrap();
    fs::create_dir_all(now.join("l/deep")).unwrap();
    trees.check("C d\nC f\nA f/y\nC l\nA l/deep\n");
}

#[test]
fn a_directory_made_anew_has_none_of_its_old_children() {
    let trees = Trees::new("-rw-r--r-- 0:0 d/old/x 0\n-rw-r--r-- 0:0 d/same 1 \"s\"");
    let now = trees.path("now");
    fs::remove_dir_all(now.join("d")).unwrap();
    fs::create_dir(now.join("d")).unwrap();
    fs::write(now.join("d/new"), "").unwrap();
    trees.check("D d/old\nD d/same\nA d/new\n");
}

#[test]
fn a_group_of_hard_links_is_written_whole() {
    let trees = Trees::new(
        "-rw-r--r-- 0:0 a 1 \"1\"\n-rw-r--r-- 0:0 b = a\n-rw-r--r-- 0:0 c = a\n-rw-r--r-- 0:0 d 1 \"2\"",
    );
    let now = trees.path("now");
    fs::hard_link(now.join("d"), now.join("e")).unwrap();
    trees.check("C d\nA e\n");
    // One that leaves its group leaves the others as they are.
    let content = fs::read(now.join("b")).unwrap();
    let time = fs::metadata(now.join("b")).unwrap().modified().unwrap();
    fs::remove_file(now.join("b")).unwrap();
    fs::write(now.join("b"), content).unwrap();
    File::open(now.join("b")).unwrap().set_modified(time).unwrap();
    fs::remove_dir_all(trees.path("again")).unwrap();
    trees.check("C b\nC d\nA e\n");
    assert!(
        trees.list(&["--json"]).contains(r#"{"attributes":["links"],"change":"C","path":"b"}"#)
    );
    assert!(!trees.list(&["--ignore", "links,mtime"]).contains(" b\n"));
    // Where more than that has changed, that is what is told.
    fs::write(now.join("b"), "22").unwrap();
    File::open(now.join("b")).unwrap().set_modified(time).unwrap();
    assert!(trees.list(&["--json"]).contains(r#"{"attributes":["size"],"change":"C","path":"b"}"#));
}

#[test]
fn files_that_become_one_are_a_group_though_nothing_else_tells() {
    let trees = Trees::new("-rw-r--r-- 0:0 a 1 \"x\"\n-rw-r--r-- 0:0 b 1 \"x\"");
    fs::remove_file(trees.path("now/b")).unwrap();
    fs::hard_link(trees.path("now/a"), trees.path("now/b")).unwrap();
    trees.check("C a\nC b\n");
}

#[test]
fn a_link_to_a_file_of_the_base_brings_its_content() {
    let trees = Trees::new("-rw-r--r-- 0:0 z 4 \"base\"");
    fs::hard_link(trees.path("now/z"), trees.path("now/a")).unwrap();
    let layer = entries(&trees.layer(&["--ignore", "mtime"]));
    assert_eq!(
        layer.lines().skip(1).collect::<Vec<_>>(),
        ["-rw-r--r-- a 4 \"base\"", "-rw-r--r-- z = a"]
    );
    trees.check("A a\nC z\n");
}

#[test]
fn a_nanosecond_and_a_byte_of_the_same_size_are_changes() {
    let trees = Trees::new("-rw-r--r-- 0:0 a 1 \"x\" @5.000000001\n-rw-r--r-- 0:0 b 1 \"x\" @5.5");
    let now = trees.path("now");
    let time = |nanos| FileTimes::new().set_modified(UNIX_EPOCH + Duration::new(5, nanos));
    File::open(now.join("a")).unwrap().set_times(time(2)).unwrap();
    fs::write(now.join("b"), "y").unwrap();
    File::open(now.join("b")).unwrap().set_times(time(500_000_000)).unwrap();
    assert_eq!(trees.list(&[]), "C a\n");
    assert_eq!(trees.list(&["--checksum"]), "C a\nC b\n");
    assert_eq!(trees.list(&["--checksum", "--ignore", "mtime"]), "C b\n");
    let json = trees.list(&["--checksum", "--json"]);
    assert!(json.contains(r#"{"attributes":["content"],"change":"C","path":"b"}"#), "{json}");
    let again = trees.again(&trees.layer(&["--checksum"]));
    tree::assert_same(&show(&now), &show(&again));
}

#[test]
fn times_before_1970_and_after_2106_are_kept_and_compared_as_the_disk_has_them() {
    let lines = "-rw-r--r-- 0:0 a 0 @-2000000000.25\n-rw-r--r-- 0:0 b 0 @15000000000\n-rw-r--r-- 0:0 c 0 @99999999999.5";
    for place in [tempfile::tempdir().unwrap(), quick_dir()] {
        let trees = Trees::at(place, lines);
        assert_eq!(trees.list(&[]), "");
        // The base is in memory, which holds any time, the copy on a disk that may not.
        let disk = tempfile::tempdir().unwrap();
        apply(disk.path(), &[&snapshot(&trees.path("base"), "scratch", &[])]);
        assert_eq!(snapshot(disk.path(), &trees.base(), &["--list"]), b"");
    }
}

#[test]
fn the_same_tree_on_another_file_system_is_the_same_layer() {
    let lines: String = (0..300).rev().fold(String::new(), |lines, n| {
        format!("{lines}-rw-r--r-- 0:0 d{}/{n} 3 \"abc\" @{n}.5 user.n=\"{n}\"\n", n % 7)
    });
    let lines = lines + "-rw-r--r-- 0:0 d1/link = d2/2\n";
    let (here, there) = (quick_dir(), tempfile::tempdir_in("/var/tmp").unwrap());
    tree::build(here.path(), &lines);
    apply(there.path(), &[&snapshot(here.path(), "scratch", &[])]);
    assert_eq!(snapshot(here.path(), "scratch", &[]), snapshot(there.path(), "scratch", &[]));
}

#[test]
fn odd_names_are_kept_and_those_of_whiteouts_refused() {
    let long = vec!["n".repeat(250); 20].join("/");
    let trees = Trees::new("drwxr-xr-x 0:0 d/");
    let now = trees.path("now");
    tree::build(
        &now,
        &format!("-rw-r--r-- 0:0 {} 0\n-rw-r--r-- 0:0 a\\xffb/.wh/\\n 0", &long[..3500]),
    );
    trees.check(&trees.list(&["--ignore", "mtime"]));
    fs::write(now.join("d/.wh.x"), "").unwrap();
    let error = try_snapshot(&now, &trees.base(), &[]).unwrap_err();
    assert!(
        format!("{error:#}").contains("d/.wh.x: names that begin with .wh. mean whiteouts"),
        "{error:#}"
    );
    assert_eq!(
        trees.list(&["--exclude", ".wh.*", "--exclude", "n*", "--exclude", "a*"]),
        "C .\nC d\n"
    );
}

#[test]
fn a_directory_that_unpack_has_not_filled_is_refused() {
    let trees = Trees::new("drwxr-xr-x 0:0 d/");
    let now = trees.path("now");
    fs::write(now.join("d/.strata-incomplete"), "").unwrap();
    trees.check("A d/.strata-incomplete\n");
    fs::write(now.join(".strata-incomplete"), "").unwrap();
    for (base, words) in [(trees.base(), &[][..]), ("scratch".to_owned(), &["--upper"])] {
        let error = format!("{:#}", try_snapshot(&now, &base, words).unwrap_err());
        let expected =
            ".strata-incomplete: marks a directory that unpack has not filled to its end";
        assert!(error.starts_with(expected), "{error}");
    }
    trees.list(&["--exclude", "/.strata-incomplete"]);
}

#[test]
fn paths_may_be_longer_than_the_kernel_takes() {
    let place = quick_dir();
    let before = std::env::current_dir().unwrap();
    let deep = vec!["d".repeat(200); 40];
    let layer = deep.iter().scan(PathBuf::new(), |path, name| {
        path.push(name);
        Some(path.clone())
    });
    let layer = layer.fold(kit::Layer::new(), |layer, path| {
        layer.dir(path.as_os_str().as_encoded_bytes(), 0o755)
    });
    let path = deep.join("/") + "/file";
    let layer: Vec<u8> = layer.file(&path, "deep").into();
    let (first, second) = (place.path().join("first"), place.path().join("second"));
    for dir in [&first, &second] {
        fs::create_dir(dir).unwrap();
    }
    apply(&first, &[&layer]);
    let again = snapshot(&first, "scratch", &[]);
    apply(&second, &[&again]);
    tree::assert_same(&show(&first), &show(&second));
    assert_eq!(std::env::current_dir().unwrap(), before);
    for dir in [first, second] {
        rootfs::clear(&rootfs::Root::open(&dir).unwrap(), None).unwrap();
    }
}

#[test]
fn holes_are_written_as_zeros_and_not_read() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = place.path().join("sparse");
    let file = File::create(&path).unwrap();
    file.set_len(5 << 30).unwrap();
    file.write_all_at(b"middle", 3 << 30).unwrap();
    file.write_all_at(b"end", (5 << 30) - 3).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() < 1000);
    let found = rootfs::Scan::read(
        &rootfs::Root::open(place.path()).unwrap(),
        &rootfs::ScanOptions {
            leave_out: None,
            mounts: rootfs::Mounts::Enter,
            known: None,
            stop: &|| false,
        },
    );
    let found = found.unwrap();
    let content = rootfs::Content::open(
        &layer_format::layer::EntryPath::parse(b"sparse").unwrap(),
        found.top().child(b"sparse").unwrap(),
    );
    let mut seen = Seen::default();
    content.unwrap().copy_to(&mut seen).unwrap();
    assert_eq!((seen.size, seen.others), (5 << 30, b"middleend".to_vec()));
}

/// Counts bytes and keeps those that aren't zeros.
#[derive(Default)]
struct Seen {
    size: u64,
    others: Vec<u8>,
}

impl std::io::Write for Seen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.size += bytes.len() as u64;
        if bytes.len() < 60_000 || bytes[0] != 0 || bytes[1..] != bytes[..bytes.len() - 1] {
            self.others.extend(bytes.iter().filter(|&&byte| byte != 0));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_excluded_is_neither_new_nor_gone() {
    let trees = Trees::new(
        "-rw-r--r-- 0:0 keep/gone 0\n-rw-r--r-- 0:0 cache/old 0\n-rw-r--r-- 0:0 x.log 0",
    );
    let now = trees.path("now");
    fs::remove_file(now.join("keep/gone")).unwrap();
    fs::remove_dir_all(now.join("cache")).unwrap();
    fs::remove_file(now.join("x.log")).unwrap();
    fs::write(now.join("keep/y.log"), "").unwrap();
    let words = ["--exclude", "*.log", "--exclude", "/cache/", "--ignore", "mtime"];
    assert_eq!(trees.list(&words), "D keep/gone\n");
}

#[test]
fn sockets_are_left_out_and_what_they_replace_is_gone() {
    let trees = Trees::new("-rw-r--r-- 0:0 a 0\n-rw-r--r-- 0:0 b 0");
    let now = trees.path("now");
    fs::remove_file(now.join("a")).unwrap();
    let listeners =
        ["a", "new"].map(|name| std::os::unix::net::UnixListener::bind(now.join(name)).unwrap());
    assert_eq!(trees.list(&["--ignore", "mtime"]), "D a\n");
    drop(listeners);
}

#[test]
fn links_are_never_followed_and_fifos_never_opened() {
    let outside = quick_dir();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let trees = Trees::new("drwxr-xr-x 0:0 d/");
    let now = trees.path("now");
    symlink(outside.path(), now.join("out")).unwrap();
    tree::build(&now, "prw-r--r-- 0:0 fifo");
    trees.check("A fifo\nA out\n");
}

#[test]
fn a_locked_tree_of_a_plain_user_is_read_and_stays_locked() {
    if is_root() {
        return;
    }
    let trees = Trees::new("-rw-r--r-- 0:0 d/e/f 1 \"x\"");
    let now = trees.path("now");
    fs::write(now.join("d/e/new"), "new").unwrap();
    let lock = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o0)).unwrap();
    for path in ["d/e/new", "d/e", "d"] {
        lock(&now.join(path));
    }
    assert_eq!(trees.list(&["--ignore", "mtime"]), "C d\nC d/e\nA d/e/new\n");
    let layer = entries(&trees.layer(&["--ignore", "mtime"]));
    assert!(layer.contains("---------- d/e/new 3 \"new\""), "{layer}");
    assert_eq!(fs::metadata(now.join("d")).unwrap().mode() & 0o7777, 0);
    for path in ["d", "d/e"] {
        fs::set_permissions(now.join(path), fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert_eq!(fs::metadata(now.join("d/e/new")).unwrap().mode() & 0o7777, 0);
}

#[test]
fn as_root_new_files_get_the_default_owner_and_ignored_attributes_stay() {
    if !is_root() {
        return kit::peers::skip("owners", "they need root");
    }
    let trees = Trees::new("-rw-r--r-- 7:7 a 1 \"x\"");
    let now = trees.path("now");
    fs::write(now.join("new"), "").unwrap();
    std::os::unix::fs::chown(now.join("a"), Some(9), Some(9)).unwrap();
    fs::write(now.join("a"), "longer").unwrap();
    let layer = trees.layer(&["--default-owner", "5:6", "--ignore", "owner"]);
    let entries = tree::show_tar(&layer, Show::PLAIN);
    assert!(entries.contains(" 5:6 new 0"), "{entries}");
    assert!(entries.contains(" 7:7 a 6"), "{entries}");
}

#[test]
fn new_files_of_a_plain_user_are_roots_or_whose_he_says() {
    if is_root() {
        return;
    }
    let trees = Trees::new("-rw-r--r-- 0:0 a 1 \"x\"");
    fs::write(trees.path("now/a"), "longer").unwrap();
    fs::write(trees.path("now/new"), "").unwrap();
    for (words, owner) in [(&[][..], "0:0"), (&["--default-owner", "5:6"], "5:6")] {
        let entries = tree::show_tar(&trees.layer(words), Show::PLAIN);
        assert!(entries.contains(&format!(" {owner} new 0")), "{entries}");
    }
}

#[test]
fn as_root_what_is_for_plain_users_holds_for_one() {
    if !is_root() {
        return kit::peers::skip("a plain user's turn", "it needs root");
    }
    for name in [
        "a_locked_tree_of_a_plain_user_is_read_and_stays_locked",
        "new_files_of_a_plain_user_are_roots_or_whose_he_says",
    ] {
        run_as_plain_user(&format!("cases::{name}"), &[]);
    }
}

#[test]
fn a_list_in_json_has_every_change_and_names_byte_for_byte() {
    let trees = Trees::new("-rw-r--r-- 0:0 a 1 \"x\"\n-rw-r--r-- 0:0 b 0 @5");
    let now = trees.path("now");
    fs::set_permissions(now.join("a"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(now.join("b")).unwrap();
    tree::build(&now, "-rw-r--r-- 0:0 \\xff\\n 0");
    let expected = r#"[
{"change":"D","path":"b"},
{"attributes":["mode"],"change":"C","path":"a"},
{"change":"A","path":"\ufffd\n","pathBytes":[255,10]}
]
"#;
    let listed = trees.list(&["--json", "--ignore", "mtime"]);
    let values: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(values, serde_json::from_str::<Vec<serde_json::Value>>(expected).unwrap());
}

#[test]
fn the_marks_of_overlays_are_known_by_either_prefix() {
    let prefixes = if is_root() { &["trusted", "user"][..] } else { &["user"] };
    for prefix in prefixes {
        let place = quick_dir();
        let lines = format!(
            "-rw-r--r-- 0:0 gone 0 {prefix}.overlay.whiteout=\"y\"\n\
             drwxr-xr-x 0:0 d/ {prefix}.overlay.opaque=\"y\"\n-rw-r--r-- 0:0 d/new 0 {prefix}.overlay.origin=\"x\""
        );
        tree::build(place.path(), &lines);
        // Of nothing below, nothing is gone: that is what a mount shows. The layer has the marks all the same.
        let listed = snapshot(place.path(), "scratch", &["--upper", "--list"]);
        assert_eq!(String::from_utf8(listed).unwrap(), "A d\nA d/new\n");
        let layer = tree::show_tar(&snapshot(place.path(), "scratch", &["--upper"]), Show::PLAIN);
        let names = [".wh.gone 0", "d/", "d/.wh..wh..opq 0", "d/new 0"];
        let found = layer.lines().zip(names).filter(|(line, name)| line.contains(name)).count();
        assert_eq!((found, layer.lines().count()), (4, 4), "{layer}");
        for mark in ["redirect", "metacopy"] {
            let place = quick_dir();
            let line = format!("-rw-r--r-- 0:0 d/moved 0 {prefix}.overlay.{mark}=\"x\"");
            tree::build(place.path(), &line);
            let error = try_snapshot(place.path(), "scratch", &["--upper"]).unwrap_err();
            assert!(format!("{error:#}").starts_with("d/moved: overlayfs has "), "{error:#}");
        }
    }
}
