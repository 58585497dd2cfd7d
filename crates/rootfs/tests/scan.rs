//! What a scan keeps no record of, beside an earlier record of the tree.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the tree by paths, from outside the root"
)]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use layer_format::layer::{Change, Entry, EntryKind, EntryPath};
use layer_format::listing::{Inode, Tree};
use rootfs::{
    Attribute, Attributes, ChangeKind, Diff, DiffOptions, Identity, Known, Mounts, Root, Scan,
    ScanEntry, ScanOptions,
};
use rustix::fs::{CWD, FileType, Mode};

/// A directory of files, links, hard links, a fifo and an empty directory.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("some/deeper")).unwrap();
    fs::create_dir(path("empty")).unwrap();
    for name in ["a", "b", "some/c", "some/deeper/d", "some.txt", "z"] {
        fs::write(path(name), name).unwrap();
    }
    symlink("a", path("link")).unwrap();
    fs::hard_link(path("b"), path("some/b")).unwrap();
    rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    dir
}

fn scan(path: &Path, known: Option<&Known<'_>>) -> Scan {
    let root = Root::open(path).unwrap();
    let options = ScanOptions { leave_out: None, mounts: Mounts::Enter, known, stop: &|| false };
    Scan::read(&root, &options).unwrap()
}

fn known(tree: &Tree, path: &Path, ignore: Attributes) -> Scan {
    let known = Known::new(tree, &Root::open(path).unwrap(), ignore);
    scan(path, Some(&known))
}

/// All that is there as an image's tree has it.
fn tree(path: &Path) -> Tree {
    fn add(tree: &mut Tree, path: &EntryPath, found: ScanEntry<'_>) {
        let Inode { kind, mode, uid, gid, mtime, xattrs, .. } = found.record().unwrap();
        let is_second = path.as_bytes() == b"some/b";
        let target = EntryPath::parse(b"b").unwrap();
        let kind = if is_second { EntryKind::Hardlink { target } } else { kind };
        let xattrs = xattrs.into_vec();
        let entry = Entry { path: path.clone(), kind, mode, uid, gid, mtime, xattrs };
        tree.apply(&Change::Add(entry)).unwrap();
        found.children().for_each(|child| add(tree, &path.join(child.name()), child));
    }
    let mut tree = Tree::new();
    tree.begin_layer();
    add(&mut tree, &EntryPath::root(), scan(path, None).top());
    tree
}

/// What is recorded, by name.
fn recorded(scan: &Scan) -> Vec<String> {
    fn add(names: &mut Vec<String>, path: &EntryPath, found: ScanEntry<'_>) {
        for child in found.children() {
            let path = path.join(child.name());
            names.push(path.to_string());
            add(names, &path, child);
        }
    }
    let mut names = vec![];
    add(&mut names, &EntryPath::root(), scan.top());
    names
}

/// What is different, if so much is recorded.
fn differences(tree: &Tree, scan: &Scan) -> Vec<String> {
    let ignore = Attributes::default();
    let identity = Identity::REAL;
    let options = DiffOptions { ignore, identity, default_owner: None, leave_out: None };
    let diff = Diff::new(Some(tree), scan, options).unwrap().finish();
    let told = diff.differences().filter(|difference| difference.kind != ChangeKind::Above);
    told.map(|difference| match &difference.change {
        Change::Add(entry) => entry.path.to_string(),
        Change::Remove(path) | Change::Opaque(path) => format!("-{path}"),
    })
    .collect()
}

/// What stands above others, is one of a group, or is a special file.
const ALWAYS: [&str; 6] = ["b", "empty", "fifo", "some", "some/b", "some/deeper"];

#[test]
fn of_what_is_as_it_was_no_record_is_kept() {
    let dir = directory();
    let tree = tree(dir.path());
    assert_eq!(scan(dir.path(), None).n_entries(), 13);
    let scan = known(&tree, dir.path(), Attributes::default());
    assert_eq!(recorded(&scan), ALWAYS);
    assert_eq!(differences(&tree, &scan), Vec::<String>::new());
    let same = |name: &str| scan.has_same(&tree.find(name.as_bytes()).unwrap());
    assert!(["a", "some/c", "some/deeper/d", "some.txt", "z"].into_iter().all(same));
    assert!(!ALWAYS.iter().copied().any(same));
}

