//! What is to be unplugged and cannot be now: files that the daemon goes through before its socket opens.
//!
//! One file for each interface, `ID:IFNAME.json`, an [`Unplug`] in JSON. Neither part can have a colon, so no two interfaces
//! have the same, and `ID` does not begin with a dot. A file is whole or not there: it is written under a name that begins
//! with a dot and has no end, and renamed.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use api::Unplug;

/// In the daemon's state directory.
const DIRECTORY: &str = "unplug";

/// The directory of these files; it is made when it is needed.
#[derive(Debug)]
pub(crate) struct Queue(PathBuf);

impl Queue {
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self(state_dir.join(DIRECTORY))
    }

    /// Takes the place of what was put for this interface before. On an error it may be there all the same.
    pub(crate) fn put(&self, unplug: &Unplug) -> io::Result<()> {
        let name = name(&unplug.id, unplug.ifname.as_deref().unwrap_or_default());
        let partial = self.0.join(format!(".{}.{name}", std::process::id()));
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let written = write(&partial, &serde_json::to_vec(unplug)?)
            .and_then(|()| fs::rename(&partial, self.0.join(name)));
        if written.is_err() {
            // Whatever is wrong with the disk, it is told of once.
            drop(fs::remove_file(&partial));
        }
        written.and_then(|()| File::open(&self.0)?.sync_all())
    }

    /// Whoever has an interface now does not lose it to what was put before.
    pub(crate) fn remove(&self, id: &str, ifname: &str) {
        // It is not there, as a rule.
        drop(fs::remove_file(self.0.join(name(id, ifname))));
    }
}

/// INVARIANT: `Call::read` lets no slash and no colon into either, and bounds both.
fn name(id: &str, ifname: &str) -> String {
    format!("{id}:{ifname}.json")
}

fn write(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(octets)?;
    file.sync_all()
}
