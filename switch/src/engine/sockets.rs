use std::io;
use std::net::{IpAddr, UdpSocket};

use crate::{Mitigation, OpenError, Quirk, UdpProbe, UdpUnderlay};

/// Where datagrams come in and go out, and how they are sent.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The address to send from and receive on. An unspecified one, `0.0.0.0` or `::`, is any of that
    /// family that the node has; datagrams leave from the one that the route to a peer prefers.
    pub local: IpAddr,
    /// The UDP port of VXLAN.
    pub vxlan: u16,
    /// How what comes to it is received.
    pub intake: Intake,
    /// The UDP port from process to process, if it is to be open.
    pub sleeve: Option<u16>,
    /// The defects that the kernel has.
    pub quirks: Vec<&'static Quirk>,
}

/// How VXLAN is received.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Intake {
    /// By sockets on its port, which nobody else may have.
    #[default]
    Plain,
    /// By transparent sockets on another port to which a tproxy rule brings it. Whoever has the port of
    /// VXLAN, the kernel's device for one, receives while there is no such rule.
    Transparent {
        /// The one that is asked for; where somebody has it, or with 0, it is one of the kernel's choice
        /// ([`Sockets::intake_port`]).
        port: u16,
    },
}

/// The open sockets of a node, one set for each worker.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpProbe,
    intake: Intake,
    vxlan: Vec<UdpUnderlay>,
    sleeve: Option<Vec<UdpUnderlay>>,
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
        let transparent = |port| UdpUnderlay::open_transparent(ports.local, port, workers, run_len);
        let vxlan = match ports.intake {
            Intake::Plain => UdpUnderlay::open(ports.local, ports.vxlan, workers, run_len)?,
            Intake::Transparent { port } => match transparent(port) {
                Err(OpenError::Taken(_)) if port != 0 => transparent(0)?,
                opened => opened?,
            },
        };
        let sleeve = |port| UdpUnderlay::open_sleeve(ports.local, port, workers, run_len);
        let sleeve = ports.sleeve.map(sleeve).transpose()?;
        Ok(Self { udp, intake: ports.intake, vxlan, sleeve })
    }

    /// What UDP was found to do.
    pub fn udp(&self) -> UdpProbe {
        self.udp
    }

    /// The port that a tproxy rule is to bring VXLAN to; `None` when it is received on its own.
    pub fn intake_port(&self) -> Option<u16> {
        match self.intake {
            Intake::Plain => None,
            Intake::Transparent { .. } => self.vxlan.first().and_then(|it| it.port().ok()),
        }
    }

    /// Another descriptor of the first socket from process to process, if that port is open.
    pub(super) fn duplicate_sleeve(&self) -> io::Result<Option<UdpSocket>> {
        let first = self.sleeve.as_ref().and_then(|them| them.first());
        first.map(UdpUnderlay::duplicate).transpose()
    }

    /// For how many workers there are.
    pub(super) fn len(&self) -> usize {
        self.vxlan.len()
    }

    /// What each worker gets: VXLAN's, and the one from process to process, if that is open.
    pub(super) fn into_sides(self) -> impl Iterator<Item = (UdpUnderlay, Option<UdpUnderlay>)> {
        let mut sleeves = self.sleeve.unwrap_or_default().into_iter();
        self.vxlan.into_iter().map(move |vxlan| (vxlan, sleeves.next()))
    }
}
