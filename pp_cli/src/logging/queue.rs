//! The queue between those who log and the thread that writes. It is bounded by bytes: when it is full, lines are
//! dropped and counted, and the count becomes a line at the place where they are missing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many bytes of lines may wait.
const CAPACITY: usize = 4 * 1024 * 1024;
/// What a line takes up beside its text, in bytes.
const OVERHEAD: usize = 64;
/// How long a descriptor that takes nothing right now is left alone.
const AGAIN: Duration = Duration::from_millis(10);

/// The queue; clones are the same.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Something was queued or written.
    changed: Condvar,
    /// The line that tells how many were dropped.
    notice: Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The size of the lines, with the one that is being written.
    bytes: usize,
    /// Lines that are missing behind the last one in the queue.
    dropped: u64,
    /// Lines are dropped until half of the queue is written, so that a reader that is a little too slow finds gaps
    /// rather than a gap after each line.
    full: bool,
    writing: bool,
    /// The last write failed.
    broken: bool,
}

impl Queue {
    /// A queue whose lines a thread of its own writes to `sink`.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        notice: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            notice: Box::new(notice),
        });
        let writer = shared.clone();
        // Without this thread the queue fills up, and the program goes on without a log.
        let _ = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_to(sink));
        Self(shared)
    }

    /// Queues a line, or drops and counts it.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.0.state();
        if state.full && state.bytes <= CAPACITY / 2 {
            state.full = false;
        }
        if state.full || state.bytes + size(&line) > CAPACITY {
            state.full = true;
            state.dropped += 1;
            return;
        }
        if state.dropped > 0 {
            let notice = (self.0.notice)(std::mem::take(&mut state.dropped));
            state.add(notice);
        }
        state.add(line);
        drop(state);
        self.0.changed.notify_all();
    }

    /// Waits until everything is written, at most this long.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.0.state();
        while !state.is_written() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut sink: impl Write) {
        loop {
            let (line, told) = self.next();
            let written = write_all(&mut sink, &line);
            let mut state = self.state();
            state.writing = false;
            state.bytes -= size(&line);
            state.broken = written.is_err();
            if state.broken {
                state.dropped += told.max(1);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next line, and of how many dropped ones it tells.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.writing = true;
                return (line, 0);
            }
            // Where nothing can be written, the next line shows whether that is over.
            if state.dropped > 0 && !state.broken {
                let told = std::mem::take(&mut state.dropped);
                let notice = (self.notice)(told);
                state.writing = true;
                state.bytes += size(&notice);
                return (notice, told);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn add(&mut self, line: Vec<u8>) {
        self.bytes += size(&line);
        self.lines.push_back(line);
    }

    fn is_written(&self) -> bool {
        self.lines.is_empty() && !self.writing && (self.dropped == 0 || self.broken)
    }
}

fn size(line: &[u8]) -> usize {
    line.len() + OVERHEAD
}

/// Writes a line. Somebody who shares the descriptor may have made it non-blocking; it is waited for like any other.
fn write_all(sink: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// Somebody who reads one write at a time, and only when asked to.
    struct Reader(SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (Queue, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        let notice = |dropped| format!("{dropped} dropped").into_bytes();
        (Queue::start(Reader(sender), notice), receiver)
    }

    fn read(receiver: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(receiver.recv_timeout(LONG).unwrap()).unwrap()
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_where_they_are_missing() {
        let (queue, receiver) = queue();
        let line = vec![b'x'; 64 * 1024 - OVERHEAD];
        let kept = CAPACITY / size(&line);
        for _ in 0..kept + 10 {
            queue.push(line.clone());
        }
        // There is room for some, and yet a gap is one gap.
        assert_eq!(read(&receiver).len(), line.len());
        queue.push(b"in the gap".to_vec());
        for _ in 1..kept {
            assert_eq!(read(&receiver).len(), line.len());
        }
        assert_eq!(read(&receiver), "11 dropped");
        queue.push(b"after it".to_vec());
        assert_eq!(read(&receiver), "after it");
        queue.flush(LONG);
        assert!(queue.0.state().is_written() && queue.0.state().bytes == 0);
    }

    #[test]
    fn the_next_line_after_a_gap_comes_behind_its_count() {
        let (queue, receiver) = queue();
        let half = vec![b'x'; CAPACITY / 2 - OVERHEAD];
        for _ in 0..3 {
            queue.push(half.clone());
        }
        assert_eq!(read(&receiver).len(), half.len());
        // Its size counts until it is written.
        let deadline = Instant::now() + LONG;
        while queue.0.state().bytes > CAPACITY / 2 {
            assert!(Instant::now() < deadline);
            thread::yield_now();
        }
        queue.push(b"next".to_vec());
        assert_eq!(read(&receiver).len(), half.len());
        assert_eq!(read(&receiver), "1 dropped");
        assert_eq!(read(&receiver), "next");
    }

    #[test]
    fn waiting_for_lines_that_nobody_reads_has_an_end() {
        let (queue, _receiver) = queue();
        queue.push(b"never read".to_vec());
        let begun = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < LONG);
    }

    #[test]
    fn what_cannot_be_written_is_counted_too() {
        let (queue, receiver) = queue();
        drop(receiver);
        queue.push(b"lost".to_vec());
        queue.push(b"lost as well".to_vec());
        queue.flush(LONG);
        assert_eq!(queue.0.state().dropped, 2);
    }
}
