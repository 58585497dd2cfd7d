//! `ssh://HOST/IMAGE`: images come out of another machine's store. What is run is what anybody could type:
//!
//! ```text
//! images digests --all | ssh HOST save IMAGE --have - | load
//! ```
//!
//! and then `save IMAGE`, if the images are to be streamed as well; or without a store `ssh HOST save IMAGE` alone.

use std::io::Write as _;
use std::process::Stdio;

use cli::{ImageEvent, Io};
use layer_format::Reference;
use network::ssh::{self, Address, Loaded, Session, Shown, Step};

use crate::Args;

/// How the tasks of `load`, and of the other machine's `save`, appear among ours.
const LOADED: Shown =
    Shown { going: ("Loading", "Downloading"), done: ("Loaded", "Pull complete") };
const SAVED: Shown = Shown { going: ("Saving", "Downloading"), done: ("Saved", "Pull complete") };
/// The words by which our programs tell how far they are. A terminal needs none of them.
const TOLD: [&str; 2] = ["--progress", "json"];

/// The addresses of images, all of one machine and one store there.
///
/// # Errors
/// Wrong usage: they are of several machines, or one names no image.
fn images<'a>(addresses: &'a [&Address]) -> anyhow::Result<(&'a Address, Vec<&'a str>)> {
    let first = addresses[0];
    let mut images = vec![];
    for address in addresses {
        if (&address.machine, &address.store) != (&first.machine, &first.store) {
            let text = "images of several machines are pulled one machine after the other";
            return Err(cli::usage(text).into());
        }
        let image = address.path.as_str();
        if image.is_empty() {
            let text = format!("{}: which image? ssh://{0}/IMAGE", address.machine);
            return Err(cli::usage(text).hint(format!("ssh {} images", address.machine)).into());
        }
        // Over there it would be an option, a stream or a file.
        if image.starts_with(['-', '/', '.']) {
            return Err(cli::usage(format!("{image}: not the name of an image")).into());
        }
        images.push(image);
    }
    Ok((first, images))
}

/// Pulls images out of the store of another machine.
pub(crate) fn pull(args: &Args, addresses: &[&Address], io: &mut Io<'_>) -> anyhow::Result<()> {
    refuse(args)?;
    let (address, images) = images(addresses)?;
    let is_streamed =
        !args.dry_run && !args.no_stream && (args.no_store || !io.output.is_char_device());
    if is_streamed {
        io.output.binary()?;
    }
    let progress = io.progress.clone();
    let session = Session::new(&address.machine, &progress, args.verbose);
    let platform = args.platform.as_ref().map(ToString::to_string);
    let save = Step::there(&["save"])
        .and(&images)
        .option("--store", address.store.as_deref())
        .option("--platform", platform.as_deref())
        .flag("--referrers", args.referrers);
    if args.dry_run {
        return session.with_programs(|| tell_only(args, &session, &save));
    }
    if args.no_store {
        return session.with_programs(|| pass(&session, &save));
    }
    let loaded = session.with_programs(|| take(args, &session, &save))?;
    let loaded = Loaded::parse_all(&loaded);
    if is_streamed {
        stream(args, &session, &loaded)?;
    }
    for image in &loaded {
        if !is_streamed {
            writeln!(io.output, "{}", image.digest)?;
        }
        tell(image, address, io);
    }
    Ok(io.output.flush()?)
}

/// Refuses what only a registry can do. All platforms come that the other store has, unless one is named.
fn refuse(args: &Args) -> anyhow::Result<()> {
    let flags = [("--no-layers", args.no_layers), ("--explain-auth", args.explain_auth)];
    let flag = flags.into_iter().find_map(|(name, is_given)| is_given.then_some(name));
    Ok(ssh::refuse(flag.or_else(|| args.network.given()))?)
}

