//! Lists in files: a word a line, with comments.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::Context as _;

use crate::error::{Code, Failure, usage};
use crate::input::Input;
use crate::text::clean_path;

/// The most bytes of a list: some hundred thousand names.
const LIMIT: u64 = 16 << 20;

/// A word of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The word.
    pub text: String,
    /// Where it stands, for messages: `FILE: line 3`.
    pub place: String,
}

/// Reads lists: a word a line; what follows a `#` at the beginning of a line or after a blank is a comment. `-` is standard input.
///
/// # Errors
/// A file can't be read, is too large or no text; [`Code::NotFound`] if there is no word in any of them, and wrong usage if
/// standard input would be read twice.
pub fn read_lists<P: AsRef<Path>>(paths: &[P], input: &mut Input) -> anyhow::Result<Vec<Listed>> {
    let is_input = |path: &P| path.as_ref().as_os_str() == "-";
    if paths.iter().filter(|path| is_input(path)).count() > 1 {
        return Err(usage("standard input can be read only once").into());
    }
    let mut words = vec![];
    for path in paths {
        let path = path.as_ref();
        if path.as_os_str() == "-" {
            words.extend(read(input.take(), "standard input")?);
        } else {
            let file = File::open(path).map_err(|error| Failure::opening(path, error))?;
            words.extend(read(file, &clean_path(path))?);
        }
    }
    if words.is_empty() && !paths.is_empty() {
        return Err(Failure::new(Code::NotFound, "the list has no names").into());
    }
    Ok(words)
}

fn read(reader: impl Read, name: &str) -> anyhow::Result<Vec<Listed>> {
    let mut text = String::new();
    let n = reader.take(LIMIT + 1).read_to_string(&mut text).with_context(|| name.to_owned())?;
    if n as u64 > LIMIT {
        return Err(Failure::new(Code::Untrusted, format!("{name}: larger than any list")).into());
    }
    let word = |(n, line): (usize, &str)| {
        let text = without_comment(line).trim();
        let place = format!("{name}: line {}", n + 1);
        (!text.is_empty()).then(|| Listed { text: text.to_owned(), place })
    };
    Ok(text.lines().enumerate().filter_map(word).collect())
}

fn without_comment(line: &str) -> &str {
    let begins =
        |&(at, _): &(usize, &str)| line[..at].chars().next_back().is_none_or(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_word_a_line_and_comments() {
        let text = "# all of them\nnginx:1.27   # the proxy\r\n\n  r.test/a#b:1\n#x\n";
        let words = read_lists(&["-"], &mut Input::memory(text)).unwrap();
        let words: Vec<_> = words.iter().map(|it| (&*it.text, &*it.place)).collect();
        assert_eq!(
            words,
            [("nginx:1.27", "standard input: line 2"), ("r.test/a#b:1", "standard input: line 4")]
        );
    }

    #[test]
    fn a_list_without_a_word_is_a_mistake() {
        let read = |paths: &[&str], text: &str| read_lists(paths, &mut Input::memory(text));
        read(&["-"], "# none\n").unwrap_err();
        read(&["-", "-"], "a\n").unwrap_err();
        read(&["/nonexistent"], "").unwrap_err();
        assert!(read(&[], "").unwrap().is_empty());
    }
}
