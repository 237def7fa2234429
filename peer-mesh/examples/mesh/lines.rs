//! Lines to stdout and to stderr, each by a thread of its own: whoever reads them and stalls must not make a peer look dead.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Lines that may wait; more are lost.
const WAITING: usize = 1024;
/// How long the end of the program waits for a slow reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// Where lines go.
pub(crate) struct Lines {
    /// `None` is the end.
    to: SyncSender<Option<Vec<u8>>>,
    done: Receiver<()>,
    /// Lines lost since the last one that was not.
    lost: Cell<u64>,
}

impl Lines {
    /// Starts the thread.
    pub(crate) fn start(name: &str, mut out: impl Write + Send + 'static) -> io::Result<Self> {
        let (to, from) = sync_channel::<Option<Vec<u8>>>(WAITING);
        let (end, done) = sync_channel(1);
        thread::Builder::new().name(name.into()).spawn(move || {
            while let Ok(Some(line)) = from.recv() {
                // Nobody may be reading any more: the mesh goes on.
                drop(out.write_all(&line).and_then(|()| out.flush()));
            }
            drop(end);
        })?;
        Ok(Self { to, done, lost: Cell::new(0) })
    }

    /// Writes a line, soon. A reader that is too slow is told of once, and what it cost once it is over.
    pub(crate) fn send(&self, line: &str) {
        if self.to.try_send(Some(format!("{line}\n").into_bytes())).is_err() {
            if self.lost.replace(self.lost.get() + 1) == 0 {
                tracing::warn!("lines are lost: stdout is not read");
            }
            return;
        }
        match self.lost.take() {
            0 => {}
            lost => tracing::warn!(lost, "stdout is read again"),
        }
    }

    /// What logs may write to at any time.
    pub(crate) fn log(&self) -> Log {
        Log(self.to.clone())
    }

    /// Waits, not for long, until all lines are written.
    pub(crate) fn finish(self) {
        // Whose queue is full is not reading.
        if self.to.try_send(None).is_ok() {
            let _ = self.done.recv_timeout(PATIENCE);
        }
    }
}

/// A way to the thread that never waits.
#[derive(Clone)]
pub(crate) struct Log(SyncSender<Option<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        // A line of the log that nobody reads in time is lost.
        drop(self.0.try_send(Some(octets.to_vec())));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
