//! Whether octets that came with a stride are a run of datagrams, or one datagram.
//!
//! `UDP_GRO` says a stride in two cases. A run: datagrams of one sender that the kernel has joined,
//! each with a VXLAN header of its own. Or the super-frame of a kernel sender on a virtual link,
//! handed over whole under one header; the stride is then that of the packets it stands for.
//! Nothing but the octets tells the two apart, and pods write most of those:
//!
//! - A frame whose inner length lies, first in a run, passes for a super-frame. Were it believed,
//!   what follows would go where that frame goes: a pod would read the frames of others, and they
//!   would not arrive.
//! - A super-frame whose payload imitates a VXLAN header where a datagram of a run would begin
//!   passes for a run. Then its pod speaks as a pod with a raw socket does: frames of its own making
//!   enter the overlay as its node's, and nobody else's are touched.
//!
//! The second is the lesser evil, so octets are one datagram only where that is certain: the first
//! header is ours, the inner packet is TCP or UDP, has more payload than the stride, and ends where
//! the octets end; and nowhere at a boundary is there a header that a datagram of its own would be
//! let in by. Pods write no VXLAN headers of a run: where a frame of somebody else's begins, there
//! is one.
//!
//! Limit: payload that is as good as random has such a header at one boundary in 2^25. Its
//! super-frame is lost.

use crate::layers::{TCP, UDP};
use crate::segment::header_len;
use crate::vxlan::{self, HEADER_LEN};
use crate::{Layers, Vni};

/// Whether a super-frame fills `octets`. A run otherwise.
pub(super) fn is_super_frame(octets: &[u8], stride: usize, own: Vni) -> bool {
    let ours = |octets| vxlan::parse(octets).is_ok_and(|(vni, _)| vni == own);
    ours(octets) && fills(octets, stride) && !octets.chunks(stride).skip(1).any(ours)
}

/// Whether the inner packet is one that is segmented, by `stride`, and ends with the octets.
fn fills(octets: &[u8], stride: usize) -> bool {
    let Some(frame) = octets.get(HEADER_LEN..) else { return false };
    let Some(layers) = Layers::parse(frame) else { return false };
    let Some(header_len) = header_len(frame, &layers) else { return false };
    [TCP, UDP].contains(&layers.protocol)
        && layers.end == frame.len()
        && layers.end - header_len > stride
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    use super::*;

    const OWN: Vni = Vni::DEFAULT;
    /// Ethernet, IPv4 and UDP.
    const HEADERS: usize = 42;

    proptest! {
        #[test]
        fn a_kernels_super_frame_of_arbitrary_payload_is_one(
            payload in prop::collection::vec(0..0x80u8, 2..5000),
            stride in 1..1400usize,
            tcp: bool,
        ) {
            // No octet is 0x80, as the last one of the VNI is.
            let octets = datagram(&packet(&payload, tcp));

            prop_assert_eq!(is_super_frame(&octets, stride, OWN), payload.len() > stride);
        }

        #[test]
        fn what_holds_a_datagram_of_ours_behind_its_first_is_none(
            mut octets in prop::collection::vec(any::<u8>(), 300..3000),
            stride in 60..200usize,
            at: prop::sample::Index,
            tcp: bool,
        ) {
            octets = datagram(&packet(&octets, tcp));
            let boundary = stride * (1 + at.index(octets.len() / stride));
            if let Some(room) = octets.get_mut(boundary..boundary + HEADER_LEN) {
                room.copy_from_slice(&vxlan::header(OWN));
                prop_assert!(!is_super_frame(&octets, stride, OWN));
            }
        }
    }

    #[test]
    fn a_length_that_ends_elsewhere_is_none_of_a_super_frame() {
        let honest = datagram(&packet(&[7; 3000], false));
        assert!(is_super_frame(&honest, 1000, OWN));

        for off in [1, 2, 1000] {
            assert!(!is_super_frame(&[&honest[..], &vec![7; off]].concat(), 1000, OWN));
            assert!(!is_super_frame(&honest[..honest.len() - off], 1000, OWN));
        }
    }

    #[test]
    fn what_the_kernel_does_not_segment_is_no_super_frame() {
        let udp = packet(&[7; 3000], false);
        let change = |at: usize, value: u8| {
            let mut frame = udp.clone();
            frame[at] = value;
            datagram(&frame)
        };

        assert!(!is_super_frame(&change(23, 1), 1000, OWN), "ICMP");
        assert!(!is_super_frame(&change(23, 253), 1000, OWN), "for experiments");
        assert!(!is_super_frame(&change(20, 0x20), 1000, OWN), "a fragment");
        assert!(!is_super_frame(&change(13, 0x06), 1000, OWN), "ARP");
        assert!(!is_super_frame(&datagram(&udp), 3000, OWN), "a stride of all its payload");
    }

    #[test]
    fn another_overlays_super_frame_is_none_of_ours() {
        let other = [&vxlan::header(Vni::new(7).unwrap())[..], &packet(&[7; 3000], true)].concat();

        assert!(!is_super_frame(&other, 1000, OWN));
    }

    fn datagram(frame: &[u8]) -> Vec<u8> {
        [&vxlan::header(OWN)[..], frame].concat()
    }

    fn packet(payload: &[u8], tcp: bool) -> Vec<u8> {
        let mut frame = Vec::new();
        let ip = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
        if tcp {
            ip.tcp(1, 2, 3, 4).write(&mut frame, payload).unwrap();
        } else {
            ip.udp(1, 2).write(&mut frame, payload).unwrap();
            assert_eq!(frame.len(), HEADERS + payload.len());
        }
        frame
    }
}
