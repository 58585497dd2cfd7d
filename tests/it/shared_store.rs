//! A store of one's own with others beside it that are only read: `STRATA_STORE=$HOME/s:/opt/images`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kit::image::random::random;
use kit::pipeline::Script;
use kit::{Image, Layer, Named, Output, Producer, Registry, Sandbox};
use serde_json::Value;

use crate::fixtures::lacks_root;

/// A sandbox with a store of somebody else in `shared`, which has `base:1`, `both:1` and `app:1` on top of `base:1`.
struct Place {
    sandbox: Sandbox,
    base: Image,
    app: Image,
}

impl Place {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let base = random(1, 2, 5);
        let app = base.clone().layer(Layer::new().file("app", "of base"));
        let place = Self { sandbox, base, app };
        let images = [
            Named::new("base:1", &place.base),
            Named::new("app:1", &place.app),
            Named::new("both:1", &place.base),
        ];
        place.sandbox.write("all.tar", Producer::Strata.write(&images));
        place.owner("load -q all.tar").success();
        place
    }

    fn shared(&self) -> PathBuf {
        self.sandbox.root().join("shared")
    }

    fn with(&self, store: &str, script: &str) -> Output {
        let script = Script::new(&self.sandbox, script);
        script.with(|program| program.env("STRATA_STORE", store)).run()
    }

    /// What the owner of the shared store does.
    fn owner(&self, script: &str) -> Output {
        self.with(&self.shared().display().to_string(), script)
    }

    /// What somebody does who has a store and reads the shared one.
    fn sh(&self, script: &str) -> Output {
        self.with(&self.list(), script)
    }

    fn list(&self) -> String {
        format!("{}:{}", self.sandbox.store().display(), self.shared().display())
    }

    /// What is in the shared store: paths, sizes and times.
    fn state(&self) -> Vec<String> {
        let mut state = vec![];
        let mut queue = vec![self.shared()];
        while let Some(dir) = queue.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    queue.push(entry.path());
                }
                let modified = metadata.modified().unwrap();
                state.push(format!("{} {} {modified:?}", entry.path().display(), metadata.len()));
            }
        }
        state.sort();
        state
    }

    /// How many bytes of blobs one's own store has.
    fn own_bytes(&self) -> u64 {
        let dir = self.sandbox.store().join("blobs/sha256");
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().unwrap().len()).sum()
    }
}

// apptainer/singularity#1619 (2018), podman#19018: images of a site, read by everybody, beside one's own.
#[test]
fn every_program_reads_both_stores_and_writes_the_first() {
    let place = Place::new();
    let before = place.state();
    place.sh("unpack -q --from app:1 t && cat t/app").success();
    let names = place.sh("images -0 | tr '\\0' ' '").success().out();
    assert_eq!(names, "app:1 base:1 both:1 ");
    for script in [
        "inspect app:1",
        "inspect --files app:1",
        "inspect --cat app app:1",
        "flatten app:1 | tar -t",
        "save app:1 | unpack -q saved",
        "snapshot --list t --base app:1",
        "changes base:1 app:1; test $? = 1",
        "images verify app:1",
        "images digests",
    ] {
        place.sh(script).success();
    }
    assert_eq!(place.state(), before, "the shared store was written to");
    assert_eq!(place.sh("images digests | wc -l").out(), "7\n");
    // What is made of a shared image lands in one's own store, without the layers that the other one has.
    place.sh("tar -c t/app | commit -q --base app:1 -t mine:1").success();
    place.sh("rebase -q mine:1 --onto base:1 --from app:1 -t mine:2").success();
    place.sh("images tag app:1 mine:3").success();
    assert!(place.own_bytes() < 20_000, "{}", place.own_bytes());
    for name in ["mine:1", "mine:2", "mine:3"] {
        place.sh(&format!("rm -rf u; unpack -q --from {name} u && images verify {name}")).success();
    }
    assert_eq!(place.state(), before, "the shared store was written to");
    // Its documents are here, so it can be listed and shown while the other store is away.
    let own = place.sandbox.store().display().to_string();
    let listed = place.with(&own, "images -q mine:1; inspect mine:3").success().out();
    assert!(listed.contains(&place.app.digest()), "{listed}");
    let output = place.with(&own, "unpack --from mine:1 v");
    assert!(output.fails_with(3).stderr.contains("sha256:"), "{}", output.text());
}

