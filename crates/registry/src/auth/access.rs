//! What is to be done with a repository, and the scope that a token for it must have.

/// What is to be done with a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Read.
    Pull,
    /// Write, and look at what is there.
    Push,
    /// Write, and read from another repository of the registry, given by its path.
    Mount(String),
}

impl Access {
    /// The scope to ask for, in the syntax of distribution's tokens, where the registry itself asks for `asked`.
    pub(crate) fn scope(&self, repository: &str, asked: Option<&str>) -> String {
        let push = || format!("repository:{repository}:pull,push");
        let ours = match self {
            Self::Pull => {
                let pull = || format!("repository:{repository}:pull");
                return asked.map_or_else(pull, str::to_owned);
            }
            Self::Push => vec![push()],
            Self::Mount(from) => vec![push(), format!("repository:{from}:pull")],
        };
        // One token for everything; what a registry asks for at the first look is less.
        let resource = |scope: &str| scope.rsplit_once(':').map(|(it, _)| it.to_owned());
        let is_new = |scope: &&str| ours.iter().all(|ours| resource(ours) != resource(scope));
        let theirs = asked.unwrap_or_default().split(' ').filter(|scope| !scope.is_empty());
        let theirs = theirs.filter(is_new).map(str::to_owned);
        ours.iter().cloned().chain(theirs).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(access: &Access, asked: &str, expected: &str) {
        let asked = Some(asked).filter(|asked| !asked.is_empty());
        assert_eq!(access.scope("a/b", asked), expected);
    }

    #[test]
    fn a_reader_asks_for_what_the_registry_wants() {
        check(&Access::Pull, "", "repository:a/b:pull");
        check(&Access::Pull, "repository:x:pull", "repository:x:pull");
    }

    #[test]
    fn a_writer_asks_for_everything_at_once() {
        let own = "repository:a/b:pull,push";
        check(&Access::Push, "", own);
        check(&Access::Push, "repository:a/b:pull", own);
        check(&Access::Push, "registry:catalog:*", &format!("{own} registry:catalog:*"));
        let both = "repository:a/b:pull,push repository:c:pull";
        check(&Access::Mount("c".to_owned()), "repository:a/b:pull,push", both);
        check(&Access::Mount("c".to_owned()), both, both);
    }
}
