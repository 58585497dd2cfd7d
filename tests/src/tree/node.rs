//! One line of a tree: what it stands for, how it is written, how it is read.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Mtime, Show};
use crate::or_panic::OrPanic as _;
use crate::text::{Place, escape, unescape};

/// A file's content, or as much of it as is worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// All bytes.
    Text(Vec<u8>),
    /// Length and hash.
    Long(u64, String),
}

/// The longest content that is shown as it is.
const SHOWN: usize = 64;

impl File {
    /// The content that a reader gives, hashed when it is long or not text.
    pub(crate) fn read(mut reader: impl std::io::Read) -> std::io::Result<Self> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        let mut start = Vec::new();
        let mut length = 0;
        loop {
            let n = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(&buffer[..n]);
            length += n as u64;
            if start.len() <= SHOWN {
                start.extend(&buffer[..n.min(SHOWN + 1)]);
            }
        }
        let printable = std::str::from_utf8(&start)
            .is_ok_and(|text| text.chars().all(|c| !c.is_control() || "\n\t".contains(c)));
        if start.len() <= SHOWN && printable {
            return Ok(Self::Text(start));
        }
        Ok(Self::Long(length, crate::image::named_digest(hasher)[..19].to_owned()))
    }

    /// The bytes; a length without a text stands for zeros.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(bytes) => bytes.clone(),
            Self::Long(length, hash) => {
                assert!(hash.is_empty(), "kit: no content has the hash {hash} yet");
                vec![0; usize::try_from(*length).or_panic("a length that fits memory")]
            }
        }
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Dir,
    File(File),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Without a slash at either end; empty for the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Node {
    /// The line, without its end.
    pub(crate) fn line(&self, show: Show) -> String {
        let mut line = mode_text(&self.kind, self.mode);
        let add = |line: &mut String, text: String| {
            line.push(' ');
            line.push_str(&text);
        };
        if show.owner {
            add(&mut line, format!("{}:{}", self.uid, self.gid));
        }
        let path = match self.path.as_slice() {
            b"" => ".".to_owned(),
            path => escape(path, Place::Word),
        };
        add(&mut line, path);
        if self.kind == Kind::Dir && !line.ends_with('/') {
            line.push('/');
        }
        match &self.kind {
            Kind::Symlink(target) => add(&mut line, format!("-> {}", escape(target, Place::Word))),
            Kind::HardLink(target) => add(&mut line, format!("= {}", escape(target, Place::Word))),
            Kind::Char(major, minor) | Kind::Block(major, minor) => {
                add(&mut line, format!("{major},{minor}"));
            }
            Kind::File(File::Text(bytes)) => {
                add(&mut line, bytes.len().to_string());
                if show.content && !bytes.is_empty() {
                    add(&mut line, format!("\"{}\"", escape(bytes, Place::Quoted)));
                }
            }
            Kind::File(File::Long(length, hash)) => {
                add(&mut line, length.to_string());
                if show.content {
                    add(&mut line, hash.clone());
                }
            }
            Kind::Dir | Kind::Fifo | Kind::Socket => {}
        }
        if let Some((seconds, nanoseconds)) = self.mtime {
            match show.mtime {
                Mtime::Hidden => {}
                Mtime::Seconds => add(&mut line, format!("@{seconds}")),
                Mtime::Nanoseconds => add(&mut line, format!("@{seconds}.{nanoseconds:09}")),
            }
        }
        for (name, value) in self.xattrs.iter().filter(|_| show.xattrs) {
            let name = escape(name, Place::Word);
            write!(line, " {name}=\"{}\"", escape(value, Place::Quoted)).or_panic("write a line");
        }
        line
    }
}

fn mode_text(kind: &Kind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        Kind::Dir => 'd',
        Kind::File(_) | Kind::HardLink(_) => '-',
        Kind::Symlink(_) => 'l',
        Kind::Char(..) => 'c',
        Kind::Block(..) => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
    });
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
        });
    }
    text
}

fn parse_mode(text: &str) -> u32 {
    let mut mode = 0;
    for (at, character) in text.chars().skip(1).enumerate() {
        let bit = 0o400 >> at;
        let special = match at {
            2 => 0o4000,
            5 => 0o2000,
            _ => 0o1000,
        };
        mode |= match character {
            '-' => 0,
            's' | 't' => bit | special,
            'S' | 'T' => special,
            _ => bit,
        };
    }
    mode
}

/// The nodes that lines of text stand for, in their order. Empty lines and `#` lines are skipped.
pub(crate) fn parse(text: &str) -> Vec<Node> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(parse_line)
        .collect()
}

