//! The last plan on disk: `plan` in the state directory, for the next start.
//!
//! It is written off the control loop, at most once a second, and once more at the end. It is there for a restart of the
//! process: what a failing power leaves of it may be nothing, and then the kernel has kept nothing either.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peer_mesh::PeerName;
use router::{Last, Output};
use switch::{MacTable, PlanCell, Port, Vni};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::control::Request;

/// The file.
pub(crate) const NAME: &str = "plan";
/// No plan of ours is longer: 65 536 peers, and a million stations.
const MAX: u64 = 256 << 20;
/// Between two times that it is written.
const PAUSE: Duration = Duration::from_secs(1);

/// Reads what the last run has left for this node, if it can be used. What cannot is said, and put aside.
pub(crate) fn read(dir: &Path, own: PeerName, overlay: (Vni, bool)) -> Option<Last> {
    let file = dir.join(NAME);
    let last = match open(&file) {
        Ok(None) => return None,
        Ok(Some(last)) => last,
        Err(why) => {
            let aside = file.with_extension("bad");
            let moved = fs::rename(&file, &aside).is_ok();
            let why = format!("{why:#}");
            warn!(why, file = %file.display(), moved, "the plan of the last run cannot be used: this start waits for the mesh");
            return None;
        }
    };
    if last.own != own {
        warn!(of = %last.own, %own, "the plan of the last run is of a node with another name, and not used");
        return None;
    }
    if (last.vni, last.ipv6) != overlay {
        warn!("the plan of the last run is of another overlay (--vni, --local), and not used");
        return None;
    }
    info!(
        peers = last.peers.len(),
        stations = last.stations.len(),
        "goes by the plan of the last run until the mesh has told"
    );
    Some(last)
}

fn open(file: &Path) -> anyhow::Result<Option<Last>> {
    let mut octets = Vec::new();
    match File::open(file) {
        Ok(file) => file.take(MAX).read_to_end(&mut octets)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(Last::parse(&octets)?))
}

/// What the frame threads are to know before they run. Whom the guard is to let in.
pub(crate) fn prepare(
    begun: &[Output],
    cell: &PlanCell,
    table: &MacTable,
    frames: switch::Clock,
) -> BTreeSet<IpAddr> {
    let mut sources = BTreeSet::new();
    for output in begun {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the control loop does all of them")]
        match output {
            Output::Install(plan) => cell.install(plan.clone()),
            Output::Place(mac, id) => table.pin(*mac, Port::Peer(*id), frames.now()),
            Output::Sources(addrs) => sources.extend(addrs),
            _ => {}
        }
    }
    sources
}

/// Writes the file. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    file: PathBuf,
    control: mpsc::Sender<Request>,
    /// What was last written.
    written: Arc<Mutex<Vec<u8>>>,
}

impl Writer {
    /// Begins to write. Whom to tell that something has changed.
    pub(crate) fn start(
        tasks: &mut JoinSet<anyhow::Result<()>>,
        dir: &Path,
        control: mpsc::Sender<Request>,
    ) -> (Self, Arc<Notify>) {
        let (it, changed) = (
            Self { file: dir.join(NAME), control, written: Arc::default() },
            Arc::new(Notify::new()),
        );
        tasks.spawn(it.clone().run(Arc::clone(&changed)));
        (it, changed)
    }

    /// Writes it whenever it has changed.
    async fn run(self, changed: Arc<Notify>) -> anyhow::Result<()> {
        let mut complaint = None;
        loop {
            changed.notified().await;
            let outcome = self.write().await.map_err(|error| format!("{error:#}"));
            let failed = outcome.err();
            if let Some(why) = failed.as_ref().filter(|_| failed != complaint) {
                warn!(
                    why,
                    "a restart would have to wait for the mesh, trying again: make room there, or see that --state-dir can be written to"
                );
            }
            complaint = failed;
            sleep(PAUSE).await;
        }
    }

    /// Writes it now.
    pub(crate) async fn write(&self) -> anyhow::Result<()> {
        let (to, last) = oneshot::channel();
        self.control.send(Request::Last(to)).await.context("the control loop has ended")?;
        let last = last.await.context("the control loop has ended")?;
        let mut written = self.written.lock().await;
        let (file, before) = (self.file.clone(), std::mem::take(&mut *written));
        let write = move || {
            let octets = last.emit();
            if octets != before {
                replace(&file, &octets)
                    .with_context(|| format!("cannot write {}", file.display()))?;
            }
            anyhow::Ok(octets)
        };
        *written = spawn_blocking(write).await??;
        Ok(())
    }
}

fn replace(file: &Path, octets: &[u8]) -> io::Result<()> {
    let fresh = file.with_extension("new");
    let mut options = OpenOptions::new();
    let mut to = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    to.write_all(octets)?;
    fs::rename(&fresh, file)
}
