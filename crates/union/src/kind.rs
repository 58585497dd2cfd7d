//! Which extracted layers this process can use: it depends on who it is.

use std::fs;

use layer_format::Digest;
use rootfs::overlay::Control;

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
    pub(crate) fn of_process() -> Self {
        let read = |name| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        Self::of(&read("uid_map"), &read("gid_map"))
    }

    fn of(uid_map: &str, gid_map: &str) -> Self {
        let is_everybody = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
        if is_everybody(uid_map) && is_everybody(gid_map) {
            return Self { name: "trusted".to_owned(), control: Control::Trusted };
        }
        let maps: Vec<_> = uid_map.split_whitespace().chain(gid_map.split_whitespace()).collect();
        let digest = Digest::of(maps.join(" ").as_bytes());
        Self { name: format!("user-{}", digest.short()), control: Control::User }
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
