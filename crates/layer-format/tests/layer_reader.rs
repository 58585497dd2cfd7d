//! What `layer::Reader` makes of tars by any hand. They are built here from raw bytes, not with our writer.

use std::io::{BufRead, BufReader, Read};

use layer_format::Error;
use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Reader, Timestamp};

/// A tar under construction.
#[derive(Clone, Default)]
struct Tar(Vec<u8>);

impl Tar {
    /// Adds a member with this header, as changed by `edit`, and its content.
    fn member(
        mut self,
        typeflag: u8,
        name: &[u8],
        content: &[u8],
        edit: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        let block = header.as_mut_bytes();
        block[156] = typeflag;
        block[..name.len()].copy_from_slice(name);
        edit(block);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.bytes(content)
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.member(b'0', name.as_bytes(), content.as_bytes(), |_| ())
    }

    fn empty(self, typeflag: u8, name: &str) -> Self {
        self.member(typeflag, name.as_bytes(), b"", |_| ())
    }

    fn link(self, typeflag: u8, name: &str, target: &str) -> Self {
        self.member(typeflag, name.as_bytes(), b"", |block| put(block, 157, target.as_bytes()))
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let text: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        self.member(b'x', b"PaxHeaders", &text, |_| ())
    }

    /// Adds bytes and fills the block.
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn end(self) -> Vec<u8> {
        self.bytes(&[0; 1024]).0
    }
}

fn put(block: &mut [u8], at: usize, bytes: &[u8]) {
    block[at..at + bytes.len()].copy_from_slice(bytes);
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest + 1..rest + 9)
        .find(|length| *length == rest + length.to_string().len())
        .expect("some length fits");
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn path(name: &str) -> EntryPath {
    EntryPath::parse(name.as_bytes()).expect("a test's name is good")
}

/// All changes with their content, read in slices of the buffer.
fn read(bytes: &[u8]) -> Result<Vec<(Change, Vec<u8>)>, Error> {
    let mut reader = Reader::new(BufReader::with_capacity(700, bytes));
    let mut changes = Vec::new();
    while let Some(change) = reader.read_change()? {
        let mut content = Vec::new();
        loop {
            let slice = reader.fill_buf().map_err(|error| Error::io("test", error))?;
            let n = slice.len();
            if n == 0 {
                break;
            }
            content.extend_from_slice(slice);
            reader.consume(n);
        }
        changes.push((change, content));
    }
    assert_eq!(reader.into_inner().read(&mut [0]).expect("memory reads"), 0, "all is read");
    Ok(changes)
}

fn read_one(tar: Tar) -> (Entry, Vec<u8>) {
    let mut changes = read(&tar.end()).expect("the layer is good");
    assert_eq!(changes.len(), 1, "{changes:?}");
    match changes.remove(0) {
        (Change::Add(entry), content) => (entry, content),
        other => panic!("{other:?}"),
    }
}

fn entry(tar: Tar) -> Entry {
    read_one(tar).0
}

#[track_caller]
fn refused(tar: Tar, message: &str) {
    let error = read(&tar.end()).expect_err("must be refused");
    assert_eq!(error.to_string(), message);
    assert!(!matches!(error, Error::Io { .. } | Error::Unsupported { .. }), "{error:?}");
}

/// A line for each change.
fn show(tar: Tar) -> Vec<String> {
    let changes = read(&tar.end()).expect("the layer is good").into_iter();
    let line = |(change, content): (Change, Vec<u8>)| match change {
        Change::Add(entry) => match entry.kind {
            EntryKind::File { .. } => format!("+ {} {}", entry.path, content.escape_ascii()),
            EntryKind::Hardlink { target } => format!("+ {} = {target}", entry.path),
            EntryKind::Symlink { target } => {
                format!("+ {} -> {}", entry.path, target.escape_ascii())
            }
            kind => format!("+ {} {kind:?}", entry.path),
        },
        Change::Remove(path) => format!("- {path}"),
        Change::Opaque(path) => format!("o {path}"),
    };
    changes.map(line).collect()
}

