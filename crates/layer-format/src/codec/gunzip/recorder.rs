//! Finds checkpoints while gzip data is decompressed anyway.
//!
//! The decompressor can be told to stop at the end of a block, but doesn't tell at which bit of the last byte that is. So what
//! follows is kept for a moment, and tried at each of the eight bits, until it decompresses to the same.

use flate2::Crc;
use zlib_rs::InflateFlush;

use super::WINDOW;
use super::index::{Checkpoint, SeekIndex};
use super::segment::{self, Start};
use crate::codec::{Pending, Workers};

/// The least number of decompressed bytes between two checkpoints. Fewer checkpoints make an index smaller (0.5 % of the
/// decompressed bytes), more of them a single file quicker to read (docs/decisions/0028-seek-index.md).
const SPACING: u64 = 2 << 20;
/// The most checkpoints, in about 10 MB. Of more, every second one is dropped.
const MOST: usize = 1024;
/// The decompressed bytes after the end of a block that are enough for a trial.
const TRIAL_PLAIN: usize = 4 << 10;
/// Fewer prove nothing.
const TRIAL_LEAST: usize = 256;
/// The most stored bytes that are kept for a trial.
const TRIAL_STORED: usize = 64 << 10;

/// Finds the checkpoints of one file.
pub(super) struct Recorder {
    candidates: Vec<Candidate>,
    spacing: u64,
    /// The number of stored bytes so far.
    stored: u64,
    /// The number of decompressed bytes so far.
    plain: u64,
    /// Of the stored bytes since the last candidate.
    crc: Crc,
    last_byte: u8,
    /// The last decompressed bytes, while the end of a block is looked for.
    history: Vec<u8>,
    /// What follows the last candidate, as long as it isn't enough for a trial.
    trial: Option<Trial>,
    /// Tries, so that whoever waits for the decompressed bytes doesn't wait for it.
    workers: Workers<Trial, Option<Block>>,
}

/// A place that may become a checkpoint.
struct Candidate {
    stored: u64,
    plain: u64,
    kind: Kind,
    /// The stored byte before it.
    last_byte: u8,
    /// Of the stored bytes that follow it, up to the next one.
    crc: Crc,
}

enum Kind {
    /// A member begins there.
    Member,
    /// A block begins there, it isn't known at which bit.
    Tried(Pending<Option<Block>>),
    /// A block begins there.
    Block(Block),
    /// No use: it could not be found out where the block begins.
    Nothing,
}

/// What is found out about a block.
struct Block {
    bit: u8,
    /// Compressed.
    window: Vec<u8>,
}

/// The end of a block whose bit isn't known.
struct Trial {
    window: Vec<u8>,
    /// The stored bytes that follow, with the byte before them.
    following: Vec<u8>,
    /// What they were decompressed to.
    expected: Vec<u8>,
}

impl Recorder {
    pub(super) fn new() -> Self {
        let mut recorder = Self {
            candidates: vec![],
            spacing: SPACING,
            stored: 0,
            plain: 0,
            crc: Crc::new(),
            last_byte: 0,
            history: vec![],
            trial: None,
            workers: Workers::new(Block::find, 1),
        };
        recorder.add(Kind::Member);
        recorder
    }

    /// Whether the decompressor is to stop at the end of a block.
    pub(super) fn flush(&self) -> InflateFlush {
        if self.is_due() { InflateFlush::Block } else { InflateFlush::NoFlush }
    }

    /// Takes note of what was decompressed. `is_block_end` says that a block ended there.
    pub(super) fn note(&mut self, stored: &[u8], plain: &[u8], is_block_end: bool) {
        let was_due = self.is_due();
        self.stored += stored.len() as u64;
        self.plain += plain.len() as u64;
        self.crc.update(stored);
        self.last_byte = stored.last().copied().unwrap_or(self.last_byte);
        if let Some(trial) = &mut self.trial {
            trial.following.extend_from_slice(stored);
            let wanted = TRIAL_PLAIN - trial.expected.len().min(TRIAL_PLAIN);
            trial.expected.extend_from_slice(&plain[..wanted.min(plain.len())]);
            if trial.expected.len() >= TRIAL_PLAIN || trial.following.len() >= TRIAL_STORED {
                self.begin_trial();
            }
        } else if was_due {
            self.remember(plain);
            if is_block_end && self.history.len() == WINDOW {
                let window = std::mem::take(&mut self.history);
                self.add(Kind::Nothing);
                self.trial =
                    Some(Trial { window, following: vec![self.last_byte], expected: vec![] });
            }
        }
    }

    /// Takes note of a member that begins here.
    pub(super) fn member(&mut self) {
        self.begin_trial();
        if self.is_due() {
            self.add(Kind::Member);
        }
    }

