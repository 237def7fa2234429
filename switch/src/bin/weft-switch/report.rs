//! What is printed to stdout: lines of JSON.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;
use switch::engine::{Engine, KernelDrops, Supports};
use switch::{Counters, MacTable, Plan, Port, RefusalCounters, Row, TableEvents, Tick, Traffic};

/// All counters at a moment. The names are documented in docs/DATAPATH.md.
#[derive(Serialize)]
pub(crate) struct Stats<'a, D: Serialize> {
    /// Milliseconds since the Unix epoch.
    time_ms: u64,
    uptime_ms: u64,
    plan: u64,
    restarts: u64,
    repairs: u64,
    lines_lost: u64,
    quirks: &'a [&'static str],
    supports: Supports,
    from_tap: &'a Traffic,
    to_tap: &'a Traffic,
    queues: Vec<Queue<'a>>,
    segmented: u64,
    joined: u64,
    tap_fallbacks: u64,
    udp_fallbacks: u64,
    udp_refusals: &'a RefusalCounters,
    steering_fallbacks: u64,
    punted: u64,
    checksums: u64,
    fragmented: u64,
    icmp_sent: u64,
    icmp_limited: u64,
    drops: D,
    kernel_drops: KernelDrops,
    table: Table,
    peers: Vec<PeerStats<'a>>,
}

/// What a worker has moved.
#[derive(Serialize)]
struct Queue<'a> {
    from_tap: &'a Traffic,
    to_tap: &'a Traffic,
}

impl<'a> Queue<'a> {
    fn of(worker: &'a Counters) -> Self {
        Self { from_tap: &worker.from_tap, to_tap: &worker.to_tap }
    }
}

#[derive(Serialize)]
struct Table {
    stations: usize,
    #[serde(flatten)]
    events: TableEvents,
}

#[derive(Serialize)]
struct PeerStats<'a> {
    addr: IpAddr,
    mtu: u16,
    received: &'a Traffic,
    sent: &'a Traffic,
    /// Milliseconds since a datagram came; null when none has.
    heard_ms_ago: Option<u64>,
}

/// What to report on.
pub(crate) struct Subject<'a> {
    pub(crate) table: &'a MacTable,
    pub(crate) engine: &'a Engine,
    pub(crate) plan: &'a Plan,
    pub(crate) generation: u64,
    pub(crate) lines_lost: u64,
    pub(crate) quirks: Vec<&'static str>,
    pub(crate) now: Tick,
}

impl Subject<'_> {
    /// All counters as one line.
    pub(crate) fn stats(&self, counters: &Counters, kernel_drops: KernelDrops) -> Vec<u8> {
        let Subject { table, engine, now, .. } = self;
        let now = *now;
        line(&Stats {
            time_ms: epoch_ms(),
            uptime_ms: now.as_millis(),
            plan: self.generation,
            restarts: engine.restarts(),
            repairs: engine.repairs(),
            lines_lost: self.lines_lost,
            quirks: &self.quirks,
            supports: engine.supports(),
            from_tap: &counters.from_tap,
            to_tap: &counters.to_tap,
            queues: engine.counters().iter().map(|it| Queue::of(it)).collect(),
            segmented: counters.segmented.load(),
            joined: counters.joined.load(),
            tap_fallbacks: counters.tap_fallbacks.load(),
            udp_fallbacks: counters.udp_fallbacks.load(),
            udp_refusals: &counters.udp_refusals,
            steering_fallbacks: engine.steering_fallbacks(),
            punted: counters.punted.load(),
            checksums: counters.checksums.load(),
            fragmented: counters.fragmented.load(),
            icmp_sent: counters.icmp_sent.load(),
            icmp_limited: counters.icmp_limited.load(),
            drops: counters.drops(),
            kernel_drops,
            table: Table { stations: table.len(), events: table.events() },
            peers: self.peers(counters),
        })
    }

    /// The stations as one line.
    pub(crate) fn stations(&self) -> Vec<u8> {
        let stations: Vec<_> =
            self.table.entries(self.now).into_iter().map(|row| self.station(row)).collect();
        line(&Stations { stations })
    }

    fn peers<'c>(&self, counters: &'c Counters) -> Vec<PeerStats<'c>> {
        let peers = self.plan.peers().filter_map(|(id, peer)| {
            let counters = counters.peer(id)?;
            let heard = counters.heard().map(|at| self.now.since(at).as_millis());
            Some(PeerStats {
                addr: peer.addr.ip(),
                mtu: peer.mtu.octets(),
                received: &counters.received,
                sent: &counters.sent,
                heard_ms_ago: heard.and_then(|ms| u64::try_from(ms).ok()),
            })
        });
        peers.collect()
    }

    fn station(&self, row: Row) -> Station {
        let at = match row.port {
            Port::Local => "local".into(),
            Port::Peer(id) => {
                self.plan.peer(id).map_or_else(|| "gone".into(), |peer| peer.addr.ip().to_string())
            }
        };
        Station { at, row }
    }
}

#[derive(Serialize)]
struct Stations {
    stations: Vec<Station>,
}

#[derive(Serialize)]
struct Station {
    /// `local`, or the peer's address.
    at: String,
    #[serde(flatten)]
    row: Row,
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // Only maps with keys that are no text cannot be written, and there are none.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line
}

#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
fn epoch_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
