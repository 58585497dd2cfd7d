//! Any bytes as something compressed. At most 16 MiB are inflated: bombs are the caller's to stop.
#![no_main]

use std::io::{self, Read};

use layer_format::Decoder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoder) = Decoder::new(bytes) {
        drop(io::copy(&mut decoder.take(16 << 20), &mut io::sink()));
    }
});
