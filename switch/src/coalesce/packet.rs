//! What makes a packet one that may be joined to others.

use super::PSH;
use crate::Layers;
use crate::checksum::pseudo_header;
use crate::layers::{IpVersion, TCP};
use crate::segment::header_len;

/// Which flags of TCP keep a packet from being joined: FIN, SYN, RST, URG, ECE, CWR.
const LONERS: u8 = 0x01 | 0x02 | 0x04 | 0x20 | 0x40 | 0x80;

/// What the headers of a packet that may be joined say.
pub(super) struct Candidate {
    pub(super) layers: Layers,
    pub(super) header_len: usize,
    pub(super) payload: usize,
    pub(super) sequence: u32,
    pub(super) id: u16,
    /// Nothing may come after it in its bundle.
    pub(super) closes: bool,
}

impl Candidate {
    /// `None` for a packet that is to stay alone. `verified`: its checksum needs no look.
    pub(super) fn of(frame: &[u8], layers: Layers, verified: bool) -> Option<Self> {
        let header_len = header_len(frame, &layers)?;
        let payload = layers.end - header_len;
        let plain = layers.version == IpVersion::V6 || layers.transport - layers.network == 20;
        if payload == 0 || !plain {
            return None;
        }
        let transport = frame.get(layers.transport..layers.end)?;
        let (sequence, closes) = match layers.protocol {
            TCP => {
                let [_, _, _, _, a, b, c, d, _, _, _, _, _, flags, ..] =
                    *transport.first_chunk::<20>()?;
                if flags & LONERS != 0 {
                    return None;
                }
                (u32::from_be_bytes([a, b, c, d]), flags & PSH != 0)
            }
            _ => {
                let [_, _, _, _, len0, len1, sum0, sum1] = *transport.first_chunk::<8>()?;
                let honest = usize::from(u16::from_be_bytes([len0, len1])) == transport.len();
                if !honest || (sum0, sum1) == (0, 0) {
                    return None;
                }
                (0, false)
            }
        };
        if !verified {
            let pseudo = pseudo_header(frame, &layers, transport.len());
            if pseudo.add(transport).finish() != [0, 0] {
                return None;
            }
        }
        let id = match layers.version {
            IpVersion::V4 => {
                let field = frame.get(layers.network + 4..)?.first_chunk()?;
                u16::from_be_bytes(*field)
            }
            IpVersion::V6 => 0,
        };
        Some(Self { layers, header_len, payload, sequence, id, closes })
    }
}

/// Whether two headers differ only in what segmentation makes anew: lengths, identification,
/// checksums, sequence number, PSH.
pub(super) fn same_headers(header: &[u8], frame: &[u8], layers: &Layers) -> bool {
    let (network, transport) = (layers.network, layers.transport);
    let same = |from: usize, to: usize| {
        let (a, b) = (header.get(from..to), frame.get(from..to));
        a.is_some() && a == b
    };
    let network_same = match layers.version {
        IpVersion::V4 => {
            same(0, network + 2) && same(network + 6, network + 10) && same(network + 12, transport)
        }
        IpVersion::V6 => same(0, network + 4) && same(network + 6, transport),
    };
    let transport_same = match layers.protocol {
        TCP => {
            let flags = |octets: &[u8]| octets.get(transport + 13).map(|flags| flags & !PSH);
            same(transport, transport + 4)
                && same(transport + 8, transport + 13)
                && flags(header) == flags(frame)
                && same(transport + 14, transport + 16)
                && same(transport + 18, header.len())
        }
        _ => same(transport, transport + 4),
    };
    network_same && transport_same
}
