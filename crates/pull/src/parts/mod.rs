//! Large blobs in parts: several connections at once work on the blob that is wanted first, then on the next.
//!
//! ```text
//! registry ──┬─► connection ──► part in memory ──┐
//!            ├─► connection ──► part in memory ──┼─► reader, in the blob's order
//!            └─► connection ──► part in memory ──┘
//! ```
//!
//! Registries and their storage limit what one connection brings, and on a long line so does the round trip. A fixed number of
//! parts is in memory, most of them of the first blob that is read, and a reader gets each piece of the part that it is at when
//! it comes. A part is as large as what a connection brings in a second: on a slow line, what an interruption loses is little. A
//! part that breaks or stalls is asked for again by itself, and the rest of one that a connection brings far more slowly than
//! others do, by another connection that has nothing to do. A server that gives no parts gives the whole blob, by one connection.

mod connections;
mod pace;
mod reader;
mod state;

pub(crate) use self::connections::{EndsWork, Parts};
pub(crate) use self::reader::Content;

#[cfg(test)]
mod tests;
