//! What the kernel and the frame threads are told of peers, stations and addresses, off the control loop: netlink may take
//! its time.
//!
//! Order matters where a peer changes between the kernel's uplink and the process. A flood is never seen twice: the one that
//! is to stop flooding to it stops first. A unicast is never lost: a station moves from one uplink to the other in place, and
//! both know the way all the time. A station that is new is the bridge's first and the frame threads' then, or both uplinks would
//! carry what the bridge has to flood.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use switch::{
    Applied, Entries, Fdb, FdbError, Kind, Mac, MacTable, Path, PeerId, Plan, PlanCell, Port,
    Station, Uplink,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

/// How often what is there is compared with what is to be there, and by how many stations more each time takes longer.
const VERIFY: Duration = Duration::from_secs(1);
const VERIFY_EACH: Duration = Duration::from_micros(500);
/// Pause after netlink has failed.
const RETRY: Duration = Duration::from_secs(1);
/// What an earlier run has left stays for so long at least, and until the mesh has told of all peers of that run,
const SETTLE: Duration = Duration::from_secs(15);
/// or for so long: as long as a mesh takes to come together.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked whether the frame threads have begun anew, and for how long: threads that the processor is kept
/// from hold up nobody for longer.
const TURN: Duration = Duration::from_millis(1);
const TURN_MAX: Duration = Duration::from_millis(100);
/// How often it is asked what the kernel's uplink was used for, and by how many stations more each time takes longer.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_EACH: Duration = Duration::from_micros(500);

/// What is to be there. Clones are the same.
///
/// # Thread-safety
/// The control loop writes, the task reads; each holds the lock for as long as a copy takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    shared: Arc<Mutex<Shared>>,
    changed: Arc<Notify>,
}

#[derive(Clone, Debug, Default)]
struct Shared {
    /// Stations, and behind whom.
    placed: BTreeMap<Mac, (PeerId, Kind)>,
    /// The peers' own bridges: probes go there, announced or not.
    bridges: BTreeMap<Mac, PeerId>,
    neighbours: BTreeMap<IpAddr, Mac>,
    plan: Option<Plan>,
    /// Stations that are here: what an earlier run has left about them is wrong.
    released: Vec<Mac>,
    /// Where bridge, TAP and vxlan device are.
    links: Option<(u32, u32, Option<u32>)>,
    /// The mesh has not told of all peers yet.
    waiting: bool,
    /// Peers to which the kernel has sent.
    used: BTreeSet<PeerId>,
}

impl Tables {
    /// A station is behind a peer, or behind none.
    pub(crate) fn place(&self, mac: Mac, to: Option<(PeerId, Kind)>) {
        let mut shared = self.lock();
        match to {
            Some(to) => drop(shared.placed.insert(mac, to)),
            None => drop(shared.placed.remove(&mac)),
        }
    }

    /// An address is a remote station's, or it is nobody's.
    pub(crate) fn name(&self, addr: IpAddr, mac: Option<Mac>) {
        let mut shared = self.lock();
        match mac {
            Some(mac) => drop(shared.neighbours.insert(addr, mac)),
            None => drop(shared.neighbours.remove(&addr)),
        }
    }

    /// How peers are reached from now on, and what their bridges are called.
    pub(crate) fn install(&self, plan: Plan, bridges: BTreeMap<Mac, PeerId>) {
        let mut shared = self.lock();
        (shared.plan, shared.bridges) = (Some(plan), bridges);
    }

    /// A station is on this node.
    pub(crate) fn release(&self, mac: Mac) {
        self.lock().released.push(mac);
    }

    /// Bridge, TAP and vxlan device have these interface indices.
    pub(crate) fn relocate(&self, bridge: u32, tap: u32, fast: Option<u32>) {
        self.lock().links = Some((bridge, tap, fast));
        self.changed.notify_one();
    }

    /// Whether the mesh has yet to tell of peers of the last run.
    pub(crate) fn wait(&self, waiting: bool) {
        self.lock().waiting = waiting;
    }

    /// What was said since the last time is to be done.
    pub(crate) fn commit(&self) {
        self.changed.notify_one();
    }

