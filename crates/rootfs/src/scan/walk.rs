//! The threads of a scan. Each takes a directory, reads it, and adds the directories in it to the list that all take from.

use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};

use layer_format::layer::{EntryPath, MAX_COMPONENTS, TOO_DEEP};
use layer_format::listing::NameId;
use rustix::thread::UnshareFlags;

use super::devices::Devices;
use super::directory::ScannedDirectory;
use super::known::{EarlierRecord, SameNames};
use super::mounts::MountTable;
use super::node::Node;
use super::options::ScanOptions;
use super::read::{
    self, DirectoryBuilder, ErrorAt, OneOwner, Read, ScanContext, Subdirectory, Unlocked,
    WorkingDirectory, join,
};
use crate::error::{AtPath, Error, SystemError};
use crate::root::Root;
use crate::xattrs::{self, Xattr};

/// The largest number of threads. More would wait for the kernel's locks.
const MOST_THREADS: usize = 8;

/// What the threads have read.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) directories: Vec<ScannedDirectory>,
    /// Directories before those in them.
    pub(super) unlocked: Vec<Unlocked>,
    pub(super) error: Option<Error>,
    /// The paths where something is mounted that was not looked at, sorted.
    pub(super) passed: Vec<Vec<u8>>,
    pub(super) owners: OneOwner,
}

/// The root itself.
#[derive(Debug)]
pub(super) struct RootEntry {
    pub(super) node: Node,
    pub(super) xattrs: Vec<Xattr>,
}

/// A directory that is still to be read. Its path is made only then, since many may be waiting.
struct Waiting {
    number: usize,
    /// The directory that the earlier record has there, if it has one.
    earlier: Option<NameId>,
}

/// A directory that is to be read now.
struct Task {
    number: usize,
    path: Vec<u8>,
    /// The directory that the earlier record has there, if it has one.
    earlier: Option<NameId>,
}

/// What the threads share and change.
struct WalkState {
    todo: Vec<Waiting>,
    /// The number of threads that are reading a directory.
    n_working: usize,
    taken: Walked,
}

/// What the threads share.
struct Shared<'a> {
    root: &'a Root,
    options: &'a ScanOptions<'a>,
    devices: Devices,
    mounts: MountTable<'a>,
    earlier: Option<EarlierRecord<'a>>,
    /// The owner of the root.
    owner: (u32, u32),
    state: Mutex<WalkState>,
    change: Condvar,
}

/// Reads all directories beneath the root. What is the same as in the earlier record is only noted in `same`.
pub(super) fn walk(
    root: &Root,
    options: &ScanOptions<'_>,
    same: &SameNames,
) -> Result<(RootEntry, Walked), Error> {
    let look = read::look_at(root.as_fd()).at_path(&EntryPath::root())?;
    let mut top = Node::of(&look, Devices::TOP);
    top.value = 0;
    let map = |top: &mut Node| {
        top.map_owner(root.ids())?;
        root.ids().xattrs_in_image(xattrs::read_open(root.as_fd())?)
    };
    let own_xattrs = map(&mut top).at_path(&EntryPath::root())?;

    let taken = Walked {
        directories: vec![ScannedDirectory::root()],
        unlocked: vec![],
        error: None,
        passed: vec![],
        owners: OneOwner { is_one_user: true, is_one_group: true },
    };
    let earlier = options.known.map(|known| EarlierRecord { known, same });
    let earlier_root = earlier.map(|earlier| earlier.known.tree.root().name_id());
    let todo = vec![Waiting { number: 0, earlier: earlier_root }];
    let shared = Shared {
        root,
        options,
        devices: Devices::new(look.device),
        mounts: MountTable::new(root.as_fd()),
        earlier,
        owner: (top.uid, top.gid),
        state: Mutex::new(WalkState { todo, n_working: 0, taken }),
        change: Condvar::new(),
    };
    let n_threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        for n_others in 0..n_threads {
            match Builder::new().spawn_scoped(scope, || shared.work()) {
                Ok(_) => {}
                // Fewer threads do the same work. This thread can't, since each needs a working directory of its own.
                Err(_) if n_others > 0 => break,
                Err(source) => {
                    return Err(Error::Io {
                        path: EntryPath::root(),
                        operation: "starting a thread",
                        source,
                    });
                }
            }
        }
        Ok(())
    })?;
    let mut taken = shared.state.into_inner().unwrap_or_else(PoisonError::into_inner).taken;
    taken.passed = shared.mounts.into_passed();
    Ok((RootEntry { node: top, xattrs: own_xattrs }, taken))
}

