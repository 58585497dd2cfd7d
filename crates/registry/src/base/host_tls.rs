//! The certificates that one host has of its own, by the names of their files.

use std::path::PathBuf;

/// Files with certificates for one host, in the order in which they are read. They are read when the host is first
/// spoken to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostTls(pub(crate) Vec<CertificateFile>);

/// One such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateFile {
    /// A file with authorities to trust, besides those that this machine trusts.
    Authority(PathBuf),
    /// A client certificate.
    Identity {
        /// The file with the certificate, and with those that lead from it to an authority.
        certificate: PathBuf,
        /// The file with the key, which may be the same.
        key: PathBuf,
    },
}
