//! Extended attributes in libarchive's own form: `LIBARCHIVE.xattr.NAME=VALUE`. The name has `%` and two hex digits for
//! a byte that isn't plain ASCII, and the value is in base64. bsdtar writes these records beside the `SCHILY.xattr`
//! ones.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
/// Libarchive's base64: without padding.
const BARE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    LENIENT.with_decode_padding_mode(DecodePaddingMode::RequireNone),
);
const PADDED: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    LENIENT.with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The name and the value of an attribute. `name` is the record's key without its prefix; `value` is the record's
/// value.
pub(super) fn xattr(name: &[u8], value: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let name = percent_decoded(name)?;
    let is_name = !name.is_empty() && !name.contains(&0);
    let base64 = if value.ends_with(b"=") { PADDED } else { BARE };
    is_name.then_some((name, base64.decode(value).ok()?))
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        decoded.push(match byte {
            b'%' => hex_digit(*rest.next()?)? << 4 | hex_digit(*rest.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, value: &str, expected: Option<(&[u8], &[u8])>) {
        let found = xattr(name.as_bytes(), value.as_bytes());
        let found = found.as_ref().map(|(name, value)| (&name[..], &value[..]));
        assert_eq!(found, expected, "{name} {value}");
    }

    #[test]
    fn names_and_values_are_decoded() {
        check("user.a", "", Some((b"user.a", b"")));
        check("user.%3D%25%c3%b6", "AP/+", Some((b"user.=%\xc3\xb6", b"\0\xff\xfe")));
        for (value, expected) in [("eA", "x"), ("eA==", "x"), ("eHk", "xy"), ("eHk=", "xy")] {
            check("a", value, Some((b"a", expected.as_bytes())));
        }
        check("a", "eHl6eA", Some((b"a", b"xyzx")));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for name in ["", "%00", "a%", "a%4", "a%4g", "a%+4", "%"] {
            check(name, "eA", None);
        }
        for value in ["e", "eA=", "eA===", "=", "====", "eHk==", "e A=", "eA\n", "-_", "eA==eA=="] {
            check("a", value, None);
        }
    }
}
