//! The frame threads, and what control keeps of them.

use super::sleeve::Voice;
use crate::{
    Clock, DropGauge, Ended, Fault, FrameThreads, Injector, KernelTap, Poll, UdpUnderlay, Worker,
};
use std::io;

/// The frame threads, or that there are none at the moment. Dropping it stops them.
#[derive(Debug, Default)]
pub(super) struct Frames {
    threads: Option<FrameThreads>,
    ended: Option<Ended>,
    gauges: Vec<DropGauge>,
    injector: Option<Injector>,
    voice: Option<Voice>,
}

impl Frames {
    /// Starts a thread for each worker.
    pub(super) fn start(
        workers: Vec<Worker<KernelTap, UdpUnderlay>>,
        clock: Clock,
        poll: Poll,
    ) -> io::Result<Self> {
        let vxlan = workers.iter().map(|worker| worker.sides().1);
        let underlays = vxlan.chain(workers.iter().filter_map(Worker::sleeve));
        let gauges = underlays.filter_map(|it| it.drop_gauge().ok()).collect();
        let (threads, ended) = FrameThreads::spawn(workers, clock, poll)?;
        let (threads, ended) = (Some(threads), Some(ended));
        Ok(Self { threads, ended, gauges, injector: None, voice: None })
    }

    /// The threads with a way to write into the TAP beside them.
    pub(super) fn with_injector(self, injector: Option<Injector>) -> Self {
        Self { injector, ..self }
    }

    /// The threads with senders on the port from process to process.
    pub(super) fn with_voice(self, voice: Option<Voice>) -> Self {
        Self { voice, ..self }
    }

    /// Stops the threads; what the kernel has lost can still be asked for.
    pub(super) fn stop(&mut self) {
        self.threads = None;
        self.ended = None;
        self.injector = None;
        self.voice = None;
    }

    pub(super) fn are_running(&self) -> bool {
        self.threads.is_some()
    }

    /// Datagrams that found a socket's buffer full; `None` when the kernel does not tell.
    pub(super) fn socket_drops(&self) -> Option<u64> {
        self.gauges.iter().map(|it| it.load().map(u64::from)).sum::<io::Result<_>>().ok()
    }

    /// Gives a frame to the bridge.
    pub(super) fn inject(&self, frame: &[u8]) -> io::Result<()> {
        let injector = self.injector.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        injector.inject(frame)
    }

    /// How a thread has ended; never while there are none.
    pub(super) async fn ended(&mut self) -> Fault {
        let Some(ended) = &mut self.ended else { return std::future::pending().await };
        match ended.recv().await {
            Some(Err(fault)) => fault,
            // They end without a fault only when told to, and nobody has told them.
            Some(Ok(())) | None => Fault::Panicked,
        }
    }
}
