//! Text from strangers, made safe to show: the one table of the characters that a terminal would obey or hide.

use std::fmt::Write as _;

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

#[cfg(test)]
mod tests {
    use super::*;

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