    /// Peers to which the kernel has sent since this was last asked.
    pub(crate) fn take_used(&self) -> BTreeSet<PeerId> {
        std::mem::take(&mut self.lock().used)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn entries(&self) -> Entries {
        let plan = self.plan.as_ref();
        let is_fast = |id| plan.and_then(|it| it.route(id)).is_some_and(|it| it.path == Path::Fast);
        let addr = |id| plan.and_then(|it| it.peer(id)).map(|it| it.addr.ip());
        let addr = |id| addr(id).filter(|addr| !addr.is_unspecified());
        let station = |(id, kind): (PeerId, Kind)| {
            let uplink = if is_fast(id) { Uplink::Fast } else { Uplink::Tap };
            Station { kind, uplink }
        };
        let owners = self.placed.iter().map(|(mac, (id, _))| (*mac, *id));
        let bridges = self.bridges.iter().map(|(mac, id)| (*mac, *id));
        let peers = plan.into_iter().flat_map(Plan::peers);
        Entries {
            stations: self.placed.iter().map(|(mac, it)| (*mac, station(*it))).collect(),
            remotes: owners.chain(bridges).filter_map(|(mac, id)| Some((mac, addr(id)?))).collect(),
            floods: peers.filter(|(id, _)| is_fast(*id)).filter_map(|(id, _)| addr(id)).collect(),
            neighbours: self.neighbours.clone(),
        }
    }

    /// To whom the kernel does not flood.
    fn unflooded(&self) -> BTreeSet<IpAddr> {
        let peers = self.plan.iter().flat_map(Plan::peers);
        let all: BTreeSet<IpAddr> = peers.map(|(_, peer)| peer.addr.ip()).collect();
        all.difference(&self.entries().floods).copied().collect()
    }
}

/// Brings kernel and frame threads up to date whenever something has changed, and looks after it.
pub(crate) struct Keeper {
    tables: Tables,
    cell: Arc<PlanCell>,
    table: Arc<MacTable>,
    frames: switch::Clock,
    fdb: Option<Fdb>,
    /// Where it programs.
    at: Option<(u32, u32, Option<u32>)>,
    /// Stations that the frame threads were told of.
    pinned: BTreeMap<Mac, PeerId>,
    /// To whom the kernel floods.
    floods: BTreeSet<IpAddr>,
    /// What an earlier run has left is gone.
    settled: bool,
    /// What was last complained of, so that it is said once.
    complaint: Option<String>,
}

impl Keeper {
    pub(crate) fn new(
        tables: Tables,
        cell: Arc<PlanCell>,
        table: Arc<MacTable>,
        frames: switch::Clock,
    ) -> Self {
        Self {
            tables,
            cell,
            table,
            frames,
            fdb: None,
            at: None,
            pinned: BTreeMap::new(),
            floods: BTreeSet::new(),
            settled: false,
            complaint: None,
        }
    }

