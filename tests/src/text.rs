//! Bytes as printable text, and back: `\n \t \r \\ \" \xNN`, everything else as it is.

use std::fmt::Write as _;

use crate::or_panic::OrPanic as _;

/// Which characters a piece of text may not hold plainly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Between double quotes.
    Quoted,
    /// A word of a line: spaces are escaped, quotes are not.
    Word,
}

/// The bytes with everything that does not print escaped.
pub(crate) fn escape(bytes: &[u8], place: Place) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            escape_char(&mut text, character, place);
        }
        for byte in chunk.invalid() {
            hex_escape(&mut text, *byte);
        }
    }
    text
}

fn escape_char(text: &mut String, character: char, place: Place) {
    match character {
        '\n' => text.push_str("\\n"),
        '\t' => text.push_str("\\t"),
        '\r' => text.push_str("\\r"),
        '\\' => text.push_str("\\\\"),
        '"' if place == Place::Quoted => text.push_str("\\\""),
        ' ' if place == Place::Quoted => text.push(' '),
        plain if !plain.is_control() && !plain.is_whitespace() && !is_bidi(plain) => {
            text.push(plain);
        }
        other => {
            let mut bytes = [0; 4];
            for byte in other.encode_utf8(&mut bytes).bytes() {
                hex_escape(text, byte);
            }
        }
    }
}

fn hex_escape(text: &mut String, byte: u8) {
    write!(text, "\\x{byte:02x}").or_panic("write to a string");
}

/// Invisible characters that reorder or hide what stands beside them.
fn is_bidi(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The bytes that `escape` made the text from.
pub(crate) fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest.next().or_panic("a character after a backslash") {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'0' => bytes.push(0),
            b'x' => {
                let digits = [rest.next().unwrap_or(b'?'), rest.next().unwrap_or(b'?')];
                let digits = String::from_utf8_lossy(&digits).into_owned();
                bytes.push(u8::from_str_radix(&digits, 16).or_panic("two hex digits after \\x"));
            }
            other => bytes.push(other),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back_from_its_escape() {
        let all: Vec<u8> = (0..=255).collect();
        for place in [Place::Quoted, Place::Word] {
            let text = escape(&all, place);
            assert!(text.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{text}");
            assert_eq!(unescape(&text), all);
        }
    }

    #[test]
    fn words_hold_no_spaces_and_letters_stay() {
        assert_eq!(escape("größe a\u{202e}".as_bytes(), Place::Word), "größe\\x20a\\xe2\\x80\\xae");
    }
}
