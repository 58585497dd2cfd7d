//! The comment at the front of a layer: a global header with nothing else in it, as `git archive` writes one for its
//! commit. Programs that unpack layers ignore it.

use std::io::{self, Read};

use super::blocks::BLOCK;
use super::header::Header;
use super::pax;
use crate::error::Error;

/// What was read at the front of a layer's tar.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Front {
    /// The comment of the global header; `None` if the layer doesn't begin with one that has only a comment, in at most
    /// one block.
    pub comment: Option<Vec<u8>>,
    /// The bytes that were read: with a comment exactly its member, else one block or two, and less only at the end.
    pub bytes: Vec<u8>,
}

impl Front {
    /// Reads the front of a layer's tar.
    ///
    /// # Errors
    /// [`Error::Io`] if the layer can't be read.
    pub fn read(layer: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(2 * BLOCK);
        read_block(layer, &mut bytes)?;
        let Some(n) = global_size(&bytes) else { return Ok(Self { comment: None, bytes }) };
        read_block(layer, &mut bytes)?;
        let records = bytes.get(BLOCK..BLOCK + n).filter(|_| bytes.len() == 2 * BLOCK);
        let comment = records.and_then(pax::only_comment).map(<[u8]>::to_vec);
        Ok(Self { comment, bytes })
    }
}

/// The size of a global header's records in bytes; `None` for any other member, and for more records than fit into a
/// block.
fn global_size(start: &[u8]) -> Option<usize> {
    let header = Header::parse(start.try_into().ok()?).ok()?;
    let size = header.size().ok().filter(|_| header.typeflag() == b'g')?;
    usize::try_from(size).ok().filter(|size| (1..=BLOCK).contains(size))
}

fn read_block(layer: &mut impl Read, start: &mut Vec<u8>) -> Result<(), Error> {
    let reading = |source: io::Error| Error::io("reading a layer", source);
    layer.take(BLOCK as u64).read_to_end(start).map(drop).map_err(reading)
}

#[cfg(test)]
mod tests {
    use super::super::Writer;
    use super::*;

    #[test]
    fn only_a_whole_header_with_nothing_but_a_comment_has_one() {
        let mut writer = Writer::new(vec![]);
        writer.write_comment(b"a83f1ed8c1bd").unwrap();
        let layer = writer.finish().unwrap();
        let front = Front::read(&mut &layer[..]).unwrap();
        assert_eq!(front.comment.as_deref(), Some(&b"a83f1ed8c1bd"[..]));
        assert_eq!(front.bytes, layer[..2 * BLOCK]);
        for other in [&[0; 2 * BLOCK][..], &layer[..900], &layer[..300], b"", b"garbage"] {
            let front = Front::read(&mut &*other).unwrap();
            assert_eq!(front.comment, None);
            assert!(other.starts_with(&front.bytes));
        }
    }
}
