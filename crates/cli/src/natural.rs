//! The order in which people count: `1.9` before `1.10`.

use std::cmp::Ordering;

/// Compares two names as people order them: numbers in them by their values, the rest by bytes.
pub fn natural(left: &str, right: &str) -> Ordering {
    let by_value = parts(left).cmp(parts(right));
    by_value.then_with(|| left.cmp(right))
}

/// A part of a name. A number comes before a letter, as its digits do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// Digits without leading zeros: first how many there are, then which.
    Number(usize, &'a str),
    Text(&'a str),
}

fn parts(name: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let is_number = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_number).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        rest = after;
        if !is_number {
            return Some(Part::Text(part));
        }
        let digits = part.trim_start_matches('0');
        Some(Part::Number(digits.len(), digits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_their_values() {
        let expected = [
            "",
            "1",
            "1-rc1",
            "1.2",
            "1.9",
            "1.10",
            "1.10-alpine",
            "02",
            "2",
            "10",
            "99999999999999999999",
            "100000000000000000000",
            "latest",
            "v1.9",
            "v1.10",
            "v2",
        ];
        let mut names = expected.map(str::to_owned);
        names.reverse();
        names.sort_by(|left, right| natural(left, right));
        assert_eq!(names, expected);
    }
}
