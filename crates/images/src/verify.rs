//! Checking the store: each blob once, in several threads, however many images have it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{self, BufReader, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::error::chain;
use cli::interrupt::Interruptible;
use cli::{Code, Failure, Form, Io, Progress, counted};
use image::layer::BUFFER;
use layer_format::{Algorithm, Decoder, DiffId, Digest, Hashing};
use serde_json::json;
use store::{IndexEntry, ListingDraft, Pair, Store};
use stream::inspect::inspect;

use crate::graph::{Graph, MISSING};
use crate::names::{find, shown};
use crate::page::{Line, Page};

/// The most threads; more would only wait for the disk.
const MAX_THREADS: usize = 8;

/// The claims about a blob that is to be checked.
#[derive(Debug, Default)]
struct Job {
    sizes: BTreeSet<u64>,
    diff_ids: BTreeSet<DiffId>,
    /// The names of the images that need it; an orphan has none.
    users: BTreeSet<String>,
}

/// The problems, by the digest of a blob or `index.json`.
type Problems = BTreeMap<String, BTreeSet<String>>;

/// The result of the whole check.
struct Verdict<'a> {
    images: &'a [IndexEntry],
    jobs: BTreeMap<Digest, Job>,
    problems: Problems,
    orphans: Vec<(Digest, u64)>,
    /// Why the first document of those that can't be read can't be.
    unread: Option<store::Error>,
}

/// Checks these images, or all images and all other blobs if there are no names.
///
/// # Errors
/// [`Code::Untrusted`] if there are problems; else, if a blob can't be read, the reason.
pub(crate) fn verify(
    store: &Store,
    names: &[String],
    io: &mut Io<'_>,
    form: Form,
) -> anyhow::Result<()> {
    let images = images(store, names)?;
    // gc removes nothing of these until the end.
    let roots: Vec<_> = images.iter().map(|image| *image.digest()).collect();
    let hold = store.hold(&roots)?;
    hold.warning().iter().for_each(|warning| io.warn(warning));
    let there = store.images()?;
    let images: Vec<_> = images.into_iter().filter(|image| there.contains(image)).collect();
    let mut verdict = plan(store, &images)?;
    if names.is_empty() {
        verdict.add_orphans(store);
    }
    let findings = check_all(store, &verdict.jobs, &io.progress);
    cli::interrupt::check()?;
    for (digest, found) in findings.problems {
        // Reading the blob tells more than the documents do.
        verdict.problems.insert(digest, found);
    }
    drop(hold);
    match verdict.unread.take().map(anyhow::Error::from).or(findings.unread) {
        // There are no problems, but not everything was checked.
        Some(error) if verdict.n_problems() == 0 => return Err(error),
        Some(error) => io.warn(&chain(error.as_ref())),
        None => {}
    }
    verdict.report(&mut Page { output: &mut io.output, form })?;
    io.say(&verdict.summary());
    match verdict.n_problems() {
        0 => Ok(()),
        n => {
            let message = counted(n as u64, "problem", "problems");
            let hint = "images rm NAME && images gc, then pull or load the image again";
            Err(Failure::new(Code::Untrusted, message).hint(hint).into())
        }
    }
}

/// Reports the result for a store that isn't there.
pub(crate) fn nothing(page: &mut Page<'_>) -> anyhow::Result<()> {
    let jobs = BTreeMap::new();
    let problems = Problems::new();
    Verdict { images: &[], jobs, problems, orphans: vec![], unread: None }.report(page)
}

fn images(store: &Store, names: &[String]) -> anyhow::Result<Vec<IndexEntry>> {
    if names.is_empty() {
        // What others' stores have is their owners' to check.
        return Ok(store.own_images()?);
    }
    let mut images: Vec<IndexEntry> = vec![];
    for name in names {
        let found = find(store, name)?.image;
        if !images.contains(&found) {
            images.push(found);
        }
    }
    Ok(images)
}

/// The blobs to check, and the problems that the documents alone show.
fn plan<'a>(store: &Store, images: &'a [IndexEntry]) -> anyhow::Result<Verdict<'a>> {
    let mut jobs: BTreeMap<Digest, Job> = BTreeMap::new();
    let mut problems = Problems::new();
    let mut unread = None;
    for image in images {
        let graph = Graph::read_readable(store, &image.descriptor);
        unread = unread.or(graph.unread);
        let name = shown(image);
        for (digest, sizes) in graph.blobs {
            let job = jobs.entry(digest).or_default();
            job.sizes.extend(sizes);
            job.users.insert(name.clone());
        }
        for (digest, diff_ids) in graph.diff_ids {
            jobs.entry(digest).or_default().diff_ids.extend(diff_ids);
        }
        for (digest, problem) in graph.problems {
            problems.entry(digest.to_string()).or_default().insert(problem);
        }
        // An index that an image was chosen from may be kept, and then is a blob like any other.
        if let Some(index) = image.index()
            && store.blob(&index)?.is_some()
        {
            jobs.entry(index).or_default().users.insert(name);
        }
    }
    Ok(Verdict { images, jobs, problems, orphans: vec![], unread })
}

