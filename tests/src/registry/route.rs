//! Which path means what.

use std::io::{BufReader, Result};
use std::net::TcpStream;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::http::Head;
use super::log::Entry;
use super::profile::{Catalog, Deletes, Head as HeadOf, Referrers};
use super::reply::Reply;
use super::{Host, Shared, auth, fault, lock, upload};
use crate::image::{Blob, digest};

/// One request as the routes see it.
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) head: &'a Head,
    pub(crate) body: Vec<u8>,
    pub(crate) repository: &'a str,
}

impl Call<'_> {
    /// Whether less of the body came than was announced.
    pub(crate) fn is_cut(&self) -> bool {
        self.head.length().is_some_and(|length| self.body.len() < length)
    }
}

/// The answer to a request, faults applied.
pub(crate) fn answer(
    (shared, host): (&Shared, Host),
    head: &Head,
    input: &mut BufReader<&TcpStream>,
    entry: Entry,
) -> Result<Reply> {
    let plan = fault::plan(&mut lock(&shared.faults), head);
    let body = head.body(input, plan.read_limit())?;
    shared.log.note(entry, |request| request.received = body.len() as u64);
    let mut reply = match plan.instead(head) {
        Some(reply) => reply,
        None => match host {
            Host::Registry => route(shared, head, body),
            Host::Storage => stored(shared, head),
        },
    };
    shared.profile.dress(&mut reply);
    plan.apply(&mut reply, head);
    Ok(reply)
}

/// A blob from the host that has nothing else, if it is asked for as S3 wants it.
fn stored(shared: &Shared, head: &Head) -> Reply {
    let digest = head.path().strip_prefix("/storage/").unwrap_or_default();
    if head.header("Authorization").is_some() {
        return Reply::new(400, "application/xml", "<Error><Code>InvalidArgument</Code></Error>");
    }
    if head.method != "GET" {
        return Reply::new(
            403,
            "application/xml",
            "<Error><Code>SignatureDoesNotMatch</Code></Error>",
        );
    }
    match lock(&shared.repositories).any_blob(digest) {
        Some(bytes) => blob_reply(&bytes, digest),
        None => Reply::new(404, "application/xml", "<Error><Code>NoSuchKey</Code></Error>"),
    }
}

fn route(shared: &Shared, head: &Head, body: Vec<u8>) -> Reply {
    let path = head.path();
    if shared.profile.uploads.largest.is_some_and(|largest| body.len() > largest) {
        return Reply::error(413, "", "Request Entity Too Large");
    }
    if path == "/page" {
        return Reply::new(200, "text/html", "<!doctype html><title>For people</title>");
    }
    if path == "/token" {
        return auth::token(shared, head, &body);
    }
    if let Some(digest) = path.strip_prefix("/storage/") {
        return match lock(&shared.repositories).any_blob(digest) {
            Some(bytes) => blob_reply(&bytes, digest),
            None => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        };
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return Reply::error(404, "NOT_FOUND", "not a path of a registry");
    };
    if rest.is_empty() {
        return auth::refuse(shared, head, &[])
            .unwrap_or_else(|| Reply::new(200, "application/json", "{}"));
    }
    if rest == "_catalog" {
        return catalog(shared, head);
    }
    let kinds = ["/manifests/", "/blobs/uploads/", "/blobs/", "/tags/list", "/referrers/"];
    let found = kinds.iter().find_map(|kind| {
        rest.rsplit_once(kind).map(|(repository, reference)| (repository, *kind, reference))
    });
    let Some((repository, kind, reference)) = found else {
        return Reply::error(404, "NOT_FOUND", "not a path of a registry");
    };
    if let Some(refusal) = auth::refuse(shared, head, &scopes(head, repository)) {
        return refusal;
    }
    let call = Call { shared, head, body, repository };
    match (kind, head.method.as_str()) {
        ("/manifests/", "GET" | "HEAD") => manifest(&call, reference),
        ("/manifests/", "PUT") => put_manifest(&call, reference),
        ("/manifests/", "DELETE") => delete_manifest(&call, reference),
        ("/blobs/uploads/", _) => upload::answer(&call, reference),
        ("/blobs/", "GET" | "HEAD") => blob(&call, reference),
        ("/tags/list", "GET") => tags(&call),
        ("/referrers/", "GET") => referrers(&call, reference),
        _ => Reply::error(405, "UNSUPPORTED", "not with this method"),
    }
}

