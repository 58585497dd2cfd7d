//! What people mean by a name or a digest.

use std::fs;

use layer_format::{Descriptor, Digest};
use report::{ErrorKind, HasKind};
use store::{Error, FoundBy, IndexEntry, Store};

use crate::kit::{self, Fixture, image, named};

/// `a` twice, `b` chosen from an index that isn't here, `multi` with one of two platforms, one without a name.
struct Scene {
    dir: tempfile::TempDir,
    store: Store,
    a: Fixture,
    b: Fixture,
    child: Fixture,
    multi: Descriptor,
    unnamed: Descriptor,
}

const CHOSEN_FROM: &[u8] = b"an index";

fn scene() -> Scene {
    let (dir, store) = kit::store();
    let [a, b, child, absent] = ["a", "b", "child", "absent"].map(|layer| image(&[layer]));
    a.store(&store, "a");
    a.store(&store, "ghcr.io/x/a:1");
    let lease = store.lease().unwrap();
    let chosen = named("b", b.put(&lease)).chosen_from(Digest::of(CHOSEN_FROM));
    child.put(&lease);
    let index = kit::index(&[child.descriptor(), absent.descriptor()]);
    lease.put(&index).unwrap();
    let multi = Descriptor::of("index", &index);
    lease.name(&[chosen, named("multi", multi.clone())]).unwrap();
    let unnamed = image(&["unnamed"]).store(&store, "");
    Scene { dir, store, a, b, child, multi, unnamed }
}

impl Scene {
    #[track_caller]
    fn check(&self, text: &str, by: FoundBy, name: Option<&str>, descriptor: &Descriptor) {
        let found = self.store.find(text).unwrap();
        assert_eq!((found.by, found.image.name()), (by, name), "{text}");
        assert_eq!(found.descriptor.digest, descriptor.digest, "{text}");
    }

