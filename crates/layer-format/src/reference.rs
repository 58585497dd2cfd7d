//! Image names: `registry/repository:tag@digest`, and Docker's short forms of them.
//!
//! `nginx` means `docker.io/library/nginx:latest`. A name is normalised when it is parsed. [`Reference`] displays
//! itself in the short form, and [`Reference::full`] is the whole name.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::Error;

const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_TAG: &str = "latest";
/// Docker's limit on the length of registry and repository together, in characters.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;

/// The suffixes that cosign appends to an image's digest for the tags of its signatures, attestations and SBOMs.
pub const COSIGN_KINDS: [&str; 3] = ["sig", "att", "sbom"];

/// A normalised image name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// The registry's host, with its port if there is one: `docker.io`, `localhost:5000`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path in the registry: `library/nginx`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag. It is `latest` if the name has neither a tag nor a digest, and `None` if it has only a digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the name has one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// What to ask a registry for: the digest if there is one, else the tag.
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_else(|| DEFAULT_TAG.to_owned()),
        }
    }

    /// The whole name, which means the same to every tool: `docker.io/library/nginx:latest`.
    pub fn full(&self) -> String {
        format!("{}/{}{}", self.registry, self.repository, self.suffix())
    }

    /// The whole name without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// The name of an image in the same repository, with this digest and no tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The name of an image in the same repository, with this tag and no digest.
    ///
    /// # Errors
    /// [`Error::MalformedReference`] if `tag` isn't valid.
    pub fn tagged(&self, tag: &str) -> Result<Self, Error> {
        format!("{}:{tag}", self.name()).parse()
    }

    /// Checks that the name can be given to an image.
    ///
    /// # Errors
    /// [`Error::MalformedReference`] if it has a digest: that is the image's own, and not to be given.
    pub fn check_new(&self) -> Result<(), Error> {
        let refuse = |reason| Err(Error::MalformedReference { text: self.to_string(), reason });
        if self.digest.is_some() {
            return refuse("a name with a digest can't be given");
        }
        self.check_transport()
    }

    /// Checks that the name isn't the path of a file that another tool would write, as in `docker-archive:a.tar`: whoever means
    /// that would be surprised to find the image at Docker Hub.
    ///
    /// # Errors
    /// [`Error::MalformedReference`].
    pub fn check_transport(&self) -> Result<(), Error> {
        const TRANSPORTS: [&str; 6] =
            ["containers-storage", "dir", "docker-archive", "docker-daemon", "oci", "oci-archive"];
        let text = self.to_string();
        match text.split_once(':') {
            // With a slash, what stands before the colon is a host.
            Some((transport, rest)) if TRANSPORTS.contains(&transport) && !rest.contains('/') => {
                let reason = "this names no image, but a place where other tools keep one";
                Err(Error::MalformedReference { text, reason })
            }
            _ => Ok(()),
        }
    }

    /// The image that this name speaks about, if its tag is that of a referrer: the distribution-spec's `sha256-…`, or
    /// cosign's `sha256-….sig`, `.att` and `.sbom`. The result is the [referrers tag](Digest::referrers_tag) of the
    /// image's digest, because a tag for SHA-512 doesn't have the whole digest.
    pub fn subject(&self) -> Option<&str> {
        let tag = self.tag()?;
        let base = match tag.split_once('.') {
            Some((base, kind)) if COSIGN_KINDS.contains(&kind) => base,
            _ => tag,
        };
        let hex = base.strip_prefix("sha256-").or_else(|| base.strip_prefix("sha512-"))?;
        let is_hash = format!("sha256:{hex}").parse::<Digest>().is_ok();
        is_hash.then_some(base)
    }

    /// Whether a name in an index [speaks about](Self::subject) another image. The name may be only a tag.
    pub fn is_about_another(name: &str) -> bool {
        let is_about = |name: String| name.parse::<Self>().is_ok_and(|it| it.subject().is_some());
        is_about(name.to_owned()) || is_about(format!("name:{name}"))
    }

    fn suffix(&self) -> String {
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        tag + &digest
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let repository = match self.registry.as_str() {
            DEFAULT_REGISTRY => {
                self.repository.strip_prefix("library/").filter(|rest| !rest.contains('/'))
            }
            _ => None,
        };
        match repository {
            Some(short) => write!(f, "{short}{}", self.suffix()),
            None if self.registry == DEFAULT_REGISTRY => {
                write!(f, "{}{}", self.repository, self.suffix())
            }
            None => f.write_str(&self.full()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse(text).map_err(|reason| Error::MalformedReference {
            text: text.chars().take(300).collect(),
            reason,
        })
    }
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    if text.contains("://") {
        return Err("a name has no scheme");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => {
            (rest, Some(digest.parse().map_err(|_| "the digest after @ is malformed")?))
        }
        None => (text, None),
    };
    let (rest, tag) = match rest.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') && !rest.is_empty() && !tag.ends_with(']') => {
            (rest, Some(check_tag(tag)?))
        }
        _ => (rest, None),
    };
    let (registry, path) = split_registry(rest);
    if registry.len() + path.len() > NAME_LIMIT {
        return Err("longer than 255 characters");
    }
    check_registry(registry)?;
    check_repository(path)?;
    let is_short = registry == DEFAULT_REGISTRY && !path.contains('/');
    if is_image_id(text) {
        return Err("64 hex digits are an image's ID, not a name");
    }
    if is_digest(path.strip_prefix("library/").unwrap_or(path), tag.as_deref()) {
        return Err("a digest, not a name");
    }
    let repository = if is_short { format!("library/{path}") } else { path.to_owned() };
    let tag = tag.or_else(|| digest.is_none().then(|| DEFAULT_TAG.to_owned()));
    Ok(Reference { registry: registry.to_owned(), repository, tag, digest })
}

