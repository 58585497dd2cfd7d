//! Many threads and programs at once, and programs that are killed at it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layer_format::{Descriptor, Digest};
use store::{Claim, Error, IndexEntry, Lease, Store, Sweep};

use crate::kit::{self, Fixture, image, named};

const LENGTH: Duration = Duration::from_secs(3);
const STORE: &str = "STORE_TEST_TURMOIL";

/// Small numbers out of nowhere, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// One of twelve images, which share their layers.
fn any_image(dice: &mut Dice) -> Fixture {
    let n = dice.below(12);
    let layers = [n % 3, 10 + n % 4, 20 + n].map(|n| format!("layer {n} ").repeat(3000));
    image(&layers.each_ref().map(String::as_str))
}

/// Does what programs do, until the time is over.
fn work(store: &Store, seed: u64, length: Duration) -> u64 {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let begin = Instant::now();
    let mut n_rounds = 0;
    while begin.elapsed() < length {
        let name = format!("name-{}", dice.below(6));
        match dice.below(10) {
            0..=3 => pull(store, &any_image(&mut dice), &name, &mut dice),
            4 => load(store, &any_image(&mut dice), &name),
            5 => tag(store, &name, &format!("name-{}", dice.below(6))),
            6 | 7 => remove(store, &name),
            8 => drop(store.gc(Sweep::Remove).unwrap()),
            _ => look(store),
        }
        n_rounds += 1;
    }
    n_rounds
}

fn pull(store: &Store, image: &Fixture, name: &str, dice: &mut Dice) {
    let lease = store.lease().unwrap();
    for blob in image.layers.iter().chain([&image.config]) {
        download(&lease, blob, dice);
    }
    lease.put(&image.manifest).unwrap();
    lease.name(&[named(name, image.descriptor())]).unwrap();
    // Others may take the name away, but not the blobs from under the lease.
    kit::assert_whole(store, &image.descriptor());
}

fn download(lease: &Lease, blob: &[u8], dice: &mut Dice) {
    let wanted = Descriptor::of("layer", blob);
    loop {
        match lease.claim(&wanted).unwrap() {
            Claim::Present => return,
            Claim::Busy { .. } => std::thread::sleep(Duration::from_millis(1)),
            Claim::Ours(mut partial) => {
                let rest = &blob[usize::try_from(partial.offset()).unwrap()..];
                let chunk = 1000 + usize::try_from(dice.below(9000)).unwrap();
                rest.chunks(chunk).for_each(|chunk| partial.write_all(chunk).unwrap());
                if dice.below(4) > 0 {
                    assert_eq!(partial.commit().unwrap(), wanted.digest);
                }
            }
        }
    }
}

fn load(store: &Store, image: &Fixture, name: &str) {
    let lease = store.lease().unwrap();
    for blob in image.layers.iter().chain([&image.config, &image.manifest]) {
        let mut incoming = lease.incoming(Some(&Descriptor::of("layer", blob))).unwrap();
        incoming.write_all(blob).unwrap();
        incoming.commit().unwrap();
    }
    lease.name(&[named(name, image.descriptor())]).unwrap();
}

