//! Uploads: whole, in chunks, or mounted from another repository.
//!
//! Each answer names a new location, whose `state` counts the bytes so far; an older one is
//! refused, as real registries do, except when it is only asked how far the upload has come. What
//! came before a broken connection is kept.

use super::profile::{Asked, Chunks, Mounts, Said};
use super::reply::Reply;
use super::route::Call;
use super::{auth, lock};
use crate::image::{Blob, digest};

/// An upload under way.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    repository: String,
    bytes: Vec<u8>,
    /// How many bytes the first chunk had.
    first: usize,
}

/// The answer to a request on `blobs/uploads/` or on an upload.
pub(crate) fn answer(call: &Call<'_>, id: &str) -> Reply {
    match (call.head.method.as_str(), id) {
        ("POST", "") => start(call),
        ("PATCH", id) => append(call, id),
        ("PUT", id) => finish(call, id),
        ("GET", id) => status(call, id),
        ("DELETE", id) => match lock(&call.shared.repositories).uploads.remove(id) {
            Some(_) => Reply::empty(204),
            None => unknown(),
        },
        _ => Reply::error(405, "UNSUPPORTED", "not with this method"),
    }
}

fn unknown() -> Reply {
    Reply::error(404, "BLOB_UPLOAD_UNKNOWN", "no such upload")
}

fn start(call: &Call<'_>) -> Reply {
    let from = call.head.query("from").filter(|from| {
        // Without a right to read there, a mount is an ordinary upload.
        let scope = format!("repository:{from}:pull");
        auth::refuse(call.shared, call.head, &[scope]).is_none()
    });
    let mut repositories = lock(&call.shared.repositories);
    let mounts = call.shared.profile.mounts;
    if let Some(mount) = call.head.query("mount") {
        let found = from.and_then(|from| {
            let source = repositories.get(&from)?;
            let may = match mounts {
                Mounts::Always | Mounts::OrRefused(_) => true,
                Mounts::Named => source.names(&mount),
                Mounts::Never | Mounts::Lost => false,
            };
            source.blob(&mount).filter(|_| may)
        });
        match (found, mounts) {
            (Some(bytes), _) => {
                let blob = Blob { digest: mount, media_type: String::new(), bytes: bytes.to_vec() };
                repositories.open(call.repository).add(&blob);
                return created(call, &blob.digest);
            }
            (None, Mounts::OrRefused(status)) => {
                return Reply::error(status, "UNAUTHORIZED", "project not found");
            }
            (None, Mounts::Lost) => return Reply::empty(202),
            (None, _) => {}
        }
    }
    if let Some(wanted) = call.head.query("digest") {
        drop(repositories);
        return store(call, &wanted, call.body.clone());
    }
    repositories.n_uploads += 1;
    let id = format!("upload-{}", repositories.n_uploads);
    let upload = Upload { repository: call.repository.to_owned(), ..Upload::default() };
    repositories.uploads.insert(id.clone(), upload);
    progress(call, &id, 202, 0)
}

/// Where the upload goes on, and how far it has come.
fn progress(call: &Call<'_>, id: &str, status: u16, length: usize) -> Reply {
    Reply::empty(status)
        .header("Location", &format!("/v2/{}/blobs/uploads/{id}?state={length}", call.repository))
        .header("Range", &format!("0-{}", length.saturating_sub(1)))
        .header("Docker-Upload-UUID", id)
}

fn created(call: &Call<'_>, digest: &str) -> Reply {
    Reply::empty(201)
        .header("Location", &format!("/v2/{}/blobs/{digest}", call.repository))
        .header("Docker-Content-Digest", digest)
}

/// Whether the length of a chunk is that of its range.
fn agrees(call: &Call<'_>) -> bool {
    let Some(range) = call.head.header("Content-Range") else { return true };
    let ends = range.split_once('-').map(|(first, last)| (first.parse(), last.parse()));
    let Some((Ok::<u64, _>(first), Ok::<u64, _>(last))) = ends else { return false };
    let length = call.head.header("Content-Length").and_then(|length| length.parse().ok());
    length == (last + 1).checked_sub(first)
}

