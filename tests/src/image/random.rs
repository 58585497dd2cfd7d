//! Images of any size that are the same on every machine.

use super::Image;
use super::layer::Layer;

/// A generator of numbers that look random (xorshift*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// An image of `n_layers` layers with about `n_files` entries each, up to 8 KiB a file: nested
/// directories, links, changed and removed files of the layers below, odd modes and times.
pub fn random(seed: u64, n_layers: usize, n_files: usize) -> Image {
    random_with(seed, n_layers, n_files, Times::Odd)
}

/// The times of a [`random_with`] image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// With fractions of seconds.
    Odd,
    /// Whole seconds, for machines that tell no fractions.
    Whole,
}

/// The same with times as said.
pub fn random_with(seed: u64, n_layers: usize, n_files: usize, times: Times) -> Image {
    let mut random = Random::new(seed);
    let mut below: Vec<String> = Vec::new();
    let mut image = Image::new();
    for n in 0..n_layers {
        let (layer, files) = random_layer(&mut random, n, n_files, &below, times);
        below = files;
        image = image.layer(layer);
    }
    image
}

/// One layer above files of another, and the files that are there afterwards.
fn random_layer(
    random: &mut Random,
    n: usize,
    n_files: usize,
    below: &[String],
    times: Times,
) -> (Layer, Vec<String>) {
    let dirs = [String::new(), format!("d{n}/"), format!("d{n}/deep/"), "shared/".to_owned()];
    let nanos = |odd| if times == Times::Odd { odd } else { 0 };
    let mut layer = Layer::new();
    for dir in dirs.iter().filter(|dir| !dir.is_empty()) {
        layer = layer.dir(dir, 0o755).mtime(crate::EPOCH, nanos(1));
    }
    let mut untouched: Vec<String> = below.to_vec();
    let mut files = Vec::new();
    for i in 0..n_files {
        let dir = &dirs[index(random, dirs.len())];
        let path = format!("{dir}f{n}.{i}");
        let choice = random.below(20);
        let old = (choice < 3 && !untouched.is_empty())
            .then(|| untouched.swap_remove(index(random, untouched.len())));
        layer = match (choice, old) {
            (0, Some(old)) => layer.whiteout(old),
            (_, Some(old)) => {
                let layer = layer.file(&old, format!("changed in layer {n}\n")).mode(0o600);
                files.push(old);
                layer
            }
            (4, _) => layer.symlink(&path, format!("../f{i}")),
            _ => {
                let content = content(random);
                let layer = layer.file(&path, content).mtime(crate::EPOCH, nanos(123_456_789));
                files.push(path);
                layer.mode(if choice == 3 { 0o4755 } else { 0o644 })
            }
        };
    }
    if let Some(last) = files.last() {
        layer = layer.hardlink(format!("d{n}/again"), last);
    }
    files.extend(untouched);
    (layer, files)
}

fn index(random: &mut Random, length: usize) -> usize {
    usize::try_from(random.below(length as u64)).unwrap_or_default()
}

/// Half text, half noise.
fn content(random: &mut Random) -> Vec<u8> {
    let length = usize::try_from(random.below(8192)).unwrap_or_default();
    if random.below(2) == 0 {
        return b"the same words again and again\n".iter().copied().cycle().take(length).collect();
    }
    random.bytes(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_image() {
        assert_eq!(random(7, 3, 40).digest(), random(7, 3, 40).digest());
        assert_ne!(random(7, 3, 40).digest(), random(8, 3, 40).digest());
    }
}
