//! What a stranger says, made fit for one line of an error.

/// The longest text that is passed on, in characters.
const LIMIT: usize = 240;

/// Cuts a text to a line and escapes what could play tricks on a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (n_chars, c) in text.trim().chars().enumerate() {
        if n_chars == LIMIT {
            line.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Marks that change the direction of text or take no room.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A text that follows another after a colon, if there is one.
pub(crate) fn after(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_harmless_line() {
        assert_eq!(one_line(" a\nb\x1b[31m\u{202e}é "), r"a\nb\u{1b}[31m\u{202e}é");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), LIMIT + 1);
    }
}
