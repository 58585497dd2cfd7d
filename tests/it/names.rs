//! Names that are pinned by a digest: kept as they were pulled, found however they are written, removed one by one.

use kit::pipeline::sh;
use kit::{Image, Index, Layer, Registry, Sandbox, digest};

fn image(content: &str) -> Image {
    Image::new().layer(Layer::new().dir("./", 0o755).file("f", content).tar())
}

/// The first column of the list of images, and the digests in the second.
fn listed(sandbox: &Sandbox) -> Vec<String> {
    let text = sandbox.command("images").run().success().out();
    text.lines().skip(1).map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

// Elsewhere such an image is without a tag, and goes with what is pruned (moby#42664, moby#23895).
#[test]
fn an_image_that_was_pulled_by_its_digest_keeps_the_name_that_it_was_asked_for_by() {
    let registry = Registry::start();
    let pin = registry.add("team/app:1", image("one"));
    let sandbox = Sandbox::new();
    let pinned = format!("{}@{pin}", registry.name("team/app"));
    sandbox.command("pull").args(["--no-stream", &pinned]).run().success();
    let short = &pinned[..pinned.len() - 52];
    assert_eq!(listed(&sandbox), [short]);
    let json = sandbox.command("images").arg("--json").run().success().out();
    assert!(json.contains(&format!(r#""name":"{pinned}""#)), "{json}");
    assert_eq!(sandbox.command("images").arg("-0").run().stdout, format!("{pinned}\0").as_bytes());
    // gc keeps it, and each program finds it by the name, by that in the list, and beside any tag.
    let with_tag = format!("{}@{pin}", registry.name("team/app:1"));
    for (n, text) in [&*pinned, short, &with_tag, &*pin].iter().enumerate() {
        sh(&sandbox, "images gc").success();
        sh(&sandbox, &format!("unpack -q --from {text} root{n} && grep -qx one root{n}/f"))
            .success();
        sh(&sandbox, &format!("inspect {text} && images verify {text}")).success();
        sh(&sandbox, &format!("save {text} | load --store s{n}")).success();
    }
    // A stream carries the name.
    let there = sandbox.command("images").args(["--store", "s0", "-0"]).run().stdout;
    assert_eq!(there, format!("{pinned}\0").as_bytes());
    // It is one name among others: only itself goes.
    sh(&sandbox, &format!("images tag {short} mine")).success();
    sh(&sandbox, &format!("images rm {pinned} && images gc")).success();
    assert_eq!(listed(&sandbox), ["mine:latest"]);
    sh(&sandbox, "images verify mine").success();
    sh(&sandbox, "images rm mine && images gc").success();
    assert!(listed(&sandbox).is_empty());
}

#[test]
fn a_name_pinned_by_an_index_is_that_of_the_image_that_was_chosen_from_it() {
    let registry = Registry::start();
    let (one, two) = (image("one"), image("two").platform("linux/arm64"));
    let pin = registry.add("app:1", Index::new().image(&one).image(&two));
    let sandbox = Sandbox::new();
    let pinned = format!("{}@{pin}", registry.name("app"));
    let pull = |platform: &str| {
        sh(&sandbox, &format!("pull --no-stream --platform {platform} {pinned}")).success();
    };
    pull("linux/amd64");
    let short = &pinned[..pinned.len() - 52];
    assert_eq!(listed(&sandbox), [short]);
    sh(&sandbox, &format!("unpack -q --from {pinned} root && grep -qx one root/f")).success();
    // As a tag does, the name moves to what it was asked for last; nothing is lost.
    pull("linux/arm64");
    assert_eq!(listed(&sandbox), [short, "-"]);
    let find =
        format!("unpack -q --platform linux/arm64 --from {pinned} root2 && grep -qx two root2/f");
    sh(&sandbox, &find).success();
    sh(&sandbox, &format!("images gc && images verify {}", one.digest())).success();
}

#[test]
fn an_archive_that_lies_about_a_pinned_name_names_nothing() {
    let registry = Registry::start();
    let pin = registry.add("app:1", image("good"));
    let sandbox = Sandbox::new();
    let name = format!("{}@{pin}", registry.name("app"));
    let evil = kit::Named::new(&name, image("evil"));
    sandbox.load(&[evil]);
    assert_eq!(listed(&sandbox), ["-"]);
    sandbox.command("inspect").arg(&name).run().fails_with(3);
    sandbox.command("inspect").arg(digest(b"")).run().fails_with(3);
}

#[test]
fn what_is_no_name_but_lies_in_the_directory_is_pointed_at() {
    let sandbox = Sandbox::new();
    sandbox.load(&[kit::Named::new("docker.io/library/app:1", image("one"))]);
    sh(&sandbox, "save -o debian.tar app:1 && mkdir tree").success();
    for (command, hint) in [
        ("unpack --from debian.tar root", "hint: ./debian.tar\n"),
        ("inspect debian.tar", "hint: ./debian.tar\n"),
        ("flatten debian.tar", "hint: ./debian.tar\n"),
        ("changes ./tree tree", "hint: ./tree\n"),
        ("snapshot --base tree tree", "hint: ./tree\n"),
        ("save debian.tar", "hint: load ./debian.tar brings"),
        ("push debian.tar localhost:1/x", "hint: load ./debian.tar brings"),
        ("commit --base debian.tar -t x debian.tar", "hint: load ./debian.tar brings"),
        ("inspect none", "hint: pull none\n"),
    ] {
        // In a store that is there, and in one that isn't.
        for store in ["", " --store none-yet"] {
            let output = sh(&sandbox, &format!("{command}{store}"));
            assert!(output.fails_with(3).stderr.contains(hint), "{command}: {}", output.text());
        }
    }
    let output = sh(&sandbox, "union debian.tar m -- true");
    assert!(output.fails_with(125).stderr.contains("hint: load ./debian.tar"), "{}", output.text());
}
