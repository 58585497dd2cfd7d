//! Programs that are killed at any moment, and eight of them at once in one store: what was reported done is there, and
//! all that is there is sound.
//!
//! A few seconds each; `STRATA_TURMOIL_SECONDS` makes it longer.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use kit::image::random::Random;
use kit::pipeline::sh;
use kit::{Image, Layer, Named, Output, Producer, Program, Registry, Sandbox, check, digest};

use crate::fixtures::names;

const N_VARIANTS: u64 = 3;
const PRODUCERS: [Producer; 3] = [Producer::Strata, Producer::DockerContainerd, Producer::Regctl];

/// What a name may point at: one thing once it was looked at, and two when a program was killed at changing it.
type Possible = BTreeSet<Option<String>>;

/// Where all of it happens.
struct Place {
    sandbox: Sandbox,
    registry: Registry,
}

/// Somebody with names of its own, in the store that everybody has.
struct Worker<'a> {
    place: &'a Place,
    id: u64,
    dice: Random,
    /// What its three names point at: one that is loaded, one that is pulled, and a tag.
    state: [Possible; 3],
    n_killed: u64,
}

impl Place {
    fn new(n_workers: u64) -> Self {
        let (sandbox, registry) = (Sandbox::new(), Registry::start());
        for (worker, variant) in
            (0..n_workers).flat_map(|it| (0..N_VARIANTS).map(move |variant| (it, variant)))
        {
            let image = image(worker, variant);
            let named = [Named::new(&format!("docker.io/library/loaded-{worker}:1"), &image)];
            let producer = PRODUCERS[usize::try_from(variant).unwrap()];
            sandbox.write(&format!("{worker}-{variant}.tar"), producer.write(&named));
            registry.add(&format!("pulled-{worker}:{variant}"), &image);
        }
        Self { sandbox, registry }
    }

    /// Everything that is in the store, and what the programs leave beside it.
    #[track_caller]
    fn check(&self) {
        let verify = sh(&self.sandbox, "images verify -q && images gc -q && images verify -q");
        verify.success();
        check::layout(self.sandbox.store()).unwrap();
        assert!(names(self.sandbox.store().join("strata/temp")).is_empty());
    }
}

/// All have the same base, and those of one variant a layer more; together they are a quarter of a megabyte.
fn image(worker: u64, variant: u64) -> Image {
    let layer = |seed: u64| Layer::new().file("noise", Random::new(seed).bytes(80_000)).tar();
    Image::new()
        .layer(layer(1))
        .layer(layer(10 + variant))
        .layer(layer(100 + 10 * worker + variant))
}

impl<'a> Worker<'a> {
    fn new(place: &'a Place, id: u64, seed: u64) -> Self {
        let nothing = || Possible::from([None]);
        let state = [nothing(), nothing(), nothing()];
        Self { place, id, dice: Random::new(seed), state, n_killed: 0 }
    }

    fn name(&self, which: usize) -> String {
        let id = self.id;
        match which {
            0 => format!("loaded-{id}:1"),
            1 => self.place.registry.name(&format!("pulled-{id}:1")),
            _ => format!("tagged-{id}:1"),
        }
    }

    fn program(&self, line: &str) -> Program {
        let mut words = line.split(' ');
        self.place.sandbox.command(words.next().unwrap()).args(words).arg("-q")
    }

    /// Does something; it may be killed at it.
    fn step(&mut self) {
        let variant = self.dice.below(N_VARIANTS);
        let to = Some(image(self.id, variant).digest());
        let id = self.id;
        match self.dice.below(9) {
            0..=2 => self.change(0, &format!("load {id}-{variant}.tar"), to),
            3 => {
                let to = Some(image(id, 1).digest());
                self.change(1, &format!("pull --no-stream {}", self.name(1)), to);
            }
            4 => self.remove(),
            5 => self.tend("images gc"),
            6 => self.save(),
            7 => self.tag(),
            _ => self.tend("images verify"),
        }
    }

