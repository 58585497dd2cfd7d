//! The `snapshot` command: what has changed in a directory, as a layer.
//!
//! `base` finds out what was there before and `rootfs` what is there now; `layer` and `list` write down the difference. Of
//! an overlay mount only the upper directory is looked at (`overlay`), which holds the changes and nothing else.

mod base;
mod checksum;
mod held;
mod layer;
mod list;
mod overlay;

use std::path::PathBuf;

use anyhow::Context as _;
use cli::{Failure, Form, Globs, Io};
use layer_format::layer::EntryPath;
use layer_format::{Look, Platform, look};
use rootfs::{
    Attribute, Attributes, Diff, DiffOptions, Difference, Identity, Known, LeaveOut, Mounts, Root,
    Scan, ScanOptions, What,
};

use crate::base::Base;
use crate::layer::Retries;

/// Write what has changed in a directory as a layer
///
/// Compares a directory with what it was, an image or another directory, and writes an uncompressed layer to standard
/// output for `commit`. Without --base it is compared with the image that it was unpacked from. No file is read unless its
/// type, mode, owner, size, mtime, link target or extended attributes tell that it has changed.
///
/// Of a mounted overlay, if no base is named, only the upper directory is looked at, which takes time for what has changed
/// and not for the image. Without root, owners, devices and privileged attributes that unpack could not set are taken from the base.
#[derive(clap::Parser, Debug)]
#[command(version, after_help = cli::examples(&[
    ("snapshot rootfs --base nginx | commit -t mine:1", "What has changed in a directory, as a new image"),
    ("snapshot --list rootfs", "Only say what has changed since unpack"),
    ("snapshot rootfs --base scratch | commit -t first --base scratch", "A directory as the first layer of an image"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "flags are what a command line has")]
pub struct Args {
    /// The directory
    dir: PathBuf,
    /// What it was: an image, an archive, a directory, or scratch for nothing
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
    /// Read up to N times more what changes meanwhile, and leave out what vanishes
    ///
    /// Without it, either ends the snapshot with an error. A file's bytes are always those of one moment: with it, a file of
    /// more than 1 MiB is held in a temporary file before it is written.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "list")]
    retry_changed: u32,
    /// Whose new files are; as a plain user without it root's
    #[arg(long, value_name = "UID:GID", value_parser = owner)]
    default_owner: Option<(u32, u32)>,
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
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    if !args.list {
        io.output.binary()?;
    }
    let root = Root::open(&args.dir)?;
    if let Some(upper) = overlay::find(args, &root)? {
        return overlay::snapshot(args, &upper, io);
    }
    let globs = Globs::parse(&args.exclude)?;
    let is_out = |path: &[u8], is_directory| globs.match_path(path, is_directory);
    let leave_out: Option<LeaveOut<'_>> = (!globs.is_empty()).then_some(&is_out);
    let (base, opened) = Base::find(args, &root, io)?;
    // Where contents are compared, it takes what was found to read a file as it was found.
    let known = base.tree().filter(|_| !args.checksum);
    let known = known.map(|tree| Known::new(tree, &root, ignored(&args.ignore)));
    let scan = scan(args, &root, leave_out, known.as_ref())?;
    say_left_out(&scan, io);
    let identity = base::as_noted(Identity::of_scan(&scan), args, &root);
    let options = options(args, identity, leave_out);
    let mut diff = Diff::new(base.tree(), &scan, options).map_err(explain)?;
    if args.checksum {
        checksum::compare(&mut diff, &base, opened, io)?;
    }
    let diff = diff.finish();
    cli::interrupt::check()?;
    if let Some(form) = form(args) {
        return list::write(diff.differences(), form, io);
    }
    let may_hide = |difference: &Difference<'_>| difference.what != What::Added;
    let retries = Retries { n: args.retry_changed, may_hide: &may_hide };
    layer::write(diff.differences(), base.manifest(), retries, io)
        .map_err(|error| of_mount(error, args, &root))
}

