//! `cargo xtask dist`: what `install` installs, packed for machines that build nothing.
//!
//! ```text
//! strata-VERSION-linux-ARCH.tar.gz      strata-VERSION-linux-ARCH/
//!                                         bin/ share/  LICENSE-* README.md CHANGELOG.md SHA256SUMS
//! strata_VERSION_DEBARCH.deb            the same below /usr, where dpkg-deb is there
//! ```
//!
//! The same files give the same bytes on every machine and at any time.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::payload::{self, Content, Item, PROGRAM};
use xtask::run::{output, root, run, say, works};
use xtask::workspace::Workspace;

const TEXTS: &[&str] = &["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"];
const ZSH: &str = "placing zsh's completions";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds for release and packs.
pub(crate) fn dist() -> anyhow::Result<()> {
    let items = payload::build()?;
    let dir = Workspace::read()?.target.join("dist");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("emptying {}", dir.display()))?;
    }
    say(&tar(&items, &dir)?);
    if works(&["dpkg-deb", "--version"]) {
        say(&debian(&items, &dir)?);
    } else {
        say("no Debian package: dpkg-deb isn't here");
    }
    Ok(())
}

/// The tar; it unpacks into one directory, with a checksum for each of its files.
fn tar(items: &[Item], dist: &Path) -> anyhow::Result<String> {
    let name = format!("strata-{VERSION}-linux-{}", std::env::consts::ARCH);
    let dir = dist.join(&name);
    items.iter().try_for_each(|item| item.put(&dir))?;
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

/// The Debian package. It names what the programs need of the C library, as they say it themselves.
fn debian(items: &[Item], dist: &Path) -> anyhow::Result<String> {
    let arch = output(&["dpkg", "--print-architecture"])?.trim().to_owned();
    let dir = dist.join("debian");
    items.iter().try_for_each(|item| item.put(&dir.join("usr")))?;
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
    let needs = format!("libc6 (>= {}), libgcc-s1", c_library(&program)?);
    fs::write(control.join("control"), control_file(&arch, kilobytes, &needs))
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

fn control_file(arch: &str, kilobytes: u64, needs: &str) -> String {
    format!(
        "Package: {PROGRAM}\n\
         Version: {VERSION}\n\
         Architecture: {arch}\n\
         Maintainer: The Strata developers <strata@localhost>\n\
         Installed-Size: {kilobytes}\n\
         Depends: {needs}\n\
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

/// The newest version of the C library of which the program wants a symbol.
fn c_library(program: &Path) -> anyhow::Result<String> {
    let symbols = output(&["objdump", "-T", &program.display().to_string()])?;
    newest(&symbols).context("the program names no version of the C library")
}

fn newest(symbols: &str) -> Option<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        rest[..end].split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>()
    });
    let newest = versions.max()?;
    Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
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

    #[test]
    fn the_newest_version_is_no_matter_of_letters() {
        let symbols =
            "00 DF *UND* (GLIBC_2.9) a\n00 DF *UND* (GLIBC_2.34) b\n00 DF *UND* (GLIBC_2.3.4) c\n";
        assert_eq!(newest(symbols).unwrap(), "2.34");
        assert_eq!(newest("no symbols"), None);
    }

    #[test]
    fn a_licence_has_no_blank_line() {
        let text = copyright().unwrap();
        assert!(text.contains("\nLicense: Expat\n "), "{text}");
        let (_, licences) = text.split_once("\nLicense: Apache-2.0\n").unwrap();
        assert!(!licences.contains("\n \n"), "{licences}");
    }
}
