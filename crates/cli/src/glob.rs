//! Patterns of paths, as `.gitignore` writes them.
//!
//! A pattern with a slash at its beginning or inside is about a path from the root, any other about a name anywhere. A
//! slash at its end is about directories only, `!` at its beginning takes matches back, and the last pattern that matches
//! counts. `*` and `?` stand for anything but a slash, `**` for any number of directories, `[a-z]` for one of these bytes,
//! `\` takes the next character as it is. What is below something left out is left out too.

use crate::error::usage;
use crate::text::clean;

/// Patterns in their order.
#[derive(Debug, Default)]
pub struct Globs(Vec<Glob>);

#[derive(Debug)]
struct Glob {
    /// The names of the path that it is about; one for a name anywhere.
    names: Vec<Vec<u8>>,
    is_anywhere: bool,
    is_for_directories: bool,
    takes_back: bool,
}

impl Globs {
    /// Parses the values of an option.
    ///
    /// # Errors
    /// Wrong usage, if a pattern could match nothing.
    pub fn parse(option: &str, patterns: &[String]) -> anyhow::Result<Self> {
        let mut globs = Vec::with_capacity(patterns.len());
        for text in patterns {
            let Some(glob) = Glob::parse(text.as_bytes()) else {
                let message = format!("{option} {}: a pattern of nothing", clean(text));
                return Err(usage(message).into());
            };
            globs.push(glob);
        }
        Ok(Self(globs))
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the path itself matches. The caller asks for the directories above it first.
    pub fn match_path(&self, path: &[u8], is_directory: bool) -> bool {
        let last = self.0.iter().rfind(|glob| glob.matches(path, is_directory));
        last.is_some_and(|glob| !glob.takes_back)
    }

    /// The numbers of the patterns that the path itself matches, and of each whether it takes back.
    pub fn matching(&self, path: &[u8], is_directory: bool) -> impl Iterator<Item = (usize, bool)> {
        let all = self.0.iter().enumerate();
        let matching = all.filter(move |(_, glob)| glob.matches(path, is_directory));
        matching.map(|(position, glob)| (position, glob.takes_back))
    }
}

impl Glob {
    fn parse(text: &[u8]) -> Option<Self> {
        let (takes_back, text) = match text.strip_prefix(b"!") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (is_for_directories, text) = match text.strip_suffix(b"/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let is_anywhere = !text.contains(&b'/');
        let names =
            text.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
        let names: Vec<_> = names.map(<[u8]>::to_vec).collect();
        (!names.is_empty()).then_some(Self { names, is_anywhere, is_for_directories, takes_back })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.is_for_directories && !is_directory {
            return false;
        }
        let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        if self.is_anywhere {
            return names.last().is_some_and(|name| match_name(&self.names[0], name));
        }
        match_names(&self.names, &names)
    }
}

/// Whether names match patterns of names, some of which stand for any number of names: each time one does, only the last
/// such pattern is ever tried again, so it takes as many steps as the two are long, multiplied.
fn match_names(patterns: &[Vec<u8>], names: &[&[u8]]) -> bool {
    let mut at_pattern = 0;
    let mut at_name = 0;
    let mut again = None;
    while at_name < names.len() {
        match patterns.get(at_pattern) {
            Some(pattern) if pattern == b"**" => {
                // At the end it stands for what is inside, which is one name at least.
                again = Some((at_pattern, at_name));
                at_pattern += 1;
                if at_pattern == patterns.len() {
                    return true;
                }
            }
            Some(pattern) if match_name(pattern, names[at_name]) => {
                at_pattern += 1;
                at_name += 1;
            }
            _ => {
                let Some((pattern, name)) = again else { return false };
                again = Some((pattern, name + 1));
                (at_pattern, at_name) = (pattern + 1, name + 1);
            }
        }
    }
    at_pattern == patterns.len()
}

/// Whether a class of characters in a pattern has no end. Then its bracket stands for itself, which hardly anybody means.
pub fn has_open_class(pattern: &str) -> bool {
    let mut rest = pattern.as_bytes();
    loop {
        rest = match *rest {
            [] => return false,
            [b'[', ref class @ ..] => match match_class(class, 0) {
                Some((length, _)) => &class[length..],
                None => return true,
            },
            [b'\\', _, ref rest @ ..] | [_, ref rest @ ..] => rest,
        };
    }
}

/// Whether a whole text matches a pattern, in which `*` stands for anything, a slash too.
pub fn match_text(pattern: &str, text: &str) -> bool {
    match_name(pattern.as_bytes(), text.as_bytes())
}

/// The same for the bytes of one name.
fn match_name(pattern: &[u8], name: &[u8]) -> bool {
    let mut at_pattern = 0;
    let mut at_name = 0;
    let mut again = None;
    while at_name < name.len() {
        if pattern.get(at_pattern) == Some(&b'*') {
            again = Some((at_pattern, at_name));
            at_pattern += 1;
        } else if let Some(length) = match_byte(&pattern[at_pattern..], name[at_name]) {
            at_pattern += length;
            at_name += 1;
        } else {
            let Some((pattern, name)) = again else { return false };
            again = Some((pattern, name + 1));
            (at_pattern, at_name) = (pattern + 1, name + 1);
        }
    }
    pattern[at_pattern..].iter().all(|&byte| byte == b'*')
}

/// The length of the pattern's part that matches this byte; none if it doesn't match.
fn match_byte(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern {
        [b'?', ..] => Some(1),
        [b'\\', literal, ..] => (literal == byte).then_some(2),
        [b'[', ref rest @ ..] => match match_class(rest, byte) {
            Some((length, is_match)) => is_match.then_some(1 + length),
            None => (byte == b'[').then_some(1),
        },
        [literal, ..] => (literal == byte).then_some(1),
        [] => None,
    }
}

/// The length of a class of bytes, its bracket included, and whether the byte is in it; none if it has no end.
fn match_class(class: &[u8], byte: u8) -> Option<(usize, bool)> {
    let negated = usize::from(matches!(class.first(), Some(b'!' | b'^')));
    let mut at = negated;
    let mut is_in = false;
    loop {
        let (first, length) = match *class.get(at..)? {
            [b']', ..] if at > negated => return Some((at + 1, is_in != (negated == 1))),
            [b'\\', literal, ..] => (literal, 2),
            [literal, ..] => (literal, 1),
            [] => return None,
        };
        at += length;
        let last = match *class.get(at..)? {
            [b'-', last, ..] if last != b']' => {
                at += 2;
                last
            }
            _ => first,
        };
        is_in |= (first..=last).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_without_an_end_is_noticed() {
        for pattern in ["[", "a[b", "[!", "[]", "[a]b[c", "[\\]", "[a-"] {
            assert!(has_open_class(pattern), "{pattern}");
        }
        for pattern in ["", "a*", "[a]", "[!a-z]x[b]", "\\[", "[]]", "a]", "[\\]]", "\\"] {
            assert!(!has_open_class(pattern), "{pattern}");
        }
    }

    #[track_caller]
    fn check(patterns: &[&str], path: &str, expected: bool) {
        let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        let path = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let globs = Globs::parse("--exclude", &patterns).unwrap();
        assert_eq!(globs.match_path(path.0.as_bytes(), path.1), expected, "{patterns:?} {path:?}");
    }

    #[test]
    fn a_name_matches_anywhere_and_a_path_from_the_root() {
        check(&["*.log"], "var/log/x.log", true);
        check(&["*.log"], "x.log/", true);
        check(&["*.log"], "x.log.1", false);
        check(&["/tmp"], "tmp/", true);
        check(&["/tmp"], "var/tmp/", false);
        check(&["var/tmp"], "var/tmp/", true);
        check(&["var/tmp"], "x/var/tmp/", false);
        check(&["tmp/"], "var/tmp/", true);
        check(&["tmp/"], "var/tmp", false);
        check(&["var/*"], "var/a/b", false);
    }

    #[test]
    fn stars_stand_for_names_and_directories() {
        check(&["a*b*c"], "aXbYbZc", true);
        check(&["a*b*c"], "aXbYbZ", false);
        check(&["**/x"], "x", true);
        check(&["**/x"], "a/b/x", true);
        check(&["a/**/x"], "a/x", true);
        check(&["a/**/x"], "a/b/c/x", true);
        check(&["a/**/x"], "b/x", false);
        check(&["a/**"], "a/b", true);
        check(&["a/**"], "a/", false);
        check(&["/?"], "a", true);
        check(&["/?"], "ab", false);
    }

    #[test]
    fn classes_and_escapes_are_single_bytes() {
        check(&["[a-c]x"], "bx", true);
        check(&["[!a-c]x"], "bx", false);
        check(&["[]]"], "]", true);
        check(&["[^]]"], "]", false);
        check(&["[a"], "[a", true);
        check(&["\\*"], "*", true);
        check(&["\\*"], "x", false);
        check(&["[\\]x]"], "]", true);
    }

    #[test]
    fn the_last_pattern_that_matches_counts() {
        check(&["*.log", "!keep.log"], "keep.log", false);
        check(&["!keep.log", "*.log"], "keep.log", true);
    }

    #[test]
    fn a_pattern_of_nothing_is_refused() {
        for pattern in ["", "/", "!", "//", "./"] {
            assert!(Globs::parse("--exclude", &[pattern.to_owned()]).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        check(&[&"*a".repeat(100)], &"a".repeat(5000), true);
        check(&[&format!("{}b", "*a".repeat(100))], &"a".repeat(5000), false);
        check(&[&format!("{}b", "**/".repeat(1000))], &"a/".repeat(5000), false);
    }
}
