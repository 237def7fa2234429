//! The peers that the operator has given, kept over restarts.
//!
//! `peers.json` in the state directory holds the peers of the command line and those that are given now. At a start with
//! the same command line the latter count: what `weft connect` and `weft forget` have changed stays changed. With
//! another command line that one counts, as somebody has just written it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use peer_mesh::shell::Endpoint;
use serde::{Deserialize, Serialize};

use crate::failure::{is_full, writable};

/// No file of ours is longer.
const MAX: u64 = 1 << 20;
const VERSION: u64 = 1;
/// Peers that can be given: as many as the mesh takes.
pub(crate) const PEERS_MAX: usize = 64;

/// The peers that are given, and where that is written.
#[derive(Debug)]
pub(crate) struct Given {
    file: PathBuf,
    text: Text,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Text {
    version: u64,
    /// What the command line said.
    command_line: Vec<String>,
    given: Vec<String>,
}

impl Given {
    /// Reads what is stored, and decides. What cannot be used is put aside and said.
    pub(crate) fn open(dir: &Path, command_line: &[Endpoint]) -> anyhow::Result<Self> {
        let file = dir.join("peers.json");
        let said: Vec<_> = command_line.iter().map(Endpoint::to_string).collect();
        let fresh = Text { version: VERSION, command_line: said.clone(), given: unique(said) };
        let stored = read(&file);
        let before = stored.as_ref().ok().cloned().flatten();
        let text = match stored {
            Ok(None) => fresh,
            Ok(Some(stored)) if stored.command_line == fresh.command_line => stored,
            Ok(Some(stored)) => {
                if stored.given != stored.command_line {
                    tracing::warn!(stored = ?stored.given, "the command line names other peers than before: these count");
                }
                fresh
            }
            Err(why) => {
                let aside = file.with_extension("json.bad");
                fs::rename(&file, &aside).with_context(|| {
                    format!(
                        "{} cannot be used ({why:#}), and cannot be put aside: remove it",
                        file.display()
                    )
                })?;
                tracing::warn!(why = format!("{why:#}"), moved_to = %aside.display(), "unusable list of given peers put aside");
                fresh
            }
        };
        let given = Self { file, text };
        // What is as it was needs no room.
        if before.as_ref() != Some(&given.text) {
            given.write_first(before.is_some())?;
        }
        Ok(given)
    }

    /// Where there is no room, or only what is there can be read, a start does without.
    fn write_first(&self, is_there: bool) -> anyhow::Result<()> {
        let Err(error) = self.write() else { return Ok(()) };
        let (file, what_to_do) = (self.file.display(), writable(&error));
        if !is_there && !is_full(&error) {
            return Err(error).context(format!("cannot write {file}: {what_to_do}"));
        }
        tracing::warn!(%error, %file, what_to_do, "the given peers are not stored: weft connect and weft forget are refused as long as that is so");
        Ok(())
    }

    /// Those that are given.
    pub(crate) fn peers(&self) -> Vec<Endpoint> {
        // What was read and written here was parsed before.
        self.text.given.iter().filter_map(|peer| peer.parse().ok()).collect()
    }

    /// How they were written.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.text.given.clone()
    }

    /// These are given from now on. It is on disk when this returns; on an error nothing has changed.
    pub(crate) fn set(&mut self, peers: Vec<String>) -> io::Result<()> {
        let before = std::mem::replace(&mut self.text.given, unique(peers));
        self.write().inspect_err(|_| self.text.given = before)
    }

    fn write(&self) -> io::Result<()> {
        let fresh = self.file.with_extension("json.new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&self.text)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        match self.file.parent() {
            // The rename itself is on disk only when the directory is.
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn read(file: &Path) -> anyhow::Result<Option<Text>> {
    let mut octets = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX + 1).read_to_end(&mut octets)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text: Text = serde_json::from_slice(&octets)?;
    anyhow::ensure!(text.version == VERSION, "it has version {}", text.version);
    for peer in &text.given {
        peer.parse::<Endpoint>()?;
    }
    Ok(Some(text))
}

/// Each once, in order.
fn unique(peers: Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for peer in peers {
        if !all.contains(&peer) {
            all.push(peer);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(text: &str) -> Vec<Endpoint> {
        text.split_whitespace().map(|peer| peer.parse().unwrap()).collect()
    }

    fn dir(test: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("weft-given-{test}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn what_was_changed_stays_changed_until_the_command_line_changes() {
        let dir = dir("changed");
        let mut given = Given::open(&dir, &peers("10.0.0.1 node-2 10.0.0.1")).unwrap();
        assert_eq!(given.texts(), ["10.0.0.1:6783", "node-2:6783"]);

        given.set(vec!["10.0.0.9:6783".into()]).unwrap();

        let same = Given::open(&dir, &peers("10.0.0.1 node-2 10.0.0.1")).unwrap();
        let other = Given::open(&dir, &peers("10.0.0.2")).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(same.peers(), peers("10.0.0.9"));
        assert_eq!(other.peers(), peers("10.0.0.2"));
    }

    #[test]
    fn a_list_that_is_there_and_cannot_be_written_again_is_no_reason_not_to_start() {
        let dir = dir("unwritten");
        fs::create_dir(dir.join("peers.json.new")).unwrap();
        assert!(Given::open(&dir, &peers("10.0.0.1")).is_err());
        fs::remove_dir(dir.join("peers.json.new")).unwrap();
        Given::open(&dir, &peers("10.0.0.1")).unwrap();
        fs::create_dir(dir.join("peers.json.new")).unwrap();

        let same = Given::open(&dir, &peers("10.0.0.1")).unwrap();
        let mut other = Given::open(&dir, &peers("10.0.0.2")).unwrap();

        assert!(other.set(Vec::new()).is_err());
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((same.peers(), other.peers()), (peers("10.0.0.1"), peers("10.0.0.2")));
    }

    #[test]
    fn what_cannot_be_used_is_put_aside() {
        let dir = dir("bad");
        fs::write(dir.join("peers.json"), "{}").unwrap();

        let given = Given::open(&dir, &peers("10.0.0.2")).unwrap();

        let aside = dir.join("peers.json.bad").exists();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((given.peers(), aside), (peers("10.0.0.2"), true));
    }
}