/// Splits a name into registry and path. The first component is a registry only if it looks like a host, which is
/// Docker's rule.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io" | "registry-1.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((host, path)) if is_host(host) => (host, path),
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_host(text: &str) -> bool {
    text == "localhost"
        || text.contains(['.', ':'])
        || text.contains(|c: char| c.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = match registry.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err("the registry's port is not a number");
    }
    let is_address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_fine = match is_address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(is_host_label),
    };
    if is_fine { Ok(()) } else { Err("the registry is not a host name") }
}

fn is_host_label(label: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    !label.is_empty()
        && label.chars().all(is_plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn check_repository(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("no repository");
    }
    if path.contains(|c: char| c.is_ascii_uppercase()) {
        return Err("the repository must be lower case");
    }
    if path.split('/').all(is_path_component) {
        return Ok(());
    }
    Err("a repository is made of a-z, 0-9 and single separators (. _ __ -) between them")
}

/// Whether the component matches the distribution-spec's `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn is_path_component(component: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = component.split(is_word).filter(|run| !run.is_empty());
    component.starts_with(is_word)
        && component.ends_with(is_word)
        && separators
            .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

fn check_tag(tag: &str) -> Result<String, &'static str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_fine =
        tag.starts_with(is_word) && tag.chars().all(|c| is_word(c) || matches!(c, '.' | '-'));
    if is_fine && tag.len() <= TAG_LIMIT { Ok(tag.to_owned()) } else { Err("malformed tag") }
}

