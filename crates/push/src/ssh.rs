//! `ssh://…`: images go into another machine's store. What is run is what anybody could type:
//!
//! ```text
//! ssh HOST images digests --all | save IMAGE --have - | ssh HOST load
//! ```

use std::io::Write as _;
use std::process::Stdio;

use anyhow::Context as _;
use cli::{Explain as _, ImageEvent, Io};
use layer_format::Digest;
use network::ssh::{self, Address, Loaded, Session, Shown, Step};
use store::Store;

use crate::Args;

/// How the tasks of `save` and of `load` appear among ours.
const SAVED: Shown = Shown { going: ("Saving", "Pushing"), done: ("Saved", "Pushed") };
const LOADED: Shown = Shown { going: ("Loading", "Pushing"), done: ("Loaded", "Pushed") };
/// The words by which our programs tell how far they are. A terminal needs none of them.
const TOLD: [&str; 2] = ["--progress", "json"];

/// Pushes images of the store, or a stream on standard input, into the store of another machine.
pub(crate) fn push(
    args: &Args,
    address: &Address,
    images: &[String],
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    refuse(args)?;
    let far = far_store(address)?;
    let is_input = images == ["-"];
    if !is_input {
        check_stored(args, images)?;
    }
    let progress = io.progress.clone();
    let session = Session::new(&address.machine, &progress, args.verbose);
    let store = far.as_deref();
    let asking = Step::there(&["images", "digests", "--all"]).option("--store", store);
    let load = Step::there(&["load"]).option("--store", store);
    let save = saving(args, images);
    if args.dry_run {
        return session.with_programs(|| tell_only(&session, &asking, &save));
    }
    let loaded = session.with_programs(|| {
        if is_input {
            session.show(&[&load]);
        } else {
            session.show(&[&asking, &save, &load]);
        }
        // For a stream, too: it tells whether the programs are there before anything is read.
        let has = session.answer(&asking)?;
        if is_input { stream(&session, &load) } else { send(&session, &save, &load, &has) }
    })?;
    for image in Loaded::parse_all(&loaded) {
        tell(&image, address, io)?;
    }
    Ok(io.output.flush()?)
}

/// Refuses what only a registry can do.
fn refuse(args: &Args) -> anyhow::Result<()> {
    let flags = [
        ("--all-platforms", args.all_platforms),
        ("--non-distributable", args.non_distributable),
        ("--dry-run of a stream", args.dry_run && args.is_stream()),
    ];
    let flag = flags.into_iter().find_map(|(name, is_given)| is_given.then_some(name));
    Ok(ssh::refuse(flag.or_else(|| args.network.given()))?)
}

/// The store on the other machine, if the address says which: a path from its root or, after `~/`, from the user's home.
fn far_store(address: &Address) -> anyhow::Result<Option<String>> {
    let path = address.path.trim_end_matches('/');
    match (&address.store, path) {
        (store, "") => Ok(store.clone()),
        (Some(_), _) => {
            Err(cli::usage("the store stands after the host, or after ?store=, but not twice")
                .into())
        }
        // ssh begins in the user's home.
        (None, path) => Ok(Some(match path.strip_prefix("~/") {
            Some(of_home) => format!("./{of_home}"),
            None => format!("/{path}"),
        })),
    }
}

/// Checks that the store has the images, before anybody is asked for a password.
fn check_stored(args: &Args, images: &[String]) -> anyhow::Result<()> {
    let store = Store::open_named(args.common.store.as_deref());
    for image in images {
        let none = || store::Error::NotFound { text: image.clone() };
        let opened = store.as_ref().map(Option::as_ref);
        match opened {
            Ok(Some(store)) => drop(store.find(image).hinted(store::Error::hint_in_store)?),
            Ok(None) => return Err(none()).hinted(store::Error::hint_in_store),
            Err(_) => break,
        }
    }
    store.hinted(store::Error::hint_in_store).map(drop)
}

