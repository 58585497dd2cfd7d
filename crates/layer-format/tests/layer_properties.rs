//! What holds for all layers: what is written reads back, and no bytes whatever make the reader panic or run away.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};

use layer_format::Error;
use layer_format::layer::{Change, Entry, EntryKind, EntryPath, Reader, Timestamp, Writer};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

type Step = (Change, Vec<u8>);

fn name() -> impl Strategy<Value = Vec<u8>> {
    let byte = (1..=255_u8).prop_filter("no slash", |byte| *byte != b'/');
    let short = vec(byte.clone(), 1..12);
    let long = vec(byte, 90..300);
    prop_oneof![4 => short, 1 => long].prop_filter("honest names", |name| {
        name != b"." && name != b".." && !name.starts_with(b".wh.")
    })
}

fn path() -> impl Strategy<Value = EntryPath> {
    vec(name(), 1..5)
        .prop_map(|names| names.iter().fold(EntryPath::root(), |path, name| path.join(name)))
}

/// Small ones mostly, and such as end right before, at and after blocks and buffers.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let sizes: Vec<usize> = [512, 64 << 10, 128 << 10, 1 << 20]
        .into_iter()
        .flat_map(|size: usize| [size - 1, size, size + 1])
        .chain([0, 1])
        .collect();
    let large = (prop::sample::select(sizes), any::<u8>()).prop_map(|(size, first)| {
        (0..size).map(|n| (n / 7).to_le_bytes()[0].wrapping_add(first)).collect()
    });
    prop_oneof![12 => vec(any::<u8>(), 0..2000), 1 => large]
}

fn kind() -> impl Strategy<Value = (EntryKind, Vec<u8>)> {
    let number = || prop_oneof![0..300_u32, any::<u32>()];
    let bare = |kind| (kind, Vec::new());
    prop_oneof![
        Just(bare(EntryKind::Directory)),
        Just(bare(EntryKind::Fifo)),
        content().prop_map(|content| (
            EntryKind::File { size: content.len() as u64, data: None },
            content
        )),
        vec(1..=255_u8, 1..300).prop_map(move |target| bare(EntryKind::Symlink { target })),
        path().prop_map(move |target| bare(EntryKind::Hardlink { target })),
        (number(), number())
            .prop_map(move |(major, minor)| bare(EntryKind::CharDevice { major, minor })),
        (number(), number())
            .prop_map(move |(major, minor)| bare(EntryKind::BlockDevice { major, minor })),
    ]
}

fn xattrs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let name = vec((1..=255_u8).prop_filter("no =", |byte| *byte != b'='), 1..20);
    let xattrs = proptest::collection::btree_map(name, vec(any::<u8>(), 0..40), 0..3);
    xattrs.prop_map(|xattrs| xattrs.into_iter().collect())
}

fn mtime() -> impl Strategy<Value = Timestamp> {
    let seconds = prop_oneof![Just(0), -5..5_i64, any::<i64>()];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000_u32];
    (seconds, nanos).prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn step() -> impl Strategy<Value = Step> {
    let id = || prop_oneof![0..2000_u32, any::<u32>()];
    let entry = (path(), kind(), 0..0o10_000_u32, (id(), id()), mtime(), xattrs());
    let add = entry.prop_map(|(path, (kind, content), mode, (uid, gid), mtime, xattrs)| {
        (Change::Add(Entry { path, kind, mode, uid, gid, mtime, xattrs }), content)
    });
    prop_oneof![
        6 => add,
        1 => path().prop_map(|path| (Change::Remove(path), Vec::new())),
        1 => path().prop_map(|path| (Change::Opaque(path), Vec::new())),
        1 => Just((Change::Opaque(EntryPath::root()), Vec::new())),
    ]
}

fn write(steps: &[Step]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (change, content) in steps {
        writer.write_change(change).expect("the change is good");
        writer.write_all(content).expect("the content has its size");
    }
    writer.finish().expect("memory takes everything")
}

fn read(bytes: &[u8]) -> Result<Vec<Step>, Error> {
    read_from(bytes)
}

