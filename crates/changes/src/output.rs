//! The differences, as they are written to standard output.

use std::io::Write as _;

use cli::{Array, Form, Output, Table, put_bytes};
use image::edit::Setting;
use layer_format::layer::EntryPath;
use serde_json::{Map, Value};

use crate::compare::Difference;
use crate::stat::Line;

/// A report under way.
pub(crate) struct Report<'a> {
    form: Form,
    output: &'a mut Output,
    array: Array,
    /// The number of differences, or sums, so far.
    n_told: u64,
    /// The sums of directories as text, which are written at the end.
    table: Option<Table>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(form: Form, output: &'a mut Output) -> Self {
        Self { form, output, array: Array::default(), n_told: 0, table: None }
    }

    /// Writes a difference of configs.
    pub(crate) fn setting(&mut self, setting: &Setting) -> anyhow::Result<()> {
        if self.form == Form::Json {
            return self.element(&setting.object());
        }
        self.line(cli::text::clean(&setting.to_string()).as_bytes())
    }

    /// Writes a difference at a path.
    pub(crate) fn difference(&mut self, difference: &Difference<'_>) -> anyhow::Result<()> {
        let Difference { path, before, after, attributes, .. } = difference;
        let letter = letter(before.is_some(), after.is_some());
        let names: Vec<&str> = attributes.iter().map(rootfs::Attribute::name).collect();
        match self.form {
            Form::Json => {
                let mut fields = Map::new();
                fields.insert("change".to_owned(), letter.into());
                put_bytes(&mut fields, "path", bytes(path));
                if !names.is_empty() {
                    fields.insert("attributes".to_owned(), names.into());
                }
                let sizes = [("sizeBefore", before), ("sizeAfter", after)];
                let sizes = sizes.map(|(key, node)| Some((key.to_owned(), node.as_ref()?.size()?)));
                fields.extend(sizes.into_iter().flatten().map(|(key, size)| (key, size.into())));
                self.element(&fields.into())
            }
            Form::Null => self.line(&[letter.as_bytes(), b" ", bytes(path)].concat()),
            Form::Text if names.is_empty() => self.line(format!("{letter} {path}").as_bytes()),
            Form::Text => self.line(format!("{letter} {path}  {}", names.join(" ")).as_bytes()),
        }
    }

    /// Writes the sums of a directory.
    pub(crate) fn stat(&mut self, line: &Line) -> anyhow::Result<()> {
        let Line { directory, sums } = line;
        if self.form == Form::Json {
            let mut fields = Map::new();
            put_bytes(&mut fields, "directory", bytes(directory));
            fields.insert("added".to_owned(), sums.n_added.into());
            fields.insert("changed".to_owned(), sums.n_changed.into());
            fields.insert("removed".to_owned(), sums.n_removed.into());
            // No file system holds so much that it would not fit.
            fields
                .insert("growth".to_owned(), i64::try_from(sums.growth).unwrap_or(i64::MAX).into());
            return self.element(&fields.into());
        }
        self.n_told += 1;
        let table = self.table.get_or_insert_with(|| {
            Table::new(&["ADDED", "CHANGED", "REMOVED", "GROWTH", "DIRECTORY"])
        });
        table.row([
            sums.n_added.to_string(),
            sums.n_changed.to_string(),
            sums.n_removed.to_string(),
            growth(sums.growth),
            directory.to_string(),
        ]);
        Ok(())
    }

    /// Ends the report; gives the number of differences.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        if let Some(table) = &self.table {
            table.write(self.output)?;
        }
        if self.form == Form::Json {
            self.array.end(self.output)?;
        }
        self.output.flush()?;
        Ok(self.n_told)
    }

    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        self.n_told += 1;
        self.output.write_all(line)?;
        Ok(self.output.write_all(if self.form == Form::Null { b"\0" } else { b"\n" })?)
    }

    fn element(&mut self, element: &Value) -> anyhow::Result<()> {
        self.n_told += 1;
        Ok(self.array.element(&element.to_string(), self.output)?)
    }
}

/// The letter that stands for a change: added, changed or deleted.
fn letter(is_before: bool, is_after: bool) -> &'static str {
    match (is_before, is_after) {
        (false, _) => "A",
        (true, true) => "C",
        (true, false) => "D",
    }
}

/// A number of bytes as text, with its sign.
fn growth(bytes: i128) -> String {
    let size = cli::human_size(u64::try_from(bytes.unsigned_abs()).unwrap_or(u64::MAX));
    match bytes {
        0 => size,
        ..0 => format!("-{size}"),
        1.. => format!("+{size}"),
    }
}

/// The path as it is written; the root is `.`.
fn bytes(path: &EntryPath) -> &[u8] {
    if path.is_root() { b"." } else { path.as_bytes() }
}
