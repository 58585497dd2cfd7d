//! The list of all files of an image, one per line.

use std::collections::HashMap;
use std::io::Write as _;

use cli::{Form, Io, put_bytes};
use image::Opened;
use layer_format::DiffId;
use layer_format::layer::{EntryKind, EntryPath, escape};
use layer_format::listing::{Inode, InodeId, Item, Place};
use serde_json::{Map, Value, json};

use crate::write_array;

/// Lists the files.
pub(crate) fn list(mut opened: Opened, form: Form, io: &mut Io<'_>) -> anyhow::Result<()> {
    let tree = opened.tree(&io.progress)?;
    let diff_ids: Vec<_> = opened.image().layers.iter().map(|layer| layer.diff_id).collect();
    opened.finish()?;
    let mut links = Links::default();
    // A root directory that no layer describes isn't listed.
    let items = tree.items().filter(|item| item.place.layer().is_some());
    match form {
        Form::Json => {
            let element = |item| json(&item, links.first(&item).as_ref(), &diff_ids);
            return write_array(items.map(element), io);
        }
        Form::Null => {
            for item in items {
                let path = item.path.as_bytes();
                io.output.write_all(if path.is_empty() { b"." } else { path })?;
                io.output.write_all(b"\0")?;
            }
        }
        Form::Text => {
            for item in items {
                let first = links.first(&item);
                writeln!(io.output, "{}", line(&item, first.as_ref()))?;
            }
        }
    }
    Ok(())
}

/// The first name of each file that has several.
#[derive(Default)]
struct Links<'a>(HashMap<InodeId, Place<'a>>);

impl<'a> Links<'a> {
    /// The name of the same file that came before.
    fn first(&mut self, item: &Item<'a>) -> Option<EntryPath> {
        if !item.place.is_linked() {
            return None;
        }
        let first = self.0.entry(item.place.id()).or_insert(item.place);
        (*first != item.place).then(|| first.path())
    }
}

fn line(item: &Item<'_>, first: Option<&EntryPath>) -> String {
    let inode = &item.place.inode();
    let Inode { kind, uid, gid, mtime, .. } = inode;
    let owner = format!("{uid}:{gid}");
    let size = match kind {
        EntryKind::File { size, .. } => size.to_string(),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            format!("{major},{minor}")
        }
        EntryKind::Symlink { target } => target.len().to_string(),
        _ => "0".to_owned(),
    };
    let layer = item.place.layer().map_or(0, |layer| layer + 1);
    let link = match (kind, first) {
        (EntryKind::Symlink { target }, _) => format!(" -> {}", escape(target)),
        (_, Some(first)) => format!(" link to {first}"),
        _ => String::new(),
    };
    let (mode, mtime) = (mode_text(kind, mode(inode)), mtime.to_second());
    format!("{mode} {owner:>9} {size:>10} {mtime} {layer:>3} {}{link}", item.path)
}

fn json(item: &Item<'_>, first: Option<&EntryPath>, diff_ids: &[DiffId]) -> Value {
    let inode = item.place.inode();
    let mut fields = Map::new();
    let path = if item.path.is_root() { b"." } else { item.path.as_bytes() };
    put_bytes(&mut fields, "path", path);
    let mut put = |key: &str, value: Value| drop(fields.insert(key.to_owned(), value));
    put("kind", kind_text(&inode.kind).into());
    put("mode", format!("{:04o}", mode(&inode)).into());
    put("uid", inode.uid.into());
    put("gid", inode.gid.into());
    put("mtime", inode.mtime.to_nanosecond().into());
    put("layer", item.place.layer().map(|layer| layer + 1).into());
    put("diffId", json!(item.place.layer().and_then(|layer| diff_ids.get(layer))));
    match &inode.kind {
        EntryKind::File { size, .. } => put("size", (*size).into()),
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
            put("device", json!([major, minor]));
        }
        EntryKind::Symlink { target } => put_bytes(&mut fields, "target", target),
        _ => {}
    }
    if let Some(first) = first {
        put_bytes(&mut fields, "linkTo", first.as_bytes());
    }
    if !inode.xattrs.is_empty() {
        let xattr = |(name, value): &(Vec<u8>, Vec<u8>)| {
            (String::from_utf8_lossy(name).into_owned(), Value::from(hex(value)))
        };
        let xattrs: Map<_, _> = inode.xattrs.iter().map(xattr).collect();
        fields.insert("xattrs".to_owned(), xattrs.into());
    }
    fields.into()
}

/// Bytes as hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

pub(crate) fn kind_text(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "directory",
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => "file",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::CharDevice { .. } => "character device",
        EntryKind::BlockDevice { .. } => "block device",
        EntryKind::Fifo => "fifo",
    }
}

/// The permissions that a file system shows: a link has all of them, whatever its layer says.
fn mode(inode: &Inode) -> u32 {
    if matches!(inode.kind, EntryKind::Symlink { .. }) { 0o777 } else { inode.mode }
}

/// The type and permissions in the form of `ls -l`.
fn mode_text(kind: &EntryKind, mode: u32) -> String {
    let letter = match kind {
        EntryKind::Directory => 'd',
        EntryKind::File { .. } | EntryKind::Hardlink { .. } => '-',
        EntryKind::Symlink { .. } => 'l',
        EntryKind::CharDevice { .. } => 'c',
        EntryKind::BlockDevice { .. } => 'b',
        EntryKind::Fifo => 'p',
    };
    let mut text = String::from(letter);
    for (shift, special, set) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (false, false) => '-',
            (true, false) => 'x',
            (true, true) => set,
            (false, true) => set.to_ascii_uppercase(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_those_of_ls() {
        let check = |kind, mode, expected: &str| assert_eq!(mode_text(&kind, mode), expected);
        check(EntryKind::Directory, 0o1777, "drwxrwxrwt");
        check(EntryKind::File { size: 0, data: None }, 0o4755, "-rwsr-xr-x");
        check(EntryKind::Fifo, 0o7000, "p--S--S--T");
    }

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(b"\x00\x0fa\xf0\xff"), "000f61f0ff");
    }
}
