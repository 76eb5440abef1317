//! Where lines go: a thread of its own writes them, so that a slow or closed standard output never holds up a request.
//!
//! Lines wait in a bounded queue; when it is full, a line is dropped and counted. A failed write (a closed pipe) drops
//! its lines and is tried again with the next ones; nothing panics.
//!
//! A line after a silence is written at once. After a write the thread rests for [`REST`] before it looks again: under
//! load, lines are written by the hundred, and who logs has nobody to wake.

use std::io::{self, ErrorKind, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hafnium_core::metrics::Counter;

/// Lines that wait at most; beyond it lines are dropped.
const QUEUE: usize = 8192;
/// Lines that are written with one call at most.
const BATCH: usize = 64;
/// How long lines are collected after a write.
const REST: Duration = Duration::from_millis(2);
/// How long a writer that says "would block" is tried again. A standard output shared with a terminal that another
/// process set to non-blocking mode does that.
const PATIENCE: Duration = Duration::from_millis(500);

/// Lines one after the other, and where each ends.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    fn push(&mut self, line: &[u8]) {
        self.text.extend_from_slice(line);
        self.ends.push(self.text.len());
    }

    fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// The text of up to [`BATCH`] lines each, with their number.
    fn batches(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let mut begin = 0;
        self.ends.chunks(BATCH).map(move |ends| {
            let end = ends.last().copied().unwrap_or(begin);
            let text = self.text.get(begin..end).unwrap_or_default();
            begin = end;
            (text, ends.len())
        })
    }
}

#[derive(Default)]
struct State {
    lines: Lines,
    /// Whom to tell when what waits now is written.
    flushes: Vec<SyncSender<()>>,
    /// The thread waits for the first line.
    idle: bool,
    /// Nobody can log any more.
    closed: bool,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    news: Condvar,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for `line`.
    fn push(&self, line: &[u8]) -> bool {
        let mut state = self.state();
        if state.lines.ends.len() >= QUEUE {
            return false;
        }
        state.lines.push(line);
        let wake = mem::take(&mut state.idle);
        drop(state);
        if wake {
            self.news.notify_one();
        }
        true
    }

    /// Swaps `empty` for what waits, as soon as there is something; returns whom to tell, or nothing at the end.
    fn take(&self, empty: &mut Lines) -> Option<Vec<SyncSender<()>>> {
        let mut state = self.state();
        while state.lines.ends.is_empty() && state.flushes.is_empty() {
            if state.closed {
                return None;
            }
            state.idle = true;
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.idle = false;
        mem::swap(&mut state.lines, empty);
        Some(mem::take(&mut state.flushes))
    }

    /// Lets lines collect, unless somebody waits for them.
    fn rest(&self) {
        let hurries = |state: &mut State| state.flushes.is_empty() && !state.closed;
        let rested = self.news.wait_timeout_while(self.state(), REST, hurries);
        drop(rested);
    }
}

/// Ends the thread when the last who could log is gone.
struct Sender(Arc<Queue>);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.state().closed = true;
        self.0.news.notify_one();
    }
}

type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// The writer of lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    queue: Arc<Sender>,
    direct: Arc<AtomicBool>,
    writer: Writer,
    dropped: Counter,
}

impl Output {
    /// Starts the thread that writes to `writer`.
    pub(crate) fn start(writer: Box<dyn Write + Send>, dropped: Counter) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let writer: Writer = Arc::new(Mutex::new(writer));
        let of_thread = (queue.clone(), writer.clone(), dropped.clone());
        thread::Builder::new()
            .name("hafnium-log".to_owned())
            .spawn(move || drain(&of_thread.0, &of_thread.1, &of_thread.2))?;
        Ok(Self {
            queue: Arc::new(Sender(queue)),
            direct: Arc::default(),
            writer,
            dropped,
        })
    }

    /// Takes one line, with its line feed.
    pub(crate) fn write(&self, line: &[u8]) {
        if self.direct.load(Ordering::Acquire) {
            put(&self.writer, line, 1, &self.dropped);
        } else if !self.queue.0.push(line) {
            self.dropped.add(1);
        }
    }

    /// Waits until what was logged before is written, `limit` at most; returns whether it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let (done, wait) = mpsc::sync_channel(1);
        let queue = &self.queue.0;
        queue.state().flushes.push(done);
        queue.news.notify_one();
        wait.recv_timeout(limit).is_ok()
    }

    /// From now on lines are written by those who log them: at the end of a process nothing would wait for the thread.
    pub(crate) fn write_directly(&self) {
        self.direct.store(true, Ordering::Release);
    }
}

