//! Which extracted layers this process can use: it depends on who it is.

use std::fs;
use std::io;

use anyhow::Context as _;
use cli::Explain as _;
use layer_format::Digest;
use rootfs::overlay::Control;

/// The map that changes nothing.
const EVERYBODY: [&str; 3] = ["0", "0", "4294967295"];

/// A kind of extracted layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The cache's name for it.
    pub(crate) name: String,
    pub(crate) control: Control,
}

impl Kind {
    /// That of this process: the system's root sets every owner and has the kernel's trusted attributes; in a user
    /// namespace, owners are what its map makes of them.
    ///
    /// # Errors
    /// Without `/proc`, nobody knows: two mappings that are taken for one would share files of the wrong owners.
    pub(crate) fn of_process() -> anyhow::Result<Self> {
        Ok(Self::of(&map("uid_map")?, &map("gid_map")?))
    }

    fn of(uid_map: &str, gid_map: &str) -> Self {
        let is_everybody = |map: &str| map.split_whitespace().eq(EVERYBODY);
        if is_everybody(uid_map) && is_everybody(gid_map) {
            return Self { name: "trusted".to_owned(), control: Control::Trusted };
        }
        let maps: Vec<_> = uid_map.split_whitespace().chain(gid_map.split_whitespace()).collect();
        let digest = Digest::of(maps.join(" ").as_bytes());
        Self { name: format!("user-{}", digest.short()), control: Control::User }
    }
}

/// A map of this process; that of the system where the kernel has no user namespaces.
fn map(name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/self/{name}");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::exists("/proc/self")? => {
            Ok(EVERYBODY.join(" "))
        }
        read => read.with_context(|| path).hint("mount -t proc proc /proc"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_owners_share_layers() {
        let root = Kind::of("         0          0 4294967295\n", "0 0 4294967295");
        assert_eq!((root.name.as_str(), root.control), ("trusted", Control::Trusted));
        let user = Kind::of("0 1000 1\n", "0 1000 1\n");
        assert_eq!(user, Kind::of("         0       1000          1\n", "0 1000 1"));
        assert_eq!(user.control, Control::User);
        assert_ne!(user, Kind::of("0 1001 1", "0 1000 1"));
        assert_ne!(user, Kind::of("0 1000 1\n1 100000 65536\n", "0 1000 1"));
    }
}
