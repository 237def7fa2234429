//! The file that says which addresses are ours.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::boot;
use crate::cidr::Cidr;

/// Its name in the state directory.
pub const FILE: &str = "exposed";
const VERSION: u64 = 1;
/// No file of ours is longer.
const MAX: u64 = 1 << 20;

/// What is in it.
#[derive(Debug)]
pub(super) struct Book {
    file: PathBuf,
    boot: String,
    bridge: String,
    ours: BTreeSet<Cidr>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Text {
    version: u64,
    boot: String,
    bridge: String,
    addresses: Vec<String>,
}

impl Book {
    /// Reads it. Of another boot, or where it makes no sense, nothing is ours.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let (file, boot) = (state_dir.join(FILE), boot::id()?);
        let text = match read(&file)? {
            None => None,
            Some(octets) => match serde_json::from_slice::<Text>(&octets) {
                Ok(text) if text.version == VERSION => Some(text),
                Ok(_) | Err(_) => {
                    tracing::warn!(file = %file.display(), "the list of exposed addresses cannot be used: addresses that an earlier run has added stay on the bridge");
                    None
                }
            },
        };
        let (bridge, addresses) = text
            .filter(|text| text.boot == boot)
            .map(|text| (text.bridge, text.addresses))
            .unwrap_or_default();
        let ours = addresses.iter().filter_map(|it| it.parse().ok()).collect();
        Ok(Self { file, boot, bridge, ours })
    }

    pub(super) fn bridge(&self) -> &str {
        &self.bridge
    }

    pub(super) fn ours(&self) -> &BTreeSet<Cidr> {
        &self.ours
    }

    /// From now on it is about this bridge: nothing may be ours on another one.
    pub(super) fn rename(&mut self, bridge: &str) {
        self.bridge = bridge.to_owned();
        self.ours.clear();
    }

    /// These are ours too. It is written when this returns; on an error nothing has changed.
    pub(super) fn add(&mut self, new: &BTreeSet<Cidr>) -> io::Result<()> {
        self.change(self.ours.union(new).copied().collect())
    }

    /// This one is not ours any more.
    pub(super) fn remove(&mut self, addr: Cidr) -> io::Result<()> {
        self.change(self.ours.iter().copied().filter(|it| *it != addr).collect())
    }

    fn change(&mut self, to: BTreeSet<Cidr>) -> io::Result<()> {
        if to == self.ours {
            return Ok(());
        }
        let text = Text {
            version: VERSION,
            boot: self.boot.clone(),
            bridge: self.bridge.clone(),
            addresses: to.iter().map(Cidr::to_string).collect(),
        };
        let fresh = self.file.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&text)?)?;
        file.write_all(b"\n")?;
        // Only a kill has to be survived: what the kernel has does not outlive a failing power either.
        fs::rename(&fresh, &self.file)?;
        self.ours = to;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut octets = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX).read_to_end(&mut octets)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_known_to_the_next_run_of_the_same_boot_only() {
        let dir = std::env::temp_dir().join(format!("weft-exposed-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let addrs: BTreeSet<Cidr> =
            ["10.32.0.1/12", "fd00::1/64"].map(|it| it.parse().unwrap()).into();
        let mut book = Book::open(&dir).unwrap();
        book.rename("weave");
        book.add(&addrs).unwrap();

        let next = Book::open(&dir).unwrap();
        book.remove("fd00::1/64".parse().unwrap()).unwrap();
        let after = Book::open(&dir).unwrap();
        let text = fs::read_to_string(dir.join(FILE)).unwrap();
        fs::write(dir.join(FILE), text.replace(&book.boot, "another")).unwrap();
        let rebooted = Book::open(&dir).unwrap();
        fs::write(dir.join(FILE), "{").unwrap();
        let damaged = Book::open(&dir).unwrap();

        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((next.bridge(), next.ours()), ("weave", &addrs));
        assert_eq!(after.ours(), &["10.32.0.1/12".parse().unwrap()].into());
        assert!(rebooted.ours().is_empty() && damaged.ours().is_empty());
    }
}
