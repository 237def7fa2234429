//! Files that are there whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Result;
use api::Problem;

/// A file that is being written. Dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    pub(crate) fn create(file: &Path) -> Result<Self> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.partial", std::process::id()));
        let path = PathBuf::from(name);
        // A journal says who talks to whom: only for whoever asked.
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: opened.map_err(|why| denied(file, &why))?, path })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name; what had that is gone.
    pub(crate) fn keep(self, file: &Path) -> Result<()> {
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

pub(crate) fn denied(file: &Path, why: &io::Error) -> Problem {
    Problem {
        what: format!("cannot write {}", file.display()),
        why: why.to_string(),
        what_to_do: "name a file where there is room, and where you may write".into(),
    }
}
