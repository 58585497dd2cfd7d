//! What was asked, and how much of each answer was sent.

use std::fmt::Write as _;
use std::sync::Mutex;

use super::http::Head;
use super::lock;
use crate::or_panic::OrPanic as _;

/// One request and its answer so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `POST`, …
    pub method: String,
    /// The path with its query, as it was sent.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// The `Authorization` header, secrets included.
    pub authorization: Option<String>,
    /// All headers, as they were sent.
    pub headers: Vec<(String, String)>,
    /// The answer's status; 0 before there is one, or when there never was.
    pub status: u16,
    /// Where in the content the answer's body begins.
    pub start: u64,
    /// How many bytes of the body were handed to the network. The client may have got less.
    pub sent: u64,
    /// How many bytes of a body the request had.
    pub received: u64,
}

impl Request {
    /// The first header of a name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// All requests of a registry.
#[derive(Debug, Default)]
pub(crate) struct Log {
    requests: Mutex<(u64, Vec<Request>)>,
}

/// Where in the log a request stands; void once the log was cleared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    generation: u64,
    index: usize,
}

impl Log {
    /// Notes a request that has just come in.
    pub(crate) fn begin(&self, head: &Head) -> Entry {
        let mut requests = lock(&self.requests);
        let (generation, list) = &mut *requests;
        list.push(Request {
            method: head.method.clone(),
            path: head.target.clone(),
            range: head.header("Range").map(str::to_owned),
            authorization: head.header("Authorization").map(str::to_owned),
            headers: head.headers.clone(),
            status: 0,
            start: 0,
            sent: 0,
            received: 0,
        });
        Entry { generation: *generation, index: list.len() - 1 }
    }

    /// Changes what is noted.
    pub(crate) fn note(&self, entry: Entry, change: impl FnOnce(&mut Request)) {
        let mut requests = lock(&self.requests);
        if requests.0 == entry.generation {
            requests.1.get_mut(entry.index).map(change);
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.requests).1.clone()
    }

    pub(crate) fn clear(&self) {
        let mut requests = lock(&self.requests);
        requests.0 += 1;
        requests.1.clear();
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for request in self.requests() {
            let range = request.range.map(|range| format!(" [{range}]")).unwrap_or_default();
            let path = short(&request.path);
            writeln!(text, "{} {path}{range} {}", request.method, request.status)
                .or_panic("write to a string");
        }
        text
    }
}

/// A path with every digest cut to twelve digits.
fn short(path: &str) -> String {
    let mut parts = path.split("sha256:");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        text.push_str("sha256:");
        text.push_str(&part[..digits.min(12)]);
        text.push_str(&part[digits..]);
    }
    text
}

/// What the bodies of GETs covered.
pub(crate) fn ranges(requests: &[Request], path: &str) -> Vec<(String, u64, u64)> {
    requests
        .iter()
        .filter(|it| it.method == "GET" && matches!(it.status, 200 | 206))
        .filter(|it| it.path.contains(path) && it.sent > 0)
        .map(|it| (it.path.clone(), it.start, it.sent))
        .collect()
}

/// The pieces that two ranges of one path share.
pub(crate) fn overlaps(ranges: &[(String, u64, u64)]) -> Vec<(String, u64, u64)> {
    let mut shared = Vec::new();
    for (index, (path, start, length)) in ranges.iter().enumerate() {
        for (other, other_start, other_length) in &ranges[..index] {
            let from = *start.max(other_start);
            let to = (start + length).min(other_start + other_length);
            if path == other && from < to {
                shared.push((path.clone(), from, to - from));
            }
        }
    }
    shared
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_pieces_of_one_path_overlap() {
        let range = |path: &str, start, length| (path.to_owned(), start, length);
        let ranges = [range("a", 0, 10), range("b", 5, 10), range("a", 10, 5), range("a", 8, 4)];
        assert_eq!(overlaps(&ranges), [range("a", 8, 2), range("a", 10, 2)]);
    }

    #[test]
    fn paths_are_shown_with_short_digests() {
        let digest = crate::digest(b"");
        assert_eq!(
            short(&format!("/v2/a/blobs/{digest}?x=1")),
            "/v2/a/blobs/sha256:e3b0c44298fc?x=1"
        );
    }
}
