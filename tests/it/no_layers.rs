//! What an image is and where it goes, without its layers: `pull --no-layers`.

use kit::image::random::random;
use kit::pipeline::sh;
use kit::{Image, Index, Layer, Registry, Sandbox};
use serde_json::Value;

/// Three layers, one of them large.
fn image() -> Image {
    let noise = random(1, 1, 10);
    let large = Layer::new().file("large", vec![7; 3 << 20]).tar();
    noise.layer(large).layer(Layer::new().file("small", "x")).env(&["A=1"]).cmd(&["/run"])
}

fn out(sandbox: &Sandbox, script: &str) -> String {
    sh(sandbox, script).success().out()
}

// skopeo inspect and crane config download no layer: podman#7064, ggcr#1218 ask for that here.
#[test]
fn an_image_is_inspected_without_its_layers() {
    let registry = Registry::start();
    registry.add("app:1", image());
    let sandbox = Sandbox::new();
    let name = registry.name("app:1");
    let pull = format!("pull --no-layers {name}");
    let forms = ["", "--config", "--raw", "--history", "--history --json"];
    let thin: Vec<_> =
        forms.map(|form| out(&sandbox, &format!("{pull} | inspect {form} -"))).into();
    let layers = out(&sandbox, &format!("{pull} | inspect --layers -"));
    let json: Value =
        serde_json::from_str(&out(&sandbox, &format!("{pull} | inspect --layers --json -")))
            .unwrap();
    assert!(registry.bytes_sent("/blobs/") < 64 << 10, "{}", registry.log());
    assert!(!sandbox.store().exists());
    // All is as it is with the layers, but for what only they tell.
    sh(&sandbox, &format!("pull -q --no-store {name} > whole.tar")).success();
    for (form, thin) in forms.iter().zip(thin) {
        assert_eq!(thin, out(&sandbox, &format!("inspect {form} - < whole.tar")), "{form}");
    }
    let whole: Value =
        serde_json::from_str(&out(&sandbox, "inspect --layers --json - < whole.tar")).unwrap();
    assert_eq!(layers.lines().count(), 4, "{layers}");
    for (thin, whole) in json.as_array().unwrap().iter().zip(whole.as_array().unwrap()) {
        assert_eq!((&thin["digest"], &thin["size"]), (&whole["digest"], &whole["size"]));
        assert_eq!(thin["uncompressedSize"], Value::Null);
        assert!(whole["uncompressedSize"].is_u64());
    }
}

#[test]
fn the_layers_that_are_missing_are_named_where_they_are_needed() {
    let registry = Registry::start();
    registry.add("app:1", image());
    let sandbox = Sandbox::new();
    let pull = format!("pull --no-layers {}", registry.name("app:1"));
    sh(&sandbox, &format!("{pull} | unpack root")).fails_with(3);
    assert!(!sandbox.path("root").exists());
    let output = sh(&sandbox, &format!("{pull} | load"));
    assert!(
        output.fails_with(3).stderr.contains("documents only, and the store lacks"),
        "{}",
        output.text()
    );
    for flags in ["--no-store", "--no-stream"] {
        sh(&sandbox, &format!("{pull} {flags} | cat")).fails_with(2);
    }
    // Its digest is that of the whole.
    let output = sh(&sandbox, &format!("{pull} > thin.tar"));
    let text = output.success().text();
    assert!(text.contains("Digest: ") && !text.contains("Status: "), "{text}");
}

// crane copy, skopeo copy within a registry: no layer passes through this machine.
#[test]
fn an_image_gets_a_name_at_its_registry_without_a_byte_of_its_layers() {
    let registry = Registry::start();
    let digest = registry.add("team/app:1", image());
    let sandbox = Sandbox::new();
    let (from, to) = (registry.name("team/app:1"), registry.name("other/app:2"));
    let pushed = out(&sandbox, &format!("pull -q --no-layers {from} | push -q - {to}"));
    assert_eq!(pushed, format!("{}@{digest}\n", to.strip_suffix(":2").unwrap()));
    assert!(registry.bytes_received("PATCH") + registry.bytes_received("PUT") < 64 << 10);
    sh(&sandbox, &format!("pull -q --no-stream {to}")).success();
    // Another registry has nothing to mount, and says what it lacks.
    let elsewhere = Registry::start();
    let output = sh(
        &sandbox,
        &format!("pull -q --no-layers {from} | push -q --store none - {}", elsewhere.name("app:1")),
    );
    assert!(output.fails_with(3).stderr.contains("lacks what it leaves out"), "{}", output.text());
}

#[test]
fn an_index_comes_whole_or_as_one_of_its_images() {
    let registry = Registry::start();
    let arm = image().platform("linux/arm64");
    let index = registry.add("app:1", Index::new().image(&image()).image(&arm));
    let sandbox = Sandbox::new();
    let name = registry.name("app:1");
    let script = format!(
        "pull -q --no-layers --platform linux/arm64 {name} | inspect --config - | grep -o arm64"
    );
    assert_eq!(out(&sandbox, &script), "arm64\n");
    let there = registry.name("all:1");
    let script = format!("pull -q --no-layers --all-platforms {name} | push -q - {there}");
    assert!(out(&sandbox, &script).ends_with(&format!("@{index}\n")));
}
