//! Lists as they are printed: for people in a table, for `xargs -0`, for programs in JSON.

use std::io::{self, Write};

use serde_json::{Map, Value};

use crate::text::{clean, clean_json, cut, padded, width};

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

    /// Cuts these columns, the first of them first, so that rows are no wider than so many cells; a cut cell ends with `…`.
    /// Each keeps at least fifteen cells.
    pub fn cut_columns(&mut self, columns: &[usize], cells: usize) {
        for &column in columns {
            let widths = self.columns.widths();
            let too_many = total(&widths).saturating_sub(cells);
            let Some(&widest) = widths.get(column).filter(|_| too_many > 0) else { continue };
            let room = widest.saturating_sub(too_many).max(LEAST_CELLS);
            let these = self.columns.rows.iter_mut().filter_map(|row| row.get_mut(column));
            for cell in these.filter(|cell| width(cell) > room) {
                *cell = format!("{}…", cut(cell, room - 1));
            }
        }
    }

    /// Leaves these columns out, one after the other, until rows are no wider than so many cells. Tells how many.
    pub fn leave_out(&mut self, columns: &[usize], cells: usize) -> usize {
        let mut left_out = vec![];
        for &column in columns {
            if total(&self.columns.widths()) <= cells {
                break;
            }
            let n_before = left_out.iter().filter(|&&before| before < column).count();
            for row in self.columns.rows.iter_mut().filter(|row| row.len() > column - n_before) {
                row.remove(column - n_before);
            }
            left_out.push(column);
        }
        left_out.len()
    }
}

/// The cells of a row of columns.
fn total(widths: &[usize]) -> usize {
    let spaces = SPACE.len() * widths.len().saturating_sub(1);
    widths.iter().sum::<usize>() + spaces
}

/// What stands between two columns.
const SPACE: &str = "   ";
/// The cells that a column keeps on a narrow terminal.
const LEAST_CELLS: usize = 15;

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
        let widths = self.widths();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &widest)| padded(cell, widest));
            writeln!(output, "{}", cells.collect::<Vec<_>>().join(SPACE).trim_end())?;
        }
        Ok(())
    }

    /// The cells of each column: those of its widest cell.
    fn widths(&self) -> Vec<usize> {
        let n_columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; n_columns];
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = width(cell).max(*widest);
            }
        }
        widths
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

    fn text(table: &Table) -> String {
        let mut text = vec![];
        table.write(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    // docker/cli#1502, podman#5021: a table that is wider than the terminal can't be read.
    #[test]
    fn columns_are_cut_in_cells_to_what_there_is_room_for() {
        let mut table = Table::new(&["LAYER", "CREATED BY"]);
        table.row(["1", "RUN apt-get update && apt-get install"]);
        table.row(["2", "RUN 大きな名前のファイルを作る"]);
        table.row(["3", "short"]);
        table.row(["4", "COPY what just fits in"]);
        let cut = |cells| {
            let mut table = table.clone();
            table.cut_columns(&[1, 0], cells);
            text(&table)
        };
        assert_eq!(
            cut(30),
            "LAYER   CREATED BY\n1       RUN apt-get update &&…\n2       RUN 大きな名前のファ…\n\
             3       short\n4       COPY what just fits in\n"
        );
        assert_eq!(cut(10), cut(23), "fifteen cells stay");
        assert!(!cut(100).contains('…'));
    }

    #[test]
    fn a_column_is_cut_only_if_that_of_the_ones_before_was_not_enough() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["a".repeat(30), "b".repeat(30)]);
        let cut = |cells| {
            let mut table = table.clone();
            table.cut_columns(&[1, 0], cells);
            let text = text(&table);
            let row = text.lines().nth(1).unwrap().to_owned();
            (row.matches('a').count(), row.matches('b').count())
        };
        assert_eq!(
            [63, 62, 53, 52, 40].map(cut),
            [(30, 30), (30, 28), (30, 19), (30, 18), (21, 14)]
        );
    }

    #[test]
    fn columns_are_left_out_until_the_others_have_room() {
        let mut table = Table::new(&["A", "B", "C", "D"]);
        table.row(["1", "2", "3", "4"]);
        let titles = |cells| {
            let mut table = table.clone();
            table.leave_out(&[3, 1], cells);
            text(&table).lines().next().unwrap().replace(' ', "")
        };
        assert_eq!([13, 12, 9, 8, 1].map(titles), ["ABCD", "ABC", "ABC", "AC", "AC"]);
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
