//! Lines to stdout and to stderr, each by a thread of its own: whoever reads them and stalls must not make a peer look dead.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait, and their octets; more are lost. A line that alone is longer may wait alone: what there is to
/// see of 5 000 peers is one.
const WAITING: usize = 1024;
const WAITING_OCTETS: usize = 4 << 20;
/// How long the end of the program waits for a slow reader, and how often it looks.
const PATIENCE: Duration = Duration::from_millis(500);
const LOOKS: u32 = 50;

/// Where lines go.
pub(crate) struct Lines {
    name: &'static str,
    to: Log,
    done: Receiver<()>,
    /// Lines lost since the last one that was not.
    lost: Cell<u64>,
}

enum Message {
    Line(Vec<u8>),
    /// The last words, perhaps none.
    End(Vec<u8>),
}

impl Lines {
    /// Starts the thread.
    pub(crate) fn start(name: &'static str, out: impl Write + Send + 'static) -> io::Result<Self> {
        let (to, from) = sync_channel(WAITING);
        let (end, done) = sync_channel(1);
        let to = Log { to, waiting: Arc::default() };
        let waiting = Arc::clone(&to.waiting);
        thread::Builder::new().name(name.into()).spawn(move || {
            write_all(&from, &waiting, out);
            drop(end);
        })?;
        Ok(Self { name, to, done, lost: Cell::new(0) })
    }

    /// Writes a line, soon. A reader that is too slow is told of once, and what it cost once it is over.
    pub(crate) fn send(&self, line: &str) {
        if !self.to.offer(format!("{line}\n").into_bytes()) {
            if self.lost.replace(self.lost.get() + 1) == 0 {
                tracing::warn!("lines are lost: {} is not read", self.name);
            }
            return;
        }
        match self.lost.take() {
            0 => {}
            lost => tracing::warn!(lost, "{} is read again", self.name),
        }
    }

    /// What logs may write to at any time.
    pub(crate) fn log(&self) -> Log {
        self.to.clone()
    }

    /// Waits, not for long, until all lines are written, and then the last words.
    pub(crate) fn finish(self, last_words: &str) {
        let mut end = Message::End(last_words.as_bytes().to_vec());
        for _ in 0..LOOKS {
            match self.to.to.try_send(end) {
                Ok(()) => {
                    let _ = self.done.recv_timeout(PATIENCE);
                    return;
                }
                Err(TrySendError::Full(back)) => end = back,
                Err(TrySendError::Disconnected(_)) => return,
            }
            // Nothing comes before the end was sent: this is a pause.
            let _ = self.done.recv_timeout(PATIENCE / LOOKS);
        }
    }
}

fn write_all(from: &Receiver<Message>, waiting: &AtomicUsize, mut out: impl Write) {
    for message in from {
        // Nobody may be reading any more: the mesh goes on.
        match message {
            Message::Line(line) => {
                drop(out.write_all(&line).and_then(|()| out.flush()));
                waiting.fetch_sub(line.len(), Relaxed);
            }
            Message::End(last) => return drop(out.write_all(&last).and_then(|()| out.flush())),
        }
    }
}

/// A way to the thread that never waits.
#[derive(Clone)]
pub(crate) struct Log {
    to: SyncSender<Message>,
    /// Octets that wait.
    waiting: Arc<AtomicUsize>,
}

impl Log {
    /// `false`: too much waits.
    fn offer(&self, line: Vec<u8>) -> bool {
        let octets = line.len();
        let before = self.waiting.fetch_add(octets, Relaxed);
        let fits = before == 0 || before.saturating_add(octets) <= WAITING_OCTETS;
        let taken = fits && self.to.try_send(Message::Line(line)).is_ok();
        if !taken {
            self.waiting.fetch_sub(octets, Relaxed);
        }
        taken
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        // A line of the log that nobody reads in time is lost.
        self.offer(octets.to_vec());
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A reader that reads nothing until it is let go.
    struct Stalled {
        go: Receiver<()>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stalled {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            let _ = self.go.recv();
            self.read.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (Lines, SyncSender<()>, Arc<Mutex<Vec<u8>>>) {
        let ((going, go), read) = (sync_channel(0), Arc::<Mutex<Vec<u8>>>::default());
        let lines = Lines::start("test", Stalled { go, read: Arc::clone(&read) }).unwrap();
        (lines, going, read)
    }

    #[test]
    fn octets_that_wait_are_bounded_and_a_long_line_waits_alone() {
        let (lines, _go, _read) = stalled();
        let (long, too_long) = ("x".repeat(1 << 20), "x".repeat(WAITING_OCTETS + 1));

        lines.send(&too_long);
        (0..100).for_each(|_| lines.send(&long));
        assert_eq!(lines.lost.get(), 100);
        assert_eq!(lines.to.waiting.load(Relaxed), too_long.len() + 1);

        let (lines, _go, _read) = stalled();
        (0..100).for_each(|_| lines.send(&long));
        assert_eq!(lines.lost.get(), 97);
    }

    #[test]
    fn the_last_words_find_room_behind_a_full_queue() {
        let (lines, go, read) = stalled();
        (0..2 * WAITING).for_each(|_| lines.send("x"));
        assert!(lines.lost.get() > 0);

        // Dropped, it lets go of all.
        drop(go);
        lines.finish("the end\n");

        assert!(read.lock().unwrap().ends_with(b"x\nthe end\n"));
    }

    #[test]
    fn who_reads_nothing_holds_up_the_end_for_a_moment_only() {
        let (lines, _go, read) = stalled();
        (0..2 * WAITING).for_each(|_| lines.send("x"));

        lines.finish("the end\n");

        assert_eq!(read.lock().unwrap().len(), 0);
    }
}
