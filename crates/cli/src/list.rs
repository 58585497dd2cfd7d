//! Lists as they are printed: for people in a table, for `xargs -0`, for programs in JSON.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::text::{clean, clean_json, padded, width};

/// The form in which a list is printed.
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

/// Writes a JSON array as its elements come, with nothing in it that a terminal would obey.
#[derive(Debug, Default)]
pub struct Array {
    n_elements: u64,
}

impl Array {
    /// Writes an element, which is JSON on one line.
    ///
    /// # Errors
    /// Those of the output.
    pub fn element(&mut self, element: &str, output: &mut impl Write) -> io::Result<()> {
        let before = if self.n_elements == 0 { "[\n" } else { ",\n" };
        self.n_elements += 1;
        write!(output, "{before}{}", clean_json(element))
    }

    /// Ends the array; one without elements is `[]`.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(if self.n_elements == 0 { b"[]\n" } else { b"\n]\n" })
    }
}

/// Rows of cells under a line of titles.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Columns,
}

impl Table {
    /// A table with these titles and no rows.
    pub fn new(titles: &[&str]) -> Self {
        let mut columns = Columns::default();
        columns.row(titles);
        Self { columns }
    }

    /// Adds a row; hostile characters are escaped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.columns.row(cells);
    }

    /// Writes the table, its columns three blanks apart and as wide as their widest cell.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        self.columns.write(output)
    }
}

/// Rows of cells without titles, for lines that other programs read too.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// Adds a row; hostile characters are escaped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|cell| clean(cell.as_ref()).into_owned()).collect());
    }

    /// Writes the rows, their columns three blanks apart and as wide as their widest cell.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; n_columns];
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &widest)| padded(cell, widest));
            writeln!(output, "{}", cells.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        Ok(())
    }
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

    #[track_caller]
    fn check_array(elements: &[&str], expected: &str) {
        let mut array = Array::default();
        let mut output = vec![];
        for element in elements {
            array.element(element, &mut output).unwrap();
        }
        array.end(&mut output).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    #[test]
    fn an_element_is_a_line() {
        check_array(&[], "[]\n");
        check_array(&["1"], "[\n1\n]\n");
        check_array(&["1", "\"\u{202e}\""], "[\n1,\n\"\\u202e\"\n]\n");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(["größe", "1 kB"]);
        table.row(["名前", "7 B"]);
        table.row(["\x1b", ""]);
        let mut text = vec![];
        table.write(&mut text).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "NAME    SIZE\ngröße   1 kB\n名前    7 B\n\\x1b\n"
        );
    }
}
