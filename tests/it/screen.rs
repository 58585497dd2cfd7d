//! Two of our programs on one terminal: what is seen when both are done.
//!
//! Each pipe runs at two widths, with images of 1, 4 and 30 layers, each cold (slow enough that bars are drawn meanwhile) and
//! warm. `STRATA_LONG=1` does all of it 20 times, which takes minutes.

use std::thread;

use kit::image::random::Random;
use kit::terminal::{Shown, Size};
use kit::{Codec, Fault, Image, Layer, Registry, Sandbox, digest, pipeline};

/// The bytes of the one file of each layer.
const FILE_SIZE: usize = 50_000;
/// The bytes of a layer with it: a header, the file in whole blocks, two blocks at the end.
const LAYER_SIZE: usize = 512 + 50_176 + 1024;

/// An image in a registry, and the names of its blobs as they are shown.
struct Scene {
    /// Ends with the scene.
    _registry: Registry,
    name: String,
    n_layers: usize,
    manifest: String,
    config: String,
    layers: Vec<String>,
    n_config_bytes: usize,
}

/// The first digits of a digest.
fn short(digest: &str) -> String {
    digest["sha256:".len()..][..12].to_owned()
}

/// A line for each blob.
fn lines(blobs: &[String], state: &str) -> String {
    let lines: Vec<_> = blobs.iter().map(|id| format!("{id}: {state}\n")).collect();
    lines.concat()
}

impl Scene {
    /// An image of so many layers in a registry that takes about half a second for all of them.
    fn new(n_layers: usize) -> Self {
        let registry = Registry::start();
        let mut image = Image::new().codec(Codec::None);
        let mut layers = vec![];
        for at in 0..n_layers {
            let noise = Random::new(at as u64).bytes(FILE_SIZE);
            let tar: Vec<u8> = Layer::new().file(format!("file-{at}"), noise).into();
            assert_eq!(tar.len(), LAYER_SIZE);
            layers.push(short(&digest(&tar)));
            image = image.layer(tar);
        }
        let config = image.config_blob();
        let content = kit::Content::from(image);
        let manifest = content.digest().to_owned();
        registry.add(&format!("app:{n_layers}"), content);
        let rate = (FILE_SIZE * n_layers.div_ceil(4) * 2) as u64;
        registry.fault(Fault::on("/blobs/").bytes_per_second(rate));
        let name = registry.name(&format!("app:{n_layers}"));
        Self {
            _registry: registry,
            name,
            n_layers,
            manifest,
            config: short(&digest(&config.bytes)),
            layers,
            n_config_bytes: config.bytes.len(),
        }
    }

    fn unpacked(&self) -> String {
        let Self { name, n_layers: n, .. } = self;
        let s = if *n == 1 { ("layer", "entry") } else { ("layers", "entries") };
        let size = match n {
            1 => "50kB",
            4 => "200kB",
            _ => "1.5MB",
        };
        let manifest = short(&self.manifest);
        let last = format!("unpacked {name} ({manifest}): {n} {}, {n} {}, {size}", s.0, s.1);
        lines(&self.layers, "Unpacked") + &last
    }

    fn loaded(&self) -> String {
        let first = [short(&self.manifest), self.config.clone()];
        let all = [&first, &self.layers[..]].concat();
        lines(&all, "Loaded") + "Loaded image: " + &self.name
    }

    fn inspected(&self) -> String {
        let title = "LAYER   DIGEST         DIFF ID        SIZE     UNCOMPRESSED   SHARED WITH";
        let row = |(at, id): (usize, &String)| {
            format!("\n{:<8}{id}   {id}   51.7kB   51.7kB         -", at + 1)
        };
        let rows: Vec<_> = self.layers.iter().enumerate().map(row).collect();
        title.to_owned() + &rows.concat()
    }

    fn pushed(&self, target: &str, store: Store) -> String {
        let all = [&self.layers[..], std::slice::from_ref(&self.config)].concat();
        let size = cli::human_size((self.n_layers * LAYER_SIZE + self.n_config_bytes) as u64);
        let n = all.len();
        let (state, sum) = match store {
            Store::Cold => {
                ("Pushed", format!("sent: {n} ({size}), mounted: 0 (0B), there already: 0 (0B)"))
            }
            Store::Warm => (
                "Layer already exists",
                format!("sent: 0 (0B), mounted: 0 (0B), there already: {n} ({size})"),
            ),
        };
        lines(&all, state) + &format!("blobs {sum}\n{target}@{}", self.manifest)
    }
}

/// A text as it stands on a terminal of so many columns.
fn broken(text: &str, columns: u16) -> String {
    let mut rows = vec![];
    for line in text.lines() {
        let characters: Vec<char> = line.chars().collect();
        let row = |row: &[char]| row.iter().collect::<String>().trim_end().to_owned();
        rows.extend(characters.chunks(columns.into()).map(row));
    }
    rows.join("\n")
}

