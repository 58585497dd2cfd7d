//! The `snapshot` command: what has changed in a directory, as a layer.
//!
//! The data flows in one direction. If the directory is a mounted overlay, only its upper directory is scanned, which holds the
//! changes and nothing else (`overlay`).
//!
//! ```text
//! lib ──► base        what was there before: a tree, from an image, a directory or nothing
//!     ──► scan        what is there now
//!     ──► checksum    contents, where nothing else tells a difference (--checksum)
//!     ──► layer       the differences as a layer; a file that may change is read whole first (held)
//!         or list     the differences, a line each (--list)
//! ```
//!
//! ```
//! use clap::Parser as _;
//!
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("new"), "text")?;
//! let args = ["snapshot", "--list", "--base", "scratch", dir.path().to_str().unwrap_or_default()];
//! let mut io = cli::Io::memory("");
//! snapshot::run(&snapshot::Args::parse_from(args), &mut io)?;
//! assert_eq!(io.written(), b"A .\nA new\n");
//! # Ok::<(), anyhow::Error>(())
//! ```

mod base;
mod checksum;
mod held;
mod layer;
mod list;
mod overlay;
mod scan;
mod volumes;

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cli::text::clean_path;
use cli::{Failure, Form, Globs, Io, usage};
use image::{Choice, Location};
use layer_format::Platform;
use layer_format::layer::{EntryPath, Timestamp};
use report::{Look, look};
use rootfs::{
    Attribute, Attributes, ChangeKind, Diff, DiffOptions, Difference, IdMaps, IdRange, Identity,
    Known, LeaveOut, Mounts, Root, UpperChanges,
};
use store::{Origin, Store};

use crate::base::{Base, BaseName, BaseOptions, Wanted};
use crate::layer::How;
use crate::overlay::UpperDir;
use crate::scan::Scanner;
use crate::volumes::Volumes;

/// Write what has changed in a directory as a layer
///
/// Compares a directory with what it was, an image or another directory, and writes an uncompressed layer to standard
/// output for `commit`. Without --base it is compared with the image that it was unpacked from. No file is read unless its
/// type, mode, owner, size, mtime, link target or extended attributes tell that it has changed.
///
/// Of a mounted overlay, if no base is named, only the upper directory is looked at, which takes time for what has changed
/// and not for the image. Without root, owners, devices and privileged attributes that unpack could not set are taken from the base.
///
/// Volumes of the image are for data that is no part of it: what has changed in them, and the directory of a volume itself, is left
/// out of the layer, and stays as the base has it, even if it is nothing.
#[derive(clap::Parser, Debug)]
#[command(name = "snapshot", version, after_help = cli::examples(&[
    ("snapshot rootfs --base nginx | commit -t mine:1", "What has changed in a directory, as a new image"),
    ("snapshot --list rootfs", "Only say what has changed since unpack"),
    ("snapshot rootfs --base scratch | commit -t first --base scratch", "A directory as the first layer of an image"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "flags are what a command line has")]