    /// Runs what works on the store as a whole, which the first program that brings something makes.
    fn tend(&mut self, line: &str) {
        let is_there = self.place.sandbox.store().join("oci-layout").exists();
        if let Some(output) = self.run(line)
            && (is_there || output.code() != 3)
        {
            output.success();
        }
    }

    /// Runs a program to its end, or kills it on its way.
    fn run(&mut self, line: &str) -> Option<Output> {
        let program = self.program(line);
        if self.dice.below(2) == 0 {
            return Some(program.run());
        }
        let running = program.start();
        std::thread::sleep(Duration::from_micros(self.dice.below(25_000)));
        self.n_killed += 1;
        let output = running.kill();
        // It may have been faster.
        (output.code() != 137).then_some(output)
    }

    fn change(&mut self, which: usize, line: &str, to: Option<String>) {
        match self.run(line) {
            Some(output) => {
                output.success();
                self.state[which] = Possible::from([to]);
            }
            None => drop(self.state[which].insert(to)),
        }
        self.look(which);
    }

    fn remove(&mut self) {
        let which = usize::try_from(self.dice.below(3)).unwrap();
        if !self.state[which].contains(&None) {
            self.change(which, &format!("images rm {}", self.name(which)), None);
        }
    }

    fn tag(&mut self) {
        if let Some(Some(digest)) = self.state[0].first().cloned() {
            let line = format!("images tag {} {}", self.name(0), self.name(2));
            self.change(2, &line, Some(digest));
        }
    }

    fn save(&mut self) {
        let Some(Some(digest)) = self.state[0].first().cloned() else { return };
        let file = format!("saved-{}.tar", self.id);
        if let Some(output) = self.run(&format!("save {} -o {file}", self.name(0))) {
            output.success();
            let saved = fs::read(self.place.sandbox.path(&file)).unwrap();
            assert_eq!(check::canonical(&saved).unwrap().digests, [digest]);
        }
    }

    /// Finds out what a name points at, which must be something possible, and whole.
    fn look(&mut self, which: usize) {
        let name = self.name(which);
        let output = self.program(&format!("inspect --raw {name}")).run();
        let found = match output.code() {
            3 => None,
            _ => Some(digest(&output.success().stdout)),
        };
        let possible = &self.state[which];
        assert!(possible.contains(&found), "{name}: {found:?}, not {possible:?}");
        if found.is_some() {
            self.program(&format!("images verify {name}")).run().success();
        }
        self.state[which] = Possible::from([found]);
    }
}

fn length() -> Duration {
    let seconds = std::env::var("STRATA_TURMOIL_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|it| it.parse().ok()).unwrap_or(4))
}

#[test]
fn programs_that_are_killed_at_any_moment_lose_nothing() {
    let place = Place::new(1);
    let mut worker = Worker::new(&place, 0, 1);
    let begin = Instant::now();
    while begin.elapsed() < length() {
        let n_killed = worker.n_killed;
        worker.step();
        if worker.n_killed > n_killed {
            worker.program("images verify").run().success();
            (0..3).for_each(|which| worker.look(which));
        }
    }
    place.check();
    sh(&place.sandbox, "load -q 0-0.tar && save -q loaded-0:1 -o saved-0.tar").success();
    let left = names(place.sandbox.path(""));
    assert!(!left.iter().any(|name| name.contains(".part-")), "{left:?}");
}

#[test]
fn eight_programs_at_once_lose_nothing() {
    let place = Place::new(8);
    let begin = Instant::now();
    let work = |id: u64| {
        let mut worker = Worker::new(&place, id, 100 + id);
        while begin.elapsed() < length() {
            worker.step();
        }
        (0..3).for_each(|which| worker.look(which));
        worker.state
    };
    let state: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|id| scope.spawn(move || work(id))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    place.check();
    // gc took nothing that has a name.
    for (id, state) in (0..8).zip(state) {
        let mut worker = Worker { state, ..Worker::new(&place, id, 1) };
        (0..3).for_each(|which| worker.look(which));
    }
}
