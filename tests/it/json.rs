//! docs/json.md says what is printed for programs: each printed object has the fields of its table, with their types, and each
//! field of a table is printed.

use std::collections::{BTreeMap, BTreeSet};

use kit::pipeline::sh;
use kit::{Codec, Device, Fault, Image, Layer, Named, Registry, Sandbox};
use serde_json::Value;

use crate::fixtures::stream_of;
use crate::referrers::about;

/// A row of a table.
#[derive(Debug)]
struct Field {
    /// Where it is in the object: `problems[].digest`.
    path: String,
    kind: String,
    is_always: bool,
}

/// The tables of docs/json.md by the titles above them.
fn tables() -> BTreeMap<String, Vec<Field>> {
    let page = include_str!("../../docs/json.md");
    let mut tables: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut title = String::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("### ") {
            title = text.trim_matches('`').to_owned();
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        if let ["", path, kind, always, _, ""] = cells[..]
            && let Some(path) = path.strip_prefix('`')
        {
            assert!(["yes", "no"].contains(&always), "{line}");
            let path = path.trim_matches('`').to_owned();
            let field = Field { path, kind: kind.to_owned(), is_always: always == "yes" };
            tables.entry(title.clone()).or_default().push(field);
        }
    }
    tables
}

/// Whether a value is of a type, in the words of the page.
fn is_of(value: &Value, kind: &str) -> bool {
    kind.split(" or ").any(|kind| match (kind, value) {
        ("any", _)
        | ("null", Value::Null)
        | ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("object", Value::Object(_))
        | ("array", Value::Array(_)) => true,
        (_, Value::Array(elements)) => kind
            .strip_prefix("array of ")
            .is_some_and(|kind| elements.iter().all(|element| is_of(element, kind))),
        _ => false,
    })
}

/// A table, and what of it was seen.
struct Checked<'a> {
    fields: &'a [Field],
    seen: BTreeSet<&'a str>,
    wrong: BTreeSet<String>,
}

impl<'a> Checked<'a> {
    fn new(fields: &'a [Field]) -> Self {
        Self { fields, seen: BTreeSet::new(), wrong: BTreeSet::new() }
    }

    /// Whether the page says what is inside a field.
    fn describes(&self, inside: &str) -> bool {
        self.fields.iter().any(|field| field.path.starts_with(inside))
    }

    /// Checks an object that stands at a place, which is empty for the whole and else ends with a dot.
    fn object(&mut self, value: &Value, place: &str) {
        let Value::Object(object) = value else {
            self.wrong.insert(format!("no object: {value}"));
            return;
        };
        for (key, value) in object {
            let path = format!("{place}{key}");
            let Some(field) = self.fields.iter().find(|field| field.path == path) else {
                self.wrong.insert(format!("`{path}` is not in the table: {value}"));
                continue;
            };
            self.seen.insert(&field.path);
            if !is_of(value, &field.kind) {
                self.wrong.insert(format!("`{path}` is no {}: {value}", field.kind));
            }
            self.inside(value, &path);
        }
        let is_missing = |field: &&Field| {
            let name = field.path.strip_prefix(place).filter(|name| !name.contains('.'));
            field.is_always && name.is_some_and(|name| !object.contains_key(name))
        };
        for field in self.fields.iter().filter(is_missing) {
            self.wrong.insert(format!("`{}` is absent: {value}", field.path));
        }
    }

    fn inside(&mut self, value: &Value, path: &str) {
        let (here, each) = (format!("{path}."), format!("{path}[]."));
        match value {
            Value::Object(_) if self.describes(&here) => self.object(value, &here),
            Value::Array(elements) if self.describes(&each) => {
                for element in elements {
                    self.object(element, &each);
                }
            }
            _ => {}
        }
    }

    /// Checks a text: an object, an array of them, or one a line.
    fn text(&mut self, text: &str) {
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        for value in values {
            match value {
                Ok(Value::Array(elements)) => elements.iter().for_each(|it| self.object(it, "")),
                Ok(value) => self.object(&value, ""),
                Err(error) => drop(self.wrong.insert(format!("no JSON: {error}: {text}"))),
            }
        }
    }