/// Takes the directory in, anew if it changes meanwhile and that is asked for.
fn scan(
    args: &Args,
    root: &Root,
    leave_out: Option<LeaveOut<'_>>,
    known: Option<&Known<'_>>,
) -> anyhow::Result<Scan> {
    let mounts = if args.one_file_system { Mounts::Pass } else { Mounts::Enter };
    let options = ScanOptions { leave_out, mounts, known, stop: &cli::interrupt::requested };
    let read = || Scan::read(root, &options);
    let mut scanned = read();
    for _ in 0..args.retry_changed {
        if matches!(scanned, Err(rootfs::Error::Changed { .. })) {
            scanned = read();
        }
    }
    cli::interrupt::check()?;
    let scanned = scanned.with_context(|| cli::text::clean_path(&args.dir));
    scanned.map_err(|error| of_mount(error, args, root))
}

/// Says what to do about something that doesn't keep still because it is mounted from elsewhere.
fn of_mount(error: anyhow::Error, args: &Args, root: &Root) -> anyhow::Error {
    match error.downcast_ref() {
        Some(rootfs::Error::Changed { path, .. })
            if !args.one_file_system && root.is_elsewhere(path) =>
        {
            let hint = "something is mounted there; -x leaves out all that is mounted";
            Failure::from_cause(error).hint(hint).into()
        }
        _ => error,
    }
}

fn options<'a>(
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

fn form(args: &Args) -> Option<Form> {
    args.list.then(|| Form::of(args.json, args.null))
}

/// Says what was left out of the scan without anybody asking for each of it.
fn say_left_out(scan: &Scan, io: &Io<'_>) {
    say_paths("left out, for no layer holds a socket", &scan.sockets(), io);
    let passed: Vec<_> = scan.passed().collect();
    say_paths("left out, for something is mounted there", &passed, io);
}

fn say_paths(what: &str, paths: &[EntryPath], io: &Io<'_>) {
    const SHOWN: usize = 3;
    if paths.is_empty() {
        return;
    }
    let names: Vec<_> = paths.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = paths.len().checked_sub(SHOWN).filter(|&n| n > 0);
    let more = more.map_or_else(String::new, |n| format!(" and {n} more"));
    io.say(&format!("{what}: {}{more}", names.join(", ")));
}

/// Says what to do about something that no layer can hold.
fn explain(error: rootfs::Error) -> anyhow::Error {
    match error {
        rootfs::Error::Unfit { .. } => {
            Failure::from_cause(error).hint("leave it out with --exclude").into()
        }
        error => error.into(),
    }
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.parse().ok().filter(|&id| id != u32::MAX);
    let owner = text.split_once(':').and_then(|(uid, gid)| Some((number(uid)?, number(gid)?)));
    owner.ok_or_else(|| "two numbers are needed, as 0:0".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    use clap::Parser as _;

    use super::*;

    /// Looks at a directory that gets a new file each of the first so many times.
    fn scan_busy(n_times: u32, n_retries: &str) -> anyhow::Result<usize> {
        let dir = tempfile::tempdir()?;
        fs::write(dir.path().join("0"), "")?;
        let n = AtomicU32::new(0);
        let disturb = |name: &[u8], _| {
            let n = if name == b"0" { n.fetch_add(1, Ordering::Relaxed) } else { n_times };
            if n < n_times {
                fs::write(dir.path().join(format!("{}", n + 1)), "").unwrap();
            }
            false
        };
        let args = ["snapshot", dir.path().to_str().unwrap(), "--retry-changed", n_retries];
        let scan = scan(&Args::parse_from(args), &Root::open(dir.path())?, Some(&disturb), None)?;
        Ok(scan.top().children().count())
    }

    #[test]
    fn a_directory_that_changes_is_looked_at_again() {
        assert_eq!(scan_busy(0, "0").unwrap(), 1);
        assert_eq!(scan_busy(2, "2").unwrap(), 3);
        for n_retries in ["0", "1"] {
            let error = format!("{:#}", scan_busy(2, n_retries).unwrap_err());
            assert!(error.contains("changed while it was being read"), "{error}");
        }
    }
}
