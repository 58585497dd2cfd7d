//! The scenario natively, which is the reference, and beside it on other machines.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use kit::image::random::Times;

use super::builds::{Builder, Effort};
use super::names;
use super::place::{Place, Start};
use super::registries::Registries;
use super::roots::{Debian, EMULATORS, Kept};
use super::scenario::{self, Names, Outcome};
use crate::payload::{PROGRAM, emptied};
use crate::release::{Platform, platform};
use xtask::run::{output, run, say, works};
use xtask::workspace::Workspace;

/// What the machines share; made when it is first asked for.
pub(super) struct Lab {
    kept: Kept,
    registries: OnceCell<Registries>,
    builder: OnceCell<Builder>,
    reference: OnceCell<Outcome>,
    /// The same with whole seconds.
    whole_reference: OnceCell<Outcome>,
    effort: Effort,
    /// The program for each architecture that it was built for.
    built: RefCell<BTreeMap<&'static str, PathBuf>>,
}

/// What is made at most once, and can fail.
fn once<T>(cell: &OnceCell<T>, make: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<&T> {
    if cell.get().is_none() {
        cell.set(make()?).ok();
    }
    cell.get().context("it has just been made")
}

impl Lab {
    /// A lab in which nothing is made yet.
    pub(super) fn open(effort: Effort) -> anyhow::Result<Self> {
        Ok(Self {
            kept: Kept::open()?,
            registries: OnceCell::new(),
            builder: OnceCell::new(),
            reference: OnceCell::new(),
            whole_reference: OnceCell::new(),
            effort,
            built: RefCell::default(),
        })
    }

    /// Makes the tools that a build needs and this machine lacks.
    pub(super) fn prepare(&self) -> anyhow::Result<()> {
        self.builder().map(drop)
    }

    /// What a build for this machine makes; every digest is shown.
    pub(super) fn native(&self) -> anyhow::Result<String> {
        let outcome = self.reference(Times::Odd)?;
        for (name, digest) in outcome {
            say(&format!("{name:16} {digest}"));
        }
        Ok(format!("{} steps, {}", outcome.len(), output(&["rustc", "--version"])?.trim()))
    }

    /// A root that has a release, the authorities and a name server, and no other file; it may have an nsswitch.conf.
    pub(super) fn bare(&self, name: &str, nsswitch: Option<&str>) -> anyhow::Result<String> {
        let dir = self.emptied(name)?;
        if let Some(text) = nsswitch {
            fs::create_dir_all(dir.join("etc")).context("making etc")?;
            fs::write(dir.join("etc/nsswitch.conf"), text).context("nsswitch.conf")?;
        }
        self.in_root(Start::BareRoot, &dir, Names::Some)
    }

    /// The same without a name server: what needs no name works, and what needs one says so.
    pub(super) fn without_names(&self) -> anyhow::Result<String> {
        self.in_root(Start::BareRoot, &self.emptied("no-names")?, Names::None)
    }

    /// A root of a Debian.
    pub(super) fn debian(&self, debian: &Debian) -> anyhow::Result<String> {
        let root = self.kept.debian(debian)?;
        let version = fs::read_to_string(root.join("etc/debian_version")).context("its version")?;
        let held = self.in_root(Start::Root, &root, Names::Some)?;
        Ok(format!("Debian {}: {held}", version.trim()))
    }

    /// Another architecture, by this machine's processor if it can, else by an emulator. `times` are those of the images.
    pub(super) fn other(&self, arch: &str, times: Times) -> anyhow::Result<String> {
        let platform = platform(arch)?;
        let program = self.program(platform)?;
        let (start, how) = self.start_of(platform, &program)?;
        let outcome = self.outcome(start, &self.emptied(arch)?, &program, Names::Some, times)?;
        Ok(format!("{how}: {}", compare(self.reference(times)?, &outcome)?))
    }

    /// What needs no Linux type-checks for macOS.
    pub(super) fn macos(&self) -> anyhow::Result<String> {
        self.builder()?.check_macos()?;
        Ok("what needs no Linux type-checks; not run".to_owned())
    }

    /// Every program type-checks for another architecture, where CI has no time to build.
    pub(super) fn arch_check(&self, arch: &str) -> anyhow::Result<String> {
        self.builder()?.check_linux(platform(arch)?)?;
        Ok("all programs type-check; not run".to_owned())
    }

    fn start_of(&self, platform: &Platform, program: &Path) -> anyhow::Result<(Start, String)> {
        let program = program.display().to_string();
        if works(&[&program, "--version"]) {
            return Ok((Start::Here, "by this processor".to_owned()));
        }
        let emulators = self.kept.debian(&EMULATORS)?.join("usr/bin");
        let emulator = emulators.join(format!("qemu-{}-static", platform.qemu));
        let version = output(&[&emulator.display().to_string(), "--version"])?;
        let version = version.lines().next().unwrap_or_default().to_owned();
        Ok((Start::Emulated(emulator), version))
    }

    fn in_root(&self, start: Start, root: &Path, names: Names) -> anyhow::Result<String> {
        let program = self.program(platform("x86_64")?)?;
        let n_before = self.registries()?.n_names_asked();
        let outcome = self.outcome(start, root, &program, names, Times::Odd)?;
        let n_asked = self.registries()?.n_names_asked() - n_before;
        ensure!((n_asked > 0) == (names == Names::Some), "{n_asked} names were asked for");
        let held = compare(self.reference(Times::Odd)?, &outcome)?;
        Ok(format!("{held}, {n_asked} names asked for"))
    }

    fn outcome(
        &self,
        start: Start,
        dir: &Path,
        strata: &Path,
        names: Names,
        times: Times,
    ) -> anyhow::Result<Outcome> {
        let place = Place::new(start, dir, strata)?;
        let name_server = (names == Names::Some).then_some(names::ADDRESS);
        place.set_network(name_server, &self.registries()?.authorities()?)?;
        let outcome = scenario::run(&place, self.registries()?, names, times)?;
        place.clear()?;
        Ok(outcome)
    }

    fn reference(&self, times: Times) -> anyhow::Result<&Outcome> {
        let cell = match times {
            Times::Odd => &self.reference,
            Times::Whole => &self.whole_reference,
        };
        once(cell, || {
            // All of them, as tests build them: then nothing is built twice.
            run(&["cargo", "build", "--workspace", "--bins"])?;
            let strata = Workspace::read()?.target.join("debug").join(PROGRAM);
            self.outcome(Start::Here, &self.emptied("native")?, &strata, Names::Some, times)
        })
    }

    fn registries(&self) -> anyhow::Result<&Registries> {
        once(&self.registries, Registries::start)
    }

    fn builder(&self) -> anyhow::Result<&Builder> {
        once(&self.builder, || Builder::prepare(&self.kept))
    }

    /// The program for an architecture, which is built once.
    fn program(&self, platform: &Platform) -> anyhow::Result<PathBuf> {
        if let Some(program) = self.built.borrow().get(platform.arch) {
            return Ok(program.clone());
        }
        let program = self.builder()?.program(platform, self.effort)?;
        self.built.borrow_mut().insert(platform.arch, program.clone());
        Ok(program)
    }

    fn emptied(&self, name: &str) -> anyhow::Result<PathBuf> {
        emptied(self.kept.path("places").join(name))
    }
}

/// Tells how many steps made what the reference did; any other outcome is an error.
fn compare(reference: &Outcome, outcome: &Outcome) -> anyhow::Result<String> {
    let is_same = |name: &str| outcome.get(name) == reference.get(name);
    let is_wrong = |name: &&&str| reference.contains_key(**name) && !is_same(name);
    let wrong: Vec<&str> = outcome.keys().filter(is_wrong).copied().collect();
    ensure!(wrong.is_empty(), "another digest than natively: {}", wrong.join(", "));
    let missing: Vec<&str> =
        reference.keys().copied().filter(|it| !outcome.contains_key(it)).collect();
    let n_same = reference.len() - missing.len();
    let missing = listed("; left out: ", &missing);
    Ok(format!("{n_same} of {} digests are native's{missing}", reference.len()))
}

/// Names after what they are; nothing if there are none.
fn listed(what: &str, names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("{what}{}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_digest_is_an_error_and_a_step_less_is_told() {
        let outcome = |text: &'static str| -> Outcome {
            text.split(' ')
                .map(|it| it.split_once('=').unwrap())
                .map(|(a, b)| (a, b.to_owned()))
                .collect()
        };
        let reference = outcome("a=1 b=2 c=3");
        let compare = |text| compare(&reference, &outcome(text));
        assert_eq!(compare("a=1 b=2 c=3").unwrap(), "3 of 3 digests are native's");
        assert_eq!(compare("a=1 b=2 d=4").unwrap(), "2 of 3 digests are native's; left out: c");
        let error = compare("a=1 b=9 c=9").unwrap_err().to_string();
        assert_eq!(error, "another digest than natively: b, c");
    }
}
