//! The flags that every command has, and the form of the examples below every `--help`.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::ValueEnum;

/// Flags of every command, to be flattened into its arguments.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Common {
    /// The store, where it isn't the usual one; with others after it, as DIR:DIR, that are only read
    #[arg(long, global = true, display_order = 899, value_name = "DIR", env = "STRATA_STORE")]
    pub store: Option<PathBuf>,

    /// Say nothing but errors, and warnings of what nobody expects
    #[arg(short, long, global = true, display_order = 900)]
    pub quiet: bool,

    /// How progress is shown on standard error
    #[arg(
        long,
        global = true,
        display_order = 901,
        value_name = "HOW",
        value_enum,
        default_value_t = When::Auto
    )]
    pub progress: When,
}

/// Parses the value of `--annotation`: a key that is no empty one, and a value.
///
/// # Errors
/// A text for the user, if it is none.
pub fn parse_annotation(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "an annotation is KEY=VALUE".to_owned())
}

/// When and how progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// Bars on a terminal, else a plain line now and then
    #[default]
    Auto,
    /// A line for each task, redrawn as it goes
    Bars,
    /// A line for each change, and now and then for what runs
    Plain,
    /// A JSON object a line; docs/json.md says which
    Json,
    /// Nothing
    None,
}

/// The examples below a command's `--help`: pairs of a command line and what it does.
///
/// ```
/// #[derive(clap::Parser)]
/// #[command(after_help = cli::examples(&[("pull nginx | unpack rootfs", "Unpack nginx in one pass")]))]
/// struct Args {}
/// ```
pub fn examples(examples: &[(&str, &str)]) -> String {
    let mut text = "Examples:".to_owned();
    for (line, meaning) in examples {
        write!(text, "\n  {line}\n      {meaning}").expect("a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[derive(clap::Parser, Debug)]
    #[command(name = "pull", after_help = examples(&[("pull nginx | unpack d", "In one pass")]))]
    struct Args {
        #[command(flatten)]
        common: Common,
    }

    #[test]
    fn the_flags_are_parsed() {
        let args = Args::parse_from(["pull", "-q", "--progress", "json"]);
        assert!(args.common.quiet);
        assert_eq!(args.common.progress, When::Json);
        assert_eq!(Args::parse_from(["pull"]).common.progress, When::Auto);
    }

    #[test]
    fn the_help_is_consistent_and_ends_with_examples() {
        Args::command().debug_assert();
        let help = Args::command().render_long_help().to_string();
        assert!(
            help.ends_with("Examples:\n  pull nginx | unpack d\n      In one pass\n"),
            "{help}"
        );
    }
}
