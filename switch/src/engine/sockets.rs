use std::net::IpAddr;

use crate::{Mitigation, OpenError, Quirk, UdpProbe, UdpUnderlay};

/// Where datagrams come in and go out, and how they are sent.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The address to send from and receive on.
    pub local: IpAddr,
    /// The UDP port of VXLAN.
    pub vxlan: u16,
    /// The defects that the kernel has.
    pub quirks: Vec<&'static Quirk>,
}

/// The open sockets of a node, one set for each worker.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpProbe,
    vxlan: Vec<UdpUnderlay>,
}

impl Sockets {
    /// Tries what UDP does here, and opens the sockets for `workers`.
    ///
    /// # Errors
    /// As [`OpenError`] says; nothing is left open.
    pub fn open(ports: &Ports, workers: usize) -> Result<Self, OpenError> {
        Self::reopen(ports, workers, UdpProbe::run(ports.local))
    }

    /// The same, where it is known what UDP does.
    pub(super) fn reopen(ports: &Ports, workers: usize, udp: UdpProbe) -> Result<Self, OpenError> {
        let no_runs = ports.quirks.iter().any(|quirk| quirk.mitigation == Mitigation::NoRuns);
        let run_len = if no_runs { 1 } else { udp.run_len() };
        let vxlan = UdpUnderlay::open(ports.local, ports.vxlan, workers, run_len)?;
        Ok(Self { udp, vxlan })
    }

    /// What UDP was found to do.
    pub fn udp(&self) -> UdpProbe {
        self.udp
    }

    /// For how many workers there are.
    pub(super) fn len(&self) -> usize {
        self.vxlan.len()
    }

    pub(super) fn into_vxlan(self) -> Vec<UdpUnderlay> {
        self.vxlan
    }
}
