//! An open directory beneath the root. Work in it changes its times, and may take permissions that its mode doesn't give. Both
//! are restored when the walk leaves it, so that nothing has to be remembered of it later.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use layer_format::layer::Timestamp;
use rustix::fs::Stat;
use rustix::io::Errno;

use crate::error::{Doing, SystemError};
use crate::inode::InodeHandle;
use crate::metadata::{AttributeSetter, Leftovers, PresentAttributes, WantedAttributes};
use crate::xattrs;

/// The permissions that the owner needs to work in a directory.
const WORKABLE: u32 = 0o700;

#[derive(Debug)]
pub(super) struct OpenDirectory {
    fd: OwnedFd,
    /// The length of its path, which is the beginning of the walk's.
    pub(super) end: usize,
    /// Its attributes now.
    present: PresentAttributes,
    /// The mode that it gets when the walk leaves it.
    mode: u32,
    /// The time that it gets when the walk leaves it.
    mtime: Timestamp,
    /// Whether its times may have changed.
    has_changed: bool,
    /// Whether an entry has described it. If none has, mode and time need not be restored if the system refuses that.
    is_described: bool,
    births: Option<Birth>,
    inheritance: Option<Leftovers>,
}

/// The attributes that new inodes in a directory have. They are learnt from the first one, since they depend on the umask, on
/// the directory's setgid bit and default ACL, on mount options and on user namespaces.
#[derive(Clone, Copy, Debug)]
struct Birth {
    owner: (u32, u32),
    /// Mode bits that are known to be set when they are asked for.
    granted: u32,
    /// Mode bits that are known not to be set when they are asked for.
    withheld: u32,
}

impl OpenDirectory {
    /// Takes an open directory whose path has the length `end`. `mode` is its own if it was changed to open it.
    pub(super) fn new(fd: OwnedFd, end: usize, mode: Option<u32>) -> Result<Self, SystemError> {
        let stat = rustix::fs::fstat(&fd).doing("opening the directory")?;
        let present = PresentAttributes::of(&stat, Leftovers::Possible);
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
            has_changed: false,
            is_described: false,
            births: None,
            inheritance: None,
        })
    }

    /// Gives its owner, if that is `uid`, the permissions that work in it takes.
    pub(super) fn unlock(&mut self, uid: u32) -> Result<(), SystemError> {
        if self.present.mode & WORKABLE != WORKABLE && self.present.owner.0 == uid {
            self.present.mode |= WORKABLE;
            self.handle().set_mode(self.present.mode)?;
        }
        Ok(())
    }

    /// Notes that what is done next changes its times.
    pub(super) fn change(&mut self) {
        self.has_changed = true;
    }

    /// Gives it the attributes of an entry.
    pub(super) fn describe(
        &mut self,
        setter: &mut AttributeSetter,
        wanted: &WantedAttributes<'_>,
        leftovers: Leftovers,
    ) -> Result<(), SystemError> {
        let mode = wanted.mode.unwrap_or(self.mode);
        let open = WantedAttributes { mode: Some(mode | WORKABLE), ..*wanted };
        self.present.xattrs = leftovers;
        if setter.set(InodeHandle::Open(self.fd.as_fd()), self.present, &open)? {
            self.present.owner = wanted.owner;
        }
        self.present.mode = mode | WORKABLE;
        self.mode = mode;
        self.mtime = wanted.mtime;
        self.has_changed = true;
        self.is_described = true;
        // What is made in it inherits owner, setgid bit and ACL.
        self.births = None;
        self.inheritance = None;
        Ok(())
    }

    /// Gives it its final mode and time.
    pub(super) fn leave(&self) -> Result<(), SystemError> {
        match self.restore() {
            Err(failure) if failure.errno() == Errno::PERM && !self.is_described => Ok(()),
            result => result,
        }
    }

    fn restore(&self) -> Result<(), SystemError> {
        if self.present.mode != self.mode {
            self.handle().set_mode(self.mode)?;
        }
        if self.has_changed { self.handle().set_times(self.mtime) } else { Ok(()) }
    }

    fn handle(&self) -> InodeHandle<'_> {
        InodeHandle::Open(self.fd.as_fd())
    }

    /// The attributes of an inode that has just been made in here with `mode`. It is looked at, by `look`, only if they can't
    /// be told from those made before.
    pub(super) fn birth(
        &mut self,
        mode: u32,
        look: impl FnOnce(BorrowedFd<'_>) -> rustix::io::Result<Stat>,
    ) -> Result<PresentAttributes, SystemError> {
        let xattrs = self.inheritance();
        let known = self.births.filter(|birth| mode & !(birth.granted | birth.withheld) == 0);
        if let Some(Birth { owner, withheld, .. }) = known {
            return Ok(PresentAttributes { owner, mode: mode & !withheld, xattrs });
        }
        let stat = look(self.fd.as_fd()).doing("looking at the new file")?;
        let present = PresentAttributes::of(&stat, xattrs);
        let before = self.births;
        self.births = Some(Birth {
            owner: present.owner,
            granted: before.map_or(0, |birth| birth.granted) | mode & present.mode,
            withheld: before.map_or(0, |birth| birth.withheld) | mode & !present.mode,
        });
        Ok(present)
    }

    /// Whether new inodes in it have extended attributes from the start.
    pub(super) fn inheritance(&mut self) -> Leftovers {
        let fd = self.fd.as_fd();
        *self.inheritance.get_or_insert_with(|| {
            if xattrs::has_default_acl(fd) { Leftovers::Possible } else { Leftovers::None }
        })
    }
}

impl AsFd for OpenDirectory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
