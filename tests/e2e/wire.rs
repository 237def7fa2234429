//! What weft puts on the wire, as a capture between two nodes sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket, TransportSlice, UdpHeader};
use weft_tests::harness::weft::{Switch, counter, mesh, pods};
use weft_tests::harness::{Capture, Direction, Lab, Node, Packet, Underlay, transfer, udp_echo};

const LIMIT: Duration = Duration::from_secs(20);
/// Octets over TCP: few enough for tcpdump's ring, which holds 64 packets.
const STREAM: u64 = 64 << 10;
/// Fits over IPv6 too.
const POD_MTU: u32 = 1430;
const UNDERLAY_MTU: usize = 1500;
const FLOWS: usize = 16;
/// Whatever a fragment of a tunnel packet would look like, too.
const ALL_OUTER: &str = "ip or ip6 proto 17 or ip6 proto 44";

#[test]
fn a_datagram_is_as_in_rfc_7348_over_both_families() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        for offload in [false, true] {
            Lab::with("rfc7348", |lab| {
                datagrams_are_as_asked(lab, &underlay.clone().offload(offload), 6784, 6784, &[])
            })
            .unwrap();
        }
    }
}

#[test]
fn port_and_vni_are_as_asked() {
    let options = ["--vni", "11259375", "--port", "4789"];
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("port-vni", |lab| {
            datagrams_are_as_asked(lab, &underlay.offload(false), 4789, 0xab_cd_ef, &options)
        })
        .unwrap();
    }
}

