//! `rebase`: an image's own layers on another base, which is what a build on that base would have made.

use std::fs;

use kit::image::random::Random;
use kit::pipeline::sh;
use kit::{Codec, Image, Index, Layer, Named, Sandbox, check};
use serde_json::{Value, json};

use crate::fixtures::assert_one_line;

const OLD: &str = "docker.io/library/base:1";
const NEW: &str = "docker.io/library/base:2";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";
const BASE_NAME: &str = "org.opencontainers.image.base.name";

fn file(path: &str, content: &str) -> Layer {
    Layer::new().file(path, content)
}

/// The base that images are on.
fn old() -> Image {
    Image::new()
        .layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/os", "1\n"))
        .layer(file("gone", "x"))
        .env(&["PATH=/java5/bin:/bin", "JAVA_HOME=/java5", "A=1"])
        .cmd(&["sh"])
        .set_config("/config/Labels", json!({"version": "1", "l": "1"}))
        .set_config("/config/ExposedPorts", json!({"80/tcp": {}}))
        .set_config("/config/Volumes", json!({"/data": {}}))
        .set_config("/config/User", json!("base"))
        .set_config("/x.unknown", json!({"b": 1, "a": [2]}))
        .annotation("note", "old")
}

/// The same base with updates. It has another number of layers, and steps that made none.
fn new() -> Image {
    Image::new()
        .layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/os", "2\n"))
        .layer(file("gone", "y"))
        .layer(file("etc/update", "z"))
        .env(&["PATH=/java6/bin:/bin", "JAVA_HOME=/java6", "A=1", "NEW=1"])
        .cmd(&["bash"])
        .set_config("/config/Labels", json!({"version": "2", "l": "1"}))
        .set_config("/config/ExposedPorts", json!({"80/tcp": {}, "443/tcp": {}}))
        .set_config("/config/Volumes", json!({"/data": {}}))
        .set_config("/config/User", json!("base"))
        .set_config("/x.unknown", json!({"b": 2}))
        .annotation("note", "new")
        .annotation("more", "new")
        .set_config(
            "/history",
            json!([{"created_by": "1"}, {"created_by": "ENV", "empty_layer": true}, {"created_by": "2"},
                {"created_by": "3"}, {"created_by": "CMD", "empty_layer": true}]),
        )
}

/// An image on a base, as a tool makes it that knows nothing of annotations.
fn app_on(base: Image) -> Image {
    base.layer(file("app", "1\n")).set_config("/config/Entrypoint", json!(["/app"]))
}