    pub(crate) async fn run(mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (mut verify_at, mut look_at) = (begun + VERIFY, begun + LOOK);
        loop {
            let due = verify_at.min(look_at);
            let changed = timeout_at(due, self.tables.changed.notified()).await.is_ok();
            if !changed && Instant::now() < verify_at {
                look_at = Instant::now() + self.look().await;
                continue;
            }
            let rest = if self.tables.lock().waiting { SETTLE_MAX } else { SETTLE };
            let settle = !self.settled && begun.elapsed() >= rest;
            let outcome = self.turn(changed && !settle, settle).await;
            self.settled |= settle && outcome.is_ok();
            if !changed {
                let stations = u32::try_from(self.tables.lock().placed.len()).unwrap_or(u32::MAX);
                verify_at = Instant::now() + VERIFY + VERIFY_EACH * stations;
            }
            match outcome {
                Ok(applied) if !changed && !settle && applied.done > 0 => {
                    warn!(
                        mended = applied.done,
                        "stations or addresses were gone from the kernel's tables, or changed: put back"
                    );
                }
                Ok(applied) => self.report(&applied),
                Err(error) => {
                    self.complain(error.to_string());
                    self.fdb = None;
                    self.tables.changed.notify_one();
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn turn(&mut self, changed: bool, settle: bool) -> Result<Applied, FdbError> {
        let shared = {
            let mut shared = self.tables.lock();
            let copy = shared.clone();
            shared.released.clear();
            copy
        };
        let desired = shared.entries();
        self.unpin(&shared);
        let kept = desired.floods.intersection(&self.floods).copied().collect();
        let first =
            self.program(&shared, Entries { floods: kept, ..desired.clone() }, settle).await;
        let adopted = !self.settled && !shared.unflooded().is_empty();
        if adopted || !self.floods.is_subset(&desired.floods) {
            // What the kernel has flooded until now to those that leave it lies in the TAP, too, and is not to go there by the next plan.
            self.cell.unsettle();
            self.settle().await;
        }
        // Also where the kernel did not take it: the process carries all the same.
        if let Some(plan) = &shared.plan {
            self.cell.install(plan.clone());
        }
        self.pin(&shared);
        let mut applied = first?;
        if !desired.floods.is_subset(&self.floods) {
            self.settle().await;
            applied = self.program(&shared, desired.clone(), false).await?;
        }
        self.floods = desired.floods;
        match &mut self.fdb {
            Some(fdb) if !changed && !settle => fdb.verify().await,
            Some(_) | None => Ok(applied),
        }
    }

    /// Until no frame thread has in hand, or in the TAP, what came there before.
    async fn settle(&self) {
        let deadline = Instant::now() + TURN_MAX;
        while !self.cell.is_settled() {
            if Instant::now() >= deadline {
                debug!("frame threads are behind with a plan: a flood may be seen twice");
                break;
            }
            sleep(TURN).await;
        }
    }

    async fn program(
        &mut self,
        shared: &Shared,
        desired: Entries,
        settle: bool,
    ) -> Result<Applied, FdbError> {
        let Some((bridge, tap, fast)) = shared.links else { return Ok(Applied::default()) };
        let fdb = match &mut self.fdb {
            Some(fdb) => fdb,
            None => {
                let fdb = self.fdb.insert(Fdb::open(bridge, tap, fast)?);
                // Netlink has failed since: what is there is not of an earlier run.
                if self.settled {
                    fdb.settle();
                }
                fdb
            }
        };
        if self.at.replace((bridge, tap, fast)).is_some_and(|it| it != (bridge, tap, fast)) {
            fdb.relocate(bridge, tap, fast);
        }
        shared.released.iter().for_each(|mac| fdb.release(Some(*mac), None));
        if settle {
            fdb.settle();
        } else if !self.settled {
            shared.unflooded().into_iter().for_each(|node| fdb.release_flood(node));
        }
        fdb.set(desired).await
    }

    /// Before the bridge hears of it.
    fn unpin(&mut self, shared: &Shared) {
        let gone = |mac: &Mac, _: &mut PeerId| {
            !matches!(shared.placed.get(mac), Some((_, Kind::Announced)))
        };
        for (mac, id) in self.pinned.extract_if(.., gone) {
            self.table.forget(mac, Port::Peer(id));
        }
    }

    /// After it has.
    fn pin(&mut self, shared: &Shared) {
        let announced = shared.placed.iter().filter(|(_, (_, kind))| *kind == Kind::Announced);
        for (mac, (id, _)) in announced {
            if self.pinned.insert(*mac, *id) != Some(*id) {
                self.table.pin(*mac, Port::Peer(*id), self.frames.now());
            }
        }
    }

    /// What the kernel has sent to whom. When to look again.
    async fn look(&mut self) -> Duration {
        let Some(fdb) = self.fdb.as_mut().filter(|_| self.at.is_some_and(|at| at.2.is_some()))
        else {
            return LOOK;
        };
        let used = fdb.used().await.unwrap_or_default();
        let pause = LOOK + LOOK_EACH * u32::try_from(used.len()).unwrap_or(u32::MAX);
        let mut shared = self.tables.lock();
        // Probes use the bridges.
        let recent =
            used.iter().filter(|(mac, ago)| *ago < pause && !shared.bridges.contains_key(mac));
        let peers: Vec<PeerId> =
            recent.filter_map(|(mac, _)| Some(shared.placed.get(mac)?.0)).collect();
        shared.used.extend(peers);
        pause
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
