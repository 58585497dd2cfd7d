//! Of an overlay mount only the upper directory: it holds what has changed, and nothing else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::{Failure, Io, usage};
use layer_format::Digest;
use layer_format::layer::{Change, Entry, EntryPath};
use rootfs::{Attributes, Difference, Root, Upper, What};
use store::Location;

use crate::base;
use crate::glob::Globs;
use crate::{Args, form, layer, list, options, say_sockets, scan};

/// An upper directory, and what is known of those below it.
#[derive(Debug)]
pub(crate) struct UpperDir {
    root: Root,
    /// The highest first; none where only the upper directory was named.
    lower: Vec<Root>,
}

/// What `/proc/self/mountinfo` says of an overlay.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mount {
    upper: Option<PathBuf>,
    lower: Vec<PathBuf>,
}

/// The upper directory that is meant: named as such, or that of the overlay mounted at the directory.
pub(crate) fn find(args: &Args, dir: &Root) -> anyhow::Result<Option<UpperDir>> {
    if args.upper {
        return Ok(Some(UpperDir { root: dir.try_clone()?, lower: vec![] }));
    }
    if args.checksum || !is_about_image(args)? {
        return Ok(None);
    }
    let Ok(path) = fs::canonicalize(&args.dir) else { return Ok(None) };
    let mountinfo = fs::read("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let Some(Mount { upper: Some(upper), lower }) = mounted(&mountinfo, &path) else {
        return Ok(None);
    };
    match Root::open(&upper) {
        Ok(root) => {
            let lower = lower.iter().map(|path| Root::open(path)).collect::<Result<_, _>>();
            Ok(Some(UpperDir { root, lower: lower.unwrap_or_default() }))
        }
        // Inside a container its upper directory can't be seen; comparing all with a base still can be done.
        Err(_) if args.base.is_some() => Ok(None),
        Err(error) => Err(Failure::from_cause(error).hint("say what it was with --base").into()),
    }
}

/// Whether the base is an image, or unsaid: only then the upper directory tells the difference from it.
fn is_about_image(args: &Args) -> anyhow::Result<bool> {
    Ok(match args.base.as_deref() {
        None => true,
        Some("scratch") => false,
        Some(text) => match Location::from(text) {
            Location::Dir(_) => false,
            Location::Path(path) => !base::is_plain_directory(&path)?,
            _ => true,
        },
    })
}

/// Writes or lists what the upper directory holds.
pub(crate) fn snapshot(args: &Args, upper: &UpperDir, io: &mut Io<'_>) -> anyhow::Result<()> {
    let globs = Globs::parse(&args.exclude)?;
    let is_out = |path: &[u8], is_directory| globs.match_path(path, is_directory);
    let leave_out: Option<rootfs::LeaveOut<'_>> = (!globs.is_empty()).then_some(&is_out);
    let manifest = manifest(args, upper, io)?;
    let scan = scan(args, &upper.root, leave_out)?;
    say_sockets(&scan, io);
    // What no layer can hold is refused before anything is written.
    Upper::new(&scan, options(args, leave_out)).try_for_each(|it| it.map(drop)).map_err(explain)?;
    let changes = Upper::new(&scan, options(args, leave_out)).filter_map(Result::ok);
    let changes = changes.map(|difference| upper.judge(difference));
    match form(args) {
        Some(form) => list::write(changes, form, io),
        None => layer::write(changes, manifest, io),
    }
}

fn explain(error: rootfs::Error) -> anyhow::Error {
    match error {
        rootfs::Error::Unfit { .. } => {
            let hint = "name what was there with --base dir:LOWER, so that all files are compared";
            Failure::from_cause(error).hint(hint).into()
        }
        error => error.into(),
    }
}

