//! The threads of a scan: each takes a directory, reads it, and leaves those in it for whoever is free.

use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use layer_format::layer::{EntryPath, MAX_COMPONENTS, TOO_DEEP};

use rustix::thread::UnshareFlags;

use super::directory::{self, At, Directory, Standing, Surroundings, join};
use super::mounts::MountTable;
use super::node::Node;
use super::{ScanOptions, Unlocked};
use crate::error::{Error, Failure};
use crate::root::Root;
use crate::xattrs;

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

/// A directory that is still to be read.
struct Task {
    number: usize,
    path: Vec<u8>,
}

struct State {
    todo: Vec<Task>,
    n_working: usize,
    taken: Taken,
}

struct Shared<'a> {
    root: &'a Root,
    options: &'a ScanOptions<'a>,
    devices: Devices,
    mounts: MountTable<'a>,
    state: Mutex<State>,
    change: Condvar,
}

/// Reads all directories beneath the root.
pub(super) fn walk(root: &Root, options: &ScanOptions<'_>) -> Result<(Node, Taken), Error> {
    let at_root = |failure: Failure| failure.at(EntryPath::root());
    let look = directory::look_at(root.as_fd()).map_err(at_root)?;
    let devices = Devices { top: 0, of_top: look.device, others: Mutex::default() };
    let mut top = Node::of(&look, 0);
    top.more = 0;
    let own_xattrs = xattrs::read_open(root.as_fd()).map_err(at_root)?;

    let mut taken = Taken::default();
    taken.directories.push(Directory::default());
    let todo = vec![Task { number: 0, path: vec![] }];
    let state = Mutex::new(State { todo, n_working: 0, taken });
    let mounts = MountTable::new(root.as_fd());
    let shared = Shared { root, options, devices, mounts, state, change: Condvar::new() };
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
    taken.directories[0].own_xattrs = own_xattrs;
    Ok((top, taken))
}

impl Shared<'_> {
    fn work(&self) {
        let standing = stand_alone();
        while let Some(task) = self.next() {
            let read = self.read(&task, standing);
            let mut state = self.lock();
            state.n_working -= 1;
            match read {
                Ok((directory, unlocked)) => {
                    state.taken.unlocked.extend(unlocked);
                    state.take(&task, directory);
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
            if let Some(task) = state.todo.pop() {
                state.n_working += 1;
                return Some(task);
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
    ) -> Result<(Directory, Option<Unlocked>), Error> {
        let path_of = |name: &[u8]| EntryPath::parse(&join(&task.path, name)).unwrap_or_default();
        let at_task = |failure: Failure| failure.at(path_of(b""));
        if (self.options.stop)() {
            return Err(at_task(Failure::stopped()));
        }
        let (fd, unlocked) = directory::open(self.root.as_fd(), &task.path).map_err(at_task)?;
        let surroundings =
            Surroundings { options: self.options, devices: &self.devices, mounts: &self.mounts };
        let read = directory::read(fd.as_fd(), &task.path, &surroundings, standing);
        match read {
            // What is in it lies deeper than a layer can say.
            Ok(directory) if is_deepest(&task.path) && !directory.nodes.is_empty() => {
                self.lock().taken.unlocked.extend(unlocked);
                Err(Error::Unfit { path: path_of(b""), reason: TOO_DEEP })
            }
            Ok(directory) => Ok((directory, unlocked)),
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
    fn take(&mut self, task: &Task, mut directory: Directory) {
        let children: Vec<_> = directory.directories().collect();
        for place in children {
            let number = self.taken.directories.len();
            self.taken.directories.push(Directory::default());
            directory.nodes[place].more =
                u32::try_from(number).expect("fewer directories than inodes");
            let path = join(&task.path, directory.name(place));
            self.todo.push(Task { number, path });
        }
        self.taken.directories[task.number] = directory;
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
