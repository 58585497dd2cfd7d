//! Decompressing from the middle of gzip data, and several parts of it at once, gives what decompressing from its beginning does.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::io::{BufReader, Read, Write as _};
use std::num::NonZeroUsize;
use std::sync::Arc;

use flate2::write::GzEncoder;
use layer_format::{Codec, Compression, Decoder, Encoder, SeekIndex};

/// Numbers in text, bytes that can't be compressed, and zeros: blocks of all three types.
fn content(n: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(n + 100);
    let mut state = 88_172_645_463_325_252_u64;
    while content.len() < n {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match content.len() / 700_000 % 3 {
            0 => write!(content, "{} {:x} ", state % 1000, state % 7919).unwrap(),
            1 => content.extend(state.to_le_bytes()),
            _ => content.extend([0; 100]),
        }
    }
    content.truncate(n);
    content
}

fn gzip(content: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(vec![], flate2::Compression::new(level));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn recorded(stored: &[u8], expected: &[u8]) -> Option<SeekIndex> {
    let mut decoder = Decoder::recording(BufReader::with_capacity(10_007, stored)).unwrap();
    let mut plain = vec![];
    decoder.read_to_end(&mut plain).unwrap();
    assert!(plain == expected, "decompressed while looking for checkpoints");
    decoder.take_index()
}

/// Checks an index at all of its checkpoints, and returns how many there are.
#[track_caller]
fn check(stored: &[u8], expected: &[u8]) -> usize {
    let index = Arc::new(recorded(stored, expected).unwrap());
    assert_eq!((index.stored_size(), index.size()), (stored.len() as u64, expected.len() as u64));
    for (position, checkpoint) in index.checkpoints().iter().enumerate() {
        let begin = usize::try_from(index.begin(position)).unwrap();
        let mut decoder = Decoder::indexed(&stored[begin..], Arc::clone(&index), position);
        let mut plain = vec![];
        decoder.read_to_end(&mut plain).unwrap();
        let from = usize::try_from(checkpoint.plain).unwrap();
        assert!(plain == expected[from..], "from checkpoint {position}");
        assert_eq!(index.before(checkpoint.plain), position);
    }
    index.checkpoints().len()
}

#[test]
fn any_checkpoint_is_a_beginning() {
    let content = content(20_000_000);
    for level in [0, 6, 9] {
        let n = check(&gzip(&content, level), &content);
        assert!((2..=10).contains(&n), "level {level}: {n}");
    }
    let compression = Compression::new(Codec::Gzip, None).unwrap();
    let mut encoder = Encoder::new(vec![], compression, NonZeroUsize::new(2).unwrap()).unwrap();
    encoder.write_all(&content).unwrap();
    assert_eq!(check(&encoder.finish().unwrap(), &content), 10);
}

#[test]
fn members_are_beginnings_too() {
    let content = content(20_000_000);
    // As eStargz has them, with an empty one and zeros at the end.
    let mut stored: Vec<u8> =
        content.chunks(300_000).flat_map(|part| [gzip(part, 6), gzip(b"", 6)].concat()).collect();
    stored.extend([0; 1000]);
    let index = recorded(&stored, &content).unwrap();
    assert!(index.checkpoints().iter().all(|it| it.bit == 0 && it.window.is_none()));
    let stored = &stored[..stored.len() - 1000];
    assert!(check(stored, &content) >= 4);
}

#[test]
fn what_is_short_or_no_gzip_has_no_index() {
    let content = content(3_000_000);
    assert_eq!(recorded(&gzip(&content[..1_500_000], 6), &content[..1_500_000]), None);
    assert_eq!(recorded(&content, &content), None);
    assert_eq!(recorded(&gzip(&[0; 0], 6), &[]), None);
}

#[test]
fn damage_cut_and_another_blob_are_seen() {
    let content = content(20_000_000);
    let stored = gzip(&content, 6);
    let index = Arc::new(recorded(&stored, &content).unwrap());
    let read = |stored: &[u8]| {
        let mut plain = vec![];
        Decoder::indexed(stored, Arc::clone(&index), 0).read_to_end(&mut plain).map(|_| plain)
    };
    assert!(read(&stored).unwrap() == content);
    for cut in [0, 1, stored.len() / 2, stored.len() - 1] {
        assert!(read(&stored[..cut]).is_err(), "cut at {cut}");
    }
    for at in (100..stored.len() - 8).step_by(stored.len() / 20) {
        let mut damaged = stored.clone();
        damaged[at] ^= 4;
        assert!(read(&damaged).is_err() || read(&damaged).unwrap() != content, "damaged at {at}");
    }
    let other = gzip(&content[1..], 6);
    assert!(read(&other).is_err());
}

#[test]
fn checkpoints_that_do_not_fit_are_no_index() {
    let content = content(20_000_000);
    let index = recorded(&gzip(&content, 6), &content).unwrap();
    let again = |change: &dyn Fn(&mut Vec<layer_format::Checkpoint>)| {
        let mut checkpoints = index.checkpoints().to_vec();
        change(&mut checkpoints);
        SeekIndex::new(checkpoints, index.stored_size(), index.size())
    };
    assert_eq!(again(&|_| {}), Some(index.clone()));
    assert_eq!(again(&|it| it.clear()), None);
    assert_eq!(again(&|it| it.truncate(1)), None);
    assert_eq!(again(&|it| drop(it.remove(0))), None);
    assert_eq!(again(&|it| it.swap(1, 2)), None);
    assert_eq!(again(&|it| it[2].bit = 8), None);
    assert_eq!(again(&|it| it[1].plain = u64::MAX), None);
    assert_eq!(again(&|it| it[2].stored = index.stored_size() + 1), None);
}

/// A block without compression may begin at several bits, at one of which it looks like the last one.
#[test]
fn blocks_without_compression_after_others_are_told_from_a_last_one() {
    // Short pieces of text and of noise, so that the deflater changes its mind at every bit of a byte.
    let noise = content(1_400_000)[700_000..].to_vec();
    let text = content(700_000);
    let mut content = vec![];
    for n in 0..120 {
        content.extend(&text[n * 5000..][..60_000 + n * 7]);
        content.extend(&noise[n * 5000..][..60_000 + n * 11]);
    }
    for level in [4, 6, 9] {
        assert!(check(&gzip(&content, level), &content) >= 4, "level {level}");
    }
}
