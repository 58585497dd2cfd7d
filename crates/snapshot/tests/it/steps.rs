//! Random trees, and random things that are done to them.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use kit::tree;
use proptest::prelude::*;

use crate::{is_root, is_uid_0, quick_dir};

/// Something that is done to a tree. What makes no sense there isn't done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Make what a line of the kit's says, in the place of what is there.
    Put {
        path: String,
        line: String,
    },
    Remove(String),
    /// Make a directory anew, with one thing in it.
    Renew(String, String),
    Rename(String, String),
    Link(String, String),
    /// Other bytes for a file, under all of its names.
    Write(String, String),
    Mode(String, u32),
    Owner(String, u32),
    Time(String, i64),
}

/// Setuid and setgid.
const SPECIAL_BITS: u32 = 0o6000;
/// `cap_net_admin`, effective.
const CAPABILITY: &str = concat!(
    " security.capability=\"\\x01\\x00\\x00\\x02\\x00\\x10\\x00\\x00\\x00\\x00",
    "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\"",
);

/// Sizes of files about blocks and buffers.
const EDGES: [u32; 14] = [
    0,
    1,
    511,
    512,
    513,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    (128 << 10) - 1,
    128 << 10,
    (128 << 10) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
];

/// An ACL that lets one more user read, as root has it.
const ACL: &str = concat!(
    " system.posix_acl_access=\"\\x02\\x00\\x00\\x00\\x01\\x00\\x06\\x00\\xff\\xff\\xff\\xff",
    "\\x02\\x00\\x04\\x00\\xe8\\x03\\x00\\x00\\x04\\x00\\x04\\x00\\xff\\xff\\xff\\xff",
    "\\x10\\x00\\x04\\x00\\xff\\xff\\xff\\xff\\x20\\x00\\x00\\x00\\xff\\xff\\xff\\xff\"",
);

/// Names that meet often, and odd ones.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["a-b", "a\\x20b", "\\xff\\xfe", ".wh", "é", "a\\n"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["n".repeat(200), "m".repeat(255)]),
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..5).prop_map(|names| names.join("/"))
}

/// The mode, and what follows the path.
fn kind() -> impl Strategy<Value = (&'static str, String)> {
    let text = "[a-z]{0,9}".prop_map(|text| format!("\"{text}\""));
    let numbers = (1..300_u32, 0..300_u32).prop_map(|(major, minor)| format!("{major},{minor}"));
    let nothing = String::new;
    let modes = ["-rw-r--r--", "-rwsr-x--x", "----------", "-rw-r-Sr--"];
    prop_oneof![
        6 => (prop::sample::select(modes.to_vec()), text),
        1 => (Just("-rw-------"), (1..100_000_u32).prop_map(|size| size.to_string())),
        1 => (Just("-rw-r--r--"), prop::sample::select(EDGES.to_vec()).prop_map(|size| size.to_string())),
        5 => prop::sample::select(vec!["drwxr-xr-x", "drwx------", "drwxrwsrwt"]).prop_map(move |mode| (mode, nothing())),
        2 => (Just("lrwxrwxrwx"), prop::sample::select(vec!["-> a", "-> ../b/c", "-> /", "-> \\xff"]).prop_map(str::to_owned)),
        1 => Just(("prw-r-----", nothing())),
        1 => (Just("crw-rw----"), numbers.clone()),
        1 => (Just("brw-rw----"), numbers),
    ]
}

fn attributes() -> impl Strategy<Value = (String, String)> {
    let owner = prop::sample::select(vec!["0:0", "0:0", "7:8", "3000000:70000"]);
    let times = ["", "", " @-5.5", " @4400000000.000000001", " @1000000000.123456789", " @0"];
    let after = (prop::sample::select(times.to_vec()), xattrs());
    (owner.prop_map(str::to_owned), after.prop_map(|(time, xattrs)| format!("{time}{xattrs}")))
}