    /// The index, once all data was read.
    pub(super) fn finish(mut self) -> Option<SeekIndex> {
        self.begin_trial();
        self.end_segment();
        self.settle();
        let checkpoints = self.candidates.into_iter().filter_map(Candidate::finish).collect();
        SeekIndex::new(checkpoints, self.stored, self.plain)
    }

    fn is_due(&self) -> bool {
        let last = self.candidates.last().map_or(0, |it| it.plain);
        self.trial.is_none() && self.plain - last >= self.spacing
    }

    /// Keeps the last bytes that a block may refer to.
    fn remember(&mut self, plain: &[u8]) {
        let kept = &plain[plain.len().saturating_sub(WINDOW)..];
        let surplus = (self.history.len() + kept.len()).saturating_sub(WINDOW);
        self.history.drain(..surplus);
        self.history.extend_from_slice(kept);
    }

    /// Begins to try the last candidate, if it waits for that.
    fn begin_trial(&mut self) {
        let Some(trial) = self.trial.take() else { return };
        // Without a thread there is a checkpoint less.
        if let (Some(last), Ok(pending)) = (self.candidates.last_mut(), self.workers.begin(trial)) {
            last.kind = Kind::Tried(pending);
        }
    }

    /// Adds a candidate.
    fn add(&mut self, kind: Kind) {
        self.end_segment();
        if self.candidates.len() == MOST {
            self.settle();
            self.thin_out();
        }
        let (stored, plain, last_byte) = (self.stored, self.plain, self.last_byte);
        self.candidates.push(Candidate { stored, plain, kind, last_byte, crc: Crc::new() });
        self.history.clear();
    }

    fn end_segment(&mut self) {
        let crc = std::mem::take(&mut self.crc);
        if let Some(last) = self.candidates.last_mut() {
            last.crc.combine(&crc);
        }
    }

    /// Waits for the trials, and drops the candidates that are of no use.
    fn settle(&mut self) {
        self.keep(|_, candidate| {
            let kind = std::mem::replace(&mut candidate.kind, Kind::Nothing);
            candidate.kind = match kind {
                Kind::Tried(pending) => {
                    pending.wait().ok().flatten().map_or(Kind::Nothing, Kind::Block)
                }
                kind => kind,
            };
            !matches!(candidate.kind, Kind::Nothing)
        });
    }

    /// Drops every second candidate.
    fn thin_out(&mut self) {
        self.spacing *= 2;
        self.keep(|position, _| position % 2 == 0);
    }

    /// Drops candidates. What follows one that is dropped belongs to the one before.
    fn keep(&mut self, mut is_kept: impl FnMut(usize, &mut Candidate) -> bool) {
        let mut kept: Vec<Candidate> = Vec::with_capacity(self.candidates.len());
        let candidates = std::mem::take(&mut self.candidates);
        for (position, mut candidate) in candidates.into_iter().enumerate() {
            match kept.last_mut() {
                Some(last) if !is_kept(position, &mut candidate) => {
                    last.crc.combine(&candidate.crc);
                }
                _ => kept.push(candidate),
            }
        }
        self.candidates = kept;
    }
}

impl Candidate {
    fn finish(self) -> Option<Checkpoint> {
        let (bit, window) = match self.kind {
            Kind::Member => (0, None),
            Kind::Block(Block { bit, window }) => (bit, Some(window)),
            Kind::Tried(_) | Kind::Nothing => return None,
        };
        let mut crc = Crc::new();
        if bit > 0 {
            crc.update(&[self.last_byte]);
        }
        crc.combine(&self.crc);
        let (stored, plain, crc) = (self.stored, self.plain, crc.sum());
        Some(Checkpoint { stored, bit, plain, crc, window })
    }
}

impl Block {
    /// Tries all bits.
    fn find(trial: Trial) -> Option<Self> {
        let Trial { window, following, expected } = trial;
        if expected.len() < TRIAL_LEAST {
            return None;
        }
        let mut plain = vec![0; expected.len()];
        let bit = (0..8).find(|&bit| {
            let stored = &following[usize::from(bit == 0)..];
            // A block without compression is padded to a whole byte, so it may also be read from another bit on, and seem to be the
            // last one. Of the last one nobody needs a checkpoint.
            let is_last = stored.first().is_none_or(|byte| byte >> bit & 1 == 1);
            if is_last {
                return false;
            }
            let start = Start::Block { bit, window: &window };
            segment::decompress(start, stored, &mut plain).is_ok() && plain == expected
        })?;
        Some(Self { bit, window: Checkpoint::pack(&window).ok()? })
    }
}
