//! A small but real image, from this machine's own files.
//!
//! ```text
//! 1  /bin/sh and its libraries, /etc/os-release, /etc/motd, /var/log/build.log
//! 2  a few tools and what libraries they need beyond the shell's
//! 3  another /etc/motd; no /var/log/build.log
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::{Image, Layer};

use crate::run::output;

/// How many layers the image has.
pub(super) const N_LAYERS: usize = 3;
/// What the top layer's etc/motd says.
pub(super) const MOTD_ABOVE: &str = "Hello from the top layer.\n";
/// The file that the top layer removes.
pub(super) const REMOVED: &str = "build.log";

const MOTD_BELOW: &str = "Hello from the base layer.\n";
const SHELL: &[&str] = &["sh"];
const TOOLS: &[&str] = &["cat", "ls", "uname"];

/// Makes the image.
pub(super) fn image() -> anyhow::Result<Image> {
    let mut packer = Packer::default();
    let release = fs::read("/etc/os-release").context("reading /etc/os-release")?;
    let base = Layer::new()
        .dir("tmp", 0o1777)
        .dir("etc", 0o755)
        .file("etc/motd", MOTD_BELOW)
        .file("etc/os-release", release)
        .dir("var", 0o755)
        .dir("var/log", 0o755)
        .file(format!("var/log/{REMOVED}"), "not needed any more\n");
    let base = packer.programs(base, SHELL)?;
    let tools = packer.programs(Layer::new(), TOOLS)?;
    let change = Layer::new().whiteout(format!("var/log/{REMOVED}")).file("etc/motd", MOTD_ABOVE);
    let image = Image::new().platform(&format!("linux/{}", architecture())).cmd(&["/bin/sh"]);
    Ok([base, tools, change].into_iter().fold(image, Image::layer))
}

/// This machine's architecture in the words of the OCI specifications.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Puts programs and libraries into layers, each once in the image.
#[derive(Default)]
struct Packer {
    /// What is in the image already, by its path there.
    packed: BTreeSet<PathBuf>,
    /// Where a file of this machine is in the image: one program of many names becomes hard links.
    files: BTreeMap<PathBuf, PathBuf>,
}

impl Packer {
    fn programs(&mut self, mut layer: Layer, names: &[&str]) -> anyhow::Result<Layer> {
        for name in names {
            let program = output(&["sh", "-c", &format!("command -v {name}")])?;
            let program = Path::new(program.trim_end());
            for library in libraries(program)? {
                layer = self.file(layer, &library, &library)?;
            }
            layer = self.file(layer, program, &Path::new("/bin").join(name))?;
        }
        Ok(layer)
    }

    /// Adds one file, after the directories above it.
    fn file(&mut self, mut layer: Layer, source: &Path, path: &Path) -> anyhow::Result<Layer> {
        let inside = path
            .strip_prefix("/")
            .with_context(|| format!("{} is not absolute", path.display()))?;
        if !self.packed.insert(inside.to_owned()) {
            return Ok(layer);
        }
        let mut above: Vec<&Path> =
            inside.ancestors().skip(1).filter(|dir| *dir != Path::new("")).collect();
        above.reverse();
        for dir in above {
            if self.packed.insert(dir.to_owned()) {
                layer = layer.dir(dir.as_os_str().as_encoded_bytes(), 0o755);
            }
        }
        let name = inside.as_os_str().as_encoded_bytes();
        let real =
            fs::canonicalize(source).with_context(|| format!("resolving {}", source.display()))?;
        if let Some(first) = self.files.get(&real) {
            return Ok(layer.hardlink(name, first.as_os_str().as_encoded_bytes()).mode(0o755));
        }
        let content = fs::read(&real).with_context(|| format!("reading {}", real.display()))?;
        self.files.insert(real, inside.to_owned());
        Ok(layer.file(name, content).mode(0o755))
    }
}

/// Every shared library a program needs, the loader too; none for a static program, which ldd calls an error.
fn libraries(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let line = format!("LC_ALL=C ldd '{}' 2>/dev/null || true", program.display());
    Ok(listed(&output(&["sh", "-c", &line])?))
}

/// The absolute paths in what ldd prints: `libc.so.6 => /lib/libc.so.6 (0x7f…)`, `/lib64/ld.so (0x7f…)`.
fn listed(ldd: &str) -> Vec<PathBuf> {
    let lines = ldd.lines().map(|line| line.split_once("=>").map_or(line, |(_, path)| path));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words.filter(|word| word.starts_with('/') && !word.ends_with(':')).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ldd: &str, expected: &[&str]) {
        let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
        assert_eq!(listed(ldd), expected);
    }

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        check(
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f5f)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f5f)\n",
            &["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"],
        );
        check(
            "\t/lib/ld-musl-x86_64.so.1 (0x7f1)\n\tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f1)\n",
            &["/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-x86_64.so.1"],
        );
        check("\tnot a dynamic executable\n", &[]);
        check("\tlibgone.so => not found\n", &[]);
    }

    #[test]
    fn the_image_is_small_and_has_its_layers() {
        let blobs = image().unwrap().layer_blobs();
        assert_eq!(blobs.len(), N_LAYERS);
        assert!(blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>() < 20_000_000);
    }
}
