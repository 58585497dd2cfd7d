//! The union attached to its directory, listed, and unmounted again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Code, Failure, Output, Table};
use rootfs::Root;
use rootfs::overlay::{self, Attached, Mount, Mounted, Overlay, mounted_on, mounts};
use store::{DirectoryId, Extracted, Reach, Store};
use stream::archive::Image;

use crate::cache::Stack;
use crate::directory::{self, MadeDir};
use crate::mount_error::explain;
use crate::upper::{Upper, is_work, origin};

/// Checks, before anything is done, that there is a directory or a command to mount for, and that the user may mount; makes
/// the directory if it is missing.
///
/// # Errors
/// Wrong usage, a lack of rights, and a union that is mounted there already.
pub(crate) fn check(point: Option<&Path>, command: &[OsString]) -> anyhow::Result<Option<MadeDir>> {
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
    let dir = MadeDir::make(point)?;
    if !dir.is_new() {
        refuse_second(point)?;
    }
    Ok(Some(dir))
}

/// Refuses a second union on the same directory: it would hide the first.
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

/// Mounts the layers without attaching the mount anywhere yet.
pub(crate) fn mount(source: &str, stack: &Stack, upper: Option<&Upper>) -> anyhow::Result<Mount> {
    let lowers = stack.open()?;
    let upper = upper.map(|upper| overlay::WritableLayer { dir: &upper.dir, work: &upper.work });
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

/// Attaches the union to a directory. The store is told of it if it isn't the mount that it knows.
pub(crate) fn attach(
    mount: Mount,
    point: &Path,
    stack: &Stack,
    store: &Store,
    reach: Reach,
) -> anyhow::Result<()> {
    match mount.attach(point).map_err(explain)? {
        Attached::AsItWas => Ok(()),
        Attached::Anew => stack.note(store, Root::open(point)?, reach),
    }
}

/// Records in the store which image the union on a directory shows, for a snapshot of it.
pub(crate) fn note_image(point: &Path, store: &Store, image: &Image) {
    let path = std::path::absolute(point).unwrap_or_else(|_| point.to_owned());
    let Some(origin) = origin(image, path) else { return };
    if let Ok(target) =
        File::open(point).map_err(drop).and_then(|it| DirectoryId::of(it).map_err(drop))
    {
        // A snapshot can also be told the image.
        store.note_origin(&target, &origin).ok();
    }
}

/// Unmounts the union on a directory, and removes the kernel's working directory.
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
    mounted.work.filter(|work| is_work(work)).map_or(Ok(()), |work| directory::remove(&work))
}

/// The mounted unions: the overlays whose layers are in a layer cache.
fn unions() -> anyhow::Result<Vec<Mounted>> {
    Ok(mounts()?.into_iter().filter(is_union).collect())
}

/// The union that is mounted on a directory.
fn union_on(place: &Path) -> anyhow::Result<Option<Mounted>> {
    Ok(mounted_on(place)?.filter(is_union))
}

fn is_union(mounted: &Mounted) -> bool {
    mounted.lowers.iter().any(|lower| Extracted::is_one(lower))
}

/// Writes a table of the mounted unions: where each is, which image it shows, and its writable layer.
pub(crate) fn list(output: &mut Output) -> anyhow::Result<()> {
    let mut table = Table::new(&["DIRECTORY", "IMAGE", "UPPER"]);
    for union in unions()? {
        let upper = union.upper.as_deref().map_or_else(|| "-".to_owned(), clean_path);
        table.row([clean_path(&union.point), union.source, upper]);
    }
    Ok(table.write(output)?)
}
