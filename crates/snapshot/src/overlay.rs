//! Of an overlay mount only the upper directory: it holds what has changed, and nothing else.

use std::fs;
use std::path::Path;

use cli::text::clean_path;
use cli::{Explain as _, Failure, Globs, Io, usage};
use image::Location;
use layer_format::layer::{Change, Entry, EntryPath};
use rootfs::overlay::{Mounted, mounted_on};
use rootfs::{Attributes, Diff, Difference, Identity, Root, Upper, UpperForm, What};
use store::{DirectoryId, Store};

use crate::base::{self, Base, Wanted};
use crate::layer::Retries;
use crate::{Args, layer, list, options, say_left_out, scan};

/// An upper directory, and what is known of those below it.
#[derive(Debug)]
pub(crate) struct UpperDir {
    root: Root,
    /// The root of the mount, if it is mounted.
    mount: Option<Root>,
    /// The highest first; none where only the upper directory was named.
    lower: Vec<Root>,
}

/// The upper directory that is meant: named as such, or that of the overlay mounted at the directory.
pub(crate) fn find(args: &Args, dir: &Root) -> anyhow::Result<Option<UpperDir>> {
    if args.upper {
        return Ok(Some(UpperDir { root: dir.try_clone()?, mount: None, lower: vec![] }));
    }
    // A base that was named need not be what is below the mount: then all is compared.
    if args.checksum || args.base.is_some() {
        return Ok(None);
    }
    let Ok(path) = fs::canonicalize(&args.dir) else { return Ok(None) };
    // Without /proc nothing is known of mounts, and nothing needs to be.
    let Ok(Some(Mounted { upper, lowers, .. })) = mounted_on(&path) else { return Ok(None) };
    let Some(upper) = upper else { return Ok(None) };
    if upper.is_relative() {
        return relative(args, &upper);
    }
    // Inside a container its upper directory can't be seen.
    let root = Root::open(&upper).hint("say what it was with --base, and all is compared")?;
    let lower = lowers.iter().map(|path| Root::open(path)).collect::<Result<_, _>>();
    let (mount, lower) = (Some(dir.try_clone()?), lower.unwrap_or_default());
    Ok(Some(UpperDir { root, mount, lower }))
}

/// The mount knows its upper directory by a path from where it was mounted, and nobody knows where that was.
fn relative(args: &Args, upper: &Path) -> anyhow::Result<Option<UpperDir>> {
    let (dir, upper) = (clean_path(&args.dir), clean_path(upper));
    let message = format!(
        "{dir}: its upper directory was named {upper} when it was mounted, which leads nowhere now"
    );
    Err(usage(message)
        .hint("name the upper directory itself with --upper, or what was there with --base")
        .into())
}

/// Writes or lists what the upper directory holds.
pub(crate) fn snapshot(args: &Args, upper: &UpperDir, io: &mut Io<'_>) -> anyhow::Result<()> {
    let globs = Globs::parse(&args.exclude)?;
    let is_out = |path: &[u8], is_directory| globs.match_path(path, is_directory);
    let leave_out: Option<rootfs::LeaveOut<'_>> = (!globs.is_empty()).then_some(&is_out);
    let base = base(args, upper, io)?;
    let scan = scan(args, &upper.root, leave_out, None)?;
    say_left_out(&scan, io);
    let form = upper.form();
    let options = || options(args, Identity::of_process(&upper.root), leave_out);
    let changes = || Upper::new(&scan, form, base.as_ref().and_then(Base::tree), options());
    // What no layer can hold is refused before anything is written.
    changes().try_for_each(|it| it.map(drop)).map_err(explain)?;
    let Some(list_form) = crate::form(args) else {
        let changes = changes().filter_map(Result::ok);
        let may_hide = |difference: &Difference<'_>| upper.may_hide(difference);
        let retries = Retries { n: args.retry_changed, may_hide: &may_hide };
        return layer::write(changes, base.and_then(|it| it.manifest()), retries, io);
    };
    match base.as_ref().and_then(Base::tree) {
        Some(tree) => {
            let diff = Diff::of_upper(tree, &scan, form, options()).finish();
            list::write(diff.differences(), list_form, io)
        }
        None if upper.is_below_unknown(args) => {
            io.say("what was there before isn't known: say so with --base, or all counts as new");
            let changes = changes().filter_map(Result::ok);
            list::write(changes, list_form, io)
        }
        None => {
            let changes = changes().filter_map(Result::ok);
            list::write(changes.filter_map(|it| upper.judge(it)), list_form, io)
        }
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

/// The image below: the one that was named, or noted of the mount, its only lower directory or the upper one. All that it
/// holds need only be known for a list.
fn base(args: &Args, upper: &UpperDir, io: &mut Io<'_>) -> anyhow::Result<Option<Base>> {
    let store = base::open_store(args)?;
    let place = match args.base.as_deref() {
        Some("scratch") => return Ok(Some(Base::Scratch)),
        Some(text) => Location::from(text),
        None => match upper.noted(store.as_ref()) {
            Some(place) => place,
            None => return Ok(None),
        },
    };
    if matches!(place, Location::Dir(_) | Location::Layer(_)) {
        return Err(usage("the base of an upper directory is an image").into());
    }
    let wanted = if args.list { Wanted::All } else { Wanted::Root };
    Ok(Some(base::image(args, &place, store, wanted, io)?.0))
}

impl UpperDir {
    /// The image that is mounted, or was when these changes were made, or that was unpacked to the only lower directory, as
    /// the store remembers it.
    fn noted(&self, store: Option<&Store>) -> Option<Location> {
        let of_mount = self.mount.as_ref().and_then(|mount| base::noted(mount, store));
        let of_lower = || match &self.lower[..] {
            [lower] => base::noted(lower, store),
            _ => None,
        };
        let of_upper = || {
            let image = store?.changed_image(&DirectoryId::of(&self.root).ok()?)?;
            Some(Location::Stored(image.manifest.to_string()))
        };
        of_mount.or_else(of_lower).or_else(of_upper)
    }

    /// Whose marks count: of a mount of the kernel's its own alone.
    fn form(&self) -> UpperForm {
        if self.mount.is_some() { UpperForm::Kernel } else { UpperForm::Any }
    }

    /// Whether nothing can be said of what was there before.
    fn is_below_unknown(&self, args: &Args) -> bool {
        self.lower.is_empty() && args.base.is_none()
    }

    /// Tells what was there before from what is new, as far as the lower directories say. What hides nothing is no change.
    fn judge<'a>(&self, mut difference: Difference<'a>) -> Option<Difference<'a>> {
        match &difference.change {
            Change::Add(Entry { path, .. }) if self.was_there(path) => {
                difference.what = What::Changed(Attributes::default());
            }
            Change::Remove(path) | Change::Opaque(path) if !self.was_there(path) => return None,
            _ => {}
        }
        Some(difference)
    }

    /// Whether there may be something below of a difference's name.
    fn may_hide(&self, difference: &Difference<'_>) -> bool {
        self.lower.is_empty()
            || matches!(&difference.change, Change::Add(entry) if self.was_there(&entry.path))
    }

    fn was_there(&self, path: &EntryPath) -> bool {
        let seen = self.lower.iter().find_map(|lower| lower.has_beneath(path));
        seen.unwrap_or(false)
    }
}
