//! Fall-backs: what the kernel refuses is done without, and told once.

use std::io;

use switch::{KernelTap, Steering};
use tracing::warn;

/// What the switch has to do without.
#[derive(Debug, Default)]
pub(crate) struct Fallbacks {
    /// How often the program that keeps a flow to one queue was refused: at most once a start of
    /// the frame threads.
    pub(crate) steering: u64,
}

impl Fallbacks {
    /// Takes note of how the TAP was opened.
    pub(crate) fn note_taps(&mut self, taps: &[KernelTap]) {
        match taps.first().map(KernelTap::steering) {
            Some(Steering::Refused(errno)) => {
                if self.steering == 0 {
                    let error = io::Error::from_raw_os_error(errno);
                    warn!(%error, "the kernel does not let us steer flows to queues: a flow may change its queue and source port");
                }
                self.steering += 1;
            }
            Some(Steering::ByFlow | Steering::OneQueue) | None => {}
        }
    }
}
