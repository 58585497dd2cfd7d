//! Layers before their turn.
//!
//! ```text
//! applier   layer 1 ───────────►  layer 2: what the lane has made, then the rest ──►  layer 3 …
//! lane      layer 2 ─────────────┘  layer 3 ────────────────────────────────────────┘
//! ```
//!
//! One thread, the applier, changes the tree, one layer after the other. Lanes read the layers to come, and make their regular files
//! [before their turn](rootfs::Staging): inflating, creating and writing is most of the work. When a layer's turn comes, the applier renames
//! those files and makes the rest of what was read, and from there on it reads the layer itself, while the lane goes on to
//! another one. What a lane has read and the applier hasn't seen is bounded by its [`Room`]. Errors come in their turn as well.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, Builder};

use anyhow::Context as _;
use cli::Task;
use image::{Apart, Image};
use layer_format::layer::{Change, EntryKind};
use rootfs::{Options, Root, Staged, Stager, Staging};
use store::Store;
use stream::decompress::Seek;

use crate::limits::Budget;
use crate::reading::{Plan, Reading, Stages};

/// The name of the directory for files before their turn, beside the tree.
const AHEAD: &str = "ahead";
/// The most layers at once, unless the user wants more: each takes four threads, and buffers of 6 MiB.
const MAX_JOBS: usize = 4;
/// How many bytes all lanes may have read that the applier hasn't seen.
const ROOM: usize = 8 << 20;
/// How many bytes of changes are passed on at once.
const BATCH: usize = 64 << 10;
/// Images with fewer stored bytes than this are done before a lane is of use.
const WORTHWHILE: u64 = 4 << 20;

/// Where and how files are made before their turn.
#[derive(Debug)]
pub(crate) struct Workshop<'a> {
    /// The private directory in which the one for them is made; `None` if the tree is filled in its place: what stands in it, layers
    /// could reach.
    pub(crate) parent: Option<File>,
    pub(crate) root: &'a Root,
    pub(crate) options: Options,
    /// How many layers the user wants to be worked on at once; `None` for as many as are of use.
    pub(crate) jobs: Option<usize>,
}

impl Workshop<'_> {
    /// Where files are made before their turn, and how many layers are worked ahead; `None` if none is, or the system lets no files be
    /// moved from there.
    pub(crate) fn open(&self, image: &Image) -> Option<(Staging, usize)> {
        let parent = self.parent.as_ref()?;
        let n_lanes = self.n_lanes(image);
        // Any error that matters is met again where the files stand.
        let staging = || Staging::make(parent, AHEAD, self.root).ok();
        (n_lanes > 0).then(staging).flatten().zip(Some(n_lanes))
    }

    /// How many layers are worked ahead. One more is the applier's.
    fn n_lanes(&self, image: &Image) -> usize {
        let jobs = self.jobs.unwrap_or_else(|| useful_jobs(image));
        jobs.min(image.layers.len()).saturating_sub(1)
    }
}

/// How many layers can be worked on at once with profit.
fn useful_jobs(image: &Image) -> usize {
    let size = image.layers.iter().map(|layer| layer.size().unwrap_or(WORTHWHILE));
    if size.fold(0, u64::saturating_add) < WORTHWHILE {
        return 1;
    }
    thread::available_parallelism().map_or(1, usize::from).min(MAX_JOBS)
}

/// What all layers have in common.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) plans: Vec<Plan>,
    /// What shows the layers' progress.
    pub(crate) tasks: Vec<Task>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) store: Option<Store>,
}

/// A layer whose turn has come.
pub(crate) enum Turn {
    /// Nobody has begun it.
    Whole(Box<Reading>),
    Begun(Changes),
}

/// What comes after the changes that a lane has read.
pub(crate) enum Begun {
    /// The rest of the layer.
    Rest(Box<Reading>),
    /// The lane has read the layer to its end, and it is what the image says.
    Done(Box<Task>),
}

/// The lanes.
#[derive(Debug)]
pub(crate) struct Ahead {
    shared: Arc<Shared>,
    lanes: Vec<thread::JoinHandle<()>>,
    /// Dropped after the lanes have ended.
    staging: Staging,
}

impl Ahead {
    /// Starts the lanes. The applier is about to ask for the first layer's turn.
    ///
    /// # Errors
    /// Those of the system.
    pub(crate) fn start(
        apart: Apart,
        job: Job,
        workshop: &Workshop<'_>,
        (staging, n_lanes): (Staging, usize),
    ) -> anyhow::Result<Self> {
        let Job { plans, tasks, budget, store } = job;
        let next = Next { position: 1, begun: HashMap::new() };
        let shared = Arc::new(Shared {
            apart,
            plans,
            tasks: Mutex::new(tasks.into_iter().map(Some).collect()),
            budget,
            store,
            turn: AtomicUsize::new(0),
            is_stopped: AtomicBool::new(false),
            next: Mutex::new(next),
            rooms: (0..n_lanes).map(|_| Room::new(ROOM / n_lanes)).collect(),
            readers: Mutex::default(),
        });
        let mut ahead = Self { shared, lanes: vec![], staging };
        for number in 0..n_lanes {
            let stager = ahead.staging.stager(number, workshop.root, &workshop.options)?;
            let shared = Arc::clone(&ahead.shared);
            // With too few threads, there are fewer lanes.
            let lane = Builder::new().spawn(move || lane(&shared, number, stager));
            ahead.lanes.extend(lane);
        }
        Ok(ahead)
    }

