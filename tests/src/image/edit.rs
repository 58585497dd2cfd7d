//! Changes to a JSON document by pointer (RFC 6901), where missing parents come into being.

use serde_json::{Map, Value};

use crate::or_panic::OrPanic as _;

/// One change.
#[derive(Clone, Debug)]
pub(crate) struct Edit {
    pointer: String,
    value: Option<Value>,
}

impl Edit {
    /// Sets what the pointer names.
    pub(crate) fn set(pointer: &str, value: Value) -> Self {
        Self { pointer: pointer.to_owned(), value: Some(value) }
    }

    /// Removes what the pointer names.
    pub(crate) fn remove(pointer: &str) -> Self {
        Self { pointer: pointer.to_owned(), value: None }
    }

    fn apply(&self, document: &mut Value) {
        let (parent, last) =
            self.pointer.rsplit_once('/').or_panic("a pointer begins with a slash");
        let mut place = document;
        for word in parent.split('/').skip(1) {
            place = child(place, &unescape(word));
        }
        let last = unescape(last);
        match &self.value {
            Some(value) => *child(place, &last) = value.clone(),
            None => remove(place, &last),
        }
    }
}

/// The document's bytes after all changes.
pub(crate) fn apply(mut document: Value, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        edit.apply(&mut document);
    }
    document.to_string().into_bytes()
}

fn unescape(word: &str) -> String {
    word.replace("~1", "/").replace("~0", "~")
}

fn child<'a>(place: &'a mut Value, word: &str) -> &'a mut Value {
    if let Value::Array(list) = place {
        let index =
            if word == "-" { list.len() } else { word.parse().or_panic("an index of a list") };
        if index >= list.len() {
            list.resize(index + 1, Value::Null);
        }
        return &mut list[index];
    }
    if !place.is_object() {
        *place = Value::Object(Map::new());
    }
    &mut place[word]
}

fn remove(place: &mut Value, word: &str) {
    match place {
        Value::Array(list) => drop(list.remove(word.parse().or_panic("an index of a list"))),
        Value::Object(map) => drop(map.remove(word)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pointers_reach_lists_and_make_parents() {
        let document = json!({ "layers": [{ "size": 1 }, {}], "a": 1 });
        let edits = [
            Edit::set("/layers/0/size", json!(7)),
            Edit::set("/layers/-", json!("new")),
            Edit::set("/x/y~1z", Value::Null),
            Edit::remove("/layers/1"),
            Edit::remove("/a"),
        ];
        assert_eq!(
            String::from_utf8(apply(document, &edits)).unwrap(),
            r#"{"layers":[{"size":7},"new"],"x":{"y/z":null}}"#
        );
    }
}
