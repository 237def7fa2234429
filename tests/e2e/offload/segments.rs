//! The same super-frame through the kernel's own vxlan device and through weft: the packets that it
//! is cut into are the same, to the octet.
//!
//! The super-frames are made octet by octet and sent through a packet socket with virtio's header:
//! tags need no 802.1Q device, and extension headers no program that sends them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::weft::Switch;
use weft_tests::harness::{Capture, Direction, Lab, Node, Pod, PodSpec, Underlay};

use crate::super_frame::{SOURCE_MAC, Super};

const LIMIT: Duration = Duration::from_secs(10);
/// Ethernet 14, IPv4 20, UDP 8, VXLAN 8.
const OUTER: usize = 50;
const TCP: u8 = 6;
const PSH_ACK: u8 = 0x18;
/// NOP, NOP, timestamps.
const TIMESTAMPS: &[u8] = &[1, 1, 8, 10, 0, 1, 2, 3, 4, 5, 6, 7];
/// The same and one block of a selective acknowledgement, with padding.
const SACK: &[u8] = &[1, 1, 8, 10, 9, 9, 9, 9, 8, 8, 8, 8, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2];

const V4: Super = Super {
    v6: false,
    udp: false,
    tags: &[],
    size: 1398,
    payload: 30_000,
    flags: PSH_ACK,
    tcp_options: TIMESTAMPS,
    ip_options: &[],
    extensions: (TCP, &[]),
    dont_fragment: true,
    id: 0x1234,
    sequence: 0x0102_0304,
};

const TAG: &[u8] = &[0x81, 0x00, 0x20, 0x05];
const TWO_TAGS: &[u8] = &[0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x05];
/// IPv6 extension headers (RFC 8200 §4): what comes next, length, and four octets of padding.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
const PADDED: &[u8] = &[TCP, 0, 1, 4, 0, 0, 0, 0];
/// To the destination options, then to UDP; a routing header with no segments left between them.
const THREE: &[u8] =
    &[ROUTING, 0, 1, 4, 0, 0, 0, 0, DESTINATION, 0, 4, 0, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0];

const CASES: [(&str, Super); 25] = [
    ("tcp over ipv4", V4),
    ("tcp over ipv6", Super { v6: true, size: 1378, ..V4 }),
    ("without options", Super { tcp_options: &[], size: 1410, ..V4 }),
    ("with a selective acknowledgement", Super { tcp_options: SACK, size: 1386, ..V4 }),
    ("with FIN, PSH and CWR", Super { flags: 0x91 | PSH_ACK, ..V4 }),
    ("with ECE", Super { flags: 0x40 | PSH_ACK, v6: true, size: 1000, ..V4 }),
    ("urgent", Super { flags: 0x20 | PSH_ACK, ..V4 }),
    ("odd sizes", Super { size: 999, payload: 29_971, ..V4 }),
    ("a last packet of one octet", Super { size: 1000, payload: 30_001, ..V4 }),
    ("two packets", Super { payload: 1399, ..V4 }),
    ("numbers that wrap", Super { id: 0xfff8, sequence: 0xffff_f000, ..V4 }),
    ("without DF", Super { dont_fragment: false, ..V4 }),
    // Router alert, then the end of the list.
    ("options of ipv4", Super { ip_options: &[148, 4, 0, 0, 0, 0, 0, 0], size: 1390, ..V4 }),
    ("datagrams over ipv4", Super { udp: true, size: 1400, ..V4 }),
    ("datagrams over ipv6", Super { udp: true, v6: true, size: 777, payload: 25_000, ..V4 }),
    ("small datagrams", Super { udp: true, size: 65, payload: 2000, dont_fragment: false, ..V4 }),
    ("tagged", Super { tags: TAG, size: 1394, ..V4 }),
    ("tagged over ipv6", Super { tags: TAG, v6: true, size: 1374, ..V4 }),
    ("tagged datagrams", Super { tags: TAG, udp: true, size: 500, ..V4 }),
    ("tagged twice", Super { tags: TWO_TAGS, size: 1390, ..V4 }),
    ("tagged datagrams over ipv6", Super { tags: TAG, v6: true, udp: true, size: 777, ..V4 }),
    ("hop by hop options", extended((HOP_BY_HOP, PADDED), 1370)),
    ("destination options", extended((DESTINATION, PADDED), 1370)),
    (
        "tagged, with destination options",
        Super { tags: TAG, ..extended((DESTINATION, PADDED), 1366) },
    ),
    ("datagrams behind three headers", Super { udp: true, ..extended((HOP_BY_HOP, THREE), 600) }),
];

const fn extended(extensions: (u8, &'static [u8]), size: u16) -> Super {
    Super { v6: true, extensions, size, ..V4 }
}

#[test]
fn a_super_frame_is_cut_as_the_kernel_cuts_it() {
    let kernel = captured("kernel-cuts", |a, b| {
        a.kernel_vxlan(&[b], 6784)?;
        Ok(None)
    });
    let weft =
        captured("weft-cuts", |a, b| Switch::start(a, &[b], &["--tap", "offload"]).map(Some));
    for (((name, frame), kernel), weft) in CASES.iter().zip(kernel).zip(weft) {
        assert_eq!(kernel.len(), frame.packets(), "{name}: the kernel");
        assert_eq!(weft.len(), frame.packets(), "{name}: weft");
        for (n, (kernel, weft)) in kernel.iter().zip(&weft).enumerate() {
            let places = differing(kernel, weft);
            assert!(places.is_empty(), "{name}, packet {n}: {places:?}: {kernel:02x?} {weft:02x?}");
        }
    }
}

/// Sends all super-frames from a pod and returns, for each, the frames that were in the tunnel.
fn captured(
    test: &str,
    start: impl Fn(&Node, &Node) -> Result<Option<Switch>>,
) -> Vec<Vec<Vec<u8>>> {
    Lab::with(test, |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default().offload(false))?;
        let switch = start(a, b)?;
        let pod = a.add_pod(&PodSpec::new("p", "10.32.0.1/24"))?;
        a.plug(&pod)?;
        ensure!(a.ping(b.addr(), 1)?.perfect(), "the underlay");
        let frames = CASES
            .iter()
            .map(|(name, frame)| cut(&pod, b, frame).with_context(|| format!("{test}: {name}")));
        let frames = frames.collect::<Result<_>>()?;
        if let Some(switch) = switch {
            let stats = switch.stop()?;
            ensure!(stats["drops"]["bad_offload"] == 0, "{stats}");
        }
        Ok(frames)
    })
    .unwrap()
}

fn cut(pod: &Pod, wire: &Node, frame: &Super) -> Result<Vec<Vec<u8>>> {
    let capture = Capture::directed(wire, "eth0", Direction::In, "udp dst port 6784")?;
    let hex: String = frame.emit().iter().map(|octet| format!("{octet:02x}")).collect();
    pod.peer(LIMIT, &format!("raw-super eth0 {hex}"))?;
    let inner = |octets: &[u8]| {
        let inner = octets.get(OUTER..)?;
        (inner.get(6..12) == Some(&SOURCE_MAC)).then(|| inner.to_vec())
    };
    let packets = capture.stop()?;
    Ok(packets.iter().filter_map(|packet| inner(&packet.octets)).collect())
}

/// Places of octets that differ, and where one has octets that the other has not.
fn differing(one: &[u8], two: &[u8]) -> Vec<usize> {
    let longest = one.len().max(two.len());
    (0..longest).filter(|at| one.get(*at) != two.get(*at)).collect()
}
