//! Texts as they may be shown, and how much room they take on a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use layer_format::text::{is_hostile, push_byte, push_shown};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A text as it may be shown: control characters, line ends and invisible characters that change
/// the order of others are escaped, everything else stays.
///
/// Names inside an image are written by strangers: every one that is shown goes through here. The
/// result is for eyes; a backslash is not escaped, so it can't be turned back.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hostile) {
        let mut out = String::with_capacity(text.len() + 8);
        text.chars().for_each(|c| push_shown(&mut out, c));
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text)
    }
}

/// Like [`clean`], for bytes that should be UTF-8: what isn't becomes `\xNN`.
pub(crate) fn clean_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return clean(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_shown(&mut out, c));
        chunk.invalid().iter().for_each(|&byte| push_byte(&mut out, byte));
    }
    Cow::Owned(out)
}

/// A path as it may be shown: like [`clean`]; what isn't UTF-8 becomes `\xNN`.
pub fn clean_path(path: &Path) -> String {
    clean_bytes(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// A document as it may be shown: like [`clean`], but its lines and tabs stay.
pub fn clean_text(text: &[u8]) -> String {
    let lines: Vec<String> = text.split(|&byte| byte == b'\n').map(clean_line).collect();
    lines.join("\n")
}

fn clean_line(line: &[u8]) -> String {
    let pieces: Vec<_> = line.split(|&byte| byte == b'\t').map(clean_bytes).collect();
    pieces.join("\t")
}

/// A JSON text as it may be shown: the same JSON, with what [`clean`] would escape written as `\uXXXX`.
pub fn clean_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(out, "\\u{unit:04x}").expect("a string takes everything");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// The width of a clean text in cells of a terminal: two for each wide character, none for a combining mark.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A clean text and as many blanks as fill so many cells.
pub(crate) fn padded(text: &str, cells: usize) -> String {
    let n_blanks = cells.saturating_sub(width(text));
    format!("{text}{:n_blanks$}", "")
}

/// As much of a clean text as fits into so many cells.
pub(crate) fn cut(text: &str, cells: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, character)| {
        used += character.width().unwrap_or(0);
        used > cells
    });
    end.map_or(text, |(end, _)| &text[..end])
}

/// A number of things, as people say it: `1 layer`, `2 layers`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    let what = if n == 1 { one } else { many };
    format!("{n} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_escaped() {
        let cases = [
            ("plain ünïcödé 名前", "plain ünïcödé 名前"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\x07\x7f", "\\x1b[31mred\\x07\\x7f"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("\u{2066}\u{2028}\u{feff}", "\\u{2066}\\u{2028}\\u{feff}"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected);
        }
        assert!(matches!(clean("usr/bin/su"), Cow::Borrowed(_)));
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(clean_text(b"a\tb\n\x1b[2J\xff\n"), "a\tb\n\\x1b[2J\\xff\n");
        assert_eq!(
            clean_json("{\n\"a\":\"\u{9b}\u{202e}\u{e0001}é\"}"),
            "{\n\"a\":\"\\u009b\\u202e\\udb40\\udc01é\"}"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_escaped() {
        assert_eq!(clean_bytes(b"a\xff\xfe\nb"), "a\\xff\\xfe\\nb");
        assert_eq!(clean_bytes("é".as_bytes()), "é");
    }

    #[test]
    fn one_is_one() {
        let counted = |n: u64| counted(n, "entry", "entries");
        assert_eq!([0, 1, 2].map(counted), ["0 entries", "1 entry", "2 entries"]);
    }

    #[test]
    fn room_is_counted_in_cells() {
        for (text, expected) in [("", 0), ("size", 4), ("größe", 5), ("大小", 4), ("e\u{301}", 1)]
        {
            assert_eq!(width(text), expected, "{text}");
            assert_eq!(width(&padded(text, 6)), 6, "{text}");
        }
        assert_eq!(padded("大小", 3), "大小");
        assert_eq!(cut("大小x", 3), "大");
        assert_eq!(cut("大小x", 4), "大小");
        assert_eq!(cut("e\u{301}e", 1), "e\u{301}");
        assert_eq!(cut("abc", 0), "");
    }
}