fn parse_line(line: &str) -> Node {
    let words = words(line);
    let mut words = words.iter().map(String::as_str).peekable();
    let mode = words.next().or_panic("a line begins with a mode");
    assert_eq!(mode.len(), 10, "kit: `{mode}` is no mode, in: {line}");
    let (uid, gid) = match words.peek().and_then(|word| owner(word)) {
        Some(owner) => {
            words.next();
            owner
        }
        None => (0, 0),
    };
    let path = words.next().or_panic(format!("a path in: {line}"));
    let path = unescape(path.strip_suffix('/').unwrap_or(path));
    let path = if path == b"." { Vec::new() } else { path };
    let mut node = Node {
        path,
        kind: Kind::Dir,
        mode: parse_mode(mode),
        uid,
        gid,
        mtime: None,
        xattrs: vec![],
    };
    node.kind = match mode.as_bytes()[0] {
        b'd' => Kind::Dir,
        b'p' => Kind::Fifo,
        b's' => Kind::Socket,
        b'l' => Kind::Symlink(after(&mut words, "->", line)),
        b'c' | b'b' => {
            let numbers = words.next().and_then(|word| word.split_once(','));
            let (major, minor) = numbers.or_panic(format!("major,minor in: {line}"));
            let number = |text: &str| text.parse().or_panic(format!("a number in: {line}"));
            let kind = if mode.starts_with('c') { Kind::Char } else { Kind::Block };
            kind(number(major), number(minor))
        }
        _ if words.peek() == Some(&"=") => Kind::HardLink(after(&mut words, "=", line)),
        _ => Kind::File(File::Text(Vec::new())),
    };
    for word in words {
        detail(&mut node, word, line);
    }
    node
}

fn after<'a>(words: &mut impl Iterator<Item = &'a str>, mark: &str, line: &str) -> Vec<u8> {
    assert_eq!(words.next(), Some(mark), "kit: `{mark}` is missing in: {line}");
    unescape(words.next().or_panic(format!("a target in: {line}")))
}

fn owner(word: &str) -> Option<(u64, u64)> {
    let (uid, gid) = word.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// What may follow a path: a length, a content, a hash, a time, extended attributes.
fn detail(node: &mut Node, word: &str, line: &str) {
    if let Some(time) = word.strip_prefix('@') {
        let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
        let number = || format!("a time in: {line}");
        let nanoseconds = format!("{fraction:0<9}").parse().or_panic(number());
        node.mtime = Some((seconds.parse().or_panic(number()), nanoseconds));
        return;
    }
    if let Some(content) = word.strip_prefix('"') {
        node.kind = Kind::File(File::Text(unescape(content.strip_suffix('"').unwrap_or(content))));
        return;
    }
    if let Some((name, value)) = word.split_once("=\"") {
        let value = value.strip_suffix('"').unwrap_or(value);
        node.xattrs.push((unescape(name), unescape(value)));
        return;
    }
    match &mut node.kind {
        Kind::File(File::Long(_, hash)) if word.starts_with("sha256:") => word.clone_into(hash),
        Kind::File(file) => {
            let length: u64 = word.parse().or_panic(format!("`{word}` in: {line}"));
            if length > 0 {
                *file = File::Long(length, String::new());
            }
        }
        _ => panic!("kit: `{word}` is unexpected in: {line}"),
    }
}

/// Words between spaces; spaces inside quotes do not count.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for character in line.chars() {
        if character == ' ' && !quoted {
            words.push(String::new());
            continue;
        }
        if character == '"' && !escaped {
            quoted = !quoted;
        }
        escaped = character == '\\' && !escaped;
        if let Some(word) = words.last_mut() {
            word.push(character);
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_read_is_written_the_same() {
        let lines = [
            "drwxr-xr-t 0:0 ./",
            "drwxr-sr-x 0:5 tmp/ @-1.000000001",
            "-rwsr-xr-x 0:0 usr/bin/su 6 \"a \\\"b\\\"\\n\" @5.500000000 user.a=\"x y\" user.b=\"\"",
            "-rwSr-Sr-T 0:0 caf\\xe9\\x20x 0",
            "-rw-r--r-- 0:0 long 100 sha256:0123456789ab",
            "lrwxrwxrwx 0:0 lib -> usr/lib",
            "-rw-r--r-- 1:2 b = a/first",
            "crw-rw-rw- 0:0 dev/null 1,3",
            "brw-rw---- 0:6 dev/sda 8,0",
            "prw-r--r-- 0:0 fifo",
        ];
        for line in lines {
            let node = parse_line(line);
            assert_eq!(node.line(Show { mtime: Mtime::Nanoseconds, ..Show::ALL }), line);
        }
    }

    #[test]
    fn content_is_shown_while_it_is_short_text() {
        let short = File::read(&b"hello\n"[..]).unwrap();
        assert_eq!(short, File::Text(b"hello\n".to_vec()));
        let binary = File::read(&b"\0\x01"[..]).unwrap();
        assert_eq!(binary, File::Long(2, "sha256:b413f47d13ee".to_owned()));
        assert!(matches!(File::read(&[b'a'; 65][..]).unwrap(), File::Long(65, _)));
    }
}
