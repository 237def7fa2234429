//! What `weft report` prints: everything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Connection, Ipam, Path, Peer, Status, Target};

/// Everything there is to see of a daemon at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// The daemon's release.
    pub version: String,
    /// What `/v1/status` says.
    pub status: Status,
    /// What `/v1/status/connections` says.
    #[serde(default)]
    pub connections: Vec<Connection>,
    /// What `/v1/status/peers` says.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// What `/v1/status/targets` says.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// What `/v1/status/paths` says.
    #[serde(default)]
    pub paths: Vec<Path>,
    /// What `/v1/status/ipam` says; `null` where no addresses are managed.
    pub ipam: Option<Ipam>,
    /// Counters of the switch since the daemon started: by group (as `drops`), then by name; those that have
    /// no other group are in `frames`. What the kernel does not tell is absent.
    #[serde(default)]
    pub counters: BTreeMap<String, BTreeMap<String, u64>>,
    /// The kernel, and what it can do.
    #[serde(default)]
    pub kernel: Kernel,
    /// The control loop.
    #[serde(default)]
    pub control: Control,
    /// The mesh.
    #[serde(default)]
    pub mesh: MeshStats,
}

/// The kernel, and what it can do.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default)]
pub struct Kernel {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// The defects that it is taken to have.
    pub quirks: Vec<Quirk>,
    /// What was found at start, by name; `null` where nothing is known.
    pub supports: BTreeMap<String, Value>,
}

/// A defect of a kernel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Quirk {
    /// Its name in options and logs.
    pub name: String,
    /// What goes wrong.
    #[serde(default)]
    pub what: String,
    /// Whether the daemon does something about it.
    #[serde(default)]
    pub mitigated: bool,
}

/// The control loop: how long an event waits until it is handled.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Control {
    /// Events handled since the daemon started.
    pub events: u64,
    /// Half of the recent events were handled within this many microseconds.
    pub latency_p50_us: u64,
    /// 99 of a hundred recent events were handled within this many microseconds.
    pub latency_p99_us: u64,
    /// The longest that any event has waited since the daemon started, in microseconds.
    pub latency_max_us: u64,
}

/// The mesh.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct MeshStats {
    /// A hash of all that is believed of the peers that are up: 16 hexadecimal digits, equal at
    /// peers that believe the same.
    pub root: String,
    /// Counters since the daemon started.
    pub counters: BTreeMap<String, u64>,
    /// What is held now: records, connections, addresses.
    pub sizes: BTreeMap<String, u64>,
}
