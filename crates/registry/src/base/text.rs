//! Text of a registry, made fit for one line of an error.

use layer_format::text::push_shown;

/// The longest text that is passed on, in characters.
const LIMIT: usize = 240;

/// Cuts a text to one line, and escapes what could play tricks on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (n_chars, c) in text.trim().chars().enumerate() {
        if n_chars == LIMIT {
            line.push('…');
            break;
        }
        push_shown(&mut line, c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_harmless_line() {
        assert_eq!(one_line(" a\nb\x1b[31m\u{202e}é "), r"a\nb\x1b[31m\u{202e}é");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), LIMIT + 1);
    }
}
