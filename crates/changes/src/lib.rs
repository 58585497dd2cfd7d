//! The `changes` command: what is different between two images, directories or layers.
//!
//! ```text
//! lib ──► side, layer_file   each of the two: an image, a directory or a layer
//!     ──► record             what each of the two holds, without contents
//!     ──► compare            the records side by side (pairs), with their hard links (links)
//!     ──► contents           contents, only for --checksum and only where all else is the same
//!     ──► report, stat       the differences, or their sums, to standard output
//! ```
//!
//! ```
//! use clap::Parser as _;
//!
//! let [before, after] = [tempfile::tempdir()?, tempfile::tempdir()?];
//! std::fs::write(after.path().join("new"), "text")?;
//! let paths = [before.path(), after.path()].map(|path| path.to_string_lossy());
//! let args = ["changes", "--ignore", "mtime", &paths[0], &paths[1]];
//! let mut io = cli::Io::memory("");
//! let result = changes::run(&changes::Args::parse_from(args), &mut io);
//! assert!(result.is_err(), "1 is the exit status if there are differences");
//! assert_eq!(io.written(), b"A new\n");
//! # Ok::<(), std::io::Error>(())
//! ```

mod compare;
mod contents;
mod layer_file;
mod links;
mod output;
mod pairs;
mod record;
mod side;
mod stat;

use cli::{Code, Explain as _, Form, Io};
use image::edit::Setting;
use image::{Choice, Location};
use layer_format::Platform;
use report::{Look, look};
use rootfs::{Attribute, Attributes};

use crate::compare::Comparison;
use crate::output::Report;
use crate::side::{Side, Sides};
use crate::stat::Stat;

/// Say what is different between two images, directories or layers
///
/// Prints what the configs of two images have differently, then a line for each path: A what only B has, D what only A has,
/// C what both have, with what is different about it. Images are compared by what their layers' headers say, directories
/// by what the file system says, and no content is read without --checksum. Whiteouts of a layer are told by the names that
/// they have in it. Exits with 0 if nothing is different, with 1 if anything is, and with 2 or more in case of trouble.
#[derive(clap::Parser, Debug)]
#[command(name = "changes", version, after_help = cli::examples(&[
    ("changes nginx:1.27 nginx:1.28", "What an update brings"),
    ("pull nginx | changes --stat nginx -", "Where the registry's image has grown, beside the store's"),
    ("changes --config <(pull --no-layers nginx:1.27) <(pull --no-layers nginx:1.28)", "What an update changes in the settings, without a layer"),
    ("changes --ignore mtime nginx ./rootfs", "What has happened to a directory since it was unpacked"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// What was: an image of the store, - for one on standard input, a directory, the path of an archive or an OCI layout, or
    /// layer:FILE. archive:, layout: (also for what skopeo wrote) or dir: (a root file system) before a path forces the kind
    #[arg(value_name = "A")]
    before: String,
    /// What is, said in the same way
    #[arg(value_name = "B")]
    after: String,
    /// Compare two images by their documents alone: settings, and which layers are others. No layer is needed
    #[arg(long, conflicts_with_all = ["checksum", "stat", "ignore"])]
    config: bool,
    /// Compare contents too where all else is the same
    #[arg(long)]
    checksum: bool,
    /// How many bytes --checksum may compare, holes included: 500M, 20G; 16T without this
    #[arg(long, requires = "checksum", value_name = "SIZE", value_parser = cli::parse_size)]
    max_size: Option<u64>,
    /// What may be different without being a change
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',',
        value_parser = ["config", "mode", "owner", "mtime", "xattrs", "links"])]
    ignore: Vec<String>,
    /// Sum up by directory, down to this depth
    #[arg(long, value_name = "DEPTH", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    stat: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print paths as they are, each line ended by NUL
    #[arg(short = '0', long, conflicts_with_all = ["json", "stat"])]
    null: bool,
    /// Which image of an archive that holds several; given twice, of A and of B
    #[arg(long, value_name = "NAME")]
    image: Vec<String>,
    /// Platform of multi-platform images, without it this machine's; given twice, of A and of B
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<Platform>,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<rootfs::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }

    /// As with diff(1), 1 says that there are differences.
    fn status(code: Code) -> u8 {
        if code == Code::Failed { Code::Usage.status() } else { code.status() }
    }
}

