//! Any bytes as an image archive: an error or an image, never a panic, and nothing held beyond the limits.
#![no_main]

use std::io::{self, Cursor};

use stream::archive::{Archive, Choice};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let spool = Box::new(|| Err(io::Error::other("no spool")));
    let Ok(mut archive) = Archive::from_reader(Cursor::new(bytes.to_vec()), spool) else { return };
    let Ok(image) = archive.image(&Choice::default()) else { return };
    for position in 0..image.layers.len() {
        let Ok(mut layer) = archive.layer(&image, position) else { return };
        if io::copy(&mut layer, &mut io::sink()).is_err() {
            return;
        }
    }
    drop(archive.finish());
});
