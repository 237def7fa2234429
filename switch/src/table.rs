//! MAC table: which station is behind which port.
//!
//! A few complications make this more than a hash map. Entries are learned from frames, so that
//! anybody on the overlay can write to it: the table is bounded, and when it is full the port with
//! the most stations loses one of its own, not whoever is oldest. A host that floods made-up
//! addresses thus evicts its own, never those of the others ([`order`]). A station that is static
//! is never moved by traffic. A station that moves too often is looping or spoofed: it is frozen
//! for a while where it is, so that a loop costs a few table writes and not one per frame.
//!
//! Invariants: at most `limit` learned stations; each of them is counted under exactly one port;
//! static stations are not counted and not aged.
//!
//! Limit: keyed by MAC alone, as the kernel's vxlan device is. One MAC in two VLANs at two nodes
//! is one station that moves.

mod order;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use serde::Serialize;

use crate::{Mac, Port, Tick};
use order::{Order, Ticket};

/// How a table is bounded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most stations learned from traffic.
    pub stations: usize,
    /// A station is forgotten after this idle time.
    pub max_age: Duration,
}

impl Default for Limits {
    /// 65 536 stations; 300 s, the bridge's own ageing time (IEEE 802.1Q-2018 table 8-6).
    fn default() -> Self {
        Self { stations: 65_536, max_age: Duration::from_secs(300) }
    }
}

/// A station that moves this often within [`MOVE_WINDOW`] is frozen: as EVPN does it (RFC 7432
/// §15.1), in a shorter window, as here nobody vouches for a move and an operator may try some.
const MOVES_MAX: u32 = 5;
const MOVE_WINDOW: Duration = Duration::from_secs(10);

/// How long a frozen station stays where it is.
const FREEZE: Duration = Duration::from_secs(10);

/// Where stations are.
///
/// # Thread-safety
/// Readers and writers may run on any worker. `lookup`, and `learn` of a station that is where it
/// was, take a shard's read lock. A new, moved or forgotten station takes the order's mutex, then
/// a shard's write lock: always in that order, and never the mutex while a shard is held.
#[derive(Debug)]
pub struct MacTable {
    stations: DashMap<Mac, Station>,
    order: Mutex<Order>,
    limits: Limits,
    events: Events,
    /// Counts changes: what was looked up under another version may no longer be so.
    version: AtomicU64,
}

#[derive(Debug)]
struct Station {
    port: Port,
    /// When a frame of it was last seen.
    seen: AtomicU64,
    /// Its place in the order of eviction; `None` for a static station.
    ticket: Option<Ticket>,
    moves: Moves,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moves {
    total: u32,
    in_window: u32,
    window_start: Tick,
    frozen_until: Tick,
}

/// What `learn` did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Learned {
    /// It is where it was.
    Known,
    /// It was not in the table.
    New,
    /// It was behind another port.
    Moved {
        /// Where it was until now.
        from: Port,
    },
    /// It is said to have moved, too often to be believed: the table is unchanged.
    Frozen,
    /// It is said to have moved, but is static: the table is unchanged.
    Static,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The station.
    pub mac: Mac,
    /// Where it is.
    #[serde(skip)]
    pub port: Port,
    /// How long nothing was heard of it, in milliseconds.
    pub idle_ms: u64,
    /// How often it has moved.
    pub moves: u32,
    /// Whether traffic can move it.
    #[serde(rename = "static")]
    pub is_static: bool,
}

