//! What is done on each machine: every program with what the one before it made, and the digest of what comes out.
//!
//! No shell is needed: a step's standard output is a file, which later steps read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use kit::image::random::{Random, Times, random_with};
use kit::tree::{self, Show};
use kit::{EPOCH, Image, Named, Producer};

use super::place::Place;
use super::registries::Registries;

/// What each step made, by the step's name: a digest.
pub(super) type Outcome = BTreeMap<&'static str, String>;

/// A step.
#[derive(Clone)]
struct Step {
    /// The name under which its standard output is kept, as a file and by digest.
    name: &'static str,
    /// The program and its arguments. `{names}` is a registry by a name that only DNS has, `{address}` the same by its
    /// address, `{tls}` another that is spoken to by TLS. `<` stands before the file of standard input.
    line: &'static str,
    /// How it ends.
    status: i32,
}

const fn step(name: &'static str, line: &'static str) -> Step {
    Step { name, line, status: 0 }
}

/// Until the tree is changed.
const BEFORE: &[Step] = &[
    step("load", "load -q in.tar"),
    step("images", "images --lock"),
    step("unpack", "unpack -q --from app:1 root"),
];

/// From then on.
const AFTER: &[Step] = &[
    step("snapshot", "snapshot -q root"),
    step("snapshot-list", "snapshot -q --list root"),
    step("commit-gzip", "commit -q -m change -t gzip:6 snapshot"),
    step("commit-gzip-1", "commit -q -m change --level 1 -t gzip:1 snapshot"),
    step("commit-zstd-1", "commit -q -m change --compress zstd --level 1 -t zstd:1 snapshot"),
    step("commit-zstd-3", "commit -q -m change --compress zstd --level 3 -t zstd:3 snapshot"),
    step("commit-zstd-6", "commit -q -m change --compress zstd --level 6 -t zstd:6 snapshot"),
    step("commit-zstd-19", "commit -q -m change --compress zstd --level 19 -t zstd:19 snapshot"),
    step("commit-none", "commit -q -m change --compress none -t none:1 snapshot"),
    step("rebase", "rebase -q --from app:1 --onto app:2 -t rebased:1 gzip:6"),
    step("save", "save -q gzip:6 zstd:3 none:1"),
    step("save-thin", "save -q --base app:1 gzip:6"),
    step("load-other", "load -q --store other in.tar"),
    step("load-thin", "load -q --store other save-thin"),
    step("save-one", "save -q zstd:19"),
    step("unpack-pipe", "unpack -q piped < save-one"),
    step("flatten", "flatten -q gzip:6"),
    step("flatten-zstd", "flatten -q --as-image flat:1 --compress zstd gzip:6"),
    Step { name: "changes", line: "changes -q app:1 gzip:6", status: 1 },
    step("changes-same", "changes -q gzip:6 zstd:3 --ignore config"),
    step("inspect", "inspect gzip:6"),
    step("inspect-layers", "inspect --layers none:1"),
    step("inspect-files", "inspect --files zstd:3"),
    step("inspect-cat", "inspect --cat /changed none:1"),
    step("verify", "images -q verify"),
    step("rm", "images -q rm gzip:1 rebased:1"),
    step("gc", "images -q gc"),
    step("verify-again", "images -q verify"),
];

/// With mounts, each of which ends with its step. `{programs}` is where the programs are.
const BY_MOUNT: &[Step] = &[
    step("union", "union -q gzip:6 m -- {programs}/changes -q gzip:6 dir:m"),
    step("union-upper", "union -q --upper up gzip:6 m -- {programs}/unpack -q --from app:2 m/made"),
    step("union-snapshot", "union -q --upper up gzip:6 m -- {programs}/snapshot -q --list m"),
];

/// With a registry, by its address: even where no name can be resolved.
const BY_ADDRESS: &[Step] = &[
    step("push", "push -q gzip:6 {address}/app:6"),
    step("pull", "pull -q --store pulled --no-stream {address}/app:6"),
    step(
        "pull-platform",
        "pull -q --store pulled --no-stream --platform linux/s390x {address}/many:1",
    ),
    step("remote-tags", "remote tags {address}/app"),
];

/// By names.
const BY_NAME: &[Step] = &[
    step("push-name", "push -q --insecure {names} zstd:3 {names}/named:3"),
    step("pull-name", "pull -q --insecure {names} --store named --no-stream {names}/named:3"),
];

/// By TLS, with the authorities of the place's own list.
const BY_TLS: &[Step] = &[
    step("push-tls", "push -q none:1 {tls}/app:1"),
    step("pull-tls", "pull -q --store tls --no-stream {tls}/app:1"),
];

/// Where no name can be resolved: it's said, and nothing dies.
const NO_NAMES: &[Step] = &[Step {
    name: "no-names",
    line: "pull -q --store named --no-stream {names}/named:3",
    status: 5,
}];

/// What names a place can resolve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Names {
    /// Those that its name server knows.
    Some,
    /// None.
    None,
}

/// The platform of the images, wherever they are read.
const PLATFORM: &str = "linux/amd64";
/// How many bytes of text and of noise the changed tree has more: enough for several of a compressor's blocks.
const N_ADDED: usize = 3 << 20;

