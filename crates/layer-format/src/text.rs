//! Text from strangers, made safe to show: the one table of the characters that a terminal would obey or hide.

use std::fmt::Write as _;
use std::io;

/// Whether a character has an invisible effect on a terminal or on the characters around it. Such characters are
/// controls, line ends, marks of direction, and characters without width.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' // marks of direction, zero width
            | '\u{2028}'..='\u{202e}' // line ends, embeddings, overrides
            | '\u{2060}'..='\u{206f}' // isolates and other invisible ones
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' // the byte order mark, annotations
            | '\u{e0000}'..='\u{e007f}') // tags
}

/// Appends a character to `out`. A [hostile](is_hostile) one is written as `\n`, `\r`, `\t`, `\xNN` or `\u{…}`.
pub fn push_shown(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if is_hostile(c) && c.is_ascii() => push_byte(out, c as u8),
        c if is_hostile(c) => {
            write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a String takes everything");
        }
        c => out.push(c),
    }
}

/// Appends a byte that is part of no character, in the form `\xNN`.
pub fn push_byte(out: &mut String, byte: u8) {
    write!(out, "\\x{byte:02x}").expect("a String takes everything");
}

/// The system's text for an error in the style of our own messages: without a capital and without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let Some(number) = error.raw_os_error() else {
        // An error that was wrapped shows the text of the inner one.
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        return inner.map_or(text, reason);
    };
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(first), Some(second)) if second.is_lowercase() || second == ' ' => {
            format!("{}{}", first.to_lowercase(), &text[first.len_utf8()..])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_has_no_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(24)), "too many open files");
        assert_eq!(reason(&io::Error::from_raw_os_error(5)), "input/output error");
        let wrapped = io::Error::other(io::Error::from_raw_os_error(24));
        assert_eq!(reason(&wrapped), "too many open files");
        assert_eq!(reason(&io::Error::other("Own (os error 5)")), "Own (os error 5)");
    }

    #[test]
    fn what_a_terminal_would_obey_or_hide_is_escaped() {
        let cases = [
            ("plain ünïcödé 名前 \\", "plain ünïcödé 名前 \\"),
            ("a\nb\r\tc\0", "a\\nb\\r\\tc\\x00"),
            ("\x1b[31m\x07\x7f\u{9b}2J", "\\x1b[31m\\x07\\x7f\\u{9b}2J"),
            ("\u{61c}\u{200d}\u{202e}\u{2066}", "\\u{61c}\\u{200d}\\u{202e}\\u{2066}"),
            ("\u{2028}\u{feff}\u{fff9}\u{e0041}", "\\u{2028}\\u{feff}\\u{fff9}\\u{e0041}"),
        ];
        for (text, expected) in cases {
            let mut shown = String::new();
            text.chars().for_each(|c| push_shown(&mut shown, c));
            assert_eq!(shown, expected);
        }
    }
}
