//! What only a process shows of `images`: exit codes, forms of output, damage on the disk.

#![cfg(test)]

use kit::archive::layout;
use kit::pipeline::Script;
use kit::{Image, Index, Layer, Named, Output, Sandbox};

const APP: &str = "docker.io/library/app:1";
const OTHER: &str = "ghcr.io/a/other:2";

fn base() -> Vec<u8> {
    Layer::new().dir("etc", 0o755).file("etc/os", "base\n").tar()
}

fn app() -> Image {
    Image::new().layer(base()).layer(Layer::new().file("app", "one").tar())
}

fn other() -> Image {
    Image::new().layer(base()).platform("linux/arm64").created("2021-02-03T04:05:06Z")
}

/// A store with two images that share a layer.
fn store() -> Sandbox {
    let sandbox = Sandbox::new();
    layout(sandbox.store(), &[Named::new(APP, app()), Named::new(OTHER, other())]);
    sandbox
}

fn images(sandbox: &Sandbox, line: &str) -> Output {
    sandbox.command("images").args(line.split_whitespace()).run()
}

fn blob(sandbox: &Sandbox, digest: &str) -> std::path::PathBuf {
    sandbox.store().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

#[test]
fn the_list_tells_names_sizes_and_what_is_shared() {
    let sandbox = store();
    let text = images(&sandbox, "").success().out();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|it| !it.is_empty()).collect())
        .collect();
    assert_eq!(lines[0], ["NAME", "DIGEST", "PLATFORM", "CREATED", "SIZE", "SHARED"]);
    assert_eq!(lines[1][..4], ["app:1", &app().digest()[7..19], "linux/amd64", "2020-09-13"]);
    assert_eq!(lines[2][..4], [OTHER, &other().digest()[7..19], "linux/arm64", "2021-02-03"]);
    let json: Vec<String> =
        images(&sandbox, "--json").success().out().lines().map(str::to_owned).collect();
    assert_eq!((json.len(), json[0].as_str(), json[3].as_str()), (4, "[", "]"));
    let shared = app().layer_blobs()[0].bytes.len();
    assert!(json[1].contains(&format!(r#""shared":{shared},"#)), "{json:?}");
    assert!(json[1].contains(&format!(r#""digest":"{}""#, app().digest())), "{json:?}");
    assert_eq!(images(&sandbox, "-0").success().stdout, b"app:1\0ghcr.io/a/other:2\0");
}

#[test]
fn the_usual_store_is_empty_before_it_is_there_and_is_not_made() {
    let sandbox = Sandbox::new();
    // Root's is the machine's.
    let images = |line: &str| {
        let program = sandbox.command("images").args(line.split_whitespace());
        let program = program.env_remove("STRATA_STORE").env("XDG_DATA_HOME", sandbox.root());
        let is_root = rustix::process::geteuid().is_root();
        if is_root { program.user(65534) } else { program }.run()
    };
    images("digests").success();
    images("verify").success();
    assert_eq!(images("--json").success().out(), "[]\n");
    assert_eq!(images("gc").success().out(), "freed 0 bytes (0B): 0 blobs\n");
    let dry = images("gc --dry-run").success().out();
    assert_eq!(dry, "would free 0 bytes (0B): 0 blobs\n");
    let verdict = images("verify --json").success().out();
    assert_eq!(verdict, "{\"blobs\":0,\"bytes\":0,\"images\":0,\"orphans\":[],\"problems\":[]}\n");
    for line in ["rm app", "app", "tag app x", "index -t x app"] {
        let output = images(line);
        let first = output.fails_with(3).stderr.lines().next();
        assert_eq!(first, Some("images: app: not in the store"), "{line}");
    }
    assert_eq!(images("app*").success().out().lines().count(), 0);
    assert!(!sandbox.path("strata").exists());
}

#[test]
fn names_come_and_go_and_gc_frees_what_is_left() {
    let sandbox = store();
    images(&sandbox, "tag app:1 mine").success();
    images(&sandbox, "tag nothing mine").fails_with(3);
    images(&sandbox, "tag app:1 Not/A/Name").fails_with(2);
    images(&sandbox, &format!("tag app:1 {}", other().digest())).fails_with(2);
    for line in ["tag - mine", "tag ./app mine", "rm -", "rm /app", "rm archive:a", "verify -"] {
        images(&sandbox, line).fails_with(2);
    }
    assert_eq!(images(&sandbox, "-0").stdout, b"app:1\0mine:latest\0ghcr.io/a/other:2\0");
    // All or nothing.
    images(&sandbox, "rm app:1 nothing").fails_with(3);
    let digest = app().digest();
    // Who types a digest may not know of all the names (moby#17304, podman#387).
    for text in [&*digest, &digest[7..], &digest[7..19]] {
        let output = images(&sandbox, &format!("rm {text}"));
        let said = format!("images: {text}: has 2 names: app:1, mine:latest\nhint: ");
        assert!(output.fails_with(1).stderr.starts_with(&said), "{}", output.text());
    }
    images(&sandbox, &format!("rm ghcr.io/a/other:2 {digest}")).fails_with(1);
    assert_eq!(images(&sandbox, "-0").stdout, b"app:1\0mine:latest\0ghcr.io/a/other:2\0");
    let output = images(&sandbox, &format!("rm --force {digest}"));
    assert_eq!(output.success().out(), "app:1\nmine:latest\n");
    let bytes: usize = [app().manifest_blob(), app().config_blob(), app().layer_blobs()[1].clone()]
        .iter()
        .map(|blob| blob.bytes.len())
        .sum();
    let dry = images(&sandbox, "gc --dry-run").success().out();
    let last = dry.lines().last().unwrap_or_default();
    assert!(last.starts_with(&format!("would free {bytes} bytes")), "{dry}");
    assert_eq!(dry.lines().count(), 4, "{dry}");
    assert!(images(&sandbox, "verify").success().stderr.contains("no image needs 3 of the blobs"));
    let freed = images(&sandbox, "gc --json").success().out();
    assert!(freed.contains(&format!(r#""blobs":3,"bytes":{bytes},"#)), "{freed}");
    assert!(!blob(&sandbox, &digest).exists());
    images(&sandbox, "verify").success();
}

#[test]
fn a_digest_stands_for_the_only_name_and_beside_a_name_for_those_of_its_repository() {
    let sandbox = store();
    let digest = app().digest();
    images(&sandbox, "tag app:1 other:1").success();
    images(&sandbox, &format!("rm nothing@{digest}")).fails_with(3);
    let output = images(&sandbox, &format!("rm other@{digest}"));
    assert_eq!(output.success().out(), "other:1\n");
    images(&sandbox, "tag app:1 app:2").success();
    images(&sandbox, &format!("rm app@{digest}")).fails_with(1);
    // A name is one name, whatever is forced (moby#17460, podman#10685).
    assert_eq!(images(&sandbox, "rm --force app:2").success().out(), "app:2\n");
    assert_eq!(images(&sandbox, &format!("rm {}", &digest[7..19])).success().out(), "app:1\n");
}

#[test]
fn digests_are_those_of_the_images_blobs() {
    let sandbox = store();
    images(&sandbox, "rm other:2").fails_with(3);
    images(&sandbox, "rm ghcr.io/a/other:2").success();
    let mut expected: Vec<String> = app().blobs().into_iter().map(|blob| blob.digest).collect();
    expected.sort();
    let text = images(&sandbox, "digests").success().out();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn every_kind_of_damage_is_listed() {
    let layer = app().layer_blobs()[0].clone();
    let check = |damage: &dyn Fn(&Sandbox), expected: &str, n: usize| {
        let sandbox = store();
        damage(&sandbox);
        let output = images(&sandbox, "verify");
        output.fails_with(4);
        let text = output.out();
        assert_eq!(
            (text.contains(expected), text.lines().count()),
            (true, n),
            "{expected}: {text}"
        );
        let json = images(&sandbox, "verify --json");
        assert!(json.fails_with(4).out().contains(r#""problems":[{"#));
    };
    let flipped = |at: usize| {
        let mut bytes = layer.bytes.clone();
        bytes[at] ^= 1;
        bytes
    };
    let path = |sandbox: &Sandbox, digest: &str| blob(sandbox, digest);
    check(
        &|it| std::fs::write(path(it, &layer.digest), flipped(20)).unwrap(),
        "digest mismatch",
        1,
    );
    check(&|it| std::fs::write(path(it, &layer.digest), flipped(0)).unwrap(), "digest mismatch", 1);
    check(&|it| std::fs::write(path(it, &layer.digest), "short").unwrap(), "size mismatch", 2);
    check(
        &|it| std::fs::remove_file(path(it, &layer.digest)).unwrap(),
        "is missing (app:1, ghcr.io/a/other:2)",
        1,
    );
    check(&|it| std::fs::write(path(it, &app().digest()), "{}").unwrap(), "(app:1)", 2);
    check(
        &|it| std::fs::remove_file(path(it, &app().config_blob().digest)).unwrap(),
        "is missing (app:1)",
        1,
    );
}

#[test]
fn damage_to_what_no_image_needs_is_told_and_is_no_problem() {
    let sandbox = store();
    images(&sandbox, "rm app:1").success();
    images(&sandbox, "rm ghcr.io/a/other:2").success();
    let orphan = app().layer_blobs()[0].digest.clone();
    std::fs::write(blob(&sandbox, &orphan), "other bytes").unwrap();
    let output = images(&sandbox, "verify");
    let text = output.success().out();
    let expected = format!("{orphan}: digest mismatch");
    assert!(text.starts_with(&expected) && text.ends_with(" (no image needs it)\n"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn a_wrong_diff_id_is_found_though_every_blob_is_what_its_name_says() {
    let sandbox = Sandbox::new();
    let wrong = app().set_config("/rootfs/diff_ids/0", app().diff_ids()[1].as_str());
    layout(sandbox.store(), &[Named::new(APP, &wrong), Named::new(OTHER, other())]);
    let output = images(&sandbox, "verify");
    let text = output.fails_with(4).out();
    assert!(text.contains("diff id mismatch: expected"), "{text}");
    images(&sandbox, &format!("verify {OTHER}")).success();
    let short = app().set_config("/rootfs/diff_ids", serde_json::json!([]));
    let sandbox = Sandbox::new();
    layout(sandbox.store(), &[Named::new(APP, &short)]);
    let output = images(&sandbox, "verify app:1");
    assert!(output.fails_with(4).out().contains("numbers of layers and of diff_ids differ"));
}

#[test]
fn an_index_counts_with_what_is_here_of_it() {
    let sandbox = Sandbox::new();
    let index =
        Index::new().image(&app()).image(&other()).absent(&Image::new().platform("linux/s390x"));
    layout(sandbox.store(), &[Named::new(APP, &index)]);
    let text = images(&sandbox, "").success().out();
    assert!(text.contains("linux/amd64,linux/arm64"), "{text}");
    images(&sandbox, "verify").success();
    let output = images(&sandbox, &format!("rm {}", other().digest()));
    assert!(output.fails_with(2).stderr.contains("is a part of app:1"), "{}", output.stderr);
    images(&sandbox, &format!("tag {} arm", other().digest())).success();
    images(&sandbox, "rm app:1").success();
    images(&sandbox, "gc").success();
    images(&sandbox, "verify").success();
    assert_eq!(images(&sandbox, "-0").stdout, b"arm:latest\0");
}

#[test]
fn what_an_attestation_has_for_a_config_is_no_problem() {
    let sandbox = Sandbox::new();
    let odd =
        app().platform("unknown/unknown").set_config("/rootfs/diff_ids", serde_json::json!([]));
    let index = Index::new()
        .image(&app())
        .image(&odd)
        .annotate("vnd.docker.reference.type", "attestation-manifest");
    layout(sandbox.store(), &[Named::new(APP, &index)]);
    images(&sandbox, "verify").success();
}

#[test]
fn hostile_names_reach_no_terminal() {
    let sandbox = Sandbox::new();
    let evil = "evil\u{1b}[2J\u{202e}:1";
    layout(sandbox.store(), &[Named::new(evil, app())]);
    assert!(images(&sandbox, "").success().out().contains("evil\\x1b[2J\\u{202e}:1"));
    assert!(images(&sandbox, "--json").success().out().contains("evil\\u001b[2J\\u202e:1"));
    assert_eq!(images(&sandbox, "-0").success().out(), format!("{evil}\0"));
}

#[test]
fn a_read_only_store_is_listed_and_verified() {
    let sandbox = store();
    std::fs::create_dir(sandbox.root().join("elsewhere")).unwrap();
    let user = 65_534;
    let run = |line: &str| {
        let program = sandbox.command("images").args(line.split_whitespace());
        // Only root can be somebody else; the rest own the store and may write to it.
        if std::fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            program.user(user).run()
        } else {
            program.run()
        }
    };
    run("").success();
    let mut todo = vec![sandbox.store()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let mut permissions = path.metadata().unwrap().permissions();
        permissions.set_readonly(true);
        std::fs::set_permissions(&path, permissions).unwrap();
    }
    for line in ["", "digests", "verify", "verify app:1", "--json"] {
        run(line).success();
    }
}

#[test]
fn a_blob_that_cannot_be_read_now_is_no_problem_of_the_image() {
    let sandbox = store();
    // With four open files the loader is content.
    let verify = |n_files: u32| {
        let line = format!("ulimit -n {n_files}; exec images verify -q");
        Script::new(&sandbox, &line).run()
    };
    let mut n_failed = 0;
    for n_files in 4..20 {
        let output = verify(n_files);
        if output.code() != 0 {
            n_failed += 1;
            let text = output.fails_with(1).text();
            assert!(output.stderr.contains("too many open files"), "{text}");
            assert_eq!((output.out().as_str(), output.stderr.lines().count()), ("", 1), "{text}");
        }
    }
    assert!(n_failed > 0, "the limit is no limit");
    verify(64).success();
}

#[test]
fn what_cannot_be_read_is_neither_right_nor_does_it_hide_what_is_wrong() {
    // No program has anything at its first address, so reading it is EIO.
    const UNREADABLE: &str = "/proc/self/mem";
    let image = app();
    let layers = image.layer_blobs();
    for unreadable in [&layers[1].digest, &image.config_blob().digest] {
        let sandbox = store();
        let path = blob(&sandbox, unreadable);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(UNREADABLE, &path).unwrap();
        let output = images(&sandbox, "verify");
        assert!(output.fails_with(1).stderr.contains("nput/output error"), "{}", output.text());
        std::fs::write(blob(&sandbox, &layers[0].digest), "wrong").unwrap();
        let output = images(&sandbox, "verify");
        assert!(output.fails_with(4).stderr.contains("nput/output error"), "{}", output.text());
        assert!(output.out().contains("digest mismatch"), "{}", output.text());
    }
}