impl Verdict<'_> {
    /// Adds the blobs that no image needs, which are no problem. An `index.json` that can't be understood is one. Where a
    /// document can't be read, nobody knows what no image needs.
    fn add_orphans(&mut self, store: &Store) {
        self.orphans = match store.orphans() {
            Ok(orphans) => orphans,
            Err(error @ store::Error::Malformed { .. }) => {
                self.problems.entry("index.json".to_owned()).or_default().insert(chain(&error));
                vec![]
            }
            Err(error) => {
                self.unread.get_or_insert(error);
                vec![]
            }
        };
        self.orphans.retain(|(digest, _)| !self.jobs.contains_key(digest));
        for (digest, size) in &self.orphans {
            self.jobs.entry(*digest).or_default().sizes.insert(*size);
        }
        self.orphans.sort();
    }

    /// The names of the images that need a blob; an orphan has none.
    fn users(&self, subject: &str) -> Vec<&str> {
        let job = subject.parse().ok().and_then(|digest: Digest| self.jobs.get(&digest));
        job.iter().flat_map(|job| &job.users).map(String::as_str).collect()
    }

    fn is_orphan(&self, subject: &str) -> bool {
        let is_it = |(digest, _): &(Digest, u64)| digest.to_string() == subject;
        self.orphans.iter().any(is_it)
    }

    fn n_problems(&self) -> usize {
        self.problems.keys().filter(|subject| !self.is_orphan(subject)).count()
    }

    fn report(&self, page: &mut Page<'_>) -> anyhow::Result<()> {
        let mut lines = vec![];
        for (subject, texts) in &self.problems {
            let users = self.users(subject);
            let whose = match &users[..] {
                [] if self.is_orphan(subject) => " (no image needs it)".to_owned(),
                [] => String::new(),
                users => format!(" ({})", users.join(", ")),
            };
            for text in texts {
                lines.push(Line {
                    name: format!("{subject}: {text}{whose}"),
                    json: json!({"digest": subject, "problem": text, "images": users}),
                });
            }
        }
        if page.form != Form::Json {
            return page.list(&lines);
        }
        let problems: Vec<_> = lines.into_iter().map(|line| line.json).collect();
        let orphan = |(digest, size): &(Digest, u64)| json!({"digest": digest, "size": size});
        let orphans: Vec<_> = self.orphans.iter().map(orphan).collect();
        page.object(&json!({
            "images": self.images.len(),
            "blobs": self.jobs.len(),
            "bytes": self.bytes(),
            "problems": problems,
            "orphans": orphans,
        }))
    }

    fn bytes(&self) -> u64 {
        self.jobs.values().filter_map(|job| job.sizes.last()).sum()
    }

    fn summary(&self) -> String {
        let images = counted(self.images.len() as u64, "image name", "image names");
        let blobs = counted(self.jobs.len() as u64, "blob", "blobs");
        let text = format!("verified {images}, {blobs}, {}", cli::human_size(self.bytes()));
        if self.orphans.is_empty() {
            return text;
        }
        let size = self.orphans.iter().map(|(_, size)| size).sum();
        let n = self.orphans.len();
        let size = cli::human_size(size);
        format!("{text}; no image needs {n} of the blobs ({size})")
    }
}

/// The results of checking all blobs.
#[derive(Debug, Default)]
struct Findings {
    problems: Problems,
    /// Why the first blob of those that can't be read can't be. That says nothing about its content.
    unread: Option<anyhow::Error>,
}

