//! Platforms (`os/architecture[/variant]`), and the choice of an index's image for a platform.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::descriptor::{Descriptor, annotation, null_is_default};
use crate::error::Error;

/// A platform in the image-spec's form (image-index.md, "platform"). Its variant is normalised, which is what
/// containerd does, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(expecting = "an object")]
pub struct Platform {
    /// The operating system in Go's words (GOOS), for example `linux`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub os: String,
    /// The architecture in Go's words (GOARCH), for example `amd64` or `arm64`.
    #[serde(default, deserialize_with = "null_is_default")]
    pub architecture: String,
    /// The variant of the architecture, for example `v7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The version of the operating system, for Windows.
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Features that an image needs besides (`os.features`), for example `erofs` for layers that are no tars, and
    /// Windows' `win32k`.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
}

impl Platform {
    /// The platform of this machine. Its system is always Linux, because images are unpacked for Linux.
    pub fn host() -> Self {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" => ("arm64", None),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            "loongarch64" => ("loong64", None),
            other => (other, None),
        };
        Self::new("linux", architecture, variant)
    }

    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) =
            normalise(&architecture.to_lowercase(), variant.map(str::to_lowercase));
        Self { os: os.to_lowercase(), architecture, variant, os_version: None, os_features: vec![] }
    }

    /// How well an image for `candidate` runs on this platform: 0 is exactly right, a higher number is worse, and
    /// `None` means not at all.
    ///
    /// The order is containerd's: first the same variant of the architecture, then older ones from the newest on, then
    /// the 32-bit relative of the architecture.
    pub fn rank(&self, candidate: &Self) -> Option<u32> {
        let candidate =
            Self::new(&candidate.os, &candidate.architecture, candidate.variant.as_deref());
        let ours = Self::new(&self.os, &self.architecture, self.variant.as_deref());
        if candidate.os != ours.os {
            return None;
        }
        if candidate.architecture == ours.architecture {
            return level(&ours).checked_sub(level(&candidate));
        }
        match (ours.architecture.as_str(), candidate.architecture.as_str()) {
            ("arm64", "arm") => Some(SISTER + 8_u32.saturating_sub(level(&candidate))),
            ("amd64", "386") => Some(SISTER),
            _ => None,
        }
    }
}

/// The rank of the first 32-bit image on a 64-bit processor. All images for the processor itself have lower ones.
const SISTER: u32 = 100;

/// The number of a variant: `v7` is 7. A platform without a variant has the lowest of its architecture.
fn level(platform: &Platform) -> u32 {
    let number = platform.variant.as_deref().and_then(|variant| variant.strip_prefix('v'));
    let number =
        number.and_then(|digits| digits.split('.').next()).and_then(|digits| digits.parse().ok());
    number.unwrap_or(match platform.architecture.as_str() {
        "arm64" => 8,
        "arm" => 7,
        _ => 1,
    })
}

fn normalise(architecture: &str, variant: Option<String>) -> (String, Option<String>) {
    let (architecture, variant) = match architecture {
        "x86_64" | "x86-64" => ("amd64", variant),
        "i386" | "i686" | "x86" => ("386", None),
        "aarch64" => ("arm64", variant),
        "armhf" => ("arm", Some("v7".to_owned())),
        "armel" => ("arm", Some("v6".to_owned())),
        other => (other, variant),
    };
    let variant = variant.filter(|variant| !variant.is_empty()).map(|variant| {
        match variant.strip_prefix('v') {
            None => format!("v{variant}"),
            Some(_) => variant,
        }
    });
    let variant = match (architecture, variant.as_deref()) {
        ("arm64", Some("v8" | "v8.0")) | ("amd64", Some("v1")) => None,
        ("arm", None) => Some("v7".to_owned()),
        _ => variant,
    };
    (architecture.to_owned(), variant)
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = || Error::MalformedPlatform { text: text.chars().take(100).collect() };
        let is_word = |part: &&str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(malformed());
        }
        match parts[..] {
            [os, architecture] => Ok(Self::new(os, architecture, None)),
            [os, architecture, variant] => Ok(Self::new(os, architecture, Some(variant))),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// The best entry for `wanted` among an index's `manifests`. Attestations are never chosen. Entries come in this order:
///
/// - Entries that need no features come before those that do, because this machine offers none.
/// - Among those, a better [`rank`](Platform::rank) comes first. An entry without a platform has the worst.
/// - Among equals, an entry that is marked as zstd comes first. Podman has the same rule.
///
/// # Errors
/// [`Error::NoImage`] if there is no image at all; [`Error::NoPlatform`] if no image runs on `wanted`.
pub fn select<'a>(manifests: &'a [Descriptor], wanted: &Platform) -> Result<&'a Descriptor, Error> {
    const UNSAID: u32 = u32::MAX;
    let images = || manifests.iter().filter(|entry| !entry.is_attestation());
    if images().next().is_none() {
        let reason = if manifests.is_empty() {
            "the index names no manifest"
        } else {
            "the index names no image"
        };
        return Err(Error::NoImage { what: "no image".to_owned(), reason });
    }
    let rank = |entry: &Descriptor| match &entry.platform {
        Some(platform) => wanted.rank(platform),
        None => Some(UNSAID),
    };
    let wants_more =
        |entry: &Descriptor| entry.platform.as_ref().is_some_and(|it| !it.os_features.is_empty());
    let is_zstd = |entry: &Descriptor| entry.annotation(annotation::ZSTD) == Some("true");
    let place = |entry: &Descriptor| Some((wants_more(entry), rank(entry)?, !is_zstd(entry)));
    let best =
        images().filter_map(|entry| Some((place(entry)?, entry))).min_by_key(|&(place, _)| place);
    best.map(|(_, entry)| entry).ok_or_else(|| {
        let present = images().filter_map(|entry| entry.platform.as_ref()).map(ToString::to_string);
        Error::NoPlatform { wanted: wanted.to_string(), present: present.collect() }
    })
}

