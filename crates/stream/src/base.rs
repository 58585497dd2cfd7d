//! The base of a layer: the image that it was taken against. A line in the comment of the layer's global header names
//! it.
//!
//! ```text
//! comment=strata base sha256:<the digest of the base's manifest>
//! ```
//!
//! Programs that unpack layers ignore the comment, just like the commit that `git archive` writes there. The text never
//! changes, because older programs would take other words for a stranger's comment.

use std::io::{Cursor, Read};

use layer_format::layer::Front;
use layer_format::{Digest, Error};

const PREFIX: &str = "strata base ";

/// The comment of a layer that belongs on top of the image with this manifest.
pub fn base_comment(manifest: &Digest) -> String {
    format!("{PREFIX}{manifest}")
}

/// Reads the base at the front of a layer's tar. Returns the digest of the base's manifest and the whole tar.
///
/// # Errors
/// Those of [`strip_base`].
pub fn read_base<R: Read>(mut layer: R) -> Result<(Option<Digest>, impl Read + use<R>), Error> {
    let front = Front::read(&mut layer)?;
    let base = front.comment.as_deref().map(base_of).transpose()?.flatten();
    Ok((base, Cursor::new(front.bytes).chain(layer)))
}

/// Removes the base from the front of a layer's tar. Returns the digest of the base's manifest and the rest of the tar,
/// which is the same whatever the base is. A global header that says anything else, too, stays in the tar.
///
/// # Errors
/// [`Error::MalformedDigest`] if the comment names a base, but not by a digest; [`Error::Io`] if the layer can't be
/// read.
pub fn strip_base<R: Read>(mut layer: R) -> Result<(Option<Digest>, impl Read + use<R>), Error> {
    let mut front = Front::read(&mut layer)?;
    let base = front.comment.as_deref().map(base_of).transpose()?.flatten();
    if base.is_some() {
        front.bytes.clear();
    }
    Ok((base, Cursor::new(front.bytes).chain(layer)))
}

/// The digest of the base's manifest in a layer's comment; `None` if the comment is about something else.
fn base_of(comment: &[u8]) -> Result<Option<Digest>, Error> {
    let Some(digest) = comment.strip_prefix(PREFIX.as_bytes()) else { return Ok(None) };
    String::from_utf8_lossy(digest).parse().map(Some)
}

#[cfg(test)]
mod tests {
    use layer_format::layer::Writer;

    use super::*;
    use crate::END;

    fn strip(layer: &[u8]) -> Result<(Option<Digest>, Vec<u8>), Error> {
        let (base, mut rest) = strip_base(layer)?;
        let mut bytes = vec![];
        rest.read_to_end(&mut bytes).unwrap();
        Ok((base, bytes))
    }

    fn with_comment(comment: &[u8]) -> Vec<u8> {
        let mut writer = Writer::new(vec![]);
        writer.write_comment(comment).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn only_our_own_comment_is_taken_off() {
        let manifest = Digest::of(b"manifest");
        let ours = with_comment(base_comment(&manifest).as_bytes());
        assert_eq!(strip(&ours).unwrap(), (Some(manifest), END.to_vec()));
        let git = with_comment(b"a83f1ed8c1bd");
        for layer in [&git[..], &END, &ours[..900], &ours[..300], b"", b"garbage"] {
            assert_eq!(strip(layer).unwrap(), (None, layer.to_vec()));
        }
        let (base, mut rest) = read_base(&ours[..]).unwrap();
        let mut bytes = vec![];
        rest.read_to_end(&mut bytes).unwrap();
        assert_eq!((base, &bytes), (Some(manifest), &ours));
    }

    #[test]
    fn a_base_reads_back_as_written() {
        let manifest = Digest::of(b"manifest");
        let comment = base_comment(&manifest);
        assert_eq!(comment, format!("strata base {manifest}"));
        assert_eq!(base_of(comment.as_bytes()).unwrap(), Some(manifest));
    }

    #[test]
    fn other_comments_name_no_base_and_half_ones_are_refused() {
        for comment in ["", "strata base", "a83f1ed8c1bd", "Strata base sha256:00"] {
            assert_eq!(base_of(comment.as_bytes()).unwrap(), None, "{comment}");
        }
        for comment in [&b"strata base "[..], b"strata base nginx", b"strata base sha256:00\xff"] {
            assert!(strip(&with_comment(comment)).is_err());
        }
    }
}