/// Whether a run is the first one, with nothing in the store yet, or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Cold,
    Warm,
}

/// Runs a pipe at both widths with all images, and compares what is seen at the end. `pipe` gives a script and what it shows.
fn check(pipe: impl Fn(&Scene, &Run) -> (String, String) + Sync) {
    let n_times = if std::env::var_os("STRATA_LONG").is_some() { 20 } else { 1 };
    let scenes = [1, 4, 30].map(Scene::new);
    thread::scope(|scope| {
        for (scene, columns) in scenes.iter().flat_map(|scene| [(scene, 80), (scene, 140)]) {
            let pipe = &pipe;
            scope.spawn(move || (0..n_times).for_each(|nth| check_both(scene, columns, nth, pipe)));
        }
    });
}

/// Runs a pipe cold and warm.
fn check_both(
    scene: &Scene,
    columns: u16,
    nth: usize,
    pipe: impl Fn(&Scene, &Run) -> (String, String),
) {
    let sandbox = Sandbox::new();
    for store in [Store::Cold, Store::Warm] {
        let run = Run { columns, nth, store };
        check_run(&sandbox, &run, pipe(scene, &run));
    }
}

/// One run of a pipe.
#[derive(Debug)]
struct Run {
    columns: u16,
    nth: usize,
    store: Store,
}

fn check_run(sandbox: &Sandbox, run: &Run, (script, expected): (String, String)) {
    let Run { columns, store, .. } = *run;
    let size = Size { columns, ..Size::USUAL };
    let shown = pipeline::on_terminal(sandbox, size, &script).wait();
    let text = format!("{script}\n{columns} columns, {store:?}:\n{}", shown.screen);
    let expected = broken(&expected, columns);
    assert_eq!((shown.code, in_order(&shown.screen)), (0, in_order(&expected)), "{text}");
    // What is slow has drawn bars, or this tests nothing. One layer is pushed when it has come, and that is quick.
    let is_slow = store == Store::Cold && !text.contains("blobs sent: 2 ");
    assert!(!is_slow || has_drawn(&shown), "no bars: {text}");
}

/// The rows of a screen. Uploads run at once, and their rows stand in the order in which they began.
fn in_order(screen: &str) -> Vec<&str> {
    let mut rows: Vec<_> = screen.lines().collect();
    let of_upload = |row: &&str| row.ends_with("Pushed") || row.ends_with("Layer already exists");
    let n_uploads = rows.iter().take_while(|row| of_upload(row)).count();
    rows[..n_uploads].sort_unstable();
    rows
}

/// Whether redrawn lines were on the terminal.
fn has_drawn(shown: &Shown) -> bool {
    let sequence = b"\x1b[J";
    shown.raw.windows(sequence.len()).any(|bytes| bytes == sequence)
}

/// What stands between `save` and its reader: slow the first time.
fn between(store: Store) -> &'static str {
    match store {
        Store::Cold => "| { head -c 30000; sleep 1.5; cat; } |",
        Store::Warm => "|",
    }
}

#[test]
fn pull_and_unpack_on_one_terminal_show_what_was_unpacked() {
    check(|scene, _| {
        (format!("rm -rf root; pull {} | unpack --owner ignore root", scene.name), scene.unpacked())
    });
}

#[test]
fn save_and_load_on_one_terminal_show_what_was_loaded() {
    check(|scene, run| {
        let (name, between) = (&scene.name, between(run.store));
        let script = format!(
            "pull -q {name} > /dev/null; rm -rf other; \
             save {name} {between} STRATA_STORE=$PWD/other load"
        );
        (script, scene.loaded())
    });
}

#[test]
fn save_and_unpack_on_one_terminal_show_what_was_unpacked() {
    check(|scene, run| {
        let (name, between) = (&scene.name, between(run.store));
        let script = format!(
            "pull -q {name} > /dev/null; rm -rf root; save {name} {between} unpack --owner ignore root"
        );
        (script, scene.unpacked())
    });
}

#[test]
fn pull_and_inspect_on_one_terminal_show_what_was_asked_for() {
    check(|scene, _| {
        // A look-up shows its progress after a second only; here it is asked for.
        let inspect = "inspect --progress bars --layers -";
        let tasks = lines(&scene.layers, "Read");
        (format!("pull {} | {inspect}", scene.name), tasks + &scene.inspected())
    });
}

#[test]
fn pull_and_push_on_one_terminal_show_what_was_pushed() {
    let target = Registry::start();
    check(|scene, run| {
        let Run { columns, nth, store } = run;
        let name = target.name(&format!("copy-{columns}-{}-{nth}", scene.n_layers));
        (format!("pull {} | push - {name}:1", scene.name), scene.pushed(&name, *store))
    });
}
