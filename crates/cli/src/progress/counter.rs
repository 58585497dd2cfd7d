//! Counting bytes: the only part of a task that is touched for every chunk.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The position of a task, in bytes.
#[derive(Debug)]
pub(super) struct Counter {
    /// The bytes that were counted; rates are made from them.
    moved: AtomicU64,
    /// The difference between the position and `moved`; wraps around when a task has gone back.
    start: AtomicU64,
    total: AtomicU64,
}

impl Counter {
    const UNKNOWN: u64 = u64::MAX;

    pub(super) fn new(total: Option<u64>) -> Self {
        Self {
            moved: AtomicU64::new(0),
            start: AtomicU64::new(0),
            total: AtomicU64::new(total.unwrap_or(Self::UNKNOWN)),
        }
    }

    pub(super) fn advance(&self, n: u64) {
        self.moved.fetch_add(n, Ordering::Relaxed);
    }

    /// Goes to a position without counting what lies between.
    pub(super) fn jump(&self, position: u64) {
        self.start.store(position.wrapping_sub(self.moved()), Ordering::Relaxed);
    }

    pub(super) fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    pub(super) fn position(&self) -> u64 {
        self.start.load(Ordering::Relaxed).wrapping_add(self.moved())
    }

    pub(super) fn total(&self) -> Option<u64> {
        Some(self.total.load(Ordering::Relaxed)).filter(|&total| total != Self::UNKNOWN)
    }
}

/// A reader or writer that counts for a [`Task`](super::Task).
#[derive(Debug)]
pub struct Counted<S> {
    inner: S,
    counter: Arc<Counter>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, counter: &Arc<Counter>) -> Self {
        Self { inner, counter: Arc::clone(counter) }
    }

    /// The reader or writer inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.counter.advance(n as u64);
        Ok(n)
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.counter.advance(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts for a [`Task`](super::Task) from elsewhere, whether it still runs or not.
#[derive(Clone, Debug)]
pub struct Meter {
    counter: Arc<Counter>,
}

impl Meter {
    pub(super) fn new(counter: &Arc<Counter>) -> Self {
        Self { counter: Arc::clone(counter) }
    }

    /// A reader of what begins at `position`, which is where the task is from now on.
    pub fn read_from<R: Read>(&self, position: u64, reader: R) -> Counted<R> {
        self.counter.jump(position);
        Counted::new(reader, &self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_counted_and_flushed() {
        let counter = Arc::new(Counter::new(None));
        let mut counted = Counted::new(io::BufWriter::new(vec![]), &counter);
        counted.write_all(b"abc").unwrap();
        counted.flush().unwrap();
        assert_eq!(counted.into_inner().get_ref(), b"abc");
        assert_eq!(counter.position(), 3);
    }

    #[test]
    fn a_task_can_go_back_and_forth() {
        let counter = Counter::new(None);
        counter.advance(10);
        counter.jump(100);
        counter.advance(5);
        assert_eq!((counter.position(), counter.moved()), (105, 15));
        counter.jump(0);
        counter.advance(1);
        assert_eq!((counter.position(), counter.moved()), (1, 16));
    }
}
