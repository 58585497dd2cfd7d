//! How large a stranger's image may be.

use cli::{Code, Failure};
use layer_format::layer::{Change, EntryKind};

/// Flags that limit what an image may hold.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// How many bytes the files of all layers may have together, holes included: 500M, 20G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// How many entries the layers may have together: files, directories, links
    #[arg(long, value_name = "N")]
    max_entries: Option<u64>,
}

/// How much of what is allowed the layers have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    limits: Limits,
    size: u64,
    n_entries: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes a change into account, before it is applied: what a later layer replaces or removes counts as well, because it
    /// has been there.
    ///
    /// # Errors
    /// [`Code::Untrusted`] where that is more than is allowed.
    pub(crate) fn spend(&mut self, change: &Change) -> Result<(), Failure> {
        let Change::Add(entry) = change else { return Ok(()) };
        let size = if let EntryKind::File { size, .. } = &entry.kind { *size } else { 0 };
        self.size = self.size.saturating_add(size);
        self.n_entries += 1;
        if let Some(most) = self.limits.max_entries.filter(|&most| self.n_entries > most) {
            let message = format!("the image has more than {most} entries");
            return Err(refused(message).hint("--max-entries N allows more"));
        }
        if let Some(most) = self.limits.max_size.filter(|&most| self.size > most) {
            let message = format!("the image's files have more than {most} bytes");
            return Err(refused(message).hint("--max-size SIZE allows more"));
        }
        Ok(())
    }
}

fn refused(message: String) -> Failure {
    Failure::new(Code::Untrusted, message)
}

/// Parses a number of bytes, with K, M, G or T of powers of 1,024.
fn parse_size(text: &str) -> Result<u64, String> {
    let units = ["K", "M", "G", "T"].into_iter().zip(1..);
    let upper = text.to_ascii_uppercase();
    let with_unit = units.filter_map(|(unit, power)| Some((upper.strip_suffix(unit)?, power)));
    let (number, power) = with_unit.last().unwrap_or((&upper, 0));
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << (10 * power)));
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    size.filter(|_| is_number).ok_or_else(|| "not a size, as 500M or 20G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_units() {
        for (text, expected) in [
            ("0", Some(0)),
            ("17", Some(17)),
            ("1K", Some(1 << 10)),
            ("500m", Some(500 << 20)),
            ("20G", Some(20 << 30)),
            ("16777215T", Some(16_777_215 << 40)),
            ("16777216T", None),
            ("", None),
            ("G", None),
            ("-1", None),
            ("+1", None),
            ("1.5G", None),
            ("1KK", None),
            ("1 G", None),
        ] {
            assert_eq!(parse_size(text).ok(), expected, "{text:?}");
        }
    }
}