/// Runs all of it, with images of such times, and tells what came out.
pub(super) fn run(
    place: &Place,
    registries: &Registries,
    names: Names,
    times: Times,
) -> anyhow::Result<Outcome> {
    let mut runner = Runner { place, registries, outcome: Outcome::new() };
    fs::write(place.work.join("in.tar"), archive(times)).context("writing the archive")?;
    runner.run(BEFORE)?;
    runner.note_tree("tree", "root");
    change(&place.work.join("root")).context("changing the tree")?;
    runner.run(AFTER)?;
    runner.note_tree("tree-changed", "piped");
    if place.can_mount() {
        runner.run(BY_MOUNT)?;
    }
    runner.run(BY_ADDRESS)?;
    match names {
        Names::None => runner.run(NO_NAMES)?,
        Names::Some => runner.run(BY_NAME)?,
    }
    if names == Names::Some && registries.has_tls() {
        runner.run(BY_TLS)?;
    }
    Ok(runner.outcome)
}

/// Two images, as docker writes them.
fn archive(times: Times) -> Vec<u8> {
    let named = |name, image: Image| Named::new(name, image.platform(PLATFORM));
    let (one, two) = (random_with(1, 3, 120, times), random_with(2, 2, 50, times));
    Producer::Docker25.write(&[named("app:1", one), named("app:2", two)])
}

/// What a container might have done: new files, one of text and one of noise, links, a changed file, and a directory that
/// is gone.
fn change(root: &Path) -> anyhow::Result<()> {
    let text = b"what is said again and again\n".iter().copied().cycle().take(N_ADDED);
    write(&root.join("changed"), &text.collect::<Vec<u8>>())?;
    write(&root.join("noise"), &Random::new(3).bytes(N_ADDED))?;
    write(&root.join("f2.0"), b"other than before\n")?;
    std::os::unix::fs::symlink("changed", root.join("link"))?;
    fs::hard_link(root.join("noise"), root.join("shared/noise"))?;
    fs::remove_dir_all(root.join("d1"))?;
    Ok(())
}

/// Writes a file with a time of whole seconds: qemu's fstat on s390x tells no others, and a file with another time than
/// statx tells has changed while it was read.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    fs::write(path, bytes)?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH.unsigned_abs());
    Ok(File::options().write(true).open(path)?.set_modified(time)?)
}

/// Runs steps and keeps what they made.
struct Runner<'a> {
    place: &'a Place,
    registries: &'a Registries,
    outcome: Outcome,
}

impl Runner<'_> {
    fn run(&mut self, steps: &[Step]) -> anyhow::Result<()> {
        steps.iter().try_for_each(|step| self.step(step).with_context(|| step.line.to_owned()))
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let line = self.registries.named_in(step.line);
        let line = line.replace("{programs}", &self.place.programs_inside());
        let (words, input) = line.split_once(" < ").map_or((&*line, None), |(a, b)| (a, Some(b)));
        let mut words = words.split(' ');
        let mut command = self.place.program(words.next().context("a step has words")?);
        command
            .args(words)
            .env("STRATA_STORE", "store")
            .env("SOURCE_DATE_EPOCH", EPOCH.to_string());
        let output = self.place.work.join(step.name);
        let made = File::create(&output).context("a file for standard output")?;
        let input = match input {
            Some(name) => File::open(self.place.work.join(name)).context("standard input")?.into(),
            None => Stdio::null(),
        };
        let ended = command.stdin(input).stdout(made).stderr(Stdio::piped()).output();
        let ended = ended.context("starting it")?;
        let errors = String::from_utf8_lossy(&ended.stderr);
        let errors = errors.trim_end();
        ensure!(ended.status.code() == Some(step.status), "{}: {errors}", ended.status);
        self.note(step.name, &fs::read(&output).context("what it made")?);
        Ok(())
    }

    fn note(&mut self, name: &'static str, bytes: &[u8]) {
        let text = std::str::from_utf8(bytes).map(|text| self.registries.hidden_in(text));
        let digest = text.map_or_else(|_| kit::digest(bytes), |text| said(text.trim_end()));
        self.outcome.insert(name, digest);
    }

    /// Notes a tree: its names, contents, owners, modes, attributes, and times. The root's own line is left out, because no
    /// layer of these images gives it a time.
    fn note_tree(&mut self, name: &'static str, dir: &str) {
        let shown = tree::show_with(self.place.work.join(dir), Show::ALL);
        let below = shown.split_once('\n').map_or("", |(_root, below)| below);
        self.note(name, below.as_bytes());
    }
}

/// The digest that a program has told, or that of what it said otherwise.
fn said(text: &str) -> String {
    let is_digest = text.starts_with("sha256:") && text.len() == kit::digest(b"").len();
    if is_digest { text.to_owned() } else { kit::digest(text.as_bytes()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_that_was_told_is_shown() {
        let digest = kit::digest(b"some");
        assert_eq!(said(&digest), digest);
        assert_eq!(said("some"), digest);
        assert_eq!(said(&format!("{digest}\n{digest}")).len(), digest.len());
    }

    #[test]
    fn every_step_keeps_what_it_made_under_a_name_of_its_own() {
        let steps = [BEFORE, AFTER, BY_MOUNT, BY_ADDRESS, BY_NAME, BY_TLS, NO_NAMES].concat();
        let mut names: Vec<_> = steps.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), steps.len());
    }
}