pub struct Args {
    /// The directory
    dir: PathBuf,
    /// What it was: an image of the store, the path of an archive, an OCI layout or a directory, or scratch for nothing. archive:,
    /// layout: (also for what skopeo wrote) or dir: (a root file system) before a path forces the kind
    #[arg(long, value_name = "BASE")]
    base: Option<String>,
    /// DIR is the upper directory of an overlay mount. Of one of union's, the base is known
    #[arg(long, conflicts_with = "checksum")]
    upper: bool,
    /// Compare contents too where size and time are the same
    #[arg(long)]
    checksum: bool,
    /// What may be different without being a change
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',',
        value_parser = ["mode", "owner", "mtime", "xattrs", "links"])]
    ignore: Vec<String>,
    /// Leave out paths that match a pattern, as .gitignore writes them; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out whatever is mounted in the directory, files too; what the base has there stays
    ///
    /// Mounts of proc, sysfs and other file systems that keep no files are always left out.
    #[arg(short = 'x', long)]
    one_file_system: bool,
    /// Take what has changed in volumes of the image as well
    #[arg(long)]
    keep_volumes: bool,
    /// Latest time that a file of the layer has, in seconds since 1970
    ///
    /// A later one becomes this one, unless it is the base's: the same files made at another time are the same layer.
    #[arg(long, value_name = "SECONDS", env = "SOURCE_DATE_EPOCH", allow_negative_numbers = true)]
    clamp_mtime: Option<i64>,
    /// Read up to N times more what changes meanwhile, and leave out what vanishes
    ///
    /// Without it, either ends the snapshot with an error. A file's bytes are always those of one moment: with it, a file of
    /// more than 1 MiB is held in a temporary file before it is written.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "list")]
    retry_changed: u32,
    /// Whose new files are; as a plain user without it root's
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    default_owner: Option<(u32, u32)>,
    /// The ids of the directory are those of a user namespace, as CONTAINER:HOST:SIZE says, for example 0:100000:65536; may be given
    /// several times
    ///
    /// The layer has the container's ids, in access control lists and file capabilities too. An id in no range is an error.
    /// Without --gid-map the groups are mapped likewise. A base that is a directory has such ids too.
    #[arg(long, value_name = "RANGE")]
    uid_map: Vec<IdRange>,
    /// The same for groups
    #[arg(long, value_name = "RANGE")]
    gid_map: Vec<IdRange>,
    /// Print what has changed instead: A, C or D and the path
    #[arg(long)]
    list: bool,
    /// With --list, print JSON, with the attributes that are different
    #[arg(long, requires = "list")]
    json: bool,
    /// With --list, print paths as they are, each line ended by NUL
    #[arg(short = '0', long, requires = "list", conflicts_with = "json")]
    null: bool,
    /// Which image of an archive that holds several: a name or a digest
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Platform of a multi-platform base, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<rootfs::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
///
/// # Errors
/// Wrong usage if it isn't known what the directory was, `rootfs::Error::Changed` if the directory doesn't keep still, and
/// whatever opening the base or writing the layer fails with.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    if !args.list {
        io.output.binary()?;
    }
    let ids = id_maps(args)?;
    let root = Root::open(&args.dir)?.with_ids(ids);
    let upper = find_upper(args, &root)?;
    let globs = Globs::parse("--exclude", &args.exclude)?;
    let named = args.base.as_deref().map(BaseName::from);
    let is_store_needed = match &named {
        Some(name) => matches!(name, BaseName::At(Location::Stored(_))),
        // The changes of an overlay are found without knowing what is below.
        None => upper.is_none(),
    };
    let store = base::open_store(args.common.store.as_deref(), is_store_needed)?;
    match upper {
        Some(upper) => of_upper(args, &upper, store.as_ref(), &globs, io),
        None => of_directory(args, &root, store.as_ref(), &globs, io),
    }
}

/// The upper directory to look at: DIR itself if it is one, or that of the overlay mounted on DIR.
fn find_upper(args: &Args, root: &Root) -> anyhow::Result<Option<UpperDir>> {
    if args.upper {
        return Ok(Some(UpperDir::unmounted(root)?));
    }
    // A base that was named need not be what is below the mount. Then everything is compared.
    if args.checksum || args.base.is_some() {
        return Ok(None);
    }
    UpperDir::of_mount(&args.dir, root)
}

