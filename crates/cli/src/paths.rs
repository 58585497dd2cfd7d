//! Which paths of an image a program takes.

use std::cell::Cell;

use crate::error::{Code, Failure};
use crate::glob::Globs;
use crate::io::Io;
use crate::text::clean;

/// Flags that say which paths are wanted.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Paths {
    /// Take only paths that match a pattern, with what is below them and the directories above; may be given several times
    ///
    /// Patterns are those of .gitignore: /etc is a path, *.so a name anywhere, ** any number of directories, and !PATTERN takes back.
    /// A hard link to a file that isn't taken becomes a file of its own.
    #[arg(long, value_name = "GLOB")]
    pub only: Vec<String>,

    /// Leave out paths that match a pattern, as .gitignore writes them; may be given several times
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
}

/// The paths that are wanted.
#[derive(Debug)]
pub struct Selection<'a> {
    paths: &'a Paths,
    only: Globs,
    /// For each pattern of `only`, whether a path has matched.
    has_matched: Vec<Cell<bool>>,
    exclude: Globs,
}

impl Paths {
    /// Whether all paths are wanted.
    pub fn is_all(&self) -> bool {
        self.only.is_empty() && self.exclude.is_empty()
    }

    /// Parses the patterns.
    ///
    /// # Errors
    /// Wrong usage, if one of them could match nothing.
    pub fn selection(&self) -> anyhow::Result<Selection<'_>> {
        Ok(Selection {
            paths: self,
            only: Globs::parse("--only", &self.only)?,
            has_matched: vec![Cell::new(false); self.only.len()],
            exclude: Globs::parse("--exclude", &self.exclude)?,
        })
    }
}

impl Selection<'_> {
    /// Whether a path is wanted, with what is below it; `None` if that is said of a directory above it. The root is empty.
    pub fn verdict(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        if path.is_empty() {
            return self.only.is_empty().then_some(true);
        }
        if self.exclude.match_path(path, is_directory) {
            return Some(false);
        }
        let mut verdict = None;
        for (position, takes_back) in self.only.matching(path, is_directory) {
            self.has_matched[position].set(true);
            verdict = Some(!takes_back);
        }
        verdict
    }

    /// Warns about patterns that no path has matched.
    ///
    /// # Errors
    /// [`Code::NotFound`] if that are all.
    pub fn check(&self, io: &Io<'_>) -> Result<(), Failure> {
        let is_asked = |text: &String| !text.starts_with('!');
        let all = self.paths.only.iter().zip(&self.has_matched).filter(|(text, _)| is_asked(text));
        let (found, missing): (Vec<_>, Vec<_>) = all.partition(|(_, matched)| matched.get());
        let message = |text: &str| format!("--only {}: nothing in the image matches", clean(text));
        match missing.first() {
            Some((text, _)) if found.is_empty() => {
                let failure = Failure::new(Code::NotFound, message(text));
                Err(failure.hint("inspect --files IMAGE lists what there is"))
            }
            _ => {
                for (text, _) in &missing {
                    io.warn(&message(text));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_counts_and_exclude_comes_first() {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
        let paths =
            Paths { only: texts(&["/etc", "*.so", "!x.so"]), exclude: texts(&["/etc/shadow"]) };
        let selection = paths.selection().unwrap();
        for (path, expected) in [
            ("", None),
            ("etc", Some(true)),
            ("etc/shadow", Some(false)),
            ("etc/passwd", None),
            ("usr/lib/a.so", Some(true)),
            ("usr/lib/x.so", Some(false)),
            ("usr", None),
        ] {
            assert_eq!(selection.verdict(path.as_bytes(), false), expected, "{path}");
        }
        let all = Paths::default();
        assert_eq!(all.selection().unwrap().verdict(b"", true), Some(true));
    }
}
