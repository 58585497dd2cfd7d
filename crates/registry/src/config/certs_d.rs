//! `certs.d/HOST[:PORT]/`: certificates for single registries, as docker and podman users keep them.
//!
//! `*.crt` are authorities; `NAME.cert` with `NAME.key` is a client certificate.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use url::Url;

use super::files;
use crate::base::{Cause, CertificateFile, HostTls};

/// The directories in which podman and docker look, the user's first.
pub(crate) fn usual_directories(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let dir = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = dir("XDG_CONFIG_HOME").or_else(|| dir("HOME").map(|home| home.join(".config")));
    let of_user = of_user.map(|config| config.join("containers/certs.d"));
    let of_machine = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
    of_user.into_iter().chain(of_machine).collect()
}

/// The files with certificates that the directories have for the host of an address.
///
/// # Errors
///
/// The cause names the directory that is there and can't be read.
pub(crate) fn find(dirs: &[PathBuf], url: &Url) -> Result<HostTls, Cause> {
    let mut files = vec![];
    for dir in dirs {
        for name in directory_names(url) {
            files.extend(certificate_files(&dir.join(name))?);
        }
    }
    Ok(HostTls(files))
}

fn certificate_files(dir: &Path) -> Result<Vec<CertificateFile>, Cause> {
    match files::list(dir) {
        Ok(paths) => Ok(paths.into_iter().filter_map(certificate_file).collect()),
        Err(error) if files::is_not_for_us(&error) => Ok(vec![]),
        Err(error) => Err(Cause::about(dir, &error)),
    }
}

fn certificate_file(path: PathBuf) -> Option<CertificateFile> {
    match path.extension()?.to_str()? {
        "crt" => Some(CertificateFile::Authority(path)),
        "cert" => {
            let key = path.with_extension("key");
            Some(CertificateFile::Identity { certificate: path, key })
        }
        _ => None,
    }
}

/// The names that a directory may have: with the port if there is one in the address.
fn directory_names(url: &Url) -> Vec<String> {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        // No address of a registry can lead out of the directory.
        _ if host.is_empty() || host.starts_with('.') => vec![],
        Some(port) => vec![format!("{host}:{port}")],
        None => vec![host.to_owned(), format!("{host}:443")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_named_for_host_and_port() {
        let check = |url: &str, expected: &[&str]| {
            assert_eq!(directory_names(&url.parse().unwrap()), expected, "{url}");
        };
        check("https://r.test:5000/v2/", &["r.test:5000"]);
        check("https://r.test/v2/", &["r.test", "r.test:443"]);
        check("https://[::1]:5000/", &["[::1]:5000"]);
    }

    #[test]
    fn files_are_told_apart_by_their_names() {
        let dir = std::env::temp_dir().join(format!("strata-certs-{}", std::process::id()));
        let host = dir.join("r.test");
        std::fs::create_dir_all(&host).unwrap();
        let find = || find(std::slice::from_ref(&dir), &"https://r.test/".parse().unwrap());
        assert_eq!(find().unwrap(), HostTls::default(), "an empty directory is nothing");
        for name in ["me.key", "me.cert", "ca.crt", "README"] {
            std::fs::write(host.join(name), "").unwrap();
        }
        let found = find().unwrap();
        let identity = CertificateFile::Identity {
            certificate: host.join("me.cert"),
            key: host.join("me.key"),
        };
        let expected = vec![CertificateFile::Authority(host.join("ca.crt")), identity];
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, HostTls(expected));
    }
}
