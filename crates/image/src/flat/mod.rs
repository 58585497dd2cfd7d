//! An image's layers as one: each name once, as it is in the end, or only the names that are wanted.
//!
//! Which entries of the layers remain is known before the first is written ([`Plan`]). Then each layer that holds the content of
//! one is read, base first, and they go to a [`Sink`] as they come ([`write()`]).

mod plan;
mod selection;
mod walk;

pub use plan::{Copies, Plan};
pub use selection::{Select, Verdict};
pub use walk::{Sink, write};
