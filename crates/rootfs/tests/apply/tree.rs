//! Layers and trees as text, one line an entry.
//!
//! ```text
//! a/              directory            a -> b      symbolic link       - a     whiteout
//! a = text        file                 a => b      hard link           ! a     opaque whiteout of a
//! a |             fifo                 a %c 1:3    character device
//! ```
//!
//! Attributes stand in brackets before it, where they aren't 755 or 644, our own owner and time 1000:
//! `[4755 7:8 @12.5 user.x=y]`. In a tree, the first name of an inode is what the others are hard links to.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Timestamp};
use rootfs::{Applier, Error, Options, Owner, Report, Root, SpecialBits, Staging, SymlinkedDirs};

pub(crate) const OPTIONS: Options = Options {
    owner: Owner::Keep,
    special_bits: SpecialBits::WithOwner,
    symlinked_dirs: SymlinkedDirs::Replace,
    reserved: None,
};
pub(crate) const FOLLOW: Options = Options {
    owner: Owner::Keep,
    special_bits: SpecialBits::WithOwner,
    symlinked_dirs: SymlinkedDirs::Follow,
    reserved: None,
};

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub(crate) fn ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

pub(crate) fn path(text: &str) -> EntryPath {
    EntryPath::parse(text.as_bytes()).unwrap()
}

/// A file of 644, ours, with nothing in it.
pub(crate) fn entry(text: &str, kind: EntryKind) -> Entry {
    let (uid, gid) = ids();
    let mode = if kind == EntryKind::Directory { 0o755 } else { 0o644 };
    let mtime = Timestamp { seconds: 1000, nanos: 0 };
    Entry { path: path(text), kind, mode, uid, gid, mtime, xattrs: Vec::new() }
}

pub(crate) fn file(size: usize) -> EntryKind {
    EntryKind::File { size: size as u64, data: None }
}

/// Reads one line.
pub(crate) fn change(line: &str) -> (Change, Vec<u8>) {
    if let Some(name) = line.strip_prefix("- ") {
        return (Change::Remove(path(name)), Vec::new());
    }
    if let Some(name) = line.strip_prefix("! ") {
        return (Change::Opaque(path(name)), Vec::new());
    }
    let (attributes, line) = match line.strip_prefix('[') {
        Some(rest) => rest.split_once("] ").expect("attributes end"),
        None => ("", line),
    };
    let mut content = Vec::new();
    let mut entry = if let Some((name, text)) = line.split_once(" = ") {
        content = text.as_bytes().to_vec();
        entry(name, file(text.len()))
    } else if let Some((name, target)) = line.split_once(" -> ") {
        entry(name, EntryKind::Symlink { target: target.into() })
    } else if let Some((name, target)) = line.split_once(" => ") {
        entry(name, EntryKind::Hardlink { target: path(target) })
    } else if let Some((name, number)) = line.split_once(" %c ") {
        let (major, minor) = number.split_once(':').unwrap();
        entry(
            name,
            EntryKind::CharDevice { major: major.parse().unwrap(), minor: minor.parse().unwrap() },
        )
    } else if let Some(name) = line.strip_suffix(" |") {
        entry(name, EntryKind::Fifo)
    } else {
        entry(line.strip_suffix('/').expect("a directory ends in a slash"), EntryKind::Directory)
    };
    for attribute in attributes.split_whitespace() {
        set(&mut entry, attribute);
    }
    (Change::Add(entry), content)
}

fn set(entry: &mut Entry, attribute: &str) {
    if let Some(time) = attribute.strip_prefix('@') {
        let (seconds, nanos) = time.split_once('.').unwrap_or((time, "0"));
        entry.mtime =
            Timestamp { seconds: seconds.parse().unwrap(), nanos: nanos.parse().unwrap() };
    } else if let Some((name, value)) = attribute.split_once('=') {
        entry.xattrs.push((name.into(), value.into()));
    } else if let Some((uid, gid)) = attribute.split_once(':') {
        (entry.uid, entry.gid) = (uid.parse().unwrap(), gid.parse().unwrap());
    } else {
        entry.mode = u32::from_str_radix(attribute, 8).unwrap();
    }
}

pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim_start).filter(|line| !line.is_empty())
}

pub(crate) fn apply_changes(
    applier: &mut Applier,
    layer: impl IntoIterator<Item = (Change, Vec<u8>)>,
) -> Result<(), Error> {
    applier.begin_layer();
    for (change, content) in layer {
        applier.apply(&change, &mut Cursor::new(content))?;
    }
    applier.end_layer()
}

/// Applies layers to a root. If that is empty, another one is filled with files that were made before their turn, to the same end.
pub(crate) fn try_apply(root: &Path, options: Options, layers: &[&str]) -> Result<Report, Error> {
    let is_empty = fs::read_dir(root).unwrap().next().is_none();
    let other = is_empty.then(|| {
        let other = quick_dir();
        let mode = fs::metadata(root).unwrap().permissions();
        fs::set_permissions(other.path(), mode).unwrap();
        let result = try_apply_staged(other.path(), options, layers);
        // Directories may be such that only root can look into them.
        (result.map_err(|error| error.to_string()), is_root().then(|| show(other.path())))
    });
    let result = try_apply_in_turn(root, options, layers);
    if let Some((staged, shown)) = other {
        let told = result.as_ref().map_err(ToString::to_string);
        assert_eq!(staged.as_ref(), told.as_deref());
        if let (Ok(_), Some(shown)) = (&result, shown) {
            assert_eq!(shown, show(root), "made before their turn, and in it");
        }
    }
    result
}

/// The same, with all files made before the first layer is applied.
fn try_apply_staged(root: &Path, options: Options, layers: &[&str]) -> Result<Report, Error> {
    let aside = quick_dir();
    let root = Root::open(root)?;
    let staging = Staging::make(File::open(aside.path()).unwrap(), "ahead", &root)?;
    let mut stager = staging.stager(0, &root, &options)?;
    let mut stage = |(change, content): (Change, Vec<u8>)| {
        let staged = match &change {
            Change::Add(entry) => stager.stage(entry, &mut Cursor::new(content)),
            _ => Ok(None),
        };
        (change, staged)
    };
    let layers: Vec<Vec<_>> =
        layers.iter().map(|layer| lines(layer).map(change).map(&mut stage).collect()).collect();
    let mut applier = Applier::new(root, options)?;
    for layer in layers {
        applier.begin_layer();
        for (change, staged) in layer {
            match (&change, staged?) {
                (Change::Add(entry), Some(staged)) => applier.put(&entry.path, &staged)?,
                _ => applier.apply(&change, &mut io::empty())?,
            }
        }
        applier.end_layer()?;
    }
    applier.finish()
}

pub(crate) fn try_apply_in_turn(
    root: &Path,
    options: Options,
    layers: &[&str],
) -> Result<Report, Error> {
    let mut applier = Applier::new(Root::open(root)?, options)?;
    for layer in layers {
        apply_changes(&mut applier, lines(layer).map(change))?;
    }
    applier.finish()
}

/// What the layers make, in a fresh root.
#[track_caller]
pub(crate) fn applied(options: Options, layers: &[&str]) -> String {
    let root = tempfile::tempdir().unwrap();
    try_apply(root.path(), options, layers).unwrap();
    show(root.path())
}

#[track_caller]
pub(crate) fn check(layers: &[&str], expected: &str) {
    check_with(OPTIONS, layers, expected);
}

#[track_caller]
pub(crate) fn check_with(options: Options, layers: &[&str], expected: &str) {
    let expected: Vec<_> = lines(expected).collect();
    assert_eq!(applied(options, layers).lines().collect::<Vec<_>>(), expected);
}

