//! A layer from a few calls or a few lines: an uncompressed tar, hostile wherever asked.
//!
//! Calls that name a path add an entry; the calls after it (`mode`, `owner`, `mtime`, `xattr`, …)
//! change the entry added last. Nothing is refused: what a name, an id or a link may hold is for
//! the reader under test to find out.

use super::entry::{Entry, Style, padded, records};
use super::sparse::Sparse;
use crate::or_panic::OrPanic as _;
use crate::tree::node::{Kind, Node, parse};

/// The two kinds of device nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// A character device.
    Char,
    /// A block device.
    Block,
}

/// What a layer is made of, in the order of the archive.
#[derive(Clone, Debug)]
enum Part {
    Entry(Box<Entry>),
    Raw(Vec<u8>),
}

/// A layer under construction.
#[derive(Clone, Debug)]
#[must_use]
pub struct Layer {
    parts: Vec<Part>,
    end: Vec<u8>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    /// An empty layer that ends, as it should, with two zero blocks.
    pub fn new() -> Self {
        Self { parts: Vec::new(), end: vec![0; 1024] }
    }

    /// A layer from lines in the notation of [`crate::tree`], one entry a line, in that order.
    ///
    /// `-rw-r--r-- 0:0 etc/hosts "127.0.0.1\n"`. The owner may be left out.
    pub fn text(lines: &str) -> Self {
        parse(lines).into_iter().fold(Self::new(), Self::node)
    }

    fn node(self, node: Node) -> Self {
        let path = node.path;
        let layer = match node.kind {
            Kind::Dir => self.dir(path, node.mode),
            Kind::File(file) => self.file(path, file.bytes()).mode(node.mode),
            Kind::Symlink(target) => self.symlink(path, target),
            Kind::HardLink(target) => self.hardlink(path, target).mode(node.mode),
            Kind::Char(major, minor) => self.device(path, Device::Char, major, minor),
            Kind::Block(major, minor) => self.device(path, Device::Block, major, minor),
            Kind::Fifo => self.fifo(path),
            Kind::Socket => panic!("kit: a layer cannot hold a socket"),
        };
        let layer = layer.mode(node.mode).owner(node.uid, node.gid);
        let layer = match node.mtime {
            Some((seconds, nanoseconds)) => layer.mtime(seconds, nanoseconds),
            None => layer,
        };
        node.xattrs.into_iter().fold(layer, |layer, (name, value)| layer.xattr(name, value))
    }

