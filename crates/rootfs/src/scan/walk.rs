//! The threads of a scan: each takes a directory, reads it, and leaves those in it for whoever is free.

use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use layer_format::layer::{EntryPath, MAX_COMPONENTS, TOO_DEEP};
use layer_format::listing::NameId;
use rustix::thread::UnshareFlags;

use super::directory::{self, At, Below, Directory, Draft, Read, Standing, Surroundings, join};
use super::known::{Comparison, SameNames};
use super::mounts::MountTable;
use super::node::Node;
use super::{ScanOptions, Unlocked};
use crate::error::{Error, Failure};
use crate::root::Root;
use crate::xattrs::{self, Xattr};

/// More threads than that find nothing to do: the kernel's locks are the limit.
const MOST_THREADS: usize = 8;

/// What the threads have brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) directories: Vec<Directory>,
    /// Parents before what is in them.
    pub(super) unlocked: Vec<Unlocked>,
    pub(super) error: Option<Error>,
    /// Where something is mounted that wasn't looked at, sorted.
    pub(super) passed: Vec<Vec<u8>>,
    /// Whether the owner, and the group, of everything are those of the root.
    pub(super) is_of_top: (bool, bool),
}

/// The root itself.
#[derive(Debug)]
pub(super) struct Top {
    pub(super) node: Node,
    pub(super) xattrs: Vec<Xattr>,
}

/// The file systems met, by number. The root's is 0.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) top: u16,
    of_top: (u32, u32),
    others: Mutex<Vec<(u32, u32)>>,
}

impl Devices {
    pub(super) fn number(&self, device: (u32, u32)) -> u16 {
        if device == self.of_top {
            return self.top;
        }
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let place = others.iter().position(|&other| other == device).unwrap_or_else(|| {
            others.push(device);
            others.len() - 1
        });
        u16::try_from(place + 1).unwrap_or(u16::MAX)
    }
}

/// A directory that is still to be read. Its path is made when its turn comes: many may wait.
struct Waiting {
    number: usize,
    /// What the earlier record has there.
    earlier: Option<NameId>,
}

/// A directory that is to be read now.
struct Task {
    number: usize,
    path: Vec<u8>,
    /// What the earlier record has there.
    earlier: Option<NameId>,
}

struct State {
    todo: Vec<Waiting>,
    n_working: usize,
    taken: Taken,
}

struct Shared<'a> {
    root: &'a Root,
    options: &'a ScanOptions<'a>,
    devices: Devices,
    mounts: MountTable<'a>,
    comparison: Option<Comparison<'a>>,
    /// Of the root.
    owner: (u32, u32),
    state: Mutex<State>,
    change: Condvar,
}

/// Reads all directories beneath the root. What is the same as in the earlier record is noted there alone.
pub(super) fn walk(
    root: &Root,
    options: &ScanOptions<'_>,
    same: &SameNames,
) -> Result<(Top, Taken), Error> {
    let at_root = |failure: Failure| failure.at(EntryPath::root());
    let look = directory::look_at(root.as_fd()).map_err(at_root)?;
    let devices = Devices { top: 0, of_top: look.device, others: Mutex::default() };
    let mut top = Node::of(&look, 0);
    top.value = 0;
    let own_xattrs = xattrs::read_open(root.as_fd()).map_err(at_root)?;

    let mut taken = Taken { is_of_top: (true, true), ..Taken::default() };
    taken.directories.push(Directory::root());
    let comparison = options.known.map(|known| Comparison { known, same });
    let earlier = comparison.map(|comparison| comparison.known.tree.root().name_id());
    let todo = vec![Waiting { number: 0, earlier }];
    let shared = Shared {
        root,
        options,
        devices,
        mounts: MountTable::new(root.as_fd()),
        comparison,
        owner: (top.uid, top.gid),
        state: Mutex::new(State { todo, n_working: 0, taken }),
        change: Condvar::new(),
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        for n_others in 0..n_threads {
            match Builder::new().spawn_scoped(scope, || shared.work()) {
                Ok(_) => {}
                // Fewer do the same work. This one can't: each takes a working directory of its own.
                Err(_) if n_others > 0 => break,
                Err(source) => {
                    let (path, operation) = (EntryPath::root(), "starting a thread");
                    return Err(Error::Io { path, operation, source });
                }
            }
        }
        Ok(())
    })?;
    let mut taken = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).taken;
    taken.passed = shared.mounts.into_passed();
    Ok((Top { node: top, xattrs: own_xattrs }, taken))
}