fn read_from(bytes: impl BufRead) -> Result<Vec<Step>, Error> {
    let mut reader = Reader::new(bytes);
    let mut steps = Vec::new();
    while let Some(change) = reader.read_change()? {
        let mut content = Vec::new();
        reader.read_to_end(&mut content).map_err(|error| Error::io("reading", error))?;
        if let Change::Add(entry) = &change {
            assert_eq!(entry.kind.content_size(), content.len() as u64);
        }
        steps.push((change, content));
    }
    Ok(steps)
}

/// A reader that gives little at a time, and is interrupted in between.
struct Stingy<'a> {
    bytes: &'a [u8],
    most: usize,
    is_interrupted: bool,
}

impl Read for Stingy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        self.most = self.most * 7 % 9973 + 1;
        let most = self.most.min(buffer.len());
        self.bytes.read(&mut buffer[..most])
    }
}

/// A layer with every feature that the reader knows, to be broken.
fn rich() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |typeflag: u8, name: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let block = header.as_mut_bytes();
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[156] = typeflag;
        block[157..161].copy_from_slice(b"link");
        if typeflag == b'S' {
            block[386..410].copy_from_slice(b"00000000002\x0000000000003\0");
            block[483..495].copy_from_slice(b"00000000100\0");
        }
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    };
    add(b'g', "global", b"14 comment=hi\n");
    add(b'L', "././@LongLink", b"a/long/name\0");
    add(b'1', "x", b"");
    add(b'S', "sparse", b"abc");
    add(b'x', "pax", b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.realsize=99\n");
    add(b'0', "sparse", &[b"1\n7\n2\n".as_slice(), &[0; 506], b"ab"].concat());
    add(b'x', "pax", b"22 GNU.sparse.size=99\n26 GNU.sparse.map=1,2,5,1\n13 mtime=1.5\n25 SCHILY.xattr.user.a=1\n");
    add(b'0', "sparse", b"abc");
    add(b'5', "dir/", b"");
    add(b'0', ".wh.gone", b"");
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Makes the checksums of all blocks that look like headers right again, so that damage gets past them.
fn mend(bytes: &mut [u8]) {
    for block in bytes.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// One kind of damage.
#[derive(Clone, Debug)]
enum Damage {
    Set(u8),
    Insert(Vec<u8>),
    Delete(usize),
}

fn damage() -> impl Strategy<Value = (prop::sample::Index, Damage)> {
    let damage = prop_oneof![
        4 => any::<u8>().prop_map(Damage::Set),
        2 => prop::sample::select(b"0179 =\n\0\xff\x80".to_vec()).prop_map(Damage::Set),
        1 => vec(any::<u8>(), 1..600).prop_map(Damage::Insert),
        1 => (1..600_usize).prop_map(Damage::Delete),
    ];
    (any::<prop::sample::Index>(), damage)
}

fn apply(bytes: &mut Vec<u8>, damages: Vec<(prop::sample::Index, Damage)>) {
    for (index, damage) in damages {
        if bytes.is_empty() {
            return;
        }
        let at = index.index(bytes.len());
        match damage {
            Damage::Set(byte) => bytes[at] = byte,
            Damage::Insert(more) => drop(bytes.splice(at..at, more)),
            Damage::Delete(n) => drop(bytes.drain(at..(at + n).min(bytes.len()))),
        }
    }
}

/// Whether a record of a change has a line feed in it.
fn has_line_feed(change: &Change) -> bool {
    let (path, entry) = match change {
        Change::Add(entry) => (&entry.path, Some(entry)),
        Change::Remove(path) | Change::Opaque(path) => (path, None),
    };
    let target = match entry.map(|entry| &entry.kind) {
        Some(EntryKind::Symlink { target }) => target,
        Some(EntryKind::Hardlink { target }) => target.as_bytes(),
        _ => &[],
    };
    let xattrs = entry.into_iter().flat_map(|entry| &entry.xattrs);
    let xattrs = xattrs.flat_map(|(name, value)| [&name[..], &value[..]]);
    [path.as_bytes(), target].into_iter().chain(xattrs).any(|text| text.contains(&b'\n'))
}

/// What another reader sees of a member.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    path: Vec<u8>,
    typeflag: u8,
    mode: u64,
    owner: (u64, u64),
    /// Nanoseconds.
    mtime: i128,
    size: u64,
    target: Vec<u8>,
    /// What is too large for this reader is not seen.
    device: Option<(u32, u32)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Seen {
    fn of(entry: &mut tar::Entry<'_, impl Read>) -> Self {
        let mut records = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().expect("a tar with a header") {
            for record in extensions.filter_map(Result::ok) {
                records.insert(record.key_bytes().to_vec(), record.value_bytes().to_vec());
            }
        }
        let text = |key: &str| {
            records.get(key.as_bytes()).map(|it| str::from_utf8(it).expect("a number is text"))
        };
        let number = |key: &str, field: std::io::Result<u64>| match text(key) {
            Some(text) => text.parse().expect("a number"),
            None => field.expect("a number"),
        };
        let header = entry.header();
        let typeflag = header.entry_type().as_byte();
        let mtime = match text("mtime") {
            Some(text) => nanoseconds(text),
            None => i128::from(header.mtime().expect("a number")) * 1_000_000_000,
        };
        let device = header.device_major().ok().zip(header.device_minor().ok());
        let device = device.and_then(|(major, minor)| major.zip(minor));
        let xattr = |(key, value): (&Vec<u8>, &Vec<u8>)| {
            Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone()))
        };
        Self {
            path: entry.path_bytes().into_owned(),
            typeflag,
            mode: header.mode().expect("a number").into(),
            owner: (number("uid", header.uid()), number("gid", header.gid())),
            mtime,
            size: entry.size(),
            target: entry.link_name_bytes().map_or_else(Vec::new, std::borrow::Cow::into_owned),
            device: device.filter(|_| matches!(typeflag, b'3' | b'4')),
            xattrs: records.iter().filter_map(xattr).collect(),
        }
    }

    fn expected(change: &Change) -> Self {
        let entry = match change {
            Change::Add(entry) => entry,
            Change::Remove(path) => {
                let (parent, name) = split(path);
                let path = [parent, b".wh.", name].concat();
                return Self { path, typeflag: b'0', ..Self::default() };
            }
            Change::Opaque(path) => {
                let slash: &[u8] = if path.is_root() { b"" } else { b"/" };
                let path = [path.as_bytes(), slash, b".wh..wh..opq"].concat();
                return Self { path, typeflag: b'0', ..Self::default() };
            }
        };
        let mut path = entry.path.as_bytes().to_vec();
        let (typeflag, target, device) = match &entry.kind {
            EntryKind::File { .. } => (b'0', &[][..], None),
            EntryKind::Hardlink { target } => (b'1', target.as_bytes(), None),
            EntryKind::Symlink { target } => (b'2', &target[..], None),
            EntryKind::CharDevice { major, minor } => (b'3', &[][..], Some((*major, *minor))),
            EntryKind::BlockDevice { major, minor } => (b'4', &[][..], Some((*major, *minor))),
            EntryKind::Directory => (b'5', &[][..], None),
            EntryKind::Fifo => (b'6', &[][..], None),
        };
        if typeflag == b'5' {
            path.push(b'/');
        }
        Self {
            path,
            typeflag,
            mode: entry.mode.into(),
            owner: (entry.uid.into(), entry.gid.into()),
            mtime: i128::from(entry.mtime.seconds) * 1_000_000_000 + i128::from(entry.mtime.nanos),
            size: entry.kind.content_size(),
            target: target.to_vec(),
            device: device.filter(|(major, minor)| (*major).max(*minor) <= 0o7_777_777),
            xattrs: entry.xattrs.iter().cloned().collect(),
        }
    }
}

