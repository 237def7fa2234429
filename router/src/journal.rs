//! The flight recorder: what went into the control core, so that it can be run again.
//!
//! A [`Journal`] is kept in memory. It has a few *segments*; each begins with the whole state of the core and goes on
//! with every [`Node::step`]: its time, its inputs and, where that changed, the hash of how peers are reached and stations
//! placed. When the journal is full its oldest segment goes. [`replay`] runs one through the same core and compares the
//! hashes. Nothing secret goes into the core, so nothing is in the journal.
//!
//! ```text
//! file      "weftjrnl" 8 | format u16 | len u16 | release (text) | segment* | 0 u8 | digest 32
//! segment   1 u8 | len u32 | state | step*
//! step      2 u8 | len u32 | what `step` says
//! ```
//! The state is MessagePack. The digest is BLAKE2s-256 of all that is before it: a journal that was cut off or
//! altered is told from a whole one. It is no signature.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use blake2::{Blake2s256, Digest as _};

use crate::node::{Input, Node, Output, Word};

mod step;

use step::Step;

const MAGIC: [u8; 8] = *b"weftjrnl";
/// The format that we write, and the only one we read.
const FORMAT: u16 = 3;
const DIGEST: usize = 32;
/// Octets that a journal has by default.
pub const DEFAULT_LIMIT: usize = 16 << 20;
/// Steps fill a segment with this part of the limit; then the next one begins.
const SEGMENTS: usize = 4;
/// The fewest octets of a journal that are of any use.
pub const LEAST_LIMIT: usize = 64 << 10;

const END: u8 = 0;
const STATE: u8 = 1;
const STEP: u8 = 2;

/// What went into the core, bounded.
#[derive(Debug)]
pub struct Journal {
    limit: usize,
    /// Segments that are full, the oldest first.
    older: VecDeque<Arc<Vec<u8>>>,
    /// The one that is written to.
    current: Vec<u8>,
    /// How long the state is that it begins with.
    state: usize,
    last_hash: u64,
    /// Steps that were recorded.
    steps: u64,
}

impl Journal {
    /// A journal of at most `limit` octets; `0` records nothing.
    pub fn new(limit: usize) -> Self {
        let (older, current) = (VecDeque::new(), Vec::new());
        Self { limit, older, current, state: 0, last_hash: 0, steps: 0 }
    }

    /// Runs a step and records it. `wall` is the time since 1970, for people.
    pub fn step(
        &mut self,
        node: &mut Node,
        now: Duration,
        wall: Duration,
        inputs: Vec<Input>,
    ) -> Vec<Output> {
        if self.limit < LEAST_LIMIT {
            return node.step(now, inputs);
        }
        if self.current.len() >= self.state + self.limit / SEGMENTS || self.current.is_empty() {
            self.begin(node);
        }
        // A core's time has microseconds: what is replayed must have the same.
        let now = Duration::from_micros(micros(now));
        let wall_millis = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let start = self.open(STEP);
        let written = step::emit_inputs(&mut self.current, micros(now), wall_millis, &inputs);
        // The inputs are written before the core takes them: they need no copy.
        let outputs = node.step(now, inputs);
        let hash = Some(node.hash()).filter(|hash| *hash != self.last_hash);
        self.last_hash = node.hash();
        self.steps += 1;
        step::emit_hash(&mut self.current, hash);
        self.close(start, written);
        outputs
    }

    /// Steps that were recorded so far, also those that are no longer there.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What is recorded now. Only the last segment is copied.
    pub fn copy(&self) -> Copy {
        let mut segments: Vec<_> = self.older.iter().cloned().collect();
        segments.push(Arc::new(self.current.clone()));
        Copy { segments }
    }

    /// The journal as a file.
    pub fn emit(&self) -> Vec<u8> {
        self.copy().emit()
    }

