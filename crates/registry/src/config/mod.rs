//! What the files of docker, podman and containerd say: logins, mirrors, certificates.
//!
//! This floor gives values. It knows no HTTP client and no request; helpers that keep logins are the only programs that
//! it starts.

pub(crate) mod certs_d;
mod credentials;
mod files;
mod mirrors;

pub use credentials::{
    Credentials, Login, LoginFiles, LoginHelper, LoginKey, with_login, without_login,
};
pub(crate) use credentials::{FoundLogin, LoginQuery, LoginSearch};
pub use mirrors::Mirrors;
pub(crate) use mirrors::{HostConfig, Plan, PullFrom, RepositoryLocation};
