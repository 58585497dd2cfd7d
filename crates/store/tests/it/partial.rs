//! Blobs on their way in.

use std::fs;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::thread::JoinHandle;

use layer_format::{Algorithm, Descriptor, Digest, Hasher};
use report::{ErrorKind, HasKind};
use store::{Claim, Error, Lease, Partial, Store};

use crate::kit;

const CONTENT: &[u8] = b"one two three";

fn wanted() -> Descriptor {
    Descriptor::of("layer", CONTENT)
}

fn file(store: &Store) -> PathBuf {
    store.path().join(format!("strata/partial/sha256-{}", wanted().digest.hex()))
}

fn blob(store: &Store) -> Vec<u8> {
    let mut content = vec![];
    store.blob(&wanted().digest).unwrap().unwrap().read_to_end(&mut content).unwrap();
    content
}

fn begin(lease: &Lease) -> Partial {
    lease.partial(&wanted()).unwrap().unwrap()
}

#[test]
fn a_download_that_was_cut_goes_on_where_it_ended() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    partial.write_all(&CONTENT[..4]).unwrap();
    assert!(!store.has(&wanted().digest, wanted().size).unwrap());
    drop(partial);
    let mut partial = begin(&store.lease().unwrap());
    assert_eq!((partial.offset(), partial.size()), (4, Some(CONTENT.len() as u64)));
    partial.write_all(&CONTENT[4..]).unwrap();
    assert_eq!(partial.commit().unwrap(), wanted().digest);
    assert_eq!(blob(&store), CONTENT);
    assert!(!file(&store).exists());
    assert!(matches!(lease.claim(&wanted()).unwrap(), Claim::Present));
}

#[test]
fn what_was_checked_is_there_when_the_disk_has_it() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    assert!(partial.check().is_err(), "it is not whole");
    partial.write_all(CONTENT).unwrap();
    assert_eq!(partial.check().unwrap(), wanted().digest);
    assert!(!store.has(&wanted().digest, wanted().size).unwrap());
    partial.commit().unwrap();
    assert_eq!(blob(&store), CONTENT);
}

#[test]
fn a_wrong_beginning_is_found_at_the_end_and_not_resumed_again() {
    let (_dir, store) = kit::store();
    fs::create_dir_all(store.path().join("strata/partial")).unwrap();
    fs::write(file(&store), b"oNe ").unwrap();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    assert_eq!(partial.offset(), 4);
    partial.write_all(&CONTENT[4..]).unwrap();
    let error = partial.commit().unwrap_err();
    assert!(matches!(error, Error::Layer(layer_format::Error::DigestMismatch { .. })));
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert_eq!(begin(&lease).offset(), 0);
    assert!(!store.has(&wanted().digest, wanted().size).unwrap());
}

#[test]
fn too_many_bytes_are_refused_and_too_few_are_kept() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    partial.write_all(&CONTENT[..4]).unwrap();
    assert!(partial.commit().is_err());
    let mut partial = begin(&lease);
    assert_eq!(partial.offset(), 4);
    assert!(partial.write_all(CONTENT).is_err());
    drop(partial);
    assert!(!file(&store).exists());
    fs::write(file(&store), [CONTENT, CONTENT].concat()).unwrap();
    assert_eq!(begin(&lease).offset(), 0);
}

#[test]
fn restarting_and_discarding_forget_what_was_there() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    partial.write_all(b"wrong").unwrap();
    partial.restart().unwrap();
    partial.write_all(CONTENT).unwrap();
    partial.commit().unwrap();
    assert_eq!(blob(&store), CONTENT);

    let other = Descriptor::of("layer", b"other");
    let mut partial = lease.partial(&other).unwrap().unwrap();
    partial.write_all(b"oth").unwrap();
    partial.discard();
    assert_eq!(lease.partial(&other).unwrap().unwrap().offset(), 0);
}

#[test]
fn another_thread_reads_what_has_been_written_so_far() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    partial.write_all(&CONTENT[..4]).unwrap();
    let mut reader = partial.reader().unwrap();
    let mut read = vec![];
    assert_eq!(reader.read_to_end(&mut read).unwrap(), 4);
    partial.write_all(&CONTENT[4..]).unwrap();
    partial.commit().unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, CONTENT);
    reader.rewind().unwrap();
}

