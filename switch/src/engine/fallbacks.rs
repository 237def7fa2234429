//! What the kernel was found to support, and what has to be done without: told once, never silent.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use tracing::{info, warn};

use crate::{Backend, Counter, Counters, KernelTap, Steering, UdpProbe};

/// What the switch has to do without.
#[derive(Debug, Default)]
pub(super) struct Fallbacks {
    pub(super) supports: Supports,
    /// How often the program that keeps a flow to one queue was refused: at most once a start of
    /// the frame threads.
    pub(super) steering: u64,
    told: Told,
}

/// What was told of: once, however often it happens.
#[derive(Debug, Default)]
struct Told {
    udp: bool,
    pieces: bool,
    tap: bool,
    plain: bool,
}

/// What was found at start; `None` where nothing is known, or nothing was to be found.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Supports {
    /// Most datagrams that one send makes of a run; 1: none.
    pub udp_segments: Option<usize>,
    /// Whether runs are received in one piece.
    pub udp_gro: Option<bool>,
    /// What the TAP may hand over unfinished (`TUN_F_*`).
    pub tap_offloads: Option<u32>,
    /// Whether flows are kept to their queue.
    pub tap_steering: Option<bool>,
}

impl Fallbacks {
    /// Takes note of what UDP was found to do.
    pub(super) fn note_udp(&mut self, probe: UdpProbe) {
        let UdpProbe { segments, gro } = probe;
        (self.supports.udp_segments, self.supports.udp_gro) = (segments, gro);
        info!(?segments, ?gro, "tried UDP on loopback");
        if segments == Some(1) {
            self.told.udp = true;
            warn!(
                "UDP_SEGMENT does not work with this kernel: runs of datagrams are sent one by one"
            );
        }
        if gro == Some(false) {
            warn!("UDP_GRO does not work with this kernel: datagrams are received one by one");
        }
    }

    /// Takes note of what was refused in use.
    pub(super) fn note_counters(&mut self, counters: &[Arc<Counters>]) {
        let sum = |of: fn(&Counters) -> &Counter| counters.iter().map(|it| of(it).load()).sum();
        let (udp, tap): (u64, u64) = (sum(|it| &it.udp_fallbacks), sum(|it| &it.tap_fallbacks));
        if udp > 0 && !self.told.udp {
            let eio: u64 = sum(|it| &it.udp_refusals.eio);
            let einval: u64 = sum(|it| &it.udp_refusals.einval);
            let emsgsize: u64 = sum(|it| &it.udp_refusals.emsgsize);
            let enobufs: u64 = sum(|it| &it.udp_refusals.enobufs);
            if eio + einval + emsgsize + enobufs > 0 {
                warn!(
                    eio,
                    einval, emsgsize, enobufs, "runs of datagrams are refused and sent in pieces"
                );
                self.told.udp = true;
            } else if !self.told.pieces {
                info!("runs of datagrams are sent in pieces, as a quirk asks for");
                self.told.pieces = true;
            }
        }
        if tap > 0 && !self.told.tap {
            warn!("the TAP refuses super-frames: it is given their packets");
            self.told.tap = true;
        }
    }

    /// Takes note of how the TAP was opened.
    pub(super) fn note_taps(&mut self, taps: &[KernelTap], wanted: Backend) {
        self.supports.tap_offloads = taps.first().and_then(KernelTap::offloads);
        if self.supports.tap_offloads.is_none() && wanted == Backend::Auto && !self.told.plain {
            self.told.plain = true;
            warn!(
                "the TAP takes no offloads and has one queue: frames cross it one by one; if somebody made it so, remove it (ip link delete) and it is made anew, else this kernel has no better"
            );
        }
        self.supports.tap_steering = match taps.first().map(KernelTap::steering) {
            Some(Steering::ByFlow) => Some(true),
            Some(Steering::OneQueue) | None => None,
            Some(Steering::Refused(errno)) => {
                if self.steering == 0 {
                    let error = io::Error::from_raw_os_error(errno);
                    warn!(%error, "the kernel does not let us steer flows to queues: a flow may change its queue and source port");
                }
                self.steering += 1;
                Some(false)
            }
        };
    }
}
