//! How errors and other words reach the terminal: one line each, nothing raw, hints after.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::panic;
use std::path::Path;

use clap::error::ErrorKind;
use layer_format::text::{is_hostile, push_byte, push_shown, reason};

use crate::Link;
use crate::failure::{Failure, links, links_of};

/// A text as it may be shown: control characters, line ends and invisible characters that change
/// the order of others are escaped, everything else stays.
///
/// Names inside an image are written by strangers: every one that is shown goes through here. The
/// result is for eyes; a backslash is not escaped, so it can't be turned back.
pub fn clean(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hostile) {
        let mut out = String::with_capacity(text.len() + 8);
        text.chars().for_each(|c| push_shown(&mut out, c));
        Cow::Owned(out)
    } else {
        Cow::Borrowed(text)
    }
}

/// Like [`clean`], for bytes that should be UTF-8: what isn't becomes `\xNN`.
pub fn clean_bytes(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return clean(text);
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_shown(&mut out, c));
        chunk.invalid().iter().for_each(|&byte| push_byte(&mut out, byte));
    }
    Cow::Owned(out)
}

/// A path as it may be shown: like [`clean_bytes`].
pub fn clean_path(path: &Path) -> String {
    clean_bytes(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// A document as it may be shown: like [`clean`], but its lines and tabs stay.
pub fn clean_text(text: &[u8]) -> String {
    let clean_line = |line: &[u8]| {
        let pieces: Vec<_> = line.split(|&byte| byte == b'\t').map(clean_bytes).collect();
        pieces.join("\t")
    };
    text.split(|&byte| byte == b'\n').map(clean_line).collect::<Vec<_>>().join("\n")
}

/// A JSON text as it may be shown: the same JSON, with what [`clean`] would escape written as `\uXXXX`.
pub fn clean_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                push(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// An error as it is reported: `name: context: cause`, then a line for each hint.
pub fn error(name: &str, error: &anyhow::Error) -> String {
    error_with(name, error, |_, _| None)
}

/// An error and its causes, for a part of a line: of a warning, or of a list.
pub fn chain(error: &Link) -> String {
    let mut texts: Vec<String> = vec![];
    for text in links_of(error).map(describe) {
        if !texts.last().is_some_and(|last| ends_with_cause(last, &text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// Like [`error`], with the hints that `advice` knows for a link of the chain and the program's name.
pub(crate) fn error_with(
    name: &str,
    error: &anyhow::Error,
    advice: fn(&Link, &str) -> Option<String>,
) -> String {
    let mut texts: Vec<String> = vec![clean(name).into_owned()];
    let mut hints: Vec<String> = Vec::new();
    for link in links(error) {
        let failure = link.downcast_ref::<Failure>();
        let own = failure.map(Failure::hints).unwrap_or_default().iter().cloned();
        for hint in own.chain(advice(link, name)) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        let text = shorten(shorten_words(clean(&describe(link))).into_owned());
        let said = failure.is_some_and(Failure::is_mute) || text.is_empty();
        if !said && !texts.last().is_some_and(|last| ends_with_cause(last, &text)) {
            texts.push(text);
        }
    }
    let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
    lines(&texts.join(": "), &hints)
}

/// Wrong usage as clap sees it, in the form of all other errors.
pub(crate) fn usage(name: &str, error: &clap::Error) -> String {
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return text;
    }
    let mut message = Vec::new();
    let mut hints = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(tip) = line.strip_prefix("tip: ") {
            hints.push(tip.to_owned());
        } else if line.starts_with("Usage: ") || line.starts_with("For more information") {
            break;
        } else if !line.is_empty() && hints.is_empty() {
            message.push(line.strip_prefix("error: ").unwrap_or(line));
        }
    }
    hints.push(format!("{name} --help"));
    let hints: Vec<&str> = hints.iter().map(String::as_str).collect();
    lines(&format!("{name}: {}", clean(&message.join(" "))), &hints)
}

/// Reports an error where nobody else will: before a run, or when its exit status is somebody else's.
pub fn tell(name: &str, error: &anyhow::Error) {
    write(&self::error(name, error));
}

/// Writes to standard error in one piece; nobody is left to hear of a failure to do so.
pub(crate) fn write(text: &str) {
    drop(StandardError.write_all(text.as_bytes()));
}

/// Standard error, unbuffered. It takes no descriptor of its own, so it is there when there are no more of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes a panic, which is always a mistake of ours, look like any other error.
pub(crate) fn hook_panics(name: &str) {
    let name = name.to_owned();
    panic::set_hook(Box::new(move |info| {
        let what = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("{name}: internal error: {}", clean(&format!("{what} ({place})")));
        write(&lines(&text, &["this is a mistake in the program, please report it"]));
    }));
}

/// Leaves out the middle of words, which paths and names are, that are longer than anyone reads.
fn shorten_words(text: Cow<'_, str>) -> Cow<'_, str> {
    const MOST: usize = 300;
    let is_long = |word: &str| word.len() > MOST;
    if !text.split(' ').any(is_long) {
        return text;
    }
    let shortened = text.split(' ').map(|word| {
        if !is_long(word) {
            return Cow::Borrowed(word);
        }
        let end = word.floor_char_boundary(MOST / 2);
        let start = word.ceil_char_boundary(word.len() - MOST / 2);
        Cow::Owned(format!("{}…{}", &word[..end], &word[start..]))
    });
    Cow::Owned(shortened.collect::<Vec<_>>().join(" "))
}

/// Leaves out the middle of a text that is longer than anyone reads.
fn shorten(text: String) -> String {
    // All blobs that a thin stream lacks have room, of two hundred layers.
    const MOST: usize = 16_000;
    if text.len() <= MOST {
        return text;
    }
    let end = text.floor_char_boundary(MOST / 2);
    let start = text.ceil_char_boundary(text.len() - MOST / 4);
    format!("{}…{}", &text[..end], &text[start..])
}

fn lines(first: &str, hints: &[&str]) -> String {
    let mut out = format!("{first}\n");
    for hint in hints {
        push(&mut out, format_args!("hint: {}\n", clean(hint)));
    }
    out
}

/// What a link says. The system's own messages are made to look like ours.
fn describe(link: &Link) -> String {
    link.downcast_ref::<io::Error>().map_or_else(|| link.to_string(), reason)
}

/// Whether the text above already tells its cause, as some libraries' messages do.
fn ends_with_cause(above: &str, cause: &str) -> bool {
    above.strip_suffix(cause).is_some_and(|rest| rest.is_empty() || rest.ends_with(": "))
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    out.write_fmt(args).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;
    use crate::{Code, Explain as _};

    #[track_caller]
    fn check(failure: impl Into<anyhow::Error>, expected: &str) {
        assert_eq!(error("pull", &failure.into()), expected);
    }

    #[test]
    fn a_chain_is_one_line() {
        let denied = io::Error::from(rustix::io::Errno::ROFS);
        let failure = Err::<(), _>(denied).context("usr/bin/su").context("layer 2").unwrap_err();
        check(failure, "pull: layer 2: usr/bin/su: read-only file system\n");
    }

    #[test]
    fn a_chain_within_a_line_has_no_numbers_of_the_system() {
        let many = io::Error::from(rustix::io::Errno::MFILE);
        let failure = anyhow::Error::new(io::Error::other(many)).context("opening a");
        assert_eq!(chain(failure.as_ref()), "opening a: too many open files");
    }

    #[test]
    fn a_repeated_cause_is_said_once() {
        check(anyhow!("root").context("root").context("top"), "pull: top: root\n");
        check(io::Error::other(io::Error::other("inner")), "pull: inner\n");
        check(anyhow!("refused").context("connect: refused"), "pull: connect: refused\n");
        check(anyhow!("d").context("red"), "pull: red: d\n");
    }

    #[test]
    fn hints_follow_from_every_depth() {
        let failure = Err::<(), _>(Failure::new(Code::NotFound, "nginx: no such image"))
            .hint("pull nginx")
            .context("saving")
            .hint("images lists\nwhat is there")
            .hint("pull nginx")
            .unwrap_err();
        check(
            failure,
            "pull: saving: nginx: no such image\nhint: pull nginx\n\
             hint: images lists\\nwhat is there\n",
        );
    }

    #[test]
    fn a_message_stands_before_its_cause() {
        let failure = Failure::new(Code::Network, "registry").because(anyhow!("timed out"));
        check(failure, "pull: registry: timed out\n");
    }

    #[test]
    fn hostile_names_are_escaped() {
        let cases = [
            ("plain ünïcödé 名前", "plain ünïcödé 名前"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\x1b[31mred\x07\x7f", "\\x1b[31mred\\x07\\x7f"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("x\u{202e}gpj.exe", "x\\u{202e}gpj.exe"),
            ("\u{2066}\u{2028}\u{feff}", "\\u{2066}\\u{2028}\\u{feff}"),
        ];
        for (text, expected) in cases {
            assert_eq!(clean(text), expected);
        }
        assert!(matches!(clean("usr/bin/su"), Cow::Borrowed(_)));
        check(anyhow!("evil\n\x1b]0;x"), "pull: evil\\n\\x1b]0;x\n");
    }

    #[test]
    fn a_name_of_a_megabyte_is_no_line_of_a_megabyte() {
        let text = error("unpack", &anyhow!("entry {}: not there", "ü".repeat(1 << 19)));
        assert!(text.len() < 17_000 && text.starts_with("unpack: entry üü"), "{}", text.len());
        assert!(text.contains("ü…ü") && text.ends_with("ü: not there\n"));
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(clean_text(b"a\tb\n\x1b[2J\xff\n"), "a\tb\n\\x1b[2J\\xff\n");
        assert_eq!(
            clean_json("{\n\"a\":\"\u{9b}\u{202e}\u{e0001}é\"}"),
            "{\n\"a\":\"\\u009b\\u202e\\udb40\\udc01é\"}"
        );
    }

    #[test]
    fn bytes_that_are_not_text_are_escaped() {
        assert_eq!(clean_bytes(b"a\xff\xfe\nb"), "a\\xff\\xfe\\nb");
        assert_eq!(clean_bytes("é".as_bytes()), "é");
    }

    #[test]
    fn wrong_usage_is_one_line_too() {
        let command =
            || clap::Command::new("pull").arg(clap::arg!(<NAME>)).arg(clap::arg!(--platform <P>));
        let failure = command().try_get_matches_from(["pull"]).unwrap_err();
        assert_eq!(
            usage("pull", &failure),
            "pull: the following required arguments were not provided: <NAME>\nhint: pull --help\n"
        );
        let failure = command().try_get_matches_from(["pull", "--platfrom", "x"]).unwrap_err();
        assert_eq!(
            usage("pull", &failure),
            "pull: unexpected argument '--platfrom' found\n\
             hint: a similar argument exists: '--platform'\nhint: pull --help\n"
        );
        let jobs = clap::arg!(--jobs <N>).value_parser(clap::value_parser!(u8));
        let failure = command().arg(jobs).try_get_matches_from(["pull", "--jobs", "x"]);
        assert_eq!(
            usage("pull", &failure.unwrap_err()),
            "pull: invalid value 'x' for '--jobs <N>': invalid digit found in string\n\
             hint: pull --help\n"
        );
    }
}