fn saving(args: &Args, images: &[String]) -> Step {
    let images: Vec<_> = images.iter().map(String::as_str).collect();
    let platform = args.platform.as_ref().map(ToString::to_string);
    let store = args.common.store.as_deref().and_then(|path| path.to_str());
    let is_usual = std::env::var_os("STRATA_STORE").as_deref() == store.map(AsRef::as_ref);
    Step::here(&["save"])
        .and(&images)
        .option("--store", store.filter(|_| !is_usual))
        .option("--platform", platform.as_deref())
        .flag("--referrers", args.referrers)
        .and(&["--have", "-"])
        .flag("--dry-run", args.dry_run)
        .flag("--json", args.json)
}

/// Only tells what would be sent; the other machine is asked what it has.
fn tell_only(session: &Session<'_>, asking: &Step, save: &Step) -> anyhow::Result<()> {
    session.show(&[asking, save]);
    let has = session.answer(asking)?;
    let mut save = session.start(save, &TOLD, (Stdio::piped(), Stdio::inherit()), None)?;
    ssh::feed(&mut save, digests(&has));
    ssh::finish_one(save).map(drop)
}

/// Sends a stream of what the other machine lacks. Returns what its `load` has written.
fn send(session: &Session<'_>, save: &Step, load: &Step, has: &[u8]) -> anyhow::Result<Vec<u8>> {
    let told = [&["--json"], &TOLD[..]].concat();
    let mut load = session.start(load, &told, (Stdio::piped(), Stdio::piped()), None)?;
    load.read_answer();
    let streams = (Stdio::piped(), load.input());
    let mut save = session.start(save, &TOLD, streams, Some(SAVED))?;
    ssh::feed(&mut save, digests(has));
    let [_, loaded] = ssh::finish(save, load)?;
    Ok(loaded)
}

/// Sends standard input as it is.
fn stream(session: &Session<'_>, load: &Step) -> anyhow::Result<Vec<u8>> {
    let told = [&["--json"], &TOLD[..]].concat();
    let mut load = session.start(load, &told, (Stdio::inherit(), Stdio::piped()), Some(LOADED))?;
    load.read_answer();
    ssh::finish_one(load)
}

/// The lines that are digests. A shell may greet whoever comes, on standard output.
fn digests(answer: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.lines().filter(|line| line.trim().parse::<Digest>().is_ok());
    lines.flat_map(|line| [line.trim(), "\n"]).collect::<String>().into_bytes()
}

fn tell(image: &Loaded, address: &Address, io: &mut Io<'_>) -> anyhow::Result<()> {
    let (new, reused) = image.bytes;
    let status = format!(
        "Pushed {} to {}: {} new, {} there already",
        image.shown(),
        address.machine,
        cli::human_size(new),
        cli::human_size(reused)
    );
    let event = ImageEvent {
        name: image.name.as_ref().map(layer_format::Reference::full),
        digest: image.digest.to_string(),
        status: "Pushed",
        is_important: false,
    };
    io.progress.image(event, &[&status]);
    writeln!(io.output, "{}", image.pinned()).context("writing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_stands_after_the_host() {
        let store = |text: &str| far_store(&text.parse().unwrap()).unwrap();
        assert_eq!(store("ssh://h"), None);
        assert_eq!(store("ssh://h/"), None);
        assert_eq!(store("ssh://h/srv/s/").as_deref(), Some("/srv/s"));
        assert_eq!(store("ssh://h/~/s").as_deref(), Some("./s"));
        assert_eq!(store("ssh://h?store=s").as_deref(), Some("s"));
        far_store(&"ssh://h/a?store=b".parse().unwrap()).unwrap_err();
    }

    #[test]
    fn a_greeting_is_no_digest() {
        let digest = Digest::of(b"x").to_string();
        let answer = format!("Welcome!\n{digest}\r\n\n-rf\n");
        assert_eq!(digests(answer.as_bytes()), format!("{digest}\n").as_bytes());
    }
}
