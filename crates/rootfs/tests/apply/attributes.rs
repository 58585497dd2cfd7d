//! Owner, mode, times and extended attributes, to the bit.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use layer_format::layer::{Change, EntryKind, Timestamp};
use report::{ErrorKind, HasKind};
use rootfs::{Applier, Root};

use crate::tree::{
    OPTIONS, apply_changes, change, check, entry, file, is_root, show, try_apply, xattr_names,
};

#[test]
fn modes_are_exact() {
    // A plain user's own files get no special bits.
    let (a, g, s) =
        if is_root() { ("1", "6711", "4755") } else { ("permission denied", "711", "755") };
    check(
        &[
            "[0] a = 1\n[4755] s = 2\n[6711] g = 3\n[1777] t/\n[2755] sg/\nsg/in/\nsg/f = 4\n[777] w = 5\n[7777] all/\n[1644] st = 6",
        ],
        &format!(
            "[0] a = {a}\n[7777] all/\n[{g}] g = 3\n[{s}] s = 2\n[2755] sg/\nsg/f = 4\nsg/in/\n[1644] st = 6\n[1777] t/\n[777] w = 5"
        ),
    );
}

#[test]
fn directories_keep_modes_and_times_whatever_happens_inside() {
    let lower = "[555 @5] d/\nd/a = 1\n[@6] d/e/\nd/e/b = 2\n[500 @7] d/e/g/";
    check(&[lower], "[555 @5] d/\nd/a = 1\n[@6] d/e/\nd/e/b = 2\n[500 @7] d/e/g/");
    check(
        &[lower, "d/e/b2 = 3\nd/e/g/x = 4\n- d/a\nd/h => d/e/b2"],
        "[555 @5] d/\n[@6] d/e/\nd/e/b = 2\nd/e/b2 = 3\n[500 @7] d/e/g/\nd/e/g/x = 4\nd/h => d/e/b2",
    );
    // Children before their directory, and in no order at all.
    check(
        &["d/a = 1\nx/y = 2\n[@9] d/\nd/b = 3\n[@8] x/\nd/c = 4"],
        "[@9] d/\nd/a = 1\nd/b = 3\nd/c = 4\n[@8] x/\nx/y = 2",
    );
}

#[test]
fn directories_deeper_than_stay_open_keep_them_too() {
    let name = |depth: usize| vec!["d"; depth].join("/");
    let lower: Vec<_> =
        (1..=100).map(|depth| format!("[7{}5 @{depth}] {}/", depth % 8, name(depth))).collect();
    let upper: Vec<_> =
        [100, 3, 50, 51, 99].iter().map(|&depth| format!("{}/f = x", name(depth))).collect();
    let root = tempfile::tempdir().unwrap();
    try_apply(root.path(), OPTIONS, &[&lower.join("\n"), &upper.join("\n")]).unwrap();
    let shown = show(root.path());
    let found: Vec<_> = shown
        .lines()
        .filter(|line| line.ends_with('/'))
        .map(|line| line.replace("[@", "[755 @"))
        .collect();
    assert_eq!(found, lower);
    assert_eq!(shown.lines().count(), 105);
}