    /// The layer whose turn comes.
    ///
    /// # Errors
    /// It can't be read.
    pub(crate) fn turn(&self, position: usize) -> anyhow::Result<Turn> {
        self.shared.turn.store(position, Ordering::SeqCst);
        let begun = {
            let mut next = lock(&self.shared.next);
            next.position = next.position.max(position + 1);
            next.begun.remove(&position)
        };
        match begun {
            Some(changes) => Ok(Turn::Begun(changes)),
            None => Ok(Turn::Whole(Box::new(self.shared.begin(position, Who::Applier)?))),
        }
    }

    /// Waits for the lanes, after the last layer.
    pub(crate) fn finish(mut self) {
        for lane in self.lanes.drain(..) {
            if let Err(panic) = lane.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Nobody takes what lanes have to say, or waits for room.
        lock(&self.shared.next).begun.clear();
        self.shared.rooms.iter().for_each(Room::wake);
        // The run has failed for another reason. What they have opened is closed now.
        let join = |thread: thread::JoinHandle<()>| drop(thread.join());
        self.lanes.drain(..).for_each(join);
        lock(&self.shared.readers).drain(..).for_each(join);
    }
}

/// What the applier and the lanes share.
#[derive(Debug)]
struct Shared {
    apart: Apart,
    plans: Vec<Plan>,
    /// `None` for a layer that was begun.
    tasks: Mutex<Vec<Option<Task>>>,
    budget: Arc<Budget>,
    store: Option<Store>,
    /// The layer that the applier is at.
    turn: AtomicUsize,
    is_stopped: AtomicBool,
    next: Mutex<Next>,
    /// One for each lane.
    rooms: Vec<Room>,
    /// Those that read stored bytes. None waits for anything but a disk.
    readers: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// The layers that nobody has begun.
#[derive(Debug)]
struct Next {
    /// The first of them.
    position: usize,
    /// Those that lanes have begun, and whose turn hasn't come.
    begun: HashMap<usize, Changes>,
}

/// Who reads a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Applier,
    Lane,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::SeqCst)
    }

    /// An error that nobody sees, once the run has failed.
    fn go_on(&self) -> io::Result<()> {
        if self.is_stopped() { Err(io::Error::other("it was stopped")) } else { Ok(()) }
    }

    /// Begins to read a layer by stages of its own.
    fn begin(self: &Arc<Self>, position: usize, who: Who) -> anyhow::Result<Reading> {
        let plan = self.plans[position];
        let seek = match plan.pair.seek(self.store.as_ref()) {
            // The cores are busy with other layers, and several threads for one take more memory.
            Seek::By(_) if who == Who::Lane => Seek::Nothing,
            seek => seek,
        };
        let (stages, feed) = Stages::start(vec![plan.ask], move |_| seek.clone())?;
        let task = lock(&self.tasks)[position].take();
        let shared = Arc::clone(self);
        let read = move || {
            let Some(task) = task else { return };
            // Who has gone doesn't ask how it went.
            feed.send(task, shared.apart.layer(position)).ok();
        };
        let reader = Builder::new().spawn(read).context("starting a thread")?;
        lock(&self.readers).push(reader);
        Ok(Reading::begin(stages, plan, self.store.as_ref()))
    }

    /// Gives a lane the next layer; `None` if there is none, or it shall stop.
    fn take(&self, lane: usize) -> Option<(usize, mpsc::Sender<Message>)> {
        let mut next = lock(&self.next);
        let position = next.position;
        if position >= self.plans.len() || self.is_stopped() {
            return None;
        }
        next.position += 1;
        let (sending, messages) = mpsc::channel();
        let changes = Changes { messages, room: self.rooms[lane].clone(), batch: VecDeque::new() };
        next.begun.insert(position, changes);
        Some((position, sending))
    }
}

/// A change, and its file if that was made.
type Ready = (Change, Option<Staged>);

/// What a lane tells the applier of a layer.
enum Message {
    /// Changes, and the room that they take.
    Changes(VecDeque<Ready>, usize),
    End(Begun),
    Failed(anyhow::Error),
}

/// The changes that a lane has read.
#[derive(Debug)]
pub(crate) struct Changes {
    messages: mpsc::Receiver<Message>,
    room: Room,
    batch: VecDeque<Ready>,
}

