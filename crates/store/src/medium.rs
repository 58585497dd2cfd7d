//! The file system that a store is on, and whether its locks work there.
//!
//! Leases and gc are made for one machine: a lock must keep every other program out, and a file that one program has made must
//! be visible to the next. Network drives promise neither to other machines, and a FUSE file system that is mounted twice has
//! two caches and two sets of locks. Programs can read and write there as long as none removes anything. So gc, which removes,
//! checks the file system first.

use std::fs::File;

use rustix::fs::statfs;

use crate::Result;
use crate::error::Error;
use crate::locked_file::try_lock;
use crate::store::Store;

/// File systems that others may see too, by the type that `statfs` gives (linux/magic.h and their own sources).
const SHARED: [(u32, &str); 19] = [
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "a FUSE file system"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x4750_4653, "GPFS"),
    (0x2003_0528, "OrangeFS"),
    (0x1983_0326, "BeeGFS"),
    (0x786f_4256, "a VirtualBox folder"),
    (0xbacb_acbc, "a VMware folder"),
    (0x00c0_ffee, "a folder of the host"),
];

impl Store {
    /// Checks that blobs can be removed from this store while other programs use it.
    ///
    /// # Errors
    /// [`Error::Shared`] on a file system that other machines or mounts may use, [`Error::LocksNothing`] if its locks don't work.
    pub fn check_medium(&self) -> Result<()> {
        // Any of the folders may be a link to somewhere else.
        for folder in ["", "blobs", "blobs/sha256", "strata"] {
            let path = self.path().join(folder);
            let found = match statfs(&path) {
                Err(rustix::io::Errno::NOENT) => continue,
                found => found.map_err(|errno| Error::io("looking at", &path)(errno.into()))?,
            };
            if let Some(kind) = shared(found.f_type) {
                return Err(Error::Shared { path: self.path().to_owned(), kind });
            }
        }
        self.probe_lock()
    }

    /// Takes the store's lock and checks that it can't be taken again through another open file.
    fn probe_lock(&self) -> Result<()> {
        let _guard = self.lock()?;
        let path = self.lock_path();
        let other = File::open(&path).map_err(Error::io("opening", &path))?;
        if try_lock(&other).map_err(Error::io("locking", &path))? {
            return Err(Error::LocksNothing { path: self.path().to_owned() });
        }
        Ok(())
    }
}

/// The name of a file system that others may use too, by its type: a number of 32 bits, whatever integer the system has it in.
fn shared(kind: impl TryInto<i64>) -> Option<&'static str> {
    let kind = kind.try_into().ok()? & 0xffff_ffff;
    SHARED.iter().find(|(magic, _)| i64::from(*magic) == kind).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_that_other_machines_see_are_told_from_disks() {
        assert_eq!(shared(0x6969), Some("NFS"));
        assert_eq!(shared(0xff53_4d42_u32), Some("CIFS"));
        // As it comes from a system whose word is signed.
        assert_eq!(shared(0xff53_4d42_u32.cast_signed()), Some("CIFS"));
        for disk in [0xef53, 0x5846_5342, 0x0102_1994, 0x9123_683e_u32] {
            assert_eq!(shared(disk), None, "{disk:x}");
        }
    }

    #[test]
    fn a_lock_on_a_disk_keeps_others_out() {
        let (_dir, store) = Store::temporary();
        store.probe_lock().unwrap();
    }
}
