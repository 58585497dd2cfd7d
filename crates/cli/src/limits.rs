//! Limits on what a stranger's image makes of itself, as they are given on the command line.

use crate::error::{Code, Failure};
use crate::size::{human_size, parse_size};

/// How many bytes an image's files may have without `--max-size`: as many as the largest file of an ext4.
const USUAL_MAX_SIZE: u64 = 16 << 40;

/// Flags that limit how many files there may be, and how large they may be together.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct Limits {
    /// How many bytes the files may have together, holes included: 500M, 20G; 16T without this
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_size: Option<u64>,

    /// How many entries there may be: files, directories, links; the root isn't counted
    #[arg(long, value_name = "N")]
    pub max_entries: Option<u64>,
}

impl Limits {
    /// Checks an image with this many entries, the files of which have this many bytes.
    ///
    /// # Errors
    /// [`Code::Untrusted`], if it is larger than the limits allow.
    pub fn check(&self, n_entries: u64, size: u64) -> Result<(), Failure> {
        if let Some(most) = self.max_entries.filter(|&most| n_entries > most) {
            return Err(too_many(format!(
                "the image has {n_entries} entries, and {most} are allowed"
            )));
        }
        check_size(self.max_size, "the image's files are", size)
    }

    /// Checks an image of which this much has been read, and perhaps not all.
    ///
    /// # Errors
    /// [`Code::Untrusted`], if it is larger than the limits allow.
    pub fn check_so_far(&self, n_entries: u64, size: u64) -> Result<(), Failure> {
        if let Some(most) = self.max_entries.filter(|&most| n_entries > most) {
            return Err(too_many(format!("the image has more than {most} entries")));
        }
        let most = self.max_size.unwrap_or(USUAL_MAX_SIZE);
        if size > most {
            let most = human_size(most);
            return Err(too_large(format!("the image's files are more than {most} large")));
        }
        Ok(())
    }
}

/// Checks a size in bytes: it may be as large as was allowed, or 16 TiB. `what` is the beginning of the message.
///
/// # Errors
/// [`Code::Untrusted`], if it is larger.
pub fn check_size(allowed: Option<u64>, what: &str, size: u64) -> Result<(), Failure> {
    let most = allowed.unwrap_or(USUAL_MAX_SIZE);
    if size <= most {
        return Ok(());
    }
    let allowed = human_size(most);
    Err(too_large(format!("{what} {} large, and {allowed} are allowed", human_size(size))))
}

fn too_many(message: String) -> Failure {
    Failure::new(Code::Untrusted, message).hint("--max-entries N allows more")
}

fn too_large(message: String) -> Failure {
    Failure::new(Code::Untrusted, message).hint("--max-size SIZE allows more")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_is_refused() {
        let limits = Limits { max_size: Some(10), max_entries: Some(2) };
        assert!(limits.check(2, 10).is_ok());
        assert!(limits.check(3, 10).is_err());
        assert!(limits.check(2, 11).is_err());
        assert!(Limits::default().check(u64::MAX, 16 << 40).is_ok());
        assert!(Limits::default().check(0, (16 << 40) + 1).is_err());
    }

    #[test]
    fn what_is_larger_so_far_is_refused() {
        let limits = Limits { max_size: Some(10), max_entries: Some(2) };
        assert!(limits.check_so_far(2, 10).is_ok());
        assert!(limits.check_so_far(3, 10).is_err());
        assert!(limits.check_so_far(2, 11).is_err());
        assert!(Limits::default().check_so_far(u64::MAX, 16 << 40).is_ok());
        assert!(Limits::default().check_so_far(0, (16 << 40) + 1).is_err());
    }
}