fn sandbox(images: &[(&str, Image)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let named: Vec<_> =
        images.iter().map(|(name, image)| Named::new(name, image.clone())).collect();
    sandbox.load(&named);
    sandbox.write("layer.tar", Layer::new().file("app", "1\n").whiteout("gone").tar());
    sandbox
}

fn json_of(sandbox: &Sandbox, what: &str, image: &str) -> Value {
    let output = sandbox.command("inspect").args([what, image]).run();
    serde_json::from_slice(&output.success().stdout).unwrap()
}

/// What a layer's entry of a manifest is named by.
fn digests(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

/// Instructions that leave no value as the old base has it.
const INSTRUCTIONS: [&str; 12] = [
    "ENV A=2",
    "ENV OWN=1",
    "ENV PATH=/app/bin:$PATH:/last",
    "LABEL l=2 own=1",
    "EXPOSE 81 443",
    "VOLUME /v",
    "USER app",
    "WORKDIR /srv",
    "ENTRYPOINT [\"e\"]",
    "CMD [\"c\"]",
    "STOPSIGNAL 9",
    "HEALTHCHECK CMD true",
];

// The whole of what the command is for: whatever a build has done on the old base, it is done to the new one.
#[test]
fn a_rebased_image_is_the_one_that_the_same_commit_makes_on_the_new_base() {
    let mut random = Random::new(13);
    let sandbox = sandbox(&[(OLD, old()), (NEW, new())]);
    for _ in 0..12 {
        let chosen = INSTRUCTIONS.iter().filter(|_| random.below(3) == 0);
        let chosen: Vec<_> = chosen.map(|it| format!("-c '{it}'")).collect();
        let mut changes = chosen.join(" ");
        if random.below(2) == 0 {
            changes += " --unset Env.JAVA_HOME --unset Labels.version --annotation own=1 -a me";
        }
        let script = |base: u8| {
            format!(
                "commit -q -t app --base base:{base} -m why {changes} layer.tar > /dev/null \
                 && commit -q -t app --no-layer --base app -c 'ENV LAST=1'"
            )
        };
        let expected = sh(&sandbox, &script(2)).success().out();
        let script = format!("{} > /dev/null && rebase -q app --onto base:2 -t app", script(1));
        let found = sh(&sandbox, &script).success().out();
        if found != expected {
            let [found, expected] = [found, expected].map(|digest| {
                json_of(&sandbox, "--config", digest.trim_end()).to_string()
                    + &json_of(&sandbox, "--raw", digest.trim_end()).to_string()
            });
            assert_eq!(found, expected, "{changes}");
        }
    }
    check::layout(sandbox.store()).unwrap();
}

// ggcr#730: the environment was the old base's; ggcr#733, imgutil#269: steps without a layer; pack#1750: the name of the base.
#[test]
fn own_layers_stay_and_all_else_is_the_new_base_s() {
    let sandbox = sandbox(&[(OLD, old()), (NEW, new())]);
    let script = "commit -q -t app --base base:1 -c 'ENV A=2 PATH=/app:$PATH' -c 'ENTRYPOINT [\"/app\"]' layer.tar \
        && commit -q -t app --no-layer --base app -c 'LABEL own=1'";
    sh(&sandbox, script).success();
    let output = sh(&sandbox, "rebase app --onto base:2 -t app:2 -t app:3 --annotation a=b");
    let text = format!(
        "rebased app:2, app:3: 3 layers of base:2 instead of 2 of base:1 ({}), and 1 of its own\n",
        &old().digest()[7..19]
    );
    assert!(output.success().text().ends_with(&text), "{}", output.text());
    let report = check::layout(sandbox.store()).unwrap();
    assert!(report.digests.contains(&output.out().trim_end().to_owned()));
    assert!(
        report.names.ends_with(&[
            "docker.io/library/app:2".to_owned(),
            "docker.io/library/app:3".to_owned()
        ])
    );
    let (before, after) = (json_of(&sandbox, "--raw", "app"), json_of(&sandbox, "--raw", "app:2"));
    let mut layers = digests(&json_of(&sandbox, "--raw", "base:2"));
    layers.push(digests(&before)[2].clone());
    assert_eq!(digests(&after), layers);
    let annotations = json!({"a": "b", "more": "new", "note": "new", BASE_NAME: NEW, BASE_DIGEST: new().digest()});
    assert_eq!(after["annotations"], annotations);
    let config = json_of(&sandbox, "--config", "app:2");
    let env = json!(["PATH=/app:/java6/bin:/bin", "JAVA_HOME=/java6", "A=2", "NEW=1"]);
    assert_eq!(config["config"]["Env"], env);
    assert_eq!(
        (&config["config"]["Cmd"], &config["config"]["User"]),
        (&Value::Null, &json!("base"))
    );
    assert_eq!(config["config"]["Labels"], json!({"version": "2", "l": "1", "own": "1"}));
    assert_eq!(config["x.unknown"], json!({"b": 2}));
    let history = config["history"].as_array().unwrap();
    let steps: Vec<_> = history.iter().map(|step| step["created_by"].as_str().unwrap()).collect();
    assert_eq!(steps[..5], ["1", "ENV", "2", "3", "CMD"]);
    assert!(
        steps[5].starts_with("commit -c 'ENV A=2") && steps[6].contains("LABEL own=1"),
        "{steps:?}"
    );
    assert_eq!(history[6]["empty_layer"], true);
    // It is an image like any other, and there and back again it is the one that it was.
    sh(&sandbox, "unpack -q --from app:2 root && [ -e root/etc/update ] && [ ! -e root/gone ]")
        .success();
    let back = sh(
        &sandbox,
        "rebase -q app:2 --onto base:1 -t back --annotation a=b && inspect --config back",
    );
    let (digest, config) =
        back.success().out().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert_eq!(
        config.trim_end(),
        sh(&sandbox, "inspect --config app").out().trim_end(),
        "{digest}"
    );
}

#[test]
fn what_would_change_is_printed_as_changes_does_and_nothing_is_written() {
    let sandbox = sandbox(&[(OLD, old()), (NEW, new())]);
    sh(&sandbox, "commit -q -t app --base base:1 -c 'ENV A=2' layer.tar").success();
    let before =
        sh(&sandbox, "find \"$STRATA_STORE\" -type f | sort | xargs sha256sum").success().out();
    let output = sh(&sandbox, "rebase --dry-run app --onto base:2");
    let expected = "config C Cmd  [\"sh\"] -> [\"bash\"]\n\
        config C Env.JAVA_HOME  \"/java5\" -> \"/java6\"\nconfig A Env.NEW  \"1\"\n\
        config C Env.PATH  \"/java5/bin:/bin\" -> \"/java6/bin:/bin\"\nconfig A ExposedPorts.443/tcp  {}\n\
        config C Labels.version  \"1\" -> \"2\"\n";
    assert_eq!(output.success().out(), expected);
    let after =
        sh(&sandbox, "find \"$STRATA_STORE\" -type f | sort | xargs sha256sum").success().out();
    assert_eq!(after, before);
    let digest = sh(&sandbox, "rebase -q app --onto base:2 -t app:2").success().out();
    assert!(
        output.text().contains(&format!("would be {}: 3 layers of base:2", digest.trim_end())),
        "{}",
        output.text()
    );
    let changes = sh(&sandbox, "set +o pipefail; changes app app:2 | grep ^config");
    assert_eq!(changes.success().out(), expected);
}

#[test]
fn an_image_that_is_on_the_new_base_already_stays_as_it_is() {
    let sandbox = sandbox(&[(OLD, old()), (NEW, new())]);
    let digest = sh(&sandbox, "commit -q -t app --base base:2 layer.tar").success().out();
    let output = sh(&sandbox, "rebase app --onto base:2 -t app:2");
    assert_eq!(output.success().out(), digest);
    let text = "app is on base:2 already: app:2 is the same image\n";
    assert!(output.text().ends_with(text), "{}", output.text());
    assert_eq!(sh(&sandbox, "rebase -q --dry-run app --onto base:2").success().out(), "");
    // To be rebased with a base that is said is what makes an image say it.
    let script = "images rm base:1 -q; commit -q -t plain --no-layer --base app --unset Annotations \
        && rebase -q plain --from base:2 --onto base:2 -t noted";
    sh(&sandbox, script).success();
    assert_eq!(json_of(&sandbox, "--raw", "noted")["annotations"][BASE_DIGEST], new().digest());
}

// The base of an image that was pulled as zstd is the same as the one that was pulled as gzip.
#[test]
fn the_old_base_is_told_by_what_its_layers_decompress_to() {
    let zstd = Image::new()
        .codec(Codec::ZSTD)
        .layer(Layer::new().dir("./", 0o755).dir("etc", 0o755).file("etc/os", "1\n"))
        .layer(file("gone", "x"))
        .layer(file("app", "1"));
    let sandbox = sandbox(&[(OLD, old()), (NEW, new()), ("docker.io/library/app:1", zstd.clone())]);
    sh(&sandbox, "rebase -q app:1 --from base:1 --onto base:2 -t app:2 && images verify app:2")
        .success();
    let manifest = json_of(&sandbox, "--raw", "app:2");
    assert_eq!(manifest["layers"][3], zstd.layer_blobs()[2].descriptor());
    assert_eq!(digests(&manifest)[..3], digests(&json_of(&sandbox, "--raw", "base:2")));
}

// ggcr#2101: layers of both families in one manifest, which podman refuses.
#[test]
fn media_types_are_of_one_family() {
    let docker = |image: &dyn Fn(Image) -> Image| image(Image::new().docker());
    let base = |from: Image| from.layer(file("etc/os", "1"));
    let update = |from: Image| from.layer(file("etc/os", "2")).layer(file("etc/more", ""));
    let app = |from: Image| base(from).layer(file("app", "1"));
    let named = |kind: &str| format!("docker.io/library/{kind}");
    let images = [
        (named("base:old"), base(Image::new())),
        (named("new:oci"), update(Image::new())),
        (named("new:docker"), docker(&update)),
        (named("app:oci"), app(Image::new())),
        (named("app:docker"), docker(&app)),
        (
            named("app:mixed"),
            docker(&app)
                .set_manifest("/layers/1/mediaType", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ),
    ];
    let images: Vec<_> =
        images.iter().map(|(name, image)| (name.as_str(), image.clone())).collect();
    let sandbox = sandbox(&images);
    for (app, new, options, family, says_base) in [
        ("oci", "oci", "", "oci", true),
        ("oci", "docker", "", "oci", true),
        ("docker", "oci", "", "oci", true),
        ("docker", "docker", "", "docker", false),
        ("docker", "docker", "--oci --annotation a=b", "oci", true),
        ("mixed", "docker", "", "oci", true),
    ] {
        let script = format!(
            "rebase -q app:{app} --from base:old --onto new:{new} {options} -t made && images verify -q made"
        );
        sh(&sandbox, &script).success();
        let manifest = json_of(&sandbox, "--raw", "made");
        let parts =
            manifest["layers"].as_array().unwrap().iter().chain([&manifest, &manifest["config"]]);
        for part in parts {
            let media_type = part["mediaType"].as_str().unwrap();
            assert_eq!(
                media_type.split('.').nth(1),
                Some(family),
                "{app} {new} {options}: {manifest}"
            );
        }
        assert_eq!(manifest["annotations"][BASE_DIGEST].is_string(), says_base, "{app} {new}");
    }
    let output = sh(
        &sandbox,
        "rebase -q app:docker --from base:old --onto new:docker -t made --annotation a=b",
    );
    assert!(output.fails_with(2).text().contains("hint: add --oci"), "{}", output.text());
}

#[test]
fn of_an_index_one_image_is_put_on_the_new_base_s_of_its_platform() {
    let base = |content: &str, platform: &str| {
        Image::new().platform(platform).layer(file(platform, content))
    };
    let index = |content: &str| {
        Index::new().image(&base(content, "linux/amd64")).image(&base(content, "linux/arm64/v8"))
    };
    let app = |platform: &str| base("1", platform).layer(file("app", platform));
    let apps = Index::new().image(&app("linux/amd64")).image(&app("linux/arm64/v8"));
    let sandbox = Sandbox::new();
    sandbox.load(&[
        Named::new(OLD, index("1")),
        Named::new(NEW, index("2")),
        Named::new("docker.io/library/app:1", apps),
    ]);
    for platform in ["linux/amd64", "linux/arm64/v8"] {
        let script =
            format!("rebase -q app:1 --platform {platform} --from base:1 --onto base:2 -t app:2");
        sh(&sandbox, &script).success();
        let manifest = json_of(&sandbox, "--raw", "app:2");
        let layers = [&base("2", platform), &app(platform)]
            .map(|image| image.layer_blobs().last().unwrap().descriptor());
        assert_eq!(manifest["layers"], json!(layers));
        assert_eq!(manifest["annotations"][BASE_DIGEST], base("2", platform).digest());
    }
    let output =
        sh(&sandbox, "rebase -q app:1 --platform linux/s390x --from base:1 --onto base:2 -t app:2");
    assert_one_line(output.fails_with(3), "rebase");
}

// ggcr#2119: of an index one image was rebased, and the others were lost.
#[test]
fn of_an_index_all_images_are_put_on_the_new_base_s_of_their_platforms() {
    let base = |content: &str, platform: &str| {
        Image::new().platform(platform).layer(file(platform, content))
    };
    let platforms = ["linux/amd64", "linux/arm64/v8"];
    let index = |content: &str| {
        platforms.iter().fold(Index::new(), |index, it| index.image(&base(content, it)))
    };
    let app = |platform: &str| base("1", platform).layer(file("app", platform));
    let apps = platforms.iter().fold(Index::new(), |index, it| index.image(&app(it)));
    let apps = apps.attestation(&app(platforms[0])).set("/annotations", json!({"note": "kept"}));
    let sandbox = Sandbox::new();
    sandbox.load(&[
        Named::new(OLD, index("1")),
        Named::new(NEW, index("2")),
        Named::new("docker.io/library/only:2", base("2", platforms[0])),
        Named::new("docker.io/library/one:1", app(platforms[0])),
        Named::new("docker.io/library/app:1", apps),
    ]);
    let rebase = "rebase --all-platforms --from base:1 -t app:2";
    let output = sh(&sandbox, &format!("{rebase} app:1 --onto base:2"));
    let digest = output.success().out();
    assert!(output.stderr.contains("attestations"), "{}", output.text());
    assert!(output.stderr.ends_with("rebased app:2: 2 platforms\n"), "{}", output.text());
    assert_eq!(sh(&sandbox, "images -q app:2").out(), digest);
    let made: Value = serde_json::from_slice(
        &fs::read(sandbox.store().join("blobs").join(digest.trim().replace(':', "/"))).unwrap(),
    )
    .unwrap();
    assert_eq!(made["annotations"], json!({"note": "kept"}));
    assert_eq!(made["manifests"].as_array().unwrap().len(), 2);
    for (platform, entry) in platforms.iter().zip(made["manifests"].as_array().unwrap()) {
        // The same as one by one.
        let one =
            format!("rebase -q app:1 --platform {platform} --from base:1 --onto base:2 -t one");
        assert_eq!(format!("{}\n", entry["digest"].as_str().unwrap()), sh(&sandbox, &one).out());
        let shown: Vec<_> = ["os", "architecture", "variant"]
            .iter()
            .filter_map(|key| entry["platform"][key].as_str())
            .collect();
        assert_eq!(shown.join("/"), *platform);
    }
    sh(&sandbox, "images verify app:2").success();
    // Nothing is named unless all can be.
    let refused = sh(&sandbox, &format!("{rebase} -t no app:1 --onto only:2"));
    assert!(refused.fails_with(3).stderr.contains("linux/arm64/v8"), "{}", refused.text());
    assert_eq!(sh(&sandbox, "images -q no").code(), 3);
    let refused = sh(&sandbox, &format!("{rebase} one:1 --onto base:2"));
    assert_one_line(refused.fails_with(2), "rebase");
}

#[test]
fn what_cannot_be_rebased_is_told_with_what_differs() {
    let squashed = app_on(Image::new().layer(file("etc/os", "all")));
    let arm = new().platform("linux/arm64");
    let variant = new().platform("linux/amd64/v3");
    let stolen = app_on(new()).annotation(BASE_DIGEST, &old().digest()).annotation(BASE_NAME, OLD);
    let lost = app_on(old())
        .annotation(BASE_DIGEST, &format!("sha256:{}", "0".repeat(64)))
        .annotation(BASE_NAME, "debian:12");
    let odd = app_on(old()).annotation(BASE_DIGEST, "x").annotation(BASE_NAME, "debian:12");
    let sandbox = sandbox(&[
        (OLD, old()),
        (NEW, new()),
        ("docker.io/library/app:1", app_on(old())),
        ("docker.io/library/app:more", app_on(old()).layer(file("x", ""))),
        ("docker.io/library/squashed:1", squashed.clone()),
        ("docker.io/library/arm:1", arm),
        ("docker.io/library/variant:1", variant),
        ("docker.io/library/stolen:1", stolen),
        ("docker.io/library/lost:1", lost),
        ("docker.io/library/odd:1", odd),
        ("docker.io/library/malformed:1", app_on(old()).set_config("/config/Env", json!("A=1"))),
    ]);
    let [os, all] = [&old(), &squashed].map(|image| image.diff_ids()[0].clone());
    let zeros = "0".repeat(64);
    let check = |args: &str, code: i32, text: &str| {
        let output = sh(&sandbox, &format!("rebase {args} -t made"));
        assert_eq!(output.fails_with(code).stderr, format!("rebase: {text}\n"), "{args}");
        sh(&sandbox, "images -q made").fails_with(3);
    };
    check(
        "app:1 --onto base:2",
        2,
        "app:1 doesn't say which base it is on\nhint: --from IMAGE says it",
    );
    check(
        "odd:1 --onto base:2",
        2,
        "odd:1 doesn't say which base it is on\nhint: by its name it is debian:12: --from says which",
    );
    check(
        "lost:1 --onto base:2",
        3,
        &format!(
            "lost:1: the base that it is on is not in the store: debian:12 (000000000000)\n\
         hint: pull --no-stream debian@sha256:{zeros}; its layers are here, so that costs little\n\
         hint: or --from IMAGE, with an image of the same layers"
        ),
    );
    check(
        "squashed:1 --from base:1 --onto base:2",
        2,
        &format!(
            "squashed:1 is not on base:1: layer 1 is {all}, and not {os}\nhint: inspect --layers shows the diff ids of both"
        ),
    );
    check(
        "base:1 --from app:1 --onto base:2",
        2,
        "base:1 is not on app:1: it has 2 layers, and app:1 has 3\nhint: inspect --layers shows the diff ids of both",
    );
    check(
        "stolen:1 --onto base:2",
        1,
        &format!(
            "stolen:1 is not on base:1 ({}): layer 1 is {}, and not {os}\nhint: it is on base:2",
            &old().digest()[7..19],
            new().diff_ids()[0]
        ),
    );
    check(
        "app:1 --from base:1 --onto arm:1",
        3,
        "arm:1 is for linux/arm64, and app:1 for linux/amd64",
    );
    check(
        "app:1 --from base:1 --onto variant:1",
        3,
        "variant:1 is for linux/amd64/v3, and app:1 for linux/amd64",
    );
    check(
        "variant:1 --from scratch --onto base:2",
        3,
        "base:2 is for linux/amd64, and variant:1 for linux/amd64/v3",
    );
    check("app:1 --from base:1 --onto app:more", 2, "app:more has all layers of app:1 already");
    check("app:1 --from base:1 --onto scratch", 2, "--onto scratch: a base is an image");
    check("none --onto base:2", 3, "none: not in the store\nhint: pull none");
    check(
        "./x --onto base:2",
        2,
        "./x: only images of the store can be rebased\nhint: load brings an archive or a layout into the store",
    );
    sh(&sandbox, "rebase app:1 --from base:1 --onto base:2").fails_with(2);
    let output = sh(&sandbox, "rebase malformed:1 --from base:1 --onto base:2 -t made");
    let text = "rebase: malformed:1: malformed config sha256:";
    assert!(output.fails_with(4).stderr.starts_with(text), "{}", output.stderr);
    sh(&sandbox, &format!("rebase app:1 --from base:1 --onto base:2 -t a@sha256:{zeros}"))
        .fails_with(2);
    let output = sh(&sandbox, "rebase --store nowhere app:1 --onto base:2 -t made");
    assert!(output.fails_with(3).text().contains("hint: --store"), "{}", output.text());
    assert!(!sandbox.path("nowhere").exists());
}

#[test]
fn from_scratch_all_layers_are_the_image_s_own() {
    let sandbox = sandbox(&[(OLD, app_on(Image::new())), (NEW, new())]);
    sh(
        &sandbox,
        "rebase -q base:1 --from scratch --onto base:2 -t made && unpack -q --from made root",
    )
    .success();
    assert_eq!(sandbox.read("root/app"), b"1\n");
    let config = json_of(&sandbox, "--config", "made");
    assert_eq!(
        (&config["config"]["Entrypoint"], &config["config"]["Cmd"]),
        (&json!(["/app"]), &Value::Null)
    );
    assert_eq!(
        config["config"]["Env"],
        json!(["PATH=/java6/bin:/bin", "JAVA_HOME=/java6", "A=1", "NEW=1"])
    );
}

#[test]
fn an_annotation_of_the_base_that_was_taken_out_stays_out() {
    const CREATED: &str = "org.opencontainers.image.created";
    // A tool has passed the base's annotations on, all but one.
    let app = app_on(old());
    let old = old().annotation("dropped", "old");
    let new = new()
        .annotation("dropped", "new")
        .annotation(BASE_NAME, "docker.io/library/below:1")
        .annotation(BASE_DIGEST, &old.digest())
        .annotation(CREATED, "2020-01-01T00:00:00Z");
    let app = app.annotation(BASE_DIGEST, &old.digest()).annotation(BASE_NAME, OLD);
    let sandbox = sandbox(&[(OLD, old), (NEW, new.clone()), ("docker.io/library/app:1", app)]);
    sh(&sandbox, "rebase -q app:1 --onto base:2 -t app:2").success();
    let annotations =
        json!({"more": "new", "note": "new", BASE_NAME: NEW, BASE_DIGEST: new.digest()});
    assert_eq!(json_of(&sandbox, "--raw", "app:2")["annotations"], annotations);
}

// ggcr#659: some tools say in labels what an image is on.
#[test]
fn labels_say_what_an_image_is_on_where_annotations_do_not() {
    let app = app_on(old())
        .set_config("/config/Labels/org.opencontainers.image.base.digest", old().digest())
        .set_config("/config/Labels/org.opencontainers.image.base.name", OLD);
    let sandbox = sandbox(&[(OLD, old()), (NEW, new()), ("docker.io/library/app:1", app)]);
    sh(&sandbox, "rebase -q app:1 --onto base:2 -t app:2").success();
    let labels = json!({"version": "2", "l": "1", BASE_DIGEST: new().digest(), BASE_NAME: NEW});
    assert_eq!(json_of(&sandbox, "--config", "app:2")["config"]["Labels"], labels);
}

#[test]
fn what_both_have_changed_is_told() {
    let app = app_on(old()).env(&["PATH=/own", "A=2", "JAVA_HOME=/own"]).user("app");
    let base = new().env(&["PATH=/java6/bin:/bin", "A=1", "JAVA_HOME=/java6"]).user("other");
    let sandbox = sandbox(&[(OLD, old()), (NEW, base), ("docker.io/library/app:1", app)]);
    let output = sh(&sandbox, "rebase app:1 --from base:1 --onto base:2 -t app:2");
    for text in [
        "rebase: warning: Env.JAVA_HOME, User: stays as app:1 has it, although base:2 has changed it too\n",
        "rebase: warning: Env.PATH: stays as app:1 has it, without /java6/bin, /bin of base:2\n",
    ] {
        assert!(output.success().text().contains(text), "{}", output.text());
    }
    let env = json!(["PATH=/own", "A=2", "JAVA_HOME=/own"]);
    assert_eq!(json_of(&sandbox, "--config", "app:2")["config"]["Env"], env);
}

// buildah#371: docker refuses an image whose history tells of more layers than there are; jib#534: Artifactory, of fewer.
#[test]
fn the_history_tells_of_as_many_layers_as_there_are() {
    let step = |name: &str| json!({"created_by": name});
    let few = app_on(old()).set_config("/history", json!([step("a")]));
    let many = app_on(old())
        .set_config("/history", json!([step("a"), step("b"), step("c"), step("d"), step("e")]));
    let none = app_on(old()).drop_config("/history");
    let long = new().set_config("/history", json!([step("1"), step("2"), step("3"), step("4")]));
    let bare = new().drop_config("/history").drop_config("/config/Env").drop_config("/created");
    let sandbox = sandbox(&[
        (OLD, old()),
        ("docker.io/library/few:1", few),
        ("docker.io/library/many:1", many),
        ("docker.io/library/none:1", none),
        ("docker.io/library/base:long", long),
        ("docker.io/library/base:bare", bare),
    ]);
    for app in ["few:1", "many:1", "none:1"] {
        for base in ["base:long", "base:bare"] {
            sh(&sandbox, &format!("rebase -q {app} --from base:1 --onto {base} -t made")).success();
            let config = json_of(&sandbox, "--config", "made");
            let history = config["history"].as_array().unwrap();
            let n_made = history.iter().filter(|step| step["empty_layer"] != true).count();
            assert_eq!(n_made, 4, "{app} {base}: {history:?}");
        }
    }
}

// ggcr#683: Windows' base layers are foreign.
#[test]
fn an_image_for_windows_is_rebased_with_its_foreign_layers() {
    let base = |os: &str| {
        Image::new()
            .platform("windows/amd64")
            .layer(file(os, ""))
            .set_config("/os.version", os)
            .env(&["Path=C:\\"])
            .set_manifest(
                "/layers/0/mediaType",
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            )
    };
    let app = base("10.0.1").layer(file("app", "")).set_config("/config/ArgsEscaped", true);
    let sandbox =
        sandbox(&[(OLD, base("10.0.1")), (NEW, base("10.0.2")), ("docker.io/library/app:1", app)]);
    let script = "rebase -q app:1 --platform windows/amd64 --from base:1 --onto base:2 -t app:2";
    sh(&sandbox, script).success();
    let config = json_of(&sandbox, "--config", "app:2");
    assert_eq!(
        (&config["os.version"], &config["config"]["ArgsEscaped"]),
        (&json!("10.0.2"), &json!(true))
    );
}

#[test]
fn a_link_to_a_file_that_the_new_base_lacks_is_refused_if_the_store_knows_the_layers() {
    let app = old().layer(Layer::new().hardlink("link", "gone"));
    let lacking = Image::new().layer(Layer::new().dir("./", 0o755));
    let sandbox = sandbox(&[(OLD, old()), (NEW, lacking), ("docker.io/library/app:1", app)]);
    sh(&sandbox, "images verify").success();
    let rebase = "rebase -q app:1 --from base:1 --onto base:2 -t made";
    let output = sh(&sandbox, rebase);
    let text = "rebase: layer 3 of app:1 can't be on base:2: entry link: a hard link to what isn't there\n";
    assert_eq!(output.fails_with(1).stderr, text);
    sh(&sandbox, &format!("rm -r \"$STRATA_STORE/strata/listing\"; {rebase}")).success();
}

#[test]
fn a_hundred_and_twenty_seven_layers_are_rebased() {
    let many = |image: Image, n: usize| {
        (0..n).fold(image, |image, n| image.layer(file(&format!("f{n}"), "x")))
    };
    let sandbox = sandbox(&[
        (OLD, many(Image::new(), 60)),
        (NEW, many(Image::new().layer(file("new", "")), 59)),
        ("docker.io/library/app:1", many(many(Image::new(), 60), 67)),
    ]);
    sh(
        &sandbox,
        "rebase -q app:1 --from base:1 --onto base:2 -t app:2 && unpack -q --from app:2 root",
    )
    .success();
    assert_eq!(json_of(&sandbox, "--raw", "app:2")["layers"].as_array().unwrap().len(), 127);
}

#[test]
fn no_layer_is_read_and_a_store_that_cannot_be_written_serves_a_dry_run() {
    let sandbox =
        sandbox(&[(OLD, old()), (NEW, new()), ("docker.io/library/app:1", app_on(old()))]);
    // Bytes of the same size that are no layer.
    for blob in app_on(old()).layer_blobs().iter().chain(&new().layer_blobs()) {
        let path = sandbox.store().join("blobs/sha256").join(blob.hex());
        let n = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0; usize::try_from(n).unwrap()]).unwrap();
    }
    sh(&sandbox, "rebase -q app:1 --from base:1 --onto base:2 -t app:2").success();
    let output = sh(
        &sandbox,
        "chmod -R a-w \"$STRATA_STORE\"; rebase -q --dry-run app:1 --from base:1 --onto base:2; s=$?; chmod -R u+w \"$STRATA_STORE\"; exit $s",
    );
    assert!(output.success().out().contains("config C Env.PATH"), "{}", output.text());
}
