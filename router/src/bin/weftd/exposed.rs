//! Which addresses the bridge is to have: those of the command line, and those that were asked for, kept over restarts.

mod claims;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use router::Cidr;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::warn;

use crate::addresses::Office;
pub(crate) use claims::{Contested, ID};

/// Where those that were asked for are, in the state directory, and its next version while that is written.
pub(crate) const FILE: &str = "expose.json";
pub(crate) const FRESH: &str = "expose.json.new";
const VERSION: u64 = 1;
/// No file of ours is longer.
const MAX: u64 = 1 << 20;

/// They, and whoever keeps them.
#[derive(Debug)]
pub(crate) struct Exposed {
    file: PathBuf,
    command_line: BTreeSet<Cidr>,
    asked: BTreeSet<Cidr>,
    to: watch::Sender<BTreeSet<Cidr>>,
    contested: watch::Sender<Contested>,
    bridge: String,
    kept: watch::Receiver<Kept>,
}

/// What the kernel has of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) there: BTreeSet<Cidr>,
    /// Why there are not all.
    pub(crate) complaint: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Text {
    version: u64,
    addresses: Vec<String>,
}

impl Exposed {
    /// Reads what was asked for of this bridge. What cannot be used is put aside and said.
    pub(crate) fn open(
        dir: &Path,
        command_line: BTreeSet<Cidr>,
        (bridge, kept): (String, watch::Receiver<Kept>),
    ) -> anyhow::Result<Self> {
        let file = dir.join(FILE);
        let asked = read(&file).or_else(|why| {
            let aside = file.with_extension("json.bad");
            fs::rename(&file, &aside)
                .with_context(|| format!("{} cannot be used ({why:#}), and cannot be put aside: remove it", file.display()))?;
            warn!(why = format!("{why:#}"), moved_to = %aside.display(), "unusable list of exposed addresses put aside");
            anyhow::Ok(BTreeSet::new())
        })?;
        let (to, _) = watch::channel(command_line.union(&asked).copied().collect());
        let (contested, _) = watch::channel(Contested::default());
        Ok(Self { file, command_line, asked, to, contested, bridge, kept })
    }

    /// What the bridge is to have.
    pub(crate) fn subscribe(&self) -> watch::Receiver<BTreeSet<Cidr>> {
        self.to.subscribe()
    }

    /// The bridge.
    pub(crate) fn bridge(&self) -> &str {
        &self.bridge
    }

    /// What it has.
    pub(crate) fn kept(&self) -> watch::Receiver<Kept> {
        self.kept.clone()
    }

    /// What it is to have, in the words of the API.
    pub(crate) fn all(&self) -> Vec<api::Cidr> {
        let all = self.to.borrow();
        all.iter().filter_map(|it| api::Cidr::new(it.addr(), it.prefix())).collect()
    }

    /// Whether the command line says so.
    pub(crate) fn is_given(&self, addr: Cidr) -> bool {
        self.command_line.contains(&addr)
    }

    /// Those of the command line.
    pub(crate) fn given(&self) -> &BTreeSet<Cidr> {
        &self.command_line
    }

    /// Those that were asked for.
    pub(crate) fn asked(&self) -> &BTreeSet<Cidr> {
        &self.asked
    }

    /// These were asked for from now on. It is on disk when this returns; on an error nothing has changed.
    pub(crate) fn set(&mut self, asked: BTreeSet<Cidr>) -> io::Result<()> {
        let addresses = asked.iter().map(Cidr::to_string).collect();
        let text = Text { version: VERSION, addresses };
        let fresh = self.file.with_file_name(FRESH);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec_pretty(&text)?)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)?;
        self.asked = asked;
        self.to.send_replace(self.command_line.union(&self.asked).copied().collect());
        // The rename itself is on disk only when the directory is.
        self.file.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    }

    /// Those of the range that others have.
    pub(crate) fn contested(&self) -> watch::Ref<'_, Contested> {
        self.contested.borrow()
    }

    /// Keeps the bridge's addresses of the range leased to it.
    pub(crate) fn claim(
        &self,
        office: Office,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
        claims::keep(office, self.subscribe(), self.contested.clone())
    }
}

fn read(file: &Path) -> anyhow::Result<BTreeSet<Cidr>> {
    let mut octets = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX + 1).read_to_end(&mut octets)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(error.into()),
    };
    let text: Text = serde_json::from_slice(&octets)?;
    anyhow::ensure!(text.version == VERSION, "it has version {}", text.version);
    text.addresses.iter().map(|it| Ok(it.parse()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<Cidr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn what_was_asked_for_is_there_after_a_restart_besides_the_command_line() {
        let dir = std::env::temp_dir().join(format!("weft-expose-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let open = |given| {
            let kept = watch::channel(Kept::default()).1;
            Exposed::open(&dir, given, ("weave".to_owned(), kept)).unwrap()
        };
        let mut exposed = open(set(&["10.32.0.1/12"]));
        let heard = exposed.subscribe();

        exposed.set(set(&["10.7.0.1/24"])).unwrap();

        let next = open(BTreeSet::new());
        fs::write(dir.join(FILE), "{").unwrap();
        let damaged = open(BTreeSet::new());
        let aside = dir.join("expose.json.bad").exists();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(*heard.borrow(), set(&["10.32.0.1/12", "10.7.0.1/24"]));
        assert_eq!(next.asked(), &set(&["10.7.0.1/24"]));
        assert!(damaged.asked().is_empty() && aside);
    }
}
