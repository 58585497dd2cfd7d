//! Tables for people: columns as wide as what is in them.

use std::io::{self, Write};

use crate::report;

/// Rows of cells under a line of titles.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these titles and no rows.
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(|&title| title.to_owned()).collect()] }
    }

    /// Adds a row; hostile characters are escaped.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let clean = |cell: S| report::clean(cell.as_ref()).into_owned();
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// Writes it, the columns three blanks apart.
    pub fn write(&self, output: &mut impl Write) -> io::Result<()> {
        let mut widths = vec![];
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let padded = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            writeln!(output, "{}", padded.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        table.row(["größe", "1 kB"]);
        table.row(["\x1b", ""]);
        let mut text = vec![];
        table.write(&mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "NAME    SIZE\ngröße   1 kB\n\\x1b\n");
    }
}
