//! The command of CMD, ENTRYPOINT and HEALTHCHECK, in either of its forms.

use crate::shell_word::Reason;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A line for the image's shell.
    Shell(String),
    /// A program and its arguments.
    Exec(Vec<String>),
}

impl Command {
    /// Reads either form. A line that begins like a list and isn't JSON is a shell's, for example `[ -f x ] && y`.
    pub(crate) fn parse(text: &str) -> Result<Self, Reason> {
        match list(text)? {
            Some(words) => Ok(Self::Exec(words)),
            None => Ok(Self::Shell(text.to_owned())),
        }
    }
}

/// Reads a JSON list of strings; `None` if the text is no JSON list.
///
/// # Errors
/// If it is a list of something else.
pub(crate) fn list(text: &str) -> Result<Option<Vec<String>>, Reason> {
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Ok(None) };
    let string = |value| match value {
        serde_json::Value::String(text) => Ok(text),
        _ => Err("a list of anything but strings".to_owned()),
    };
    values.into_iter().map(string).collect::<Result<_, _>>().map(Some)
}