/// Checks that an image runs on `wanted`; without `wanted`, any image is accepted. The platform that the index lists
/// for the image counts. The config's platform, which often lacks the variant, counts only without it. Containerd does
/// the same.
///
/// # Errors
/// [`Error::NoPlatform`] if the image doesn't run on `wanted`.
pub fn check_platform(
    wanted: Option<&Platform>,
    listed: Option<&Platform>,
    config: &Platform,
) -> Result<(), Error> {
    let said = listed.unwrap_or(config);
    match wanted.filter(|wanted| wanted.rank(said).is_none()) {
        Some(wanted) => {
            let (wanted, present) = (wanted.to_string(), vec![said.to_string()]);
            Err(Error::NoPlatform { wanted, present })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[track_caller]
    fn best(wanted: &str, present: &[&str]) -> Option<String> {
        let wanted = platform(wanted);
        let ranked = present.iter().filter_map(|text| Some((wanted.rank(&platform(text))?, *text)));
        ranked.min().map(|(_, text)| text.to_owned())
    }

    #[test]
    fn names_are_normalised() {
        let check = |text: &str, expected: &str| assert_eq!(platform(text).to_string(), expected);
        check("linux/x86_64", "linux/amd64");
        check("linux/arm64/v8", "linux/arm64");
        check("Linux/ARM", "linux/arm/v7");
        check("linux/aarch64", "linux/arm64");
        check("linux/arm/6", "linux/arm/v6");
        check("windows/amd64", "windows/amd64");
        for text in ["", "linux", "linux/", "a/b/c/d", "linux/am d64", "../x"] {
            assert!(text.parse::<Platform>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_newest_variant_that_runs_is_picked() {
        assert_eq!(
            best("linux/arm/v7", &["linux/arm/v5", "linux/arm/v6", "linux/arm64"]).unwrap(),
            "linux/arm/v6"
        );
        assert_eq!(best("linux/arm/v6", &["linux/arm/v7"]), None);
        assert_eq!(
            best("linux/arm64", &["linux/arm/v7", "linux/arm64/v8"]).unwrap(),
            "linux/arm64/v8"
        );
        assert_eq!(best("linux/arm64", &["linux/arm/v6", "linux/arm/v7"]).unwrap(), "linux/arm/v7");
        assert_eq!(best("linux/amd64", &["linux/amd64/v3"]), None);
        assert_eq!(
            best("linux/amd64/v3", &["linux/amd64", "linux/amd64/v2"]).unwrap(),
            "linux/amd64/v2"
        );
        assert_eq!(best("linux/amd64", &["linux/386", "linux/amd64"]).unwrap(), "linux/amd64");
        assert_eq!(best("linux/amd64", &["windows/amd64", "linux/386"]).unwrap(), "linux/386");
        assert_eq!(best("linux/386", &["linux/amd64", "windows/386"]), None);
    }

    #[test]
    fn features_that_we_lack_come_last_and_zstd_first_among_equals() {
        let entry = |n: u64, platform: &str, more: &str| -> Descriptor {
            let json = format!(
                r#"{{"digest":"sha256:{n:064x}","size":{n},"platform":{{{platform}}}{more}}}"#
            );
            serde_json::from_str(&json).unwrap()
        };
        let amd64 = r#""os":"linux","architecture":"amd64""#;
        let erofs = format!(r#"{amd64},"os.features":["erofs"]"#);
        let v2 = format!(r#"{amd64},"variant":"v2""#);
        let is_zstd = r#","annotations":{"io.github.containers.compression.zstd":"true"}"#;
        let not_zstd = r#","annotations":{"io.github.containers.compression.zstd":"false"}"#;
        let check = |entries: &[(&str, &str)], wanted: &str, expected: u64| {
            let entries: Vec<_> =
                (0..).zip(entries).map(|(n, (platform, more))| entry(n, platform, more)).collect();
            assert_eq!(select(&entries, &platform(wanted)).unwrap().size, expected, "{entries:?}");
        };
        check(&[(&erofs, ""), (amd64, "")], "linux/amd64", 1);
        check(&[(amd64, ""), (&erofs, "")], "linux/amd64", 0);
        // A worse one that runs is better than one that doesn't.
        check(&[(&erofs, ""), (r#""os":"linux","architecture":"386""#, "")], "linux/amd64", 1);
        check(&[(&erofs, "")], "linux/amd64", 0);
        check(&[(amd64, ""), (amd64, is_zstd)], "linux/amd64", 1);
        check(&[(amd64, is_zstd), (amd64, "")], "linux/amd64", 0);
        check(&[(amd64, ""), (amd64, not_zstd)], "linux/amd64", 0);
        check(&[(&v2, ""), (amd64, is_zstd)], "linux/amd64/v2", 0);
        check(&[(amd64, ""), (&erofs, is_zstd)], "linux/amd64", 0);
        // What is written again has them still.
        let written = serde_json::to_value(entry(1, &erofs, "")).unwrap();
        assert_eq!(written["platform"]["os.features"], serde_json::json!(["erofs"]));
    }

    #[test]
    fn the_config_is_asked_only_where_the_index_says_nothing() {
        let (old, newer) = (platform("linux/arm/v6"), platform("linux/arm/v7"));
        let check = |wanted, listed| check_platform(wanted, listed, &newer).is_ok();
        assert!(check(Some(&old), Some(&old)));
        assert!(!check(Some(&old), None));
        assert!(!check(Some(&old), Some(&newer)));
        assert!(check(Some(&newer), None));
        assert!(check(None, None));
    }
}
