use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use peer_mesh::{Event, Output};

use super::host::HostId;

/// Lines that a failure shows.
const LINES: usize = 80;

/// What happened: a hash of all of it, and the last notable lines.
#[derive(Debug, Default)]
pub struct Journal {
    hash: DefaultHasher,
    lines: VecDeque<Line>,
}

#[derive(Debug)]
enum Line {
    Said(Duration, HostId, Event),
    Done(Duration, String),
}

impl Journal {
    /// Equal for equal runs.
    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }

    pub(super) fn output(&mut self, now: Duration, host: HostId, output: &Output) {
        (now, host.0).hash(&mut self.hash);
        match output {
            Output::Dial { conn, addr } => (1, conn, addr).hash(&mut self.hash),
            // Sealed octets differ in their last ones when they differ at all.
            Output::Send { conn, octets } => {
                (2, conn, octets.len(), octets.last_chunk::<8>()).hash(&mut self.hash);
            }
            Output::Close { conn } => (3, conn).hash(&mut self.hash),
            Output::Event(event) => {
                4.hash(&mut self.hash);
                std::mem::discriminant(event).hash(&mut self.hash);
                if !matches!(event, Event::Changed { .. } | Event::Save) {
                    self.push(Line::Said(now, host, event.clone()));
                }
            }
        }
    }

    pub(super) fn note(&mut self, now: Duration, what: impl fmt::Display) {
        self.push(Line::Done(now, what.to_string()));
    }

    fn push(&mut self, line: Line) {
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }
}

impl fmt::Display for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            match line {
                Line::Said(at, host, event) => {
                    writeln!(f, "{:12.6}  #{}: {event:?}", at.as_secs_f64(), host.0)?;
                }
                Line::Done(at, what) => writeln!(f, "{:12.6}  {what}", at.as_secs_f64())?,
            }
        }
        Ok(())
    }
}
