//! What a layer says it was taken against: a line in the comment of its global header.
//!
//! ```text
//! comment=strata base sha256:<the digest of the base's manifest>
//! ```
//!
//! Programs that unpack layers pass over it, as over the commit that `git archive` writes there. Other words would be a
//! stranger's comment to older programs, so the text never changes.

use crate::digest::Digest;
use crate::error::Error;

const PREFIX: &str = "strata base ";

/// The comment of a layer that goes on top of the image with this manifest.
pub fn base_comment(manifest: &Digest) -> String {
    format!("{PREFIX}{manifest}")
}

/// The manifest of the base that a layer's comment names; none if the comment is about something else.
///
/// # Errors
/// [`Error::MalformedDigest`] where a base is named by no digest.
pub fn comment_base(comment: &[u8]) -> Result<Option<Digest>, Error> {
    let Some(digest) = comment.strip_prefix(PREFIX.as_bytes()) else { return Ok(None) };
    String::from_utf8_lossy(digest).parse().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_reads_back_as_written() {
        let manifest = Digest::of(b"manifest");
        let comment = base_comment(&manifest);
        assert_eq!(comment, format!("strata base {manifest}"));
        assert_eq!(comment_base(comment.as_bytes()).unwrap(), Some(manifest));
    }

    #[test]
    fn other_comments_name_no_base_and_half_ones_are_refused() {
        for comment in ["", "strata base", "a83f1ed8c1bd", "Strata base sha256:00"] {
            assert_eq!(comment_base(comment.as_bytes()).unwrap(), None, "{comment}");
        }
        for comment in [&b"strata base "[..], b"strata base nginx", b"strata base sha256:00\xff"] {
            assert!(comment_base(comment).is_err());
        }
    }
}
