//! Lines that never holds up who writes it: a thread of its own takes the lines. When whoever reads
//! them is slow, lines are lost and counted; when nobody reads any more, they go nowhere.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that may wait to be written.
const WAITING: usize = 256;

/// How long the end of the program waits for a slow reader.
const PATIENCE: Duration = Duration::from_millis(500);

/// A place for lines to go. Clones are the same place.
#[derive(Clone, Debug)]
pub struct Lines {
    to: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Everything before this was written: say so.
    Flush(SyncSender<()>),
}

impl Lines {
    /// Starts the thread that writes to `sink`.
    pub fn start(name: &str, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (to, from) = sync_channel(WAITING);
        std::thread::Builder::new().name(name.into()).spawn(move || write_all(&from, sink))?;
        Ok(Self { to, lost: Arc::default() })
    }

    /// Writes a line, soon.
    pub fn send(&self, line: Vec<u8>) {
        if self.to.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Waits, not for long, until all lines are written.
    pub fn finish(&self) {
        let (done, wait) = sync_channel(1);
        if self.to.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(PATIENCE);
        }
    }
}

/// For a logger, which writes each line in one piece.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.send(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_all(from: &Receiver<Message>, mut sink: impl Write) {
    for message in from {
        match message {
            // A reader that is gone is no reason to stop: frames go on.
            Message::Line(line) => drop(sink.write_all(&line).and_then(|()| sink.flush())),
            Message::Flush(done) => drop(done.send(())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_stalls_costs_lines_and_no_time() {
        let (stalled, reader) = sync_channel::<()>(0);
        struct Stalled(SyncSender<()>);
        impl Write for Stalled {
            fn write(&mut self, line: &[u8]) -> io::Result<usize> {
                let _ = self.0.send(());
                Ok(line.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let output = Lines::start("test", Stalled(stalled)).unwrap();

        (0..1000).for_each(|_| output.send(b"line\n".to_vec()));
        output.finish();

        assert!(output.lost() >= 1000 - 1 - WAITING as u64);
        drop(reader);
    }
}
