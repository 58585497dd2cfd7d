//! Paths inside an image: bytes, relative, without `.` and `..`.

use std::fmt;

use crate::error::Error;
use crate::text::{push_byte, push_shown};

/// The most names in a path, which limits how deep directories may be nested. Linux has no such limit, and other tools
/// don't agree on one. Programs that pass whole paths to the kernel fail beyond 2,048 names, which is as many as fit
/// into `PATH_MAX`.
pub const MAX_COMPONENTS: usize = 4096;

/// The error text for a path with more names than that.
pub const TOO_DEEP: &str = "more than 4096 directories deep";

/// The most symbolic links that one path may lead through. Linux has the same limit.
pub const MAX_LINKS: usize = 40;
/// The most names that a path and the links on its way may have in total.
pub const MAX_LINK_STEPS: usize = 4096;

/// The names in a path, which may be absolute or relative. `.` and `..` count as names.
pub fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// Whether a name is clean as it is, told by its bytes two by two, without a look at each of its components. Nearly all names are; of
/// names with hidden files it isn't told.
fn is_surely_clean(name: &[u8]) -> bool {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return true };
    if *last == b'/' || matches!(first, b'/' | b'.') || name.contains(&0) {
        return false;
    }
    // Without branches, many bytes are compared at once.
    let is = |byte: &u8, wanted: u8| u8::from(*byte == wanted);
    let is_odd = |(a, b): (&u8, &u8)| is(a, b'/') & (is(b, b'/') | is(b, b'.'));
    let any = name.iter().zip(&name[1..]).map(is_odd).fold(0, |any, odd| any | odd);
    any == 0 && name.len() <= MAX_COMPONENTS
}

/// The directory and the last name of a clean path; `None` for the root.
pub fn split_last(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// The path of an entry, relative to the root and normalised: it has no empty, `.` or `..` component and no NUL.
///
/// The empty path is the root. Names need not be UTF-8, so the path is displayed escaped.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// The path of the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Normalises a name from a tar: leading, doubled and trailing slashes and `.` are removed.
    ///
    /// # Errors
    /// [`Error::MalformedEntry`] if the name has a `..` component, a NUL, or more than [`MAX_COMPONENTS`] components.
    /// No honest producer writes `..`, and readers disagree on its meaning.
    pub fn parse(name: &[u8]) -> Result<Self, Error> {
        let refuse = |reason| Err(refuse(name, reason));
        if is_surely_clean(name) {
            return Ok(Self(name.to_vec()));
        }
        if name.contains(&0) {
            return refuse("a NUL in the name");
        }
        let mut path = Vec::with_capacity(name.len());
        let mut n_components = 0;
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return refuse("the name leads out of the root (..)"),
                component => {
                    push(&mut path, component);
                    n_components += 1;
                }
            }
        }
        if n_components > MAX_COMPONENTS { refuse(TOO_DEEP) } else { Ok(Self(path)) }
    }

    /// The bytes of the path, without a slash at either end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names from the root down; none for the root.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        components(&self.0)
    }

    /// The last name; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.components().next_back()
    }

    /// The directory that contains this path; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].to_vec()))
    }

    /// The path of `name` in this directory. `name` must be a single component other than `.` and `..`; names that were
    /// read from a directory always are.
    #[must_use]
    pub fn join(&self, name: &[u8]) -> Self {
        debug_assert!(
            !name.is_empty()
                && name != b"."
                && name != b".."
                && !name.contains(&b'/')
                && !name.contains(&0)
        );
        let mut path = self.0.clone();
        push(&mut path, name);
        Self(path)
    }

    /// Appends `name`, with the same condition as for [`join`](Self::join).
    pub fn push(&mut self, name: &[u8]) {
        push(&mut self.0, name);
    }

    /// Shortens the path to its first `length` bytes, which must be the path of a directory above it.
    pub fn truncate(&mut self, length: usize) {
        debug_assert!(length == 0 || length == self.0.len() || self.0[length] == b'/');
        self.0.truncate(length);
    }

    /// Whether this path lies below `directory` at any depth. A path doesn't lie below itself.
    pub fn is_below(&self, directory: &Self) -> bool {
        if directory.is_root() {
            return !self.is_root();
        }
        self.0.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
    }
}

