//! The threads of a scan. Each takes a directory, reads it, and adds the directories in it to the list that all take from. Of a
//! directory with many names, it only reads the names, and adds stretches of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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
    self, DirectoryBuilder, ErrorAt, OneOwner, OpenDirectory, Read, ScanContext, Subdirectory,
    Unlocked, WorkingDirectory, join,
};
use crate::error::{AtPath, Error, SystemError};
use crate::root::Root;
use crate::xattrs::{self, Xattr};

/// The largest number of threads. More would wait for the kernel's locks.
const MOST_THREADS: usize = 8;
/// The number of names in a stretch, which takes a thread some milliseconds.
const STRETCH: usize = 2048;

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

/// What is still to be read.
enum Waiting {
    Directory(WaitingDirectory),
    /// The stretch with this number, of a directory with many names.
    Stretch(Arc<LargeDirectory>, usize),
}

/// A directory that is still to be read. Its path is made only then, since many may be waiting.
struct WaitingDirectory {
    number: usize,
    /// The directory that the earlier record has there, if it has one.
    earlier: Option<NameId>,
}

/// What a thread is to read now.
enum Task {
    Directory(DirectoryTask),
    Stretch(Arc<LargeDirectory>, usize),
}

/// A directory that is to be read now.
struct DirectoryTask {
    number: usize,
    path: Vec<u8>,
    /// The directory that the earlier record has there, if it has one.
    earlier: Option<NameId>,
}

/// A directory with many names, each stretch of which is read by some thread.
struct LargeDirectory {
    task: DirectoryTask,
    directory: OpenDirectory,
    /// The stretches that were read, by their numbers.
    stretches: Mutex<BTreeMap<usize, Read>>,
}

impl LargeDirectory {
    fn new(task: DirectoryTask, directory: OpenDirectory) -> Self {
        Self { task, directory, stretches: Mutex::default() }
    }

    fn n_stretches(&self) -> usize {
        self.directory.n_names().div_ceil(STRETCH)
    }

    fn stretch(&self, number: usize) -> Range<usize> {
        let start = number * STRETCH;
        start..self.directory.n_names().min(start + STRETCH)
    }

    /// Keeps a stretch that was read; all of them if it was the last.
    fn put(&self, number: usize, read: Read) -> Option<Vec<Read>> {
        let mut stretches = self.stretches.lock().unwrap_or_else(PoisonError::into_inner);
        stretches.insert(number, read);
        let is_whole = stretches.len() == self.n_stretches();
        is_whole.then(|| std::mem::take(&mut *stretches).into_values().collect())
    }
}

/// What the threads share and change.
struct WalkState {
    todo: Vec<Waiting>,
    /// The number of threads that are reading something.
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
    let todo = vec![Waiting::Directory(WaitingDirectory { number: 0, earlier: earlier_root })];
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

impl DirectoryTask {
    /// The path of a name in it.
    fn path_of(&self, name: &[u8]) -> EntryPath {
        EntryPath::parse(&join(&self.path, name)).unwrap_or_default()
    }
}

impl Shared<'_> {
    /// Reads what is to be read until there is no more.
    fn work(&self) {
        let working_directory = own_working_directory();
        let mut builder = DirectoryBuilder::default();
        while let Some(task) = self.next() {
            let read = match task {
                Task::Directory(task) => self.read(task, working_directory, &mut builder),
                Task::Stretch(of, number) => {
                    self.read_stretch(&of, number, working_directory, &mut builder)
                }
            };
            let mut state = self.lock();
            state.n_working -= 1;
            match read {
                Ok(Some((number, read))) => state.take(number, read),
                Ok(None) => {}
                Err(error) => {
                    state.todo.clear();
                    state.taken.error.get_or_insert(error);
                }
            }
            drop(state);
            self.change.notify_all();
        }
    }

