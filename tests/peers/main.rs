//! The same promises against real peers: other people's registries, engines and tools, as they are installed here.
//!
//! What most of them are given is the image of [`debian`]: Debian itself under [`layers`] that do all that layers can do;
//! where Debian isn't the point, a small one of those layers alone.
//! Where a peer is known to be wrong, the fault stands beside the test that meets it, with its reason and no wider than
//! it is ([`faults`]).

extern crate tests as kit;

mod archives;
mod bundles;
mod changes;
mod chroot;
mod coming_from;
mod commit;
mod debian;
mod deletions;
mod dive;
mod faults;
mod flatten;
mod full;
mod joined;
mod layers;
mod loads;
mod logins;
mod media;
mod mirror;
mod nginx;
mod offline;
mod peculiar;
mod power_cut;
mod private;
mod published;
mod push;
mod rebase;
mod reference;
mod remote;
mod same;
mod settings;
mod skopeo_dir;
mod snapshot;
mod ssh;
mod store;
mod store_faults;
mod sync;
mod sync_order;
mod tokens;
mod transcripts;
mod trees;
mod union;
mod vim;
mod with_others;
mod without_calls;
