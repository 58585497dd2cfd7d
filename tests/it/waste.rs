//! Where the bytes of an image are, and which of them nobody can read.

use std::fs;

use kit::pipeline::sh;
use kit::terminal::Size;
use kit::{Codec, Image, Layer, Named, Sandbox};
use serde_json::{Value, json};

use crate::fixtures::{demo, names};

fn bytes(size: usize) -> Vec<u8> {
    vec![b'x'; size]
}

/// Four layers: files are replaced, removed (alone, with their directory, by an opaque one, by a file in a directory's place),
/// and copied up by a chown; one loses one of two names only, and one comes twice in a layer.
fn image() -> Image {
    let base = Layer::new()
        .dir("./", 0o755)
        .file("replaced", bytes(1000))
        .file("owned", bytes(2000))
        .file("linked", bytes(5000))
        .hardlink("link", "linked")
        .dir("gone", 0o755)
        .file("gone/a", bytes(300))
        .dir("gone/b", 0o755)
        .file("gone/b/c", bytes(40))
        .dir("opaque", 0o755)
        .file("opaque/old", bytes(70))
        .dir("kept", 0o755)
        .file("kept/large", bytes(100_000))
        .file("kept/empty", "");
    let second = Layer::new()
        .file("replaced", bytes(1500))
        .file("owned", bytes(2000))
        .owner(7, 7)
        .whiteout("gone")
        .whiteout("linked")
        .dir("opaque", 0o755)
        .opaque("opaque")
        .file("opaque/new", bytes(80));
    let third = Layer::new().whiteout("replaced").whiteout("kept/empty").file("twice", bytes(7));
    let third = third.file("twice", bytes(9)).file("kept/more", bytes(3000));
    Image::new().codec(Codec::None).layer(base).layer(second).layer(third)
}

fn stored(image: &Image) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.load(&[Named::new("app:1", image)]);
    sandbox
}

const WASTE: &str = "\
WASTE   LAYERS   WHY                 PATH
2.5kB   1, 2     removed, replaced   replaced
2kB     1        repeated            owned
300B    1        removed             gone/a
70B     1        removed             opaque/old
40B     1        removed             gone/b/c
7B      3        replaced            twice
total: 4.92kB of 115kB (4.3%)
";

// dive#333, dive#508, dive#270, moby#12641: what a higher layer hides, removes or copies up still travels.
#[test]
fn what_a_higher_layer_hides_removes_or_repeats_is_told_by_path() {
    let image = image();
    let sandbox = stored(&image);
    assert_eq!(sh(&sandbox, "inspect --waste app:1").success().out(), WASTE);
    // A stream, an archive and a foreign layout have no listings, and say the same.
    sh(&sandbox, "save -q app:1 -o app.tar").success();
    for line in ["- < app.tar", "./app.tar"] {
        let script = format!("STRATA_STORE=$PWD/none inspect --waste {line}");
        assert_eq!(sh(&sandbox, &script).success().out(), WASTE, "{line}");
    }
    let object = sh(&sandbox, "inspect --waste --json app:1").success().out();
    let object: Value = serde_json::from_str(&object).unwrap();
    assert_eq!((&object["waste"], &object["total"]), (&json!(4917), &json!(115_006)));
    let copies = json!([
        {"layer": 1, "size": 1000, "why": "replaced", "by": 2},
        {"layer": 2, "size": 1500, "why": "removed", "by": 3},
    ]);
    assert_eq!(object["files"][0], json!({"path": "replaced", "bytes": 2500, "copies": copies}));
    let share = object["share"].as_f64().unwrap();
    assert!((share - 4917.0 / 115_006.0).abs() < 1e-9, "{share}");
}

#[test]
fn no_layer_is_read_where_the_store_has_its_listing() {
    let image = demo();
    let sandbox = stored(&image);
    sh(&sandbox, "images verify").success();
    let said = |view: &str| sh(&sandbox, &format!("inspect {view} app:1")).success().out();
    let before = ["--waste", "--tree"].map(said);
    assert_eq!(names(sandbox.store().join("strata/listing")).len(), 3);
    for blob in image.layer_blobs() {
        let path = sandbox.store().join("blobs/sha256").join(blob.hex());
        fs::remove_file(&path).unwrap();
        fs::write(&path, vec![0; blob.bytes.len()]).unwrap();
    }
    assert_eq!(["--waste", "--tree"].map(said), before);
}

#[test]
fn more_waste_than_is_allowed_is_a_failure() {
    let sandbox = stored(&image());
    for (most, code) in [("5%", 0), ("4.2%", 1), ("0%", 1), ("5K", 0), ("4917", 0), ("4916", 1)] {
        let output = sh(&sandbox, &format!("inspect --waste --max-waste {most} app:1"));
        assert_eq!((output.code(), output.out()), (code, WASTE.to_owned()), "{most}");
        if code == 1 {
            let shown = most.replace("4916", "4.92kB");
            let said = format!("inspect: 4.92kB of 115kB (4.3%) are wasted, more than {shown}\n");
            assert!(output.stderr.starts_with(&said), "{}", output.stderr);
        }
    }
    sh(&sandbox, "inspect --max-waste 5% app:1").fails_with(2);
    sh(&sandbox, "inspect --waste --max-waste much app:1").fails_with(2);
    let clean = Image::new().layer(Layer::new().file("a", "a")).layer(Layer::new().file("b", "b"));
    let sandbox = stored(&clean);
    let output = sh(&sandbox, "inspect --waste --max-waste 0% app:1");
    assert_eq!(output.success().out(), "total: 0B of 2B (0%)\n");
}

// dive's left and right half in one picture, for a pipe as well.
#[test]
fn the_tree_shows_what_is_large_and_the_layer_that_it_comes_from() {
    let sandbox = stored(&image());
    let tree = sh(&sandbox, "inspect --tree app:1").success().out();
    assert_eq!(
        tree,
        "\
SIZE    PATH            LAYERS
110kB   .               1: 105kB, 2: 2.08kB, 3: 3.01kB
103kB   ├── kept        1: 100kB, 3: 3kB
100kB   │   ├── large   1: 100kB
3kB     │   └── more    3: 3kB
5kB     ├── link        1: 5kB
2kB     ├── owned       2: 2kB
89B     └── (2 more)
"
    );
    let top = sh(&sandbox, "inspect --tree --depth 1 app:1").success().out();
    assert!(top.contains("└── (2 more)") && !top.contains("large"), "{top}");
    let json = sh(&sandbox, "inspect --tree --depth 1 --json app:1").success().out();
    let json: Value = serde_json::from_str(&json).unwrap();
    let entry =
        |path: &str| json.as_array().unwrap().iter().find(|it| it["path"] == path).unwrap().clone();
    assert_eq!(entry(".")["size"], 110_089);
    let layers = json!([{"layer": 1, "size": 100_000}, {"layer": 3, "size": 3000}]);
    assert_eq!(entry("kept"), json!({"path": "kept", "size": 103_000, "layers": layers}));
    // A narrow terminal has room for sizes and paths.
    let narrow = sandbox.command("inspect").args(["--tree", "app:1"]);
    let shown = narrow.start_on(Size { columns: 40, rows: 24 }).wait();
    let lines: Vec<_> = shown.ended_with(0).lines().map(str::to_owned).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("│   ├── large")), "{lines:?}");
}