    fn begin(&mut self, node: &Node) {
        let full = std::mem::take(&mut self.current);
        if !full.is_empty() {
            self.older.push_back(Arc::new(full));
        }
        // Growing bit by bit costs more than what is written.
        self.current.reserve(self.limit / SEGMENTS);
        self.last_hash = node.hash();
        let start = self.open(STATE);
        let written = rmp_serde::encode::write(&mut self.current, node).is_ok();
        self.close(start, written);
        self.state = self.current.len();
        let last = self.limit - self.limit / SEGMENTS;
        while self.older.iter().map(|it| it.len()).sum::<usize>() + self.current.len() > last
            && self.older.pop_front().is_some()
        {}
    }

    /// Begins an entry, and says where.
    fn open(&mut self, kind: u8) -> usize {
        let start = self.current.len();
        self.current.extend([kind, 0, 0, 0, 0]);
        start
    }

    fn close(&mut self, start: usize, written: bool) {
        let len = u32::try_from(self.current.len() - start - 5).ok().filter(|_| written);
        match (len, self.current.get_mut(start + 1..start + 5)) {
            (Some(len), Some(room)) => room.copy_from_slice(&len.to_be_bytes()),
            // Nothing of ours is as long as this, and memory can be written to.
            (None, _) | (_, None) => self.current.truncate(start),
        }
    }
}

/// What a journal held at one moment.
#[derive(Clone, Debug)]
pub struct Copy {
    segments: Vec<Arc<Vec<u8>>>,
}

impl Copy {
    /// As a file. This takes some ten milliseconds for each megabyte.
    pub fn emit(&self) -> Vec<u8> {
        let release = env!("CARGO_PKG_VERSION").as_bytes();
        let mut file =
            Vec::with_capacity(self.segments.iter().map(|it| it.len()).sum::<usize>() + 128);
        file.extend(MAGIC);
        file.extend(FORMAT.to_be_bytes());
        file.extend(u16::try_from(release.len()).unwrap_or_default().to_be_bytes());
        file.extend(release);
        self.segments.iter().for_each(|segment| file.extend(segment.as_slice()));
        file.push(END);
        let digest = Blake2s256::digest(&file);
        file.extend(digest);
        file
    }
}

/// Why a journal cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum BadJournal {
    /// It is something else.
    #[error("it is no journal of weft's: make one with `weft report --journal FILE`")]
    NotOne,
    /// Another format.
    #[error(
        "it has format {0}, and this release reads format {FORMAT}: run the release that wrote it ({1})"
    )]
    Format(u16, String),
    /// It ends too early.
    #[error("it was cut off: fetch it again")]
    Short,
    /// It is not what was written: which of both cannot be told, where a length may be what was altered.
    #[error("it was cut off or altered: its digest is wrong; fetch it again")]
    Altered,
    /// What is written in it makes no sense to this release.
    #[error("{what} at octet {at} cannot be read: it was written by release {release}, this is {}", env!("CARGO_PKG_VERSION"))]
    Unreadable {
        /// What.
        what: &'static str,
        /// Where in the file.
        at: usize,
        /// The release that wrote it.
        release: String,
        /// Why.
        #[source]
        why: rmp_serde::decode::Error,
    },
    /// It holds nothing.
    #[error("it holds no step: the daemon had just started, or records nothing")]
    Empty,
}

/// A moment of a replay.
#[derive(Debug)]
pub struct Moment<'a> {
    /// The core's clock: since the daemon's start.
    pub now: Duration,
    /// Since 1970, by the clock of the node that wrote it.
    pub wall: Duration,
    /// What went in.
    pub inputs: &'a [Input],
    /// What an operator might have been told.
    pub words: Vec<Word>,
    /// The core afterwards.
    pub node: &'a Node,
    /// Whether something about paths or stations has changed.
    pub changed: bool,
    /// Whether that is what came of it then.
    pub same: bool,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// Steps run.
    pub steps: u64,
    /// Those that changed something.
    pub changes: u64,
    /// Those of which came something else than then.
    pub differing: u64,
    /// From the first step to the last.
    pub time: Duration,
}

