//! Any bytes as an uncompressed layer, read to its end with all content.
#![no_main]

use std::io;

use layer_format::layer::Reader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes);
    while let Ok(Some(_)) = reader.read_change() {
        if io::copy(&mut reader, &mut io::sink()).is_err() {
            return;
        }
    }
});
