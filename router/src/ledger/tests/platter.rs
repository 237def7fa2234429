//! A disk in memory: what is not forced may be lost, in part, and what is forced may fail.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::super::medium::Medium;
use super::Dice;

/// What a disk writes whole, or not at all.
const SECTOR: usize = 512;

/// Something that was asked of the disk.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

/// How it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    Full,
    Io,
    Panic,
}

/// The disk, with one file. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Platter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    there: bool,
    /// As processes see it,
    seen: Vec<u8>,
    /// as it is after a power failure,
    forced: Vec<u8>,
    /// and what is between the two.
    unforced: Vec<Op>,
    /// All since there is a file, and what that was then.
    log: Vec<Op>,
    base: Vec<u8>,
    /// So many operations from now on work; then this one does not, or all that follow.
    fault: Option<(usize, Fault, bool)>,
    dice: Dice,
}

#[derive(Debug)]
struct Handle(Platter);

impl Platter {
    /// One that has this file.
    pub(super) fn with(octets: Vec<u8>) -> Self {
        let (seen, forced) = (octets.clone(), octets);
        Self(Arc::new(Mutex::new(State { there: true, seen, forced, ..State::default() })))
    }

    /// After so many operations one fails, or each that follows.
    pub(super) fn break_after(&self, operations: usize, fault: Fault, for_good: bool, seed: u64) {
        let mut state = self.lock();
        (state.fault, state.dice) = (Some((operations, fault, for_good)), Dice(seed));
    }

    pub(super) fn mend(&self) {
        self.lock().fault = None;
    }

    /// What a power failure leaves, if everything that is not forced is lost.
    pub(super) fn forced(&self) -> Vec<u8> {
        self.lock().forced.clone()
    }

    pub(super) fn base(&self) -> Vec<u8> {
        self.lock().base.clone()
    }

    pub(super) fn log(&self) -> Vec<Op> {
        self.lock().log.clone()
    }

    pub(super) fn operations(&self) -> usize {
        self.lock().log.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl State {
    fn perform(&mut self, op: Op) -> io::Result<()> {
        let failing = match &mut self.fault {
            Some((0, fault, _)) => Some(*fault),
            Some((left, ..)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        if let Some(fault) = failing {
            if self.fault.is_some_and(|(_, _, for_good)| !for_good) {
                self.fault = None;
            }
            // Of a write some sectors may arrive; what cannot be forced counts as clean, and is on disk or not.
            let mut seen = std::mem::take(&mut self.seen);
            match &op {
                Op::Sync => {
                    for op in std::mem::take(&mut self.unforced) {
                        apply(&mut self.forced, &op, &mut |_| self.dice.below(2) == 0);
                    }
                }
                Op::Write(..) => apply(&mut seen, &op, &mut |_| self.dice.below(2) == 0),
                Op::SetLen(_) => {}
            }
            self.seen = seen;
            return match fault {
                Fault::Full => Err(ErrorKind::StorageFull.into()),
                Fault::Io => Err(io::Error::other("the disk is broken")),
                // As a panic that has been printed already.
                Fault::Panic => std::panic::resume_unwind(Box::new("a defect")),
            };
        }
        self.log.push(op.clone());
        apply(&mut self.seen, &op, &mut |_| true);
        match op {
            Op::Sync => {
                for op in std::mem::take(&mut self.unforced) {
                    apply(&mut self.forced, &op, &mut |_| true);
                }
            }
            op @ (Op::Write(..) | Op::SetLen(_)) => self.unforced.push(op),
        }
        Ok(())
    }
}

/// Does it, as far as sectors are `taken`.
pub(super) fn apply(to: &mut Vec<u8>, op: &Op, taken: &mut dyn FnMut(usize) -> bool) {
    match op {
        Op::Sync => {}
        Op::SetLen(len) => {
            if taken(0) {
                to.resize(usize::try_from(*len).unwrap(), 0);
            }
        }
        Op::Write(at, octets) => {
            let mut at = usize::try_from(*at).unwrap();
            let mut rest = octets.as_slice();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(SECTOR - at % SECTOR));
                if taken(at / SECTOR) {
                    to.resize(to.len().max(at + now.len()), 0);
                    to[at..at + now.len()].copy_from_slice(now);
                }
                (at, rest) = (at + now.len(), later);
            }
        }
    }
}

impl Medium for Platter {
    fn path(&self) -> &Path {
        Path::new("platter")
    }

    fn is_there(&self) -> io::Result<bool> {
        Ok(self.lock().there)
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        Ok(Box::new(Handle(self.clone())))
    }

    fn make(&self) -> io::Result<Box<dyn StorageBackend>> {
        self.open()
    }

    fn publish(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.there = true;
        state.forced = state.seen.clone();
        state.base = state.seen.clone();
        (state.unforced, state.log) = (Vec::new(), Vec::new());
        Ok(())
    }

    fn keep_copy(&self, _: u32) -> io::Result<()> {
        Ok(())
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let state = self.0.lock();
        let there = state.seen.get(at..).and_then(|it| it.get(..out.len()));
        let octets = there.ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(octets);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().perform(Op::SetLen(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().perform(Op::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().perform(Op::Write(offset, data.to_vec()))
    }
}
