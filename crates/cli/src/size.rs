//! Sizes in bytes, as they are shown and as they are typed.

use std::fmt::Write as _;

/// A number of bytes for people: at most three digits and a decimal unit, as Docker has it (`12.3MB`).
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let bytes = u128::from(bytes);
    let (mut unit, mut divisor) = (0, 1);
    while (bytes + divisor / 2) / divisor >= 1000 {
        unit += 1;
        divisor *= 1000;
    }
    let rounded = |scale: u128| (bytes * scale + divisor / 2) / divisor;
    let scale = [100, 10].into_iter().find(|&scale| rounded(scale) < 1000).unwrap_or(1);
    let (whole, mut rest) = (rounded(scale) / scale, rounded(scale) % scale);
    let mut text = whole.to_string();
    let mut place = scale / 10;
    while rest > 0 {
        if !text.contains('.') {
            text.push('.');
        }
        write!(text, "{}", rest / place).expect("a string takes everything");
        rest %= place;
        place /= 10;
    }
    text + UNITS[unit]
}

/// Parses a size: a number of bytes, or with K, M, G, T, P and E of powers of 1,024; with B after them, of 1,000.
///
/// # Errors
/// What is no size, or is beyond 64 bits.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let (base, unit) = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => (1, String::new()),
        unit => match unit.strip_suffix("IB").or_else(|| unit.strip_suffix('I')) {
            Some(unit) => (1_024, unit.to_owned()),
            None => match unit.strip_suffix('B') {
                Some(unit) => (1_000, unit.to_owned()),
                None => (1_024, unit.to_owned()),
            },
        },
    };
    let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|&known| known == unit);
    let scale = power.and_then(|power| {
        u64::pow(base, 0).checked_mul(u64::pow(base, u32::try_from(power).ok()?))
    });
    let number = number.parse::<u64>().ok();
    let size = number.zip(scale).and_then(|(number, scale)| number.checked_mul(scale));
    size.ok_or_else(|| "not a size, as 500M or 20G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0B"),
            (7, "7B"),
            (999, "999B"),
            (1000, "1kB"),
            (1049, "1.05kB"),
            (12_345, "12.3kB"),
            (99_950, "100kB"),
            (999_499, "999kB"),
            (999_500, "1MB"),
            (12_340_000, "12.3MB"),
            (45_000_000, "45MB"),
            (187_654_321, "188MB"),
            (1_204_000_000, "1.2GB"),
            (u64::MAX, "18.4EB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(human_size(bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("17B", Some(17)),
            ("1K", Some(1_024)),
            ("1kb", Some(1_000)),
            ("2MiB", Some(2 << 20)),
            ("500M", Some(500 << 20)),
            ("20g", Some(20 << 30)),
            ("16T", Some(16 << 40)),
            ("15E", Some(15 << 60)),
            ("16E", None),
            ("", None),
            ("G", None),
            ("-1", None),
            ("1.5G", None),
            ("1X", None),
            ("1 G", None),
            ("ö", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }
}
