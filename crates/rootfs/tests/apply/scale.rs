//! Many of everything: nothing may be quadratic.

use std::io::{BufRead, Cursor};
use std::time::Duration;

use layer_format::layer::Change;
use rootfs::{Applier, Root};

use crate::tree::{OPTIONS, apply_changes, change, entry, file, path, quick_dir};

/// Layers, each a list of changes to files without content.
type Layers = Vec<Vec<Change>>;

/// Applies layers; gives the processor time that it took, and the tree.
fn measure(layers: Layers) -> (Duration, tempfile::TempDir) {
    let root = quick_dir();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    let before = processor_time();
    for layer in layers {
        apply_changes(&mut applier, layer.into_iter().map(|change| (change, vec![]))).unwrap();
    }
    applier.finish().unwrap();
    (processor_time().saturating_sub(before), root)
}

/// What this thread has had of a processor, so that others at work don't count.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap()
}

/// How much longer four times as much may take: four times, where all pairs of it would take sixteen times.
const LINEAR: u32 = 9;
/// The same where each path has as many names as there are paths: sixteen times, and not 64 times.
const NESTED: u32 = 30;

/// Checks how much longer four times as much takes, and gives the tree that the most of it makes.
#[track_caller]
fn assert_grows(limit: u32, most: usize, layers: impl Fn(usize) -> Layers) -> tempfile::TempDir {
    let quarter = (0..3).map(|_| measure(layers(most / 4)).0).min().unwrap();
    let mut wholes = vec![];
    loop {
        let (whole, root) = measure(layers(most));
        if whole < quarter * limit {
            return root;
        }
        wholes.push(whole);
        assert!(wholes.len() < 3, "a quarter took {quarter:?}, the whole {wholes:?}");
    }
}

fn add(name: impl AsRef<str>) -> Change {
    change(&format!("{} = ", name.as_ref())).0
}

fn opaque(name: &str) -> Change {
    Change::Opaque(path(name))
}

fn remove(name: impl AsRef<str>) -> Change {
    Change::Remove(path(name.as_ref()))
}

fn names(dir: std::path::PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn many_opaque_markers_on_one_directory() {
    let layers = |n: usize| {
        let old = (0..n / 4).map(|n| add(format!("d/old{n}")));
        let own = (0..n / 4).map(|n| add(format!("d/{n}")));
        let markers = (0..n).map(|_| opaque("d"));
        let alternating =
            (0..n / 2).flat_map(|n| [add(format!("d/x{}", n % 50)), opaque("d"), remove("d")]);
        vec![old.collect(), own.chain(markers).collect(), alternating.collect()]
    };
    let root = assert_grows(LINEAR, 8_000, layers);
    let mut expected: Vec<_> = (0..50).map(|n| format!("x{n}")).collect();
    expected.sort();
    assert_eq!(names(root.path().join("d")), expected);
}

#[test]
fn a_chain_of_nested_markers_from_either_end() {
    let name = |n: usize| vec!["d"; n].join("/");
    for inward in [true, false] {
        let layers = |n: usize| {
            let mut markers: Vec<_> = (1..=n).map(|n| opaque(&name(n))).collect();
            if inward {
                markers.reverse();
            }
            let own = [add(format!("{}/g", name(n)))].into_iter().chain(markers.clone());
            let removals = markers.into_iter().chain((1..=n).map(|n| remove(name(n))));
            vec![vec![add(format!("{}/f", name(n)))], own.collect(), removals.collect()]
        };
        let root = assert_grows(NESTED, 400, layers);
        assert_eq!(names(root.path().to_owned()), [""; 0]);
    }
}

#[test]
fn many_whiteouts_of_nothing() {
    let layers = |n: usize| {
        let here = (0..n).map(|n| remove(format!("d/e/{n}")));
        let nowhere = (0..n / 5).map(|n| remove(format!("no/such/{n}/x")));
        vec![vec![add("d/e/f")], here.collect(), nowhere.collect()]
    };
    let root = assert_grows(LINEAR, 40_000, layers);
    assert_eq!(names(root.path().to_owned()), ["d"]);
    assert_eq!(names(root.path().join("d/e")), ["f"]);
}

#[test]
fn many_layers_of_one_entry() {
    let layers = |n: usize| {
        let first = (0..n / 10).map(|n| add(format!("d{n}/e/f"))).collect();
        let others = (0..n).map(|n| vec![add(format!("a/b/{}", n % 100))]);
        [first].into_iter().chain(others).collect()
    };
    let root = assert_grows(LINEAR, 8_000, layers);
    assert_eq!(names(root.path().join("a/b")).len(), 100);
    assert_eq!(names(root.path().to_owned()).len(), 801);
}

#[test]
fn a_directory_taken_in_turns_with_another() {
    let layers =
        |n: usize| vec![(0..n).map(|n| add(format!("{}/e/f/{}", n % 2, n % 300))).collect()];
    let root = assert_grows(LINEAR, 8_000, layers);
    for (dir, first) in [("0/e/f", 0), ("1/e/f", 1)] {
        let mut expected: Vec<_> = (first..300).step_by(2).map(|n| n.to_string()).collect();
        expected.sort();
        assert_eq!(names(root.path().join(dir)), expected);
    }
}

#[test]
fn links_that_lead_up_a_long_way() {
    let deep = vec!["d"; 700].join("/");
    let layers = |n: usize| {
        let link = change(&format!("{deep}/l -> {}../d/./d", "../".repeat(695))).0;
        let through = (0..n).map(|n| add(format!("{deep}/l/{n}")));
        vec![[add(format!("{deep}/f")), link].into_iter().chain(through).collect()]
    };
    let root = assert_grows(LINEAR, 160, layers);
    let there = root.path().join(["d"; 6].join("/"));
    assert!((0..160).all(|n| there.join(n.to_string()).exists()));
}

/// Content that comes in pieces of odd lengths, with interruptions between them.
struct Stingy<'a> {
    content: &'a [u8],
    /// How long the next piece may be.
    most: usize,
    is_interrupted: bool,
}