#[test]
fn a_flow_keeps_its_source_port_and_flows_differ() {
    for underlay in [Underlay::default(), Underlay::v6()] {
        Lab::with("source-ports", |lab| {
            let nodes = lab.nodes::<2>(&underlay)?;
            let _switches = mesh(&nodes, &[])?;
            let [p, q] = &pods(&nodes, POD_MTU)?[..] else { unreachable!("two nodes") };
            let [a, b] = &nodes;
            ensure!(p.ping(q.addr(), 1)?.perfect());
            let capture = Capture::directed(a, "eth0", Direction::Out, "udp dst port 6784")?;

            // Nobody listens; each call is a flow of its own.
            for _ in 0..FLOWS {
                p.peer(LIMIT, &format!("udp-post {} 9 5", q.addr()))?;
            }

            let mut ports: BTreeMap<u16, BTreeSet<u16>> = BTreeMap::new();
            for packet in capture.stop()? {
                let outer = Outer::parse(&packet)?;
                outer.is_between(a, b)?;
                if let Some(flow) = inner_udp_source(&outer) {
                    ports.entry(flow).or_default().insert(outer.source_port);
                }
            }
            ensure!(ports.len() == FLOWS, "{ports:?}");
            ensure!(ports.values().all(|outer| outer.len() == 1), "{ports:?}");
            let distinct: BTreeSet<_> = ports.values().flatten().collect();
            ensure!(distinct.len() >= 4, "{ports:?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn a_peer_with_another_vni_is_not_heard() {
    Lab::with("wrong-vni", |lab| {
        let nodes @ [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        let ours = Switch::start(a, &[b], &[])?;
        let mut theirs = Switch::start(b, &[a], &["--vni", "7"])?;
        let [p, q] = &pods(nodes, POD_MTU)?[..] else { unreachable!("two nodes") };
        let from_p = format!("ether host {}", p.mac());
        let heard = Capture::directed(q, "eth0", Direction::In, &from_p)?;

        ensure!(p.ping(q.addr(), 3)?.received == 0);
        ensure!(q.ping(p.addr(), 3)?.received == 0);

        ensure!(heard.stop()?.is_empty());
        let stations = theirs.stations()?;
        ensure!(stations.iter().all(|(mac, _)| mac != p.mac()), "{stations:?}");
        for stats in [ours.stop()?, theirs.stop()?] {
            ensure!(counter(&stats, "/drops/wrong_vni")? > 0, "{stats}");
            ensure!(counter(&stats, "/to_tap/frames")? == 0, "{stats}");
        }
        Ok(())
    })
    .unwrap();
}

/// Sends some of everything from one node and checks each datagram.
fn datagrams_are_as_asked(
    lab: &Lab,
    underlay: &Underlay,
    port: u16,
    vni: u32,
    options: &[&str],
) -> Result<()> {
    let nodes = lab.nodes::<2>(underlay)?;
    let _switches = mesh(&nodes, options)?;
    let [p, q] = &pods(&nodes, POD_MTU)?[..] else { unreachable!("two nodes") };
    let [a, b] = &nodes;
    let capture = Capture::directed(a, "eth0", Direction::Out, ALL_OUTER)?;

    for addr in [q.addr(), q.addr6()?.into()] {
        ensure!(p.ping(addr, 2)?.perfect());
        for size in [0, 1400, 9000] {
            ensure!(udp_echo(p, q, addr, size, 2)?.received == 2, "{size} octets to {addr}");
        }
    }
    ensure!(transfer(p, q, STREAM)?.intact());
    p.peer(LIMIT, &format!("raw-send eth0 1 ffffffffffff{}88b6+46", p.mac().replace(':', "")))?;

    let packets = capture.stop()?;
    // On a virtual link with offload a run of datagrams is one packet until it is received.
    let least = if underlay.offload { 25 } else { 50 };
    ensure!(packets.len() > least, "{} packets", packets.len());
    for packet in &packets {
        let outer = Outer::parse(packet)?;
        let context = || format!("{:02x?}", packet.octets.get(..100));
        outer.is_between(a, b).with_context(context)?;
        outer.is_as_asked(port, vni).with_context(context)?;
        ensure!(underlay.offload || outer.len <= UNDERLAY_MTU, "{} octets", outer.len);
        // With offload the network card is to finish it, and there is none.
        ensure!(outer.checksum != 0 && (underlay.offload || outer.checksum_holds), "{outer:?}");
    }
    Ok(())
}

/// The outside of a tunnel packet.
#[derive(Debug)]
struct Outer<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// Always so in IPv6.
    dont_fragment: bool,
    fragment: bool,
    /// Octets of the IP packet.
    len: usize,
    source_port: u16,
    destination_port: u16,
    checksum: u16,
    checksum_holds: bool,
    vxlan: [u8; 8],
    inner: &'a [u8],
}

impl<'a> Outer<'a> {
    fn parse(packet: &'a Packet) -> Result<Self> {
        let sliced = SlicedPacket::from_ethernet(&packet.octets)?;
        let Some(TransportSlice::Udp(udp)) = &sliced.transport else {
            anyhow::bail!("no UDP: {:02x?}", packet.octets)
        };
        let (vxlan, inner) = udp.payload().split_first_chunk().context("no VXLAN header")?;
        let header = UdpHeader { checksum: 0, ..udp.to_header() };
        let (source, destination, dont_fragment, right) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let (ip, payload) = (ip.header(), udp.payload());
                let right =
                    header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), payload)?;
                let (source, destination) = (ip.source_addr(), ip.destination_addr());
                (source.into(), destination.into(), ip.dont_fragment(), right)
            }
            Some(NetSlice::Ipv6(ip)) => {
                let (ip, payload) = (ip.header(), udp.payload());
                let right =
                    header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), payload)?;
                let (source, destination) = (ip.source_addr(), ip.destination_addr());
                (IpAddr::from(source), IpAddr::from(destination), true, right)
            }
            Some(NetSlice::Arp(_)) | None => anyhow::bail!("no IP: {:02x?}", packet.octets),
        };
        Ok(Self {
            source,
            destination,
            dont_fragment,
            fragment: sliced.is_ip_payload_fragmented(),
            len: packet.octets.len() - 14,
            source_port: udp.source_port(),
            destination_port: udp.destination_port(),
            checksum: udp.checksum(),
            checksum_holds: udp.checksum() == right,
            vxlan: *vxlan,
            inner,
        })
    }

    fn is_between(&self, from: &Node, to: &Node) -> Result<()> {
        ensure!((self.source, self.destination) == (from.addr(), to.addr()));
        Ok(())
    }

    fn is_as_asked(&self, port: u16, vni: u32) -> Result<()> {
        let [_, a, b, c] = vni.to_be_bytes();
        ensure!(self.destination_port == port, "to port {}", self.destination_port);
        ensure!(self.source_port != port, "from port {}", self.source_port);
        ensure!(self.vxlan == [0x08, 0, 0, 0, a, b, c, 0], "VXLAN header {:02x?}", self.vxlan);
        ensure!(self.dont_fragment && !self.fragment, "may be fragmented");
        ensure!(self.inner.len() >= 14, "an inner frame of {} octets", self.inner.len());
        Ok(())
    }
}

/// The source port of the UDP datagram in the tunnel, if there is one.
fn inner_udp_source(outer: &Outer<'_>) -> Option<u16> {
    let inner = SlicedPacket::from_ethernet(outer.inner).ok()?.transport?;
    if let TransportSlice::Udp(udp) = inner { Some(udp.source_port()) } else { None }
}