fn push(path: &mut Vec<u8>, component: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(component);
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&escape(&self.0)) }
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The error for the entry `name`, with the rule that it breaks.
pub(super) fn refuse(name: &[u8], reason: &'static str) -> Error {
    let path = if name.is_empty() { "\"\"".to_owned() } else { escape_short(name) };
    Error::MalformedEntry { path, reason }
}

/// Escapes a name for an error, like [`escape`]. The middle of a very long name is left out.
pub fn escape_short(bytes: &[u8]) -> String {
    shorten(escape(bytes))
}

/// Leaves out the middle of a very long text.
fn shorten(text: String) -> String {
    const MOST: usize = 240;
    if text.len() <= MOST {
        return text;
    }
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=MOST / 2).rev().find(is_boundary).unwrap_or(0);
    let start = (text.len() - MOST / 2..text.len()).find(is_boundary).unwrap_or(text.len());
    format!("{}…{}", &text[..end], &text[start..])
}

/// Escapes bytes so that they can be shown on one line of a terminal. A backslash is doubled; a [hostile] character
/// becomes `\xNN` or `\u{…}`.
///
/// [hostile]: crate::text::is_hostile
pub fn escape(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                shown.push_str("\\\\");
            } else {
                push_shown(&mut shown, character);
            }
        }
        chunk.invalid().iter().for_each(|&byte| push_byte(&mut shown, byte));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        let path = EntryPath::parse(name.as_bytes());
        assert_eq!(
            path.ok().map(|path| path.as_bytes().to_vec()),
            expected.map(|text| text.as_bytes().to_vec())
        );
    }

    #[test]
    fn names_are_normalised() {
        check("etc/passwd", Some("etc/passwd"));
        check("./etc//passwd/", Some("etc/passwd"));
        check("/etc/./passwd", Some("etc/passwd"));
        check("", Some(""));
        check("./", Some(""));
        check("/", Some(""));
        check("..a/b..", Some("..a/b.."));
    }

    #[test]
    fn what_is_surely_clean_stays_as_it_is() {
        let mut n_sure = 0;
        for number in 0..4_u32.pow(7) {
            let name: Vec<u8> = (0..7).map(|n| b"a./\0"[number as usize >> (2 * n) & 3]).collect();
            for name in (0..=name.len()).map(|end| &name[..end]) {
                if is_surely_clean(name) {
                    n_sure += 1;
                    let is_clean =
                        |it: &[u8]| !matches!(it, b"" | b"." | b"..") && !it.contains(&0);
                    assert!(
                        name.is_empty() || name.split(|&it| it == b'/').all(is_clean),
                        "{name:?}"
                    );
                }
            }
        }
        assert!(n_sure > 10_000, "{n_sure}");
        assert!(is_surely_clean(&[b'a'; MAX_COMPONENTS]));
        assert!(!is_surely_clean(&b"a/".repeat(MAX_COMPONENTS)));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", "../a", "a/../b", "a/..", "/..", "a\0b"] {
            check(name, None);
        }
    }

    #[test]
    fn a_path_has_so_many_names_and_no_more() {
        let path = |n_names: usize| EntryPath::parse("a/".repeat(n_names).as_bytes());
        assert_eq!(path(MAX_COMPONENTS).unwrap().components().count(), MAX_COMPONENTS);
        let error = path(MAX_COMPONENTS + 1).unwrap_err();
        assert!(error.to_string().ends_with("more than 4096 directories deep"));
    }

    #[test]
    fn a_path_knows_its_place() {
        let path = EntryPath::parse(b"a/b/c").unwrap();
        assert_eq!(path.parent().unwrap().as_bytes(), b"a/b");
        assert_eq!(path.file_name().unwrap(), b"c");
        assert!(path.is_below(&EntryPath::parse(b"a").unwrap()));
        assert!(path.is_below(&EntryPath::root()));
        assert!(!path.is_below(&path));
        assert!(!EntryPath::parse(b"ab").unwrap().is_below(&EntryPath::parse(b"a").unwrap()));
        assert_eq!(EntryPath::root().parent(), None);
        assert_eq!(EntryPath::root().join(b"x").as_bytes(), b"x");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert_eq!(escape(b"a\x1b[31m\n\xff\\"), "a\\x1b[31m\\n\\xff\\\\");
        assert_eq!(escape("\u{202e}ö".as_bytes()), "\\u{202e}ö");
    }
}
