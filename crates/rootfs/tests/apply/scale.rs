//! Many of everything: nothing may be quadratic.

use std::io::Cursor;
use std::time::{Duration, Instant};

use layer_format::layer::Change;
use rootfs::{Applier, Root};

use crate::tree::{OPTIONS, apply_changes, change, entry, file, path, quick_dir};

struct Timed {
    root: tempfile::TempDir,
    applier: Applier,
    start: Instant,
}

impl Timed {
    fn new() -> Self {
        let root = quick_dir();
        let applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
        Self { root, applier, start: Instant::now() }
    }

    fn layer(&mut self, changes: impl IntoIterator<Item = Change>) {
        apply_changes(&mut self.applier, changes.into_iter().map(|change| (change, Vec::new())))
            .unwrap();
    }

    /// Linear work takes a second or two of these; quadratic work takes minutes.
    fn finish(self) {
        self.applier.finish().unwrap();
        let taken = self.start.elapsed();
        assert!(taken < Duration::from_secs(30), "{taken:?}");
        drop(self.root);
    }
}

fn add(name: &str) -> Change {
    change(&format!("{name} = ")).0
}

#[test]
fn twenty_thousand_opaque_markers_on_one_directory() {
    let mut timed = Timed::new();
    timed.layer((0..5000).map(|n| add(&format!("d/old{n}"))));
    let own = (0..5000).map(|n| add(&format!("d/{n}")));
    timed.layer(own.chain((0..20_000).map(|_| Change::Opaque(path("d")))));
    let alternating = (0..10_000).flat_map(|n| {
        [add(&format!("d/x{}", n % 50)), Change::Opaque(path("d")), Change::Remove(path("d"))]
    });
    timed.layer(alternating);
    timed.finish();
}

#[test]
fn a_chain_of_nested_markers_from_either_end() {
    for inward in [true, false] {
        let mut timed = Timed::new();
        let name = |n: usize| vec!["d"; n].join("/");
        timed.layer([add(&format!("{}/f", name(700)))]);
        let mut markers: Vec<_> = (1..=700).map(|n| Change::Opaque(path(&name(n)))).collect();
        if inward {
            markers.reverse();
        }
        let own = [add(&format!("{}/g", name(700)))];
        timed.layer(own.into_iter().chain(markers.clone()));
        timed.layer(markers.into_iter().chain((1..=700).map(|n| Change::Remove(path(&name(n))))));
        timed.finish();
    }
}

#[test]
fn a_hundred_thousand_whiteouts_of_nothing() {
    let mut timed = Timed::new();
    timed.layer([add("d/e/f")]);
    timed.layer((0..100_000).map(|n| Change::Remove(path(&format!("d/e/{n}")))));
    timed.layer((0..20_000).map(|n| Change::Remove(path(&format!("no/such/{n}/x")))));
    timed.finish();
}

#[test]
fn twenty_thousand_layers_of_one_entry() {
    let mut timed = Timed::new();
    timed.layer((0..2000).map(|n| add(&format!("d{n}/e/f"))));
    for n in 0..20_000 {
        timed.layer([add(&format!("a/b/{}", n % 100))]);
    }
    timed.finish();
}

#[test]
fn a_directory_taken_in_turns_with_another() {
    let mut timed = Timed::new();
    timed.layer((0..20_000).map(|n| add(&format!("{}/e/f/{}", n % 2, n % 300))));
    timed.finish();
}

#[test]
fn links_that_lead_up_a_long_way() {
    let mut timed = Timed::new();
    let deep = vec!["d"; 700].join("/");
    let link = change(&format!("{deep}/l -> {}../d/./d", "../".repeat(695))).0;
    let through = (0..450).map(|n| add(&format!("{deep}/l/{n}")));
    timed.layer([add(&format!("{deep}/f")), link].into_iter().chain(through));
    let there = timed.root.path().join(["d"; 6].join("/"));
    assert!((0..450).all(|n| there.join(n.to_string()).exists()));
    timed.finish();
}

#[test]
fn content_of_all_sizes_arrives_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut applier = Applier::new(Root::open(root.path()).unwrap(), OPTIONS).unwrap();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[n as usize % 3]).collect();
    for size in [0, 1, 4095, 65_536, 65_537, bytes.len()] {
        let mut reader = std::io::BufReader::with_capacity(65_536, Cursor::new(&bytes));
        applier.apply(&Change::Add(entry(&size.to_string(), file(size))), &mut reader).unwrap();
        assert_eq!(std::fs::read(root.path().join(size.to_string())).unwrap(), bytes[..size]);
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