#[test]
fn the_root_keeps_its_own_attributes_unless_it_is_described() {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let before = fs::metadata(root.path()).unwrap();
    try_apply(root.path(), OPTIONS, &["a = 1", "- a"]).unwrap();
    let after = fs::metadata(root.path()).unwrap();
    assert_eq!(
        (after.mode(), after.mtime(), after.mtime_nsec()),
        (before.mode(), before.mtime(), before.mtime_nsec())
    );
    try_apply(root.path(), OPTIONS, &["[555 @5.7] ./\na = 1", "b = 2"]).unwrap();
    let after = fs::metadata(root.path()).unwrap();
    assert_eq!((after.mode() & 0o7777, after.mtime(), after.mtime_nsec()), (0o555, 5, 7));
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn times_are_exact_and_clamped_by_the_file_system_alone() {
    check(
        &["[@-1.5] a = 1\n[@0.999999999] b -> x\n[@-2.000000001] d/\n[@4000000000] e |"],
        "[@-1.5] a = 1\n[@0.999999999] b -> x\n[@-2.1] d/\n[@4000000000] e |",
    );
    let root = tempfile::tempdir().unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    for (name, seconds) in [("far", i64::MAX), ("early", i64::MIN)] {
        let mut entry = entry(name, file(0));
        entry.mtime = Timestamp { seconds, nanos: 999_999_999 };
        applier.apply(&Change::Add(entry), &mut Cursor::new(b"")).unwrap();
    }
    applier.finish().unwrap();
    let times = fs::metadata(root.path().join("far")).unwrap();
    assert!(times.mtime() > 0 && times.atime() == times.mtime());
}

#[test]
fn xattrs_are_set_even_on_what_may_not_be_written_to() {
    check(&["[444 user.a=1] f = x\n[555 user.b=] d/"], "[555 user.b=] d/\n[444 user.a=1] f = x");
}

#[test]
fn an_xattr_that_is_nonsense_is_refused() {
    let root = tempfile::tempdir().unwrap();
    for line in ["[user.=x] f = 1", &format!("[user.{}=x] f = 1", "n".repeat(300))] {
        let error = try_apply(root.path(), OPTIONS, &[line]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
    }
    let report = try_apply(root.path(), OPTIONS, &["[nonsense=x] f = 1"]).unwrap();
    assert_eq!(report.skipped.unsupported_xattrs, 1);
}

#[test]
fn holes_stay_holes() {
    let root = tempfile::tempdir().unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    let kind = EntryKind::File { size: 40 << 20, data: Some(vec![(1 << 20, 3), (30 << 20, 2)]) };
    let empty = EntryKind::File { size: 1 << 40, data: Some(vec![]) };
    let layer = [
        (Change::Add(entry("s", kind)), b"abcde".to_vec()),
        (Change::Add(entry("e", empty)), Vec::new()),
    ];
    apply_changes(&mut applier, layer).unwrap();
    assert_eq!(applier.finish().unwrap().bytes, 5);
    let sparse = fs::File::open(root.path().join("s")).unwrap();
    let meta = sparse.metadata().unwrap();
    assert!(meta.len() == 40 << 20 && meta.blocks() * 512 < 1 << 20, "{}", meta.blocks());
    let mut piece = [9; 5];
    sparse.read_exact_at(&mut piece, (1 << 20) - 1).unwrap();
    assert_eq!(&piece, b"\0abc\0");
    assert_eq!(fs::metadata(root.path().join("e")).unwrap().len(), 1 << 40);
}

#[test]
fn content_that_is_not_what_it_says_is_refused() {
    for (kind, content) in [
        (file(5), "abc"),
        (EntryKind::File { size: 4, data: Some(vec![(2, 3)]) }, "abc"),
        (EntryKind::File { size: u64::MAX, data: Some(vec![(u64::MAX - 1, 1)]) }, "a"),
        (EntryKind::File { size: 9, data: Some(vec![(u64::MAX, 2)]) }, "ab"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
        let error =
            applier.apply(&Change::Add(entry("f", kind)), &mut Cursor::new(content)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
    }
}

#[test]
fn data_may_end_where_the_file_ends_and_no_later() {
    let sparse = |size, data: &[(u64, u64)]| EntryKind::File { size, data: Some(data.to_vec()) };
    for (size, data) in [
        (5, &[(2, 3)][..]),
        (5, &[(0, 5)]),
        (10, &[(0, 3), (5, 5)]),
        (1 << 20, &[((1 << 20) - 1, 1)]),
        (7, &[(3, 1), (7, 0)]),
    ] {
        let root = tempfile::tempdir().unwrap();
        let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
        let mut content = Cursor::new([b'x'; 16]);
        applier.apply(&Change::Add(entry("f", sparse(size, data))), &mut content).unwrap();
        let found = fs::read(root.path().join("f")).unwrap();
        let is_data = |at: u64| data.iter().any(|(offset, n)| (*offset..offset + n).contains(&at));
        let expected: Vec<u8> = (0..size).map(|at| if is_data(at) { b'x' } else { 0 }).collect();
        assert!(found == expected, "{size} {data:?}");
        // A byte more, and it is a lie.
        let (&(offset, n), before) = data.split_last().unwrap();
        let longer = [before, &[(offset, n + 1)]].concat();
        let lie = Change::Add(entry("g", sparse(size, &longer)));
        let error = applier.apply(&lie, &mut Cursor::new([b'x'; 16])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{size} {longer:?}: {error}");
    }
}

#[test]
fn a_file_that_no_file_system_takes_is_the_layer_s_fault() {
    let huge = EntryKind::File { size: i64::MAX as u64, data: Some(vec![]) };
    // Memory takes it, a disk may not.
    let root = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    match applier.apply(&Change::Add(entry("f", huge)), &mut Cursor::new([])) {
        Ok(()) => assert_eq!(fs::metadata(root.path().join("f")).unwrap().len(), i64::MAX as u64),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Untrusted, "{error}");
            assert!(error.to_string().contains("larger than any file can be"), "{error}");
        }
    }
}

/// Content that looks, whenever it is asked for, at who may read the file that it goes to.
struct Watching {
    path: PathBuf,
    content: Cursor<Vec<u8>>,
    modes: Vec<u32>,
}

impl std::io::Read for Watching {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.content.read(buffer)
    }
}

impl std::io::BufRead for Watching {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.modes.push(fs::metadata(&self.path)?.mode() & 0o7777);
        self.content.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.content.consume(n);
    }
}

#[test]
fn what_is_private_is_so_while_it_is_filled() {
    let before = "d/\nd/f = old\nf = old\ng => f\nprivate = no directory";
    for (line, least) in [
        ("[600] new = secret", 0o600),
        ("[400] new = secret", 0o400),
        ("[0] new = secret", 0),
        ("[4700] new = secret", 0o700),
        ("[400 user.x=y] new = secret", 0o600),
        ("[600] f = secret", 0o600),
        ("[600] d/f = secret", 0o600),
        ("[600] d = secret", 0o600),
        ("[640] new = secret", 0o640),
    ] {
        let root = tempfile::tempdir().unwrap();
        try_apply(root.path(), OPTIONS, &[before]).unwrap();
        let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
        applier.begin_layer();
        let (change, content) = change(line);
        let Change::Add(added) = &change else { panic!("{line} adds something") };
        let path = root.path().join(str::from_utf8(added.path.as_bytes()).unwrap());
        let content = Cursor::new(content);
        let mut content = Watching { path, content, modes: vec![] };
        applier.apply(&change, &mut content).unwrap();
        assert!(!content.modes.is_empty());
        assert!(content.modes.iter().all(|mode| *mode == least), "{line}: {:?}", content.modes);
    }
    // So are directories, and what is put into them goes on to be.
    for line in ["[700] new/", "[700] d/", "[700] private/", "[0] new/", "[1700] new/"] {
        let root = tempfile::tempdir().unwrap();
        try_apply(root.path(), OPTIONS, &[before]).unwrap();
        let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
        applier.begin_layer();
        let (change, _) = change(line);
        let Change::Add(added) = &change else { panic!("{line} adds something") };
        let dir = root.path().join(str::from_utf8(added.path.as_bytes()).unwrap());
        applier.apply(&change, &mut Cursor::new([])).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o77;
        assert_eq!(mode(&dir), 0, "{line}");
        let below = entry("x", file(1));
        let path = added.path.join(b"x");
        let below = Change::Add(layer_format::layer::Entry { path, ..below });
        let path = dir.clone();
        let mut content = Watching { path, content: Cursor::new(vec![1]), modes: vec![] };
        applier.apply(&below, &mut content).unwrap();
        let others = content.modes.iter().map(|mode| mode & 0o77);
        assert_eq!(others.max(), Some(0), "{line}: {:?}", content.modes);
        applier.end_layer().unwrap();
        assert_eq!(mode(&dir), 0, "{line}");
    }
}

#[test]
fn no_more_content_is_taken_than_is_the_files() {
    let root = tempfile::tempdir().unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    let mut content = Cursor::new(b"abcdef");
    for (name, size) in [("a", 2), ("b", 0), ("c", 3)] {
        applier.apply(&Change::Add(entry(name, file(size))), &mut content).unwrap();
    }
    applier.finish().unwrap();
    assert_eq!((show(root.path()).as_str(), content.position()), ("a = ab\nb = \nc = cde\n", 5));
}

#[test]
fn as_root_owners_are_set_before_what_depends_on_them() {
    if !is_root() {
        return kit::peers::skip("owners and attributes", "they need root");
    }
    let capability = "\\x01\\x00\\x00\\x02\\x00\\x04\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00";
    let root = tempfile::tempdir().unwrap();
    let mut ping = entry("ping", file(1));
    (ping.uid, ping.gid, ping.mode) = (3_000_000_000, 70_000, 0o6755);
    ping.xattrs = vec![(
        b"security.capability".to_vec(),
        b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
    )];
    ping.xattrs.push((b"trusted.x".to_vec(), b"y".to_vec()));
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    apply_changes(&mut applier, [(Change::Add(ping), b"x".to_vec())]).unwrap();
    let more = [
        "[1:2 trusted.l=1] l -> ping",
        "[2750 3:4] d/",
        "[1:2] d/own = 1",
        "[4:3] d/sub/",
        "[660 1:2 trusted.d=2] null %c 1:3",
        "[5:6] p |",
    ];
    apply_changes(&mut applier, more.map(change)).unwrap();
    let report = applier.finish().unwrap();
    assert_eq!(report.skipped, rootfs::Skipped::default());
    assert_eq!(
        show(root.path()),
        format!(
            "[2750 3:4] d/\n[1:2] d/own = 1\n[4:3] d/sub/\n[1:2 trusted.l=1] l -> ping\n[660 1:2 trusted.d=2] null %c 1:3\n[5:6] p |\n\
             [6755 3000000000:70000 security.capability={capability} trusted.x=y] ping = x\n"
        )
    );
}

#[test]
fn as_root_a_directory_described_twice_has_the_last_owner() {
    if !is_root() {
        return kit::peers::skip("owners and attributes", "they need root");
    }
    let owned = |path: &str, owner: (u32, u32)| {
        let mut entry = entry(path, EntryKind::Directory);
        (entry.uid, entry.gid) = owner;
        (Change::Add(entry), Vec::new())
    };
    let root = tempfile::tempdir().unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    for owner in [(5, 6), (0, 0)] {
        let twice = [owned("d", (7, 8)), owned("d", owner), owned("", owner)];
        apply_changes(&mut applier, twice).unwrap();
    }
    applier.finish().unwrap();
    for path in [root.path(), &root.path().join("d")] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{}", path.display());
    }
}

