//! Where the octets of a ledger are.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::aside;

/// Opening never waits (open(2)).
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();

/// A place for a ledger. Tests have one that fails and forgets, as disks do.
pub(super) trait Medium: Debug + Send {
    /// What to call it.
    fn path(&self) -> &Path;

    /// Whether there is one.
    fn is_there(&self) -> io::Result<bool>;

    /// The one that is there.
    fn open(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// A new one, that is not there yet.
    fn make(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// From now on the new one is there, after any failure.
    fn publish(&self) -> io::Result<()>;

    /// Copies what is there, as it was in that format.
    fn keep_copy(&self, format: u32) -> io::Result<()>;
}

/// A file.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    /// What a new one is called until it is whole.
    fresh: PathBuf,
}

impl Disk {
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), fresh: aside::with_suffix(path, "new") }
    }
}

impl Medium for Disk {
    fn path(&self) -> &Path {
        &self.path
    }

    fn is_there(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn open(&self) -> io::Result<Box<dyn StorageBackend>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).custom_flags(NONBLOCK).open(&self.path);
        let no_file = || io::Error::new(ErrorKind::InvalidInput, "it is no regular file");
        match file {
            Ok(file) if !file.metadata()?.is_file() => Err(no_file()),
            // redb would make an empty file a ledger.
            Ok(file) if file.metadata()?.len() == 0 => {
                Err(io::Error::new(ErrorKind::InvalidData, "it is empty"))
            }
            Ok(file) => backend(file),
            Err(error) if error.kind() == ErrorKind::IsADirectory => Err(no_file()),
            Err(error) => Err(error),
        }
    }

    fn make(&self) -> io::Result<Box<dyn StorageBackend>> {
        // One that was never whole.
        match fs::remove_file(&self.fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut options = OpenOptions::new();
        backend(options.read(true).write(true).create_new(true).mode(0o600).open(&self.fresh)?)
    }

    fn publish(&self) -> io::Result<()> {
        File::open(&self.fresh)?.sync_all()?;
        renameat_with(CWD, &self.fresh, CWD, &self.path, RenameFlags::NOREPLACE)?;
        aside::force_directory(&self.path)
    }

    fn keep_copy(&self, format: u32) -> io::Result<()> {
        aside::backup(&self.path, &format!("format-{format}")).map(drop)
    }
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}
