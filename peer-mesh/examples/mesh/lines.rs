//! Lines to stdout, by a thread of their own: whoever reads them and stalls must not make a peer look dead.

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
    to: SyncSender<String>,
    done: Receiver<()>,
}

impl Lines {
    /// Starts the thread.
    pub(crate) fn start() -> io::Result<Self> {
        let (to, from) = sync_channel::<String>(WAITING);
        let (end, done) = sync_channel(1);
        thread::Builder::new().name("stdout".into()).spawn(move || {
            for line in from {
                let mut out = io::stdout().lock();
                // Nobody may be reading any more: the mesh goes on.
                drop(writeln!(out, "{line}").and_then(|()| out.flush()));
            }
            drop(end);
        })?;
        Ok(Self { to, done })
    }

    /// Writes a line, soon.
    pub(crate) fn send(&self, line: String) {
        if self.to.try_send(line).is_err() {
            tracing::warn!("a line is lost: stdout is not read");
        }
    }

    /// Waits, not for long, until all lines are written.
    pub(crate) fn finish(self) {
        drop(self.to);
        let _ = self.done.recv_timeout(PATIENCE);
    }
}
