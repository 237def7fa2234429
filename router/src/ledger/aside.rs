//! Ledgers that are kept under other names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

/// As many are kept under one label: more are somebody's to look at.
const MOST: u32 = 999;

/// Moves what is at `path` to `PATH.bad-N`, which nobody has.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    set_aside_as(path, "bad")
}

/// Moves what is at `path` to `PATH.LABEL-N`, which nobody has. Where that is. Not while it is open.
///
/// # Errors
/// It cannot be moved, and is where it was.
pub fn set_aside_as(path: &Path, label: &str) -> io::Result<PathBuf> {
    let moved = to_free_name(path, label, |to| {
        Ok(renameat_with(CWD, path, CWD, to, RenameFlags::NOREPLACE)?)
    })?;
    force_directory(path)?;
    Ok(moved)
}

/// Copies what is at `path` to `PATH.LABEL-N`, which nobody has. Where that is. Between two commits the ledger may be open: the
/// copy is then one of a process that was killed.
///
/// # Errors
/// It cannot be read, or the copy not be written; then there is none.
pub fn backup(path: &Path, label: &str) -> io::Result<PathBuf> {
    let copied = to_free_name(path, label, |to| {
        let mut from = File::open(path)?;
        let mut options = OpenOptions::new();
        let mut copy = options.write(true).create_new(true).mode(0o600).open(to)?;
        let written = io::copy(&mut from, &mut copy).and_then(|_| copy.sync_all());
        written.inspect_err(|_| drop(fs::remove_file(to)))
    })?;
    force_directory(path)?;
    Ok(copied)
}

/// Does it with the first name that nobody has. Which one that was.
fn to_free_name(
    path: &Path,
    label: &str,
    mut make: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for number in 1..=MOST {
        let to = with_suffix(path, &format!("{label}-{number}"));
        match make(&to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            outcome => return outcome.map(|()| to),
        }
    }
    let first = with_suffix(path, label);
    Err(io::Error::new(
        ErrorKind::AlreadyExists,
        format!("there are {}-1 to -{MOST}: remove some", first.display()),
    ))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{suffix}"));
    name.into()
}

/// Names are on disk only when the directory is.
pub(super) fn force_directory(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or_else(|| Path::new(".")))?.sync_all()
}
