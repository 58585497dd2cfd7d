//! Seek indexes in a file: where in a blob decompressing can begin ([`SeekIndex`]).
//!
//! ```text
//! file       = "strata seek 1" LF stored-size size number checkpoint* digest
//! checkpoint = stored bit plain crc window          stored and plain less those of the checkpoint before
//! window     = its length, and as many bytes; 0 at the beginning of a member
//! digest     = "sha256:…" of all before and of the blob's digest
//! ```
//!
//! Numbers are LEB128. The digest reveals an index that is damaged, half-written or about another blob. It is only a cache, like a
//! [listing](crate::listing).

use std::io;

use layer_format::{Checkpoint, Digest, SeekIndex};

use crate::numbers::{number, put_number, put_text, text};

const MAGIC: &[u8] = b"strata seek 1\n";
/// The most bytes of a file that is read. No index that is written comes near.
pub const LIMIT: u64 = 64 << 20;
/// The longest window in bytes, compressed. Few can't be compressed, and those grow a little.
const WINDOW_LIMIT: u64 = 64 << 10;
/// The size in bytes of the digest at the end: `sha256:` and the hash.
const DIGEST_SIZE: usize = 71;

/// The content of a file with the index of the blob with this digest.
pub fn to_bytes(index: &SeekIndex, blob: &Digest) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_number(&mut bytes, index.stored_size());
    put_number(&mut bytes, index.size());
    put_number(&mut bytes, index.checkpoints().len() as u64);
    let mut before = (0, 0);
    for checkpoint in index.checkpoints() {
        put_number(&mut bytes, checkpoint.stored - before.0);
        bytes.push(checkpoint.bit);
        put_number(&mut bytes, checkpoint.plain - before.1);
        put_number(&mut bytes, checkpoint.crc.into());
        put_text(&mut bytes, checkpoint.window.as_deref().unwrap_or_default());
        before = (checkpoint.stored, checkpoint.plain);
    }
    let seal = seal(&bytes, blob);
    bytes.extend_from_slice(seal.as_bytes());
    bytes
}

/// The index in such a file; `None` if it isn't the undamaged index of this blob.
pub fn from_bytes(bytes: &[u8], blob: &Digest) -> Option<SeekIndex> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST_SIZE)?)?;
    if digest != seal(content, blob).as_bytes() {
        return None;
    }
    read(content.strip_prefix(MAGIC)?).ok()?
}

fn read(mut content: &[u8]) -> io::Result<Option<SeekIndex>> {
    let input = &mut content;
    let (stored_size, size) = (number(input)?, number(input)?);
    let mut checkpoints = vec![];
    let mut before = (0_u64, 0_u64);
    for _ in 0..number(input)? {
        let stored = before.0.saturating_add(number(input)?);
        let bit = crate::numbers::byte(input)?;
        let plain = before.1.saturating_add(number(input)?);
        let crc = u32::try_from(number(input)?).map_err(io::Error::other)?;
        let window = text(input, WINDOW_LIMIT)?;
        let window = (!window.is_empty()).then_some(window);
        checkpoints.push(Checkpoint { stored, bit, plain, crc, window });
        before = (stored, plain);
    }
    Ok(SeekIndex::new(checkpoints, stored_size, size))
}

fn seal(content: &[u8], blob: &Digest) -> String {
    let content = Digest::of(content);
    Digest::of(format!("{content} {blob}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> SeekIndex {
        let checkpoint = |stored, bit, plain, window: Option<&[u8]>| Checkpoint {
            stored,
            bit,
            plain,
            crc: u32::MAX - 5,
            window: window.map(<[u8]>::to_vec),
        };
        let checkpoints = vec![
            checkpoint(0, 0, 0, None),
            checkpoint(1000, 7, 4_000_000, Some(&[5; 300])),
            checkpoint(1000, 0, 4_000_000, Some(b"x")),
            checkpoint(2_000_000, 0, 8_000_000, None),
        ];
        SeekIndex::new(checkpoints, 2_000_100, 8_000_900).unwrap()
    }

    #[test]
    fn an_index_reads_back_as_written() {
        let blob = Digest::of(b"blob");
        assert_eq!(from_bytes(&to_bytes(&index(), &blob), &blob), Some(index()));
    }

    #[test]
    fn a_damaged_cut_or_foreign_index_is_none() {
        let blob = Digest::of(b"blob");
        let bytes = to_bytes(&index(), &blob);
        assert_eq!(from_bytes(&bytes, &Digest::of(b"other")), None);
        for end in 0..bytes.len() {
            assert_eq!(from_bytes(&bytes[..end], &blob), None, "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert_eq!(from_bytes(&damaged, &blob), None, "damaged at {at}");
        }
    }
}
