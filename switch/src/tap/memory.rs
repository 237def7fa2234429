use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Takes, Tap, TapError};
use crate::{Batch, VNET_HEADER_LEN};

/// Frames each direction holds before further ones are refused, as a device's queue would.
const QUEUE_LEN: usize = 1000;

/// A TAP without a kernel: what is written comes out of the [`Cable`] at its other end.
#[derive(Debug)]
pub struct MemoryTap(Arc<Mutex<Queues>>);

/// The pods' end of a [`MemoryTap`].
#[derive(Clone, Debug)]
pub struct Cable(Arc<Mutex<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    to_switch: VecDeque<Vec<u8>>,
    to_pods: VecDeque<Vec<u8>>,
    /// Buffers that were emptied: after a while nothing is allocated any more.
    spare: Vec<Vec<u8>>,
}

impl MemoryTap {
    /// A TAP and the cable that is plugged into it.
    pub fn pair() -> (Self, Cable) {
        let queues = Arc::new(Mutex::new(Queues::default()));
        (Self(Arc::clone(&queues)), Cable(queues))
    }
}

impl Cable {
    /// Sends a frame to the switch; `false` when the queue is full.
    pub fn send(&self, frame: &[u8]) -> bool {
        let mut queues = lock(&self.0);
        let queued = queues.to_switch.len();
        let Some(buffer) = queues.copy(&[IoSlice::new(frame)], queued) else {
            return false;
        };
        queues.to_switch.push_back(buffer);
        true
    }

    /// Takes the next frame from the switch into `frame`, replacing what was there.
    pub fn recv(&self, frame: &mut Vec<u8>) -> bool {
        let mut queues = lock(&self.0);
        let Some(next) = queues.to_pods.pop_front() else { return false };
        queues.spare.push(std::mem::replace(frame, next));
        true
    }
}

impl Tap for MemoryTap {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut queues = lock(&self.0);
        while let Some(frame) = queues.to_switch.pop_front() {
            let taken =
                batch.read_next(|slot| if slot.buf.fill(&frame) { Ok(()) } else { Err(()) });
            if taken.is_none() {
                queues.to_switch.push_front(frame);
                break;
            }
            queues.spare.push(frame);
        }
        Ok(())
    }

    fn send(
        &mut self,
        _vnet: &[u8; VNET_HEADER_LEN],
        parts: &[IoSlice<'_>],
    ) -> Result<(), TapError> {
        let mut queues = lock(&self.0);
        let queued = queues.to_pods.len();
        let buffer = queues.copy(parts, queued).ok_or(TapError::Full)?;
        queues.to_pods.push_back(buffer);
        Ok(())
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _without: Takes) {}
}

impl Queues {
    fn copy(&mut self, parts: &[IoSlice<'_>], queued: usize) -> Option<Vec<u8>> {
        if queued >= QUEUE_LEN {
            return None;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        parts.iter().for_each(|part| buffer.extend_from_slice(part));
        Some(buffer)
    }
}

fn lock(queues: &Mutex<Queues>) -> MutexGuard<'_, Queues> {
    queues.lock().unwrap_or_else(PoisonError::into_inner)
}
