//! The forms in which lists are printed, and what is said the same in all of them.

use serde_json::{Map, Value};

/// For whom a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: a line each.
    Text,
    /// For `xargs -0`: what names can hold, each ended by NUL.
    Null,
    /// For programs.
    Json,
}

impl Form {
    /// The form that the flags `--json` and `--null` ask for.
    pub const fn of(json: bool, null: bool) -> Self {
        match (json, null) {
            (true, _) => Self::Json,
            (false, true) => Self::Null,
            (false, false) => Self::Text,
        }
    }
}

/// Adds a name to a JSON object, which holds only text: `KEY` as far as it is text and, where it isn't all, `KEYBytes`.
pub fn put_bytes(fields: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    fields.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        fields.insert(format!("{key}Bytes"), bytes.into());
    }
}

/// A number of things, as people say it: `1 layer`, `2 layers`.
pub fn counted(n: u64, one: &str, many: &str) -> String {
    let what = if n == 1 { one } else { many };
    format!("{n} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_before_nul() {
        let forms = [(false, false), (false, true), (true, false), (true, true)];
        let forms = forms.map(|(json, null)| Form::of(json, null));
        assert_eq!(forms, [Form::Text, Form::Null, Form::Json, Form::Json]);
    }

    #[test]
    fn bytes_stand_beside_what_is_no_text() {
        let mut fields = Map::new();
        put_bytes(&mut fields, "path", "ü".as_bytes());
        put_bytes(&mut fields, "target", b"a\xff");
        let expected = r#"{"path":"ü","target":"a�","targetBytes":[97,255]}"#;
        assert_eq!(Value::Object(fields).to_string(), expected);
    }

    #[test]
    fn one_is_one() {
        let counted = |n: u64| counted(n, "entry", "entries");
        assert_eq!([0, 1, 2].map(counted), ["0 entries", "1 entry", "2 entries"]);
    }
}