/// Compares a whole directory with its base.
fn of_directory(
    args: &Args,
    root: &Root,
    store: Option<&Store>,
    globs: &Globs,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let origin = store.and_then(|store| base::origin(root, store));
    let name = args.base.as_deref().map(BaseName::from);
    let name = name
        .or_else(|| origin.as_ref().map(BaseName::of_origin))
        .ok_or_else(|| unknown(&args.dir))?;
    let options = base_options(args, store)?;
    if options.ids.is_none() {
        doubt_ids(&args.dir, origin.as_ref(), io);
    }
    let Base { tree, manifest, volumes, contents } = options.find(name, io)?;
    let is_out = is_out(globs, &volumes);
    let leave_out = leave_out(globs, &volumes, &is_out);
    let scanner = scanner(args, root, leave_out);
    // Contents are compared by reading files as the scan found them, so that nothing may be left out of it.
    let known = tree.as_ref().filter(|_| !args.checksum);
    let known = known.map(|tree| Known::new(tree, root, ignored(&args.ignore)));
    let scan = scanner.scan(known.as_ref())?;
    scan::say_left_out(&scan, &volumes, io);
    let identity = without_lacks(Identity::of_scan(&scan), origin.as_ref());
    let options = diff_options(args, identity, leave_out);
    let mut diff = Diff::new(tree.as_ref(), &scan, options)
        .map_err(|error| explain(error, "leave it out with --exclude"))?;
    if args.checksum {
        checksum::compare(&mut diff, contents, &io.progress)?;
    }
    let diff = diff.finish();
    cli::interrupt::check()?;
    if let Some(form) = list_form(args) {
        return list::write(diff.differences(), form, io);
    }
    let may_hide = |difference: &Difference<'_>| difference.kind != ChangeKind::Added;
    let (n_retries, latest) = (args.retry_changed, latest(args));
    let how = How { n_retries, may_hide: &may_hide, was_there: &|_| false, latest };
    layer::write(diff.differences(), manifest, how, io).map_err(|error| scanner.hint_mount(error))
}

/// Writes what an overlay's upper directory holds.
fn of_upper(
    args: &Args,
    upper: &UpperDir,
    store: Option<&Store>,
    globs: &Globs,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let name = args.base.as_deref().map(BaseName::from).or_else(|| upper.noted(store));
    let base = match name {
        Some(name) => base_options(args, store)?.find_below_upper(name, io)?,
        None => Base::SCRATCH,
    };
    let is_out = is_out(globs, &base.volumes);
    let leave_out = leave_out(globs, &base.volumes, &is_out);
    let scan = scanner(args, upper.root(), leave_out).scan(None)?;
    scan::say_left_out(&scan, &base.volumes, io);
    let options = diff_options(args, Identity::of_process(upper.root()), leave_out);
    let form = upper.form();
    let changes = || UpperChanges::new(&scan, form, base.tree.as_ref(), options.clone());
    // What no layer can hold is refused before anything is written.
    let hint = "name what was there with --base dir:LOWER, so that all files are compared";
    changes().try_for_each(|it| it.map(drop)).map_err(|error| explain(error, hint))?;
    let Some(list_form) = list_form(args) else {
        let may_hide = |difference: &Difference<'_>| upper.may_hide(difference);
        // Of an upper directory that isn't mounted nobody knows: all counts as new.
        let was_there = |path: &EntryPath| upper.was_there(path);
        let (n_retries, latest) = (args.retry_changed, latest(args));
        let how = How { n_retries, may_hide: &may_hide, was_there: &was_there, latest };
        return layer::write(changes().filter_map(Result::ok), base.manifest, how, io);
    };
    if let Some(tree) = &base.tree {
        let diff = Diff::of_upper(tree, &scan, form, options).finish();
        return list::write(diff.differences(), list_form, io);
    }
    if args.base.is_none() && !upper.has_lowers() {
        io.say("what was there before isn't known: say so with --base, or all counts as new");
        return list::write(changes().filter_map(Result::ok), list_form, io);
    }
    let changes = changes().filter_map(Result::ok);
    list::write(changes.filter_map(|it| upper.judge(it)), list_form, io)
}

fn id_maps(args: &Args) -> anyhow::Result<Option<IdMaps>> {
    Ok(IdMaps::of(&args.uid_map, &args.gid_map).map_err(usage)?)
}

/// The error for a directory of which the store remembers nothing.
fn unknown(dir: &Path) -> Failure {
    let dir = clean_path(dir);
    usage(format!("{dir}: the store has no note of what this directory was"))
        .hint("say so with --base IMAGE, --base DIR or --base scratch")
}

