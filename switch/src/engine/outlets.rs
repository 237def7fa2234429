//! What control shares with the frame threads, however often they are started again: nobody has to wait for the engine, which may be
//! waiting for netlink.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::underlay::Valve;
use crate::{Punts, Ringer, Told};

/// How often, and how far apart, it is looked whether the threads have done what they were asked for.
const LOOKS: u32 = 50;
const LOOK: Duration = Duration::from_millis(1);

/// What frame threads have for control. Clones are the same.
///
/// # Thread-safety
/// Any thread takes; nobody waits.
#[derive(Clone, Debug)]
pub struct Tellings(Arc<[Arc<Punts>]>);

impl Tellings {
    /// Of so many workers, who ring if there is somebody to be rung for.
    pub(super) fn new(workers: usize, ringer: Option<&Ringer>) -> Self {
        let punts = || ringer.map_or_else(Punts::default, |ringer| Punts::ringing(ringer.clone()));
        Self((0..workers).map(|_| Arc::new(punts())).collect())
    }

    /// Of each worker, in order of their queues.
    pub(super) fn each(&self) -> impl Iterator<Item = &Arc<Punts>> {
        self.0.iter()
    }

    /// Something that a worker has for control, if there is anything: probes of that worker first. Who
    /// is rung for takes all.
    pub fn take(&self) -> Option<Told> {
        self.0.iter().find_map(|punts| punts.take())
    }
}

/// Whether transparent sockets take what a tproxy rule would bring them. Clones are the same.
///
/// # Thread-safety
/// Any thread may use it, one at a time.
#[derive(Clone, Debug, Default)]
pub struct IntakeGate(Arc<Mutex<Vec<Weak<Valve>>>>);

impl IntakeGate {
    /// Other sockets are read from.
    pub(super) fn lead_to(&self, valves: Vec<Weak<Valve>>) {
        *self.lock() = valves;
    }

    /// Opens or closes it. Closed, whoever has the port of VXLAN receives, from the next datagram on, and nothing that the threads have
    /// yet to handle is overtaken: they close it themselves when they have nothing in hand; it is done for those that sleep, or never
    /// rest. To be closed before such a rule is removed, and opened after that: while it is closed the sockets are like any others, and a
    /// guard does not know them.
    ///
    /// # Errors
    /// The kernel refuses to make a socket transparent again.
    pub async fn set(&self, open: bool) -> io::Result<()> {
        let valves: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        valves.iter().for_each(|valve| valve.ask(open));
        let looks = if open { 0 } else { LOOKS };
        for _ in 0..looks {
            if valves.iter().all(|valve| valve.is_settled()) {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        valves.iter().try_for_each(|valve| valve.settle())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Valve>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
