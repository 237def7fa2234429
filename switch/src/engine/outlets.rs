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
#[derive(Clone, Debug)]
pub struct IntakeGate(Arc<Mutex<Gate>>);

#[derive(Debug)]
struct Gate {
    open: bool,
    /// Of the sockets that are read from. They are of those who read: a socket that outlives them keeps its port.
    valves: Vec<Weak<Valve>>,
}

impl IntakeGate {
    /// An open one.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Gate { open: true, valves: Vec::new() })))
    }

    /// Other sockets are read from, all of them open so far.
    pub(super) fn lead_to(&self, valves: Vec<Weak<Valve>>) {
        let mut gate = self.lock();
        valves.iter().filter_map(Weak::upgrade).for_each(|valve| valve.ask(gate.open));
        gate.valves = valves;
    }

    /// Opens or closes it. Closed, whoever has the port of VXLAN receives, from the next datagram on, and nothing that the threads have
    /// yet to handle is overtaken: they close it themselves when they have nothing in hand; it is done for those that sleep, or never
    /// rest. To be closed before such a rule is removed, and opened after that: while it is closed the sockets are like any others, and a
    /// guard does not know them.
    ///
    /// # Errors
    /// The kernel refuses to make a socket transparent again.
    pub async fn set(&self, open: bool) -> io::Result<()> {
        self.lock().open = open;
        self.each(|valve| valve.ask(open));
        let looks = if open { 0 } else { LOOKS };
        for _ in 0..looks {
            let mut settled = true;
            self.each(|valve| settled &= valve.is_settled());
            if settled {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        let mut refused = None;
        self.each(|valve| refused = valve.settle().err().or_else(|| refused.take()));
        refused.map_or(Ok(()), Err)
    }

    fn each(&self, what: impl FnMut(Arc<Valve>)) {
        self.lock().valves.iter().filter_map(Weak::upgrade).for_each(what);
    }

    fn lock(&self) -> MutexGuard<'_, Gate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
