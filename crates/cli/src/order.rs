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
