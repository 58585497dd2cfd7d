//! A JSON array, an element a line.

use std::io::{self, Write};

use crate::report::clean_json;

/// Writes a JSON array as its elements come, with nothing in it that a terminal would obey.
#[derive(Debug, Default)]
pub struct Array {
    n_elements: u64,
}

impl Array {
    /// Writes an element, which is JSON.
    pub fn element(&mut self, element: &str, output: &mut impl Write) -> io::Result<()> {
        let before = if self.n_elements == 0 { "[\n" } else { ",\n" };
        self.n_elements += 1;
        write!(output, "{before}{}", clean_json(element))
    }

    /// Ends it.
    pub fn end(self, output: &mut impl Write) -> io::Result<()> {
        output.write_all(if self.n_elements == 0 { b"[]\n" } else { b"\n]\n" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(elements: &[&str], expected: &str) {
        let (mut array, mut output) = (Array::default(), vec![]);
        for element in elements {
            array.element(element, &mut output).unwrap();
        }
        array.end(&mut output).unwrap();
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }

    #[test]
    fn an_element_is_a_line() {
        check(&[], "[]\n");
        check(&["1"], "[\n1\n]\n");
        check(&["1", "\"\u{202e}\""], "[\n1,\n\"\\u202e\"\n]\n");
    }
}
