//! Mirrors: other places that have a registry's images, and registries that stand for others.
//!
//! They are for pulls. Whatever comes from a mirror is checked against the digest that was asked for; where a tag was
//! asked for, the mirror is believed as podman believes it. A mirror that fails is left behind, and the next one is
//! asked, the registry itself last.

mod directories;
mod host;
mod hosts_toml;
mod registries_conf;
mod registry;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use layer_format::Reference;
use url::Url;

use super::files;
use crate::base::{Error, authority, network_host};
use directories::Directories;
pub(crate) use host::HostConfig;
use hosts_toml::HostDirectory;
use registry::{API, MalformedFile, Registry};
pub(crate) use registry::{PullFrom, RepositoryLocation};

/// The mirrors of all registries.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    registries: Vec<Registry>,
    /// By the host as it stands in addresses.
    hosts: HashMap<String, HostConfig>,
    /// Keys of the files that are not known here, in words.
    unknown_keys: Vec<String>,
}

/// The places that have a repository's images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The mirrors, in the order in which they are asked.
    pub(crate) mirrors: Vec<PlannedMirror>,
    /// The registry itself, which is asked last.
    pub(crate) origin: RepositoryLocation,
}

/// A mirror of one repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMirror {
    pub(crate) location: RepositoryLocation,
    pub(crate) pull_from: PullFrom,
}

impl Mirrors {
    /// No mirrors at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Containerd's `certs.d/HOST/hosts.toml`; then podman's `registries.conf` and its drop-ins: the user's, the
    /// machine's and its vendor's. `CONTAINERS_REGISTRIES_CONF` names a file in place of all of these,
    /// `CONTAINERS_REGISTRIES_CONF_OVERRIDE` one that is read last.
    ///
    /// # Errors
    ///
    /// [`Error::MalformedSettings`] or [`Error::UnreadableSettings`] for the first file that is malformed or can't be
    /// read, or that a variable names and isn't there.
    pub fn from_environment() -> Result<Self, Error> {
        let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let dir = |name: &str| set(name).map(PathBuf::from);
        let user = dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")));
        let machine = PathBuf::from("/etc");
        let mut mirrors = Self::default();
        // What is more important comes later.
        for config in [&machine].into_iter().chain(&user) {
            mirrors.read_hosts(&config.join("containerd/certs.d"))?;
        }
        let directories = Directories {
            user: user.map(|config| config.join("containers")),
            machine: machine.join("containers"),
            vendor: PathBuf::from("/usr/share/containers"),
            // A user that isn't known is not root.
            uid: std::fs::metadata("/proc/self").map_or(u32::MAX, |own| own.uid()),
        };
        let named = dir("CONTAINERS_REGISTRIES_CONF");
        let last = dir("CONTAINERS_REGISTRIES_CONF_OVERRIDE");
        mirrors.read(&directories, named.as_deref(), last.as_deref())?;
        Ok(mirrors)
    }