    /// What is wrong, with the fields that were never seen.
    fn end(self) -> Vec<String> {
        let unseen = self.fields.iter().filter(|field| !self.seen.contains(field.path.as_str()));
        let unseen = unseen.map(|field| format!("`{}` was never printed", field.path));
        self.wrong.into_iter().chain(unseen).collect()
    }
}

/// The titles of what stands on standard error.
const TALK: [&str; 7] = ["task", "total", "image", "message", "warning", "error", "registry"];

/// An image whose files show all that a file can be.
fn image() -> Image {
    let layer = Layer::new()
        .dir("./", 0o755)
        .file("file", "content")
        .xattr("user.note", "x")
        .hardlink("second", "file")
        .symlink("link", b"to-\xff")
        .fifo("fifo")
        .device("device", Device::Char, 1, 3)
        .file(b"bytes-\xff", "")
        .hardlink(b"third-\xff", b"bytes-\xff");
    Image::new().codec(Codec::None).layer(layer).platform("linux/arm64/v8")
}

/// A registry with an image, one that refers to it and a signature; a store with it; directories and archives.
fn scene() -> (Registry, Sandbox) {
    let registry = Registry::with_referrers();
    let image = image();
    registry.add("app:1", &image);
    let tag = image.digest().replace(':', "-");
    registry.add(&format!("app:{tag}.sig"), Image::new().layer(Layer::new().file("s", "s")));
    let sbom = about(&image, "sbom").annotation("key", "value");
    registry.add("app:sbom", &sbom);
    let sandbox = Sandbox::new();
    let other = image.clone().env(&["A=1"]).set_config("/os.version", "10.0");
    let wasteful = other.clone().layer(Layer::new().file(b"bytes-\xff", "1"));
    let wasteful = wasteful.layer(Layer::new().file(b"bytes-\xff", "2"));
    registry.add("wasteful:1", &wasteful);
    let images = [("one:1", image), ("two:2", other), ("wasteful:1", wasteful)];
    sandbox.load(&images.map(|(name, image)| Named::new(name, image)));
    let small =
        Image::new().layer(Layer::new().dir("./", 0o755).file("kept", "1").file("gone", ""));
    sandbox.write("small.tar", stream_of(&small));
    let script = "unpack -q --from ./small.tar root; echo longer > root/kept; rm root/gone; \
                  echo new > root/new; touch $'root/bytes-\\xff'; mkdir $'root/dir-\\xff'; \
                  touch $'root/dir-\\xff/x'";
    sh(&sandbox, script).success();
    (registry, sandbox)
}

/// Command lines whose standard output has the objects of a table; `HOST` is the registry.
const OUTPUT: &[(&str, &[&str])] = &[
    (
        "--dry-run --json",
        &[
            "pull --dry-run --json HOST/app:1",
            "push --dry-run --json one:1 HOST/new:1",
            "save --dry-run --json one:1",
            "save one:1 | load --dry-run --json",
            "remote copy --dry-run --json HOST/app:1 HOST/other:1",
        ],
    ),
    ("load --json", &["save two:2 | load --json", "load --json ./small.tar"]),
    ("images --json", &["images --json", "images --json --store none:$STRATA_STORE"]),
    ("images tag --json", &["images tag --json two:2 three:3"]),
    ("images index --json", &["images index --json -t whole:1 one:1 two:2"]),
    ("images rm --json", &["images rm --json three:3"]),
    (
        "images prune --json",
        &["save one:1 two:2 | STRATA_STORE=$PWD/p load -q > rest; export STRATA_STORE=$PWD/p; \
             images tag -q two:2 one:1 > rest; images prune --json --dry-run; images prune --json"],
    ),
    (
        "images gc --json",
        &["save two:2 | STRATA_STORE=$PWD/g load -q > rest; export STRATA_STORE=$PWD/g; \
             images rm -q two:2 > rest; images gc --dry-run --json; images gc --json"],
    ),
    (
        "images verify --json",
        &["save two:2 | STRATA_STORE=$PWD/v load -q > rest; \
         d=$(STRATA_STORE=$PWD/v images digests -0 | tr '\\0' '\\n' | head -1 | cut -d: -f2); \
         printf x > v/blobs/sha256/$d; \
         printf y > v/blobs/sha256/a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa; \
         STRATA_STORE=$PWD/v images verify --json"],
    ),
    ("images digests --json", &["images digests --json"]),
    ("inspect", &["inspect one:1", "inspect --json two:2", "inspect ./small.tar"]),
    ("inspect --history --json", &["inspect --history --json one:1"]),
    ("inspect --layers --json", &["inspect --layers --json one:1"]),
    ("inspect --files --json", &["inspect --files --json one:1"]),
    ("inspect --waste --json", &["inspect --waste --json wasteful:1"]),
    ("inspect --tree --json", &["inspect --tree --json wasteful:1"]),
    (
        "changes --json",
        &[
            "changes --json ./small.tar ./root",
            "changes --json one:1 two:2",
            "remote changes --json HOST/app:1 HOST/wasteful:1",
        ],
    ),
    ("changes --stat --json", &["changes --stat --json ./small.tar ./root"]),
    ("snapshot --list --json", &["snapshot --list --json --base ./small.tar root"]),
    (
        "remote tags --json",
        &["remote tags --json HOST/app", "remote tags --digests --json HOST/app"],
    ),
    ("remote repositories --json", &["remote repositories --json HOST"]),
    ("remote referrers --json", &["remote referrers --json HOST/app:1"]),
];