#[test]
fn as_root_inherited_acls_leave_no_trace() {
    if !is_root() {
        return kit::peers::skip("owners and attributes", "they need root");
    }
    let root = tempfile::tempdir().unwrap();
    // user::rwx user:7:rwx group::rwx mask::rwx other::---
    let acl: Vec<u8> = [2_u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [
                (1_u16, 7_u16, u32::MAX),
                (2, 7, 7),
                (4, 7, u32::MAX),
                (16, 7, u32::MAX),
                (32, 0, u32::MAX),
            ]
            .map(|(tag, perm, id)| {
                [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
            }),
        )
        .collect::<Vec<_>>()
        .concat();
    let set = rustix::fs::setxattr(
        root.path(),
        "system.posix_acl_default",
        &acl,
        rustix::fs::XattrFlags::empty(),
    );
    if set.is_err() {
        return kit::peers::skip("inherited ACLs", "this file system has none");
    }
    try_apply(
        root.path(),
        OPTIONS,
        &["a = 1\n[666] b = 2\nd/\nd/e = 3\ni/j = 4\n[622] p |\nl -> a\n[2777] s/"],
    )
    .unwrap();
    let expected =
        "a = 1\n[666] b = 2\nd/\nd/e = 3\n[@0] i/\ni/j = 4\nl -> a\n[622] p |\n[2777] s/\n";
    assert_eq!(show(root.path()), expected);
    assert!(xattr_names(root.path()).contains(&b"system.posix_acl_default".to_vec()));
}

#[test]
fn as_root_a_setgid_parent_gives_nothing_away() {
    if !is_root() {
        return kit::peers::skip("owners and attributes", "they need root");
    }
    check(
        &["[2775 0:50] d/\nd/f = 1\nd/e/\nd/i/j = 2\nd/l -> f"],
        "[2775 0:50] d/\nd/e/\nd/f = 1\n[@0] d/i/\nd/i/j = 2\nd/l -> f",
    );
}
