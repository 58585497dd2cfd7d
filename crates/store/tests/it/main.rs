//! What the store promises: to one program, to many at once, and to those that come after a killed one.

#![cfg(test)]

mod find;
mod full_disk;
mod gc;
mod index;
mod kit;
mod partial;
mod referrers;
mod turmoil;
