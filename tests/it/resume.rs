//! A pull that is killed at any moment loses nothing that it had: the next one goes on where it was.

use std::fs;
use std::time::Duration;

use kit::image::random::Random;
use kit::{Fault, Image, Registry, Running, Sandbox, check, pipeline};
use rustix::process::Signal;

use crate::fixtures::{assert_noise, half_made, names, noise, unpack};

const SIZE: usize = 256 << 10;
const RATE: u64 = 512 << 10;

/// A slow registry with an image of three layers.
struct Place {
    registry: Registry,
    sandbox: Sandbox,
    name: String,
    image: Image,
}

impl Place {
    fn new() -> Self {
        let image = noise(SIZE);
        let registry = Registry::start();
        registry.add("app:1", &image);
        registry.fault(Fault::on("/blobs/").bytes_per_second(RATE));
        let name = registry.name("app:1");
        Self { registry, sandbox: Sandbox::new(), name, image }
    }

    fn start(&self) -> Running {
        self.sandbox.command("pull").args(["--no-stream", &self.name]).start()
    }

    /// How many bytes of each blob are in the store, whole or not: digest and size.
    fn had(&self) -> Vec<(String, u64)> {
        let store = self.sandbox.store();
        let blobs = self.image.layer_blobs().into_iter();
        let size = |path: std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.len());
        blobs
            .map(|blob| {
                let whole = size(store.join("blobs/sha256").join(blob.hex()));
                let part = size(store.join("strata/partial").join(blob.digest.replace(':', "-")));
                (blob.digest, whole.max(part))
            })
            .collect()
    }

    /// Checks that no request since the log was forgotten asks for a byte that was had.
    #[track_caller]
    fn asks_only_for_the_rest(&self, had: &[(String, u64)]) {
        for request in self.registry.requests() {
            let Some((_, n_bytes)) = had.iter().find(|(digest, _)| request.path.contains(digest))
            else {
                continue;
            };
            let start = request.range.as_deref().map_or("0", |range| &range[6..range.len() - 1]);
            let start: u64 = start.parse().expect("a range is bytes=N-");
            assert!(start >= *n_bytes, "{n_bytes} bytes had:\n{}", self.registry.log());
        }
    }

    #[track_caller]
    fn is_complete(&self) {
        let script = format!("unpack --from {} root", self.name);
        pipeline::sh(&self.sandbox, &script).success();
        assert_noise(&self.sandbox, &self.image, SIZE);
    }
}

#[test]
fn a_pull_killed_at_any_moment_goes_on_where_it_was() {
    for seed in 0..3 {
        let place = Place::new();
        let mut random = Random::new(seed);
        let mut n_with_part = 0;
        for _ in 0..8 {
            let running = place.start();
            std::thread::sleep(Duration::from_millis(random.below(150)));
            running.kill();
            let had = place.had();
            n_with_part += had.iter().filter(|(_, n_bytes)| *n_bytes > 0).count();
            place.registry.forget();
            let running = place.start();
            std::thread::sleep(Duration::from_millis(20 + random.below(60)));
            running.kill();
            place.asks_only_for_the_rest(&had);
        }
        assert!(n_with_part > 0, "nothing was ever had");
        if place.sandbox.store().join("index.json").exists() {
            check::layout(place.sandbox.store()).unwrap();
        }
        let had = place.had();
        place.registry.forget();
        place.start().wait().success();
        place.asks_only_for_the_rest(&had);
        place.is_complete();
    }
}

#[test]
fn a_signal_ends_a_pull_and_keeps_what_it_had() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let place = Place::new();
        let running = place.start();
        while place.had().iter().all(|(_, n_bytes)| *n_bytes < 20_000) {
            std::thread::sleep(Duration::from_millis(1));
        }
        running.signal(signal);
        let output = running.wait();
        assert_eq!(output.code(), 128 + signal.as_raw(), "{}", output.text());
        assert_eq!(output.status.code(), None, "it dies by the signal");
        let had = place.had();
        assert!(had.iter().any(|(_, n_bytes)| *n_bytes >= 20_000));
        place.registry.forget();
        place.start().wait().success();
        place.asks_only_for_the_rest(&had);
        place.is_complete();
    }
}

