//! What a run would do is told before it does it: each blob, and the sums; nothing is fetched, sent or written (moby#1512,
//! moby#16450, docker/cli#3270, docker/cli#6059).

use std::path::PathBuf;

use kit::pipeline::sh;
use kit::{Codec, Content, Fault, Image, Layer, Named, Producer, Registry, Sandbox};
use serde_json::Value;

use crate::fixtures::{files, noise};

/// What a program said that it would do: an action, bytes, a digest, and the words after them.
type Row = (String, u64, String, String);

/// The rows of a table.
fn rows(text: &str) -> Vec<Row> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [action, bytes, digest, rest @ ..] = &words[..] else { panic!("no row: {line}") };
        let bytes = bytes.parse().unwrap_or_else(|_| panic!("no row: {line}"));
        ((*action).to_owned(), bytes, (*digest).to_owned(), rest.join(" "))
    };
    let is_row = |line: &&str| !line.starts_with("ACTION ") && !line.starts_with("would free ");
    text.lines().filter(is_row).map(row).collect()
}

/// The rows that there must be: these actions for the config and the layers of an image, in their order.
fn expected(image: &Image, actions: &[&str], place: &str) -> Vec<Row> {
    let blobs = std::iter::once(image.config_blob()).chain(image.layer_blobs());
    let row = |(blob, action): (kit::Blob, &&str)| {
        ((*action).to_owned(), blob.bytes.len() as u64, blob.digest, place.to_owned())
    };
    blobs.zip(actions).map(row).collect()
}

/// The same in the order of the table of `push`: by action, then by digest.
fn by_digest(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by(|a, b| (&a.3, &a.0, &a.2).cmp(&(&b.3, &b.0, &b.2)));
    rows
}

/// What a script says on both streams, as rows and as text.
#[track_caller]
fn told(sandbox: &Sandbox, script: &str) -> (Vec<Row>, String) {
    let output = sh(sandbox, script);
    output.success();
    (rows(&output.out()), output.stderr)
}

/// The sums of a JSON plan, checked against its rows, and the rows of the same plan in text.
#[track_caller]
fn sums(sandbox: &Sandbox, script: &str) -> Vec<(String, u64, u64)> {
    let object: Value = serde_json::from_str(&sh(sandbox, script).success().out()).unwrap();
    let blobs = object["blobs"].as_array().unwrap();
    let sum = |sum: &Value| {
        let of_action: Vec<_> = blobs.iter().filter(|it| it["action"] == sum["action"]).collect();
        let bytes: u64 = of_action.iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
        assert_eq!(sum["blobs"], of_action.len(), "{object}");
        assert_eq!(sum["bytes"], bytes, "{object}");
        (sum["action"].as_str().unwrap().to_owned(), of_action.len() as u64, bytes)
    };
    object["sums"].as_array().unwrap().iter().map(sum).collect()
}

/// A registry with an image under `app:1`.
fn start(image: impl Into<Content>) -> (Registry, Sandbox, String) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.add("app:1", image);
    let name = registry.name("app:1");
    (registry, sandbox, name)
}

/// Every file of the store, with its size, but those that lock it.
fn stored(sandbox: &Sandbox) -> Vec<(PathBuf, u64)> {
    let files = files(sandbox.store()).into_iter().filter(|path| !path.ends_with("strata/lock"));
    let mut all: Vec<_> =
        files.map(|path| (path.clone(), std::fs::metadata(path).unwrap().len())).collect();
    all.sort();
    all
}

/// Checks that nothing but documents was asked for, and blobs only whether they are there.
#[track_caller]
fn only_asked(registry: &Registry) {
    for request in registry.requests() {
        let is_question = request.method == "HEAD" && request.path.contains("/blobs/");
        let is_document = request.method != "PUT" && request.path.contains("/manifests/");
        assert!(is_question || is_document || request.path == "/v2/", "{}", registry.log());
    }
}

// moby#1512, docker/cli#6059: how much would a pull fetch?
#[test]
fn a_pull_says_what_it_would_fetch_and_fetches_no_blob() {
    let image = noise(400_000);
    let (registry, sandbox, name) = start(&image);
    let place = registry.name("app");
    let pull = format!("pull --dry-run {name}");
    let (rows, talk) = told(&sandbox, &pull);
    assert_eq!(rows, expected(&image, &["fetch"; 4], &place));
    assert!(talk.contains("blobs to fetch: 4 (1.2"), "{talk}");
    assert!(talk.ends_with("to resume: 0 (0B), there already: 0 (0B)\n"), "{talk}");
    only_asked(&registry);
    assert!(!sandbox.store().exists());
    // No store is asked either where none would be used.
    sh(&sandbox, &format!("pull -q --no-stream {name}")).success();
    registry.forget();
    let before = stored(&sandbox);
    assert_eq!(told(&sandbox, &pull).0, expected(&image, &["skip"; 4], &place));
    let (rows, _) = told(&sandbox, &format!("{pull} --no-store"));
    assert_eq!(rows, expected(&image, &["fetch"; 4], &place));
    let (rows, _) = told(&sandbox, &format!("{pull} --no-layers"));
    assert_eq!(rows, expected(&image, &["fetch"], &place));
    only_asked(&registry);
    assert_eq!(stored(&sandbox), before);
}

