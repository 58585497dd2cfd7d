//! Where directories are in the layer cache: the kind of layers that this process can use, and in it the keys.
//!
//! | what | key |
//! |---|---|
//! | a layer that stands alone | its diff id |
//! | any other layer | its chain ID: what it is depends on the layers below |
//! | on top, the root directory's attributes | the key of the layer that describes them |
//! | below all, directories that a command needs | always the same |

use std::fs;
use std::io;

use anyhow::Context as _;
use cli::Explain as _;
use layer_format::Digest;
use rootfs::overlay::Control;
use stream::archive::{Image, Layer};

/// The id map of the initial user namespace: every id is itself.
const IDENTITY: [&str; 3] = ["0", "0", "4294967295"];

/// A kind of extracted layers, which have the same owners and whiteouts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// The cache's name for it.
    pub(crate) name: String,
    pub(crate) control: Control,
}

impl Kind {
    /// The kind that this process can use. The system's root sets every owner and has the kernel's trusted attributes; in a
    /// user namespace, owners are what its map makes of them.
    ///
    /// # Errors
    /// If `/proc` isn't mounted: without the maps, two namespaces could share files of the wrong owners.
    pub(crate) fn of_process() -> anyhow::Result<Self> {
        Ok(Self::of(&map("uid_map")?, &map("gid_map")?))
    }

    fn of(uid_map: &str, gid_map: &str) -> Self {
        let is_identity = |map: &str| map.split_whitespace().eq(IDENTITY);
        if is_identity(uid_map) && is_identity(gid_map) {
            return Self { name: "trusted".to_owned(), control: Control::Trusted };
        }
        let maps: Vec<_> = uid_map.split_whitespace().chain(gid_map.split_whitespace()).collect();
        let digest = Digest::of(maps.join(" ").as_bytes());
        Self { name: format!("user-{}", digest.short()), control: Control::User }
    }
}

/// An id map of this process; the identity if the kernel has no user namespaces.
fn map(name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/self/{name}");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::exists("/proc/self")? => {
            Ok(IDENTITY.join(" "))
        }
        read => read.with_context(|| path).hint("mount -t proc proc /proc"),
    }
}

/// The keys that a layer may have in the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// The diff id: the key if the layer stands alone.
    pub(crate) diff: Digest,
    /// The chain ID: the key if it doesn't.
    pub(crate) chain: Digest,
}

impl Keys {
    /// These keys, and those of the root directories that they may describe.
    pub(crate) fn every(&self) -> [Digest; 4] {
        [self.diff, self.chain, root_key(Some(&self.diff)), root_key(Some(&self.chain))]
    }
}

/// The keys of an image's layers, base first.
pub(crate) fn keys(image: &Image) -> Vec<Keys> {
    let next = |below: &mut Option<Digest>, layer: &Layer| {
        let chain = Digest::chain(below.as_ref(), &layer.diff_id);
        *below = Some(chain);
        Some(Keys { diff: layer.diff_id.0, chain })
    };
    image.layers.iter().scan(None, next).collect()
}

/// The key of a topmost directory; `describing` is the key of the layer that describes its attributes.
pub(crate) fn root_key(describing: Option<&Digest>) -> Digest {
    let of = describing.map_or_else(|| "no layer".to_owned(), Digest::to_string);
    Digest::of(format!("root of {of}").as_bytes())
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
