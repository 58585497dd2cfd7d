//! Certificates of single hosts, read from the files that the configuration names.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::base::{Cause, CertificateFile, HostTls};

/// The certificates of one host.
#[derive(Default)]
pub(crate) struct HostCertificates {
    /// Authorities to trust, besides those that this machine trusts.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Client certificates, of which one is shown.
    pub(super) identities: Vec<Identity>,
    /// The files that they come from.
    files: Vec<PathBuf>,
}

/// A client certificate with those that lead from it to an authority, and its key.
pub(super) struct Identity {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl HostCertificates {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// The cause names the file that can't be read, or holds no certificate.
    pub(super) fn load(tls: &HostTls) -> Result<Self, Cause> {
        let mut loaded = Self::default();
        for file in &tls.0 {
            match file {
                CertificateFile::Authority(path) => {
                    loaded.authorities.extend(certificates(path)?);
                    loaded.files.push(path.clone());
                }
                CertificateFile::Identity { certificate, key } => {
                    loaded.identities.push(identity(certificate, key)?);
                    loaded.files.push(certificate.clone());
                }
            }
        }
        Ok(loaded)
    }
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

fn identity(certificate: &Path, key: &Path) -> Result<Identity, Cause> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| Cause::about(key, &error))?;
    Ok(Identity { chain, key })
}

/// The names of the files; nothing of what is in them.
impl fmt::Display for HostCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files.iter().map(|path| path.display().to_string());
        f.write_str(&files.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Debug for HostCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostCertificates({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_told_with_its_file() {
        let path = std::env::temp_dir().join(format!("strata-certificate-{}", std::process::id()));
        std::fs::write(&path, "hunter2").unwrap();
        let tls = HostTls(vec![CertificateFile::Authority(path.clone())]);
        let error = HostCertificates::load(&tls).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(error, format!("{}: no certificate in it", path.display()));
    }
}
