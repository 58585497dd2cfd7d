//! `cargo xtask dist`: what `install` installs, packed for machines that build nothing.
//!
//! ```text
//! strata-VERSION-linux-ARCH.tar.gz      strata-VERSION-linux-ARCH/
//!                                         bin/ share/  LICENSE-* README.md CHANGELOG.md SHA256SUMS
//! strata_VERSION_DEBARCH.deb            the same below /usr, where dpkg-deb is there
//! ```
//!
//! The programs are static and run on every Linux of their architecture. With `--dynamic` they need a C library, whose
//! version stands in the tar's name (`…-linux-ARCH-glibc2.34.tar.gz`) and in the package's `Depends`.
//!
//! The same files give the same bytes on every machine and at any time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::needs::{self, Linking, Needs, Version};
use crate::payload::{self, Content, Item, PROGRAM, emptied};
use crate::release::{self, Platform};
use xtask::run::{output, root, run, say, works};
use xtask::workspace::Workspace;

const TEXTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"];
const ZSH: &str = "placing zsh's completions";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What `dist` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Architecture to pack for; may be given several times [default: this machine's]
    #[arg(long, value_name = "ARCH", value_parser = release::platform)]
    arch: Vec<&'static Platform>,
    /// Link with this machine's C library: what is packed runs where that one or a newer one is
    #[arg(long, conflicts_with = "arch")]
    dynamic: bool,
    /// With --dynamic, the newest version of glibc that the programs may need
    #[arg(long, value_name = "VERSION", default_value = needs::FLOOR, requires = "dynamic")]
    floor: Version,
}

/// What is packed, and for whom.
struct Release {
    platform: &'static Platform,
    items: Vec<Item>,
    /// The C library that the programs need; static ones need none.
    glibc: Option<Version>,
}

/// Builds for release and packs.
pub(crate) fn dist(args: &Args) -> anyhow::Result<()> {
    let own = [release::own_platform()?];
    let platforms = if args.arch.is_empty() { &own[..] } else { &args.arch[..] };
    let build = |platform: &&'static Platform| Release::build(platform, args);
    let releases: Vec<Release> = platforms.iter().map(build).collect::<anyhow::Result<_>>()?;
    let dir = Workspace::read()?.target.join("dist");
    releases.iter().try_for_each(|release| pack(release, &dir))
}

impl Release {
    fn build(platform: &'static Platform, args: &Args) -> anyhow::Result<Self> {
        if !args.dynamic {
            let items = payload::with_program(release::build_static(platform)?)?;
            return Ok(Self { platform, items, glibc: None });
        }
        let program = release::build_here()?;
        let needs = Needs::of(&program)?;
        let checked = needs.check(Linking::Dynamic { floor: args.floor });
        checked.with_context(|| program.display().to_string())?;
        Ok(Self { platform, items: payload::with_program(program)?, glibc: needs.glibc })
    }

    /// What the tar and its directory are called.
    fn name(&self) -> String {
        let needs = self.glibc.map(|version| format!("-glibc{version}")).unwrap_or_default();
        format!("strata-{VERSION}-linux-{}{needs}", self.platform.arch)
    }

    /// The line of the Debian package that says what must be there; none for programs that need nothing.
    fn depends(&self) -> String {
        let needs = self.glibc.map(|version| format!("Depends: libc6 (>= {version}), libgcc-s1\n"));
        needs.unwrap_or_default()
    }
}

fn pack(release: &Release, dist: &Path) -> anyhow::Result<()> {
    say(&tar(release, dist)?);
    if works(&["dpkg-deb", "--version"]) {
        say(&debian(release, dist)?);
    } else {
        say("no Debian package: dpkg-deb isn't here");
    }
    Ok(())
}

/// The tar; it unpacks into one directory, with a checksum for each of its files.
fn tar(release: &Release, dist: &Path) -> anyhow::Result<String> {
    let name = release.name();
    let dir = emptied(dist.join(&name))?;
    release.items.iter().try_for_each(|item| item.put(&dir))?;
    texts(&dir)?;
    checksums(&dir, "sha256sum", "SHA256SUMS")?;
    let tar = format!("{}/{name}.tar.gz", dist.display());
    let (file, place) = (format!("--file={tar}"), format!("--directory={}", dist.display()));
    let time = format!("--mtime=@{}", epoch());
    let owner = ["--owner=0", "--group=0", "--numeric-owner", "--mode=u=rwX,go=rX"];
    let how = ["--create", "--sort=name", "--format=gnu", "--use-compress-program=gzip -9n"];
    run(&[&["tar"], &how[..], &owner[..], &[&file, &place, &time, &name]].concat())?;
    Ok(tar)
}

