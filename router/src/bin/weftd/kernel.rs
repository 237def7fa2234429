//! What the kernel is told of stations and addresses, off the control loop: netlink may take its time.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switch::{Applied, Entries, Fdb, FdbError, Kind, Mac, Station, Uplink};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

/// How often what is there is compared with what is to be there.
const VERIFY: Duration = Duration::from_secs(10);
/// Pause after netlink has failed.
const RETRY: Duration = Duration::from_secs(1);
/// What an earlier run has left stays for so long: by then peers have said what they have.
const SETTLE: Duration = Duration::from_secs(15);

/// What is to be there. Clones are the same.
///
/// # Thread-safety
/// The control loop writes, the task reads; each holds the lock for as long as a copy takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Shared {
    desired: Entries,
    /// Stations that are here: what an earlier run has left about them is wrong.
    released: Vec<Mac>,
    /// Where bridge and TAP are.
    links: Option<(u32, u32)>,
}

impl Tables {
    /// A station is behind the TAP, or it is not.
    pub(crate) fn place(&self, mac: Mac, kind: Option<Kind>) {
        let mut shared = self.lock();
        match kind {
            Some(kind) => {
                let station = Station { kind, uplink: Uplink::Tap };
                shared.desired.stations.insert(mac, station);
            }
            None => {
                shared.desired.stations.remove(&mac);
            }
        }
    }

    /// An address is a remote station's, or it is nobody's.
    pub(crate) fn name(&self, addr: IpAddr, mac: Option<Mac>) {
        let mut shared = self.lock();
        match mac {
            Some(mac) => drop(shared.desired.neighbours.insert(addr, mac)),
            None => drop(shared.desired.neighbours.remove(&addr)),
        }
    }

    /// A station is on this node.
    pub(crate) fn release(&self, mac: Mac) {
        self.lock().released.push(mac);
    }

    /// Bridge and TAP have these interface indices.
    pub(crate) fn relocate(&self, bridge: u32, tap: u32) {
        self.lock().links = Some((bridge, tap));
        self.changed.notify_one();
    }

    /// What was said since the last time is to be done.
    pub(crate) fn commit(&self) {
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the kernel up to date whenever something has changed, and looks after it.
pub(crate) async fn keep(tables: Tables) -> anyhow::Result<()> {
    let mut keeper = Keeper { tables, fdb: None, at: None, complaint: None };
    let begun = Instant::now();
    let mut settled = false;
    let mut verify_at = begun + VERIFY;
    loop {
        let changed = timeout_at(verify_at, keeper.tables.changed.notified()).await.is_ok();
        let settle = !settled && begun.elapsed() >= SETTLE;
        let outcome = keeper.turn(changed && !settle, settle).await;
        settled |= settle && outcome.is_ok();
        if !changed {
            verify_at = Instant::now() + VERIFY;
        }
        match outcome {
            Ok(applied) => keeper.report(&applied),
            Err(error) => {
                keeper.complain(error.to_string());
                keeper.fdb = None;
                keeper.tables.changed.notify_one();
                sleep(RETRY).await;
            }
        }
    }
}

struct Keeper {
    tables: Tables,
    fdb: Option<Fdb>,
    /// Where it programs.
    at: Option<(u32, u32)>,
    /// What was last complained of, so that it is said once.
    complaint: Option<String>,
}

impl Keeper {
    async fn turn(&mut self, changed: bool, settle: bool) -> Result<Applied, FdbError> {
        let (desired, released, links) = {
            let mut shared = self.tables.lock();
            (shared.desired.clone(), std::mem::take(&mut shared.released), shared.links)
        };
        let Some((bridge, tap)) = links else { return Ok(Applied::default()) };
        let fdb = match &mut self.fdb {
            Some(fdb) => fdb,
            None => self.fdb.insert(Fdb::open(bridge, tap, None)?),
        };
        if self.at.replace((bridge, tap)).is_some_and(|before| before != (bridge, tap)) {
            fdb.relocate(bridge, tap, None);
        }
        released.into_iter().for_each(|mac| fdb.release(Some(mac), None));
        if settle {
            fdb.settle();
        }
        let applied = fdb.set(desired).await?;
        if changed || settle { Ok(applied) } else { fdb.verify().await }
    }

    fn report(&mut self, applied: &Applied) {
        if applied.done > 0 {
            debug!(done = applied.done, "stations and addresses programmed");
        }
        match applied.refused.first() {
            None => self.complaint = None,
            Some(first) => {
                self.complain(format!("{first}, and {} more", applied.refused.len() - 1));
            }
        }
    }

    fn complain(&mut self, what: String) {
        if self.complaint.as_ref() != Some(&what) {
            warn!("{what}");
            self.complaint = Some(what);
        }
    }
}
