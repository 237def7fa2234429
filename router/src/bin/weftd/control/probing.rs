//! How the control loop sends probes, and what it has found out by them.

use std::net::SocketAddr;

use router::liveness::Line;
use switch::Mtu;
use switch::sleeve::HEADER_LEN;
use tracing::warn;

use super::Control;

/// Where UDP 6783 is that a probe goes to, and what goes before it there.
type Sleeve<'a> = (&'a [SocketAddr], Option<[u8; HEADER_LEN]>);

impl Control {
    /// A probe that is not sent is a probe that is not answered.
    pub(super) fn send_probe(
        &self,
        line: Line,
        frame: &[u8],
        vxlan: SocketAddr,
        sleeve: Sleeve<'_>,
    ) {
        match line {
            Line::Fast if self.ways.beacon.send(frame) => {}
            // What the other end's kernel has sent is answered, whoever sends here.
            Line::Fast | Line::User => {
                let header = switch::vxlan::header(self.vni);
                let _sent = self.probes.send(&[&header, frame].concat(), vxlan);
            }
            Line::Sleeve | Line::Mesh => {
                let (addrs, Some(header)) = sleeve else { return };
                let datagram = [&header, frame].concat();
                for addr in addrs {
                    let _sent = self.ways.sleeve.send(&datagram, *addr);
                }
            }
        }
    }

    /// From the process, whoever sends on that line: what fits does not depend on that.
    pub(super) fn send_size(&self, frame: &[u8], to: SocketAddr, header: Option<[u8; HEADER_LEN]>) {
        let _sent = match header {
            None => {
                let datagram = [&switch::vxlan::header(self.vni), frame].concat();
                self.probes.send(&datagram, to)
            }
            Some(header) => self.ways.sleeve.send(&[&header, frame].concat(), to),
        };
    }

    /// If it does not take that up the core sees it, and does without the kernel.
    pub(super) fn teach(&self, to: SocketAddr, mtu: Mtu) {
        if let Err(error) = self.probes.teach(to, mtu) {
            warn!(%error, %to, %mtu, "cannot tell the kernel what the path carries (that takes CAP_NET_RAW)");
        }
    }
}