    /// Reads containerd's files: `HOST/hosts.toml` below a directory. What is said later about a registry counts.
    ///
    /// # Errors
    ///
    /// [`Error::UnreadableSettings`] if a directory or file is there and can't be read. A malformed file is told when
    /// its registry is wanted.
    pub fn read_hosts(&mut self, dir: &Path) -> Result<(), Error> {
        for (host, dir) in hosts_toml::dirs(dir)? {
            match hosts_toml::read(&host, &dir) {
                Ok(HostDirectory { registry, hosts }) => {
                    self.put(registry);
                    self.hosts.extend(hosts);
                }
                // It matters to those who want that registry.
                Err(Error::MalformedSettings { path, source }) => {
                    let malformed = Some(MalformedFile { path, reason: source });
                    self.put(Registry { malformed, ..Registry::of_host(&host, vec![]) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads podman's files, or the one that was named in their place, and one more.
    fn read(
        &mut self,
        directories: &Directories,
        named: Option<&Path>,
        last: Option<&Path>,
    ) -> Result<(), Error> {
        if let Some(file) = named {
            self.add_named(file)?;
        } else {
            for file in directories.main() {
                if self.add(&file)? {
                    break;
                }
            }
            for file in directories.drop_ins()? {
                self.add(&file)?;
            }
        }
        last.map_or(Ok(()), |file| self.add_named(file))
    }

    /// Adds what a file says that the user named: it must be there.
    fn add_named(&mut self, path: &Path) -> Result<(), Error> {
        if self.add(path)? {
            return Ok(());
        }
        Err(Error::unreadable_settings(path, io::ErrorKind::NotFound.into()))
    }

    /// Adds what a file says. Gives back whether the file is there.
    fn add(&mut self, path: &Path) -> Result<bool, Error> {
        let Some(text) = files::text(path)? else { return Ok(false) };
        let file = registries_conf::parse(&text, path)?;
        for registry in file.registries {
            self.put(registry);
        }
        self.unknown_keys.extend(file.unknown_keys);
        Ok(true)
    }

    /// What is said later about a prefix takes the place of what was said before.
    fn put(&mut self, registry: Registry) {
        self.registries.retain(|known| known.prefix != registry.prefix);
        self.registries.push(registry);
    }

    /// Keys of the files that are not known here, in words.
    pub(crate) fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    /// The hosts that may be insecure.
    pub(crate) fn insecure(&self) -> impl Iterator<Item = String> {
        let own = self.registries.iter().filter(|it| it.insecure).map(|it| &it.location);
        let others = self.registries.iter().flat_map(|it| it.mirrors.iter().chain(&it.server));
        let others = others.filter(|it| it.insecure).map(|it| &it.location);
        let hosts = own.chain(others).filter_map(|location| location.split('/').next());
        hosts.filter(|host| !host.is_empty()).map(|host| network_host(host).to_owned())
    }

    /// What is special about the host of an address, if anything is.
    pub(crate) fn host(&self, url: &Url) -> Option<&HostConfig> {
        self.hosts.get(&authority(url))
    }

    /// The places that have a repository's images.
    ///
    /// # Errors
    ///
    /// [`Error::Blocked`], or [`Error::MalformedSettings`] of the file that should say it.
    pub(crate) fn plan(&self, reference: &Reference) -> Result<Plan, Error> {
        let host = reference.registry();
        let path = reference.repository();
        let name = format!("{host}/{path}");
        let named = RepositoryLocation::new(host, path, API);
        let fitting = self.registries.iter().filter_map(|it| Some((it, it.rest(&name)?)));
        let Some((registry, rest)) = fitting.max_by_key(|(registry, _)| registry.prefix.len())
        else {
            return Ok(Plan { mirrors: vec![], origin: named });
        };
        if registry.blocked {
            return Err(Error::Blocked { name });
        }
        if let Some(MalformedFile { path, reason }) = registry.malformed.clone() {
            return Err(Error::MalformedSettings { path, source: reason });
        }
        let origin = registry.origin(host, rest).unwrap_or(named);
        let mirrors = registry.mirrors.iter().filter_map(|mirror| {
            let location = registry.place(mirror, host, rest)?;
            Some(PlannedMirror { location, pull_from: mirror.pull_from })
        });
        // No place is asked twice.
        let mirrors = mirrors.filter(|mirror| !mirror.location.is_same(&origin)).collect();
        Ok(Plan { mirrors, origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = r#"
        unqualified-search-registries = ["docker.io"]
        [[registry]]
        prefix = "docker.io"
        location = "docker.io"
        [[registry.mirror]]
        location = "mirror.test:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "second.test"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library"
        location = "inner.test/lib"
        insecure = true
        [[registry]]
        location = "bad.test"
        blocked = true
        [[registry]]
        prefix = "*.corp.test"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "cache.test/corp"
    "#;

    fn mirrors() -> Mirrors {
        let registries =
            registries_conf::parse(CONF, Path::new("registries.conf")).unwrap().registries;
        Mirrors { registries, ..Mirrors::none() }
    }

    #[track_caller]
    fn check(name: &str, origin: &str, expected: &[(&str, PullFrom)]) {
        let shown = |location: &RepositoryLocation| format!("{}/{}", location.host, location.path);
        let plan = mirrors().plan(&name.parse().unwrap()).unwrap();
        assert_eq!(shown(&plan.origin), origin);
        let found: Vec<_> =
            plan.mirrors.iter().map(|it| (shown(&it.location), it.pull_from)).collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, pull_from)| ((*name).to_owned(), *pull_from)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn the_longest_prefix_decides() {
        let hub = [
            ("mirror.test:5000/hub/me/app", PullFrom::All),
            ("second.test/me/app", PullFrom::DigestOnly),
        ];
        check("me/app", "docker.io/me/app", &hub);
        check("nginx", "inner.test/lib/nginx", &[]);
        check(
            "docker.io/libraryx/app",
            "docker.io/libraryx/app",
            &[
                ("mirror.test:5000/hub/libraryx/app", PullFrom::All),
                ("second.test/libraryx/app", PullFrom::DigestOnly),
            ],
        );
        check("other.test/a", "other.test/a", &[]);
        check("a.corp.test/x", "a.corp.test/x", &[("cache.test/corp/x", PullFrom::DigestOnly)]);
        check("corp.test/x", "corp.test/x", &[]);
        assert!(mirrors().plan(&"bad.test/a".parse().unwrap()).is_err());
    }

    #[test]
    fn insecure_hosts_are_listed_without_paths() {
        assert_eq!(mirrors().insecure().collect::<Vec<_>>(), ["inner.test", "mirror.test:5000"]);
    }

    /// podman#14306: keys below a table belong to it.
    #[test]
    fn keys_that_nobody_understands_are_told() {
        let text = "short-name-mode = \"permissive\"\nwhat = 1\n[[registry]]\nlocation = \"a.test\"\n\
            where = 1\n[[registry.mirror]]\nlocation = \"b.test\"\nshort-name-mode = \"enforcing\"\n";
        let unknown_keys =
            registries_conf::parse(text, Path::new("/etc/r.conf")).unwrap().unknown_keys;
        let expected = ["what", "where in [[registry]]", "short-name-mode in [[registry.mirror]]"];
        assert_eq!(
            unknown_keys,
            expected.map(|key| format!("/etc/r.conf: {key} is not known here"))
        );
        assert!(
            registries_conf::parse(CONF, Path::new("/etc/r.conf")).unwrap().unknown_keys.is_empty()
        );
    }

    /// container-libs#624: a user who wants a proxy for one registry must not be led past it.
    #[test]
    fn a_proxy_for_one_registry_is_an_error_for_that_registry() {
        for below in ["", "[[registry.mirror]]\nlocation = \"b.test\"\n"] {
            let text = format!(
                "[[registry]]\nlocation = \"c.test\"\n[[registry]]\nlocation = \"a.test\"\n{below}\
                 proxy = \"http://p.test:3128\"\n"
            );
            let file = registries_conf::parse(&text, Path::new("/etc/r.conf")).unwrap();
            assert!(file.unknown_keys.is_empty());
            let mirrors = Mirrors { registries: file.registries, ..Mirrors::none() };
            let error = mirrors.plan(&"a.test/x".parse().unwrap()).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.starts_with("proxy is not understood"), "{source}");
            assert!(mirrors.plan(&"c.test/x".parse().unwrap()).is_ok());
        }
    }

    #[test]
    fn a_malformed_file_is_named() {
        for text in ["x", "[[registry]]", "[[registry]]\nlocation = 7"] {
            let error = registries_conf::parse(text, Path::new("/etc/r.conf")).unwrap_err();
            assert!(error.to_string().starts_with("/etc/r.conf"), "{error}");
        }
    }

    /// Files below a directory of its own, each about the registry that it is named for here.
    struct Files(PathBuf);

    impl Files {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let dir = format!("strata-mirrors-{name}-{}", std::process::id());
            let files_here = Self(std::env::temp_dir().join(dir));
            for (path, location) in files {
                let path = files_here.0.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                let text = format!("[[registry]]\nlocation = \"{location}\"\n");
                std::fs::write(path, text).unwrap();
            }
            files_here
        }

        fn directories(&self, uid: u32) -> Directories {
            let dir = |name: &str| self.0.join(name);
            Directories { user: Some(dir("user")), machine: dir("etc"), vendor: dir("usr"), uid }
        }

        /// The registries that are known in the end, in the order in which they came.
        fn found(&self, uid: u32, named: Option<&str>, last: Option<&str>) -> Vec<String> {
            let named = named.map(|it| self.0.join(it));
            let last = last.map(|it| self.0.join(it));
            let mut mirrors = Mirrors::none();
            mirrors.read(&self.directories(uid), named.as_deref(), last.as_deref()).unwrap();
            mirrors.registries.into_iter().map(|registry| registry.prefix).collect()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    #[test]
    fn the_first_main_file_counts_alone() {
        let all = [
            ("user/registries.conf", "user"),
            ("etc/registries.conf", "etc"),
            ("usr/registries.conf", "usr"),
        ];
        for (n, (_, expected)) in all.iter().enumerate() {
            let files = Files::new("main", &all[n..]);
            assert_eq!(files.found(0, None, None), [*expected]);
        }
        assert!(Files::new("none", &[]).found(0, None, None).is_empty());
    }

    /// As containers-registries.conf(5) of podman 6 says.
    #[test]
    fn drop_ins_are_merged_by_their_names_and_the_more_important_hides_its_namesakes() {
        let files = Files::new(
            "drop-ins",
            &[
                ("usr/registries.conf", "main"),
                ("user/registries.conf.d/40-a.conf", "user"),
                ("etc/registries.conf.d/40-a.conf", "hidden-by-user"),
                ("etc/registries.conf.d/10-b.conf", "etc"),
                ("usr/registries.conf.d/10-b.conf", "hidden-by-etc"),
                ("usr/registries.conf.d/90-c.conf", "usr"),
                ("usr/registries.conf.d/90-c.txt", "no-conf"),
                ("etc/registries.rootful.conf.d/20-d.conf", "rootful"),
                ("etc/registries.conf.d/20-d.conf", "of-all"),
                ("usr/registries.rootless.conf.d/30-e.conf", "rootless"),
                ("usr/registries.rootless.conf.d/1000/30-e.conf", "uid-1000"),
                ("etc/registries.rootless.conf.d/50-f.conf", "etc-rootless"),
                ("user/registries.rootful.conf.d/60-g.conf", "no-place"),
            ],
        );
        let of_root = ["main", "etc", "rootful", "user", "usr"];
        assert_eq!(files.found(0, None, None), of_root);
        let of_user = ["main", "etc", "of-all", "uid-1000", "user", "etc-rootless", "usr"];
        assert_eq!(files.found(1000, None, None), of_user);
        let of_another = ["main", "etc", "of-all", "rootless", "user", "etc-rootless", "usr"];
        assert_eq!(files.found(1001, None, None), of_another);
    }

    #[test]
    fn a_named_file_stands_alone_and_another_is_read_last() {
        let files = Files::new(
            "named",
            &[
                ("etc/registries.conf", "etc"),
                ("etc/registries.conf.d/a.conf", "drop-in"),
                ("named", "named"),
                ("last", "last"),
            ],
        );
        assert_eq!(files.found(0, Some("named"), None), ["named"]);
        assert_eq!(files.found(0, Some("named"), Some("last")), ["named", "last"]);
        assert_eq!(files.found(0, None, Some("last")), ["etc", "drop-in", "last"]);
        let missing = files.0.join("missing");
        for (named, last) in [(Some(&*missing), None), (None, Some(&*missing))] {
            let error = Mirrors::none().read(&files.directories(0), named, last).unwrap_err();
            assert!(error.to_string().ends_with("/missing: reading settings"), "{error}");
        }
    }

    #[test]
    fn settings_that_cannot_be_read_are_not_taken_for_none() {
        // A link that leads to itself can't be read by root either.
        let files = Files::new("unreadable", &[("etc/registries.conf", "etc")]);
        let link = |path: &str| {
            let path = files.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&path, &path).unwrap();
        };
        let is_told = |path: &str| {
            let error = Mirrors::none().read(&files.directories(0), None, None).unwrap_err();
            assert!(error.to_string().contains(path), "{error}");
            std::fs::remove_file(files.0.join(path)).unwrap();
        };
        for path in
            ["user/registries.conf", "usr/registries.conf.d", "etc/registries.conf.d/a.conf"]
        {
            link(path);
            is_told(path);
        }
        link("certs.d");
        let error = Mirrors::none().read_hosts(&files.0.join("certs.d")).unwrap_err();
        assert!(error.to_string().contains("certs.d"), "{error}");
    }

    #[test]
    fn version_1_is_refused_as_podman_6_refuses_it() {
        for table in ["search", "insecure", "block"] {
            let text = format!("[registries.{table}]\nregistries = [\"a.test\"]\n");
            let error = registries_conf::parse(&text, Path::new("/etc/r.conf")).unwrap_err();
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.starts_with("version 1 of registries.conf"), "{source}");
        }
    }
}