/// What a token must allow for this request: the repository itself first.
fn scopes(head: &Head, repository: &str) -> Vec<String> {
    let reads = matches!(head.method.as_str(), "GET" | "HEAD");
    let is_manifest = head.path().contains("/manifests/");
    let action = match head.method.as_str() {
        _ if reads => "pull",
        "DELETE" if is_manifest => "delete",
        _ => "push",
    };
    vec![format!("repository:{repository}:{action}")]
}

fn manifest(call: &Call<'_>, reference: &str) -> Reply {
    let repositories = lock(&call.shared.repositories);
    let hex = reference.strip_prefix("sha256-");
    let hex = hex.filter(|_| call.shared.profile.referrers == Referrers::TagIsDigest);
    let wanted = hex.map_or_else(|| reference.to_owned(), |hex| format!("sha256:{hex}"));
    let found = repositories.get(call.repository).and_then(|it| it.manifest(&wanted));
    let Some((digest, media_type, bytes)) = found else {
        return Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    Reply::new(200, &media_type, bytes)
        .header("Docker-Content-Digest", &digest)
        .header("ETag", &format!("\"{digest}\""))
}

fn put_manifest(call: &Call<'_>, reference: &str) -> Reply {
    let real = digest(&call.body);
    if reference.contains(':') && reference != real {
        return Reply::error(400, "DIGEST_INVALID", "the manifest has another digest");
    }
    let Ok(json) = serde_json::from_slice::<Value>(&call.body) else {
        return Reply::error(400, "MANIFEST_INVALID", "the manifest is not JSON");
    };
    let mut repositories = lock(&call.shared.repositories);
    for digest in named(&json) {
        let is_here = repositories.get(call.repository).is_some_and(|it| it.has(&digest));
        let elsewhere = call.shared.profile.finds_blobs_elsewhere;
        let found = repositories.any_blob(&digest).filter(|_| elsewhere && !is_here);
        if !is_here && found.is_none() {
            return Reply::error(400, "MANIFEST_BLOB_UNKNOWN", &format!("{digest} is not here"));
        }
        if let Some(bytes) = found {
            let media_type = String::new();
            let blob = Blob { digest, media_type, bytes: bytes.to_vec() };
            repositories.open(call.repository).add(&blob);
        }
    }
    let repository = repositories.open(call.repository);
    let media_type = call.head.header("Content-Type").unwrap_or_default();
    repository.add(&Blob::new(media_type, call.body.clone()));
    if !repository.has(&real) || repository.manifest(&real).is_none() {
        return Reply::error(400, "MANIFEST_INVALID", "not a manifest's Content-Type");
    }
    if !reference.contains(':') {
        repository.tag(reference, &real);
    }
    let reply = Reply::empty(201)
        .header("Location", &format!("/v2/{}/manifests/{real}", call.repository))
        .header("Docker-Content-Digest", &real);
    match json["subject"]["digest"].as_str() {
        Some(subject) if knows_referrers(call) => reply.header("OCI-Subject", subject),
        _ => reply,
    }
}

fn delete_manifest(call: &Call<'_>, reference: &str) -> Reply {
    let refused = match call.shared.profile.deletes {
        Deletes::Nothing => Some(405),
        Deletes::Manifests(status) if !reference.contains(':') => Some(status),
        Deletes::Manifests(_) | Deletes::Tags => None,
    };
    if let Some(status) = refused {
        return Reply::error(status, "UNSUPPORTED", "The operation is unsupported.");
    }
    if lock(&call.shared.repositories).open(call.repository).delete(reference) {
        Reply::empty(202)
    } else {
        Reply::error(404, "MANIFEST_UNKNOWN", "manifest unknown")
    }
}

/// What a manifest or an index names.
pub(crate) fn named(json: &Value) -> Vec<String> {
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let descriptors =
        [list("layers"), list("manifests"), json.get("config").cloned().into_iter().collect()];
    let digests = descriptors.concat().into_iter();
    digests.map(|it| it["digest"].as_str().unwrap_or_default().to_owned()).collect()
}

fn knows_referrers(call: &Call<'_>) -> bool {
    call.shared.knows_referrers.load(Ordering::SeqCst)
}

/// What refers to a manifest, two to a page, with a `Link` to the next page.
fn referrers(call: &Call<'_>, subject: &str) -> Reply {
    const PAGE: usize = 2;
    if !knows_referrers(call) {
        return match call.shared.profile.referrers {
            Referrers::Page => Reply::empty(303).header("Location", "/page"),
            Referrers::Status(status) => Reply::error(status, "UNSUPPORTED", "no referrers here"),
            Referrers::Api | Referrers::TagIsDigest => {
                Reply::error(404, "NOT_FOUND", "no referrers here")
            }
        };
    }
    let repositories = lock(&call.shared.repositories);
    let all = repositories.get(call.repository).map(|it| it.referrers(subject)).unwrap_or_default();
    let start = call.head.query("start").and_then(|start| start.parse().ok()).unwrap_or(0);
    let page: Vec<_> = all.iter().skip(start).take(PAGE).collect();
    let media_type = "application/vnd.oci.image.index.v1+json";
    let body = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": page });
    let reply = Reply::new(200, media_type, body.to_string());
    let next = start + PAGE;
    if next >= all.len() {
        return reply;
    }
    let address = format!("/v2/{}/referrers/{subject}?start={next}", call.repository);
    reply.header("Link", &format!("<{address}>; rel=\"next\""))
}

fn blob(call: &Call<'_>, digest: &str) -> Reply {
    let repositories = lock(&call.shared.repositories);
    let is_head = call.head.method == "HEAD";
    if let (HeadOf::Refused(status), true) = (call.shared.profile.head, is_head) {
        return Reply::empty(status);
    }
    let is_sent_on = !is_head || call.shared.profile.head == HeadOf::Redirected;
    let storage = call.shared.storage.filter(|_| is_sent_on);
    match (repositories.get(call.repository).and_then(|it| it.blob(digest)), storage) {
        (Some(_), Some(storage)) => {
            Reply::empty(307).header("Location", &format!("http://{storage}/storage/{digest}"))
        }
        (Some(bytes), None) => blob_reply(&bytes, digest),
        (None, _) => Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
    }
}

fn blob_reply(bytes: &std::sync::Arc<[u8]>, digest: &str) -> Reply {
    let mut reply = Reply::new(200, "application/octet-stream", "");
    reply.body = std::sync::Arc::clone(bytes);
    reply.rangeable = true;
    reply.header("Docker-Content-Digest", digest).header("Accept-Ranges", "bytes")
}

/// `n` and `last` page through the tags, with a `Link` to the next page.
fn tags(call: &Call<'_>) -> Reply {
    let repositories = lock(&call.shared.repositories);
    let Some(repository) = repositories.get(call.repository) else {
        return Reply::error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let page = Page::of(call.head, repository.tags());
    let tags = if page.names.is_empty() { Value::Null } else { json!(page.names) };
    let body = json!({ "name": call.repository, "tags": tags });
    page.reply(&body, &format!("/v2/{}/tags/list", call.repository))
}

/// All repositories, in the same way.
fn catalog(shared: &Shared, head: &Head) -> Reply {
    if let Catalog::Status(status) = shared.profile.catalog {
        return Reply::error(status, "UNSUPPORTED", "no catalog here");
    }
    if let Some(refusal) = auth::refuse(shared, head, &["registry:catalog:*".to_owned()]) {
        return refusal;
    }
    let page = Page::of(head, lock(&shared.repositories).names());
    page.reply(&json!({ "repositories": page.names }), "/v2/_catalog")
}

/// A part of a list of names.
struct Page {
    names: Vec<String>,
    /// How many were asked for.
    n: usize,
    /// The last name, if there are more after it.
    last: Option<String>,
}

impl Page {
    fn of(head: &Head, mut names: Vec<String>) -> Self {
        let last = head.query("last").unwrap_or_default();
        names.retain(|name| *name > last);
        let n = head.query("n").and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
        let more = names.len() > n;
        names.truncate(n);
        let last = names.last().filter(|_| more).cloned();
        Self { names, n, last }
    }

    fn reply(&self, body: &Value, path: &str) -> Reply {
        let reply = Reply::new(200, "application/json", body.to_string());
        match &self.last {
            Some(last) => {
                let address = format!("{path}?n={}&last={last}", self.n);
                reply.header("Link", &format!("<{address}>; rel=\"next\""))
            }
            None => reply,
        }
    }
}
