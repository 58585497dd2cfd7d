//! Removing the images that have lost their names.

use std::time::{Duration, SystemTime};

use cli::Io;
use serde_json::json;
use store::{IndexEntry, Proof, Store, Sweep};

use crate::page::{Line, Page};
use crate::{gc, say_kept};

/// Removes images without a name, and then what nothing needs. With an age, only those that came into the store longer ago.
pub(crate) fn prune(
    store: &Store,
    age: Option<Duration>,
    sweep: Sweep,
    io: &mut Io<'_>,
    form: cli::Form,
) -> anyhow::Result<()> {
    let mut images = unnamed(store, age)?;
    if sweep == Sweep::Remove {
        images = store.remove(&images)?;
    }
    let found = gc(store, &images, sweep, Proof::Needed)?;
    let lines: Vec<_> = images.iter().map(line).collect();
    Page { output: &mut io.output, form }.pruned(&lines, &found, sweep)?;
    say_kept(&found.kept, io);
    Ok(())
}

fn line(image: &IndexEntry) -> Line {
    let digest = image.digest();
    Line { name: digest.to_string(), json: json!({"digest": digest}) }
}

/// The entries without a name. One whose manifest isn't there has any age.
fn unnamed(store: &Store, age: Option<Duration>) -> anyhow::Result<Vec<IndexEntry>> {
    let mut unnamed = vec![];
    for image in store.own_images()? {
        if image.name().is_none() && is_older(store, &image, age)? {
            unnamed.push(image);
        }
    }
    Ok(unnamed)
}

/// Whether a manifest came into the store longer ago than `age`.
fn is_older(store: &Store, image: &IndexEntry, age: Option<Duration>) -> anyhow::Result<bool> {
    let (Some(age), Some(blob)) = (age, store.blob(image.digest())?) else { return Ok(true) };
    let came = blob.metadata()?.modified()?;
    // A time to come is not old.
    Ok(SystemTime::now().duration_since(came).is_ok_and(|since| since > age))
}

/// Parses a number with a unit: `s`, `m`, `h`, `d` or `w`.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let parse = || {
        let unit = text.chars().next_back()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        let digits =
            text.strip_suffix(unit).filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
    };
    parse().ok_or_else(|| "an age is a number with a unit: 90m, 12h, 7d, 4w".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_unit() {
        for (text, seconds) in
            [("0s", 0), ("90m", 5400), ("12h", 43_200), ("7d", 604_800), ("1w", 604_800)]
        {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "7", "d", "-1d", "1.5h", "1h30m", "99999999999999999w", "7 d", "7D"] {
            assert!(parse_age(text).is_err(), "{text}");
        }
    }
}
