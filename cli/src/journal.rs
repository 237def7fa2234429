//! The flight recorder's journal, into a file.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use api::{Client, Problem};

/// Writes the journal to `file`, whole or not at all: under another name first. A device, a pipe or what a link
/// leads to, as `/dev/stdout`, gets what comes, as it comes: that name is not ours to replace. `-` is stdout.
pub(crate) fn write(client: &Client, file: &Path) -> Result<()> {
    if file == Path::new("-") {
        let mut sink = io::stdout().lock();
        client.journal(&mut sink).map_err(|error| error.problem())?;
        return Ok(());
    }
    let special = fs::symlink_metadata(file).is_ok_and(|it| !it.is_file());
    if special {
        let opened = OpenOptions::new().write(true).truncate(true).open(file);
        let mut sink = opened.map_err(|why| denied(file, &why))?;
        client.journal(&mut sink).map_err(|error| error.problem())?;
        return Ok(());
    }
    let partial = Partial::create(file)?;
    let mut sink = &partial.file;
    client.journal(&mut sink).map_err(|error| error.problem())?;
    partial.keep(file)
}

/// A file that is being written. Dropped, it is removed.
#[derive(Debug)]
struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    fn create(file: &Path) -> Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(name);
        // It says who talks to whom: only for whoever asked.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: opened.map_err(|why| denied(file, &why))?, path })
    }

    fn keep(self, file: &Path) -> Result<()> {
        let kept = self.file.sync_all().and_then(|()| fs::rename(&self.path, file));
        kept.map_err(|why| denied(file, &why))?;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Gone already where it was kept.
        drop(fs::remove_file(&self.path));
    }
}

fn denied(file: &Path, why: &io::Error) -> Problem {
    Problem {
        what: format!("cannot write {}", file.display()),
        why: why.to_string(),
        what_to_do: "name a file where there is room, and where you may write".into(),
    }
}
