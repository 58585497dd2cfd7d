//! Begins to decompress in the middle of a byte.
//!
//! A deflate block may begin at any bit. The decompressor begins at a whole byte, so it is given empty blocks first, which make
//! nothing and are together as many bits longer than whole bytes as are to be passed over. What follows them in the last byte
//! are the byte's own bits.

/// Bits, the lowest of each byte first, as deflate has them (RFC 1951, section 3.1.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many bits of the last byte are used; 0 if all are.
    used: u8,
}

impl Bits {
    /// Adds the lowest `n` bits of a number, the lowest first.
    fn put(&mut self, bits: u32, n: u32) {
        for position in 0..n {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(bits >> position & 1 == 1) << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

/// The bytes that pass over the lowest `bit` bits (fewer than 8) of `byte`, which is the last of them.
pub(super) fn prefix(byte: u8, bit: u8) -> Vec<u8> {
    let mut bits = Bits::default();
    if bit % 2 == 1 {
        put_empty_dynamic(&mut bits);
    }
    while bits.used != bit {
        put_empty_fixed(&mut bits);
    }
    if let Some(last) = bits.bytes.last_mut().filter(|_| bit > 0) {
        *last |= byte & (0xff << bit);
    }
    bits.bytes
}

/// An empty block with the fixed codes, of 10 bits: not the last one, type 1, and the code for the end, which is seven zeros.
fn put_empty_fixed(bits: &mut Bits) {
    bits.put(0b010, 3);
    bits.put(0, 7);
}

/// An empty block with codes of its own, of 93 bits (RFC 1951, section 3.2.7). Its only code is that for the end.
fn put_empty_dynamic(bits: &mut Bits) {
    // Not the last one, type 2; 257 codes of literals, 1 of distances, 18 of lengths.
    bits.put(0b100, 3);
    bits.put(0, 5);
    bits.put(0, 5);
    bits.put(18 - 4, 4);
    // The lengths of the codes for 16, 17, 18, 0, 8, 7 … 14, 1: two bits for 18 and 1, one bit for 0.
    for length in [0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] {
        bits.put(length, 3);
    }
    // 256 zeros: twice the code for 18, which is the second of two bits (written from its highest bit), with 138 and 118.
    for repeat in [138 - 11, 118 - 11] {
        bits.put(0b11, 2);
        bits.put(repeat, 7);
    }
    // The end has a code of length 1, the distance none.
    bits.put(0b01, 2);
    bits.put(0, 1);
    // The end.
    bits.put(0, 1);
}

#[cfg(test)]
mod tests {
    use zlib_rs::{Inflate, InflateFlush, Status};

    use super::*;

    /// A stored block after any number of bits that have nothing to do with it.
    #[test]
    fn any_number_of_bits_is_passed_over() {
        for bit in 0..8 {
            let mut bits = Bits::default();
            bits.put(0xff, bit.into());
            // The last block, type 0, and what is left of the byte.
            bits.put(0b001, 3);
            while bits.used != 0 {
                bits.put(0, 1);
            }
            bits.bytes.extend([2, 0, !2, !0, b'a', b'b']);
            let mut input = prefix(bits.bytes[0], bit);
            input.extend(&bits.bytes[usize::from(bit > 0)..]);
            let mut output = [0; 8];
            let mut inflate = Inflate::new(false, 15);
            let status = inflate.decompress(&input, &mut output, InflateFlush::NoFlush).unwrap();
            assert_eq!(
                (status, inflate.total_out(), &output[..2]),
                (Status::StreamEnd, 2, &b"ab"[..])
            );
        }
    }
}
