//! The forms of a list: lines for people, an array for programs.

use std::io::Write as _;

use cli::{Array, Output};
use serde_json::Value;

/// One line of a list.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) cells: Vec<String>,
    /// The element of the JSON array.
    pub(crate) json: Value,
}

/// Writes a list: the cells of each line in columns, or an array with an element a line.
pub(crate) fn write(lines: &[Line], is_json: bool, output: &mut Output) -> anyhow::Result<()> {
    if is_json {
        let mut array = Array::default();
        for line in lines {
            array.element(&line.json.to_string(), output)?;
        }
        array.end(output)?;
    } else {
        let mut columns = cli::Columns::default();
        for line in lines {
            columns.row(&line.cells);
        }
        columns.write(output)?;
    }
    Ok(output.flush()?)
}

/// Writes a document byte for byte; for a terminal, control characters are escaped.
pub(crate) fn document(raw: &[u8], output: &mut Output) -> anyhow::Result<()> {
    if output.is_terminal() {
        writeln!(output, "{}", cli::text::clean_text(raw))?;
    } else {
        output.write_all(raw)?;
    }
    Ok(output.flush()?)
}