fn tag(store: &Store, from: &str, to: &str) {
    let Ok(found) = store.find(from) else { return };
    let lease = store.lease().unwrap();
    match lease.name(&[named(to, found.descriptor)]) {
        // It was removed and collected before the lease.
        Ok(()) | Err(Error::Incomplete { .. } | Error::MissingBlob { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn remove(store: &Store, name: &str) {
    let images = store.images().unwrap();
    let full = format!("docker.io/library/{name}:latest");
    let wanted: Vec<IndexEntry> = images
        .into_iter()
        .filter(|image| image.name() == Some(&full) || image.name().is_none())
        .collect();
    store.remove(&wanted).unwrap();
}

/// What has an entry while it is held is whole.
fn look(store: &Store) {
    let digests: Vec<Digest> = store.images().unwrap().iter().map(|it| *it.digest()).collect();
    let _lease = store.hold(&digests).unwrap();
    let still = store.images().unwrap().into_iter().filter(|it| digests.contains(it.digest()));
    still.for_each(|image| kit::assert_whole(store, &image.descriptor));
}

fn spawn(role: &str, store: &Path, number: u64) -> Child {
    let exe = std::env::current_exe().unwrap();
    Command::new(exe)
        .args(["--exact", "--nocapture", &format!("turmoil::{role}")])
        .env(STORE, store)
        .env("STORE_TEST_NUMBER", number.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The store and the number that [`spawn`] gave, in a child; by itself, a child's test has nothing to do.
fn given() -> Option<(Store, u64)> {
    let store = std::env::var_os(STORE)?;
    let number = std::env::var("STORE_TEST_NUMBER").ok()?.parse().ok()?;
    Some((Store::open(store).unwrap(), number))
}

#[test]
fn child_that_works() {
    let Some((store, number)) = given() else { return };
    println!("\ndid {} rounds", work(&store, number, LENGTH));
}

#[test]
fn child_that_is_killed() {
    let Some((store, number)) = given() else { return };
    let mut dice = Dice(number + 1);
    for i in 0.. {
        let name = format!("kept/{number}-{i}");
        pull(&store, &any_image(&mut dice), &name, &mut dice);
        println!("\nnamed {name}");
        work(&store, number + i, Duration::from_millis(5));
    }
}

#[test]
fn threads_and_programs_at_once_lose_nothing() {
    let (_dir, store) = kit::store();
    let children: Vec<_> =
        (0..3).map(|i| spawn("child_that_works", store.path(), 100 + i)).collect();
    let threads: Vec<_> = (0..4)
        .map(|i| {
            std::thread::spawn({
                let store = store.clone();
                move || work(&store, i, LENGTH)
            })
        })
        .collect();
    let n_rounds: u64 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        // A child that found no test of that name would succeed, too.
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let done = said.lines().find_map(|line| line.strip_prefix("did ")?.strip_suffix(" rounds"));
        assert!(done.is_some_and(|n| n.parse::<u64>().is_ok_and(|n| n > 0)), "{said}");
    }
    println!("{n_rounds} rounds in the threads");
    kit::assert_sound(&store);
    store.remove(&store.images().unwrap()).unwrap();
    store.gc(Sweep::Remove).unwrap();
    assert_eq!(store.blobs().unwrap(), []);
}

#[test]
fn killed_programs_lose_nothing_that_was_done() {
    let (_dir, store) = kit::store();
    let mut dice = Dice(4711);
    let begin = Instant::now();
    let (mut n_killed, mut n_named) = (0, 0);
    while begin.elapsed() < 2 * LENGTH {
        let children: Vec<_> = (0..3)
            .map(|_| {
                n_killed += 1;
                spawn("child_that_is_killed", store.path(), n_killed)
            })
            .collect();
        for mut child in children {
            std::thread::sleep(Duration::from_millis(10 + dice.below(60)));
            child.kill().unwrap();
            let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
            let named: Vec<_> =
                lines.filter_map(|line| Some(line.strip_prefix("named ")?.to_owned())).collect();
            child.wait().unwrap();
            n_named += named.len();
            for name in &named {
                kit::assert_whole(&store, &store.find(name).unwrap().descriptor);
            }
        }
        look(&store);
    }
    println!("{n_killed} killed, {n_named} images named");
    assert!(n_named > 0);
    kit::assert_sound(&store);
    store.gc(Sweep::Remove).unwrap();
    kit::assert_sound(&store);
}

#[test]
fn a_store_is_made_once_by_many_at_once() {
    let dir = tempfile::tempdir().unwrap();
    for i in 0..20 {
        let path = dir.path().join(format!("{i}/store"));
        let threads: Vec<_> = (0..8)
            .map(|i| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let store = Store::open(path).unwrap();
                    image(&[&format!("layer {i}")]).store(&store, &format!("name-{i}"));
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let store = Store::open(&path).unwrap();
        assert_eq!(store.images().unwrap().len(), 8);
        kit::assert_sound(&store);
    }
}
