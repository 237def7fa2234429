//! What Prometheus is told: Weave's names where they mean the same, and our own.
//!
//! Counters of a group are a family with a label where they add up, as drops do; else each is a family. What is told of
//! peers one by one is told of those that are counted one by one, [`PEERS`] at most.

mod ipam;

use std::collections::BTreeMap;

use api::{Connection, ConnectionState, PathKind};
use peer_mesh::{PeerName, PeerState};

use super::{VERSION, connections, kind, report};

use crate::serve::exposition::{Exposition, Kind};
use crate::serve::look::{Look, PathLook};

/// Peers that are told of one by one.
const PEERS: usize = 4096;

/// Groups whose counters add up: the group, its family, the label, and what it is.
const SUMS: [(&str, &str, &str, &str); 3] = [
    ("drops", "weft_drops_total", "reason", "Frames that went no further, by reason"),
    (
        "kernel_drops",
        "weft_kernel_drops_total",
        "place",
        "Frames and datagrams that the kernel has dropped on their way to or from the process",
    ),
    ("udp_refusals", "weft_udp_refusals_total", "errno", "Runs of datagrams that a socket refused"),
];
/// Groups of frames and octets.
const WAYS: [&str; 3] = ["from_tap", "to_tap", "relayed"];
/// Groups whose counters have nothing in common: what their names begin with, and what they are.
const OTHERS: [(&str, &str, &str); 6] = [
    ("frames", "switch", "What the switch did with frames"),
    ("table", "table", "The frame path's stations"),
    ("stations", "stations", "What nodes announce of stations"),
    ("control", "control", "The control core"),
    ("engine", "engine", "The upkeep of bridge, TAP and frame threads"),
    ("guard", "guard", "Packets at the tunnel guard"),
];
/// What is no counter among them, and its name.
const GAUGES: [(&str, &str, &str); 2] =
    [("table", "entries", "weft_table_entries"), ("stations", "now", "weft_stations")];

type Groups = BTreeMap<String, BTreeMap<String, u64>>;

/// Everything that Prometheus is told, in its text format.
pub fn metrics(look: &Look) -> String {
    let mut out = Exposition::default();
    weaves(&mut out, look);
    node(&mut out, look);
    ways(&mut out, &look.counters);
    groups(&mut out, &look.counters);
    mesh(&mut out, look);
    control(&mut out, look.control);
    ipam::addresses(&mut out, look);
    peers(&mut out, look);
    out.into_text()
}

/// What Weave has told under these names.
fn weaves(out: &mut Exposition, look: &Look) {
    let help = "This node's connections by state, type of overlay and encryption.";
    let mut family = out.family(Kind::Gauge, "weave_connections", help);
    let mut counts = BTreeMap::new();
    for state in ConnectionState::ALL {
        counts.insert((state.clone(), "unknown", ""), 0_u64);
    }
    let all = connections::all(look);
    for it in &all {
        let encryption = if it.encrypted { "yes" } else { "" };
        *counts.entry((it.state.clone(), overlay(it), encryption)).or_default() += 1;
    }
    for ((state, overlay, encryption), count) in counts {
        let labels = [("state", state.as_str()), ("type", overlay), ("encryption", encryption)];
        family.put(&labels, count);
    }
    let ended = look.mesh.stats.links_ended;
    let help = "Connections that stood and have ended.";
    out.single(Kind::Counter, "weave_connection_terminations_total", help, ended);
    let flows = look.paths.values().filter(|it| it.path == switch::Path::Fast);
    let flows: u64 = flows.map(|it| it.stations).sum();
    let help = "Stations of other nodes to which the kernel carries frames by itself.";
    out.single(Kind::Gauge, "weave_flows", help, flows);
}

/// Weave's word for how frames go, where it has one.
fn overlay(it: &Connection) -> &str {
    match &it.path {
        None => "unknown",
        Some(PathKind::Fast) => "fastdp",
        Some(other) => other.as_str(),
    }
}

fn node(out: &mut Exposition, look: &Look) {
    out.family(Kind::Gauge, "weft_build_info", "The daemon's release.")
        .put(&[("version", VERSION)], 1);
    let started = seconds(look.started.as_millisecond());
    out.single(Kind::Gauge, "weft_start_time_seconds", "When the daemon started.", started);
    let ready = u8::from(look.ready);
    out.single(Kind::Gauge, "weft_ready", "Whether all steps of starting are done.", ready);
    let fast = u8::from(look.fast == "on");
    out.single(Kind::Gauge, "weft_fast_path", "Whether the kernel's fast path is on.", fast);
    out.family(Kind::Gauge, "weft_receive_info", "Who receives UDP 6784.")
        .put(&[("by", &look.receive)], 1);
    let count = |state| look.mesh.peers.iter().filter(|it| it.state == state).count();
    let mut family = out.family(Kind::Gauge, "weft_peers", "Other peers, by how they are seen.");
    family.put(&[("state", "up")], count(PeerState::Up));
    family.put(&[("state", "silent")], count(PeerState::Silent));
}

