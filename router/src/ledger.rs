//! The ledger: what has to be on disk before anybody hears of it.
//!
//! A sorted map of octets to octets in one file, changed by transactions: [`Ledger::commit`] returns when the disk has all of
//! its edits, or none. Each commit has a number, one more than that of the one before. What the octets mean is for others to
//! know; the ledger keeps the number of their format.
//!
//! - The file is redb's. A process may be killed, or power may fail, at any write: the next open finds the last commit that
//!   was told, or the one after it, whole. A file that is damaged, foreign or of another format is an error and stays as it is;
//!   so each open first reads it through an `overlay`, which the checks may write to and the file never sees.
//! - On a disk without room a ledger opens all the same: what the overlay shows is what a recovery would find. It is recovered by
//!   the first commit for which there is room.
//! - A commit that fails leaves nothing. A disk that has failed may have taken any part of what was written since it was last
//!   forced; all of redb's writes go to pages that are not in use, but for the first one, which says which are. So the first page is
//!   put back as it was (`head`), and what is left is what a power failure might have left.
//! - A disk that was put back to an earlier state, of a snapshot or a copy, has numbers that were given before. A [`Witness`]
//!   in memory knows the last one of this boot.
//!
//! # Thread-safety
//! One owner; commits block for as long as the disk takes. [`LedgerThread`] does that for a program that cannot wait.

mod aside;
mod engine;
mod error;
mod format;
mod head;
mod locks;
mod medium;
mod overlay;
mod thread;
mod witness;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::Database;
use rustix::rand::{GetRandomFlags, getrandom};

pub use aside::{backup, set_aside_as};
use engine::{Stored, caught};
use error::Why;
pub use error::{CommitError, OpenError};
use format::{MIGRATIONS, Migration};
use head::Head;
use locks::Boxed;
use medium::{Disk, Medium};
use overlay::Overlay;
pub use thread::{Ended, LedgerThread};
pub use witness::Witness;

/// The file's name in the state directory.
pub const FILE: &str = "ipam.redb";
/// The name of its witness's file, beside the daemon's socket.
pub const WITNESS: &str = "ipam.witness";

/// What is wrong with a file that somebody has deleted.
const GONE: &str =
    "it was deleted while it was in use: start weftd again, and this node begins anew";

/// What is in a ledger.
pub type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the owner knows of the octets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The number of their format.
    pub format: u32,
}

/// A key gets a value, or is no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// The key.
    pub key: Vec<u8>,
    /// Its value from now on; without one it is removed.
    pub value: Option<Vec<u8>>,
}

/// What was found at an open.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Contents {
    /// All of it.
    pub entries: Entries,
    /// There was nothing: the ledger was made.
    pub made: bool,
    /// The process before has not closed it: it was looked through from end to end, and is whole.
    pub recovered: bool,
    /// The number of its last commit, and that of the last one that was told since this machine has started, if that is higher:
    /// then the file is an earlier one. The next commit's number is above both.
    pub rolled_back: Option<(u64, u64)>,
}

/// An open ledger. Nobody else can open it. Dropping it closes it, and loses nothing.
#[derive(Debug)]
pub struct Ledger {
    medium: Box<dyn Medium>,
    head: Head,
    /// Closed after a failure, until the next commit.
    open: Option<Database>,
    /// The number of the last commit.
    last: u64,
    identity: u64,
    witness: Option<Witness>,
}

impl Ledger {
    /// Opens the ledger at `path`, or makes it where there is nothing.
    ///
    /// # Errors
    /// As [`OpenError`] says. The file is as it was.
    pub fn open(
        path: &Path,
        header: &Header,
        witness: Option<Witness>,
    ) -> Result<(Self, Contents), OpenError> {
        Self::open_at(Box::new(Disk::at(path)), header.format, witness, &MIGRATIONS)
    }

