//! What docs/coming-from.md says does what is typed elsewhere: the last column, from top to bottom, at the kit's registry.

use std::fs;
use std::path::Path;

use kit::archive::skopeo_directory;
use kit::pipeline::sh;
use kit::{Image, Layer, Registry, Sandbox};

/// The registry of the page.
const HOST: &str = "localhost:5000";

/// The command lines of the last column.
fn rows(page: &str) -> Vec<String> {
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let last = |line: &str| {
        let line = line.replace("\\|", "\u{0}");
        let cell = line.trim_end_matches('|').rsplit('|').next()?.trim().to_owned();
        let command = cell.strip_prefix('`')?.strip_suffix('`')?;
        Some(command.replace('\u{0}', "|"))
    };
    lines.filter_map(last).collect()
}

#[test]
fn each_line_for_those_who_come_from_elsewhere_does_what_it_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/coming-from.md");
    let page = fs::read_to_string(page).unwrap();
    let rows = rows(&page);
    assert!(rows.len() >= 70, "{} rows", rows.len());
    let registry = Registry::start();
    let layer = Layer::new().dir("etc", 0o755).file("etc/motd", "hello\n").file("etc/os", "x");
    let image = Image::new().layer(layer).layer(Layer::new().file("bin", "y")).env(&["PATH=/bin"]);
    let digest = registry.add("debian:12", image);
    let sandbox = Sandbox::new();
    skopeo_directory(sandbox.path("app.dir"), Image::new().layer(Layer::new().file("x", "y")));
    let home = format!("export HOME={0} XDG_RUNTIME_DIR={0};", sandbox.root().display());
    for row in &rows {
        let script = format!("set -o pipefail; {home} {}", row.replace(HOST, &registry.host()));
        let output = sh(&sandbox, &script);
        assert_eq!(output.code(), 0, "{row}: {}\n{}", output.text(), registry.log());
    }
    // Whatever way it went, it is the same image.
    for copy in ["copies/debian:12", "piped/debian:12", "fromtar:1"] {
        let there = sh(&sandbox, &format!("remote digest {}", registry.name(copy)));
        assert_eq!(there.success().out().trim_end(), digest, "{copy}");
    }
    for tree in ["rootfs", "again", "bundle/rootfs"] {
        assert_eq!(fs::read(sandbox.path(tree).join("etc/motd")).unwrap(), b"hello\n", "{tree}");
    }
    assert_eq!(registry.tags("debian"), ["12"]);
    let names = sh(&sandbox, "images -0 'app*'").success().out().replace('\0', " ");
    assert_eq!(
        names,
        "app:1 app:2 app:3 app:4 app:5 app:6 app:7 app:9 app:10 app:11 app:12 app:amd64 app:arm64 \
         app:dir app:renamed "
    );
    let there = sh(&sandbox, "images --store there -0").success().out().replace('\0', " ");
    assert_eq!(there, "app:3 app:4 ");
}