/// The tree below `root`, in path order.
pub(crate) fn show(root: &Path) -> String {
    let mut names = Vec::new();
    let mut inodes = HashMap::new();
    let mut text = String::new();
    list(root, &mut names);
    names.sort();
    for name in names {
        let full = root.join(&name);
        let shown = layer_format::layer::escape(name.as_os_str().as_bytes());
        let meta = fs::symlink_metadata(&full).unwrap();
        let first = inodes.entry((meta.dev(), meta.ino())).or_insert_with(|| shown.clone());
        let kind = meta.file_type();
        let line = if *first != shown {
            format!("{shown} => {first}")
        } else if kind.is_dir() {
            format!("{}{shown}/", attributes(&full, &meta, 0o755))
        } else if kind.is_symlink() {
            format!(
                "{}{shown} -> {}",
                attributes(&full, &meta, 0o777),
                fs::read_link(&full).unwrap().display()
            )
        } else if kind.is_fifo() {
            format!("{}{shown} |", attributes(&full, &meta, 0o644))
        } else if kind.is_file() {
            let content = fs::read(&full).map_or_else(
                |error| error.kind().to_string(),
                |bytes| layer_format::layer::escape(&bytes),
            );
            format!("{}{shown} = {content}", attributes(&full, &meta, 0o644))
        } else {
            let (major, minor) = (rustix::fs::major(meta.rdev()), rustix::fs::minor(meta.rdev()));
            format!("{}{shown} %c {major}:{minor}", attributes(&full, &meta, 0o644))
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn list(root: &Path, names: &mut Vec<PathBuf>) {
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(root.join(&dir)).unwrap() {
            let entry = entry.unwrap();
            let name = dir.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                todo.push(name.clone());
            }
            names.push(name);
        }
    }
}

fn attributes(full: &Path, meta: &fs::Metadata, usual_mode: u32) -> String {
    let mut shown = Vec::new();
    if meta.mode() & 0o7777 != usual_mode {
        shown.push(format!("{:o}", meta.mode() & 0o7777));
    }
    if (meta.uid(), meta.gid()) != ids() {
        shown.push(format!("{}:{}", meta.uid(), meta.gid()));
    }
    match (meta.mtime(), meta.mtime_nsec()) {
        (1000, 0) => {}
        (seconds, 0) => shown.push(format!("@{seconds}")),
        (seconds, nanos) => shown.push(format!("@{seconds}.{nanos}")),
    }
    for name in xattr_names(full) {
        let mut value = [0; 256];
        let size = rustix::fs::lgetxattr(full, &name[..], &mut value[..]).unwrap();
        shown.push(format!("{}={}", name.escape_ascii(), value[..size].escape_ascii()));
    }
    if shown.is_empty() { String::new() } else { format!("[{}] ", shown.join(" ")) }
}

pub(crate) fn xattr_names(full: &Path) -> Vec<Vec<u8>> {
    let mut names = [0; 4096];
    let size = rustix::fs::llistxattr(full, &mut names[..]).unwrap_or(0);
    let mut names: Vec<_> = names[..size].split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
    names.retain(|name| !name.is_empty() && name != b"security.selinux");
    names.sort();
    names
}

/// A directory in memory where there is such a thing, so that many files and their removal take no time of a disk's.
pub(crate) fn quick_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A directory with a root in it, and files beside it that must not be touched.
#[derive(Debug)]
pub(crate) struct Place {
    dir: tempfile::TempDir,
    before: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("root")).unwrap();
        fs::create_dir_all(dir.path().join("out/dir")).unwrap();
        fs::write(dir.path().join("out/secret"), "secret").unwrap();
        fs::write(dir.path().join("out/dir/f"), "kept").unwrap();
        let mut place = Self { dir, before: String::new() };
        place.before = place.outside();
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn outside(&self) -> String {
        let top = fs::symlink_metadata(self.out()).unwrap();
        let above = fs::symlink_metadata(self.dir.path()).unwrap();
        let links = fs::metadata(self.out().join("secret")).unwrap().nlink();
        format!(
            "{:?} {:?} {links}\n{}",
            attributes(&self.out(), &top, 0),
            above.mtime(),
            show(&self.out())
        )
    }

    #[track_caller]
    pub(crate) fn assert_outside_is_unchanged(&self, case: &str) {
        assert_eq!(self.outside(), self.before, "{case}");
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, [OsStr::new("out"), OsStr::new("root")], "{case}");
    }
}
