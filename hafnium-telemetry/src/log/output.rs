//! Where lines go: a thread of its own writes them, so that a slow or closed standard output never holds up a request.
//!
//! Lines wait in a bounded queue; when it is full, a line is dropped and counted. A failed write (a closed pipe) drops
//! its lines and is tried again with the next ones; nothing panics.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use hafnium_core::metrics::Counter;

/// Lines that wait at most; beyond it lines are dropped.
const QUEUE: usize = 8192;
/// Lines that are written with one call at most.
const BATCH: usize = 64;
/// How long a writer that says "would block" is tried again. A standard output shared with a terminal that another
/// process set to non-blocking mode does that.
const PATIENCE: Duration = Duration::from_millis(500);

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

type Writer = Arc<Mutex<Box<dyn Write + Send>>>;

/// The writer of lines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    queue: SyncSender<Item>,
    direct: Arc<AtomicBool>,
    writer: Writer,
    dropped: Counter,
}

impl Output {
    /// Starts the thread that writes to `writer`.
    pub(crate) fn start(writer: Box<dyn Write + Send>, dropped: Counter) -> io::Result<Self> {
        let (queue, lines) = mpsc::sync_channel(QUEUE);
        let writer: Writer = Arc::new(Mutex::new(writer));
        let of_thread = (writer.clone(), dropped.clone());
        thread::Builder::new()
            .name("hafnium-log".to_owned())
            .spawn(move || drain(&lines, &of_thread.0, &of_thread.1))?;
        Ok(Self {
            queue,
            direct: Arc::default(),
            writer,
            dropped,
        })
    }

    /// Takes one line, with its line feed.
    pub(crate) fn write(&self, line: &[u8]) {
        if self.direct.load(Ordering::Acquire) {
            put(&self.writer, line, 1, &self.dropped);
        } else if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.queue.try_send(Item::Line(line.to_vec()))
        {
            self.dropped.add(1);
        }
    }

    /// Waits until what was logged before is written, `limit` at most; returns whether it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let (done, wait) = mpsc::sync_channel(1);
        let mut item = Item::Flush(done);
        loop {
            match self.queue.try_send(item) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < end => {
                    item = back;
                    thread::sleep(Duration::from_millis(2));
                }
                Err(_) => return false,
            }
        }
        wait.recv_timeout(end.saturating_duration_since(Instant::now()))
            .is_ok()
    }

    /// From now on lines are written by those who log them: at the end of a process nothing would wait for the thread.
    pub(crate) fn write_directly(&self) {
        self.direct.store(true, Ordering::Release);
    }
}

fn drain(lines: &Receiver<Item>, writer: &Writer, dropped: &Counter) {
    let mut buffer = Vec::new();
    while let Ok(first) = lines.recv() {
        let mut count = 0;
        let mut next = Some(first);
        let mut flushed = None;
        buffer.clear();
        while let Some(item) = next.take() {
            match item {
                Item::Line(line) => {
                    buffer.extend_from_slice(&line);
                    count += 1;
                }
                Item::Flush(done) => {
                    flushed = Some(done);
                    break;
                }
            }
            if count < BATCH {
                next = lines.try_recv().ok();
            }
        }
        put(writer, &buffer, count, dropped);
        if let Some(done) = flushed {
            // Who waited may have given up.
            let _ = done.send(());
        }
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
