//! Pipelines of the real binaries: several programs, real pipes, the kit's registry, strangers' archives.
//!
//! A module is a promise. Everything runs in a sandbox of its own with a cleared environment, on loopback, without a
//! clock. Only [`damage`] also calls a command in-process: it has thousands of cases.

#![cfg(test)]

extern crate tests as kit;

mod ahead;
mod archives;
mod artifacts;
mod bundle;
mod changes;
mod choices;
mod coming_from;
mod commit;
mod common_options;
mod containers;
mod damage;
mod disks;
mod dry_run;
mod env_file;
mod fixtures;
mod flatten;
mod forms;
mod gc;
mod hints;
mod hostile;
mod hostile_archives;
mod id_maps;
mod images;
mod json;
mod limits;
mod listings;
mod lists;
mod load;
mod logins;
mod memory;
mod messages;
mod mirrors;
mod mounts;
mod names;
mod network;
mod no_layers;
mod offline;
mod old_readers;
mod options;
mod outputs;
mod parts;
mod pipes;
mod proxies;
mod push;
mod push_to;
mod race;
mod rebase;
mod referrers;
mod registries;
mod registry;
mod remote;
mod remote_login;
mod resume;
mod round_trip;
mod screen;
mod screen_faults;
mod seek;
mod selection;
mod shared_store;
mod sharing;
mod signals;
mod snapshot;
mod strangers;
mod target;
mod totals;
mod turmoil;
mod union;
mod union_command;
mod union_places;
mod verdicts;
mod waste;
mod without_layers;
