//! Sizes in bytes, as they are shown and as they are typed.

/// A number of bytes for people: at most three digits and a decimal unit, as Docker has it (`12.3MB`).
pub fn human_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let bytes = u128::from(bytes);
    let mut power = 0;
    let mut unit = 1;
    while (bytes + unit / 2) / unit >= 1000 {
        power += 1;
        unit *= 1000;
    }
    for (scale, decimals) in [(100, 2), (10, 1)] {
        let rounded = (bytes * scale + unit / 2) / unit;
        if rounded < 1000 {
            let number = format!("{}.{:0decimals$}", rounded / scale, rounded % scale);
            let number = number.trim_end_matches('0').trim_end_matches('.');
            return format!("{number}{}", UNITS[power]);
        }
    }
    format!("{}{}", (bytes + unit / 2) / unit, UNITS[power])
}

/// Parses a size: a number of bytes, or with K, M, G, T, P and E of powers of 1,024; with B after them, of 1,000.
///
/// # Errors
/// The text is no size, or the size is beyond 64 bits.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale = scale_of(&unit.to_ascii_uppercase());
    let size =
        number.parse().ok().zip(scale).and_then(|(number, scale)| u64::checked_mul(number, scale));
    size.ok_or_else(|| "not a size, as 500M or 20G".to_owned())
}

/// The number of bytes in a unit, which is in capital letters.
fn scale_of(unit: &str) -> Option<u64> {
    let binary = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('I'));
    let (base, letter) = match (binary, unit.strip_suffix('B')) {
        (Some(letter), _) => (1_024_u64, letter),
        (None, Some(letter)) => (1_000, letter),
        (None, None) => (1_024, unit),
    };
    let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|&known| known == letter)?;
    base.checked_pow(u32::try_from(power).ok()?)
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
