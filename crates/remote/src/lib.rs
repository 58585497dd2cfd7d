//! The `remote` command: what a registry has, and what is changed there without a byte of an image coming here.
//!
//! A file a verb. `resolve` finds what a name means; `names` are the words of the command line; `page` is the output.

mod changes;
mod copy;
mod document;
mod login;
mod names;
mod page;
mod referrers;
mod repositories;
mod resolve;
mod rm;
mod tag;
mod tags;

use std::path::PathBuf;

use cli::{Io, When};
use layer_format::{Platform, Reference};
use registry::Client;
use report::{Look, look};
use store::Store;

use crate::document::Wanted;
use crate::login::Question;
use crate::names::{HostName, LoginName, RepositoryName};
use crate::rm::Removal;
use crate::tags::Sort;

/// Ask a registry, name, copy and remove images there, and log in
///
/// Works at the registry alone: there is no store in between, and no layer comes here. What is asked for is printed byte for
/// byte, as the registry has it and its digest says.
#[derive(clap::Parser, Debug)]
#[command(name = "remote", version, after_help = cli::examples(&[
    ("remote tags ghcr.io/a/b", "The tags of a repository, 1.9 before 1.10"),
    ("remote config nginx:1.27 | jq .config.Env", "An image's environment, without its layers"),
    ("remote login ghcr.io -u me --password-stdin < token", "Log in without a terminal"),
    ("remote copy a.example/app:1 b.example/app:1", "From registry to registry, all platforms, digests kept"),
    ("remote copy nginx b.example/nginx --tags '1.*' --latest 5", "The five latest versions, again every night"),
]))]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: cli::Common,
    #[command(flatten)]
    network: network::Flags,
}