impl Shared<'_> {
    fn work(&self) {
        let standing = stand_alone();
        let mut draft = Draft::default();
        while let Some(task) = self.next() {
            let read = self.read(&task, standing, &mut draft);
            let mut state = self.lock();
            state.n_working -= 1;
            match read {
                Ok((read, unlocked)) => {
                    state.taken.unlocked.extend(unlocked);
                    state.take(&task, read);
                }
                Err(error) => {
                    state.todo.clear();
                    state.taken.error.get_or_insert(error);
                }
            }
            drop(state);
            self.change.notify_all();
        }
    }

    /// The next directory; none when all are read, or one can't be.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.taken.error.is_some() {
                return None;
            }
            if let Some(Waiting { number, earlier }) = state.todo.pop() {
                state.n_working += 1;
                return Some(Task { number, path: state.path(number), earlier });
            }
            if state.n_working == 0 {
                return None;
            }
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(
        &self,
        task: &Task,
        standing: Standing,
        draft: &mut Draft,
    ) -> Result<(Read, Option<Unlocked>), Error> {
        let path_of = |name: &[u8]| EntryPath::parse(&join(&task.path, name)).unwrap_or_default();
        let at_task = |failure: Failure| failure.at(path_of(b""));
        if (self.options.stop)() {
            return Err(at_task(Failure::stopped()));
        }
        let (fd, unlocked) = directory::open(self.root.as_fd(), &task.path).map_err(at_task)?;
        let surroundings = Surroundings {
            options: self.options,
            devices: &self.devices,
            mounts: &self.mounts,
            comparison: self.comparison,
            owner: self.owner,
        };
        let here = (fd.as_fd(), standing);
        let read = directory::read(here, &task.path, task.earlier, &surroundings, draft);
        match read {
            // What is in it lies deeper than a layer can say.
            Ok(read) if is_deepest(&task.path) && !read.directory.nodes.is_empty() => {
                self.lock().taken.unlocked.extend(unlocked);
                Err(Error::Unfit { path: path_of(b""), reason: TOO_DEEP })
            }
            Ok(read) => Ok((read, unlocked)),
            Err(At { name, failure }) => {
                // Its mode must be given back all the same.
                self.lock().taken.unlocked.extend(unlocked);
                Err(failure.at(path_of(&name)))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts a directory in its place, and those in it on the list.
    fn take(&mut self, task: &Task, read: Read) {
        let Read { mut directory, below, is_of_top } = read;
        self.taken.is_of_top.0 &= is_of_top.0;
        self.taken.is_of_top.1 &= is_of_top.1;
        for Below { place, earlier } in below {
            let number = self.taken.directories.len();
            self.taken.directories.push(Directory::below(task.number, place));
            directory.nodes[place].value = number as u64;
            self.todo.push(Waiting { number, earlier });
        }
        directory.above = self.taken.directories[task.number].above;
        self.taken.directories[task.number] = directory;
    }

    /// The path of a directory, those above which were read.
    fn path(&self, number: usize) -> Vec<u8> {
        let (mut names, mut here) = (vec![], &self.taken.directories[number]);
        while let Some((number, place)) = here.above() {
            here = &self.taken.directories[number];
            names.push(here.name(place));
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Whether no layer has a path that is longer by one name.
fn is_deepest(path: &[u8]) -> bool {
    path.len() > MAX_COMPONENTS && path.split(|&byte| byte == b'/').count() >= MAX_COMPONENTS
}

/// Gives this thread, which is one of a scan, a working directory of its own.
fn stand_alone() -> Standing {
    #[expect(unsafe_code, reason = "the call could also take descriptors from other threads")]
    // SAFETY: only the working directory and the umask become the thread's own; descriptors stay shared.
    let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) };
    // A filter of system calls may forbid it.
    if own.is_ok() { Standing::Inside } else { Standing::Outside }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_has_a_number_of_its_own() {
        let devices = Devices { top: 0, of_top: (8, 1), others: Mutex::default() };
        let numbers = [(8, 1), (0, 5), (0, 6), (0, 5), (8, 1)].map(|device| devices.number(device));
        assert_eq!(numbers, [0, 1, 2, 1, 0]);
    }
}