#[test]
fn blobs_of_a_shared_store_are_neither_fetched_nor_loaded_again() {
    let place = Place::new();
    let registry = Registry::start();
    registry.add("app:1", place.app.clone());
    let name = registry.name("app:1");
    let output = place.sh(&format!("pull -q --no-stream {name}"));
    assert_eq!(output.success().out().trim(), place.app.digest());
    assert_eq!(registry.n_requests("GET", "/blobs/"), 0, "{}", registry.log());
    place.sh(&format!("pull -q {name} | unpack -q t && cat t/app")).success();
    place.sh(&format!("pull -q {name} > pulled.tar && load -q --store fresh pulled.tar")).success();
    place.sh(&format!("push -q app:1 {}", registry.name("copy:1"))).success();
    let loaded = place.sh("load --json all.tar | head -n 1").success().out();
    let loaded: Value = serde_json::from_str(&loaded).unwrap();
    assert_eq!(loaded["newBytes"].as_u64().unwrap(), 0, "{loaded}");
    let n_layers: usize = place.app.layer_blobs().iter().map(|it| it.bytes.len()).sum();
    assert!(place.own_bytes() < n_layers as u64, "{}", place.own_bytes());
    // A thin stream whose base the shared store has.
    place.owner("save app:1 --base base:1 > thin.tar").success();
    fs::remove_dir_all(place.sandbox.store()).unwrap();
    place.sh("load -q --tag thin:1 thin.tar && unpack -q --from thin:1 u").success();
}

#[test]
fn the_first_store_with_a_name_has_it() {
    let place = Place::new();
    let other = random(7, 1, 1);
    place.sandbox.load(&[Named::new("both:1", &other)]);
    assert_eq!(place.sh("images -q both:1").out().trim(), other.digest());
    assert_eq!(place.sh("images --json both:1 | grep -o store | wc -l").out().trim(), "2");
    // The other one is found by its digest, and by its other name.
    let shared = place.base.digest();
    assert_eq!(
        place.sh(&format!("inspect --raw {shared} | sha256sum | cut -c-64")).out().trim(),
        &shared[7..]
    );
    assert_eq!(place.sh("images -q base:1").out().trim(), shared);
    let table = place.sh("images").success().out();
    let row = |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(table.lines().next().unwrap().ends_with("STORE"), "{table}");
    assert!(row("both:1").ends_with(&place.sandbox.store().display().to_string()), "{table}");
    assert!(row("app:1").ends_with(&place.shared().display().to_string()), "{table}");
    // With one store there is no such column.
    assert!(!place.owner("images").out().contains("STORE"));
}

#[test]
fn names_and_blobs_of_a_shared_store_are_their_owners_to_remove() {
    let place = Place::new();
    let output = place.sh("images rm app:1");
    let shared = place.shared();
    let told = format!("images: app:1: is in {}, which is only read\n", shared.display());
    let hint = format!("hint: images rm --store {} app:1\n", shared.display());
    assert_eq!(output.fails_with(1).stderr, told + &hint);
    place.sandbox.load(&[Named::new("both:1", random(7, 1, 1))]);
    place.sh("images rm both:1").success();
    assert_eq!(place.sh("images -q both:1").out().trim(), place.base.digest());
    place.owner("images tag app:1 moved:1; images tag base:1 moved:1").success();
    let before = place.state();
    place.sh("images gc && images prune && images gc --force").success();
    assert_eq!(place.state(), before);
    assert_eq!(place.own_bytes(), 0);
    // Of several stores each is named when it isn't there.
    let output = place.with(&format!("{}:/none/there", place.sandbox.store().display()), "images");
    assert!(
        output.fails_with(3).stderr.contains("/none/there: no store is here"),
        "{}",
        output.text()
    );
}

