//! A flow keeps to one queue at both ends, and to one source port in between.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weft::{Switch, counter, mesh, pods};
use weft_tests::harness::{Capture, Direction, Lab, Node, Packet, Pod, Underlay, transfer_to};

const FLOWS: usize = 8;
const QUEUES: usize = 2;
const OCTETS: u64 = 3_000_000;
/// Frames beside a flow's own: of neighbour discovery, and of what else kernels have to say.
const CHATTER: u64 = 10;
/// Ethernet 14, IPv4 20, UDP 8, VXLAN 8.
const OUTER: usize = 50;

#[test]
fn a_flow_keeps_to_its_queues_and_its_source_port() {
    Lab::with("queues", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default().offload(false))?;
        let mut switches = mesh(&nodes, &["--tap", "offload", "--queues", "2"])?;
        let pods = pods(&nodes, 1450)?;
        ensure!(pods[0].ping(pods[1].addr(), 2)?.perfect());
        let captures = nodes.iter().map(arriving).collect::<Result<Vec<_>>>()?;

        let mut used = BTreeSet::new();
        for n in 0..FLOWS {
            let before = moved(&mut switches)?;
            exchange(&pods, n)?;
            let after = moved(&mut switches)?;
            for ((place, after), before) in after.into_iter().enumerate().zip(before) {
                used.insert((place, queue_of(&after, &before).with_context(|| place.to_string())?));
            }
        }
        // Together they disturb each other as much as they can.
        thread::scope(|scope| {
            let pods = &pods;
            let flow = |n| scope.spawn(move || exchange(pods, n));
            let flows: Vec<_> = (0..FLOWS).map(flow).collect();
            flows.into_iter().try_for_each(|flow| flow.join().unwrap())
        })?;

        for capture in captures {
            let ports = source_ports(&capture.stop()?);
            ensure!(ports.len() >= 2 * FLOWS, "only {} flows", ports.len());
            let strays: Vec<_> = ports.iter().filter(|(_, ports)| ports.len() != 1).collect();
            ensure!(strays.is_empty(), "{strays:?}");
            let all: BTreeSet<_> = ports.values().flatten().collect();
            ensure!(all.len() > 2, "few ports: {all:?}");
        }
        ensure!(used.len() > 4, "eight flows, and all on the same queues: {used:?}");
        Ok(())
    })
    .unwrap();
}

/// A stream from one pod to the other, which way and over which family depends on `n`.
fn exchange(pods: &[Pod], n: usize) -> Result<()> {
    let (from, to) = if n.is_multiple_of(2) { (&pods[0], &pods[1]) } else { (&pods[1], &pods[0]) };
    let addr = if n % 4 < 2 { to.addr() } else { to.addr6()?.into() };
    let stream = transfer_to(from, to, addr, OCTETS)?;
    ensure!(stream.intact() && stream.bytes == OCTETS, "{stream:?}");
    Ok(())
}

fn arriving(node: &Node) -> Result<Capture> {
    Capture::directed(node, "eth0", Direction::In, "udp dst port 6784")
}

/// Frames that each queue has moved: from the TAP and to it, of each switch.
fn moved(switches: &mut [Switch]) -> Result<Vec<[u64; QUEUES]>> {
    let stats = switches.iter_mut().map(Switch::stats).collect::<Result<Vec<_>>>()?;
    let frames = |stats: &Value, side: &str| -> Result<[u64; QUEUES]> {
        let of = |n| counter(stats, &format!("/queues/{n}/{side}/frames"));
        Ok([of(0)?, of(1)?])
    };
    let both = stats.iter().flat_map(|it| ["from_tap", "to_tap"].map(|side| frames(it, side)));
    both.collect()
}

/// Which queue has moved the flow; an error when both have.
fn queue_of(after: &[u64; QUEUES], before: &[u64; QUEUES]) -> Result<usize> {
    let moved = [0, 1].map(|n| after[n] - before[n]);
    let queue = usize::from(moved[1] > moved[0]);
    ensure!(
        moved[queue] > 2 * CHATTER && moved[1 - queue] <= CHATTER,
        "a flow on two queues: {moved:?}"
    );
    Ok(queue)
}

/// The outer source ports of each TCP flow.
fn source_ports(packets: &[Packet]) -> BTreeMap<Vec<u8>, BTreeSet<[u8; 2]>> {
    let mut ports: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for packet in packets {
        let (outer, inner) = packet.octets.split_at(OUTER);
        if let Some(flow) = flow(inner) {
            ports.entry(flow.to_vec()).or_default().insert([outer[34], outer[35]]);
        }
    }
    ports
}

/// Addresses and ports of a TCP packet.
fn flow(frame: &[u8]) -> Option<&[u8]> {
    match (frame.get(12..14)?, frame.get(20)?, frame.get(23)?) {
        ([0x08, 0x00], _, 6) => frame.get(26..38),
        ([0x86, 0xdd], 6, _) => frame.get(22..58),
        _ => None,
    }
}
