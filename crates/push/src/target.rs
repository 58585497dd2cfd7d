//! Where an image goes: repositories, and the names that it gets there.

use layer_format::{Digest, Reference};
use registry::{Client, Repository};

/// A repository, and the names that an image gets in it.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) repository: Repository,
    /// `host`, as it stands in names.
    pub(crate) registry: String,
    /// `host/path`.
    pub(crate) name: String,
    pub(crate) names: Vec<Reference>,
}

impl Target {
    /// The repositories that these names lie in, each once.
    pub(crate) fn of(names: &[Reference], client: &Client) -> anyhow::Result<Vec<Self>> {
        let mut targets: Vec<Self> = vec![];
        for name in names {
            match targets.iter_mut().find(|target| target.name == name.name()) {
                Some(target) if target.names.contains(name) => {}
                Some(target) => target.names.push(name.clone()),
                None => targets.push(Self {
                    repository: client.repository(name)?,
                    registry: name.registry().to_owned(),
                    name: name.name(),
                    names: vec![name.clone()],
                }),
            }
        }
        Ok(targets)
    }

    /// The path of a repository (`host/path`), if it is another repository of this registry.
    pub(crate) fn sibling<'a>(&self, name: &'a str) -> Option<&'a str> {
        let path = name.strip_prefix(&self.registry)?.strip_prefix('/')?;
        (name != self.name).then_some(path)
    }
}

/// Checks that names with a digest have this one.
///
/// # Errors
/// Wrong usage, if one has another.
pub(crate) fn check_pins(names: &[Reference], digest: &Digest) -> anyhow::Result<()> {
    match names.iter().find(|name| name.digest().is_some_and(|pinned| pinned != digest)) {
        None => Ok(()),
        Some(name) => Err(cli::usage(format!("{name}: the image's digest is {digest}")).into()),
    }
}

#[cfg(test)]
mod tests {
    use registry::Options;

    use super::*;

    fn targets(names: &[&str]) -> Vec<Target> {
        let names: Vec<Reference> = names.iter().map(|name| name.parse().unwrap()).collect();
        Target::of(&names, &Client::new(Options::default()).unwrap()).unwrap()
    }

    #[test]
    fn names_of_one_repository_are_one_target() {
        let targets = targets(&["r.test/a:1", "r.test/b", "r.test/a:2", "r.test/a:1"]);
        let shown: Vec<_> = targets.iter().map(|it| (it.name.as_str(), it.names.len())).collect();
        assert_eq!(shown, [("r.test/a", 2), ("r.test/b", 1)]);
    }

    #[test]
    fn a_sibling_is_another_repository_of_the_same_registry() {
        let target = &targets(&["r.test/a/b:1"])[0];
        assert_eq!(target.sibling("r.test/c"), Some("c"));
        assert_eq!(target.sibling("r.test/a/b"), None);
        assert_eq!(target.sibling("r.test:5000/c"), None);
        assert_eq!(target.sibling("r.testing/c"), None);
    }
}
