//! What an executable needs of the machine that runs it, as readelf tells, and what it may need.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use xtask::run::output;

/// The newest glibc that a dynamic release may ask for, unless `--floor` says otherwise: what a build on Debian 12 asks
/// for. With it the programs start on Ubuntu 22.04, Fedora 35 and RHEL 9; each step up takes one of these away.
pub(crate) const FLOOR: &str = "2.34";

/// Libraries that a dynamic release may need: those of glibc and of gcc, which `Depends` of the package names.
const LIBRARIES: &[&str] = &["libc.so.", "libm.so.", "libgcc_s.so.", "ld-linux"];

/// How an executable is linked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Linking {
    /// Everything is in it.
    Static,
    /// With the C library of the machine that runs it, which must not be older than this version.
    Dynamic { floor: Version },
}

/// A version of glibc: `2.34`, or `2.3.4` of old.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Version([u32; 3]);

/// What an executable needs.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Needs {
    /// The program that loads it.
    pub(crate) interpreter: Option<String>,
    /// Libraries.
    pub(crate) libraries: Vec<String>,
    /// The newest version of glibc of which it wants a symbol.
    pub(crate) glibc: Option<Version>,
}

impl std::str::FromStr for Version {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut parts = [0; 3];
        let mut rest = parts.iter_mut();
        for part in text.split('.') {
            let place = rest.next().with_context(|| format!("{text}: too many parts"))?;
            *place = part.parse().with_context(|| format!("{text} is no version"))?;
        }
        Ok(Self(parts))
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}")?;
        if patch > 0 { write!(f, ".{patch}") } else { Ok(()) }
    }
}

impl Needs {
    /// Asks readelf, which reads executables of every architecture.
    pub(crate) fn of(program: &Path) -> anyhow::Result<Self> {
        let program = program.display().to_string();
        let text = output(&["env", "LC_ALL=C", "readelf", "-lVdW", &program]);
        Ok(Self::parse(&text.context("readelf is in the package binutils")?))
    }

    fn parse(text: &str) -> Self {
        Self {
            interpreter: between(text, "[Requesting program interpreter: ").next(),
            libraries: between(text, "Shared library: [").collect(),
            glibc: text.split("GLIBC_").skip(1).filter_map(leading_version).max(),
        }
    }

    /// Checks that the executable needs what its kind may need, and no more.
    pub(crate) fn check(&self, linking: Linking) -> anyhow::Result<()> {
        match linking {
            Linking::Static => self.check_nothing(),
            Linking::Dynamic { floor } => self.check_floor(floor),
        }
    }

    fn check_nothing(&self) -> anyhow::Result<()> {
        if let Some(interpreter) = &self.interpreter {
            bail!("it should be static, but wants {interpreter} to load it");
        }
        let libraries = self.libraries.join(", ");
        ensure!(libraries.is_empty(), "it should be static, but needs {libraries}");
        Ok(())
    }

    fn check_floor(&self, floor: Version) -> anyhow::Result<()> {
        let is_known = |name: &&String| LIBRARIES.iter().any(|known| name.starts_with(known));
        if let Some(library) = self.libraries.iter().find(|name| !is_known(name)) {
            bail!("it needs {library}, which few machines have");
        }
        let newest = self.glibc.context("it names no version of glibc")?;
        ensure!(
            newest <= floor,
            "it needs glibc {newest}, and {floor} should do: build on an older machine, or raise --floor"
        );
        Ok(())
    }
}

/// What stands between each `before` and the bracket after it.
fn between(text: &str, before: &str) -> impl Iterator<Item = String> {
    text.split(before).skip(1).filter_map(|rest| Some(rest.split_once(']')?.0.to_owned()))
}

/// The version that a text begins with; none for names such as `GLIBC_PRIVATE`.
fn leading_version(text: &str) -> Option<Version> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DYNAMIC: &str = "
  INTERP         0x0002e0 0x00000000000002e0 0x00000000000002e0 0x00001c 0x00001c R   0x1
      [Requesting program interpreter: /lib64/ld-linux-x86-64.so.2]
 0x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
  0x0010:   Name: GLIBC_2.9  Flags: none  Version: 12
  0x0020:   Name: GLIBC_2.34  Flags: none  Version: 11
  0x0030:   Name: GLIBC_2.3.4  Flags: none  Version: 10
  0x0040:   Name: GLIBC_PRIVATE  Flags: none  Version: 9
";
    const STATIC: &str = "
Program Headers:
  LOAD           0x000000 0x0000000000200000 0x0000000000200000 0x4c6f88 0x4c6f88 R   0x1000
There is no dynamic section in this file.
";

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn readelf_names_the_loader_the_libraries_and_the_newest_version() {
        let needs = Needs {
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".to_owned()),
            libraries: vec!["libgcc_s.so.1".to_owned(), "libc.so.6".to_owned()],
            glibc: Some(version("2.34")),
        };
        assert_eq!(Needs::parse(DYNAMIC), needs);
        assert_eq!(Needs::parse(STATIC), Needs::default());
    }

    #[test]
    fn a_static_file_needs_nothing() {
        Needs::parse(STATIC).check(Linking::Static).unwrap();
        let error = Needs::parse(DYNAMIC).check(Linking::Static).unwrap_err().to_string();
        assert!(error.contains("ld-linux-x86-64.so.2"), "{error}");
        let library = Needs { libraries: vec!["libc.so.6".to_owned()], ..Needs::default() };
        let error = library.check(Linking::Static).unwrap_err().to_string();
        assert!(error.contains("libc.so.6"), "{error}");
    }

    #[test]
    fn a_floor_that_rises_is_a_failure() {
        let check = |floor| Needs::parse(DYNAMIC).check(Linking::Dynamic { floor: version(floor) });
        check("2.34").unwrap();
        check("2.100").unwrap();
        let error = check("2.33").unwrap_err().to_string();
        assert!(error.starts_with("it needs glibc 2.34, and 2.33 should do"), "{error}");
        let linking = Linking::Dynamic { floor: version("2.34") };
        assert!(Needs::parse(STATIC).check(linking).is_err());
        let mut more = Needs::parse(DYNAMIC);
        more.libraries.push("libssl.so.3".to_owned());
        let error = more.check(linking).unwrap_err().to_string();
        assert_eq!(error, "it needs libssl.so.3, which few machines have");
    }

    #[test]
    fn a_version_is_no_matter_of_letters() {
        assert!(version("2.9") < version("2.34") && version("2.3.4") < version("2.4"));
        assert_eq!(version("2.3.4").to_string(), "2.3.4");
        assert_eq!(version(FLOOR).to_string(), FLOOR);
        for text in ["", "2.x", "1.2.3.4"] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