fn base_options<'a>(args: &Args, store: Option<&'a Store>) -> anyhow::Result<BaseOptions<'a>> {
    Ok(BaseOptions {
        ids: id_maps(args)?,
        store,
        choice: Choice { name: args.image.clone(), platform: args.platform.clone() },
        mounts: mounts(args),
        default_owner: args.default_owner,
        with_contents: args.checksum,
        keeps_volumes: args.keep_volumes,
        wanted: if args.list { Wanted::All } else { Wanted::Root },
    })
}

fn scanner<'a>(args: &'a Args, root: &'a Root, leave_out: Option<LeaveOut<'a>>) -> Scanner<'a> {
    Scanner { dir: &args.dir, root, leave_out, mounts: mounts(args), n_retries: args.retry_changed }
}

/// Tells which paths are left out, with all below them.
fn is_out<'a>(globs: &'a Globs, volumes: &'a Volumes) -> impl Fn(&[u8], bool) -> bool + Sync + 'a {
    |path, is_directory| volumes.match_path(path) || globs.match_path(path, is_directory)
}

/// The same, if any path can be left out.
fn leave_out<'a>(globs: &Globs, volumes: &Volumes, is_out: LeaveOut<'a>) -> Option<LeaveOut<'a>> {
    (!globs.is_empty() || !volumes.is_empty()).then_some(is_out)
}

/// The latest time that the layer may have where the base hasn't.
fn latest(args: &Args) -> Option<Timestamp> {
    args.clamp_mtime.map(|seconds| Timestamp { seconds, nanos: 0 })
}

fn mounts(args: &Args) -> Mounts {
    if args.one_file_system { Mounts::Pass } else { Mounts::Enter }
}

fn diff_options<'a>(
    args: &Args,
    identity: Identity,
    leave_out: Option<LeaveOut<'a>>,
) -> DiffOptions<'a> {
    DiffOptions {
        ignore: ignored(&args.ignore),
        identity,
        default_owner: args.default_owner,
        leave_out,
    }
}

fn ignored(names: &[String]) -> Attributes {
    Attribute::ALL
        .into_iter()
        .filter(|attribute| names.iter().any(|it| it == attribute.name()))
        .collect()
}

/// How changes are listed; `None` if a layer is to be written.
fn list_form(args: &Args) -> Option<Form> {
    args.list.then(|| Form::of(args.json, args.null))
}

/// An identity without what `unpack` could not make or set in the directory, as the store remembers it.
fn without_lacks(mut identity: Identity, origin: Option<&Origin>) -> Identity {
    let Some(origin) = origin else { return identity };
    if origin.lacks_devices {
        identity = identity.without_devices();
    }
    if origin.lacks_xattrs {
        identity = identity.without_xattrs();
    }
    identity
}

/// Warns of a directory that was unpacked with other ids than the image's, of which the user says nothing. In a user namespace
/// that has these ids they are the image's own, and its root is root's.
fn doubt_ids(dir: &Path, origin: Option<&Origin>, io: &Io<'_>) {
    let Some(maps) = origin.and_then(|origin| origin.id_maps.as_deref()) else { return };
    if std::fs::metadata(dir).is_ok_and(|root| root.uid() != 0) {
        let dir = clean_path(dir);
        io.warn(&format!("{dir} was unpacked with {maps}: without that, every owner is another"));
    }
}

/// Adds a hint to an error about something that no layer can hold.
fn explain(error: rootfs::Error, hint: &str) -> anyhow::Error {
    match error {
        rootfs::Error::Unfit { .. } => Failure::from_cause(error).hint(hint).into(),
        error => error.into(),
    }
}

/// Parses a value of `--default-owner`.
fn owner(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.parse().ok().filter(|&id| id != u32::MAX);
    let owner = text.split_once(':').and_then(|(uid, gid)| Some((number(uid)?, number(gid)?)));
    owner.ok_or_else(|| "two numbers are needed, as 0:0".to_owned())
}