/// Starts something that has to wait, and comes back when it does.
#[track_caller]
fn wait_in_thread<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (sending, thread) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        sending.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
        wait()
    });
    let status = PathBuf::from("/proc").join(thread.recv().unwrap()).join("status");
    // The kernel says that it sleeps; one that is over is gone, or is about to be.
    let is_at_work = || fs::read_to_string(&status).is_ok_and(|it| !it.contains("State:\tS"));
    while !waiting.is_finished() && is_at_work() {
        std::thread::yield_now();
    }
    assert!(!waiting.is_finished(), "it doesn't wait");
    waiting
}

#[test]
fn one_program_downloads_and_the_others_wait_for_it() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut partial = begin(&lease);
    partial.write_all(&CONTENT[..4]).unwrap();
    assert!(matches!(lease.claim(&wanted()).unwrap(), Claim::Busy { n_bytes: 4 }));
    let lease = store.lease().unwrap();
    let waiting = wait_in_thread(move || lease.partial(&wanted()).unwrap().is_none());
    partial.write_all(&CONTENT[4..]).unwrap();
    partial.commit().unwrap();
    assert!(waiting.join().unwrap());
}

#[test]
fn what_the_first_program_gave_up_the_second_takes_over() {
    let (_dir, store) = kit::store();
    let mut partial = begin(&store.lease().unwrap());
    partial.write_all(&CONTENT[..4]).unwrap();
    let lease = store.lease().unwrap();
    let waiting = wait_in_thread(move || begin(&lease).offset());
    drop(partial);
    assert_eq!(waiting.join().unwrap(), 4);
}

#[test]
fn what_comes_from_an_archive_waits_for_nobody_and_leaves_nothing() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut first = lease.incoming(Some(&wanted())).unwrap();
    let mut second = lease.incoming(None).unwrap();
    let mut third = lease.incoming(Some(&wanted())).unwrap();
    first.write_all(CONTENT).unwrap();
    second.write_all(CONTENT).unwrap();
    third.write_all(b"one two thred").unwrap();
    assert_eq!(first.commit().unwrap(), wanted().digest);
    assert_eq!(second.commit().unwrap(), wanted().digest);
    assert!(third.commit().is_err());
    assert_eq!(blob(&store), CONTENT);
    drop(lease.incoming(None).unwrap());
    drop(lease);
    kit::assert_sound(&store);
}

#[test]
fn a_blob_of_the_wrong_size_counts_as_missing_and_is_replaced() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let path = store.path().join(wanted().digest.blob_path());
    fs::write(&path, "short").unwrap();
    assert!(!lease.has(&wanted().digest, wanted().size).unwrap());
    let mut partial = begin(&lease);
    partial.write_all(CONTENT).unwrap();
    partial.commit().unwrap();
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
    fs::write(&path, "short").unwrap();
    assert_eq!(lease.put(CONTENT).unwrap(), wanted().digest);
    assert_eq!(fs::read(&path).unwrap(), CONTENT);
}

#[test]
fn a_damaged_blob_is_discarded_and_a_good_one_is_not() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let digest = lease.put(CONTENT).unwrap();
    assert!(!store.discard_damaged(&digest).unwrap());
    fs::write(store.path().join(digest.blob_path()), b"one two thred").unwrap();
    assert!(matches!(store.document(&digest), Err(Error::Layer(_))));
    assert!(store.discard_damaged(&digest).unwrap());
    assert!(!store.has(&digest, wanted().size).unwrap());
    assert!(!store.discard_damaged(&Digest::of(b"nothing")).unwrap());
}

#[test]
fn sha512_and_empty_blobs_are_blobs() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(CONTENT);
    let wide = Descriptor::new("layer", hasher.finish(), CONTENT.len() as u64);
    let mut partial = lease.partial(&wide).unwrap().unwrap();
    partial.write_all(CONTENT).unwrap();
    partial.commit().unwrap();
    assert!(store.has(&wide.digest, wide.size).unwrap());
    let nothing = Descriptor::of("layer", b"");
    lease.partial(&nothing).unwrap().unwrap().commit().unwrap();
    assert!(store.has(&nothing.digest, 0).unwrap());
    assert_eq!(store.blobs().unwrap().len(), 2);
}

#[test]
fn what_is_no_regular_file_is_no_blob() {
    let (_dir, store) = kit::store();
    let path = store.path().join(wanted().digest.blob_path());
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(store.blob(&wanted().digest).unwrap().is_none());
    assert!(!store.has(&wanted().digest, 0).unwrap());
    assert!(store.blobs().unwrap().is_empty());
}
