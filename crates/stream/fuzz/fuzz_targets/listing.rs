//! Any bytes as a kept listing, and as one that was found good: what reads is written the same way again, and makes a tree
//! or is refused.
#![no_main]

use stream::listing::{ListingReader, ListingWriter, is_listing};
use layer_format::listing::{OwnLinks, Tree};
use layer_format::{DiffId, Digest};
use libfuzzer_sys::fuzz_target;

const MAGIC: &[u8] = b"strata listing 2\n";

fuzz_target!(|bytes: &[u8]| {
    let diff_id = DiffId(Digest::of(b"layer"));
    drop(is_listing(bytes, bytes.len() as u64, &diff_id));
    let listing = [MAGIC, bytes].concat();
    let Ok(Some(mut reader)) = ListingReader::new(&listing[..]) else { return };
    let (mut changes, mut links, mut tree) = (vec![], OwnLinks::new(), Tree::new());
    let mut writer = ListingWriter::new(vec![]);
    tree.begin_layer();
    while let Ok(Some(change)) = reader.read_change() {
        writer.write_change(&change, reader.content()).expect("memory takes all");
        links.take(&change);
        drop(tree.apply(&change));
        changes.push(change);
    }
    let again = writer.finish(&diff_id).expect("memory takes all");
    assert_eq!(is_listing(&again[..], again.len() as u64, &diff_id).ok(), Some(true));
    let mut reader = ListingReader::new(&again[..]).ok().flatten().expect("it is a listing");
    let read = std::iter::from_fn(|| reader.read_change().expect("it is a listing"));
    assert!(read.eq(changes));
});