#[test]
fn a_pull_that_was_interrupted_says_how_much_is_left_of_a_layer() {
    let image = noise(400_000);
    let (registry, sandbox, name) = start(&image);
    let layer = image.layer_blobs()[0].digest.clone();
    registry.fault(Fault::on(&layer).times(1).close_after(100_000));
    registry.fault(Fault::on(&layer).after(1).status(403));
    let pull = "pull -q --no-stream --jobs 1 --connections 1";
    assert_ne!(sh(&sandbox, &format!("{pull} {name}")).code(), 0);
    registry.heal();
    registry.forget();
    let (rows, _) = told(&sandbox, &format!("pull --dry-run {name}"));
    let row = rows.iter().find(|row| row.2 == layer).unwrap();
    assert_eq!(row.0, "resume");
    let all = sums(&sandbox, &format!("pull --dry-run --json {name}"));
    assert_eq!(all[1], ("resume".to_owned(), 1, row.1));
    sh(&sandbox, &format!("{pull} {name}")).success();
    assert_eq!(registry.bytes_sent(&layer), row.1, "{}", registry.log());
}

#[test]
fn a_push_that_could_not_be_done_tells_no_sums() {
    let image = noise(1000);
    let (_source, sandbox, name) = start(&image);
    sh(&sandbox, &format!("pull -q --no-stream {name}")).success();
    let registry = Registry::start();
    registry.fault(Fault::on(&format!("copy/blobs/{}", image.config_blob().digest)).status(304));
    let there = registry.name("copy:1");
    for script in [
        format!("save {name} | push --dry-run - {there}"),
        format!("push --dry-run {name} {there}"),
    ] {
        let output = sh(&sandbox, &script);
        assert!(output.code() != 0 && output.stdout.is_empty(), "{}", output.text());
    }
}

// docker/cli#3270: what of it is new, what could be mounted?
#[test]
fn a_push_tells_the_sums_and_json() {
    let image = noise(1000);
    let (registry, sandbox, name) = start(&image);
    sh(&sandbox, &format!("pull -q --no-stream {name}")).success();
    registry.forget();
    let (there, place) = (registry.name("copy:1"), registry.name("copy"));
    let (rows, talk) = told(&sandbox, &format!("push --dry-run {name} {there}"));
    let mounted = expected(&image, &["mount"; 4], &format!("{place} from app"));
    assert_eq!(rows, by_digest(mounted));
    assert!(talk.starts_with("blobs to send: 0 (0B), to mount: 4 ("), "{talk}");
    for script in [
        format!("push --dry-run --json {name} {there}"),
        format!("save {name} | push --dry-run --json - {there}"),
        format!("remote copy --dry-run --json {name} {there}"),
    ] {
        let all = sums(&sandbox, &script);
        assert_eq!(all.iter().map(|sum| sum.1).collect::<Vec<_>>(), [0, 4, 0], "{script}");
    }
    only_asked(&registry);
    assert!(registry.manifest("copy:1").is_none());
}

#[test]
fn a_copy_says_what_it_would_send_and_mount_and_no_blob_moves() {
    let image = noise(1000);
    let (registry, sandbox, name) = start(&image);
    let elsewhere = Registry::start();
    let remote = |line: &str| told(&sandbox, &format!("remote copy {line}"));
    let there = elsewhere.name("copy:1");
    let (rows, talk) = remote(&format!("--dry-run {name} {there}"));
    assert_eq!(rows, expected(&image, &["send"; 4], &elsewhere.name("copy")));
    assert!(talk.starts_with("blobs to send: 4 ("), "{talk}");
    let own = registry.name("own:1");
    let (rows, _) = remote(&format!("--dry-run {name} {own}"));
    let place = format!("{} from app", registry.name("own"));
    assert_eq!(rows, expected(&image, &["mount"; 4], &place));
    only_asked(&registry);
    only_asked(&elsewhere);
    assert!(elsewhere.manifest("copy:1").is_none() && registry.manifest("own:1").is_none());
    // What is there is told, too, whether the name has it or not.
    sh(&sandbox, &format!("remote copy {name} {there}")).success();
    elsewhere.forget();
    for target in [there, elsewhere.name("copy:2")] {
        let (rows, _) = remote(&format!("--dry-run {name} {target}"));
        assert_eq!(rows, expected(&image, &["skip"; 4], &elsewhere.name("copy")));
    }
    only_asked(&elsewhere);
}