/// None mostly, some small ones, and those at the edges of buffers: values, and all names together.
fn xattrs() -> impl Strategy<Value = String> {
    let small = [
        " user.a=\"\"",
        " trusted.b=\"x y\\x00\"",
        " user.a=\"1\" user.b=\"\\xff\"",
        CAPABILITY,
        ACL,
    ];
    let lengths = vec![0, 1, 255, 256, 257, 1024, 4095, 65_536];
    let long = (prop::sample::select(lengths), "[a-z]")
        .prop_map(|(length, letter)| format!(" user.a=\"{}\"", letter.repeat(length)));
    let many = (1..12_usize).prop_map(|n| {
        let name = |n| format!(" user.{}{n}=\"{n}\"", "n".repeat(200));
        (0..n).map(name).collect()
    });
    prop_oneof![
        8 => Just(String::new()),
        8 => prop::sample::select(small.to_vec()).prop_map(str::to_owned),
        2 => long,
        1 => many,
    ]
}

fn put() -> impl Strategy<Value = Step> {
    (path(), kind(), attributes()).prop_map(|(path, (mode, what), (owner, after))| {
        // No system lets links and special files have attributes of users; capabilities are for files.
        let after = match mode.as_bytes()[0] {
            b'-' => after,
            b'd' => after.replace(CAPABILITY, ""),
            _ => after
                .replace(CAPABILITY, "")
                .replace(ACL, "")
                .split(" user.")
                .next()
                .unwrap_or_default()
                .to_owned(),
        };
        let line = format!("{mode} {owner} {path} {what}{after}");
        Step::Put { path, line }
    })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => put(),
        3 => path().prop_map(Step::Remove),
        2 => (path(), name()).prop_map(|(path, name)| Step::Renew(path, name)),
        3 => (path(), path()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => (path(), path()).prop_map(|(from, to)| Step::Link(from, to)),
        2 => (path(), "[a-z]{0,9}").prop_map(|(path, text)| Step::Write(path, text)),
        1 => (path(), prop::sample::select(vec![0o644, 0o6755, 0o1777, 0])).prop_map(|(path, mode)| Step::Mode(path, mode)),
        1 => (path(), 0..9_u32).prop_map(|(path, id)| Step::Owner(path, id)),
        1 => (path(), 0..4_i64).prop_map(|(path, time)| Step::Time(path, time)),
    ]
}

/// Undoes the kit's escapes, as far as they are used here.
fn unescape(path: &str) -> PathBuf {
    let mut bytes = vec![];
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, length) = match rest {
            [b'\\', b'x', high, low, ..] => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 4)
            }
            [b'\\', b'n', ..] => (b'\n', 2),
            _ => (first, 1),
        };
        bytes.push(byte);
        rest = if length == 1 { after } else { &rest[length..] };
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn remove(path: &Path) {
    match look(path) {
        Some(metadata) if metadata.is_dir() => fs::remove_dir_all(path).unwrap(),
        Some(_) => fs::remove_file(path).unwrap(),
        None => {}
    }
}

fn look(path: &Path) -> Option<Metadata> {
    fs::symlink_metadata(path).ok()
}

/// Where a path is, its directories made as far as nothing else is in their place: a link would lead somewhere else.
fn reach(root: &Path, path: &str) -> Option<PathBuf> {
    let path = unescape(path);
    let mut here = root.to_owned();
    let is_reached = path.parent().unwrap().components().all(|name| {
        here.push(name);
        look(&here).map_or_else(|| fs::create_dir(&here).is_ok(), |metadata| metadata.is_dir())
    });
    is_reached.then(|| root.join(path))
}

