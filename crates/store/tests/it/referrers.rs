//! What refers to an image, found by its names.

use layer_format::Descriptor;
use layer_format::media_type;
use store::{IndexEntry, Store};

use crate::kit::{image, index, named, store};

/// `REPOSITORY:sha256-…`, with more behind it.
fn about(repository: &str, subject: &Descriptor, kind: &str) -> String {
    format!("{repository}:{}{kind}", subject.digest.to_string().replace(':', "-"))
}

/// Stores a list of manifests under a name.
fn list(store: &Store, name: &str, manifests: &[Descriptor]) {
    let raw = index(manifests);
    let lease = store.lease().unwrap();
    lease.put(&raw).unwrap();
    lease.name(&[named(name, Descriptor::of(media_type::OCI_INDEX, &raw))]).unwrap();
}

#[track_caller]
fn check(store: &Store, image: &IndexEntry, expected: &[&str]) {
    let found = store.referrers(image).unwrap();
    let mut names: Vec<_> = found.iter().map(|it| it.name().unwrap().to_owned()).collect();
    names.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn what_has_an_images_digest_in_its_name_refers_to_it_and_so_on() {
    let (_dir, store) = store();
    let app = image(&["app"]).store(&store, "r.test/a:1");
    let sbom = image(&["sbom"]).descriptor();
    let lease = store.lease().unwrap();
    image(&["sbom"]).put(&lease);
    let of_app = about("r.test/a", &app, "");
    list(&store, &of_app, std::slice::from_ref(&sbom));
    let signed = about("r.test/a", &app, ".sig");
    image(&["signature"]).store(&store, &signed);
    let of_sbom = about("r.test/a", &sbom, "");
    list(&store, &of_sbom, &[image(&["signature"]).descriptor()]);
    // Another repository's, another image's, and what has no such name.
    let elsewhere = about("r.test/b", &app, "");
    list(&store, &elsewhere, std::slice::from_ref(&sbom));
    let other = image(&["other"]).store(&store, "r.test/a:2");
    let of_other = about("r.test/a", &other, ".att");
    image(&["attestation"]).store(&store, &of_other);
    let all = [&of_app[..], &signed, &of_sbom];
    check(&store, &named("r.test/a:1", app.clone()), &all);
    check(&store, &named("r.test/a:2", other), &[&of_other]);
    check(&store, &named("r.test/c:1", app.clone()), &[]);
    check(&store, &named("", app), &[&all[..], &[&elsewhere]].concat());
}

#[test]
fn an_index_is_asked_for_with_all_that_it_lists_and_so_is_one_that_an_image_was_chosen_from() {
    let (_dir, store) = store();
    let inner = image(&["inner"]).store(&store, "r.test/x:1");
    list(&store, "r.test/a:1", std::slice::from_ref(&inner));
    let of_inner = about("r.test/a", &inner, "");
    list(&store, &of_inner, &[]);
    let root = Descriptor::of(media_type::OCI_INDEX, &index(std::slice::from_ref(&inner)));
    check(&store, &named("r.test/a:1", root.clone()), &[&of_inner]);
    let of_root = about("r.test/x", &root, "");
    list(&store, &of_root, &[]);
    check(&store, &named("r.test/x:1", inner.clone()), &[]);
    check(&store, &named("r.test/x:1", inner).chosen_from(root.digest), &[&of_root]);
}
