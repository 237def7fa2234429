//! The frame threads, and what control keeps of them.

use std::io;
use std::sync::Arc;

use switch::{Clock, DropGauge, Ended, FrameThreads, KernelTap, Poll, Punts, UdpUnderlay, Worker};

/// The frame threads, or that there are none at the moment. Dropping it stops them.
#[derive(Default)]
pub(crate) struct Frames {
    threads: Option<FrameThreads>,
    pub(crate) ended: Option<Ended>,
    gauges: Vec<DropGauge>,
    punts: Vec<Arc<Punts>>,
}

impl Frames {
    /// Starts a thread for each worker.
    pub(crate) fn start(
        workers: Vec<Worker<KernelTap, UdpUnderlay>>,
        clock: Clock,
        poll: Poll,
    ) -> io::Result<Self> {
        let underlays = workers.iter().map(|worker| worker.sides().1);
        let gauges = underlays.filter_map(|it| it.drop_gauge().ok()).collect();
        let punts = workers.iter().map(Worker::punts).collect();
        let (threads, ended) = FrameThreads::spawn(workers, clock, poll)?;
        Ok(Self { threads: Some(threads), ended: Some(ended), gauges, punts })
    }

    /// Stops the threads; what the kernel has lost can still be asked for.
    pub(crate) fn stop(&mut self) {
        self.threads = None;
    }

    pub(crate) fn are_running(&self) -> bool {
        self.threads.is_some()
    }

    /// Datagrams that found a socket's buffer full; `None` when the kernel does not tell.
    pub(crate) fn socket_drops(&self) -> Option<u64> {
        self.gauges.iter().map(|it| it.load().map(u64::from)).sum::<io::Result<_>>().ok()
    }

    /// Throws away what the workers have put aside: this binary has nobody who would answer probes.
    pub(crate) fn discard_punts(&self) {
        self.punts.iter().for_each(|punts| while punts.take().is_some() {});
    }
}