/// Does something to a tree.
pub(crate) fn perform(root: &Path, step: &Step) {
    match step {
        Step::Put { path, line } => {
            let Some(path) = reach(root, path) else { return };
            let before = look(&path).filter(Metadata::is_file);
            remove(&path);
            tree::build(root, &allowed(line));
            if let (Some(before), Some(after)) = (before, look(&path)) {
                tell_apart(&path, &before, &after);
            }
        }
        Step::Remove(path) => {
            if let Some(path) = reach(root, path) {
                remove(&path);
            }
        }
        Step::Renew(path, name) => {
            let path = reach(root, path).filter(|path| path.is_dir() && !path.is_symlink());
            if let Some(path) = path {
                remove(&path);
                fs::create_dir(&path).unwrap();
                fs::write(path.join(unescape(name)), name).unwrap();
            }
        }
        Step::Rename(from, to) => {
            let (Some(from), Some(to)) = (reach(root, from), reach(root, to)) else { return };
            if look(&from).is_some() && !to.starts_with(&from) && !from.starts_with(&to) {
                remove(&to);
                fs::rename(from, to).unwrap();
            }
        }
        Step::Link(from, to) => {
            let (Some(from), Some(to)) = (reach(root, from), reach(root, to)) else { return };
            if look(&from).is_some_and(|it| !it.is_dir()) && !from.starts_with(&to) {
                remove(&to);
                fs::hard_link(from, to).unwrap();
            }
        }
        Step::Write(path, _) | Step::Mode(path, _) | Step::Owner(path, _) | Step::Time(path, _) => {
            let path = reach(root, path).filter(|path| look(path).is_some());
            if let Some(path) = path {
                touch(&path, &look(&path).unwrap(), step);
            }
        }
    }
}

/// Gives a file another time than the one before it had, if nothing else tells that its bytes are others.
fn tell_apart(path: &Path, before: &Metadata, after: &Metadata) {
    let is_same = before.modified().unwrap() == after.modified().unwrap();
    if after.is_file() && is_same && before.len() == after.len() {
        let other = FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(77));
        File::open(path).unwrap().set_times(other).unwrap();
    }
}

/// Changes something that is there.
fn touch(path: &Path, metadata: &Metadata, step: &Step) {
    let is_file_or_directory = metadata.is_file() || metadata.is_dir();
    match step {
        Step::Write(_, text) if metadata.is_file() => fs::write(path, text).unwrap(),
        Step::Mode(_, mode) if is_file_or_directory => {
            let mode = if is_root() { *mode } else { (mode | 0o700) & !SPECIAL_BITS };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        Step::Owner(_, id) if is_root() => lchown(path, Some(*id), Some(*id)).unwrap(),
        Step::Time(_, time) if is_file_or_directory => {
            let time = UNIX_EPOCH + Duration::from_secs(5_000_000_000 * time.cast_unsigned());
            let times = FileTimes::new().set_modified(time);
            File::open(path).unwrap().set_times(times).unwrap();
        }
        _ => {}
    }
}

/// Whether the file system that trees are made on holds attributes.
fn has_xattrs() -> bool {
    let dir = quick_dir();
    tree::try_xattr(dir.path(), "user.a", b"1")
}

fn without_xattrs(line: &str) -> &str {
    let cut = |line: &str, at: &str| line.find(at).unwrap_or(line.len());
    let end = [" user.", " trusted.", " security.", " system."].map(|at| cut(line, at));
    &line[..end.into_iter().min().unwrap_or(line.len())]
}

/// What a plain user can make, and read again, of a line.
fn allowed(line: &str) -> String {
    let line = if has_xattrs() { line } else { without_xattrs(line) };
    if is_root() {
        return line.to_owned();
    }
    let mut words: Vec<_> = line.splitn(3, ' ').collect();
    if is_uid_0() {
        // Owners can't be given here, or not all of them, and what is one's own isn't the kit's to give either.
        words[1] = "0:0";
    }
    // What can't be given away has no special bits when it is unpacked.
    let mode = words[0].replacen("-rws", "-rwx", 1).replacen("-rw-r-S", "-rw-r--", 1);
    words[0] = &mode;
    let line = words.join(" ").replace("----------", "-rwx------");
    let line = line.replace(CAPABILITY, "").replace(ACL, "");
    let line = line.split(" trusted.").next().unwrap_or_default().to_owned();
    match line.as_bytes()[0] {
        b'c' | b'b' => {
            let words: Vec<_> = line.split(' ').collect();
            format!("prw------- {} {}", words[1], words[2])
        }
        _ => line,
    }
}