/// Runs a journal through the core; `look` is shown every step.
///
/// # Errors
/// As [`BadJournal`] says. Steps before one that cannot be read were run.
pub fn replay(file: &[u8], mut look: impl FnMut(Moment<'_>)) -> Result<Outcome, BadJournal> {
    let (release, mut entries) = open(file)?;
    let mut outcome = Outcome::default();
    let (mut node, mut hash, mut first) = (None::<Node>, 0, None);
    while let Some((kind, at, body)) = entries.next()? {
        let unreadable =
            |what, why| BadJournal::Unreadable { what, at, release: release.clone(), why };
        if kind == STATE {
            // The first state is where it begins; at the later ones the replay has arrived by itself.
            if node.is_none() {
                let state: Node =
                    rmp_serde::from_slice(body).map_err(|why| unreadable("a state", why))?;
                hash = state.hash();
                node = Some(state);
            }
            continue;
        }
        let Some(node) = &mut node else { return Err(BadJournal::Empty) };
        let Step { micros, wall_millis, inputs, hash: then } =
            step::parse(body).map_err(|why| unreadable("a step", why))?;
        let now = Duration::from_micros(micros);
        let start = *first.get_or_insert(now);
        let outputs = node.step(now, inputs.iter().cloned());
        let changed = node.hash() != hash;
        let same = node.hash() == then.unwrap_or(hash);
        hash = node.hash();
        outcome.steps += 1;
        outcome.changes += u64::from(changed);
        outcome.differing += u64::from(!same);
        outcome.time = now.saturating_sub(start);
        let words = outputs
            .into_iter()
            .filter_map(|output| if let Output::Say(word) = output { Some(word) } else { None });
        let (wall, words) = (Duration::from_millis(wall_millis), words.collect());
        look(Moment { now, wall, inputs: &inputs, words, node, changed, same });
    }
    if outcome.steps == 0 { Err(BadJournal::Empty) } else { Ok(outcome) }
}

type Entry<'a> = (u8, usize, &'a [u8]);

/// Entries of a journal, one after the other.
struct Entries<'a> {
    rest: &'a [u8],
    at: usize,
}

fn open(file: &[u8]) -> Result<(String, Entries<'_>), BadJournal> {
    let (magic, rest) = file.split_first_chunk::<8>().ok_or(BadJournal::NotOne)?;
    if *magic != MAGIC {
        return Err(BadJournal::NotOne);
    }
    let (format, rest) = rest.split_first_chunk::<2>().ok_or(BadJournal::Short)?;
    let (len, rest) = rest.split_first_chunk::<2>().ok_or(BadJournal::Short)?;
    let len = usize::from(u16::from_be_bytes(*len));
    let (release, rest) = rest.split_at_checked(len).ok_or(BadJournal::Short)?;
    let release = peer_mesh::printable(&String::from_utf8_lossy(release)).to_string();
    let format = u16::from_be_bytes(*format);
    if format != FORMAT {
        return Err(BadJournal::Format(format, release));
    }
    let (body, digest) = rest.split_last_chunk::<DIGEST>().ok_or(BadJournal::Short)?;
    let written = file.len() - DIGEST;
    let before = file.get(..written).unwrap_or_default();
    if Blake2s256::digest(before).as_slice() != digest {
        return Err(BadJournal::Altered);
    }
    Ok((release, Entries { rest: body, at: written - body.len() }))
}

impl<'a> Entries<'a> {
    /// The next one: its kind, where it is, and what it holds.
    fn next(&mut self) -> Result<Option<Entry<'a>>, BadJournal> {
        let (kind, rest) = self.rest.split_first().ok_or(BadJournal::Short)?;
        if *kind == END {
            return Ok(None);
        }
        if *kind != STATE && *kind != STEP {
            return Err(BadJournal::Altered);
        }
        let (len, rest) = rest.split_first_chunk::<4>().ok_or(BadJournal::Short)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        let (body, rest) = rest.split_at_checked(len).ok_or(BadJournal::Short)?;
        let at = self.at;
        (self.rest, self.at) = (rest, at + 5 + len);
        Ok(Some((*kind, at, body)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
