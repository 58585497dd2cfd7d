//! How a registry that people use behaves, where that differs from the distribution spec.
//!
//! ```no_run
//! use kit::registry::profiles;
//! let registry = kit::Registry::with_profile(&profiles::ECR);
//! ```

use serde_json::json;

use super::auth::{Auth, Bearer};
use super::reply::Reply;

/// The user and the password of every profile that wants a login.
pub const LOGIN: (&str, &str) = ("me", "secret");

/// The ways of one registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What people call it.
    pub name: &'static str,
    /// What it wants to see before it does anything.
    pub login: Login,
    /// How it takes blobs.
    pub uploads: Uploads,
    /// When it mounts a blob from another repository.
    pub mounts: Mounts,
    /// Whether a manifest may name a blob that only another repository has.
    pub finds_blobs_elsewhere: bool,
    /// What it answers to HEAD of a blob that it has.
    pub head: Head,
    /// Whether blobs come from another host, which refuses `Authorization` as S3 does.
    pub has_storage: bool,
    /// What it answers when it is asked what refers to an image.
    pub referrers: Referrers,
    /// What it removes.
    pub deletes: Deletes,
    /// Whether it lists its repositories.
    pub catalog: Catalog,
    /// What the bodies of its refusals look like.
    pub errors: Errors,
    /// Headers of every answer, such as rate limits.
    pub headers: &'static [(&'static str, &'static str)],
}

/// What a registry wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nothing.
    None,
    /// [`LOGIN`] with every request.
    Basic,
    /// A token, which [`LOGIN`] brings.
    Token,
}

/// How blobs are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uploads {
    /// What becomes of a PATCH with `Content-Range`.
    pub chunks: Chunks,
    /// Whether a PUT may carry the whole blob; otherwise that is 405 and a PATCH without `Content-Range` may.
    pub takes_whole: bool,
    /// The most bytes of one request's body; more is 413, as from nginx.
    pub largest: Option<usize>,
    /// What GET of an upload tells.
    pub asked: Asked,
    /// Whether what came of a body that broke off is kept; otherwise the upload is forgotten.
    pub keeps_cut: bool,
}

/// What becomes of a PATCH with `Content-Range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunks {
    /// It is taken, with this status.
    Taken(u16, Said),
    /// It is taken up to so many bytes; a larger one is 416, and its text names the limit.
    Limited(usize),
    /// It is refused with this status.
    Refused(u16),
}

/// What the `Range` of the answer to a chunk says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// All that has come.
    All,
    /// Only the first chunk, for ever.
    First,
    /// The last chunk, as if it began at 0.
    Last,
    /// Nothing: there is none.
    Nothing,
}

/// What GET of an upload tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// How many bytes have come.
    Offset,
    /// This status.
    Status(u16),
}

/// When a blob is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// When the other repository has it.
    Always,
    /// When a manifest of the other repository names it.
    Named,
    /// Never: an upload begins.
    Never,
    /// Never, and the answer is 202 without a `Location`.
    Lost,
    /// When the other repository has it; what isn't there is refused with this status.
    OrRefused(u16),
}

/// What HEAD of a blob is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The truth.
    Answered,
    /// This status, whatever there is.
    Refused(u16),
    /// A redirect to the storage, which takes GET alone and says 403.
    Redirected,
}

/// What is answered to who asks for referrers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referrers {
    /// The list.
    Api,
    /// This status.
    Status(u16),
    /// A redirect (303) to a page for people.
    Page,
    /// 404, and the tag `sha256-HEX` means the manifest of that digest itself.
    TagIsDigest,
}

/// What a registry removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// A tag alone, as the distribution spec 1.1 has it, or a manifest with all its tags.
    Tags,
    /// Only a manifest with all its tags; by tag it answers this status.
    Manifests(u16),
    /// Nothing: 405.
    Nothing,
}

/// What is answered to who asks for all repositories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Catalog {
    /// The list.
    Listed,
    /// This status.
    Status(u16),
}

/// What the body of a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    /// As the spec wants it.
    Spec,
    /// A page for people.
    Html,
    /// A line of text.
    Text,
    /// `{"errors":[{"status":…,"message":…}]}`, without a code.
    Uncoded,
}

impl Profile {
    /// How it tells who is allowed.
    pub fn auth(&self) -> Auth {
        let (user, password) = LOGIN;
        match self.login {
            Login::None => Auth::Anonymous,
            Login::Basic => Auth::basic(user, password),
            Login::Token => Auth::Bearer(Bearer::login(user, password)),
        }
    }

    /// Gives an answer the form that this registry's answers have.
    pub(crate) fn dress(&self, reply: &mut Reply) {
        for (name, value) in self.headers {
            reply.set_header(name, value);
        }
        if reply.status < 400 {
            return;
        }
        let status = reply.status;
        let (media_type, body) = match self.errors {
            Errors::Spec => return,
            Errors::Html => ("text/html", format!("<html><body><h1>{status}</h1></body></html>\n")),
            Errors::Text => ("text/plain; charset=utf-8", format!("status {status}\n")),
            Errors::Uncoded => {
                let body = json!({"errors": [{"status": status, "message": "as it is"}]});
                ("application/json", body.to_string())
            }
        };
        reply.set_header("Content-Type", media_type);
        reply.body = body.as_bytes().into();
    }
}
