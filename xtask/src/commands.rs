//! Which commands the project has: the only list that man pages, completions, docs/cli.md and `dist` go by.

/// A command's name and what makes its definition.
pub(crate) type Entry = (&'static str, fn() -> clap::Command);

/// Every command, in the order in which docs/cli.md shows them.
///
/// A line each, with `use clap::CommandFactory as _;` above: `("pull", pull::Args::command),`
pub(crate) const COMMANDS: &[Entry] = &[];
