//! Whatever the layers, the tree is what a simple model of the image-spec says.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::stacked::stacked;
use crate::tree::{OPTIONS, is_root, quick_dir, show, try_apply};

/// A tree: what each path is. Directories end in nothing, and are made when something is put below them.
#[derive(Clone, Debug, Default)]
struct Model(BTreeMap<String, Node>);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Directory { mtime: u32 },
    File { content: String },
}

/// One line of a layer.
#[derive(Clone, Debug)]
enum Line {
    File(String, u32),
    Directory(String, u32),
    Remove(String),
    Opaque(String),
}

impl Model {
    fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.0.retain(|name, _| name != path && !name.starts_with(&below));
    }

    fn remove_below(&mut self, path: &str) {
        if !matches!(self.0.get(path), Some(Node::Directory { .. })) {
            return;
        }
        let below = format!("{path}/");
        self.0.retain(|name, _| !name.starts_with(&below));
    }

    fn make_parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            if !matches!(self.0.get(&path[..at]), Some(Node::Directory { .. })) {
                self.0.insert(path[..at].into(), Node::Directory { mtime: 0 });
            }
        }
    }

    fn apply(&mut self, layer: &[Line]) {
        // As if the whiteouts came first, and they see only what is below directories of the lower layers.
        let lower = self.clone();
        for line in layer {
            match line {
                Line::Remove(path) if lower.parents_are_directories(path) => self.remove(path),
                Line::Opaque(path) if lower.parents_are_directories(path) => {
                    self.remove_below(path);
                }
                _ => {}
            }
        }
        for line in layer {
            match line {
                Line::File(path, content) => {
                    self.make_parents(path);
                    self.remove(path);
                    self.0.insert(path.clone(), Node::File { content: content.to_string() });
                }
                Line::Directory(path, mtime) => {
                    self.make_parents(path);
                    self.0.insert(path.clone(), Node::Directory { mtime: *mtime });
                }
                Line::Remove(_) | Line::Opaque(_) => {}
            }
        }
    }

    fn parents_are_directories(&self, path: &str) -> bool {
        path.match_indices('/')
            .all(|(at, _)| matches!(self.0.get(&path[..at]), Some(Node::Directory { .. })))
    }

    fn show(&self) -> String {
        let mut entries: Vec<_> = self.0.iter().collect();
        entries.sort_by_key(|(name, _)| name.split('/').collect::<Vec<_>>());
        entries
            .into_iter()
            .map(|(name, node)| match node {
                Node::Directory { mtime: 1000 } => format!("{name}/\n"),
                Node::Directory { mtime } => format!("[@{mtime}] {name}/\n"),
                Node::File { content } => format!("{name} = {content}\n"),
            })
            .collect()
    }
}

fn text(layer: &[Line]) -> String {
    let line = |line: &Line| match line {
        Line::File(path, content) => format!("{path} = {content}\n"),
        Line::Directory(path, mtime) => format!("[@{mtime}] {path}/\n"),
        Line::Remove(path) => format!("- {path}\n"),
        Line::Opaque(path) => format!("! {path}\n"),
    };
    layer.iter().map(line).collect()
}

fn a_line() -> impl Strategy<Value = Line> {
    let path = || proptest::collection::vec("[ab]", 1..4).prop_map(|names| names.join("/"));
    prop_oneof![
        3 => (path(), 0..100_u32).prop_map(|(path, content)| Line::File(path, content)),
        3 => (path(), 1..100_u32).prop_map(|(path, mtime)| Line::Directory(path, mtime)),
        1 => path().prop_map(Line::Remove),
        1 => path().prop_map(Line::Opaque),
    ]
}

/// Where seeds that failed are kept, and tried first from then on.
const SEEDS: FileFailurePersistence =
    FileFailurePersistence::Direct("tests/apply/properties.seeds");

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: Some(Box::new(SEEDS)), ..ProptestConfig::default() })]

    #[test]
    fn layers_do_what_the_model_says(layers in proptest::collection::vec(proptest::collection::vec(a_line(), 0..8), 1..4)) {
        let mut model = Model::default();
        for layer in &layers {
            model.apply(layer);
        }
        let root = quick_dir();
        let texts: Vec<_> = layers.iter().map(|layer| text(layer)).collect();
        try_apply(root.path(), OPTIONS, &texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        prop_assert_eq!(show(root.path()), model.show());
    }

    #[test]
    fn as_root_layers_mounted_on_each_other_do_so_too(layers in proptest::collection::vec(proptest::collection::vec(a_line(), 0..8), 1..4)) {
        if is_root() {
            let mut model = Model::default();
            for layer in &layers {
                model.apply(layer);
            }
            let texts: Vec<_> = layers.iter().map(|layer| text(layer)).collect();
            prop_assert_eq!(stacked(&texts.iter().map(String::as_str).collect::<Vec<_>>()), model.show());
        } else {
            kit::peers::skip("layers mounted on each other", "that needs root");
        }
    }
}