/// A path's directory, with its slash, and its last name.
fn split(path: &EntryPath) -> (&[u8], &[u8]) {
    let bytes = path.as_bytes();
    bytes.split_at(bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1))
}

/// A time as PAX has it.
fn nanoseconds(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos: i128 = format!("{fraction:0<9}").parse().expect("a number");
    sign * (seconds.parse::<i128>().expect("a number") * 1_000_000_000 + nanos)
}

/// So many cases; seeds that failed are kept, and tried first from then on.
fn config(cases: u32) -> ProptestConfig {
    let seeds = FileFailurePersistence::Direct("tests/layer_properties.seeds");
    let failure_persistence = Some(Box::new(seeds) as Box<_>);
    ProptestConfig { cases, failure_persistence, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn what_is_written_reads_back(steps in vec(step(), 0..8)) {
        let bytes = write(&steps);
        prop_assert_eq!(read(&bytes).unwrap(), steps.clone());
        let stingy = Stingy { bytes: &bytes, most: 1, is_interrupted: false };
        prop_assert_eq!(read_from(BufReader::with_capacity(777, stingy)).unwrap(), steps.clone());
        prop_assert_eq!(write(&steps), bytes);
    }

    #[test]
    fn what_is_written_is_a_tar_to_others(steps in vec(step(), 0..4)) {
        let bytes = write(&steps);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut n_entries = 0;
        for (entry, (change, content)) in archive.entries().unwrap().zip(&steps) {
            let mut entry = entry.unwrap();
            let seen = Seen::of(&mut entry);
            let mut found = Vec::new();
            entry.read_to_end(&mut found).unwrap();
            prop_assert_eq!(&found, content);
            // The tar crate takes every line feed for the end of a record.
            if !has_line_feed(change) {
                prop_assert_eq!(seen, Seen::expected(change));
            }
            n_entries += 1;
        }
        prop_assert_eq!(n_entries, steps.len());
    }

    #[test]
    fn sizes_beyond_eight_gigabytes_read_back(size in 1_u64 << 33..i64::MAX.cast_unsigned()) {
        let kind = EntryKind::File { size, data: None };
        let entry = Entry {
            path: EntryPath::parse(b"huge").unwrap(), kind, mode: 0, uid: 0, gid: 0, mtime: Timestamp::default(),
            xattrs: Vec::new(),
        };
        let mut bytes = Vec::new();
        Writer::new(&mut bytes).write_change(&Change::Add(entry.clone())).unwrap();
        let mut reader = Reader::new(&bytes[..]);
        prop_assert_eq!(reader.read_change().unwrap(), Some(Change::Add(entry)));
        prop_assert!(reader.read_change().is_err());
    }

    #[test]
    fn sparse_files_are_written_with_zeros_in_their_holes(lengths in vec((0..900_u64, 1..900_u64), 0..6), rest in 0..900_u64) {
        let mut at = 0;
        let mut data = Vec::new();
        for (hole, length) in lengths {
            data.push((at + hole, length));
            at += hole + length;
        }
        let mut whole = vec![0; usize::try_from(at + rest).unwrap()];
        let mut content = Vec::new();
        for &(offset, length) in &data {
            let (offset, length) = (usize::try_from(offset).unwrap(), usize::try_from(length).unwrap());
            whole[offset..offset + length].fill(b'x');
            content.resize(content.len() + length, b'x');
        }
        let kind = EntryKind::File { size: at + rest, data: Some(data) };
        let path = EntryPath::parse(b"sparse").unwrap();
        let entry = Entry { path, kind, mode: 0, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() };
        let found = read(&write(&[(Change::Add(entry), content)])).unwrap().remove(0).1;
        prop_assert_eq!(found, whole);
    }

    #[test]
    fn a_cut_layer_never_has_other_changes(steps in vec(step(), 1..4), index in any::<prop::sample::Index>()) {
        let bytes = write(&steps);
        if let Ok(found) = read(&bytes[..index.index(bytes.len())]) {
            prop_assert!(steps.starts_with(&found));
        }
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn damaged_layers_end_in_an_error_or_an_end(damages in vec(damage(), 1..6)) {
        let mut bytes = rich();
        apply(&mut bytes, damages);
        drop(read(&bytes));
        mend(&mut bytes);
        drop(read(&bytes));
    }

    #[test]
    fn random_headers_end_in_an_error_or_an_end(mut bytes in vec(any::<u8>(), 512..2048), types in vec(any::<u8>(), 4)) {
        for (block, typeflag) in bytes.chunks_exact_mut(512).zip(types) {
            block[257..265].copy_from_slice(if typeflag & 0x80 == 0 { b"ustar  \0" } else { b"ustar\x0000" });
            block[156] = b"01234567xgLKSDV\0"[usize::from(typeflag % 16)];
            if typeflag & 0x40 == 0 {
                block[100..148].fill(b'0');
            }
        }
        drop(read(&bytes));
        mend(&mut bytes);
        drop(read(&bytes));
    }
}

#[test]
fn the_layer_that_is_to_be_broken_is_whole() {
    assert_eq!(read(&rich()).unwrap().len(), 6);
}
