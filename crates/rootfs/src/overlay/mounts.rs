//! What is mounted, and which overlays, from `/proc/self/mountinfo`.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use layer_format::layer::EntryPath;
use rustix::fs::{CWD, Mode, OFlags};

use crate::error::Error;

/// An overlay that is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// The directory that it is mounted on.
    pub point: PathBuf,
    /// Its source, as the list of mounts has it.
    pub source: String,
    /// The paths of its layers, top first. In the old form of options, paths with colons are ambiguous.
    pub lowers: Vec<PathBuf>,
    /// Its upper directory, if it is writable.
    pub upper: Option<PathBuf>,
    /// The kernel's working directory, if it is writable.
    pub work: Option<PathBuf>,
}

/// A place where something is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// An absolute path.
    pub(crate) point: PathBuf,
    /// Major and minor number of the file system.
    pub(crate) device: (u32, u32),
    /// The type of the file system, as the kernel names it.
    pub(crate) kind: Vec<u8>,
}

/// All mounts that this process sees, in the order of their mounting.
pub(crate) fn mount_points() -> Result<Vec<MountPoint>, Error> {
    Ok(read()?.split(|&byte| byte == b'\n').filter_map(mount_point).collect())
}

/// All overlays that this process sees, in the order of their mounting.
///
/// # Errors
/// [`Error::Io`] if the list can't be read, for example without /proc.
pub fn mounts() -> Result<Vec<Mounted>, Error> {
    Ok(lines(&read()?).filter_map(|(_, overlay)| overlay).collect())
}

/// The overlay that is mounted on the directory `point`, an absolute path without links. `None` if there is none, or something
/// else is mounted over it.
///
/// # Errors
/// [`Error::Io`] if the list can't be read, for example without /proc.
pub fn mounted_on(point: &Path) -> Result<Option<Mounted>, Error> {
    Ok(last_on(&read()?, point))
}

fn read() -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Io {
        path: EntryPath::root(),
        operation: "reading the list of mounts",
        source,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, "/proc/self/mountinfo", flags, Mode::empty());
    let mut text = vec![];
    File::from(file.map_err(|errno| failed(errno.into()))?)
        .read_to_end(&mut text)
        .map_err(failed)?;
    Ok(text)
}

fn last_on(text: &[u8], point: &Path) -> Option<Mounted> {
    lines(text).filter(|(place, _)| place == point).last()?.1
}

/// The path of each mount, and the overlay if it is one.
fn lines(text: &[u8]) -> impl Iterator<Item = (PathBuf, Option<Mounted>)> {
    text.split(|&byte| byte == b'\n').filter_map(parse)
}

/// Parses a line: numbers, root, mount point, options, `-`, type, source, options of the file system.
fn parse(line: &[u8]) -> Option<(PathBuf, Option<Mounted>)> {
    let mut fields = line.split(|&byte| byte == b' ');
    let point = path(unescaped(fields.nth(4)?));
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    if fields.next()? != b"overlay" {
        return Some((point, None));
    }
    let source = String::from_utf8_lossy(&unescaped(fields.next()?)).into_owned();
    let mut mounted = Mounted { point, source, lowers: vec![], upper: None, work: None };
    for option in fields.next()?.split(|&byte| byte == b',') {
        let Some(equals) = option.iter().position(|&byte| byte == b'=') else { continue };
        let value = unescaped(&option[equals + 1..]);
        match &option[..equals] {
            b"lowerdir" => mounted.lowers.extend(split(&value).map(path)),
            b"lowerdir+" => mounted.lowers.push(path(value)),
            b"upperdir" => mounted.upper = Some(path(value)),
            b"workdir" => mounted.work = Some(path(value)),
            _ => {}
        }
    }
    Some((mounted.point.clone(), Some(mounted)))
}

fn mount_point(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (major, minor) = std::str::from_utf8(fields.nth(2)?).ok()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let point = path(unescaped(fields.nth(1)?));
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
    Some(MountPoint { point, device, kind })
}

fn path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

/// Splits at colons. A backslash makes the next byte part of the path.
fn split(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let mut paths = vec![vec![]];
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        match (byte, paths.last_mut()) {
            (b':', _) => paths.push(vec![]),
            (b'\\', Some(last)) => last.extend(bytes.next()),
            (_, Some(last)) => last.push(byte),
            (_, None) => {}
        }
    }
    paths.into_iter()
}

/// Undoes the list's own escapes: a backslash and three octal digits.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let value = octal(rest);
        plain.push(value.unwrap_or(byte));
        rest = if value.is_some() { &rest[4..] } else { after };
    }
    plain
}

fn octal(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"\\")?.get(..3)?;
    let text = std::str::from_utf8(digits).ok().filter(|it| it.bytes().all(|b| b.is_ascii_digit()));
    u8::from_str_radix(text?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:35 / /a\040b rw shared:1 - overlay app:1 rw,lowerdir+=/l\0541,lowerdir+=/l/2,upperdir=/u\054p,workdir=/w,userxattr
41 22 0:36 / /old ro - overlay none ro,lowerdir=a\134:b:c
42 22 0:37 / /below rw - overlay none rw,lowerdir=/l,upperdir=/u,workdir=/w
43 42 0:38 / /below rw - tmpfs tmpfs rw
1 2 3
";

    fn on(point: &str) -> Option<Mounted> {
        last_on(TEXT, Path::new(point))
    }

    #[test]
    fn an_overlay_is_found_by_where_it_is_mounted() {
        let mounted = on("/a b").unwrap();
        assert_eq!(mounted.source, "app:1");
        assert_eq!(mounted.lowers, [PathBuf::from("/l,1"), "/l/2".into()]);
        assert_eq!(mounted.upper, Some("/u,p".into()));
        assert_eq!(mounted.work, Some("/w".into()));
        assert_eq!(lines(TEXT).filter_map(|(_, overlay)| overlay).count(), 3);
    }

    #[test]
    fn every_mount_is_known_by_its_place_its_device_and_its_kind() {
        let mount_points: Vec<_> =
            TEXT.split(|&byte| byte == b'\n').filter_map(mount_point).collect();
        assert_eq!(mount_points.len(), 5);
        let last = MountPoint { point: "/below".into(), device: (0, 38), kind: b"tmpfs".to_vec() };
        assert_eq!(mount_points[4], last);
        assert_eq!(mount_points[1].point, PathBuf::from("/a b"));
    }

    #[test]
    fn old_options_hold_all_layers_in_one() {
        assert_eq!(on("/old").unwrap().lowers, [PathBuf::from("a:b"), "c".into()]);
    }

    #[test]
    fn what_is_mounted_over_an_overlay_hides_it() {
        for point in ["/below", "/", "/nothing"] {
            assert_eq!(on(point), None, "{point}");
        }
    }
}
