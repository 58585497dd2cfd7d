//! The file systems of a scan.

use std::sync::{Mutex, PoisonError};

/// The file systems that a scan has met. Each has a number; that of the root is 0.
#[derive(Debug)]
pub(super) struct Devices {
    /// The major and the minor number of the root's.
    top: (u32, u32),
    /// Those of the others.
    others: Mutex<Vec<(u32, u32)>>,
}

impl Devices {
    /// The number of the root's file system.
    pub(super) const TOP: u16 = 0;

    /// Knows only the root's.
    pub(super) fn new(top: (u32, u32)) -> Self {
        Self { top, others: Mutex::default() }
    }

    /// The number of a file system.
    pub(super) fn number(&self, device: (u32, u32)) -> u16 {
        if device == self.top {
            return Self::TOP;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let place = others.iter().position(|&other| other == device).unwrap_or_else(|| {
            others.push(device);
            others.len() - 1
        });
        u16::try_from(place + 1).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_has_a_number_of_its_own() {
        let devices = Devices::new((8, 1));
        let numbers = [(8, 1), (0, 5), (0, 6), (0, 5), (8, 1)].map(|device| devices.number(device));
        assert_eq!(numbers, [0, 1, 2, 1, 0]);
    }
}
