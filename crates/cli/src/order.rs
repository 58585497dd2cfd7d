//! The order in which people expect names: `app:2` before `app:10`.

use std::cmp::Ordering;

/// Compares two names, and in them numbers by their value. Only names of the same bytes are equal.
pub fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one.as_bytes(), other.as_bytes());
    loop {
        let (number, rest) = split_number(left);
        let (other_number, other_rest) = split_number(right);
        let order = match (left, right) {
            ([], []) => return one.cmp(other),
            _ if !number.is_empty() && !other_number.is_empty() => {
                compare_numbers(number, other_number)
            }
            _ => left.first().cmp(&right.first()),
        };
        if order != Ordering::Equal {
            return order;
        }
        (left, right) =
            if number.is_empty() { (&left[1..], &right[1..]) } else { (rest, other_rest) };
    }
}

/// Compares two versions: numbers by their value, whether there is a `v` before them, and what comes before a release before it:
/// `1.9`, `1.10-rc1`, `v1.10`. Only texts of the same bytes are equal.
pub fn version(one: &str, other: &str) -> Ordering {
    let (left, right) = (split_release(without_v(one)), split_release(without_v(other)));
    natural(left.0, right.0)
        .then_with(|| match (left.1, right.1) {
            (Some(left), Some(right)) => natural(left, right),
            (left, right) => right.is_some().cmp(&left.is_some()),
        })
        .then_with(|| one.cmp(other))
}

/// Whether a text begins like a version: with a digit, or `v` and a digit.
pub fn is_version(text: &str) -> bool {
    without_v(text).starts_with(|c: char| c.is_ascii_digit())
}

fn without_v(text: &str) -> &str {
    let rest = text.strip_prefix(['v', 'V']).unwrap_or(text);
    if rest.starts_with(|c: char| c.is_ascii_digit()) { rest } else { text }
}

/// A version's release, and what says that it comes before that one: `1.10` and `rc1`.
fn split_release(text: &str) -> (&str, Option<&str>) {
    const WORDS: [&str; 7] = ["alpha", "beta", "dev", "pre", "preview", "rc", "snapshot"];
    let lower = text.to_ascii_lowercase();
    let is_alone = |at: usize, word: &str| {
        let is_letter = |c: char| c.is_ascii_alphabetic();
        let (before, after) = (&lower[..at], &lower[at + word.len()..]);
        !before.is_empty() && !before.ends_with(is_letter) && !after.starts_with(is_letter)
    };
    let places = WORDS.iter().flat_map(|word| {
        lower.match_indices(word).filter(|(at, word)| is_alone(*at, word)).map(|(at, _)| at)
    });
    match places.min() {
        Some(at) => (text[..at].trim_end_matches(['-', '.', '_', '~', '+']), Some(&text[at..])),
        None => (text, None),
    }
}

/// The digits at the beginning, and what comes after them.
fn split_number(text: &[u8]) -> (&[u8], &[u8]) {
    let n_digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.split_at(n_digits)
}

/// Compares numbers of any length by their value.
fn compare_numbers(one: &[u8], other: &[u8]) -> Ordering {
    let (one, other) = (trim(one), trim(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// A number without the zeros before it.
fn trim(digits: &[u8]) -> &[u8] {
    let n_zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
    &digits[n_zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_a_release_comes_first() {
        let ordered = [
            "1",
            "1.2",
            "1.9",
            "1.10-alpha",
            "1.10-rc1",
            "1.10-rc2",
            "1.10rc10",
            "v1.10",
            "1.10-alpine",
            "1.10.1-preview.2",
            "1.10.1",
            "2.0-beta",
            "2.0",
            "v2.0.1",
            "10",
            "latest",
        ];
        for (at, one) in ordered.iter().enumerate() {
            for (other_at, other) in ordered.iter().enumerate() {
                assert_eq!(version(one, other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
        for (text, expected) in [
            ("1", true),
            ("v1", true),
            ("V2.0", true),
            ("latest", false),
            ("version", false),
            ("", false),
        ] {
            assert_eq!(is_version(text), expected, "{text}");
        }
        // Words are words: nothing here comes before a release.
        for text in ["1.0-march", "1.0-arch", "1.0-developer", "rc"] {
            assert_eq!(split_release(text).1, None, "{text}");
        }
    }

    #[test]
    fn numbers_count_by_their_value() {
        let ordered = [
            "",
            "1",
            "1.9",
            "1.10",
            "01.11",
            "2",
            "10",
            "18446744073709551617",
            "a",
            "a:2",
            "a:2b",
            "a:02c",
            "a:10",
            "a:latest",
            "ab",
            "ü",
        ];
        for (at, one) in ordered.iter().enumerate() {
            for (other_at, other) in ordered.iter().enumerate() {
                assert_eq!(natural(one, other), at.cmp(&other_at), "{one:?} {other:?}");
            }
        }
        assert_eq!(natural("v01", "v1"), Ordering::Less);
    }
}
