//! The `push` command: an image of the store, or of a stream as it passes, into registries.
//!
//! `stored` and `streamed` say which blobs there are, `target` and `route` where they go; `blob_pusher` brings one blob to
//! one repository by the cheapest way (it is there, it is mounted, it is sent), and `publish` puts the documents last.
//! A large layer of a stream waits in `spool` for registries that want it twice, and in `later` for those that mount it once a
//! manifest names it.

mod attach;
mod blob_pusher;
mod later;
mod publish;
mod route;
mod spool;
mod stored;
mod streamed;
mod summary;
mod target;
mod workers;

use std::io::Write as _;

use cli::{ImageEvent, Io};
use layer_format::{Platform, Reference};
use registry::Client;
use report::{Look, look};

/// Push images to registries
///
/// Takes an image of the store, or with - an image stream that passes through, whose images all travel whole, and brings it
/// to registries byte for byte: digests stay what they are. Layers that a registry has are not sent, those that it has in
/// another repository are mounted from there, and an interrupted upload goes on where it was, also in a later run. Manifests
/// come last. For each name the digest is printed as NAME@sha256:….
#[derive(clap::Parser, Debug)]
#[command(name = "push", version, after_help = cli::examples(&[
    ("push mine:1 ghcr.io/me/mine:1 ghcr.io/me/mine:latest", "An image of the store, under two names"),
    ("pull --all-platforms a.example/app | push - b.example/app", "From registry to registry, without a store between"),
    ("push --dry-run mine:1 ghcr.io/me/mine:1", "What would be sent, mounted and skipped, in bytes"),
]))]
#[expect(clippy::struct_excessive_bools, reason = "they are flags")]
pub struct Args {
    /// An image of the store, or - for an image stream on standard input
    #[arg(value_name = "IMAGE")]
    image: String,
    /// Names to push it to; without any, the image's own
    #[arg(value_name = "NAME")]
    names: Vec<Reference>,
    /// Of an image with several platforms, only the one for this, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Push an image with several platforms whole or not at all; else, if only one platform is there, that one is pushed
    #[arg(long, conflicts_with = "platform")]
    all_platforms: bool,
    /// Also what the store has that refers to the image: signatures, SBOMs, attestations. Those of a stream always go along
    #[arg(long)]
    referrers: bool,
    /// Only say what would be sent, mounted and skipped
    #[arg(long)]
    dry_run: bool,
    /// Push layers, too, that are marked as not to be distributed
    #[arg(long)]
    non_distributable: bool,
    /// How many layers to upload at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    #[command(flatten)]
    common: cli::Common,
    #[command(flatten)]
    network: network::Flags,
}

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<registry::Error>, look::<store::Error>];

    const HOLDS_LOGINS: bool = true;

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    let client = client(args, io)?;
    let pushed = match &args.image[..] {
        "-" => streamed::push(args, &client, io),
        _ => stored::push(args, &client, io),
    };
    network::tell(&client, pushed.is_err(), io);
    let pushed = pushed.map_err(network::explain)?;
    for (name, digest) in pushed {
        let event = ImageEvent {
            name: Some(name.full()),
            digest: digest.to_string(),
            status: "Pushed",
            is_important: false,
        };
        io.progress.image(event, &[]);
        writeln!(io.output, "{}", name.at(digest))?;
    }
    Ok(io.output.flush()?)
}

fn client(args: &Args, io: &mut Io<'_>) -> anyhow::Result<Client> {
    if args.network.creds_stdin && args.image == "-" {
        return Err(cli::usage("standard input can't be the image and hold a login").into());
    }
    // Without names, the image's own name says which registry it goes to.
    let own = args.image.parse().ok().filter(|_| args.names.is_empty());
    let names: Vec<_> = args.names.iter().cloned().chain(own).collect();
    args.network.client(&names, io)
}