    /// The next directory, or stretch of one. `None` if all are read, or one can't be.
    fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.taken.error.is_some() {
                return None;
            }
            if let Some(waiting) = state.todo.pop() {
                state.n_working += 1;
                return Some(match waiting {
                    Waiting::Directory(WaitingDirectory { number, earlier }) => {
                        let path = state.path(number);
                        Task::Directory(DirectoryTask { number, path, earlier })
                    }
                    Waiting::Stretch(of, number) => Task::Stretch(of, number),
                });
            }
            if state.n_working == 0 {
                return None;
            }
            state = self.change.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads a directory, and returns it with its number; `None` if it has so many names that others take part.
    fn read(
        &self,
        task: DirectoryTask,
        working_directory: WorkingDirectory,
        builder: &mut DirectoryBuilder,
    ) -> Result<Option<(usize, Read)>, Error> {
        let at_task = |failure: SystemError| failure.at(task.path_of(b""));
        if (self.options.stop)() {
            return Err(at_task(SystemError::stopped()));
        }
        let (fd, unlocked) = read::open(self.root.as_fd(), &task.path).map_err(at_task)?;
        // Its mode must be restored after an error, too.
        if let Some(unlocked) = unlocked {
            self.lock().taken.unlocked.push(unlocked);
        }
        let directory = OpenDirectory::new(fd, builder).map_err(at_task)?;
        let n_names = directory.n_names();
        if n_names > STRETCH {
            let large = Arc::new(LargeDirectory::new(task, directory));
            let stretches = (0..large.n_stretches()).rev();
            let stretches = stretches.map(|number| Waiting::Stretch(Arc::clone(&large), number));
            self.lock().todo.extend(stretches);
            return Ok(None);
        }
        let read = self.look(&task, &directory, 0..n_names, working_directory, builder)?;
        directory.check_unchanged().map_err(at_task)?;
        directory.end(builder);
        Ok(Some((task.number, read)))
    }

    /// Reads a stretch of a directory; the directory and its number once all of it is read.
    fn read_stretch(
        &self,
        of: &LargeDirectory,
        number: usize,
        working_directory: WorkingDirectory,
        builder: &mut DirectoryBuilder,
    ) -> Result<Option<(usize, Read)>, Error> {
        let LargeDirectory { task, directory, .. } = of;
        let at_task = |failure: SystemError| failure.at(task.path_of(b""));
        if (self.options.stop)() {
            return Err(at_task(SystemError::stopped()));
        }
        let read = self.look(task, directory, of.stretch(number), working_directory, builder)?;
        let Some(stretches) = of.put(number, read) else { return Ok(None) };
        directory.check_unchanged().map_err(at_task)?;
        Ok(Some((task.number, Read::join(stretches).map_err(at_task)?)))
    }

    /// Looks at a stretch of a directory's names.
    fn look(
        &self,
        task: &DirectoryTask,
        directory: &OpenDirectory,
        stretch: Range<usize>,
        working_directory: WorkingDirectory,
        builder: &mut DirectoryBuilder,
    ) -> Result<Read, Error> {
        let context = ScanContext {
            options: self.options,
            devices: &self.devices,
            ids: self.root.ids(),
            mounts: &self.mounts,
            earlier: self.earlier,
            owner: self.owner,
        };
        let place = (&task.path[..], task.earlier);
        let read = directory.read(stretch, working_directory, place, &context, builder);
        let read = read.map_err(|ErrorAt { name, failure }| failure.at(task.path_of(&name)))?;
        // Its entries have more names in their paths than a layer can hold.
        if is_deepest(&task.path) && !read.directory.nodes.is_empty() {
            return Err(Error::Unfit { path: task.path_of(b""), reason: TOO_DEEP });
        }
        Ok(read)
    }

    fn lock(&self) -> MutexGuard<'_, WalkState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WalkState {
    /// Stores a directory, and adds those in it to the list.
    fn take(&mut self, number_here: usize, read: Read) {
        let Read { mut directory, below, owners } = read;
        self.taken.owners.is_one_user &= owners.is_one_user;
        self.taken.owners.is_one_group &= owners.is_one_group;
        for Subdirectory { place, earlier } in below {
            let number = self.taken.directories.len();
            self.taken.directories.push(ScannedDirectory::below(number_here, place));
            directory.nodes[place].value = number as u64;
            self.todo.push(Waiting::Directory(WaitingDirectory { number, earlier }));
        }
        directory.above = self.taken.directories[number_here].above;
        self.taken.directories[number_here] = directory;
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