#[test]
fn an_empty_input_is_an_empty_layer() {
    assert!(read(b"").unwrap().is_empty());
    assert!(read(&[0; 512]).unwrap().is_empty());
    assert!(read(&[0; 10_240]).unwrap().is_empty());
}

#[test]
fn every_kind_of_entry_is_read() {
    let device = |block: &mut [u8; 512]| {
        put(block, 329, b"0000010\0");
        put(block, 337, b"\x80\0\0\0\0\x20\0\0");
    };
    let tar = Tar::default()
        .file("./file", "content")
        .member(0, b"old", b"x", |_| ())
        .empty(b'7', "contiguous")
        .link(b'1', "hard", "/a//b")
        .link(b'2', "soft", "../../\x1b")
        .member(b'3', b"null", b"", device)
        .member(b'4', b"disk", b"", device)
        .empty(b'5', "dir/")
        .empty(b'6', "pipe")
        .empty(b'V', "volume")
        .member(b'D', b"dump/", b"Yfile\0", |_| ())
        .empty(0, "old-dir/")
        .empty(b'0', "bsd-dir/")
        .file("not-dir/", "x")
        .empty(b'5', "./");
    let lines = show(tar);
    let expected = [
        "+ file content",
        "+ old x",
        "+ contiguous ",
        "+ hard = a/b",
        "+ soft -> ../../\\x1b",
        "+ null CharDevice { major: 8, minor: 2097152 }",
        "+ disk BlockDevice { major: 8, minor: 2097152 }",
        "+ dir Directory",
        "+ pipe Fifo",
        "+ dump Directory",
        "+ old-dir Directory",
        "+ bsd-dir Directory",
        "+ not-dir x",
        "+ . Directory",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn attributes_are_exact() {
    let entry = entry(Tar::default().member(b'0', b"file", b"", |block| {
        put(block, 100, b"0106755\0");
        put(block, 108, b"\x80\0\0\0\xff\xff\xff\xfe");
        put(block, 116, b"  1750 \0");
        put(block, 136, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb");
    }));
    assert_eq!((entry.mode, entry.uid, entry.gid), (0o6755, 0xffff_fffe, 0o1750));
    assert_eq!(entry.mtime, Timestamp { seconds: -5, nanos: 0 });
}

#[test]
fn records_go_before_long_names_and_those_before_the_header() {
    let long = "l/".repeat(200);
    let named = |records: &[(&str, &[u8])]| {
        let tar = Tar::default().member(b'L', b"././@LongLink", long.as_bytes(), |_| ());
        let tar = tar.member(b'K', b"././@LongLink", b"long\0junk", |_| ()).pax(records);
        show(tar.link(b'2', "short", "target")).remove(0)
    };
    assert_eq!(named(&[("path", b"pax"), ("linkpath", b"there")]), "+ pax -> there");
    assert_eq!(
        named(&[("path", b""), ("linkpath", b"x"), ("linkpath", b"")]),
        format!("+ {} -> long", path(&long))
    );
}

#[test]
fn records_tell_what_a_header_cannot() {
    let tar = Tar::default()
        .pax(&[
            ("uid", b"4294967295"),
            ("gid", b"3000000"),
            ("mtime", b"-1.25"),
            ("atime", b"x"),
            ("size", b"3"),
        ])
        .member(b'0', b"file", b"", |block| put(block, 124, b"77777777777\0"))
        .bytes(b"abc");
    let (entry, content) = read_one(tar);
    assert_eq!((entry.uid, entry.gid), (u32::MAX, 3_000_000));
    assert_eq!(entry.mtime, Timestamp { seconds: -2, nanos: 750_000_000 });
    assert_eq!(content, b"abc");
}

#[test]
fn records_last_for_one_entry() {
    let tar = Tar::default().pax(&[("path", b"a"), ("uid", b"5")]).file("x", "").file("b", "");
    let changes = read(&tar.end()).unwrap();
    let Change::Add(second) = &changes[1].0 else { panic!("an entry") };
    assert_eq!((second.path.clone(), second.uid), (path("b"), 0));
}

#[test]
fn xattrs_are_sorted_and_may_be_empty() {
    let records: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.b", b"1"),
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\n"),
        ("SCHILY.xattr.user.b", b""),
        ("LIBARCHIVE.xattr.user.c", b"eA=="),
    ];
    let entry = entry(Tar::default().pax(&records).file("a", ""));
    let expected: [(Vec<u8>, Vec<u8>); 3] = [
        (b"security.capability".to_vec(), b"\x01\0\0\x02\n".to_vec()),
        (b"user.b".to_vec(), Vec::new()),
        (b"user.c".to_vec(), b"x".to_vec()),
    ];
    assert_eq!(entry.xattrs, expected);
}

#[test]
fn sizes_of_what_has_no_content_are_ignored() {
    let sized = |block: &mut [u8; 512]| {
        put(block, 124, b"00000001000\0");
        put(block, 157, b"target");
    };
    for typeflag in *b"123456" {
        assert_eq!(
            show(Tar::default().member(typeflag, b"a", b"", sized).file("b", "c"))[1],
            "+ b c"
        );
    }
    assert_eq!(show(Tar::default().member(0, b"a/", b"", sized).file("b", "c"))[1], "+ b c");
}

#[test]
fn old_headers_have_no_prefix_and_ustar_has_one() {
    let prefixed = |magic: &'static [u8]| {
        show(Tar::default().member(b'0', b"name", b"", |block| {
            put(block, 257, magic);
            put(block, 345, b"prefix");
        }))
        .remove(0)
    };
    assert_eq!(prefixed(b"ustar\x0000"), "+ prefix/name ");
    assert_eq!(prefixed(b"ustar  \0"), "+ prefix/name ", "Go before 1.8");
    assert_eq!(prefixed(b"\0\0\0\0\0\0\0\0"), "+ name ");
    let times = Tar::default().member(b'0', b"name", b"", |block| put(block, 257, b"ustar  \x00"));
    let times = times.member(b'0', b"name", b"", |block| {
        put(block, 257, b"ustar  \x00");
        put(block, 345, b"14217034017\x0014217034017\0");
    });
    assert_eq!(show(times), ["+ name ", "+ name "]);
}

#[test]
fn whiteouts_are_changes_of_their_own() {
    let tar = Tar::default()
        .file("a/.wh.b", "content of a whiteout")
        .link(b'1', ".wh.c", ".wh..wh.aufs")
        .empty(b'5', "a/.wh..wh..opq")
        .file(".wh..wh..opq", "")
        .file(".wh..wh.plnk/7.8", "left over")
        .link(b'1', "d", ".wh..wh.plnk/7.8")
        .empty(b'5', ".wh..wh.orph/")
        .file("e", "kept");
    assert_eq!(show(tar), ["- a/b", "- c", "o a", "o .", "+ e kept"]);
}

#[test]
fn odd_names_are_refused() {
    let file = |name| Tar::default().file(name, "");
    refused(file("a/../b"), "entry a/../b: the name leads out of the root (..)");
    refused(file("/.."), "entry /..: the name leads out of the root (..)");
    refused(file("."), "entry \"\": the root can only be a directory");
    refused(file(".wh."), "entry .wh.: a whiteout of nothing, `.` or `..`");
    refused(file("a/.wh..\x1b[1m/x"), "entry a/.wh..\\x1b[1m/x: a whiteout can't be a directory");
    refused(file("a/.wh.."), "entry a/.wh..: a whiteout of nothing, `.` or `..`");
    refused(file(".wh..."), "entry .wh...: a whiteout of nothing, `.` or `..`");
    refused(
        Tar::default().pax(&[("path", b"a\0b")]).file("a", ""),
        "entry a\\x00b: a NUL in the name",
    );
}

#[test]
fn odd_links_are_refused() {
    let link = |typeflag, target| Tar::default().link(typeflag, "a", target);
    refused(link(b'1', "../b"), "entry a: a hard link that leads out of the root");
    refused(link(b'1', "./a"), "entry a: a hard link to itself");
    refused(link(b'1', ""), "entry a: a hard link to the root");
    refused(link(b'1', ".wh.b"), "entry a: a hard link to a whiteout");
    refused(link(b'2', ""), "entry a: a symbolic link to nothing");
    refused(
        Tar::default().pax(&[("linkpath", b"a\0b")]).empty(b'2', "a"),
        "entry a: a NUL in a link's target",
    );
}

#[test]
fn odd_headers_are_refused() {
    let edited = |at, bytes: &'static [u8]| {
        Tar::default().member(b'0', b"a", b"", |block| put(block, at, bytes))
    };
    refused(Tar::default().empty(b'Z', "a"), "entry a: an unknown type");
    refused(edited(124, &[0xff; 12]), "entry a: the size is negative");
    refused(
        edited(124, b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
        "entry a: the size is not a number",
    );
    refused(edited(108, b"\x80\0\0\x01\0\0\0\0"), "entry a: a uid beyond 32 bits");
    refused(edited(116, &[0xff; 8]), "entry a: a gid beyond 32 bits");
    refused(edited(100, b"rwxrwxrwx"), "entry a: the mode is not a number");
    refused(Tar::default().bytes(&[1; 512]), "malformed tar header: no checksum");
    refused(
        Tar::default().bytes(&[0; 512]).file("a", ""),
        "malformed tar header: a block of zeros before the end",
    );
    refused(
        Tar::default().pax(&[("path", b"a")]),
        "malformed tar header: an extended header without an entry",
    );
    refused(
        Tar::default().member(b'x', b"", b"junk", |_| ()),
        "malformed tar header: a malformed PAX record",
    );
    let global =
        Tar::default().pax(&[("path", b"a")]).member(b'g', b"", &record("comment", b""), |_| ());
    refused(
        global,
        "malformed tar header: a global header between an entry and its extended header",
    );
}

#[test]
fn what_claims_to_be_huge_is_refused_before_it_is_read() {
    for typeflag in *b"xgLK" {
        let tar =
            Tar::default().member(typeflag, b"", b"", |block| put(block, 124, b"77777777777\0"));
        assert!(matches!(read(&tar.end()).unwrap_err(), Error::TooLarge { .. }));
    }
}

/// How long a name may be, and all of an extended header.
const NAME: usize = 1 << 20;
const HEADER: usize = 4 << 20;

#[test]
fn names_and_extended_headers_are_read_up_to_their_limits() {
    let is_too_large = |tar: Tar| match read(&tar.end()) {
        Err(Error::TooLarge { .. }) => true,
        Err(error) => panic!("{error}"),
        Ok(_) => false,
    };
    // A name, by PAX and by GNU's headers; components of it are short, and not too many.
    let name = |n: usize| [b"d/".as_slice(), &vec![b'x'; n - 2]].concat();
    for (n, expected) in [(NAME - 1, false), (NAME, false), (NAME + 1, true)] {
        let target = name(n);
        let link = |tar: Tar| tar.member(b'2', b"l", b"", |_| ());
        assert_eq!(
            is_too_large(link(Tar::default().pax(&[("linkpath", &target)]))),
            expected,
            "{n}"
        );
        // It ends with a zero.
        let gnu = Tar::default().member(b'K', b"", &[&target[..], b"\0"].concat(), |_| ());
        assert_eq!(is_too_large(link(gnu)), expected, "{n}");
    }
    // All of an extended header: a record's length, name and end count as well.
    for (n, expected) in [(HEADER - 1, false), (HEADER, false), (HEADER + 1, true)] {
        let value = vec![b'v'; n - "4194304 comment=\n".len()];
        let tar = Tar::default().pax(&[("comment", &value)]).file("a", "");
        assert_eq!(is_too_large(tar), expected, "{n}");
    }
}

#[test]
fn a_global_comment_is_kept_and_the_rest_of_it_is_not_applied() {
    let records =
        [record("comment", b"strata base"), record("path", b"b"), record("uid", b"7")].concat();
    let bytes =
        Tar::default().member(b'g', b"pax_global_header", &records, |_| ()).file("a", "").end();
    let mut reader = Reader::new(&bytes[..]);
    let Some(Change::Add(entry)) = reader.read_change().unwrap() else { panic!("an entry") };
    assert_eq!((entry.path, entry.uid), (path("a"), 0));
    assert_eq!(reader.comment().unwrap(), b"strata base");
}

#[test]
fn a_layer_may_stop_between_members_but_not_inside_one() {
    let tar =
        Tar::default().file("a", "content").pax(&[("path", b"b")]).file("x", &"c".repeat(600)).0;
    let n_changes = |bytes: &[u8]| read(bytes).map(|changes| changes.len());
    let truncated = |bytes: &[u8]| n_changes(bytes).unwrap_err();
    assert_eq!(n_changes(&tar).unwrap(), 2);
    assert_eq!(n_changes(&[tar.as_slice(), &[0; 512]].concat()).unwrap(), 2);
    assert_eq!(n_changes(&[tar.as_slice(), &[0; 1024], b"trailing"].concat()).unwrap(), 2);
    assert_eq!(n_changes(&tar[..1024]).unwrap(), 1);
    assert_eq!(n_changes(&tar[..519]).unwrap(), 1, "padding that was left out");
    assert_eq!(truncated(&tar[..518]).to_string(), "ended inside entry a");
    assert_eq!(truncated(&tar[..tar.len() - 500]).to_string(), "ended inside entry b");
    assert_eq!(truncated(&tar[..1000 + 512]).to_string(), "ended inside a tar header");
    assert_eq!(truncated(&tar[..1024 + 515]).to_string(), "ended inside an extended header");
}

#[test]
fn content_that_nobody_reads_is_skipped() {
    let bytes = Tar::default().file("a", &"a".repeat(1000)).file("b", "bb").end();
    let mut reader = Reader::new(&bytes[..]);
    reader.read_change().unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    reader.read_change().unwrap();
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "bb");
    assert!(reader.read_change().unwrap().is_none());
    assert!(reader.read_change().unwrap().is_none());
}