/// What to do.
#[derive(clap::Subcommand, Debug)]
enum Verb {
    /// List the tags of a repository, one a line
    Tags {
        /// The repository, as nginx or ghcr.io/a/b
        #[arg(value_name = "REPO")]
        repository: RepositoryName,
        /// Also the digest that each tag stands for; it costs a request for each
        #[arg(long)]
        digests: bool,
        /// The order; without it names are sorted as people count, 1.9 before 1.10
        #[arg(long, value_name = "ORDER", value_enum)]
        sort: Option<Sort>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the digest that a name stands for
    Digest(Query),
    /// Print the manifest or the index that a name stands for, byte for byte
    Manifest(Query),
    /// Print the config of an image, byte for byte
    Config(Query),
    /// List what refers to an image: signatures, SBOMs, attestations
    Referrers {
        #[command(flatten)]
        query: Query,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the repositories of a registry, one a line, where it lists them
    Repositories {
        /// The registry, as HOST or HOST:PORT
        #[arg(value_name = "HOST")]
        host: HostName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say what two images have differently, by their documents alone, in the words of `changes --config`
    ///
    /// Settings, and the layers that are others. Exits with 0 if nothing is different, and with 1 if anything is.
    Changes {
        /// What was
        #[arg(value_name = "A")]
        before: Reference,
        /// What is
        #[arg(value_name = "B")]
        after: Reference,
        /// Of multi-platform images, those for this platform, as linux/arm64/v8
        #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
        platform: Option<Platform>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an image more names in its repository; no layer moves
    Tag {
        /// The image
        image: Reference,
        /// The new names; a name that another image has moves
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Reference>,
    },
    /// Copy an image to another name, or many tags of a repository to another one, digests kept
    ///
    /// All platforms of it, unless one is named. Within a registry layers are mounted and none comes here; between registries
    /// those are sent that the other one lacks, each checked as it passes, and none is kept here.
    ///
    /// With --tags or --latest, both names are repositories. What a tag stands for is asked on either side, many at once, and nothing
    /// else of those that are the same.
    Copy {
        /// The image, or the repository
        image: Reference,
        /// Its new name, or the other repository
        name: Reference,
        /// Tags that match this pattern, with * and ?; may be given several times
        #[arg(long, value_name = "GLOB")]
        tags: Vec<String>,
        /// Only the N highest versions of these; a tag that doesn't begin like a version is none
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        latest: Option<u32>,
        /// Of a multi-platform image, only the one for this platform, as linux/arm64/v8
        #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
        platform: Option<Platform>,
        /// Only say what would be sent, mounted and skipped: each blob, and the sums
        #[arg(long)]
        dry_run: bool,
        /// Print what a dry run says as JSON
        #[arg(long, requires = "dry_run")]
        json: bool,
    },
    /// Remove tags, or images by their digests; nothing if one of them isn't there
    ///
    /// A tag goes alone, and the image stays for its other tags. Where a registry only removes images whole, a tag is removed
    /// if it is the only one. An image that is removed by its digest goes with all its tags.
    Rm {
        /// Names, with a tag or a digest
        #[arg(required = true, value_name = "NAME")]
        names: Vec<Reference>,
        /// Where the registry can't remove a tag alone, remove the image with its other tags
        #[arg(long)]
        force: bool,
        /// Only say what would be removed
        #[arg(long)]
        dry_run: bool,
    },
    /// Log in to a registry
    ///
    /// The password is asked for on the terminal, and not shown. The login is tried, and kept by the helper that docker's or
    /// podman's files name (credHelpers, credsStore), else in podman's auth.json: that of the runtime directory, which is gone
    /// with the next start of the machine. --authfile, or the variable `REGISTRY_AUTH_FILE`, names another file.
    Login {
        /// The registry, as HOST or HOST:PORT, or HOST/PATH for the repositories below that alone
        #[arg(value_name = "HOST")]
        name: LoginName,
        /// The user; without this it is asked for
        #[arg(short, long, value_name = "USER")]
        user: Option<String>,
        /// Read the password from standard input
        #[arg(long, requires = "user", conflicts_with = "creds_stdin")]
        password_stdin: bool,
        /// Log in with the identity token in this file, which a token server exchanges; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "creds_stdin", "token"])]
        identity_token: Option<PathBuf>,
        /// Log in with the token in this file, which the registry itself takes; - is standard input
        #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "creds_stdin"])]
        token: Option<PathBuf>,
    },
    /// Forget the login for a registry, wherever it is kept
    Logout {
        /// The registry, as it was named to log in
        #[arg(value_name = "HOST")]
        name: LoginName,
    },
}

/// An image at a registry.
#[derive(clap::Args, Debug)]
struct Query {
    /// The image, as nginx:1.27, ghcr.io/a/b or name@sha256:…
    name: Reference,
    /// Of a multi-platform image, the one for this platform, as linux/arm64/v8
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
}

impl Verb {
    /// The names whose registry a login on standard input is for.
    fn names(&self) -> Vec<Reference> {
        match self {
            Self::Tags { repository, .. } => vec![repository.any()],
            Self::Digest(query) | Self::Manifest(query) | Self::Config(query) => {
                vec![query.name.clone()]
            }
            Self::Referrers { query, .. } => vec![query.name.clone()],
            Self::Repositories { host, .. } => vec![host.any()],
            Self::Tag { image, .. } => vec![image.clone()],
            Self::Changes { before, after, .. } => vec![before.clone(), after.clone()],
            Self::Copy { image, name, .. } => vec![image.clone(), name.clone()],
            Self::Rm { names, .. } => names.clone(),
            Self::Login { .. } | Self::Logout { .. } => vec![],
        }
    }

    /// Whether it only asks: what takes less than a second is not told.
    fn is_look_up(&self) -> bool {
        !matches!(self, Self::Copy { .. })
    }
}

/// What crane, regctl, skopeo, oras and docker call these.
const WORDS: &[(&str, &str)] = &[
    ("ls", TAGS),
    ("list", TAGS),
    ("list-tags", TAGS),
    ("catalog", REPOSITORIES),
    ("repo", REPOSITORIES),
    ("repos", REPOSITORIES),
    ("inspect", ABOUT),
    ("image", ABOUT),
    ("show", ABOUT),
    ("index", "remote manifest NAME prints the manifest or the index"),
    ("imagetools", "remote manifest NAME prints the manifest or the index"),
    ("head", "remote digest NAME prints the digest"),
    ("cp", "remote copy IMAGE NAME copies an image"),
    ("mirror", "remote copy IMAGE NAME copies an image"),
    ("sync", "remote copy IMAGE NAME copies an image"),
    ("delete", REMOVE),
    ("del", REMOVE),
    ("remove", REMOVE),
    ("untag", REMOVE),
    ("retag", "remote tag IMAGE NAME gives it another name"),
    ("auth", "remote login HOST logs in"),
    ("discover", REFERRERS),
    ("artifact", REFERRERS),
    ("blob", "pull NAME | inspect --layer N - writes one layer"),
    ("export", "pull NAME | flatten - writes all files as one tar"),
    ("pull", "pull NAME brings an image here"),
    ("push", "push IMAGE NAME sends one there"),
];
const TAGS: &str = "remote tags REPO lists the tags";
const REPOSITORIES: &str = "remote repositories HOST lists the repositories";
const ABOUT: &str =
    "pull --no-layers NAME | inspect - tells all about an image, without its layers";
const REMOVE: &str = "remote rm NAME removes a tag, or an image by its digest";
const REFERRERS: &str = "remote referrers NAME lists signatures, SBOMs and the like";

impl cli::Command for Args {
    const ERRORS: &'static [Look] =
        &[look::<layer_format::Error>, look::<registry::Error>, look::<store::Error>];

    const HOLDS_LOGINS: bool = true;

    const WORDS: &'static [(&'static str, &'static str)] = WORDS;

    fn common(&self) -> &cli::Common {
        &self.common
    }
}

/// Runs the command.
pub fn run(args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    // Who asks for a form of progress gets it.
    if args.common.progress == When::Auto && args.verb.is_look_up() {
        io.progress.expect_look_up();
    }
    match &args.verb {
        Verb::Login { name, user, password_stdin, identity_token, token } => {
            let question = Question {
                user: user.as_deref(),
                is_on_stdin: *password_stdin,
                has_both_on_stdin: args.network.creds_stdin,
                identity_token: identity_token.as_deref(),
                token: token.as_deref(),
            };
            login::log_in(name, &question, &args.network, io).map_err(network::explain)
        }
        Verb::Logout { name } => login::log_out(name, &args.network, io),
        Verb::Tags { repository, digests, sort, json } => with_client(args, io, |client, io| {
            let (has_digests, is_json) = (*digests, *json);
            let listing = tags::Listing { has_digests, sort: *sort, is_json };
            tags::list(repository, listing, client, io)
        }),
        Verb::Digest(query) => print(query, Wanted::Digest, args, io),
        Verb::Manifest(query) => print(query, Wanted::Manifest, args, io),
        Verb::Config(query) => print(query, Wanted::Config, args, io),
        Verb::Referrers { query, json } => {
            with_client(args, io, |client, io| referrers::list(query, *json, client, io))
        }
        Verb::Repositories { host, json } => {
            with_client(args, io, |client, io| repositories::list(host, *json, client, io))
        }
        Verb::Changes { before, after, platform, json } => {
            let mut differ = false;
            with_client(args, io, |client, io| {
                let names = [before, after];
                differ = changes::compare(names, platform.as_ref(), *json, client, io)?;
                Ok(())
            })?;
            if differ { Err(cli::silent(1)) } else { Ok(()) }
        }
        Verb::Tag { image, names } => {
            with_client(args, io, |client, io| tag::tag(image, names, client, io))
        }
        Verb::Copy { image, name, tags, latest, platform, dry_run, json } => {
            with_client(args, io, |client, io| {
                let latest = latest.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
                let selection = copy::Selection { globs: tags, latest };
                let is_json = *json;
                let mode = if *dry_run { copy::Mode::DryRun { is_json } } else { copy::Mode::Copy };
                let request = copy::Request { image, name, platform: platform.as_ref(), mode };
                let store = noting_store(args);
                if selection.is_any() {
                    return copy::copy_many(request, selection, store.as_ref(), client, io);
                }
                copy::copy(request, store.as_ref(), client, io)
            })
        }
        Verb::Rm { names, force, dry_run } => with_client(args, io, |client, io| {
            let removal = Removal { is_forced: *force, is_dry: *dry_run };
            rm::remove(names, removal, client, io)
        }),
    }
}

fn print(query: &Query, wanted: Wanted, args: &Args, io: &mut Io<'_>) -> anyhow::Result<()> {
    with_client(args, io, |client, io| document::print(query, wanted, client, io))
}

/// Does some work with a client for the names of the command line, and tells what the client has to say.
fn with_client(
    args: &Args,
    io: &mut Io<'_>,
    work: impl FnOnce(&Client, &mut Io<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let client = args.network.client(&args.verb.names(), io)?;
    let done = work(&client, io);
    network::tell(&client, done.is_err(), io);
    done.map_err(network::explain)
}

/// The store, if there is one: it remembers which repositories have a blob. A copy does without.
fn noting_store(args: &Args) -> Option<Store> {
    let path = Store::path_or_usual(args.common.store.as_deref()).ok()?;
    Store::open_existing(path).ok().flatten()
}
