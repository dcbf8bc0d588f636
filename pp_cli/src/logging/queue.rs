//! A bounded queue between the threads that log and the thread that writes. A full queue drops and counts lines. The
//! count becomes a line in the place of the missing ones.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The maximum number of bytes in the queue.
const CAPACITY: usize = 4 * 1024 * 1024;
/// The bytes that a line takes in addition to its text.
const OVERHEAD: usize = 64;
/// The pause before another write to a descriptor that was not ready.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The queue. Clones share it.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Signals that a line was queued or written.
    changed: Condvar,
    /// Builds the line that reports the number of dropped lines.
    notice: Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    /// The bytes of all lines, including the one being written.
    bytes: usize,
    /// The number of lines dropped behind the last one in the queue.
    dropped: u64,
    /// True while lines are dropped, which lasts until half of the queue is written. A slightly slow reader then sees
    /// few large gaps instead of one after every line.
    full: bool,
    writing: bool,
    /// True if the last write failed.
    broken: bool,
}

impl Queue {
    /// Starts a queue and the thread that writes its lines to `sink`.
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
        // Without this thread the queue fills up and the program runs without a log.
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

    /// Waits until everything is written, at most `limit`.
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
            let (line, dropped) = self.next();
            let written = write_all(&mut sink, &line);
            let mut state = self.state();
            state.writing = false;
            state.bytes -= size(&line);
            state.broken = written.is_err();
            if state.broken {
                state.dropped += dropped.max(1);
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next line, and the number of dropped lines that it reports.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.state();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.writing = true;
                return (line, 0);
            }
            // While writes fail, only the next line shows if they work again.
            if state.dropped > 0 && !state.broken {
                let dropped = std::mem::take(&mut state.dropped);
                let notice = (self.notice)(dropped);
                state.writing = true;
                state.bytes += size(&notice);
                return (notice, dropped);
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

/// Writes a line. Another process may have made the shared descriptor non-blocking, so the write is repeated.
fn write_all(sink: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match sink.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
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

    /// A reader that reads one write at a time, only on request.
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
    fn unread_lines_are_dropped_and_counted_in_their_place() {
        let (queue, receiver) = queue();
        let line = vec![b'x'; 64 * 1024 - OVERHEAD];
        let kept = CAPACITY / size(&line);
        for _ in 0..kept + 10 {
            queue.push(line.clone());
        }
        // Several lines fit again, and the gap is still a single one.
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
    fn the_line_after_a_gap_follows_its_count() {
        let (queue, receiver) = queue();
        let half = vec![b'x'; CAPACITY / 2 - OVERHEAD];
        for _ in 0..3 {
            queue.push(half.clone());
        }
        assert_eq!(read(&receiver).len(), half.len());
        // The size counts until the line is written.
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
    fn a_flush_of_unread_lines_ends() {
        let (queue, _receiver) = queue();
        queue.push(b"never read".to_vec());
        let begun = Instant::now();
        queue.flush(Duration::from_millis(50));
        assert!(begun.elapsed() >= Duration::from_millis(50) && begun.elapsed() < LONG);
    }

    #[test]
    fn a_failed_write_counts_as_dropped() {
        let (queue, receiver) = queue();
        drop(receiver);
        queue.push(b"lost".to_vec());
        queue.push(b"lost as well".to_vec());
        queue.flush(LONG);
        assert_eq!(queue.0.state().dropped, 2);
    }
}
