//! A session: what all requests of a client share, and how one request is made of exchanges: login, redirects, another
//! scheme, the judgement of the answer, and when to try again.

mod endpoint;
mod gate;
mod options;
mod redirect;
mod remote;
mod response;
mod retry;
mod state;
mod tokens;
mod upload_habits;

pub(crate) use endpoint::Endpoint;
pub use options::{Listener, Options, Retries};
pub(crate) use remote::{Answer, Call, Remote, Target};
pub(crate) use response::{ErrorResponse, RequestContext, transport_failure};
pub(crate) use retry::Attempts;
pub(crate) use state::Session;
pub(crate) use upload_habits::UploadMode;
