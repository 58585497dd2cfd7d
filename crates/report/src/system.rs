//! What the operating system says about an error, in our style.

use std::io;

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
}