    /// Moves what is at `path` out of the way, to a name that nobody has. Where it is now. Not while it is open.
    ///
    /// # Errors
    /// It cannot be moved, and is where it was.
    pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
        aside::set_aside(path)
    }

    /// The number of the last commit.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Makes all of these edits, in order, in one transaction. They are on disk when this returns. Its number.
    ///
    /// # Errors
    /// As [`CommitError`] says. Nothing of it is there, and the ledger can be used: the next commit opens it again. Only where the
    /// disk fails at its very end, and at once again, may all of it be found later: whoever commits it again need not care.
    pub fn commit(&mut self, edits: &[Edit]) -> Result<u64, CommitError> {
        self.commit_all(edits.iter())
    }

    fn commit_all<'a>(
        &mut self,
        edits: impl Iterator<Item = &'a Edit>,
    ) -> Result<u64, CommitError> {
        let path = self.medium.path().to_owned();
        let failed = |why| CommitError::new(&path, why);
        let open = match self.open.take() {
            Some(open) => open,
            None => self.recover().map_err(failed)?,
        };
        // A file without a name takes commits, and is gone when it is closed.
        if !self.medium.is_there().unwrap_or(true) {
            self.open = Some(open);
            return Err(failed(Why::Io(io::Error::new(io::ErrorKind::NotFound, GONE))));
        }
        let next = self.last + 1;
        let Err(why) = caught(|| engine::write(&open, next, edits)) else {
            self.open = Some(open);
            self.committed(next);
            return Ok(next);
        };
        // What it cannot write any more is not needed, and closing may fail as the commit did.
        let _closed = caught(|| {
            drop(open);
            Ok(())
        });
        self.open = self.recover().ok();
        if self.last == next { Ok(next) } else { Err(failed(why)) }
    }

    /// Opens the ledger again after a failure, as it was when the disk was last forced.
    fn recover(&mut self) -> Result<Database, Why> {
        let Self { medium, head, .. } = self;
        let (open, stored) = caught(|| {
            head.put_back(&*medium.open()?)?;
            let open = engine::open(head.watch(medium.open()?)?, || {})?;
            let stored = engine::stored(&open)?;
            Ok((open, stored))
        })?;
        let ours = stored.filter(|stored| stored.identity == self.identity);
        let Some(stored) = ours else {
            return Err(Why::Damaged("somebody has put another file in its place".to_owned()));
        };
        // What had failed after the disk had all of it is there.
        if stored.last > self.last {
            self.committed(stored.last);
        }
        Ok(open)
    }

    fn committed(&mut self, number: u64) {
        self.last = number;
        if let Some(witness) = &mut self.witness {
            witness.note(self.identity, number);
        }
    }

    fn open_at(
        medium: Box<dyn Medium>,
        format: u32,
        witness: Option<Witness>,
        known: &[Migration],
    ) -> Result<(Self, Contents), OpenError> {
        let path = medium.path().to_owned();
        let at = path.as_path();
        let failed = |what| move |why| OpenError::new(what, at, why);
        let made = !medium.is_there().map_err(Why::Io).map_err(failed("look for"))?;
        if made {
            caught(|| make(&*medium, format)).map_err(failed("make"))?;
        }
        let stored = caught(|| engine::stored(&check(&*medium)?)).map_err(failed("open"))?;
        let stored = stored.ok_or_else(|| OpenError::Foreign(path.clone()))?;
        let found = stored.format;
        let steps = format::steps(found, format, known);
        let other = || OpenError::Format { path: path.clone(), found, ours: format };
        let steps = steps.ok_or_else(other)?;
        if !steps.is_empty() {
            medium.keep_copy(found).map_err(Why::Io).map_err(failed("copy"))?;
        }
        let head = Head::default();
        let recovering = Arc::new(AtomicBool::new(false));
        let opened = caught(|| {
            let recovering = Arc::clone(&recovering);
            let noted = move || recovering.store(true, Ordering::Relaxed);
            let open = engine::open(head.watch(medium.open()?)?, noted)?;
            let entries = engine::entries(&open)?;
            format::migrate(&open, stored, entries, (&steps, format)).map(|it| (open, it))
        });
        let (open, (last, entries)) = match opened {
            Ok((open, found)) => (Some(open), found),
            Err(why) if why.is_full() && steps.is_empty() => {
                let entries = caught(|| engine::entries(&check(&*medium)?));
                (None, (stored.last, entries.map_err(failed("read"))?))
            }
            Err(why) => return Err(failed("open")(why)),
        };
        let seen = witness.as_ref().and_then(|it| it.seen(stored.identity)).unwrap_or_default();
        let contents = Contents {
            entries,
            made,
            recovered: recovering.load(Ordering::Relaxed),
            rolled_back: (seen > stored.last).then_some((stored.last, seen)),
        };
        let (last, identity) = (last.max(seen), stored.identity);
        Ok((Self { medium, head, open, last, identity, witness }, contents))
    }
}

/// Makes an empty one, and then puts it in its place: what is there is always whole.
fn make(medium: &dyn Medium, format: u32) -> Result<(), Why> {
    let mut identity = [0; 8];
    let got = getrandom(&mut identity, GetRandomFlags::empty()).map_err(io::Error::from)?;
    if got != identity.len() {
        return Err(io::Error::other("no random numbers").into());
    }
    let identity = u64::from_be_bytes(identity);
    let open = engine::open(Boxed(medium.make()?), || {})?;
    engine::begin(&open, Stored { format, last: 0, identity })?;
    open.close()?;
    Ok(medium.publish()?)
}

/// Looks at it from end to end, and does not touch it.
fn check(medium: &dyn Medium) -> Result<Database, Why> {
    engine::check(Overlay::over(medium.open()?)?)
}

#[cfg(test)]
mod tests;
