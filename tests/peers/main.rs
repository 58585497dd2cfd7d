//! The same promises against real peers: other people's registries, engines and tools, as they are installed here.
//!
//! What most of them are given is the image of [`debian`]: Debian itself under layers that do all that layers can do.
//! Where a peer is known to be wrong, the fault stands beside the test that meets it, with its reason and no wider than
//! it is ([`faults`]).

extern crate tests as kit;

mod chroot;
mod debian;
mod faults;
mod layers;
mod reference;
mod trees;