#[test]
fn what_is_new_gone_or_different_is_found_beside_what_is_not_recorded() {
    let dir = directory();
    let tree = tree(dir.path());
    let path = |name: &str| dir.path().join(name);
    fs::write(path("some/new"), "").unwrap();
    fs::remove_file(path("some.txt")).unwrap();
    fs::set_permissions(path("z"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(path("link")).unwrap();
    symlink("b", path("link")).unwrap();
    fs::remove_file(path("some/deeper/d")).unwrap();
    fs::create_dir(path("some/deeper/d")).unwrap();
    fs::hard_link(path("a"), path("some/a")).unwrap();
    let all = scan(dir.path(), None);
    let known = known(&tree, dir.path(), Attributes::default());
    assert_eq!(differences(&tree, &known), differences(&tree, &all));
    assert_eq!(
        differences(&tree, &known),
        [
            ".",
            "-some.txt",
            "a",
            "link",
            "some",
            "some/a",
            "some/deeper",
            "some/deeper/d",
            "some/new",
            "z"
        ]
    );
    assert!(!recorded(&known).contains(&"some/c".to_owned()));
}

#[test]
fn what_may_be_different_is_not_recorded_for_that() {
    let dir = directory();
    let tree = tree(dir.path());
    fs::write(dir.path().join("z"), "Z").unwrap();
    let time = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    fs::File::open(dir.path().join("z")).unwrap().set_times(time).unwrap();
    let is_recorded =
        |ignore: Attributes| recorded(&known(&tree, dir.path(), ignore)).contains(&"z".to_owned());
    assert!(is_recorded(Attributes::default()));
    assert!(is_recorded(Attributes::of(Attribute::Mode)));
    assert!(!is_recorded(Attributes::of(Attribute::Mtime)));
}

/// A directory of as many names as make three stretches: files, links and directories. Some files have an attribute, and some
/// directories a file.
fn large_directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |n: usize, kind: &str| dir.path().join(format!("{n:05}-{kind}"));
    for n in (0..4500).step_by(3) {
        fs::File::create(path(n, "file")).unwrap().set_len(n as u64).unwrap();
        symlink(format!("to-{n}"), path(n + 1, "link")).unwrap();
        fs::create_dir(path(n + 2, "directory")).unwrap();
        if n % 90 == 0 {
            let value = n.to_string();
            let set = rustix::fs::lsetxattr(
                path(n, "file"),
                "user.n",
                value.as_bytes(),
                rustix::fs::XattrFlags::empty(),
            );
            set.unwrap();
            fs::write(path(n + 2, "directory").join("below"), value).unwrap();
        }
    }
    dir
}

#[test]
fn a_directory_of_many_names_is_read_in_stretches_which_make_one() {
    let dir = large_directory();
    let scan = scan(dir.path(), None);
    assert_eq!(scan.n_entries(), 1 + 4500 + 50);
    for (n, child) in scan.top().children().enumerate() {
        let name = String::from_utf8_lossy(child.name()).into_owned();
        let (number, kind) = name.split_once('-').unwrap();
        assert_eq!(number, format!("{n:05}"));
        let Inode { kind: found, xattrs, .. } = child.record().unwrap();
        let expected = match kind {
            "file" => EntryKind::File { size: n as u64, data: None },
            "link" => EntryKind::Symlink { target: format!("to-{}", n - 1).into_bytes() },
            _ => EntryKind::Directory,
        };
        assert_eq!(found, expected, "{name}");
        let attributes: Vec<_> = xattrs.iter().map(|(_, value)| value.clone()).collect();
        let is_marked = n % 90 == 0;
        let value = is_marked.then(|| n.to_string().into_bytes());
        assert_eq!(attributes, Vec::from_iter(value), "{name}");
        let below: Vec<_> = child.children().map(|it| it.name().to_vec()).collect();
        let has_below = n % 90 == 2;
        assert_eq!(below, if has_below { vec![b"below".to_vec()] } else { vec![] }, "{name}");
    }
}

#[test]
fn a_directory_of_many_names_is_compared_with_an_earlier_record_in_stretches() {
    let dir = large_directory();
    let tree = tree(dir.path());
    let nothing = known(&tree, dir.path(), Attributes::default());
    assert!(recorded(&nothing).iter().all(|name| name.ends_with("-directory")));
    assert_eq!(recorded(&nothing).len(), 1500);
    assert_eq!(differences(&tree, &nothing), Vec::<String>::new());
    let path = |name: &str| dir.path().join(name);
    fs::remove_file(path("00000-file")).unwrap();
    fs::remove_file(path("04141-link")).unwrap();
    fs::write(path("04095-file"), "").unwrap();
    fs::write(path("04095-new"), "").unwrap();
    fs::remove_file(path("04412-directory/below")).unwrap();
    fs::write(path("99999"), "").unwrap();
    let some = known(&tree, dir.path(), Attributes::default());
    let expected = [
        ".",
        "-00000-file",
        "-04141-link",
        "04095-file",
        "04095-new",
        "04412-directory",
        "-04412-directory/below",
        "99999",
    ];
    assert_eq!(differences(&tree, &some), expected);
}

#[test]
fn a_directory_of_many_names_can_be_given_up() {
    let dir = large_directory();
    let n_asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || n_asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 3;
    let options = ScanOptions { leave_out: None, mounts: Mounts::Enter, known: None, stop: &stop };
    let stopped = Scan::read(&Root::open(dir.path()).unwrap(), &options).unwrap_err();
    assert!(matches!(&stopped, rootfs::Error::Io { path, .. } if path.is_root()), "{stopped:?}");
}
