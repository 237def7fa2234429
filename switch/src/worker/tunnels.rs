//! The underlay sockets of a worker: those of VXLAN, and, where control asked for it, the one of
//! UDP 6783.
//!
//! To all who send, the latter is one more lane: everything that goes to UDP 6783 leaves from one
//! source port, as NATs and firewalls on the way know it.

use std::io;
use std::net::IpAddr;

use crate::{Batch, FlowHash, Message, Refusals, RunLimits, SendError, Tunnel, Underlay, Unsent};

/// Lanes are kept in sets of 64 bits, and the last one is the sleeve's.
const SLEEVE: usize = 63;

#[derive(Debug)]
pub(super) struct Tunnels<U> {
    pub(super) vxlan: U,
    pub(super) sleeve: Option<U>,
}

impl<U: Underlay> Tunnels<U> {
    /// The lane that a flow takes in a tunnel.
    pub(super) fn lane(&self, tunnel: Tunnel, flow: FlowHash) -> usize {
        match tunnel {
            Tunnel::Vxlan => flow.pick(self.vxlan.lanes().min(SLEEVE)),
            Tunnel::Sleeve => SLEEVE,
        }
    }

    pub(super) fn send(
        &mut self,
        lane: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        if lane == SLEEVE {
            self.send_sleeve(messages, outcome)
        } else {
            self.vxlan.send(lane, messages, outcome)
        }
    }

    /// Sends on UDP 6783. Where that is not open there is no route to anybody.
    pub(super) fn send_sleeve(
        &mut self,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        match &mut self.sleeve {
            Some(sleeve) => sleeve.send(0, messages, outcome),
            None => (0..messages.len()).for_each(|n| outcome(n, Err(SendError::NoRoute.into()))),
        }
    }

    pub(super) fn limits(&self, lane: usize) -> RunLimits {
        match &self.sleeve {
            Some(sleeve) if lane == SLEEVE => sleeve.limits(),
            Some(_) | None => self.vxlan.limits(),
        }
    }

    /// Reads from UDP 6783, if that is open.
    pub(super) fn recv_sleeve(&mut self, batch: &mut Batch) -> io::Result<()> {
        self.sleeve.as_mut().map_or(Ok(()), |sleeve| sleeve.recv(batch))
    }

    pub(super) fn sleeve_limits(&self) -> RunLimits {
        self.limits(SLEEVE)
    }

    pub(super) fn path_mtu(&self, tunnel: Tunnel, to: IpAddr) -> io::Result<u32> {
        match (tunnel, &self.sleeve) {
            (Tunnel::Sleeve, Some(sleeve)) => sleeve.path_mtu(to),
            (Tunnel::Sleeve, None) | (Tunnel::Vxlan, _) => self.vxlan.path_mtu(to),
        }
    }

    /// What both have refused.
    pub(super) fn take_refusals(&mut self) -> [Refusals; 2] {
        let sleeve = self.sleeve.as_mut().map(Underlay::take_refusals);
        [self.vxlan.take_refusals(), sleeve.unwrap_or_default()]
    }
}