/// The Debian package.
fn debian(release: &Release, dist: &Path) -> anyhow::Result<String> {
    let arch = release.platform.debian;
    let dir = emptied(dist.join(format!("debian-{arch}")))?;
    release.items.iter().try_for_each(|item| item.put(&dir.join("usr")))?;
    compress_pages(&dir.join("usr/share/man"))?;
    // Debian's zsh looks there.
    let zsh = dir.join("usr/share/zsh");
    fs::rename(zsh.join("site-functions"), zsh.join("vendor-completions")).context(ZSH)?;
    let doc = dir.join("usr/share/doc").join(PROGRAM);
    fs::create_dir_all(&doc).context("making the directory of documents")?;
    fs::copy(root().join("README.md"), doc.join("README.md")).context("README.md")?;
    fs::copy(root().join("CHANGELOG.md"), doc.join("changelog")).context("CHANGELOG.md")?;
    compress(&doc.join("changelog"))?;
    fs::write(doc.join("copyright"), copyright()?).context("writing copyright")?;
    let control = dir.join("DEBIAN");
    fs::create_dir_all(&control).context("making DEBIAN")?;
    let program = dir.join("usr/bin").join(PROGRAM);
    let kilobytes = fs::metadata(&program).context("the program")?.len() / 1024 + 1;
    fs::write(control.join("control"), control_file(arch, kilobytes, &release.depends()))
        .context("writing control")?;
    sums_of_package(&dir)?;
    let package = format!("{}/{PROGRAM}_{VERSION}_{arch}.deb", dist.display());
    let time = format!("SOURCE_DATE_EPOCH={}", epoch());
    run(&["chmod", "-R", "u=rwX,go=rX", &dir.display().to_string()])?;
    let dir = dir.display().to_string();
    // Xz with one thread gives the same bytes on every machine.
    run(&[
        "env",
        &time,
        "dpkg-deb",
        "--root-owner-group",
        "--threads-max=1",
        "--build",
        &dir,
        &package,
    ])?;
    Ok(package)
}

fn control_file(arch: &str, kilobytes: u64, depends: &str) -> String {
    format!(
        "Package: {PROGRAM}\n\
         Version: {VERSION}\n\
         Architecture: {arch}\n\
         Maintainer: The Strata developers <strata@localhost>\n\
         Installed-Size: {kilobytes}\n\
         {depends}\
         Recommends: ca-certificates\n\
         Section: admin\n\
         Priority: optional\n\
         Description: container images as Unix pipes\n \
         Small programs that each do one thing to a layered image and cooperate through\n \
         standard input and standard output: pull, unpack, snapshot, commit, rebase,\n \
         save, load, push, remote, images, inspect, flatten, changes and union.\n"
    )
}

/// The licences, in the form that Debian's policy asks for.
fn copyright() -> anyhow::Result<String> {
    let mut text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                    Files: *\nCopyright: The Strata developers\nLicense: Apache-2.0 or Expat\n"
        .to_owned();
    for (name, file) in [("Apache-2.0", "LICENSE-APACHE"), ("Expat", "LICENSE-MIT")] {
        let licence = fs::read_to_string(root().join(file)).context(file)?;
        write!(text, "\nLicense: {name}\n").expect("writing to a String can't fail");
        for line in licence.lines() {
            let line = if line.trim().is_empty() { "." } else { line };
            writeln!(text, " {line}").expect("writing to a String can't fail");
        }
    }
    Ok(text)
}

fn compress_pages(man: &Path) -> anyhow::Result<()> {
    for section in payload::files(man)? {
        payload::files(&section)?.iter().try_for_each(|page| compress(page))?;
    }
    Ok(())
}

fn compress(file: &Path) -> anyhow::Result<()> {
    run(&["gzip", "-9n", &file.display().to_string()])
}

/// What `dpkg --verify` goes by.
fn sums_of_package(dir: &Path) -> anyhow::Result<()> {
    checksums(&dir.join("usr"), "md5sum", "../DEBIAN/md5sums")?;
    let path = dir.join("DEBIAN/md5sums");
    let sums = fs::read_to_string(&path).context("md5sums")?.replace("  ./", "  usr/");
    fs::write(path, sums).context("md5sums")
}

fn texts(dir: &Path) -> anyhow::Result<()> {
    for text in TEXTS {
        let content = Content::File(root().join(text));
        Item { place: PathBuf::from(text), content }.put(dir)?;
    }
    Ok(())
}

fn checksums(dir: &Path, program: &str, file: &str) -> anyhow::Result<()> {
    let place = format!("--chdir={}", dir.display());
    let script = format!("find . -type f | LC_ALL=C sort | xargs {program}");
    let sums = output(&["env", &place, "sh", "-c", &script])?;
    ensure!(!sums.is_empty(), "nothing to sum up in {}", dir.display());
    fs::write(dir.join(file), sums).with_context(|| format!("writing {file}"))
}

/// The time of everything that is packed, in seconds since 1970.
fn epoch() -> String {
    std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| "0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(glibc: Option<&str>) -> Release {
        let glibc = glibc.map(|version| version.parse().unwrap());
        Release { platform: release::platform("aarch64").unwrap(), items: Vec::new(), glibc }
    }

    #[test]
    fn a_static_release_names_no_c_library_and_a_dynamic_one_does() {
        let (free, bound) = (release(None), release(Some("2.34")));
        assert_eq!(free.name(), format!("strata-{VERSION}-linux-aarch64"));
        assert_eq!(bound.name(), format!("strata-{VERSION}-linux-aarch64-glibc2.34"));
        let control = control_file("arm64", 1, &free.depends());
        assert!(!control.contains("Depends"), "{control}");
        assert!(control.contains("\nInstalled-Size: 1\nRecommends: "), "{control}");
        let control = control_file("arm64", 1, &bound.depends());
        let depends = "\nDepends: libc6 (>= 2.34), libgcc-s1\nRecommends: ";
        assert!(control.contains(depends), "{control}");
    }

    #[test]
    fn a_licence_has_no_blank_line() {
        let text = copyright().unwrap();
        assert!(text.contains("\nLicense: Expat\n "), "{text}");
        let (_, licences) = text.split_once("\nLicense: Apache-2.0\n").unwrap();
        assert!(!licences.contains("\n \n"), "{licences}");
    }
}