impl MacTable {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            stations: DashMap::new(),
            order: Mutex::default(),
            limits,
            events: Events::default(),
            version: AtomicU64::new(0),
        }
    }

    /// Where `mac` is.
    pub fn lookup(&self, mac: Mac) -> Option<Port> {
        self.stations.get(&mac).map(|station| station.port)
    }

    /// Takes note that a frame of `mac` came in by `port`.
    pub fn learn(&self, mac: Mac, port: Port, now: Tick) -> Learned {
        if let Some(station) = self.stations.get(&mac)
            && station.port == port
        {
            if station.seen.load(Relaxed) < now.as_millis() {
                station.seen.store(now.as_millis(), Relaxed);
            }
            return Learned::Known;
        }
        let learned = self.write(mac, port, now);
        if matches!(learned, Learned::New | Learned::Moved { .. }) {
            self.bump();
        }
        self.events.count(learned);
        learned
    }

    /// Puts `mac` behind `port`, where no traffic moves it and nothing evicts it.
    pub fn pin(&self, mac: Mac, port: Port, now: Tick) {
        let mut order = self.order();
        let pinned = Station::new(port, None, now);
        if let Some(Station { port, ticket: Some(ticket), .. }) = self.stations.insert(mac, pinned)
        {
            order.leave(port, ticket);
        }
        self.bump();
    }

    /// Forgets `mac` if it is behind `port`, static or not. `false` when it was not there.
    pub fn forget(&self, mac: Mac, port: Port) -> bool {
        let mut order = self.order();
        let Some((_, station)) = self.stations.remove_if(&mac, |_, it| it.port == port) else {
            return false;
        };
        if let Some(ticket) = station.ticket {
            order.leave(port, ticket);
        }
        self.bump();
        true
    }

    /// Forgets every learned station behind `port`. Returns how many.
    pub fn flush(&self, port: Port) -> usize {
        self.forget_learned(|station| station.port == port)
    }

    /// Forgets the learned stations that were idle for longer than the limit. Returns how many.
    pub fn age(&self, now: Tick) -> usize {
        let aged = self.forget_learned(|station| station.idle(now) > self.limits.max_age);
        self.events.aged.fetch_add(aged as u64, Relaxed);
        aged
    }

    /// Stations in the table, static ones included.
    pub fn len(&self) -> usize {
        self.stations.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.stations.is_empty()
    }

    /// Every station, in order of address. This locks shard by shard: not for the frame path.
    pub fn entries(&self, now: Tick) -> Vec<Row> {
        #[expect(clippy::disallowed_methods, reason = "a listing for people, sorted below")]
        let mut entries: Vec<_> = self.stations.iter().map(|it| it.entry(*it.key(), now)).collect();
        entries.sort_by_key(|entry| entry.mac);
        entries
    }

    /// A stamp for what was looked up: while it is the same, so is the answer.
    pub fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    /// What has happened to the table so far.
    pub fn events(&self) -> TableEvents {
        self.events.snapshot()
    }

    fn write(&self, mac: Mac, port: Port, now: Tick) -> Learned {
        let mut order = self.order();
        if let Some(mut station) = self.stations.get_mut(&mac) {
            return station.relocate(mac, port, now, &mut order);
        }
        while order.len() >= self.limits.stations {
            let Some(victim) = order.evict(port, |mac| self.seen(mac)) else { break };
            self.stations.remove(&victim);
            self.events.evicted.fetch_add(1, Relaxed);
        }
        let ticket = order.join(mac, port, now.as_millis());
        self.stations.insert(mac, Station::new(port, Some(ticket), now));
        Learned::New
    }

    fn seen(&self, mac: Mac) -> u64 {
        self.stations.get(&mac).map_or(0, |station| station.seen.load(Relaxed))
    }

    fn forget_learned(&self, condition: impl Fn(&Station) -> bool) -> usize {
        let mut order = self.order();
        let mut forgotten = 0;
        self.stations.retain(|_, station| {
            let Some(ticket) = station.ticket.filter(|_| condition(station)) else { return true };
            order.leave(station.port, ticket);
            forgotten += 1;
            false
        });
        if forgotten > 0 {
            self.bump();
        }
        forgotten
    }

    fn bump(&self) {
        self.version.fetch_add(1, Relaxed);
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        // A panic elsewhere leaves at worst a wrong count: eviction is then less fair, not unsafe.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Station {
    fn new(port: Port, ticket: Option<Ticket>, now: Tick) -> Self {
        let seen = AtomicU64::new(now.as_millis());
        Self { port, seen, ticket, moves: Moves::default() }
    }

    fn idle(&self, now: Tick) -> Duration {
        now.since(Tick::from_millis(self.seen.load(Relaxed)))
    }

    fn relocate(&mut self, mac: Mac, port: Port, now: Tick, order: &mut Order) -> Learned {
        if self.port == port {
            return Learned::Known;
        }
        let Some(ticket) = self.ticket else { return Learned::Static };
        if !self.moves.admit(now) {
            return Learned::Frozen;
        }
        let from = std::mem::replace(&mut self.port, port);
        order.leave(from, ticket);
        self.ticket = Some(order.join(mac, port, now.as_millis()));
        self.seen.store(now.as_millis(), Relaxed);
        Learned::Moved { from }
    }

    fn entry(&self, mac: Mac, now: Tick) -> Row {
        Row {
            mac,
            port: self.port,
            idle_ms: u64::try_from(self.idle(now).as_millis()).unwrap_or(u64::MAX),
            moves: self.moves.total,
            is_static: self.ticket.is_none(),
        }
    }
}

impl Moves {
    /// Counts a move, unless the station is frozen or this one freezes it.
    fn admit(&mut self, now: Tick) -> bool {
        if now < self.frozen_until {
            return false;
        }
        if now.since(self.window_start) > MOVE_WINDOW {
            self.window_start = now;
            self.in_window = 0;
        }
        if self.in_window >= MOVES_MAX {
            self.frozen_until = now + FREEZE;
            self.window_start = self.frozen_until;
            self.in_window = 0;
            return false;
        }
        self.in_window += 1;
        self.total = self.total.saturating_add(1);
        true
    }
}

/// Events are rare beside frames: plain shared counters do.
#[derive(Debug, Default)]
struct Events {
    learned: AtomicU64,
    moved: AtomicU64,
    frozen: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
    aged: AtomicU64,
}

/// What has happened to a table, as counts since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct TableEvents {
    /// Stations that were new.
    pub learned: u64,
    /// Moves from one port to another.
    pub moved: u64,
    /// Moves refused because the station had moved too often.
    pub frozen: u64,
    /// Moves refused because the station is static.
    pub refused: u64,
    /// Stations evicted because the table was full.
    pub evicted: u64,
    /// Stations forgotten because they were idle.
    pub aged: u64,
}

impl Events {
    fn count(&self, learned: Learned) {
        let counter = match learned {
            Learned::Known => return,
            Learned::New => &self.learned,
            Learned::Moved { .. } => &self.moved,
            Learned::Frozen => &self.frozen,
            Learned::Static => &self.refused,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn snapshot(&self) -> TableEvents {
        TableEvents {
            learned: self.learned.load(Relaxed),
            moved: self.moved.load(Relaxed),
            frozen: self.frozen.load(Relaxed),
            refused: self.refused.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            aged: self.aged.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests;
