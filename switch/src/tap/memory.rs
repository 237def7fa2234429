use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Takes, Tap, TapError};
use crate::{Batch, VNET_HEADER_LEN};

/// Frames each direction holds before further ones are refused, as a device's queue would.
const QUEUE_LEN: usize = 1000;

/// A TAP without a kernel: what is written comes out of the [`Cable`] at its other end.
#[derive(Debug)]
pub struct MemoryTap {
    queues: Arc<Mutex<Queues>>,
    takes: Takes,
}

/// The pods' end of a [`MemoryTap`].
#[derive(Clone, Debug)]
pub struct Cable(Arc<Mutex<Queues>>);

#[derive(Debug, Default)]
struct Queues {
    to_switch: VecDeque<Queued>,
    to_pods: VecDeque<Queued>,
    refuses: bool,
    /// Buffers that were emptied: after a while nothing is allocated any more.
    spare: Vec<Vec<u8>>,
}

/// A frame, and what is left to do with it.
type Queued = ([u8; VNET_HEADER_LEN], Vec<u8>);

impl MemoryTap {
    /// A TAP without offloads, and the cable that is plugged into it.
    pub fn pair() -> (Self, Cable) {
        Self::taking(Takes::default())
    }

    /// A TAP that takes super-frames, and the cable that is plugged into it.
    pub fn offloading_pair() -> (Self, Cable) {
        Self::taking(Takes { tcp: true, udp: true })
    }

    fn taking(takes: Takes) -> (Self, Cable) {
        let queues = Arc::new(Mutex::new(Queues::default()));
        (Self { queues: Arc::clone(&queues), takes }, Cable(queues))
    }
}

impl Cable {
    /// Sends a complete frame to the switch; `false` when the queue is full.
    pub fn send(&self, frame: &[u8]) -> bool {
        self.send_with(&[0; VNET_HEADER_LEN], frame)
    }

    /// Sends a frame to the switch of which `vnet` says what is left to do with it.
    pub fn send_with(&self, vnet: &[u8; VNET_HEADER_LEN], frame: &[u8]) -> bool {
        let mut queues = lock(&self.0);
        let queued = queues.to_switch.len();
        let Some(buffer) = queues.copy(&[IoSlice::new(frame)], queued) else {
            return false;
        };
        queues.to_switch.push_back((*vnet, buffer));
        true
    }

    /// Takes the next frame from the switch into `frame`, replacing what was there.
    pub fn recv(&self, frame: &mut Vec<u8>) -> bool {
        self.recv_with(frame).is_some()
    }

    /// The same, and tells what is left to do with the frame.
    pub fn recv_with(&self, frame: &mut Vec<u8>) -> Option<[u8; VNET_HEADER_LEN]> {
        let mut queues = lock(&self.0);
        let (vnet, next) = queues.to_pods.pop_front()?;
        queues.spare.push(std::mem::replace(frame, next));
        Some(vnet)
    }

    /// From now on the device refuses super-frames, whatever it said before.
    pub fn refuse_super_frames(&self) {
        lock(&self.0).refuses = true;
    }
}

impl Tap for MemoryTap {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut queues = lock(&self.queues);
        while let Some((vnet, frame)) = queues.to_switch.pop_front() {
            let taken = batch.read_next(|slot| {
                slot.vnet = vnet;
                if slot.buf.fill(&frame) { Ok(()) } else { Err(()) }
            });
            if taken.is_none() {
                queues.to_switch.push_front((vnet, frame));
                break;
            }
            queues.spare.push(frame);
        }
        Ok(())
    }

    fn send(
        &mut self,
        vnet: &[u8; VNET_HEADER_LEN],
        parts: &[IoSlice<'_>],
    ) -> Result<(), TapError> {
        let mut queues = lock(&self.queues);
        if queues.refuses && *vnet != [0; VNET_HEADER_LEN] {
            return Err(TapError::Refused);
        }
        let queued = queues.to_pods.len();
        let buffer = queues.copy(parts, queued).ok_or(TapError::Full)?;
        queues.to_pods.push_back((*vnet, buffer));
        Ok(())
    }

    fn takes(&self) -> Takes {
        self.takes
    }

    fn refuse(&mut self, without: Takes) {
        self.takes.tcp &= !without.tcp;
        self.takes.udp &= !without.udp;
    }
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
