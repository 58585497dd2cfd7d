//! The `push` command: an image of the store, or of a stream as it passes, into registries.
//!
//! `stored` and `streamed` say which blobs there are, `target` and `route` where they go; `blob_pusher` brings one blob to
//! one repository by the cheapest way (it is there, it is mounted, it is sent), and `publish` puts the documents last.
//! A large layer of a stream waits in `spool` for registries that want it twice, and in `later` for those that mount it once a
//! manifest names it.

mod attach;
mod blob_pusher;
mod later;
mod prefix;
mod publish;
mod route;
mod spool;
mod ssh;
mod stored;
mod streamed;
mod summary;
mod target;
mod workers;

use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use cli::{ImageEvent, Io, Progress};
use layer_format::{Digest, Error, Platform, Reference};
use network::ssh::{Address, Malformed, SCHEME};
use registry::Client;
use report::{Look, look};

use crate::prefix::Prefix;

/// Push images to registries
///
/// Takes an image of the store, or with - an image stream that passes through, whose images all travel whole, and brings it
/// to registries byte for byte: digests stay what they are. Layers that a registry has are not sent, those that it has in
/// another repository are mounted from there, and an interrupted upload goes on where it was, also in a later run. Manifests
/// come last. For each name the digest is printed as NAME@sha256:….
///
/// With --to REGISTRY/PREFIX, every IMAGE, or every image of the stream, goes there under its own path and tag: ghcr.io/a/b:2 to
/// REGISTRY/PREFIX/a/b:2, and nginx:1.27, which is docker.io/library/nginx:1.27, to REGISTRY/PREFIX/library/nginx:1.27. If two
/// different images would get one name, or an IMAGE isn't in the store, nothing is sent. If the registry refuses one of several, the
/// others are pushed, and the exit status is that of the last that it refused.
///
/// With ssh://USER@HOST:PORT/STORE, of which all but HOST may be left out, the image goes into the store of another machine, by the system's ssh and the programs
/// that are installed there; no layer that the machine has is sent. --verbose shows the pipe that is run.
#[derive(clap::Parser, Debug)]
#[command(name = "push", version, after_help = cli::examples(&[
    ("push mine:1 ghcr.io/me/mine:1 ghcr.io/me/mine:latest", "An image of the store, under two names"),
    ("pull --all-platforms a.example/app | push - b.example/app", "From registry to registry, without a store between"),
    ("save app:1 nginx:1.27 | ssh gate push - --to registry.internal/mirror", "Many images into another registry, each under its path"),
    ("push --dry-run mine:1 ghcr.io/me/mine:1", "What would be sent, mounted and skipped, in bytes"),
    ("push mine:1 ssh://me@host", "Into the store of another machine; only what it lacks is sent"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// An image of the store, or - for an image stream on standard input
    #[arg(value_name = "IMAGE", required_unless_present = "from_file")]
    image: Option<String>,
    /// Names to push it to, or ssh://USER@HOST:PORT/STORE; without any, the image's own. With --to, more images of the store
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The images of this list, each to its own name, or with --to below that: a name of the store a line, or name@digest as images
    /// --lock writes it; # begins a comment, - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    from_file: Vec<PathBuf>,
    /// Push each image to this registry or below this path there, under its own path and tag; or into a store by ssh://…
    #[arg(long, value_name = "REGISTRY[/PREFIX]")]
    to: Option<To>,
    /// Of an image with several platforms, only the one for this, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Push an image with several platforms whole or not at all; else, if only one platform is there, that one is pushed
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Also what the store has that refers to the image: signatures, SBOMs, attestations. Those of a stream always go along
    #[arg(long)]
    referrers: bool,
    /// Only say what would be sent, mounted and skipped: each blob, and the sums
    #[arg(long)]
    dry_run: bool,
    /// Print what a dry run says as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Push layers, too, that are marked as not to be distributed
    #[arg(long)]
    non_distributable: bool,
    /// How many layers to upload at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Show the commands that are run for ssh://, as they can be typed
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    common: cli::Common,
    #[command(flatten)]
    network: network::Flags,
}

impl Args {
    /// Whether the image comes on standard input.
    fn is_stream(&self) -> bool {
        self.image.as_deref() == Some("-")
    }
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] = &[look::<Error>, look::<registry::Error>, look::<store::Error>];

    const HOLDS_LOGINS: bool = true;

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let listed = cli::read_lists(&args.from_file, &mut io.input)?;
    let images: Vec<String> = match &args.image {
        Some(image) => vec![image.clone()],
        None => listed.into_iter().map(|it| it.text).collect(),
    };
    if let Some((address, images)) = machine(args, &images)? {
        return ssh::push(args, &address, &images, io);
    }
    let goal = Goal::of(args)?;
    let client = client(args, &goal, &images, io)?;
    let pushed = if args.is_stream() {
        streamed::push(args, &goal, &client, io).map_err(named)
    } else {
        stored::push(args, &goal, &images, &client, io)
    };
    network::tell(&client, pushed.as_ref().map_or(true, |pushed| pushed.failed.is_some()), io);
    let pushed = pushed.map_err(network::explain)?;
    for (name, digest) in pushed.names {
        let event = ImageEvent {
            name: Some(name.full()),
            digest: digest.to_string(),
            status: "Pushed",
            is_important: false,
        };
        io.progress.image(event, &[]);
        writeln!(io.output, "{}", name.at(digest))?;
    }
    io.output.flush()?;
    pushed.failed.map_or(Ok(()), |error| Err(network::explain(error)))
}