fn drain(queue: &Queue, writer: &Writer, dropped: &Counter) {
    let mut lines = Lines::default();
    while let Some(flushes) = queue.take(&mut lines) {
        for (text, count) in lines.batches() {
            put(writer, text, count, dropped);
        }
        lines.clear();
        for done in flushes {
            // Who waited may have given up.
            let _ = done.send(());
        }
        queue.rest();
    }
}

/// Writes `bytes`, which are `count` lines; lines that can't be written are counted.
fn put(writer: &Writer, bytes: &[u8], count: usize, dropped: &Counter) {
    let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
    if write_all(&mut **writer, bytes).is_err() {
        dropped.add(count as u64);
    }
}

fn write_all(writer: &mut dyn Write, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error),
        }
    }
    writer.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hafnium_core::metrics::Metrics;

    fn counter() -> Counter {
        Metrics::noop().counter("test", "{line}", "Lines")
    }

    /// Says "would block" before each byte.
    struct Reluctant(Arc<Mutex<Vec<u8>>>, bool);

    impl Write for Reluctant {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.lock().unwrap().push(bytes[0]);
            Ok(1)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_would_block_still_gets_every_byte_in_order() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let output = Output::start(Box::new(Reluctant(seen.clone(), false)), counter()).unwrap();
        output.write(b"one\n");
        output.write(b"two\n");
        assert!(output.flush(Duration::from_secs(5)));
        assert_eq!(*seen.lock().unwrap(), b"one\ntwo\n");
    }

    /// Notes how much it is given at a time.
    struct Calls(Arc<Mutex<Vec<usize>>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_come_fast_are_written_together_and_never_too_many_at_once() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let output = Output::start(Box::new(Calls(calls.clone())), counter()).unwrap();
        for _ in 0..QUEUE / 2 {
            output.write(b"line\n");
        }
        assert!(output.flush(Duration::from_secs(5)));
        let calls = calls.lock().unwrap();
        assert_eq!(calls.iter().sum::<usize>(), QUEUE / 2 * 5);
        assert!(calls.len() < QUEUE / 4, "{} calls", calls.len());
        assert!(calls.iter().all(|bytes| *bytes <= BATCH * 5));
    }

    #[test]
    fn a_line_after_a_silence_is_written_without_being_asked_for() {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let output = Output::start(Box::new(Calls(calls.clone())), counter()).unwrap();
        for count in 1..=3 {
            output.write(b"line\n");
            let begun = Instant::now();
            while calls.lock().unwrap().len() < count {
                assert!(begun.elapsed() < Duration::from_secs(5), "line {count}");
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(2 * REST);
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn a_closed_output_neither_panics_nor_holds_up_a_flush() {
        let output = Output::start(Box::new(Closed), counter()).unwrap();
        output.write(b"lost\n");
        assert!(output.flush(Duration::from_secs(5)));
        output.write_directly();
        output.write(b"lost as well\n");
    }

    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_output_costs_those_who_log_nothing() {
        let (release, stuck) = mpsc::channel();
        let output = Output::start(Box::new(Stuck(stuck)), counter()).unwrap();
        let begun = Instant::now();
        for _ in 0..2 * QUEUE {
            output.write(b"line\n");
        }
        assert!(!output.flush(Duration::from_millis(50)));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        drop(release);
    }
}
