//! What programs may take for granted of an image, wherever it comes from.

#![cfg(test)]

mod kit;
mod opened;
