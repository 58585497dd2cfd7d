//! Where images go with `--to`: each keeps its path, below another registry or a prefix there.
//!
//! ```text
//! --to r.test/mirror    nginx:1.27 (docker.io/library/nginx:1.27)  ──► r.test/mirror/library/nginx:1.27
//!                       ghcr.io/a/b:2                              ──► r.test/mirror/a/b:2
//!                       quay.io/a/b:2                              ──► r.test/mirror/a/b:2, refused if it is another image
//! ```

use std::collections::HashMap;
use std::str::FromStr;

use cli::Failure;
use layer_format::{Digest, Error, Reference};

/// What stands before the path of each image: a registry, and perhaps the beginning of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(String);

impl Prefix {
    /// The name that an image gets.
    ///
    /// # Errors
    /// [`Error::MalformedReference`] if it is too long for a name.
    pub(crate) fn name_of(&self, image: &Reference) -> Result<Reference, Error> {
        let full = image.full();
        let suffix = full.strip_prefix(&image.name()).unwrap_or_default();
        format!("{}/{}{suffix}", self.0, image.repository()).parse()
    }

    /// The name of some image there.
    pub(crate) fn any(&self) -> Option<Reference> {
        format!("{}/any", self.0).parse().ok()
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let malformed = |reason| Error::MalformedReference { text: text.to_owned(), reason };
        let prefix = text.strip_suffix('/').unwrap_or(text);
        let any = match format!("{prefix}/any").parse::<Reference>() {
            Ok(any) => any,
            Err(Error::MalformedReference { reason, .. }) => return Err(malformed(reason)),
            Err(error) => return Err(error),
        };
        // What has no registry would go to Docker Hub, and nobody calls that REGISTRY/PREFIX.
        let host = prefix.split('/').next().unwrap_or_default();
        if host != any.registry() {
            return Err(malformed("a registry comes first, as in docker.io/me"));
        }
        Ok(Self(prefix.to_owned()))
    }
}

/// An image that gets another name.
#[derive(Clone, Debug)]
pub(crate) struct Renamed {
    /// The name that it has.
    pub(crate) own: Reference,
    /// The name that it gets.
    pub(crate) new: Reference,
    /// The digest of its index or manifest.
    pub(crate) root: Digest,
}

impl Renamed {
    /// Finds the new name of an image.
    ///
    /// # Errors
    /// That of [`Prefix::name_of`].
    pub(crate) fn of(own: Reference, root: Digest, prefix: &Prefix) -> Result<Self, Error> {
        let new = prefix.name_of(&own)?;
        Ok(Self { own, new, root })
    }
}

/// Checks that no two images get one name. What refers to another image may: its list grows.
///
/// # Errors
/// Wrong usage, with the two.
pub(crate) fn check_collisions(images: &[Renamed]) -> Result<(), Failure> {
    let mut by_name: HashMap<&Reference, &Renamed> = HashMap::new();
    for image in images.iter().filter(|image| image.own.subject().is_none()) {
        let first = by_name.entry(&image.new).or_insert(image);
        if first.root != image.root {
            let text = format!("{} and {} would both be {}", first.own, image.own, image.new);
            let hint = "push one of them by itself under a name of its own: push IMAGE NAME";
            return Err(cli::usage(text).hint(hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, image: &str, expected: &str) {
        let prefix: Prefix = prefix.parse().unwrap();
        assert_eq!(prefix.name_of(&image.parse().unwrap()).unwrap().full(), expected);
    }

    // skopeo#854, skopeo#2461: the path stays, the registry goes.
    #[test]
    fn an_image_keeps_its_path_and_its_tag_below_the_prefix() {
        check("r.test", "nginx", "r.test/library/nginx:latest");
        check("r.test/mirror", "docker.io/nginx:1.27", "r.test/mirror/library/nginx:1.27");
        check("r.test/mirror/", "ghcr.io/a/b/c:2", "r.test/mirror/a/b/c:2");
        check("localhost:5000", "localhost:5001/x:1", "localhost:5000/x:1");
        check("docker.io/me", "quay.io/a/b:1", "docker.io/me/a/b:1");
        check("docker.io", "me/b:1", "docker.io/me/b:1");
        let digest = Digest::of(b"");
        check("r.test", &format!("q.test/a@{digest}"), &format!("r.test/a@{digest}"));
    }

    #[test]
    fn a_prefix_has_a_registry_and_neither_tag_nor_scheme() {
        for text in
            ["", "/", "me", "mirror/x", "r.test/x:1", "docker://r.test", "r.test/X", "r.test//x"]
        {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }

    #[test]
    fn two_images_do_not_get_one_name() {
        let prefix: Prefix = "r.test".parse().unwrap();
        let image = |own: &str, content: &[u8]| {
            Renamed::of(own.parse().unwrap(), Digest::of(content), &prefix).unwrap()
        };
        check_collisions(&[image("a.test/x:1", b"1"), image("b.test/x:1", b"1")]).unwrap();
        check_collisions(&[image("a.test/x:1", b"1"), image("a.test/x:2", b"2")]).unwrap();
        let two = [image("a.test/x:1", b"1"), image("b.test/x:1", b"2")];
        let error = check_collisions(&two).unwrap_err().to_string();
        assert_eq!(error, "a.test/x:1 and b.test/x:1 would both be r.test/x:1");
    }
}