/// Only tells what would come.
fn tell_only(args: &Args, session: &Session<'_>, save: &Step) -> anyhow::Result<()> {
    let digests = Step::here(&["images", "digests", "--all"]).option("--store", own_store(args));
    let save = save.clone().and(&["--have", "-", "--dry-run"]).flag("--json", args.json);
    session.show(&[&digests, &save]);
    let has = if args.no_store { vec![] } else { session.answer(&digests)? };
    let mut save = session.start(&save, &TOLD, (Stdio::piped(), Stdio::inherit()), None)?;
    ssh::feed(&mut save, has);
    ssh::finish_one(save).map(drop)
}

/// Passes the other machine's stream on to our standard output.
fn pass(session: &Session<'_>, save: &Step) -> anyhow::Result<()> {
    session.show(&[save]);
    let streams = (Stdio::null(), Stdio::inherit());
    let save = session.start(save, &TOLD, streams, Some(SAVED))?;
    ssh::finish_one(save).map(drop)
}

/// Brings into our store what it lacks of the images. Returns what `load` has written.
fn take(args: &Args, session: &Session<'_>, save: &Step) -> anyhow::Result<Vec<u8>> {
    let store = own_store(args);
    let digests = Step::here(&["images", "digests", "--all"]).option("--store", store);
    let save = save.clone().and(&["--have", "-"]);
    let load = Step::here(&["load"]).option("--store", store).flag("--verify", args.verify);
    session.show(&[&digests, &save, &load]);
    let has = session.answer(&digests)?;
    let mut save = session.start(&save, &TOLD, (Stdio::piped(), Stdio::piped()), None)?;
    ssh::feed(&mut save, has);
    let told = [&["--json"], &TOLD[..]].concat();
    let streams = (save.output(), Stdio::piped());
    let mut load = session.start(&load, &told, streams, Some(LOADED))?;
    load.read_answer();
    let [_, loaded] = ssh::finish(save, load)?;
    Ok(loaded)
}

/// Writes the images that have come to our standard output.
fn stream(args: &Args, session: &Session<'_>, loaded: &[Loaded]) -> anyhow::Result<()> {
    let names: Vec<String> = loaded.iter().map(Loaded::shown).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let save = Step::here(&["save"]).and(&names).option("--store", own_store(args));
    session.show(&[&save]);
    let save = session.start(&save, &TOLD, (Stdio::null(), Stdio::inherit()), None)?;
    ssh::finish_one(save).map(drop)
}

/// The store, if it isn't the one that programs use anyway.
fn own_store(args: &Args) -> Option<&str> {
    let store = args.common.store.as_deref().and_then(|path| path.to_str());
    store.filter(|store| std::env::var_os("STRATA_STORE").is_none_or(|usual| usual != **store))
}

/// The last lines, in Docker's words.
fn tell(image: &Loaded, address: &Address, io: &Io<'_>) {
    let (new, reused) = image.bytes;
    let status = if new == 0 { "Image is up to date" } else { "Downloaded newer image" };
    let event = ImageEvent {
        name: image.name.as_ref().map(Reference::full),
        digest: image.digest.to_string(),
        status,
        is_important: false,
    };
    let lines = [
        format!("Digest: {}", image.digest),
        format!(
            "Status: {status} for {} of {}: {} new, {} here already",
            image.shown(),
            address.machine,
            cli::human_size(new),
            cli::human_size(reused)
        ),
    ];
    io.progress.image(event, &[&lines[0], &lines[1]]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(texts: &[&str]) -> anyhow::Result<Vec<String>> {
        let addresses: Vec<Address> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let addresses: Vec<&Address> = addresses.iter().collect();
        Ok(images(&addresses)?.1.iter().map(|&image| image.to_owned()).collect())
    }

    #[test]
    fn the_images_are_of_one_machine_and_no_files_or_options() {
        assert_eq!(check(&["ssh://h/a:1", "ssh://h/r.test/b"]).unwrap(), ["a:1", "r.test/b"]);
        for wrong in [
            &["ssh://h/a", "ssh://other/b"][..],
            &["ssh://h/a?store=s", "ssh://h/b"],
            &["ssh://h"],
            &["ssh://h/-a"],
            &["ssh://h//etc/passwd"],
            &["ssh://h/../x"],
        ] {
            check(wrong).unwrap_err();
        }
    }
}
