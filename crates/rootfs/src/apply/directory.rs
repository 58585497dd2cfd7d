//! An open directory beneath the root. Work inside it moves its times and may need permissions that it doesn't give:
//! both are put back when the walk leaves it, so that nothing has to be remembered about a directory after that.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::Timestamp;
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::error::{Doing, Failure};
use crate::metadata::{self, Attributes, Inode, Leftovers, Present, Setter};
use crate::xattrs;

/// What the owner needs to work in a directory.
const WORKABLE: u32 = 0o700;

#[derive(Debug)]
pub(super) struct Directory {
    fd: OwnedFd,
    /// Where its path ends within the walk's.
    pub(super) end: usize,
    present: Present,
    /// What it shall have when the walk leaves it.
    mode: u32,
    mtime: Timestamp,
    /// Whether its times have moved, or may have.
    changed: bool,
    /// Whether an entry said what it shall have. If nobody did, a refusal to put it back is no error.
    described: bool,
    births: Option<Birth>,
    inheritance: Option<Leftovers>,
}

/// What new inodes in a directory are like: learnt from the first of them, because umask, the directory's setgid bit and
/// default ACL, mount options and user namespaces all have a say in it.
#[derive(Clone, Copy, Debug)]
struct Birth {
    owner: (u32, u32),
    /// Mode bits that are known to be granted, and to be withheld.
    granted: u32,
    withheld: u32,
}

impl Directory {
    /// Takes a directory that lies at `path[..end]`. `mode` is what it had, if that was changed to open it.
    pub(super) fn new(fd: OwnedFd, end: usize, mode: Option<u32>) -> Result<Self, Failure> {
        let stat = rustix::fs::fstat(&fd).doing("opening the directory")?;
        let present = Present::of(&stat, Leftovers::Possible);
        let mode = mode.unwrap_or(present.mode);
        let mtime = Timestamp {
            seconds: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        Ok(Self {
            fd,
            end,
            present,
            mode,
            mtime,
            changed: false,
            described: false,
            births: None,
            inheritance: None,
        })
    }

    /// Gives its owner, if that is us, what work in it takes.
    pub(super) fn unlock(&mut self, uid: u32) -> Result<(), Failure> {
        if self.present.mode & WORKABLE != WORKABLE && self.present.owner.0 == uid {
            self.present.mode |= WORKABLE;
            metadata::set_mode(Inode::Open(self.fd.as_fd()), self.present.mode)?;
        }
        Ok(())
    }

    /// Notes that what is done next moves its times.
    pub(super) fn change(&mut self) {
        self.changed = true;
    }

    /// Gives it all of an entry's attributes.
    pub(super) fn describe(
        &mut self,
        setter: &mut Setter,
        wanted: &Attributes<'_>,
        leftovers: Leftovers,
    ) -> Result<(), Failure> {
        let mode = wanted.mode.unwrap_or(self.mode);
        let open = Attributes { mode: Some(mode | WORKABLE), ..*wanted };
        self.present.xattrs = leftovers;
        if setter.set(Inode::Open(self.fd.as_fd()), self.present, &open)? {
            self.present.owner = wanted.owner;
        }
        self.present.mode = mode | WORKABLE;
        self.mode = mode;
        self.mtime = wanted.mtime;
        self.changed = true;
        self.described = true;
        // Owner, setgid bit and ACL are inherited.
        (self.births, self.inheritance) = (None, None);
        Ok(())
    }

    /// Puts back what work inside it has altered.
    pub(super) fn leave(&self) -> Result<(), Failure> {
        let inode = Inode::Open(self.fd.as_fd());
        let result = (|| {
            if self.present.mode != self.mode {
                metadata::set_mode(inode, self.mode)?;
            }
            if self.changed { metadata::set_times(inode, self.mtime) } else { Ok(()) }
        })();
        match result {
            Err(failure) if failure.errno() == Errno::PERM && !self.described => Ok(()),
            result => result,
        }
    }

    /// What an inode is like that has just been made in here with `mode`; `look` looks at it if nobody knows yet.
    pub(super) fn birth(
        &mut self,
        mode: u32,
        look: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<Stat>,
    ) -> Result<Present, Failure> {
        let xattrs = self.inheritance();
        let known = self.births.filter(|birth| mode & !(birth.granted | birth.withheld) == 0);
        if let Some(Birth { owner, withheld, .. }) = known {
            return Ok(Present { owner, mode: mode & !withheld, xattrs });
        }
        let stat = look(self.fd.as_fd()).doing("looking at the new file")?;
        let present = Present::of(&stat, xattrs);
        let before = self.births.map_or((0, 0), |birth| (birth.granted, birth.withheld));
        let (granted, withheld) = (before.0 | mode & present.mode, before.1 | mode & !present.mode);
        self.births = Some(Birth { owner: present.owner, granted, withheld });
        Ok(present)
    }

    /// Whether what is made in here comes with extended attributes.
    pub(super) fn inheritance(&mut self) -> Leftovers {
        let fd = self.fd.as_fd();
        *self.inheritance.get_or_insert_with(|| {
            if xattrs::has_default_acl(fd) { Leftovers::Possible } else { Leftovers::None }
        })
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