/// Frames and octets, each by where they went.
fn ways(out: &mut Exposition, groups: &Groups) {
    for (name, unit, help) in [
        ("weft_frames_total", "frames", "Frames from and to this node's bridge, and passed on."),
        ("weft_octets_total", "octets", "The octets of these frames."),
    ] {
        let mut family = out.family(Kind::Counter, name, help);
        for way in WAYS {
            if let Some(count) = groups.get(way).and_then(|group| group.get(unit)) {
                family.put(&[("way", way)], count);
            }
        }
    }
}

fn groups(out: &mut Exposition, groups: &Groups) {
    for (group, counts) in groups.iter().filter(|(group, _)| !WAYS.contains(&group.as_str())) {
        if let Some((_, name, label, help)) = SUMS.iter().find(|(of, ..)| of == group) {
            let mut family = out.family(Kind::Counter, name, &format!("{help}."));
            counts.iter().for_each(|(of, count)| family.put(&[(label, of)], count));
            continue;
        }
        let other = OTHERS.iter().find(|(of, ..)| of == group);
        let (_, prefix, help) = other.copied().unwrap_or((group, group, group));
        for (of, count) in counts {
            let help = format!("{help}: {}.", of.replace('_', " "));
            let gauge = GAUGES.iter().find(|(its, name, _)| its == group && name == of);
            match gauge {
                Some((.., name)) => out.single(Kind::Gauge, name, &help, count),
                None => {
                    out.single(Kind::Counter, &format!("weft_{prefix}_{of}_total"), &help, count)
                }
            }
        }
    }
}

fn mesh(out: &mut Exposition, look: &Look) {
    let stats = report::mesh(look);
    for (of, count) in &stats.counters {
        let help = format!("What the mesh has counted: {}.", of.replace('_', " "));
        out.single(Kind::Counter, &format!("weft_mesh_{of}_total"), &help, count);
    }
    for (of, size) in &stats.sizes {
        let help = format!("What the mesh holds: {}.", of.replace('_', " "));
        out.single(Kind::Gauge, &format!("weft_mesh_{of}"), &help, size);
    }
}

fn control(out: &mut Exposition, control: api::Control) {
    let api::Control { events, latency_p50_us, latency_p99_us, latency_max_us } = control;
    let help = "Events that the control loop has handled.";
    out.single(Kind::Counter, "weft_control_events_total", help, events);
    let help = "How long events wait until they are handled: recent ones, and the longest of all.";
    let mut family = out.family(Kind::Gauge, "weft_control_latency_seconds", help);
    for (of, us) in [("p50", latency_p50_us), ("p99", latency_p99_us), ("max", latency_max_us)] {
        family.put(&[("of", of)], std::time::Duration::from_micros(us).as_secs_f64());
    }
}

/// A number of each peer: how its family is, and which one it is, if there is one.
type Row = (Kind, &'static str, &'static str, fn(&PathLook) -> Option<f64>);

fn peers(out: &mut Exposition, look: &Look) {
    let counted = look.paths.iter().filter(|(_, it)| it.counted).take(PEERS);
    let all: Vec<(PeerName, String, &PathLook)> =
        counted.map(|(&name, it)| (name, name.to_string(), it)).collect();
    let help = "What people call a peer.";
    let mut family = out.family(Kind::Gauge, "weft_peer_info", help);
    for (name, text, _) in &all {
        let nickname = api::printable(look.nickname(*name));
        family.put(&[("peer", text), ("nickname", &nickname)], 1);
    }
    let help = "By which path frames to a peer go.";
    let mut family = out.family(Kind::Gauge, "weft_peer_path", help);
    for (_, text, it) in &all {
        family.put(&[("peer", text), ("path", kind(it).as_str())], 1);
    }
    for (kind, name, help, of) in PEER_ROWS {
        let mut family = out.family(kind, name, help);
        for (_, text, it) in &all {
            if let Some(value) = of(it) {
                family.put(&[("peer", text)], value);
            }
        }
    }
}

const PEER_ROWS: [Row; 8] = [
    (Kind::Gauge, "weft_peer_rtt_seconds", "Round trip to a peer, as probes have it.", |it| {
        it.rtt.map(|rtt| rtt.as_secs_f64())
    }),
    (
        Kind::Gauge,
        "weft_peer_mtu_octets",
        "The largest packet that a pod may send to a peer.",
        |it| it.mtu.map(f64::from),
    ),
    (
        Kind::Counter,
        "weft_peer_path_switches_total",
        "How often a peer's path has changed.",
        |it| number(it.switches),
    ),
    (Kind::Gauge, "weft_peer_stations", "Stations behind a peer.", |it| number(it.stations)),
    (
        Kind::Counter,
        "weft_peer_sent_frames_total",
        "Frames that the process has sent to a peer.",
        |it| number(it.sent.frames),
    ),
    (Kind::Counter, "weft_peer_sent_octets_total", "The octets of these frames.", |it| {
        number(it.sent.octets)
    }),
    (
        Kind::Counter,
        "weft_peer_received_frames_total",
        "Frames of a peer that came to the process.",
        |it| number(it.received.frames),
    ),
    (Kind::Counter, "weft_peer_received_octets_total", "The octets of these frames.", |it| {
        number(it.received.octets)
    }),
];

/// Exact up to 2^53, as all numbers of the format are.
fn number(count: u64) -> Option<f64> {
    Some(count as f64)
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

#[cfg(test)]
mod tests;
