//! Why a ledger cannot be opened or written, in words.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Why a ledger cannot be opened. What is there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system says no.
    #[error("cannot {what} {}: {why}: {}", .path.display(), remedy(.why.kind()))]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        why: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by another process: stop that one (fuser shows it), or use another --state-dir", .0.display())]
    InUse(PathBuf),
    /// It is of another release.
    #[error("{} has format {found}, and this release reads {ours}: {}", .path.display(), other_release(*found, *ours))]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// It is a file of redb's, but another program's.
    #[error("{} is the file of another program: move it away, and a new one is made", .0.display())]
    Foreign(PathBuf),
    /// It is no file of redb's, or not all of it, or somebody has written into it.
    #[error("{} cannot be used: {why}: put a copy of it back, or move it away and start without what it held", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Reading it has failed in a way that nobody has foreseen.
    #[error("cannot {what} {}: redb has panicked ({why}): keep a copy of the file and report this; move it away to start without what it held", .path.display())]
    Panicked {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

/// Why a commit has failed. Nothing of it is there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CommitError {
    /// There is no room.
    #[error("cannot write {}: {why}: make room on that disk", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The disk has failed, or the file is not what it was.
    #[error("cannot write {}: {why}: see what the kernel says of that disk (dmesg)", .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What it was.
        why: String,
    },
    /// redb has failed in a way that nobody has foreseen.
    #[error("cannot write {}: redb has panicked ({why}): please report this", .path.display())]
    Panicked {
        /// The file.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

/// Why something with the file did not work.
#[derive(Debug)]
pub(super) enum Why {
    Io(io::Error),
    InUse,
    Damaged(String),
    Panicked(String),
}

impl Why {
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Io(why) if is_full(why.kind()))
    }
}

impl OpenError {
    pub(super) fn new(what: &'static str, path: &Path, why: Why) -> Self {
        let path = path.to_owned();
        match why {
            Why::Io(why) if why.kind() == ErrorKind::UnexpectedEof => {
                Self::Damaged { path, why: "it ends too early".to_owned() }
            }
            Why::Io(why) if why.kind() == ErrorKind::InvalidData => {
                Self::Damaged { path, why: why.to_string() }
            }
            Why::Io(why) => Self::Io { what, path, why },
            Why::InUse => Self::InUse(path),
            Why::Damaged(why) => Self::Damaged { path, why },
            Why::Panicked(why) => Self::Panicked { what, path, why },
        }
    }
}

impl CommitError {
    pub(super) fn new(path: &Path, why: Why) -> Self {
        let path = path.to_owned();
        match why {
            Why::Io(why) if is_full(why.kind()) => Self::Full { path, why: why.to_string() },
            Why::Io(why) => Self::Failed { path, why: why.to_string() },
            Why::InUse => Self::Failed { path, why: "another process has it".to_owned() },
            Why::Damaged(why) => Self::Failed { path, why },
            Why::Panicked(why) => Self::Panicked { path, why },
        }
    }
}

impl From<io::Error> for Why {
    fn from(why: io::Error) -> Self {
        Self::Io(why)
    }
}

impl From<redb::Error> for Why {
    fn from(why: redb::Error) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
        match why {
            redb::Error::Io(why) => Self::Io(why),
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Self::InUse,
            redb::Error::Corrupted(why) => Self::Damaged(why),
            why => Self::Damaged(why.to_string()),
        }
    }
}

/// Errors that redb's calls have each of their own.
macro_rules! from_redb {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Why {
            fn from(why: redb::$error) -> Self {
                redb::Error::from(why).into()
            }
        })*
    };
}

from_redb!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

fn other_release(found: u32, ours: u32) -> &'static str {
    if found > ours {
        "a later one wrote it; run that one again"
    } else {
        "an earlier one wrote it; run a release between the two first"
    }
}

fn remedy(kind: ErrorKind) -> &'static str {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
    match kind {
        kind if is_full(kind) => "make room on that disk",
        ErrorKind::PermissionDenied => "give this process the right to read and write it",
        ErrorKind::ReadOnlyFilesystem => "make --state-dir a directory that can be written to",
        ErrorKind::NotFound => "make the directory, or use another --state-dir",
        ErrorKind::InvalidInput => "move away what is there, or use another --state-dir",
        _ => "see what the kernel says of that disk (dmesg)",
    }
}