/// Adds the request's body to an upload; gives the upload's length.
fn add(call: &Call<'_>, id: &str) -> Result<usize, Box<Reply>> {
    let mut repositories = lock(&call.shared.repositories);
    let upload = repositories.uploads.get_mut(id).filter(|it| it.repository == call.repository);
    let upload = upload.ok_or_else(|| Box::new(unknown()))?;
    let length = upload.bytes.len();
    let state = call.head.query("state").and_then(|state| state.parse().ok());
    let begins = call.head.header("Content-Range").map(|range| range.split('-').next());
    let begins_here = begins.is_none_or(|first| first == Some(length.to_string().as_str()));
    if !agrees(call) {
        return Err(Box::new(Reply::error(
            400,
            "SIZE_INVALID",
            "Content-Range and -Length differ",
        )));
    }
    if state != Some(length) || !begins_here {
        let refusal = Reply::error(416, "BLOB_UPLOAD_INVALID", "that is not where it goes on");
        let range = format!("0-{}", length.saturating_sub(1));
        return Err(Box::new(refusal.header("Range", &range)));
    }
    if call.is_cut() && !call.shared.profile.uploads.keeps_cut {
        repositories.uploads.remove(id);
        return Err(Box::new(unknown()));
    }
    upload.bytes.extend(&call.body);
    if length == 0 {
        upload.first = call.body.len();
    }
    Ok(upload.bytes.len())
}

fn append(call: &Call<'_>, id: &str) -> Reply {
    let is_chunk = call.head.header("Content-Range").is_some();
    let (status, said) = match call.shared.profile.uploads.chunks {
        Chunks::Refused(status) if is_chunk => {
            return Reply::error(status, "UNSUPPORTED", "no chunked uploads here");
        }
        Chunks::Limited(limit) if is_chunk && call.body.len() > limit => {
            let text = format!(
                "the request body is too large and exceeds the maximum permissible limit of {}.00MiB",
                limit >> 20
            );
            return Reply::error(416, "REQUESTED_RANGE_NOT_SATISFIABLE", &text);
        }
        Chunks::Taken(status, said) => (status, said),
        Chunks::Refused(_) | Chunks::Limited(_) => (202, Said::All),
    };
    let length = match add(call, id) {
        Ok(length) => length,
        Err(refusal) => return *refusal,
    };
    let first = lock(&call.shared.repositories).uploads.get(id).map_or(0, |it| it.first);
    let range = |length: usize| format!("0-{}", length.saturating_sub(1));
    let said = match said {
        Said::All => range(length),
        Said::First => range(first),
        Said::Last => range(call.body.len()),
        Said::Nothing => String::new(),
    };
    progress(call, id, status, length).header("Range", &said)
}

fn finish(call: &Call<'_>, id: &str) -> Reply {
    let Some(wanted) = call.head.query("digest") else {
        return Reply::error(400, "DIGEST_INVALID", "no digest");
    };
    if !call.body.is_empty() && !call.shared.profile.uploads.takes_whole {
        return Reply::error(405, "UNSUPPORTED", "a body comes by PATCH");
    }
    match add(call, id) {
        // The rest never came; it can go on where it was cut.
        Ok(length) if call.is_cut() => progress(call, id, 400, length),
        Ok(_) => {
            let upload = lock(&call.shared.repositories).uploads.remove(id);
            store(call, &wanted, upload.map(|it| it.bytes).unwrap_or_default())
        }
        Err(refusal) => *refusal,
    }
}

fn store(call: &Call<'_>, wanted: &str, bytes: Vec<u8>) -> Reply {
    if digest(&bytes) != wanted {
        return Reply::error(400, "DIGEST_INVALID", "the bytes have another digest");
    }
    let blob = Blob { digest: wanted.to_owned(), media_type: String::new(), bytes };
    lock(&call.shared.repositories).open(call.repository).add(&blob);
    created(call, wanted)
}

fn status(call: &Call<'_>, id: &str) -> Reply {
    if let Asked::Status(status) = call.shared.profile.uploads.asked {
        return Reply::error(status, "BLOB_UPLOAD_UNKNOWN", "not told");
    }
    let repositories = lock(&call.shared.repositories);
    match repositories.uploads.get(id).map(|upload| upload.bytes.len()) {
        Some(length) => progress(call, id, 204, length),
        None => unknown(),
    }
}
