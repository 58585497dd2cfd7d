//! The union in its place, and taken away again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Code, Failure};
use layer_format::archive::Image;
use rootfs::overlay::{self, Mount, Mounted, Overlay, mounted_on, mounts};
use rustix::io::Errno;
use store::{DirectoryId, Extracted, Origin, Store};

use crate::cache::{self, Stack};
use crate::fresh::Fresh;
use crate::upper::{Upper, is_work};

/// Checks, before anything is done, that there is something to mount for, and that one may.
pub(crate) fn check(point: Option<&Path>, command: &[OsString]) -> anyhow::Result<Option<Fresh>> {
    let Some(point) = point else {
        return match command {
            [] => Err(cli::usage("a directory or a command is missing")
                .hint("union IMAGE DIR, or union IMAGE -- COMMAND")
                .into()),
            _ => Ok(None),
        };
    };
    if command.is_empty() && !rustix::process::geteuid().is_root() {
        let message = "only root can mount for all to see";
        return Err(Failure::new(Code::Failed, message)
            .hint("union IMAGE DIR -- COMMAND mounts it for one command")
            .into());
    }
    let fresh = Fresh::make(point)?;
    if !fresh.is_new() {
        refuse_second(point)?;
    }
    Ok(Some(fresh))
}

/// A second union on the same directory would hide the first.
fn refuse_second(point: &Path) -> anyhow::Result<()> {
    let place = fs::canonicalize(point).with_context(|| clean_path(point))?;
    if union_on(&place)?.is_none() {
        return Ok(());
    }
    let message = format!("{}: a union is mounted there already", clean_path(point));
    Err(Failure::new(Code::Failed, message)
        .hint(format!("union --umount {}", clean_path(point)))
        .into())
}

/// Mounts the layers, nowhere yet.
pub(crate) fn mount(source: &str, stack: &Stack, upper: Option<&Upper>) -> anyhow::Result<Mount> {
    let lowers = stack.open()?;
    let upper = upper.map(|upper| overlay::Upper { dir: &upper.dir, work: &upper.work });
    let overlay = Overlay { source, lowers: &lowers, upper, control: stack.control };
    overlay.mount().map_err(|error| match &error {
        rootfs::Error::Mount { source, .. }
            if upper.is_some() && source.kind() == io::ErrorKind::InvalidInput =>
        {
            let hint =
                "changes are kept on ext4, xfs, btrfs or tmpfs, not on overlays or network drives";
            Failure::from_cause(error).hint(hint).into()
        }
        _ => explain(error),
    })
}

/// Says what to do about a kernel that refuses.
pub(crate) fn explain(error: rootfs::Error) -> anyhow::Error {
    let (rootfs::Error::Mount { source, .. } | rootfs::Error::Unmount { source }) = &error else {
        return error.into();
    };
    let hint = match Errno::from_io_error(source) {
        Some(Errno::NODEV) => "this kernel has no overlayfs: modprobe overlay",
        Some(Errno::PERM) => "that takes root, or a user namespace on Linux 5.11 or later",
        Some(Errno::BUSY) => "a program is still in it: fuser -vm DIR tells which",
        _ => return error.into(),
    };
    Failure::from_cause(error).hint(hint).into()
}

/// Puts the union on a directory, and notes which image it is for a snapshot of it.
pub(crate) fn attach(
    mount: Mount,
    point: &Path,
    store: &Store,
    image: &Image,
) -> anyhow::Result<()> {
    mount.attach(point).map_err(explain).with_context(|| clean_path(point))?;
    let path = std::path::absolute(point).unwrap_or_else(|_| point.to_owned());
    let Some(origin) = origin(image, path) else { return Ok(()) };
    if let Ok(target) =
        File::open(point).map_err(drop).and_then(|it| DirectoryId::of(it).map_err(drop))
    {
        // A help, no need: a snapshot can be told.
        store.note_origin(&target, &origin).ok();
    }
    Ok(())
}

/// What is noted of a directory that shows the image, or has changes to it; nothing of an image without a manifest.
pub(crate) fn origin(image: &Image, path: PathBuf) -> Option<Origin> {
    let manifest = image.manifest.as_ref()?.descriptor().digest;
    Some(Origin {
        manifest,
        name: image.names.first().cloned(),
        path,
        lacks_devices: false,
        lacks_xattrs: false,
    })
}

/// Takes away the union on a directory, and the kernel's working directory with it.
pub(crate) fn unmount(point: &Path) -> anyhow::Result<()> {
    let nothing = || {
        let message = format!("{}: no union is mounted there", clean_path(point));
        Failure::new(Code::NotFound, message).hint("union --list")
    };
    let place = match fs::canonicalize(point) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nothing().into()),
        place => place.with_context(|| clean_path(point))?,
    };
    let mounted = union_on(&place)?.ok_or_else(nothing)?;
    overlay::unmount(&place).map_err(explain).with_context(|| clean_path(point))?;
    mounted.work.filter(|work| is_work(work)).map_or(Ok(()), |work| cache::remove(&work))
}

/// The unions among all overlays.
pub(crate) fn unions() -> anyhow::Result<Vec<Mounted>> {
    Ok(mounts()?.into_iter().filter(is_union).collect())
}

fn union_on(place: &Path) -> anyhow::Result<Option<Mounted>> {
    Ok(mounted_on(place)?.filter(is_union))
}

fn is_union(mounted: &Mounted) -> bool {
    mounted.lowers.iter().any(|lower| Extracted::is_one(lower))
}
