//! Talk as programs read it: with `--progress json` each line on standard error is a JSON object. docs/json.md says which.

use serde_json::Value;

use crate::text::clean_json;

/// A line: an object that says which program it is of and of which type it is, and these fields in their order, with nothing
/// in it that a terminal would obey.
pub(crate) fn line<'k>(
    program: &str,
    kind: &str,
    fields: impl IntoIterator<Item = (&'k str, Value)>,
) -> String {
    let first = [("program", program.into()), ("type", kind.into())];
    let field = |(key, value): (&str, Value)| format!("{}:{value}", Value::from(key));
    let fields: Vec<_> = first.into_iter().chain(fields).map(field).collect();
    format!("{{{}}}\n", clean_json(&fields.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_the_order_of_its_fields_and_is_escaped() {
        let fields = [("status", "x\u{1}\u{85}é".into()), ("a\"b\\", 5.into())];
        assert_eq!(
            line("pull", "task", fields),
            "{\"program\":\"pull\",\"type\":\"task\",\"status\":\"x\\u0001\\u0085é\",\"a\\\"b\\\\\":5}\n"
        );
    }
}