#[test]
fn an_empty_first_place_is_the_usual_store() {
    let place = Place::new();
    let list = format!(":{}", place.shared().display());
    let data = place.sandbox.root().join("home/data");
    let script = Script::new(&place.sandbox, "images tag app:1 mine:1").as_plain_user();
    let script =
        script.with(|program| program.env("STRATA_STORE", &list).env("XDG_DATA_HOME", &data));
    fs::set_permissions(place.shared(), fs::Permissions::from_mode(0o755)).unwrap();
    script.run().success();
    assert!(data.join("strata/index.json").exists() || data.join("strata/oci-layout").exists());
    let mode = fs::metadata(data.join("strata")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn pairs_and_listings_of_a_shared_store_spare_work() {
    let place = Place::new();
    place.owner("images verify; inspect --files app:1").success();
    let n_notes = |folder: &str| {
        fs::read_dir(place.sandbox.store().join("strata").join(folder)).map_or(0, Iterator::count)
    };
    place.sh("inspect --files app:1; unpack -q --from app:1 t").success();
    assert_eq!((n_notes("listing"), n_notes("pairs")), (0, 0));
    // What nobody has listed is listed here.
    fs::remove_dir_all(place.shared().join("strata/listing")).unwrap();
    place.sh("unpack -q --from app:1 u").success();
    assert_eq!(n_notes("listing"), 3);
}

#[test]
fn as_root_a_union_uses_layers_that_a_shared_store_has_extracted() {
    if lacks_root() {
        return;
    }
    let place = Place::new();
    place.owner("union -q base:1 m && union --umount m").success();
    let before = place.state();
    place.sh("union app:1 m && cat m/app && union --umount m").success();
    let extracted = |store: &Path| {
        let kinds = fs::read_dir(store.join("strata/layers")).into_iter().flatten().flatten();
        let names = kinds.flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten());
        names
            .map(|entry| entry.file_name())
            .filter(|name| !name.as_encoded_bytes().starts_with(b"."))
            .collect::<Vec<_>>()
    };
    let own = extracted(&place.sandbox.store());
    let shared = extracted(&place.shared());
    assert!(!own.is_empty() && own.iter().all(|name| !shared.contains(name)), "{own:?} {shared:?}");
    assert_eq!(place.state(), before);
}

#[test]
fn a_plain_user_reads_a_shared_store_of_root_on_a_read_only_medium() {
    let place = Place::new();
    // As on a CD: nobody may write.
    let read_only =
        |dir: &Path, mode| fs::set_permissions(dir, fs::Permissions::from_mode(mode)).unwrap();
    let mut dirs = vec![place.shared()];
    let mut at = 0;
    while let Some(dir) = dirs.get(at).cloned() {
        dirs.extend(
            fs::read_dir(dir).unwrap().flatten().map(|it| it.path()).filter(|it| it.is_dir()),
        );
        at += 1;
    }
    for dir in &dirs {
        read_only(dir, 0o555);
    }
    let script = "unpack -q --from app:1 t && cat t/app && save app:1 | load -q --store copy && \
        tar -c t/app | commit -q --base app:1 -t mine:1 && unpack -q --from mine:1 u && images && images gc";
    let list = format!("{}/home/s:{}", place.sandbox.root().display(), place.shared().display());
    let done = Script::new(&place.sandbox, script)
        .as_plain_user()
        .with(|program| program.env("STRATA_STORE", list))
        .run();
    for dir in &dirs {
        read_only(dir, 0o755);
    }
    done.success();
    assert_eq!(place.sh("cat u/t/app").out(), "of base");
    // Where one's own store can't be made either, reading works, and what has to be written is told of.
    let place = Place::new();
    let list = format!("/sys/none:{}", place.shared().display());
    place
        .with(
            &list,
            "unpack -q --from app:1 t && cat t/app && images && save app:1 | load -q --store copy",
        )
        .success();
    let output = place.with(&list, "images tag app:1 mine:1");
    assert!(output.fails_with(1).stderr.contains("/sys/none"), "{}", output.text());
}

// The owner pulls, tags anew and runs gc while ten others read: each gets the image whole.
#[test]
fn ten_readers_and_the_owners_gc_and_pulls_at_once() {
    let place = Place::new();
    let registry = Registry::start();
    let moving: Vec<Image> = (10..14).map(|seed| random(seed, 2, 5)).collect();
    for (n, image) in moving.iter().enumerate() {
        registry.add(&format!("moving:{n}"), image.clone());
    }
    let owner = format!(
        "for n in 0 1 2 3 0 1 2 3; do pull -q --no-stream {0}:$n && images tag {0}:$n moving:latest && \
         images rm {0}:$n >/dev/null && images gc >/dev/null || exit 1; done",
        registry.name("moving:0").trim_end_matches(":0")
    );
    let owner = Script::new(&place.sandbox, &owner)
        .with(|program| program.env("STRATA_STORE", place.shared()))
        .start();
    let reader = |n: usize| {
        let script = format!(
            "for i in 1 2 3 4 5; do rm -rf t{n}; unpack -q --from app:1 t{n} || exit 1; \
             save app:1 | sha256sum; flatten -q app:1 | tar -t >/dev/null || exit 1; done"
        );
        let store =
            format!("{}/own{n}:{}", place.sandbox.root().display(), place.shared().display());
        Script::new(&place.sandbox, &script)
            .with(|program| program.env("STRATA_STORE", store))
            .start()
    };
    let readers: Vec<_> = (0..10).map(reader).collect();
    let mut seen = std::collections::BTreeSet::new();
    for running in readers {
        let output = running.wait();
        seen.extend(output.success().out().lines().map(str::to_owned));
    }
    owner.wait().success();
    assert_eq!(seen.len(), 1, "{seen:?}");
    // The moving name: an image is had whole, or one that was taken away is told of; never half of one.
    place.owner("images verify").success();
}