/// Command lines for talk, with `--progress json` in them.
const TALKATIVE: &[&str] = &[
    "pull --progress json HOST/app:1 | unpack --progress json --owner ignore other",
    "pull --progress json --no-stream HOST/app:1",
    "pull --progress json --no-store --limit-rate 5K HOST/wasteful:1 > rest",
    "save --progress json one:1 | load --progress json",
    "push --progress json one:1 HOST/new:1",
    "remote copy --progress json HOST/app:1 HOST/copy:1",
    "snapshot --progress json --base ./small.tar root | commit --progress json --base ./small.tar -t c:1",
    "commit --progress json --no-layer --base one:1 -e A=2 -t d:1 -t e:1",
    "unpack --progress json --from missing:1 x",
    "unpack --progress=json --wrong x",
    "unpack -q --progress json --from missing:1 x",
    "pull --progress json",
    "flatten --progress json one:1",
];

#[test]
fn each_object_on_standard_output_is_as_its_table_says() {
    let tables = tables();
    let (registry, sandbox) = scene();
    let mut wrong = vec![];
    let documented: BTreeSet<_> = tables.keys().map(String::as_str).collect();
    let tested: BTreeSet<_> = OUTPUT.iter().map(|(title, _)| *title).chain(TALK).collect();
    assert_eq!(documented, tested);
    for (title, scripts) in OUTPUT {
        let mut checked = Checked::new(&tables[*title]);
        for script in *scripts {
            let output = sh(&sandbox, &script.replace("HOST", &registry.host()));
            assert!(!output.stdout.is_empty(), "{script}: {}", output.text());
            checked.text(&output.out());
        }
        wrong.extend(checked.end().into_iter().map(|it| format!("{title}: {it}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

// podman#24887, podman#9277, docker/cli#2303: progress for programs has prose in the place of digests, and errors are no JSON.
#[test]
fn each_line_of_talk_is_an_object_as_its_table_says() {
    let tables = tables();
    let (registry, sandbox) = scene();
    registry.fault(Fault::on("/manifests/").header("Warning", "299 - \"going away\""));
    let mut checked: BTreeMap<_, _> =
        TALK.iter().map(|title| (*title, Checked::new(&tables[*title]))).collect();
    for script in TALKATIVE {
        let output = sh(&sandbox, &script.replace("HOST", &registry.host()));
        assert!(!output.stderr.is_empty(), "{script}");
        for line in output.stderr.lines() {
            let value: Value = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{script}: {error}: {line}"));
            let title = value["type"].as_str().unwrap_or_default();
            let known = checked.get_mut(title);
            known.unwrap_or_else(|| panic!("{script}: no such type: {line}")).object(&value, "");
        }
    }
    let wrong: Vec<_> = checked
        .into_iter()
        .flat_map(|(title, checked)| checked.end().into_iter().map(move |it| (title, it)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