#[test]
fn after_an_error_there_is_no_end() {
    let bytes = Tar::default().file("a", "abc").0;
    let mut reader = Reader::new(&bytes[..514]);
    reader.read_change().unwrap();
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
    assert!(reader.read_change().is_err());
}

/// An old GNU sparse member, as `tar --sparse --format=gnu` writes it.
fn old_sparse(pieces: &[(u64, u64)], size: u64, content: &[u8]) -> Tar {
    let slot =
        |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    let (first, rest) = pieces.split_at(pieces.len().min(4));
    let mut tar = Tar::default().member(b'S', b"sparse", b"", |block| {
        put(block, 257, b"ustar  \0");
        put(block, 124, format!("{:011o}\0", content.len()).as_bytes());
        put(block, 386, &first.iter().flat_map(slot).collect::<Vec<_>>());
        block[482] = u8::from(!rest.is_empty());
        put(block, 483, format!("{size:011o}\0").as_bytes());
    });
    let n_blocks = rest.len().div_ceil(21);
    for (n, chunk) in rest.chunks(21).enumerate() {
        let mut block = [0; 512];
        put(&mut block, 0, &chunk.iter().flat_map(slot).collect::<Vec<_>>());
        block[504] = u8::from(n + 1 < n_blocks);
        tar = tar.bytes(&block);
    }
    tar.bytes(content)
}

