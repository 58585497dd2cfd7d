//! The list of images as people ask for it, images that lost their names, and one name for several platforms.

use std::fs;
use std::time::{Duration, SystemTime};

use kit::pipeline::{on_terminal, sh};
use kit::terminal::Size;
use kit::{Image, Index, Layer, Named, Registry, Sandbox};

fn image(content: &str) -> Image {
    Image::new().layer(Layer::new().file("f", content).tar())
}

/// A store with these images.
fn store(images: &[(&str, Image)]) -> Sandbox {
    let sandbox = Sandbox::new();
    let named: Vec<_> = images.iter().map(|(name, it)| Named::new(name, it.clone())).collect();
    sandbox.load(&named);
    sandbox
}

fn out(sandbox: &Sandbox, script: &str) -> String {
    sh(sandbox, script).success().out()
}

/// The digest of an image of the store.
fn digest(sandbox: &Sandbox, name: &str) -> String {
    let json = out(sandbox, &format!("images --json {name}"));
    let (_, rest) = json.split_once(r#""digest":""#).expect("an image");
    rest[..71].to_owned()
}

/// A document of the store, as it is.
fn raw(sandbox: &Sandbox, digest: &str) -> Vec<u8> {
    fs::read(sandbox.store().join("blobs/sha256").join(&digest.trim_end()[7..])).unwrap()
}

// docker images REPOSITORY[:TAG]; podman#8220, docker/cli#1126: names and their parts are looked for.
#[test]
fn a_list_is_of_the_names_that_were_asked_for_in_their_natural_order() {
    let (one, two) = (image("one"), image("two"));
    let sandbox = store(&[
        ("docker.io/library/app:10", one.clone()),
        ("docker.io/library/app:2", two),
        ("ghcr.io/me/app:1", one),
    ]);
    let names = |words: &str| out(&sandbox, &format!("images {words} -0")).replace('\0', " ");
    assert_eq!(names(""), "app:2 app:10 ghcr.io/me/app:1 ");
    assert_eq!(names("app"), "app:2 app:10 ");
    assert_eq!(names("docker.io/library/app:10"), "app:10 ");
    assert_eq!(names("'ghcr.io/*'"), "ghcr.io/me/app:1 ");
    assert_eq!(names("'*app:1*' app:2"), "app:2 app:10 ghcr.io/me/app:1 ");
    assert_eq!(names("'none*'"), "");
    let hex = &digest(&sandbox, "app:2")[7..15];
    assert_eq!(names(hex), "app:2 ");
    // The table and the JSON are of the same images.
    assert_eq!(out(&sandbox, "images app:2").lines().count(), 2);
    assert_eq!(out(&sandbox, "images --json app | grep -c '\"name\"'"), "2\n");
    let output = sh(&sandbox, "images app:3");
    let text = "status: 3\n--- stderr\nimages: app:3: not in the store\nhint: images lists what is there\n";
    assert_eq!(output.fails_with(3).text(), text);
    // What a subcommand is about comes after it.
    assert_eq!(sh(&sandbox, "images -0 app rm").fails_with(3).out(), "");
    assert_eq!(out(&sandbox, "images rm app:2"), "app:2\n");
}

#[test]
fn quiet_lists_each_digest_once() {
    let one = image("one");
    let sandbox = store(&[
        ("h.example/a:1", one.clone()),
        ("h.example/b:1", one),
        ("h.example/c:1", image("two")),
    ]);
    let (one, two) = (digest(&sandbox, "h.example/a:1"), digest(&sandbox, "h.example/c:1"));
    assert_eq!(out(&sandbox, "images -q"), format!("{one}\n{two}\n"));
    assert_eq!(out(&sandbox, "images -q0"), format!("{one}\0{two}\0"));
    assert_eq!(out(&sandbox, "images -q h.example/c"), format!("{two}\n"));
    sh(&sandbox, "images -q | xargs images rm --force && [ -z \"$(images -q)\" ]").success();
}

#[test]
fn a_store_that_was_named_and_is_not_there_is_no_empty_one() {
    let sandbox = Sandbox::new();
    for words in [
        "images",
        "images gc",
        "images verify",
        "save x",
        "inspect x",
        "flatten x",
        "push x h.example/x",
    ] {
        let output = sh(&sandbox, &format!("{words} --store ./typo"));
        let text = output.fails_with(3).text();
        assert!(text.contains(": ./typo: no store is here\nhint: --store or "), "{words}: {text}");
    }
    assert_eq!(out(&sandbox, "images digests --store ./typo"), "");
    assert!(!sandbox.path("typo").exists());
    // The usual one is made when something comes.
    let unset = "unset STRATA_STORE; export XDG_DATA_HOME=$PWD HOME=$PWD;";
    assert_eq!(out(&sandbox, &format!("{unset} [ $(id -u) = 0 ] || images -0")), "");
}

// docker image prune; podman#10350: what is in use by name stays.
#[test]
fn what_lost_its_name_is_pruned_with_its_blobs() {
    let sandbox = store(&[("h.example/a:1", image("old")), ("h.example/b:1", image("other"))]);
    let old = digest(&sandbox, "h.example/a:1");
    sh(&sandbox, "images tag h.example/b:1 h.example/a:1").success();
    let n_blobs = || fs::read_dir(sandbox.store().join("blobs/sha256")).unwrap().count();
    assert_eq!(n_blobs(), 6);
    let would = out(&sandbox, "images prune --dry-run");
    let lines: Vec<_> = would.lines().collect();
    assert_eq!((lines.len(), lines[0]), (5, &old[..]), "{would}");
    assert!(lines[1..4].iter().all(|line| line.starts_with("remove ")), "{would}");
    assert!(lines[4].starts_with("would free ") && lines[4].ends_with(": 3 blobs"), "{would}");
    assert_eq!(n_blobs(), 6);
    let json = out(&sandbox, "images prune --json --dry-run");
    assert!(json.contains(&format!(r#""images":[{{"digest":"{old}"}}]"#)), "{json}");
    let freed = out(&sandbox, "images prune");
    assert_eq!(freed, format!("{old}\n{}\n", lines[4].replace("would free", "freed")));
    assert_eq!(n_blobs(), 3);
    assert_eq!(out(&sandbox, "images -0"), "h.example/a:1\0h.example/b:1\0");
    sh(&sandbox, "images verify").success();
    assert_eq!(out(&sandbox, "images prune -0"), "");
}

#[test]
fn only_what_came_long_ago_is_pruned_if_an_age_is_given() {
    let sandbox = store(&[("h.example/a:1", image("old")), ("h.example/b:1", image("new"))]);
    let (old, new) = (digest(&sandbox, "h.example/a:1"), digest(&sandbox, "h.example/b:1"));
    sandbox
        .load(&[Named::new("h.example/a:1", image("x")), Named::new("h.example/b:1", image("y"))]);
    let blob =
        fs::File::options().write(true).open(sandbox.store().join("blobs/sha256").join(&old[7..]));
    let day = Duration::from_secs(24 * 3600);
    blob.unwrap().set_modified(SystemTime::now() - day * 8).unwrap();
    assert_eq!(out(&sandbox, "images prune --older-than 9d -0"), "");
    assert_eq!(out(&sandbox, "images prune --older-than 1w -0"), format!("{old}\0"));
    assert_eq!(out(&sandbox, "images prune -0"), format!("{new}\0"));
    let output = sh(&sandbox, "images prune --older-than 3");
    assert!(output.fails_with(2).text().contains("90m, 12h, 7d, 4w"), "{}", output.text());
}

// docker manifest create, buildx imagetools create, crane index append: one name for several platforms.
#[test]
fn images_of_several_platforms_get_one_name() {
    let arm = image("arm").platform("linux/arm64");
    let riscv = image("riscv").platform("linux/riscv64");
    let sandbox = store(&[
        ("h.example/app:amd64", image("amd")),
        ("h.example/app:arm64", arm.clone()),
        ("h.example/app:riscv64", riscv),
    ]);
    let digest = out(
        &sandbox,
        "images index -t app:1 --annotation org.example=yes h.example/app:amd64 h.example/app:arm64",
    );
    let digest = digest.trim_end();
    let raw: serde_json::Value = serde_json::from_slice(&raw(&sandbox, digest)).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.oci.image.index.v1+json");
    assert_eq!(raw["annotations"]["org.example"], "yes");
    assert_eq!(raw["manifests"][1]["platform"]["architecture"], "arm64");
    assert_eq!(raw["manifests"][1]["digest"], arm.digest());
    for (platform, content) in [("linux/amd64", "amd"), ("linux/arm64", "arm")] {
        let script = format!("flatten --platform {platform} app:1 | tar -xO f");
        assert_eq!(out(&sandbox, &script), content);
    }
    // An index grows by all images of another one; the same words give the same bytes.
    let grown =
        out(&sandbox, "images index -t app:2 app:1 h.example/app:riscv64 h.example/app:arm64");
    let again = out(&sandbox, "images index -t app:3 app:1 h.example/app:riscv64 --json");
    assert_eq!(
        again,
        format!("{{\"digest\":\"{}\",\"name\":\"docker.io/library/app:3\"}}\n", grown.trim_end())
    );
    assert_eq!(
        out(&sandbox, "images app:2 --json | grep -o 'linux/[a-z0-9]*' | xargs"),
        "linux/amd64 linux/arm64 linux/riscv64\n"
    );
    // gc knows what it holds, and it travels whole.
    sh(&sandbox, "images rm h.example/app:amd64 h.example/app:arm64 h.example/app:riscv64 && images gc && images verify")
        .success();
    sh(&sandbox, "save app:2 | load --store there && images verify --store there").success();
    let registry = Registry::start();
    let there = registry.name("app:2");
    sh(&sandbox, &format!("push app:2 {there}")).success();
    sh(&sandbox, &format!("pull --no-stream --store other --platform linux/riscv64 {there}"))
        .success();
    assert_eq!(
        out(
            &sandbox,
            &format!("flatten --store other --platform linux/riscv64 {there} | tar -xO f")
        ),
        "riscv"
    );
}

#[test]
fn dockers_images_make_dockers_list() {
    let docker = |content: &str, platform: &str| image(content).docker().platform(platform);
    let sandbox = store(&[
        ("h.example/a:1", docker("amd", "linux/amd64")),
        ("h.example/b:1", docker("arm", "linux/arm64")),
        ("h.example/c:1", image("riscv").platform("linux/riscv64")),
    ]);
    let kind = |words: &str| {
        let digest = out(&sandbox, &format!("images index -t x {words}"));
        let raw: serde_json::Value = serde_json::from_slice(&raw(&sandbox, &digest)).unwrap();
        raw["mediaType"].as_str().unwrap().to_owned()
    };
    let docker = "application/vnd.docker.distribution.manifest.list.v2+json";
    let oci = "application/vnd.oci.image.index.v1+json";
    assert_eq!(kind("h.example/a:1 h.example/b:1"), docker);
    assert_eq!(kind("h.example/a:1 h.example/c:1"), oci);
    assert_eq!(kind("--annotation a=b h.example/a:1"), oci);
}

#[test]
fn one_platform_has_one_image() {
    let sandbox = store(&[("h.example/a:1", image("one")), ("h.example/b:1", image("two"))]);
    let output = sh(&sandbox, "images index -t x h.example/a:1 h.example/b:1");
    let text =
        "status: 2\n--- stderr\nimages: h.example/b:1: is for linux/amd64, as h.example/a:1 is\n";
    assert_eq!(output.fails_with(2).text(), text);
    assert_eq!(sh(&sandbox, "images x").fails_with(3).out(), "");
    sh(&sandbox, "images index -t x@sha256:0000000000000000000000000000000000000000000000000000000000000000 h.example/a:1")
        .fails_with(2);
    sh(&sandbox, "images index -t x --annotation =b h.example/a:1").fails_with(2);
    sh(&sandbox, "images index -t x ./a.tar").fails_with(2);
}

#[test]
fn what_an_index_lists_and_the_store_lacks_is_left_out_with_a_word() {
    let arm = image("arm").platform("linux/arm64");
    let index = Index::new().image(&image("amd")).absent(&arm);
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("h.example/a:1", index)]);
    let output = sh(&sandbox, "images index -t x h.example/a:1");
    let text = "--- stderr\nimages: warning: h.example/a:1: linux/arm64 is not in the store, and is left out\n";
    assert!(output.success().text().ends_with(text), "{}", output.text());
    sh(&sandbox, "images verify x && save x | load --store there").success();
}

// docker/cli#1502, podman#5021: a table whose rows are broken can't be read.
#[test]
fn a_narrow_terminal_shows_the_columns_that_it_has_room_for() {
    let sandbox = Sandbox::new();
    let name = "registry.example.com/team/an-application:2026.11.29";
    let image = Image::new().layer(Layer::new().file("a", "b"));
    sandbox.load(&[Named::new(name, &image)]);
    let shown = |columns, command: &str| {
        let size = Size { columns, ..Size::USUAL };
        on_terminal(&sandbox, size, command).wait().screen
    };
    let titles = |columns| {
        let screen = shown(columns, "images");
        let titles = screen.lines().next().unwrap_or_default().split_whitespace();
        titles.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(titles(80), "NAME DIGEST SIZE");
    assert_eq!(titles(140), "NAME DIGEST PLATFORM CREATED SIZE SHARED");
    assert!(shown(80, "images").contains(name));
    assert!(shown(80, "images --no-trunc").contains("PLATFORM"));
    assert!(shown(80, "images | cat").contains("PLATFORM"), "a pipe has no width");
}