impl Shared<'_> {
    /// Reads directories until there are no more.
    fn work(&self) {
        let working_directory = own_working_directory();
        let mut builder = DirectoryBuilder::default();
        while let Some(task) = self.next() {
            let read = self.read(&task, working_directory, &mut builder);
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

    /// The next directory. `None` if all are read, or one can't be.
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
        working_directory: WorkingDirectory,
        builder: &mut DirectoryBuilder,
    ) -> Result<(Read, Option<Unlocked>), Error> {
        let path_of = |name: &[u8]| EntryPath::parse(&join(&task.path, name)).unwrap_or_default();
        let at_task = |failure: SystemError| failure.at(path_of(b""));
        if (self.options.stop)() {
            return Err(at_task(SystemError::stopped()));
        }
        let (fd, unlocked) = read::open(self.root.as_fd(), &task.path).map_err(at_task)?;
        let context = ScanContext {
            options: self.options,
            devices: &self.devices,
            ids: self.root.ids(),
            mounts: &self.mounts,
            earlier: self.earlier,
            owner: self.owner,
        };
        let read =
            read::read(fd.as_fd(), working_directory, &task.path, task.earlier, &context, builder);
        match read {
            // Its entries have more names in their paths than a layer can hold.
            Ok(read) if is_deepest(&task.path) && !read.directory.nodes.is_empty() => {
                self.lock().taken.unlocked.extend(unlocked);
                Err(Error::Unfit { path: path_of(b""), reason: TOO_DEEP })
            }
            Ok(read) => Ok((read, unlocked)),
            Err(ErrorAt { name, failure }) => {
                // Its mode must be restored in this case too.
                self.lock().taken.unlocked.extend(unlocked);
                Err(failure.at(path_of(&name)))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, WalkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WalkState {
    /// Stores a directory, and adds those in it to the list.
    fn take(&mut self, task: &Task, read: Read) {
        let Read { mut directory, below, owners } = read;
        self.taken.owners.is_one_user &= owners.is_one_user;
        self.taken.owners.is_one_group &= owners.is_one_group;
        for Subdirectory { place, earlier } in below {
            let number = self.taken.directories.len();
            self.taken.directories.push(ScannedDirectory::below(task.number, place));
            directory.nodes[place].value = number as u64;
            self.todo.push(Waiting { number, earlier });
        }
        directory.above = self.taken.directories[task.number].above;
        self.taken.directories[task.number] = directory;
    }

    /// The path of a directory. Those above it must have been read.
    fn path(&self, number: usize) -> Vec<u8> {
        let mut names = vec![];
        let mut here = &self.taken.directories[number];
        while let Some((number, place)) = here.above() {
            here = &self.taken.directories[number];
            names.push(here.name(place));
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// Whether no layer can have a path with one more name.
fn is_deepest(path: &[u8]) -> bool {
    path.len() > MAX_COMPONENTS && path.split(|&byte| byte == b'/').count() >= MAX_COMPONENTS
}

/// Gives this thread a working directory of its own.
fn own_working_directory() -> WorkingDirectory {
    #[expect(unsafe_code, reason = "the call could also take descriptors from other threads")]
    // SAFETY: only the working directory and the umask become the thread's own; descriptors stay shared.
    let own = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) };
    // A filter of system calls may forbid it.
    if own.is_ok() { WorkingDirectory::Own } else { WorkingDirectory::Shared }
}