/// The machine whose store the images go into, and the images; `None` if they go to a registry.
///
/// # Errors
/// Wrong usage, if an address of ssh is no safe one, or one of several names.
fn machine(args: &Args, images: &[String]) -> Result<Option<(Address, Vec<String>)>, cli::Failure> {
    if let Some(To::Machine(address)) = &args.to {
        check_stream_alone(args)?;
        let images = images.iter().chain(&args.names).cloned().collect();
        return Ok(Some((address.clone(), images)));
    }
    if !args.names.iter().any(|name| name.starts_with(SCHEME)) {
        return Ok(None);
    }
    match &args.names[..] {
        [name] if args.to.is_none() => {
            let address = name.parse().map_err(|error: Malformed| cli::usage(error.to_string()))?;
            Ok(Some((address, images.to_vec())))
        }
        _ => Err(cli::usage("an address of ssh is the only place that an image goes to")
            .hint("push IMAGE IMAGE… --to ssh://…")),
    }
}

/// # Errors
/// Wrong usage, if standard input is one of several images.
fn check_stream_alone(args: &Args) -> Result<(), cli::Failure> {
    let is_input = |image: &String| image == "-";
    if args.names.iter().any(is_input) || (args.is_stream() && !args.names.is_empty()) {
        return Err(cli::usage(
            "- is a whole stream and can't be one of several images: push - --to …",
        ));
    }
    Ok(())
}

/// Adds to the error of a stream that is no archive where it came from.
fn named(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<Error>() {
        Some(Error::NoImage { .. }) => error.context("standard input"),
        _ => error,
    }
}

/// Where the images go.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    /// To their own names.
    Own,
    /// To these names, of which there is at least one.
    Names(Vec<Reference>),
    /// To names below a prefix.
    Under(Prefix),
}

/// The meaning of `--to`.
#[derive(Clone, Debug)]
enum To {
    Under(Prefix),
    Machine(Address),
}

impl FromStr for To {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with(SCHEME) {
            return Ok(Self::Machine(text.parse()?));
        }
        Ok(Self::Under(text.parse()?))
    }
}

impl Goal {
    /// # Errors
    /// A name is malformed, or standard input is one of several images.
    fn of(args: &Args) -> anyhow::Result<Self> {
        if let Some(To::Under(prefix)) = &args.to {
            check_stream_alone(args)?;
            return Ok(Self::Under(prefix.clone()));
        }
        let names: Result<Vec<Reference>, Error> = args.names.iter().map(|it| it.parse()).collect();
        let names = names?;
        names.iter().try_for_each(Reference::check_transport)?;
        Ok(if names.is_empty() { Self::Own } else { Self::Names(names) })
    }

    /// A name below the prefix in the place of one that is pinned to another digest: an image of an index has its own.
    pub(crate) fn settle(&self, name: Reference, root: &Digest) -> Reference {
        match self {
            Self::Under(_) if name.digest().is_some() => name.at(*root),
            _ => name,
        }
    }
}

/// What has been pushed.
#[derive(Debug, Default)]
pub(crate) struct Pushed {
    /// Each name, and the digest that it has now.
    pub(crate) names: Vec<(Reference, Digest)>,
    /// The error of the last image that could not be pushed, though others were.
    pub(crate) failed: Option<anyhow::Error>,
}

impl Pushed {
    /// Adds how an image of several fared. Returns whether the next one is worth a try: not if the
    /// registry can't be reached.
    ///
    /// # Errors
    /// If the user interrupts.
    pub(crate) fn add(
        &mut self,
        pushed: anyhow::Result<Vec<(Reference, Digest)>>,
        progress: &Progress,
    ) -> anyhow::Result<bool> {
        let error = match pushed {
            Ok(names) => {
                self.names.extend(names);
                return Ok(true);
            }
            Err(error) => error,
        };
        cli::interrupt::check()?;
        let is_reached = !network::is_unreachable(&error);
        if let Some(earlier) = self.failed.replace(error) {
            progress.alarm(format!("not pushed: {}", cli::error::chain(earlier.as_ref())));
        }
        Ok(is_reached)
    }
}

fn client(args: &Args, goal: &Goal, images: &[String], io: &mut Io<'_>) -> anyhow::Result<Client> {
    let is_list = args.from_file.iter().any(|path| path.as_os_str() == "-");
    if args.network.creds_stdin && (args.is_stream() || is_list) {
        return Err(cli::usage("standard input can't be the image and hold a login").into());
    }
    let names = match goal {
        // The image's own name says which registry it goes to.
        Goal::Own => images.iter().filter_map(|image| image.parse().ok()).collect(),
        Goal::Names(names) => names.clone(),
        Goal::Under(prefix) => prefix.any().into_iter().collect(),
    };
    args.network.client(&names, io)
}
