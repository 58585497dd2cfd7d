//! The `union` command: an image's layers, mounted as one tree.
//!
//! The layers are extracted once into the store's cache (`cache`, `extract`), shared by all images that have them, and put
//! on top of each other by the kernel's overlayfs. The mount is made without a place first, and then either attached to a
//! directory (`mounting`) or given to a command (`inside`) in a mount namespace of its own (`own_mounts`), with which it ends.
//!
//! A plain user may mount in a user namespace only, so for a command the program first executes itself again in one
//! (`namespace`); the rest of it sees no difference.

mod cache;
mod devices;
mod directory;
mod extract;
mod floor;
mod init;
mod inside;
mod keys;
mod mount_error;
mod mounting;
mod namespace;
mod own_mounts;
mod status;
mod upper;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use cli::text::clean_path;
use cli::{Explain as _, Io};
use image::{Choice, Image, Location, Source};
use layer_format::{Platform, Reference};
use report::{Look, look};
use rootfs::Skipped;
use store::{Reach, Store};

use crate::cache::Stack;
use crate::directory::MadeDir;
use crate::floor::Floor;
use crate::inside::{Plan, Settings};
use crate::upper::Upper;

/// Mount an image's layers as one tree
///
/// The layers are extracted once into the store, where all images share them, and mounted on top of each other:
/// read-only, or with a writable layer of your own that takes every change. With a command, the union is mounted for that
/// command alone and is gone when it ends: as its root directory or, if a directory is named, there. Mounting for all to
/// see takes root; for a command, any user can.
///
/// A command in the union's root has the image's environment, user and working directory, a /dev and a /proc of its own, and
/// sees its own processes only; network and host name are the machine's. That is a change of root and no wall: to run what you
/// don't trust, make a bundle with unpack --bundle and run it with crun.
#[derive(clap::Parser, Debug)]
#[command(name = "union", version, override_usage = "union [OPTIONS] IMAGE DIR
       union [OPTIONS] IMAGE [DIR] -- COMMAND…
       union --umount DIR
       union --list",
    after_help = cli::examples(&[
    ("union nginx /mnt", "Look into an image, and take it away again with union --umount /mnt"),
    ("union debian --upper changes -- apt-get install -y vim", "Run a command in it, and keep what it changes"),
    ("union vim:1 m --upper changes -- sh -c 'snapshot m | commit -t vim:2'", "What docker commit does"),
]))]
pub struct Args {
    /// Image in the store: a name, a digest, or the first digits of one
    #[arg(required_unless_present_any = ["umount", "list"])]
    image: Option<String>,
    /// Directory to mount on; made if missing
    dir: Option<PathBuf>,
    /// Directory for the writable layer; made if missing. The kernel's working directory stands beside it
    #[arg(long, value_name = "DIR")]
    upper: Option<PathBuf>,
    /// Platform of a multi-platform image, as linux/arm64/v8; without it this machine's
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Unmount what union has mounted on this directory
    #[arg(long, value_name = "DIR", conflicts_with_all = ["image", "dir", "upper", "platform", "command"])]
    umount: Option<PathBuf>,
    /// List what union has mounted
    #[arg(long, conflicts_with_all = ["umount", "image", "dir", "upper", "platform", "command"])]
    list: bool,
    #[command(flatten)]
    settings: Settings,
    /// Command to run, with its arguments
    #[arg(last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    common: cli::Common,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<rootfs::Error>, look::<store::Error>];

    fn common(&self) -> &cli::Common {
        &self.common
    }

    fn status(code: cli::Code) -> u8 {
        if namespace::is_for_a_command() { status::OURS } else { code.status() }
    }
}

/// The whole program. A user namespace can be entered by a process with one thread only, so that comes before all else.
pub fn main() -> ExitCode {
    namespace::enter().map_or_else(|| cli::main(run), ExitCode::from)
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    if args.list {
        return mounting::list(&mut io.output);
    }
    if let Some(dir) = &args.umount {
        return mounting::unmount(dir);
    }
    let text = args.image.as_deref().unwrap_or_default();
    let point = args.dir.as_deref();
    check_location(text)?;
    let mut made = mounting::check(point, &args.command)?;
    if !args.command.is_empty() {
        own_mounts::enter()?;
    }
    let store = open(args, text)?;
    let choice = Choice { name: None, platform: args.platform.clone() };
    let mut source = Source::stored(store.clone(), text.to_owned());
    let image = source.image(&choice).hinted(store::Error::hint_in_store)?;
    let floor = if point.is_none() { Floor::Scaffold } else { Floor::Bare };
    let stack = Stack::of(&store, &image, floor, io)?;
    // Its layers are held by the stack now.
    drop(source);
    warn(&stack.skipped, io);
    let mut upper = args.upper.as_deref().map(|it| Upper::prepare(it, &stack)).transpose()?;
    let name = image_name(&image, text);
    let mount = mounting::mount(&name, &stack, upper.as_ref())?;
    let reach = if args.command.is_empty() { Reach::Public } else { Reach::Private };
    stack.note(&store, mount.root()?, reach)?;
    if let Some(upper) = &mut upper {
        upper.note(&store, &image, io);
        upper.keep();
    }
    made.iter_mut().for_each(MadeDir::keep);
    match point {
        Some(point) if args.command.is_empty() => {
            mounting::attach(mount, point, &stack, &store, reach)
                .with_context(|| clean_path(point))?;
            mounting::note_image(point, &store, &image);
            io.say(&format!("mounted {name} on {}", clean_path(point)));
            Ok(())
        }
        _ => {
            let plan = Plan {
                command: &args.command,
                image: &image,
                store: &store,
                point,
                settings: &args.settings,
            };
            inside::run(&plan, &stack, mount, io)
        }
    }
}

/// Refuses an image that isn't in the store. This comes before checks of the user's rights.
///
/// # Errors
/// Wrong usage.
fn check_location(text: &str) -> Result<(), cli::Failure> {
    if Location::from(text).is_stored() {
        return Ok(());
    }
    let message = format!("{text}: only an image in the store can be mounted");
    Err(cli::usage(message).hint("load < FILE brings an archive into the store"))
}

fn open(args: &Args, text: &str) -> anyhow::Result<Store> {
    let missing = || store::Error::NotFound { text: text.to_owned() };
    Store::open_named(args.common.store.as_deref())
        .and_then(|store| store.ok_or_else(missing))
        .hinted(store::Error::hint_in_store)
}

/// The image's name in its short form, or what was typed.
fn image_name(image: &Image, text: &str) -> String {
    let name = image.names.first().map_or(text, String::as_str);
    let short = name.parse().map_or_else(|_| name.to_owned(), |name: Reference| name.to_string());
    cli::text::clean(&short).into_owned()
}

fn warn(skipped: &Skipped, io: &Io<'_>) {
    for reason in skipped.reasons() {
        let text = format!("of the new layers: {}", reason.text);
        if reason.is_surprise { io.alarm(&text) } else { io.warn(&text) }
    }
}