/// The manifest of the image below: the one that was named, or the only lower directory's own.
fn manifest(args: &Args, upper: &UpperDir, io: &mut Io<'_>) -> anyhow::Result<Option<Digest>> {
    let store = base::open_store(args)?;
    let place = match (args.base.as_deref(), &upper.lower[..]) {
        (Some("scratch"), _) => return Ok(None),
        (Some(text), _) => Location::from(text),
        (None, [lower]) => match base::noted(lower, store.as_ref()) {
            Some(place) => place,
            None => return Ok(None),
        },
        (None, _) => return Ok(None),
    };
    if matches!(place, Location::Dir(_) | Location::Layer(_)) {
        return Err(usage("the base of an upper directory is an image").into());
    }
    let mut source = base::open(&place, store.as_ref(), io)?;
    let image = base::choose(&mut source, args)?;
    source.finish()?;
    Ok(image.manifest.map(|manifest| manifest.descriptor().digest))
}

impl UpperDir {
    /// Tells what was there before from what is new, as far as that is known.
    fn judge<'a>(&self, mut difference: Difference<'a>) -> Difference<'a> {
        if let Change::Add(Entry { path, .. }) = &difference.change
            && self.was_there(path)
        {
            difference.what = What::Changed(Attributes::default());
        }
        difference
    }

    fn was_there(&self, path: &EntryPath) -> bool {
        let seen = self.lower.iter().find_map(|lower| lower.has_beneath(path));
        seen.unwrap_or(false)
    }
}

/// The overlay that is mounted at `path`; of several on top of each other the last.
fn mounted(mountinfo: &[u8], path: &Path) -> Option<Mount> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    // 36 35 98:0 /root /mount/point options optional-fields… - type source options
    let mut overlay = lines.filter_map(|line| {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let rest = words.iter().position(|&word| word == b"-")?;
        let is_it = unescape(words.get(4)?) == path.as_os_str().as_bytes();
        is_it.then(|| (words.get(rest + 1).copied(), words.get(rest + 3).copied()))
    });
    match overlay.next_back()? {
        (Some(b"overlay"), Some(options)) => Some(parse(options)),
        _ => None,
    }
}

/// `rw,lowerdir=A:B,upperdir=C,workdir=D`; newer kernels write a `lowerdir+=` for each.
fn parse(options: &[u8]) -> Mount {
    let mut mount = Mount::default();
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(&unescape(bytes)));
    for option in options.split(|&byte| byte == b',') {
        if let Some(upper) = option.strip_prefix(b"upperdir=") {
            mount.upper = Some(path(upper)).filter(|path| path.is_absolute());
        } else if let Some(lower) = option.strip_prefix(b"lowerdir+=") {
            mount.lower.push(path(lower));
        } else if let Some(lower) = option.strip_prefix(b"lowerdir=") {
            mount.lower.extend(lower.split(|&byte| byte == b':').map(path));
        }
    }
    mount
}

/// Undoes the kernel's `\040` for a blank, and the like.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &[u8] = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 0:35 / /mnt/a\\040b rw,relatime - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/u\\054p,workdir=/w
41 22 0:36 / /ro rw - overlay none ro,lowerdir+=/l1,lowerdir+=/l2
42 22 0:37 / /mnt/tmp rw - overlay none rw,lowerdir=/l,upperdir=/u,workdir=/w
43 42 0:38 / /mnt/tmp rw - tmpfs tmpfs rw
";

    #[track_caller]
    fn check(path: &str, expected: Option<(Option<&str>, &[&str])>) {
        let expected = expected.map(|(upper, lower)| Mount {
            upper: upper.map(PathBuf::from),
            lower: lower.iter().map(PathBuf::from).collect(),
        });
        assert_eq!(mounted(MOUNTINFO, Path::new(path)), expected, "{path}");
    }

    #[test]
    fn an_overlay_is_found_by_where_it_is_mounted() {
        check("/mnt/a b", Some((Some("/u,p"), &["/l1", "/l2"])));
        check("/ro", Some((None, &["/l1", "/l2"])));
        check("/mnt/tmp", None);
        check("/", None);
        check("/mnt", None);
    }
}
