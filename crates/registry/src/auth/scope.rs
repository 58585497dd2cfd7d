//! What a login is to allow, as the scope of a token.

/// Actions on a repository that a token is to allow.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Read.
    Pull,
    /// Write, and look at what is there.
    Push,
    /// Write, and read from another repository of the registry with this path.
    Mount(String),
    /// Remove, and look at what is there.
    Delete,
    /// List the repositories of the registry.
    Catalog,
    /// Nothing but to be known.
    Login,
}

impl Scope {
    /// The scope as a token server takes it, in the syntax of distribution's tokens. `asked` is the scope that the
    /// registry's challenge names.
    pub(super) fn parameter(&self, repository: &str, asked: Option<&str>) -> String {
        let push = || format!("repository:{repository}:pull,push");
        let ours = match self {
            Self::Pull => {
                let pull = || format!("repository:{repository}:pull");
                return asked.map_or_else(pull, str::to_owned);
            }
            Self::Push => vec![push()],
            Self::Delete => vec![format!("repository:{repository}:pull,push,delete")],
            Self::Catalog => {
                return asked.map_or_else(|| "registry:catalog:*".to_owned(), str::to_owned);
            }
            Self::Login => return asked.unwrap_or_default().to_owned(),
            Self::Mount(from) => vec![push(), format!("repository:{from}:pull")],
        };
        // One token is for everything that follows; the challenge to a first request names less.
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
    fn check(scope: &Scope, asked: &str, expected: &str) {
        let asked = Some(asked).filter(|asked| !asked.is_empty());
        assert_eq!(scope.parameter("a/b", asked), expected);
    }

    #[test]
    fn a_reader_asks_for_what_the_registry_wants() {
        check(&Scope::Pull, "", "repository:a/b:pull");
        check(&Scope::Pull, "repository:x:pull", "repository:x:pull");
    }

    #[test]
    fn to_remove_is_a_right_of_its_own() {
        let own = "repository:a/b:pull,push,delete";
        check(&Scope::Delete, "", own);
        check(&Scope::Delete, "repository:a/b:delete", own);
    }

    #[test]
    fn a_registry_says_what_lets_its_repositories_be_listed() {
        check(&Scope::Catalog, "", "registry:catalog:*");
        check(&Scope::Catalog, "registry:catalog:list", "registry:catalog:list");
    }

    #[test]
    fn who_only_logs_in_asks_for_nothing() {
        check(&Scope::Login, "", "");
        check(&Scope::Login, "account:me", "account:me");
    }

    #[test]
    fn a_writer_asks_for_everything_at_once() {
        let own = "repository:a/b:pull,push";
        check(&Scope::Push, "", own);
        check(&Scope::Push, "repository:a/b:pull", own);
        check(&Scope::Push, "registry:catalog:*", &format!("{own} registry:catalog:*"));
        let both = "repository:a/b:pull,push repository:c:pull";
        check(&Scope::Mount("c".to_owned()), "repository:a/b:pull,push", both);
        check(&Scope::Mount("c".to_owned()), both, both);
    }
}