fn sparse(entry: Entry) -> (u64, Vec<(u64, u64)>) {
    match entry.kind {
        EntryKind::File { size, data: Some(data) } => (size, data),
        kind => panic!("{kind:?}"),
    }
}

#[test]
fn old_gnu_sparse_files_keep_their_holes() {
    for n_pieces in [0, 1, 4, 5, 25, 26, 60] {
        let pieces: Vec<(u64, u64)> = (0..n_pieces).map(|n| (n * 4096, 3)).collect();
        let content = b"abc".repeat(pieces.len());
        let (entry, found) = read_one(old_sparse(&pieces, 1 << 32, &content));
        assert_eq!((entry.kind.content_size(), found), (content.len() as u64, content));
        assert_eq!(sparse(entry), (1 << 32, pieces));
    }
    let ended = show(old_sparse(&[(0, 3), (10, 0)], 10, b"abc").file("b", "c"));
    assert_eq!(ended, ["+ sparse abc", "+ b c"]);
}

#[test]
fn pax_sparse_files_of_all_versions_keep_their_holes() {
    let counted: [(&str, &[u8]); 6] = [
        ("GNU.sparse.size", b"100"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"1"),
        ("GNU.sparse.numbytes", b"2"),
        ("GNU.sparse.offset", b"50"),
        ("GNU.sparse.numbytes", b"1"),
    ];
    let mapped: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", b"100"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.name", b"file"),
        ("GNU.sparse.map", b"1,2,50,1"),
    ];
    let versioned: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"file"),
        ("GNU.sparse.realsize", b"100"),
    ];
    let mut block = b"2\n1\n2\n50\n1\n".to_vec();
    block.resize(512, 0);
    block.extend_from_slice(b"abc");
    let cases = [(&counted[..], b"abc".to_vec()), (&mapped, b"abc".to_vec()), (&versioned, block)];
    for (records, content) in cases {
        let (entry, found) =
            read_one(Tar::default().pax(records).member(b'0', b"file", &content, |_| ()));
        assert_eq!((entry.path.clone(), found), (path("file"), b"abc".to_vec()));
        assert_eq!(sparse(entry), (100, vec![(1, 2), (50, 1)]));
    }
}