// moby#16450: how large would the archive be, and what of it does the receiver have?
#[test]
fn a_save_says_what_it_would_write_and_leave_out() {
    let base = noise(1000);
    let app = base.clone().layer(Layer::new().file("app", "one"));
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("base:1", &base), Named::new("app:1", &app)]);
    let (rows, talk) = told(&sandbox, "save --dry-run app:1");
    assert_eq!(rows, expected(&app, &["write"; 5], "app:1"));
    assert!(talk.starts_with("blobs to write: 5 ("), "{talk}");
    let (rows, _) = told(&sandbox, "save --dry-run app:1 --base base:1 -o out.tar");
    let actions = ["write", "leave-out", "leave-out", "leave-out", "write"];
    assert_eq!(rows, expected(&app, &actions, "app:1"));
    assert!(!sandbox.path("out.tar").exists());
    let all = sums(&sandbox, "save --dry-run --json app:1 base:1");
    // The layers that both have are told once.
    assert_eq!(all[0].1, 6);
}

#[test]
fn a_load_says_what_it_would_store_and_writes_nothing() {
    let base = noise(1000);
    let app = base.clone().codec(Codec::None).layer(Layer::new().file("app", "one"));
    for producer in Producer::ALL {
        let sandbox = Sandbox::new();
        sandbox.write("app.tar", producer.write(&[Named::new("docker.io/library/app:1", &app)]));
        let load = |line: &str| told(&sandbox, &format!("load --dry-run --tag app:1 {line}"));
        let layers = |rows: Vec<Row>| rows.into_iter().skip(1).collect::<Vec<_>>();
        let all = |actions: &[&str]| layers(expected(&app, actions, "app:1"));
        let (rows, talk) = load("< app.tar");
        assert_eq!(layers(rows), all(&["store"; 5]), "{producer:?}");
        assert!(talk.contains("blobs to store: 5 ("), "{producer:?}: {talk}");
        assert!(!sandbox.store().exists(), "{producer:?}");
        sandbox.load(&[Named::new("base:1", &base)]);
        let before = stored(&sandbox);
        let (rows, _) = load("./app.tar");
        assert_eq!(layers(rows), all(&["store", "skip", "skip", "skip", "store"]), "{producer:?}");
        assert_eq!(stored(&sandbox), before, "{producer:?}");
        // What a run then does is what was said.
        let new: u64 = sums(&sandbox, "load --dry-run --tag app:1 --json - < app.tar")[0].2;
        let loaded = sh(&sandbox, "load -q --tag app:1 --json - < app.tar").success().out();
        let loaded: Value = serde_json::from_str(&loaded).unwrap();
        let manifest = sh(&sandbox, "inspect --raw app:1").success().stdout.len() as u64;
        assert_eq!(loaded["newBytes"].as_u64(), Some(new + manifest), "{producer:?}");
    }
}

#[test]
fn a_load_that_would_fail_fails_in_a_dry_run() {
    let sandbox = Sandbox::new();
    let stream = Producer::Strata.write(&[Named::new("app:1", noise(1000))]);
    let mut damaged = stream.clone();
    let at = damaged.len() - 2000;
    damaged[at] ^= 1;
    sandbox.write("damaged.tar", damaged);
    sandbox.write("cut.tar", &stream[..stream.len() - 1024]);
    for file in ["damaged.tar", "cut.tar"] {
        let output = sh(&sandbox, &format!("load --dry-run < {file}"));
        assert_eq!((output.code(), output.out()), (4, String::new()), "{}", output.text());
    }
    let thin = "save --base base:1 app:1 | STRATA_STORE=$PWD/other load --dry-run";
    let base = noise(1000);
    let app = base.clone().layer(Layer::new().file("app", "one"));
    sandbox.load(&[Named::new("base:1", &base), Named::new("app:1", &app)]);
    assert_eq!(sh(&sandbox, thin).code(), 3);
}

#[test]
fn pruning_says_which_blobs_it_would_remove() {
    let sandbox = Sandbox::new();
    let (old, new) = (noise(1000), Image::new().layer(Layer::new().file("new", "new")));
    sandbox.load(&[Named::new("app:1", &old), Named::new("new:1", &new)]);
    sh(&sandbox, "images tag new:1 app:1").success();
    let before = stored(&sandbox);
    let prune = sh(&sandbox, "images prune --dry-run").success().out();
    let text = prune.strip_prefix(&format!("{}\n", old.digest())).unwrap();
    let mut blobs = old.blobs();
    blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    let row = |blob: kit::Blob| {
        ("remove".to_owned(), blob.bytes.len() as u64, blob.digest, String::new())
    };
    assert_eq!(rows(text), blobs.into_iter().map(row).collect::<Vec<_>>());
    assert_eq!(stored(&sandbox), before);
    sh(&sandbox, &format!("images rm {}", old.digest())).success();
    assert_eq!(sh(&sandbox, "images gc --dry-run").success().out(), text);
    let json = sh(&sandbox, "images gc --dry-run --json").success().out();
    let json: Value = serde_json::from_str(&json).unwrap();
    let garbage: u64 =
        json["garbage"].as_array().unwrap().iter().map(|it| it["bytes"].as_u64().unwrap()).sum();
    assert_eq!(json["bytes"], garbage);
    assert_eq!(stored(&sandbox).len(), before.len());
    let freed = sh(&sandbox, "images gc").success().out();
    assert_eq!(freed, text.lines().last().unwrap().replace("would free", "freed") + "\n");
}