impl std::io::Read for Stingy<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = self.fill_buf()?;
        let n = piece.len().min(buffer.len());
        buffer[..n].copy_from_slice(&piece[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Stingy<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(&self.content[..self.content.len().min(self.most)])
    }

    fn consume(&mut self, n: usize) {
        self.content = &self.content[n..];
        self.most = self.most * 7 % 9973 + 1;
    }
}

/// Sizes about every buffer that there is.
const SIZES: [usize; 18] = [
    0,
    1,
    511,
    512,
    513,
    4095,
    4096,
    4097,
    (64 << 10) - 1,
    64 << 10,
    (64 << 10) + 1,
    (128 << 10) - 1,
    128 << 10,
    (128 << 10) + 1,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    3_000_000,
];

#[test]
fn content_of_all_sizes_arrives_whole_however_it_comes() {
    let root = quick_dir();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    let bytes: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    let mut check = |name: &str, size: usize, reader: &mut dyn BufRead| {
        let name = format!("{name}{size}");
        let mut reader = reader;
        applier.apply(&Change::Add(entry(&name, file(size))), &mut reader).unwrap();
        assert!(std::fs::read(root.path().join(&name)).unwrap() == bytes[..size], "{name}");
        // What comes next is the next one's.
        let next = loop {
            match reader.fill_buf() {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                piece => break piece.unwrap()[0],
            }
        };
        assert_eq!(next, bytes[size], "{name}");
    };
    for size in SIZES {
        for capacity in [511, 4096, 65_536, 1 << 20] {
            let mut reader = std::io::BufReader::with_capacity(capacity, Cursor::new(&bytes));
            check(&format!("by-{capacity}-"), size, &mut reader);
        }
        check("whole-", size, &mut Cursor::new(&bytes));
        let mut stingy = Stingy { content: &bytes, most: 1, is_interrupted: false };
        check("stingy-", size, &mut stingy);
    }
}

// moby#5419
#[test]
fn blocks_of_zeros_become_holes_and_every_byte_is_what_it_was() {
    use std::os::unix::fs::MetadataExt as _;

    const BLOCK: usize = 64 << 10;
    let zeros = |n: usize| vec![0_u8; n];
    let ones = |n: usize| vec![1_u8; n];
    let cases: [(&str, Vec<Vec<u8>>, usize); 9] = [
        ("zeros", vec![zeros(1 << 20)], 0),
        ("zeros and a byte", vec![zeros(1 << 20), ones(1)], 1),
        ("a byte and zeros", vec![ones(1), zeros(1 << 20)], 1),
        ("between", vec![ones(BLOCK), zeros(8 * BLOCK), ones(BLOCK)], 2),
        ("not at a block", vec![ones(BLOCK + 7), zeros(8 * BLOCK), ones(9)], 3),
        ("short runs", vec![ones(100), zeros(BLOCK - 1), ones(100), zeros(100)], 3),
        ("one block", vec![zeros(BLOCK)], 0),
        ("one byte less", vec![zeros(BLOCK - 1)], 1),
        ("one byte more", vec![zeros(BLOCK + 1)], 1),
    ];
    let root = quick_dir();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    for (name, parts, _) in &cases {
        let bytes = parts.concat();
        // All at once, as it comes from the decoder, and in pieces that blocks don't fit into.
        for (suffix, capacity) in [("", 256 << 10), ("-small", 10_000)] {
            let mut reader = std::io::BufReader::with_capacity(capacity, Cursor::new(&bytes));
            let name = format!("{name}{suffix}");
            applier.apply(&Change::Add(entry(&name, file(bytes.len()))), &mut reader).unwrap();
            assert!(std::fs::read(root.path().join(&name)).unwrap() == bytes, "{name}");
        }
    }
    applier.finish().unwrap();
    for (name, _, most) in &cases {
        let most = (most * BLOCK) as u64;
        for name in [(*name).to_owned(), format!("{name}-small")] {
            let n_allocated = std::fs::metadata(root.path().join(&name)).unwrap().blocks() * 512;
            assert!(n_allocated <= most, "{name}: {n_allocated} bytes");
        }
    }
}