    fn add(mut self, flag: u8, path: impl AsRef<[u8]>, mode: u32) -> Self {
        self.parts.push(Part::Entry(Box::new(Entry::new(flag, path.as_ref(), mode))));
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Entry)) -> Self {
        match self.parts.last_mut().or_panic("change an entry of an empty layer") {
            Part::Entry(entry) => change(entry),
            Part::Raw(_) => panic!("kit: a raw entry cannot be changed"),
        }
        self
    }

    /// A directory; the name gets its trailing slash here.
    pub fn dir(self, path: impl AsRef<[u8]>, mode: u32) -> Self {
        let mut path = path.as_ref().to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        self.add(b'5', path, mode)
    }

    /// A regular file, mode 0644.
    pub fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        self.add(b'0', path, 0o644).change(|entry| entry.content = content.as_ref().to_vec())
    }

    /// A symbolic link, mode 0777.
    pub fn symlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.add(b'2', path, 0o777).change(|entry| entry.link = target.as_ref().to_vec())
    }

    /// A hard link to a path of the image, mode 0644.
    pub fn hardlink(self, path: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.add(b'1', path, 0o644).change(|entry| entry.link = target.as_ref().to_vec())
    }

    /// The marker that removes `path` from the layers below.
    pub fn whiteout(self, path: impl AsRef<[u8]>) -> Self {
        let path = path.as_ref();
        let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let marker = [&path[..start], b".wh.".as_slice(), &path[start..]].concat();
        self.file(marker, "")
    }

    /// The marker that hides what the layers below have in directory `dir` (`""` is the root).
    pub fn opaque(self, dir: impl AsRef<[u8]>) -> Self {
        let dir = dir.as_ref();
        let slash: &[u8] = if dir.is_empty() || dir.ends_with(b"/") { b"" } else { b"/" };
        self.file([dir, slash, b".wh..wh..opq".as_slice()].concat(), "")
    }

    /// A fifo, mode 0644.
    pub fn fifo(self, path: impl AsRef<[u8]>) -> Self {
        self.add(b'6', path, 0o644)
    }

    /// A device node, mode 0644.
    pub fn device(self, path: impl AsRef<[u8]>, kind: Device, major: u32, minor: u32) -> Self {
        let flag = if kind == Device::Char { b'3' } else { b'4' };
        self.add(flag, path, 0o644).change(|entry| entry.device = (major, minor))
    }

    /// A sparse file of `size` bytes with data at the given offsets, in one of tar's four ways.
    pub fn sparse(
        self,
        path: impl AsRef<[u8]>,
        format: Sparse,
        size: u64,
        data: &[(u64, &[u8])],
    ) -> Self {
        let path = path.as_ref();
        self.add(b'0', path, 0o644).change(|entry| format.apply(entry, size, data))
    }

    /// An entry of any type flag, mode 0644.
    pub fn entry(self, flag: u8, path: impl AsRef<[u8]>) -> Self {
        self.add(flag, path, 0o644)
    }

    /// A header exactly as given and a body, padded to whole blocks.
    pub fn raw_entry(mut self, header: &[u8], body: &[u8]) -> Self {
        self.parts.push(Part::Raw([header, &padded(body)].concat()));
        self
    }

    /// Bytes exactly as given, blocks or not.
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.parts.push(Part::Raw(bytes.as_ref().to_vec()));
        self
    }

    /// A PAX global header.
    pub fn global(self, pairs: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        self.entry(b'g', "pax_global_header").change(|entry| entry.content = records(&pairs))
    }

    /// The last entry's permission bits, special bits included.
    pub fn mode(self, mode: u32) -> Self {
        self.change(|entry| entry.mode = mode)
    }

    /// The last entry's owner.
    pub fn owner(self, uid: u64, gid: u64) -> Self {
        self.change(|entry| (entry.uid, entry.gid) = (uid, gid))
    }

    /// The last entry's owner by name, as other tools write it.
    pub fn owner_names(self, user: &str, group: &str) -> Self {
        self.change(|entry| entry.names = (user.to_owned(), group.to_owned()))
    }

    /// The last entry's time: seconds (rounded down) and nanoseconds above them.
    pub fn mtime(self, seconds: i64, nanoseconds: u32) -> Self {
        self.change(|entry| entry.mtime = (seconds, nanoseconds))
    }

    /// One more extended attribute on the last entry.
    pub fn xattr(self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.pax([b"SCHILY.xattr.", name.as_ref()].concat(), value)
    }

    /// One more PAX record on the last entry.
    pub fn pax(self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        let record = (key.as_ref().to_vec(), value.as_ref().to_vec());
        self.change(|entry| entry.records.push(record))
    }

    /// The bytes of the last entry's PAX header, in place of its records.
    pub fn raw_pax(self, bytes: impl AsRef<[u8]>) -> Self {
        self.change(|entry| entry.raw_records = Some(bytes.as_ref().to_vec()))
    }

    /// The last entry's name verbatim: no slash added.
    pub fn named(self, path: impl AsRef<[u8]>) -> Self {
        self.change(|entry| entry.path = path.as_ref().to_vec())
    }

    /// The last entry in GNU's way: `L` and `K` members, binary numbers.
    pub fn gnu(self) -> Self {
        self.change(|entry| entry.style = Style::Gnu)
    }

    /// The size the last entry claims, whatever follows.
    pub fn claim_size(self, size: u64) -> Self {
        self.change(|entry| entry.size = Some(size))
    }

    /// Bytes at an offset of the last entry's header; the checksum is right again afterwards.
    pub fn patch(self, offset: usize, bytes: impl AsRef<[u8]>) -> Self {
        let patch = (offset, bytes.as_ref().to_vec());
        self.change(|entry| entry.patches.push(patch))
    }

    /// A wrong checksum in the last entry's header.
    pub fn bad_checksum(self) -> Self {
        self.change(|entry| entry.checksum_off_by = 1)
    }

    /// What stands after the last entry, in place of two zero blocks.
    pub fn end(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.end = bytes.as_ref().to_vec();
        self
    }

    /// The archive.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        for part in &self.parts {
            match part {
                Part::Entry(entry) => tar.extend(entry.encode()),
                Part::Raw(bytes) => tar.extend(bytes),
            }
        }
        tar.extend(&self.end);
        tar
    }

    /// The digest of the archive: the layer's diff id.
    pub fn diff_id(&self) -> String {
        super::digest(&self.tar())
    }
}

impl From<Layer> for Vec<u8> {
    fn from(layer: Layer) -> Self {
        layer.tar()
    }
}

impl From<&Layer> for Vec<u8> {
    fn from(layer: &Layer) -> Self {
        layer.tar()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tar_crate_reads_what_the_builder_wrote() {
        let long = format!("dir/{}", "n".repeat(200));
        let layer = Layer::new()
            .dir("dir", 0o1777)
            .file(&long, "abc")
            .owner(3_000_000, 4)
            .mtime(-2, 500_000_000)
            .xattr("user.x", b"a\0b")
            .symlink("../up", "/abs")
            .file(b"caf\xe9".as_slice(), "")
            .gnu()
            .hardlink("h", &long)
            .gnu();
        let bytes = layer.tar();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let pax: Vec<String> = entry
                .pax_extensions()
                .unwrap()
                .into_iter()
                .flatten()
                .map(|record| record.unwrap().key().unwrap().to_owned())
                .collect();
            seen.push((entry.path_bytes().into_owned(), entry.header().uid().unwrap(), pax));
        }
        assert_eq!(seen.len(), 5);
        assert_eq!(seen[1].0, long.as_bytes());
        assert_eq!(seen[1].2, ["SCHILY.xattr.user.x", "path", "uid", "mtime"]);
        assert_eq!(seen[2].0, b"../up");
        assert_eq!(seen[3].0, b"caf\xe9");
    }

    #[test]
    fn text_and_calls_make_the_same_layer() {
        let text = Layer::text("drwxr-xr-x 0:0 etc/\n-rwsr-xr-x 1:2 etc/su \"x\" user.a=\"b\"\n");
        let calls = Layer::new()
            .dir("etc", 0o755)
            .file("etc/su", "x")
            .mode(0o4755)
            .owner(1, 2)
            .xattr("user.a", "b");
        assert_eq!(text.tar(), calls.tar());
    }

    #[test]
    fn markers_are_named_by_the_spec() {
        let tar = Layer::new().whiteout("a/b").whiteout("c").opaque("d").opaque("").tar();
        let names: Vec<_> =
            crate::tarball::read(&tar).unwrap().into_iter().map(|member| member.path).collect();
        assert_eq!(
            names,
            [&b"a/.wh.b"[..], b".wh.c", b"d/.wh..wh..opq", b".wh..wh..opq"].map(<[u8]>::to_vec)
        );
    }
}
