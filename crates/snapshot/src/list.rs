//! The differences, listed: a line, or an element of a JSON array, for each.

use std::io::Write as _;

use cli::{Array, Form, Io, put_bytes};
use layer_format::layer::{Change, Entry, EntryPath};
use rootfs::{Attributes, ChangeKind, Difference};
use serde_json::{Map, Value};

/// Writes the list to standard output.
pub(crate) fn write<'a>(
    differences: impl Iterator<Item = Difference<'a>>,
    form: Form,
    io: &mut Io<'_>,
) -> anyhow::Result<()> {
    let changes = differences.filter(|difference| difference.kind != ChangeKind::Above);
    let mut array = Array::default();
    for Difference { kind, change, .. } in changes {
        let (Change::Add(Entry { path, .. }) | Change::Remove(path) | Change::Opaque(path)) =
            &change;
        match form {
            Form::Text => writeln!(io.output, "{} {path}", letter(kind))?,
            Form::Null => {
                write!(io.output, "{} ", letter(kind))?;
                io.output.write_all(bytes(path))?;
                io.output.write_all(b"\0")?;
            }
            Form::Json => array.element(&json(kind, path), &mut io.output)?,
        }
    }
    if form == Form::Json {
        array.end(&mut io.output)?;
    }
    Ok(io.output.flush()?)
}

/// The letter that stands for a change: added, changed or deleted.
fn letter(kind: ChangeKind) -> char {
    match kind {
        ChangeKind::Added => 'A',
        ChangeKind::Changed(_) | ChangeKind::Above => 'C',
        ChangeKind::Removed => 'D',
    }
}

/// The path as it is written; the root is `.`.
fn bytes(path: &EntryPath) -> &[u8] {
    if path.is_root() { b"." } else { path.as_bytes() }
}

fn json(kind: ChangeKind, path: &EntryPath) -> String {
    let mut fields = Map::new();
    fields.insert("change".to_owned(), letter(kind).to_string().into());
    put_bytes(&mut fields, "path", bytes(path));
    if let ChangeKind::Changed(attributes) = kind {
        fields.insert("attributes".to_owned(), names(attributes));
    }
    Value::Object(fields).to_string()
}

fn names(attributes: Attributes) -> Value {
    attributes.iter().map(|attribute| attribute.name().into()).collect::<Vec<Value>>().into()
}
