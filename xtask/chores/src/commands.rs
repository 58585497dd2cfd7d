//! Which commands the project has: the only list that man pages, completions, docs/cli.md and `dist` go by.

use clap::CommandFactory as _;

/// A command's name and what makes its definition.
pub(crate) type Entry = (&'static str, fn() -> clap::Command);

/// Every command, in the order in which docs/cli.md shows them.
pub(crate) const COMMANDS: &[Entry] = &[
    ("pull", pull::Args::command),
    ("unpack", unpack::Args::command),
    ("snapshot", snapshot::Args::command),
    ("commit", commit::Args::command),
    ("rebase", rebase::Args::command),
    ("save", save::Args::command),
    ("load", load::Args::command),
    ("push", push::Args::command),
    ("remote", remote::Args::command),
    ("images", images::Args::command),
    ("inspect", inspect::Args::command),
    ("flatten", flatten::Args::command),
    ("changes", changes::Args::command),
    ("union", union::Args::command),
    ("strata", strata::Args::command),
];