impl Changes {
    /// The next change, or what comes after the last one.
    ///
    /// # Errors
    /// Those that the lane met.
    pub(crate) fn next(&mut self) -> anyhow::Result<Result<Ready, Begun>> {
        loop {
            if let Some(ready) = self.batch.pop_front() {
                return Ok(Ok(ready));
            }
            cli::interrupt::check()?;
            match self.messages.recv().context("a thread has stopped")? {
                Message::Changes(batch, weight) => {
                    self.room.give(weight);
                    self.batch = batch;
                }
                Message::End(begun) => return Ok(Err(begun)),
                Message::Failed(error) => return Err(error),
            }
        }
    }
}

/// A thread that works ahead.
fn lane(shared: &Arc<Shared>, number: usize, mut stager: Stager) {
    while let Some((position, messages)) = shared.take(number) {
        let room = &shared.rooms[number];
        let mut batch = Batch { ready: VecDeque::new(), weight: 0, messages, room };
        let ended = work(shared, position, &mut stager, &mut batch);
        // What was read before an error comes before it.
        batch.send(shared);
        let last = ended.map_or_else(Message::Failed, Message::End);
        // Without a receiver, the run has failed.
        batch.messages.send(last).ok();
    }
}

/// Reads a layer to its end, or until its turn comes.
fn work(
    shared: &Arc<Shared>,
    position: usize,
    stager: &mut Stager,
    batch: &mut Batch<'_>,
) -> anyhow::Result<Begun> {
    let mut reading = shared.begin(position, Who::Lane)?;
    loop {
        if shared.turn.load(Ordering::SeqCst) == position {
            return Ok(Begun::Rest(Box::new(reading)));
        }
        shared.go_on()?;
        let Some(change) = reading.next(&shared.budget)? else { break };
        let staged = match &change {
            Change::Add(entry) => {
                stager.stage(entry, &mut Stoppable { content: reading.content(), shared })?
            }
            Change::Remove(_) | Change::Opaque(_) => None,
        };
        batch.add((change, staged), shared);
    }
    let (_, proved) = reading.end()?;
    Ok(Begun::Done(Box::new(proved.remember(shared.store.as_ref()))))
}

/// A file's content, which ends with an error when the lanes shall stop.
struct Stoppable<'a, R> {
    content: R,
    shared: &'a Shared,
}

impl<R: BufRead> Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Stoppable<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.shared.go_on()?;
        self.content.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.content.consume(n);
    }
}

/// Changes on their way to the applier.
struct Batch<'a> {
    ready: VecDeque<Ready>,
    weight: usize,
    messages: mpsc::Sender<Message>,
    room: &'a Room,
}

impl Batch<'_> {
    fn add(&mut self, ready: Ready, shared: &Shared) {
        self.weight += weight(&ready.0);
        self.ready.push_back(ready);
        if self.weight >= BATCH {
            self.send(shared);
        }
    }

    fn send(&mut self, shared: &Shared) {
        let weight = std::mem::take(&mut self.weight);
        let ready = std::mem::take(&mut self.ready);
        self.room.take(weight, shared);
        // Without a receiver, the run has failed.
        self.messages.send(Message::Changes(ready, weight)).ok();
    }
}

/// About how many bytes a change takes.
fn weight(change: &Change) -> usize {
    let more = match change {
        Change::Add(entry) => {
            let kind = match &entry.kind {
                EntryKind::File { data, .. } => data.as_ref().map_or(0, |data| data.len() * 16),
                EntryKind::Symlink { target } => target.len(),
                EntryKind::Hardlink { target } => target.as_bytes().len(),
                _ => 0,
            };
            let xattrs = entry.xattrs.iter().map(|(name, value)| 64 + name.len() + value.len());
            entry.path.as_bytes().len() + kind + xattrs.sum::<usize>()
        }
        Change::Remove(path) | Change::Opaque(path) => path.as_bytes().len(),
    };
    size_of::<Ready>() + more
}

/// How much a lane may still read before the applier has taken some of it.
#[derive(Clone, Debug)]
struct Room {
    /// In bytes.
    size: usize,
    /// What of it is free, and how a lane that waits learns that there is more.
    free: Arc<(Mutex<usize>, Condvar)>,
}

impl Room {
    fn new(size: usize) -> Self {
        Self { size, free: Arc::new((Mutex::new(size), Condvar::new())) }
    }

    /// Waits for so much room. What is larger than all of it gets all of it.
    fn take(&self, weight: usize, shared: &Shared) {
        let (free, changed) = &*self.free;
        let is_full = |free: &mut usize| *free < weight.min(self.size) && !shared.is_stopped();
        let free = changed.wait_while(lock(free), is_full);
        let mut free = free.unwrap_or_else(PoisonError::into_inner);
        *free = free.saturating_sub(weight);
    }

    fn give(&self, weight: usize) {
        let (free, changed) = &*self.free;
        let mut free = lock(free);
        *free = (*free + weight).min(self.size);
        changed.notify_all();
    }

    /// Lets the lane see that it shall stop.
    fn wake(&self) {
        let (free, changed) = &*self.free;
        let free = lock(free);
        changed.notify_all();
        drop(free);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
