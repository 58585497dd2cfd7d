//! Places in gzip data at which decompressing can begin.

use std::io::{self, Read as _};

use super::WINDOW;
use crate::codec::Decoder;

/// The most bytes of a segment, stored and decompressed. Several are in memory at once.
const SEGMENT_LIMIT: u64 = 64 << 20;

/// Places in a layer's stored gzip data at which decompressing can begin, so that one file of the layer can be read without all
/// that comes before, and several parts of it at once.
///
/// A decoder finds them while it decompresses the whole ([`Decoder::recording`]). They are about those very bytes and no others:
/// whoever keeps them keeps them under the blob's digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekIndex {
    checkpoints: Vec<Checkpoint>,
    stored_size: u64,
    size: u64,
}

/// A place at which decompressing can begin: the beginning of a deflate block or of a gzip member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The offset of the first stored byte that belongs wholly to what follows.
    pub stored: u64,
    /// How many bits of the byte before that belong to what comes before; 0 if none of that byte does belong to what follows.
    pub bit: u8,
    /// The offset in the decompressed bytes.
    pub plain: u64,
    /// The CRC-32 (RFC 1952) of the stored bytes from [`SeekIndex::begin`] to the next checkpoint's `stored`, or to the end.
    pub crc: u32,
    /// The 32 KiB before, to which what follows may refer, compressed; `None` at the beginning of a member.
    pub window: Option<Vec<u8>>,
}

impl SeekIndex {
    /// An index of these checkpoints, in order; `None` if they don't fit together, or if there are too few or they lie too far
    /// apart to be of use. `stored_size` and `size` are those of the whole data, stored and decompressed, in bytes.
    pub fn new(checkpoints: Vec<Checkpoint>, stored_size: u64, size: u64) -> Option<Self> {
        let index = Self { checkpoints, stored_size, size };
        let first = index.checkpoints.first()?;
        let is_whole =
            (first.stored, first.plain, first.bit) == (0, 0, 0) && first.window.is_none();
        let is_sound = |segment: usize| {
            let Checkpoint { stored, bit, plain, window, .. } = &index.checkpoints[segment];
            let (stored_end, plain_end) = index.end(segment);
            let bit_fits = *bit == 0 || (*bit < 8 && *stored > 0 && window.is_some());
            let is_short =
                |from: u64, to: u64| to.checked_sub(from).is_some_and(|n| n <= SEGMENT_LIMIT);
            bit_fits && is_short(*stored, stored_end) && is_short(*plain, plain_end)
        };
        let is_useful = index.checkpoints.len() > 1 && is_whole;
        (is_useful && (0..index.checkpoints.len()).all(is_sound)).then_some(index)
    }

    /// The checkpoints, in order. The first one is the beginning.
    pub fn checkpoints(&self) -> &[Checkpoint] {
        &self.checkpoints
    }

    /// The number of stored bytes.
    pub fn stored_size(&self) -> u64 {
        self.stored_size
    }

    /// The number of decompressed bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The position of the last checkpoint at or before an offset in the decompressed bytes.
    pub fn before(&self, plain: u64) -> usize {
        self.checkpoints.partition_point(|it| it.plain <= plain).saturating_sub(1)
    }

    /// The offset of the stored byte from which a reader has to begin for the checkpoint at a position.
    pub fn begin(&self, position: usize) -> u64 {
        self.checkpoints[position].begin()
    }

    /// Where a segment, which is what follows a checkpoint, ends: in the stored and in the decompressed bytes.
    pub(super) fn end(&self, position: usize) -> (u64, u64) {
        let next = self.checkpoints.get(position + 1);
        next.map_or((self.stored_size, self.size), |next| (next.stored, next.plain))
    }

    /// The sizes in bytes of the largest segment that is stored, and of the largest one that is decompressed.
    pub(super) fn largest(&self) -> (u64, u64) {
        let sizes = self.checkpoints.iter().enumerate().map(|(position, checkpoint)| {
            let (stored, plain) = self.end(position);
            (stored - checkpoint.begin(), plain - checkpoint.plain)
        });
        sizes.fold((0, 0), |most, size| (most.0.max(size.0), most.1.max(size.1)))
    }
}

impl Checkpoint {
    pub(super) fn begin(&self) -> u64 {
        self.stored - u64::from(self.bit > 0)
    }

    /// Compresses a window.
    pub(super) fn pack(window: &[u8]) -> io::Result<Vec<u8>> {
        crate::codec::pack_fast(window)
    }

    /// The window, decompressed; empty at the beginning of a member.
    pub(super) fn unpacked(&self) -> io::Result<Vec<u8>> {
        let mut window = vec![];
        if let Some(packed) = &self.window {
            // What is damaged may be much longer.
            Decoder::new(&packed[..])?.take(WINDOW as u64 + 1).read_to_end(&mut window)?;
        }
        Ok(window)
    }
}