    #[track_caller]
    fn refuse(&self, text: &str) {
        let error = self.store.find(text).unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn names_come_first_in_any_spelling() {
    let scene = scene();
    let a = scene.a.descriptor();
    for text in ["a", "a:latest", "library/a", "docker.io/library/a:latest"] {
        scene.check(text, FoundBy::Name, Some("docker.io/library/a:latest"), &a);
    }
    scene.check("ghcr.io/x/a:1", FoundBy::Name, Some("ghcr.io/x/a:1"), &a);
    for text in ["c", "a:2", "ghcr.io/x/a", "", "UPPER", "a b", "../a"] {
        scene.refuse(text);
    }
    let cafe = image(&["cafe"]).store(&scene.store, "facade");
    scene.check("facade", FoundBy::Name, Some("docker.io/library/facade:latest"), &cafe);
}

#[test]
fn digests_of_indexes_manifests_and_configs_are_found() {
    let scene = scene();
    let (a, b, child) = (scene.a.descriptor(), scene.b.descriptor(), scene.child.descriptor());
    let table = [
        (a.digest, "docker.io/library/a:latest", &a),
        (Digest::of(&scene.a.config), "docker.io/library/a:latest", &a),
        (Digest::of(CHOSEN_FROM), "docker.io/library/b:latest", &b),
        (scene.multi.digest, "docker.io/library/multi:latest", &scene.multi),
        (child.digest, "docker.io/library/multi:latest", &child),
        (Digest::of(&scene.child.config), "docker.io/library/multi:latest", &child),
    ];
    for (digest, name, descriptor) in table {
        let hex = digest.hex();
        for text in [&digest.to_string(), &format!("any@{digest}"), &hex, &hex[..6], &hex[..20]] {
            scene.check(text, FoundBy::Digest, Some(name), descriptor);
        }
        scene.check(&digest.to_string()[..7 + 8], FoundBy::Digest, Some(name), descriptor);
        scene.refuse(&hex[..5]);
        scene.refuse(&format!("sha512:{}", &hex[..8]));
    }
    scene.check(&scene.unnamed.digest.hex(), FoundBy::Digest, None, &scene.unnamed);
    scene.refuse(&image(&["absent"]).descriptor().digest.to_string());
    scene.refuse(&Digest::of(&scene.a.layers[0]).hex());
}

#[test]
fn two_images_by_one_digest_are_listed() {
    let scene = scene();
    let lease = scene.store.lease().unwrap();
    let other = named("other", scene.child.descriptor()).chosen_from(Digest::of(CHOSEN_FROM));
    lease.name(&[other]).unwrap();
    for text in [Digest::of(CHOSEN_FROM).to_string(), Digest::of(CHOSEN_FROM).hex()[..6].to_owned()]
    {
        let error = scene.store.find(&text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        let Error::Ambiguous { matches, .. } = error else { panic!("{error}") };
        let mut expected = vec![
            format!("docker.io/library/b:latest ({})", scene.b.descriptor().digest),
            format!("docker.io/library/other:latest ({})", scene.child.descriptor().digest),
        ];
        expected.sort_by_key(|line| line.split_once('(').unwrap().1.to_owned());
        assert_eq!(matches, expected);
    }
}

#[test]
fn other_tools_names_are_found_as_they_wrote_them() {
    let (_dir, store) = kit::store();
    let descriptor = image(&["1"]).put(&store.lease().unwrap());
    let entry = |annotations: &str| {
        let (digest, size) = (descriptor.digest, descriptor.size);
        format!(r#"{{"digest":"{digest}","size":{size},"annotations":{{{annotations}}}}}"#)
    };
    let entries = [
        entry(r#""org.opencontainers.image.ref.name":"UPPER case""#),
        entry(r#""org.opencontainers.image.ref.name":"short:1""#),
        entry(
            r#""org.opencontainers.image.ref.name":"2","io.containerd.image.name":"docker.io/x/y:2""#,
        ),
    ];
    let text = format!(r#"{{"manifests":[{}]}}"#, entries.join(","));
    fs::write(store.path().join("index.json"), text).unwrap();
    let find = |text: &str| store.find(text).ok().and_then(|it| it.image.name().map(str::to_owned));
    assert_eq!(find("UPPER case").as_deref(), Some("UPPER case"));
    assert_eq!(find("short:1").as_deref(), Some("short:1"));
    assert_eq!(find("docker.io/library/short:1").as_deref(), Some("short:1"));
    assert_eq!(find("x/y:2").as_deref(), Some("docker.io/x/y:2"));
    assert_eq!(find("2"), None);
}

#[test]
fn a_damaged_image_hides_no_other() {
    let scene = scene();
    let path = |digest: Digest| scene.store.path().join(digest.blob_path());
    fs::write(path(scene.b.descriptor().digest), "damage").unwrap();
    fs::remove_file(path(scene.multi.digest)).unwrap();
    let config = Digest::of(&scene.a.config);
    assert_eq!(
        scene.store.find(&config.hex()).unwrap().descriptor.digest,
        scene.a.descriptor().digest
    );
    let by_name = scene.store.find("b").unwrap();
    let multi = scene.store.find(&scene.multi.digest.hex()[..8]).unwrap();
    assert_eq!(scene.store.remove(&[by_name.image, multi.image]).unwrap().len(), 2);
    scene.refuse("b");
}

#[test]
fn a_name_pinned_by_a_digest_is_found_however_it_is_written() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let descriptor = image(&["1"]).put(&lease);
    let digest = descriptor.digest;
    let name = format!("nginx:1@{digest}").parse().unwrap();
    lease.name(&[IndexEntry::new(Some(&name), descriptor.clone())]).unwrap();
    let full = format!("docker.io/library/nginx@{digest}");
    assert_eq!(store.images().unwrap()[0].name(), Some(&*full));
    let by = |text: &str| {
        let found = store.find(text).unwrap();
        assert_eq!(found.descriptor.digest, digest, "{text}");
        found.by
    };
    let short = format!("nginx@sha256:{}", digest.short());
    for text in [&full, &name.to_string(), &format!("nginx@{digest}"), &short] {
        assert_eq!(by(text), FoundBy::Name, "{text}");
    }
    assert_eq!(by(&format!("other@{digest}")), FoundBy::Digest);
    for text in ["nginx", "nginx:1", "other@sha256:aaaaaa", &short.replace("nginx", "other")] {
        assert!(store.find(text).is_err(), "{text}");
    }
}

#[test]
fn a_name_pinned_by_another_digest_is_no_name() {
    let (_dir, store) = kit::store();
    let lease = store.lease().unwrap();
    let (good, evil) = (image(&["good"]).put(&lease), image(&["evil"]).put(&lease));
    // As an archive of somebody who means harm may call an image, and say where it was chosen from.
    let pinned = format!("nginx@{}", good.digest);
    let mut claimed = evil.clone();
    claimed.annotations.insert(store::STRATA_INDEX.to_owned(), good.digest.to_string());
    lease.name(&[IndexEntry::new(Some(&pinned.parse().unwrap()), claimed)]).unwrap();
    assert_eq!(store.images().unwrap()[0].name(), None);
    assert!(store.find(&pinned).is_err());
    assert_eq!(store.find(&evil.digest.to_string()).unwrap().descriptor.digest, evil.digest);
    lease.name(&[IndexEntry::new(Some(&pinned.parse().unwrap()), good.clone())]).unwrap();
    assert_eq!(store.find(&pinned).unwrap().descriptor.digest, good.digest);
}

#[test]
fn no_name_passes_for_a_digest() {
    let scene = scene();
    let b = scene.b.descriptor();
    // As another tool, or an archive of somebody who means harm, may call an image.
    let path = scene.dir.path().join("store/index.json");
    let index = fs::read_to_string(&path).unwrap();
    fs::write(&path, index.replace("docker.io/library/a:latest", &b.digest.to_string())).unwrap();
    let text = b.digest.to_string();
    scene.check(&text, FoundBy::Digest, Some("docker.io/library/b:latest"), &b);
}
