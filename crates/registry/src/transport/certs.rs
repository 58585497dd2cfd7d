//! Certificates for single registries, as docker and podman users keep them: `certs.d/HOST[:PORT]/`, in it authorities as
//! `*.crt`, and `NAME.cert` with `NAME.key` to show to the registry.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use reqwest::Url;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Cause;
use crate::mirrors::Terms;

/// What was found for one registry.
#[derive(Default)]
pub(crate) struct Own {
    /// Whom to believe, besides those whom the machine believes.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// What to show, one of them.
    pub(super) identities: Vec<Identity>,
    /// Where it was found.
    files: Vec<PathBuf>,
}

/// A certificate with those that lead to an authority, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Own {
    /// Reads what the directories and containerd's files have for the registry behind an address; `None` if that is nothing.
    pub(super) fn find(
        dirs: &[PathBuf],
        url: &Url,
        terms: Option<&Terms>,
    ) -> Result<Option<Self>, Cause> {
        let mut own = Self::default();
        for dir in dirs {
            for name in names(url) {
                own.add(&dir.join(name))?;
            }
        }
        if let Some(terms) = terms {
            own.add_files(terms)?;
        }
        Ok((!own.files.is_empty()).then_some(own))
    }

    fn add(&mut self, dir: &Path) -> Result<(), Cause> {
        let mut paths = match list(dir) {
            Ok(paths) => paths,
            Err(error) if is_not_for_us(&error) => return Ok(()),
            Err(error) => return Err(Cause::about(dir, &error)),
        };
        paths.sort();
        for path in paths {
            let extension = path.extension().and_then(OsStr::to_str);
            match extension {
                Some("crt") => self.authorities.extend(certificates(&path)?),
                Some("cert") => {
                    self.identities.push(identity(&path, &path.with_extension("key"))?);
                }
                _ => continue,
            }
            self.files.push(path);
        }
        Ok(())
    }

    fn add_files(&mut self, terms: &Terms) -> Result<(), Cause> {
        for path in &terms.authorities {
            self.authorities.extend(certificates(path)?);
            self.files.push(path.clone());
        }
        for (path, key) in &terms.identities {
            self.identities.push(identity(path, key)?);
            self.files.push(path.clone());
        }
        Ok(())
    }
}

/// The names that a directory may have: with the port if there is one in the address.
fn names(url: &Url) -> Vec<String> {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        // No address of a registry can lead out of the directory.
        _ if host.is_empty() || host.starts_with('.') => vec![],
        Some(port) => vec![format!("{host}:{port}")],
        None => vec![host.to_owned(), format!("{host}:443")],
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
}

fn is_not_for_us(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Cause> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    match read() {
        Ok(certificates) if certificates.is_empty() => {
            Err(Cause::about(path, &io::Error::other("no certificate in it")))
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(Cause::about(path, &error)),
    }
}

fn identity(path: &Path, key: &Path) -> Result<Identity, Cause> {
    let chain = certificates(path)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| Cause::about(key, &error))?;
    Ok(Identity { chain, key })
}

/// Which files count; nothing of what is in them.
impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|path| path.display().to_string());
        f.write_str(&files.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Own({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_named_for_host_and_port() {
        let check = |url: &str, expected: &[&str]| {
            assert_eq!(names(&url.parse().unwrap()), expected, "{url}");
        };
        check("https://r.test:5000/v2/", &["r.test:5000"]);
        check("https://r.test/v2/", &["r.test", "r.test:443"]);
        check("https://[::1]:5000/", &["[::1]:5000"]);
    }

    #[test]
    fn what_is_no_certificate_is_told_with_its_file() {
        let dir = std::env::temp_dir().join(format!("strata-certs-{}", std::process::id()));
        let host = dir.join("r.test");
        std::fs::create_dir_all(&host).unwrap();
        let find =
            || Own::find(std::slice::from_ref(&dir), &"https://r.test/".parse().unwrap(), None);
        assert!(find().unwrap().is_none(), "an empty directory is nothing");
        std::fs::write(host.join("ca.crt"), "hunter2").unwrap();
        let error = find().unwrap_err().to_string();
        assert!(error.ends_with("r.test/ca.crt: no certificate in it"), "{error}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