#[test]
fn a_killed_pull_leaves_a_stream_that_nobody_takes_for_whole() {
    let place = Place::new();
    let running = place.sandbox.command("pull").arg(&place.name).start();
    while place.had()[0].1 < 100_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let stream = running.kill().stdout;
    assert!(stream.len() > 50_000);
    check::stream(&stream).unwrap_err();
    unpack(&place.sandbox, stream).fails_with(4);
    assert!(names(place.sandbox.path("")).is_empty());
}

#[test]
fn a_pipeline_killed_as_a_whole_goes_on_as_a_whole() {
    let place = Place::new();
    let script = format!("pull {} | unpack root", place.name);
    let running = pipeline::Script::new(&place.sandbox, &script).start();
    let is_at_work = || half_made(&place.sandbox).is_some_and(|dir| dir.join("noise1").exists());
    running.kill_when(is_at_work);
    assert!(!place.sandbox.path("root").exists());
    let had = place.had();
    assert!(had[0].1 > 200_000);
    place.registry.forget();
    pipeline::sh(&place.sandbox, &script).success();
    place.asks_only_for_the_rest(&had);
    assert_eq!(names(place.sandbox.path("")), ["root"]);
    fs::remove_dir_all(place.sandbox.path("root")).unwrap();
    place.is_complete();
}

#[test]
fn two_pulls_at_once_share_the_work() {
    let place = Place::new();
    let [one, two] = [place.start(), place.start()];
    one.wait().success();
    two.wait().success();
    for layer in place.image.layer_blobs() {
        let twice = place.registry.sent_twice(&layer.digest);
        assert!(twice.is_empty(), "{}", place.registry.log());
    }
    place.is_complete();
}

#[test]
fn a_pull_takes_over_from_one_that_is_killed_beside_it() {
    let place = Place::new();
    let [one, two] = [place.start(), place.start()];
    while place.had().iter().all(|(_, n_bytes)| *n_bytes < 20_000) {
        std::thread::sleep(Duration::from_millis(1));
    }
    one.kill();
    two.wait().success();
    place.is_complete();
}

#[test]
fn a_partial_download_that_is_wrong_is_noticed_and_fetched_anew() {
    let place = Place::new();
    let running = place.start();
    while place.had()[0].1 < 50_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.kill();
    let partial = place.sandbox.store().join("strata/partial");
    for name in names(&partial) {
        let path = partial.join(name);
        let mut bytes = fs::read(&path).unwrap();
        if let Some(byte) = bytes.get_mut(10) {
            *byte ^= 1;
        }
        fs::write(path, bytes).unwrap();
    }
    place.start().wait().success();
    place.is_complete();
}

#[test]
fn wrong_bytes_of_an_earlier_pull_end_a_stream_only_where_they_were_sent() {
    let place = Place::new();
    place.registry.add("empty:1", Image::new());
    place.sandbox.command("pull").args(["--no-stream", &place.registry.name("empty:1")]).run();
    let blobs = place.image.layer_blobs();
    for (damaged, code) in [(2, 0), (0, 4)] {
        let whole = place.sandbox.store().join("blobs/sha256").join(blobs[damaged].hex());
        fs::remove_file(whole).ok();
        let name = format!("strata/partial/{}", blobs[damaged].digest.replace(':', "-"));
        fs::write(place.sandbox.store().join(name), vec![b'x'; SIZE / 2]).unwrap();
        let output = place.sandbox.command("pull").arg(&place.name).run();
        assert_eq!(output.code(), code, "{damaged}: {}", output.text());
        assert_eq!(check::stream(&output.stdout).is_ok(), code == 0, "{damaged}");
    }
    place.start().wait().success();
    assert!(names(place.sandbox.store().join("strata/partial")).is_empty());
}