fn is_image_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a name looks like a digest, and could therefore be mistaken for another image.
fn is_digest(path: &str, tag: Option<&str>) -> bool {
    tag.is_some_and(|tag| format!("{path}:{tag}").parse::<Digest>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[track_caller]
    fn check(text: &str, full: &str, short: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!((reference.full().as_str(), reference.to_string().as_str()), (full, short));
        assert_eq!(full.parse::<Reference>().unwrap(), reference);
        assert_eq!(short.parse::<Reference>().unwrap(), reference);
    }

    #[test]
    fn a_scheme_before_a_name_is_told() {
        for text in ["docker://x", "docker://docker.io/library/x:1", "oci://r.test/x"] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains("a name has no scheme"), "{error}");
        }
    }

    #[test]
    fn short_forms_mean_what_docker_means() {
        check("nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("nginx:1.25", "docker.io/library/nginx:1.25", "nginx:1.25");
        check("index.docker.io/library/nginx", "docker.io/library/nginx:latest", "nginx:latest");
        check("user/app", "docker.io/user/app:latest", "user/app:latest");
        check("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest");
        check("ghcr.io/a/b:c", "ghcr.io/a/b:c", "ghcr.io/a/b:c");
        check("localhost/x", "localhost/x:latest", "localhost/x:latest");
        check("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", "127.0.0.1:5000/x:latest");
        check("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y");
        check("Host/x", "Host/x:latest", "Host/x:latest");
    }

    #[test]
    fn a_name_with_a_digest_is_not_to_be_given() {
        let new = |text: &str| text.parse::<Reference>().unwrap().check_new();
        new("nginx").unwrap();
        new("r.test/a:1").unwrap();
        let error = new(&format!("nginx:1@sha256:{HEX}")).unwrap_err().to_string();
        assert!(error.contains("a name with a digest can't be given"), "{error}");
    }

    #[test]
    fn a_digest_pins_and_hides_the_default_tag() {
        let digest = format!("sha256:{HEX}");
        check(
            &format!("nginx@{digest}"),
            &format!("docker.io/library/nginx@{digest}"),
            &format!("nginx@{digest}"),
        );
        let both: Reference = format!("nginx:1@{digest}").parse().unwrap();
        assert_eq!((both.tag(), both.wanted()), (Some("1"), digest));
    }

    #[test]
    fn a_tag_may_say_that_an_image_is_about_another() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        let check = |tag: &str, expected: Option<&str>| {
            let name: Reference = format!("r.test/a:{tag}").parse().unwrap();
            assert_eq!(name.subject(), expected, "{tag}");
            assert_eq!(Reference::is_about_another(tag), expected.is_some(), "{tag}");
            assert_eq!(Reference::is_about_another(&name.full()), expected.is_some(), "{tag}");
        };
        for kind in ["", ".sig", ".att", ".sbom"] {
            check(&format!("sha256-{HEX}{kind}"), Some(&digest.referrers_tag()));
        }
        // A tag has the first 64 digits of a longer hash.
        let long: Digest = format!("sha512:{HEX}{HEX}").parse().unwrap();
        check(&format!("sha512-{HEX}"), Some(&long.referrers_tag()));
        for tag in [
            "1".to_owned(),
            "latest".to_owned(),
            format!("sha256-{HEX}."),
            format!("sha256-{HEX}.sig.1"),
            format!("sha256-{HEX}.other"),
            format!("sha256-{}", &HEX[1..]),
            format!("sha256-{}", HEX.to_uppercase()),
            format!("sha1-{HEX}"),
            format!("sha512-{}", &HEX[1..]),
        ] {
            check(&tag, None);
        }
        assert_eq!(format!("r.test/a@{digest}").parse::<Reference>().unwrap().subject(), None);
    }

    #[test]
    fn what_looks_like_an_id_may_be_spelled_out() {
        check(
            &format!("{HEX}:latest"),
            &format!("docker.io/library/{HEX}:latest"),
            &format!("{HEX}:latest"),
        );
    }

    #[test]
    fn names_and_tags_are_as_long_as_registries_let_them_be() {
        let is_name = |text: String| text.parse::<Reference>().is_ok();
        for (n, is_fine) in [(254, true), (255, true), (256, false)] {
            assert_eq!(is_name(format!("h.io/{}", "a".repeat(n - 4))), is_fine, "{n}");
        }
        for (n, is_fine) in [(127, true), (128, true), (129, false)] {
            assert_eq!(is_name(format!("h.io/a:{}", "b".repeat(n))), is_fine, "{n}");
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        let long = "a".repeat(256);
        let tag = format!("a:{}", "b".repeat(129));
        let names = [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            "UPPER",
            "a:",
            ":tag",
            "a b",
            "a@",
            "a@sha256:00",
            "a:b:c",
            "-a",
            "a_",
            "a___b",
            "a..b",
            "host.:80/x",
            "a.b:port/x",
            "a.b:99999/x",
            "../x",
            "a/../b",
            "x\n",
            HEX,
            &long,
            &tag,
            "[::1/x",
        ];
        let digest = format!("sha256:{HEX}");
        for name in [&digest, &format!("library/{digest}"), &format!("docker.io/library/{digest}")]
        {
            assert!(name.parse::<Reference>().is_err(), "{name}");
        }
        assert!("sha256:1".parse::<Reference>().is_ok());
        for name in names {
            assert!(name.parse::<Reference>().is_err(), "{name}");
        }
    }
}
