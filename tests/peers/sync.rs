//! `remote copy --tags` beside `skopeo sync`: requests and bytes for fifty tags, cold and warm, counted at the registries.

use kit::peers::{peer, prepare};
use kit::{Image, Layer, Registry, Sandbox};

const N_TAGS: usize = 50;

/// What a run has asked of the source and of the target.
#[derive(Clone, Copy, Debug)]
struct Cost {
    requests: usize,
    bytes: u64,
}

fn cost(registries: &[&Registry]) -> Cost {
    let requests = registries.iter().map(|it| it.n_requests("", "")).sum();
    let bytes = registries.iter().flat_map(|it| it.requests()).map(|it| it.sent + it.received);
    let cost = Cost { requests, bytes: bytes.sum() };
    for registry in registries {
        registry.forget();
    }
    cost
}

/// An image of four layers, three of which all tags share.
fn image(n: usize) -> Image {
    let layers = (0..3).map(|n| Layer::new().file("shared", vec![n; 100_000]));
    let image = layers.fold(Image::new(), Image::layer);
    image.layer(Layer::new().file("own", format!("{n}")))
}

#[test]
fn fifty_tags_take_fewer_requests_and_no_more_bytes_than_with_skopeo() {
    let Some(skopeo) = peer("skopeo") else { return };
    let source = Registry::start();
    for n in 0..N_TAGS {
        source.add(&format!("ns/app:1.{n}"), image(n));
    }
    let (ours, theirs) = (Registry::start(), Registry::start());
    let sandbox = Sandbox::new();
    prepare(&sandbox, &[&source.host(), &ours.host(), &theirs.host()]);
    let copy = || {
        let words = [format!("{}/ns/app", source.host()), format!("{}/ns/app", ours.host())];
        sandbox.command("remote").arg("copy").args(words).args(["--tags", "*"]).run().success();
        cost(&[&source, &ours])
    };
    let sync = || {
        let words = ["sync", "--src", "docker", "--dest", "docker", "--all"];
        let names = [format!("{}/ns/app", source.host()), format!("{}/ns", theirs.host())];
        skopeo.program(&sandbox).args(words).args(names).run().success();
        cost(&[&source, &theirs])
    };
    let (cold, warm) = (copy(), copy());
    let (their_cold, their_warm) = (sync(), sync());
    assert_eq!((ours.tags("ns/app").len(), theirs.tags("ns/app").len()), (N_TAGS, N_TAGS));
    let told =
        format!("cold {cold:?}, skopeo {their_cold:?}; warm {warm:?}, skopeo {their_warm:?}");
    assert!(warm.requests <= 2 * N_TAGS + 2, "{told}");
    assert!(warm.requests <= their_warm.requests && cold.requests < their_cold.requests, "{told}");
    assert!(cold.bytes <= their_cold.bytes && warm.bytes <= their_warm.bytes, "{told}");
    // docs/registry.md has these figures.
    let page = include_str!("../../docs/registry.md");
    for (what, cost) in [("cold", cold), ("warm", warm)] {
        let row = format!("| {N_TAGS} tags, {what} | {} |", cost.requests);
        assert!(page.contains(&row), "{row} is not in docs/registry.md: {told}");
    }
}
