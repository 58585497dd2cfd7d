//! What has changed, a line each.

use std::io::Write as _;

use cli::{Array, Io};
use layer_format::layer::{Change, Entry, EntryPath};
use rootfs::{Attributes, Difference, What};
use serde_json::{Map, Value};

/// How a list is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Null,
    Json,
}

/// Prints the list.
pub(crate) fn write<'a>(
    differences: impl Iterator<Item = Difference<'a>>,
    form: Form,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let changes = differences.filter(|difference| difference.what != What::Above);
    let mut array = Array::default();
    for Difference { what, change, .. } in changes {
        let (Change::Add(Entry { path, .. }) | Change::Remove(path) | Change::Opaque(path)) =
            &change;
        match form {
            Form::Text => writeln!(io.output, "{} {path}", letter(what))?,
            Form::Null => {
                write!(io.output, "{} ", letter(what))?;
                io.output.write_all(bytes(path))?;
                io.output.write_all(b"\0")?;
            }
            Form::Json => array.element(&json(what, path), &mut io.output)?,
        }
    }
    if form == Form::Json {
        array.end(&mut io.output)?;
    }
    Ok(io.output.flush()?)
}

fn letter(what: What) -> char {
    match what {
        What::Added => 'A',
        What::Changed(_) | What::Above => 'C',
        What::Removed => 'D',
    }
}

fn bytes(path: &EntryPath) -> &[u8] {
    if path.is_root() { b"." } else { path.as_bytes() }
}

fn json(what: What, path: &EntryPath) -> String {
    let mut fields = Map::new();
    fields.insert("change".to_owned(), letter(what).to_string().into());
    fields.insert("path".to_owned(), String::from_utf8_lossy(bytes(path)).into());
    if std::str::from_utf8(bytes(path)).is_err() {
        fields.insert("pathBytes".to_owned(), bytes(path).into());
    }
    if let What::Changed(attributes) = what {
        fields.insert("attributes".to_owned(), names(attributes));
    }
    Value::Object(fields).to_string()
}

fn names(attributes: Attributes) -> Value {
    attributes.iter().map(|attribute| attribute.name().into()).collect::<Vec<Value>>().into()
}