#[test]
fn a_long_map_in_the_content_spans_blocks() {
    let mut content = b"300\n".to_vec();
    (0..300).for_each(|n| content.extend_from_slice(format!("{}\n1\n", n * 1000).as_bytes()));
    content.resize(content.len().next_multiple_of(512), 0);
    content.extend_from_slice(&[b'x'; 300]);
    let records: [(&str, &[u8]); 3] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.realsize", b"300000"),
    ];
    let (entry, found) =
        read_one(Tar::default().pax(&records).member(b'0', b"a", &content, |_| ()));
    assert_eq!(found, [b'x'; 300]);
    assert_eq!(sparse(entry).1.len(), 300);
}

#[test]
fn maps_that_lie_are_refused() {
    refused(
        old_sparse(&[(5, 3), (0, 3)], 10, b"abcdef"),
        "entry sparse: pieces of a sparse file overlap or don't ascend",
    );
    refused(
        old_sparse(&[(8, 3)], 10, b"abc"),
        "entry sparse: a piece of a sparse file lies beyond its end",
    );
    let sum = "entry sparse: the pieces of a sparse file don't add up to what is stored";
    refused(old_sparse(&[(0, 3)], 10, b"abcd"), sum);
    refused(
        Tar::default().empty(b'S', "a"),
        "entry a: a sparse file of type S outside a GNU archive",
    );
    let pax = |records: &[(&str, &[u8])], content: &[u8]| {
        Tar::default().pax(records).member(b'0', b"a", content, |_| ())
    };
    refused(
        pax(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")], b""),
        "entry a: a sparse file of an unknown version",
    );
    refused(pax(&[("GNU.sparse.map", b"0,1")], b"x"), "entry a: a sparse file without a size");
    refused(
        pax(&[("GNU.sparse.map", b"0,1,2")], b"x"),
        "malformed tar header: a malformed sparse map",
    );
    refused(
        pax(&[("GNU.sparse.offset", b"0")], b"x"),
        "entry a: a piece of a sparse file without a length",
    );
    let counted: [(&str, &[u8]); 3] =
        [("GNU.sparse.numblocks", b"2"), ("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"5")];
    refused(
        pax(&counted, b"x"),
        "entry a: a sparse file with another number of pieces than it says",
    );
    let versioned: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"9")];
    refused(pax(&versioned, b"1\n0\n5\n"), "entry a: a sparse map that never ends");
    refused(pax(&versioned, &[b'1'; 512]), "entry a: a malformed sparse map");
    refused(
        pax(&versioned, &[b"9999999\n".as_slice(), &[0; 504]].concat()),
        "entry a: more pieces of a sparse file than a file needs",
    );
    let directory = Tar::default()
        .pax(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"9")])
        .empty(b'5', "a");
    refused(directory, "entry a: a sparse file that is no file");
}