fn check_all(store: &Store, jobs: &BTreeMap<Digest, Job>, progress: &Progress) -> Findings {
    // The largest first, so that no thread works alone on a large one at the end.
    let mut queue: Vec<(&Digest, &Job)> = jobs.iter().collect();
    queue.sort_by_key(|(_, job)| std::cmp::Reverse(job.sizes.last().copied()));
    let next = AtomicUsize::new(0);
    let findings = Mutex::new(Findings::default());
    let work = || {
        while let Some((digest, job)) = queue.get(next.fetch_add(1, Ordering::Relaxed)) {
            if cli::interrupt::requested() {
                return;
            }
            let found = check(store, digest, job, progress);
            let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
            match found {
                Ok(found) if found.is_empty() => {}
                Ok(found) => {
                    findings.problems.entry(digest.to_string()).or_default().extend(found);
                }
                Err(error) => {
                    findings.unread.get_or_insert(error);
                }
            }
        }
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    thread::scope(|scope| {
        for _ in 1..n_threads.min(queue.len()) {
            // If no thread can be started, this one checks all of them.
            if Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
    findings.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The problems of one blob.
///
/// # Errors
/// The operating system can't read it.
fn check(
    store: &Store,
    digest: &Digest,
    job: &Job,
    progress: &Progress,
) -> anyhow::Result<Vec<String>> {
    let file = match store.blob(digest)? {
        Some(file) => file,
        // An orphan was removed meanwhile.
        None if job.users.is_empty() => return Ok(vec![]),
        None => return Ok(vec![MISSING.to_owned()]),
    };
    let task = progress.task(digest.short(), job.sizes.last().copied());
    task.state("Verifying");
    let mut raw = Hashing::new(Interruptible(task.read(file)), digest.algorithm());
    let unpacked = match job.diff_ids.first() {
        Some(_) => unpack(&mut raw, &job.diff_ids, store).map(Some),
        None => Ok(None),
    };
    let reading = || format!("reading {digest}");
    let unpacked = match unpacked {
        Err(error) if is_of_system(&error) => return Err(error).with_context(reading),
        unpacked => unpacked,
    };
    io::copy(&mut raw, &mut io::sink()).with_context(reading)?;
    let found = raw.digest();
    let size = raw.n_bytes();
    let mut problems = vec![];
    if found != *digest {
        problems.push(format!("digest mismatch: its bytes are {found}"));
    }
    let wrong = job.sizes.iter().filter(|&&expected| expected != size);
    problems.extend(
        wrong.map(|expected| format!("size mismatch: expected {expected} bytes, found {size}")),
    );
    match unpacked {
        _ if !problems.is_empty() => {}
        Err(error) => problems.push(chain(&error)),
        Ok(None) => {}
        Ok(Some(found)) => problems = compare(store, digest, &job.diff_ids, &found),
    }
    if problems.is_empty() {
        task.done("Verified");
    }
    Ok(problems)
}

/// Whether an error comes from the operating system, even if a decoder has wrapped it.
fn is_of_system(error: &io::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|it| it.raw_os_error().is_some()) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The diff ids of a layer, one for each algorithm in the claims. Leaves its listing in the store.
fn unpack(
    raw: &mut impl Read,
    claims: &BTreeSet<DiffId>,
    store: &Store,
) -> io::Result<Vec<Digest>> {
    let algorithms: BTreeSet<Algorithm> = claims.iter().map(|claim| claim.0.algorithm()).collect();
    let algorithms: Vec<_> = algorithms.into_iter().collect();
    let decoder = Decoder::new(BufReader::with_capacity(BUFFER, raw))?;
    let plain = BufReader::with_capacity(BUFFER, Interruptible(decoder));
    let listing = claims.first().and_then(|claim| ListingDraft::if_missing(store, claim));
    inspect(plain, &algorithms, listing.map(ListingDraft::watcher))
}

fn compare(
    store: &Store,
    blob: &Digest,
    claims: &BTreeSet<DiffId>,
    found: &[Digest],
) -> Vec<String> {
    let is_wrong = |claim: &&DiffId| !found.contains(&claim.0);
    let wrong: Vec<_> = claims.iter().filter(is_wrong).collect();
    if let ([], Some(diff_id), 1) = (&wrong[..], claims.first(), claims.len()) {
        Pair::new(*blob, *diff_id).remember(Some(store));
    }
    let found = found.iter().map(Digest::to_string).collect::<Vec<_>>().join(" or ");
    wrong.iter().map(|claim| format!("diff id mismatch: expected {claim}, found {found}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_told_from_what_is_wrong_with_the_bytes() {
        let refused = || io::Error::from_raw_os_error(5);
        let wrapped: io::Error = layer_format::Error::io("reading", refused()).into();
        assert!(is_of_system(&refused()));
        assert!(is_of_system(&wrapped));
        assert!(is_of_system(&io::Error::other(wrapped)));
        assert!(!is_of_system(&io::Error::new(io::ErrorKind::InvalidData, "corrupt")));
        let truncated: io::Error = io::ErrorKind::UnexpectedEof.into();
        assert!(!is_of_system(&layer_format::Error::io("reading", truncated).into()));
    }
}