/// Runs the command.
///
/// # Errors
/// A failure without a text if there are differences, and whatever opening the two or reading them fails with.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    check(args)?;
    let [before, after] = [&args.before, &args.after].map(|text| Location::from(text.as_str()));
    let needing = if before.is_stored() { &before } else { &after };
    let store =
        image::our_store(args.common.store.as_deref(), needing).hinted(store::Error::hint)?;
    let mut sides = Sides {
        before: Side::open(&args.before, choice(args, 0), store.as_ref(), io)?,
        after: Side::open(&args.after, choice(args, 1), store.as_ref(), io)?,
    };
    let are_images = matches!((&sides.before, &sides.after), (Side::Image(_), Side::Image(_)));
    if args.config && !are_images {
        return Err(cli::usage("--config compares two images").into());
    }
    let mut report = Report::new(Form::of(args.json, args.null), &mut io.output);
    if !args.ignore.iter().any(|it| it == "config") {
        for setting in settings(&sides)? {
            report.setting(&setting)?;
        }
    }
    if args.config {
        let [before, after] = [&sides.before, &sides.after].map(Side::diff_ids);
        for setting in image::edit::compare_layers(&before, &after) {
            report.setting(&setting)?;
        }
    } else if !sides.are_same_layers() {
        files(args, &mut sides, &io.progress, &mut report)?;
    }
    sides.finish()?;
    cli::interrupt::check()?;
    match report.finish()? {
        0 => Ok(()),
        _ => Err(cli::silent(1)),
    }
}

/// Reports what the two have differently at paths.
fn files(
    args: &Args,
    sides: &mut Sides,
    progress: &cli::Progress,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let records = sides.records(args.checksum, progress)?;
    let mut comparison = Comparison::new(&records, ignored(&args.ignore))?;
    if args.checksum {
        let others = contents::others(&comparison, sides, args.max_size, progress)?;
        comparison.note_contents(others);
    }
    let Some(depth) = args.stat else {
        return comparison.differences().try_for_each(|difference| report.difference(&difference));
    };
    let mut stat = Stat::new(depth);
    comparison.differences().for_each(|difference| stat.add(&difference));
    stat.lines().try_for_each(|line| report.stat(&line))
}

/// What the configs of two images have differently.
fn settings(sides: &Sides) -> anyhow::Result<Vec<Setting>> {
    match (&sides.before, &sides.after) {
        (Side::Image(before), Side::Image(after)) => {
            Ok(image::edit::compare(&before.image().config, &after.image().config)?)
        }
        _ => Ok(vec![]),
    }
}

/// Which image A, the side 0, or B, the side 1, is. What is given once counts for both.
fn choice(args: &Args, side: usize) -> Choice {
    Choice {
        name: args.image.get(side).or(args.image.last()).cloned(),
        platform: args.platform.get(side).or(args.platform.last()).cloned(),
    }
}

/// Checks what clap can't.
fn check(args: &Args) -> anyhow::Result<()> {
    let is_input = |text: &str| matches!(text, "-" | "archive:-" | "layer:-");
    if is_input(&args.before) && is_input(&args.after) {
        return Err(cli::usage("standard input can be only one of the two").into());
    }
    if args.image.len() > 2 || args.platform.len() > 2 {
        return Err(cli::usage("--image and --platform are for A and for B").into());
    }
    Ok(())
}

fn ignored(names: &[String]) -> Attributes {
    let is_ignored = |attribute: &Attribute| names.iter().any(|it| it == attribute.name());
    Attribute::ALL.into_iter().filter(is_ignored).collect()
}
