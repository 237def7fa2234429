//! The core of the mesh: one peer's view, and what it does about it.
//!
//! A [`Mesh`] is driven from outside. Connections, octets and the time come in through `handle_*`; what to do comes out of
//! [`Mesh::poll_output`], and when to call again out of [`Mesh::poll_timeout`]. It reads no clock, opens no socket and draws
//! all randomness from its seed, so that the same inputs give the same outputs.
//!
//! # Theory of operation
//!
//! Each peer writes one record: who it is, where it listens, and its links ([`Directory`] has the rules).
//! It keeps links to a few others, chosen so that the graph has a small diameter and survives losses ([`fingers`](crate::fingers));
//! a link is a TCP connection whose ends both said `Welcome`. Changed records travel along links, as patches
//! where that is shorter, at once along some links and not at all along the others (`gossip`); once a second every neighbour says
//! one hash of all it believes, and where two disagree for two seconds they compare and exchange what differs (`sync`).
//!
//! A neighbour of whom nothing was heard for 3.5 s is dropped, and its record says so within 0.2 s; a peer is silent when the last
//! counted link to it is gone, and gone after the hold time.
//!
//! # Invariants
//!
//! - Nothing in an octet stream that does not parse changes any state but that connection's end.
//! - What is held for a connection is bounded: a frame that comes in, a window and a set of names that go out.
//! - `links` names exactly the connections in stage `Linked`, and the working copy of our own record holds exactly these.

mod admission;
mod channel;
mod conn;
mod describe;
mod gossip;
mod naming;
mod neighbours;
mod outgoing;
mod own;
mod receive;
mod sync;
#[cfg(test)]
mod tests;
mod views;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

#[doc(hidden)]
pub use channel::is_notice;
pub use views::{GonePeer, LinkView, NextHop, Peer, Pending, Progress, Stats, Target};

use self::channel::Channels;
use self::conn::{Conn, Stage};
use self::naming::Rivals;
use self::neighbours::Neighbours;
use self::own::{MAX_DEGREE, Publisher, announcement, record_of};
use self::sync::Sync;
use self::views::Routes;
use crate::book::Book;
use crate::dice::Dice;
use crate::directory::{Change, Directory};
use crate::wire::{Announcement, next_count};
use crate::{CloseReason, Config, ConnId, Event, GoneReason, Output, PeerName, PeerUid, Saved};

/// Time between keepalives.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// A neighbour is dropped when nothing was heard from it for this long: three keepalives, and half a second for their journey.
const DEAD_AFTER: Duration = Duration::from_millis(3500);
/// A handshake must be over after this time.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that came in and have no finished handshake. Of those we dial there are few by themselves.
pub(crate) const MAX_UNFINISHED: usize = 512;
/// How often periodic work is done.
const TICK: Duration = Duration::from_millis(500);
/// Removed links are looked into after this time, once for all that were removed.
const SETTLE: Duration = Duration::from_millis(50);

/// One peer of the mesh. `now` is the time since any fixed moment, by a clock that never goes back.
///
/// After every `handle_*` call or request: perform what `poll_output` gives until it gives nothing, then call
/// `handle_timeout` when `poll_timeout` says.
#[derive(Debug)]
pub struct Mesh {
    config: Config,
    dice: Dice,
    /// Our record as it will be published next.
    own: Announcement,
    directory: Directory,
    book: Book,
    conns: BTreeMap<ConnId, Conn>,
    links: BTreeMap<PeerName, ConnId>,
    last_conn: u64,
    outputs: VecDeque<Output>,
    publisher: Publisher,
    settle_at: Option<Duration>,
    ticked: Duration,
    kept_alive: Duration,
    neighbours: Neighbours,
    sync: Sync,
    rivals: Rivals,
    /// Since when we have had links without a break, until we are settled.
    linked_since: Option<Duration>,
    /// Peers up or silent to which the data path does not work: which start of them, and since when.
    exceptions: BTreeMap<PeerName, (PeerUid, Duration)>,
    channels: Channels,
    routes: Routes,
    /// Whether the book has changed since it was last to be saved.
    unsaved: bool,
    stopped: bool,
    stats: Stats,
}

impl Mesh {
    /// A peer that starts. It uses an incarnation above the saved one: store [`Mesh::saved`] before performing any output.
    pub fn new(config: Config, saved: Saved, seed: [u8; 32], now: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let config = Config { degree: config.degree.clamp(1, MAX_DEGREE), ..config };
        let own = announcement(&config, next_count(saved.incarnation), uid(&mut dice));
        let mut book = Book::new(config.addresses.iter().any(|addr| addr.ip().is_loopback()));
        for &addr in &config.targets {
            book.give(addr);
        }
        for known in saved.book.into_iter().filter(|_| config.discovery) {
            book.learn(known.addr, known.name, &mut dice);
        }
        Self {
            directory: Directory::new(record_of(&own), now),
            channels: Channels::default(),
            conns: BTreeMap::new(),
            links: BTreeMap::new(),
            last_conn: 0,
            outputs: VecDeque::new(),
            publisher: Publisher::new(now),
            settle_at: None,
            ticked: now,
            kept_alive: now,
            neighbours: Neighbours::new(now),
            sync: Sync::new(now),
            rivals: Rivals::default(),
            linked_since: None,
            exceptions: BTreeMap::new(),
            routes: Routes::default(),
            unsaved: false,
            stopped: false,
            stats: Stats::default(),
            config,
            dice,
            own,
            book,
        }
    }

    /// A connection came in. `None`: close it, there are too many without a handshake, or we have stopped.
    pub fn handle_accepted(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        now: Duration,
    ) -> Option<ConnId> {
        let unfinished = self.conns.values().filter(|conn| !conn.outbound && !conn.is_linked());
        if self.stopped || unfinished.count() >= MAX_UNFINISHED {
            return None;
        }
        let id = self.next_conn();
        let mut conn = Conn::accepted(remote, now);
        conn.secure = Some(self.accept_secure());
        conn.local = Some(local);
        self.conns.insert(id, conn);
        self.transmit_handshake(id);
        Some(id)
    }

    /// A connection we dialled is open.
    pub fn handle_connected(&mut self, id: ConnId, local: SocketAddr, now: Duration) {
        let secure = self.dial_secure();
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.secure = Some(secure);
        conn.local = Some(local);
        conn.opened = now;
        conn.heard = now;
        conn.stage = Stage::Handshake;
        self.transmit_handshake(id);
    }

    /// It could not be opened.
    pub fn handle_dial_failed(&mut self, id: ConnId, why: &str, now: Duration) {
        self.lost(id, &CloseReason::Unreachable(why.to_owned()), now);
        self.flush(now);
    }

    /// The connection ended. Not needed after `Output::Close`, and ignored then.
    pub fn handle_closed(&mut self, id: ConnId, why: &str, now: Duration) {
        self.lost(id, &CloseReason::Lost(why.to_owned()), now);
        self.flush(now);
    }

    /// The time that `poll_timeout` named has come. Calling it earlier does no harm.
    pub fn handle_timeout(&mut self, now: Duration) {
        if self.stopped {
            return;
        }
        self.forgive_oversleeping(now);
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            self.directory.settle(now);
        }
        if self.publisher.at.is_some_and(|at| at <= now) {
            self.publish(now);
        }
        self.end_overdue(now);
        if now >= self.ticked + TICK {
            self.tick(now);
        }
        self.apply_changes(now);
        self.review_if_due(now);
        self.flush(now);
    }

    /// When we did not look for a while, that says nothing of the others.
    fn forgive_oversleeping(&mut self, now: Duration) {
        let overslept = now.saturating_sub(self.ticked);
        if overslept > 3 * TICK {
            // Of some we may have heard already since we woke.
            let forgiven = |heard: Duration| (heard + overslept - TICK).min(now);
            self.conns.values_mut().for_each(|conn| conn.heard = forgiven(conn.heard));
            self.publisher.overslept = true;
        }
    }

    fn tick(&mut self, now: Duration) {
        self.ticked = now;
        if now >= self.kept_alive + KEEPALIVE {
            self.kept_alive = now;
            self.send_keepalives(now);
        }
        self.directory.age(self.config.hold, now);
        self.sync.tick(self.directory.digest().root(), now);
        self.channels.age(now);
        self.publish_exceptions(now);
        self.publish_late(now);
        self.settle_down(now);
        if std::mem::take(&mut self.unsaved) {
            self.event(Event::Save);
        }
    }

    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        let conns = self.conns.values().map(Conn::deadline).min();
        let others = [
            Some(self.ticked + TICK),
            self.settle_at,
            self.publisher.at,
            self.neighbours.review_at(),
            conns,
        ];
        others.into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Dials this address until its peer is in the mesh. `false`: too many were named.
    pub fn connect(&mut self, addr: SocketAddr, now: Duration) -> bool {
        let given = self.book.give(addr);
        self.neighbours.review_soon(now);
        given
    }

    /// Nobody names this address any more. Nothing is closed, and it may still be dialled as one that was learned;
    /// without discovery nothing is learned, and it is forgotten.
    pub fn ungive(&mut self, addr: SocketAddr) {
        if self.config.discovery {
            self.book.ungive(addr, &mut self.dice);
            self.unsaved = true;
        } else {
            self.book.forget(addr);
        }
    }

    /// Dials it no longer, and closes what was dialled there.
    pub fn forget(&mut self, addr: SocketAddr, now: Duration) {
        let dialled: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.outbound && conn.remote == addr)
            .map(|(&id, _)| id)
            .collect();
        for id in dialled {
            self.close(id, &CloseReason::Forgotten, now);
        }
        self.book.forget(addr);
        self.flush(now);
    }

    /// Leaves the mesh for good: everybody is told, links are closed, nothing is dialled or accepted afterwards.
    pub fn leave(&mut self, now: Duration) {
        if self.stopped {
            return;
        }
        self.own.departed = true;
        self.own.links.clear();
        self.publish(now);
        let linked: Vec<_> = self.links.values().copied().collect();
        for id in linked {
            self.tell_departure(id, now);
        }
        self.stop(&CloseReason::Leaving, now);
    }

    /// Declares a peer that is not up gone, here and at everybody else. `false`: it is up, or unknown.
    pub fn remove(&mut self, name: PeerName, now: Duration) -> bool {
        let Some(entry) = self.directory.get(name).filter(|_| !self.directory.is_up(name)) else {
            return false;
        };
        let incarnation = entry.record.stamp().incarnation;
        self.directory.gone(name, GoneReason::Removed, now);
        self.announce_removal(name, incarnation, now);
        self.apply_changes(now);
        self.flush(now);
        true
    }

    /// Tells the rest of the node what the directory has found, and passes on what is now known to be real.
    fn apply_changes(&mut self, now: Duration) {
        if self.directory.is_stale() && self.settle_at.is_none() {
            self.settle_at = Some(now + SETTLE);
        }
        for change in self.directory.take_changes() {
            let event = match change {
                Change::Up(name, uid) => {
                    let unheard = self.directory.get(name).filter(|entry| !entry.passed_on);
                    if let Some(source) = unheard.map(|entry| entry.source) {
                        self.pass_on(name, source, now);
                    }
                    self.exceptions.retain(|&far, (start, _)| far != name || *start == uid);
                    self.neighbours.review_soon(now);
                    Event::Up { name, uid }
                }
                Change::Silent(name) => {
                    self.neighbours.review_soon(now);
                    Event::Silent { name }
                }
                Change::Gone(name, reason) => {
                    self.exceptions.remove(&name);
                    if reason != GoneReason::Silence {
                        self.book.left(name);
                    }
                    self.neighbours.review_soon(now);
                    Event::Gone { name, reason }
                }
                Change::Changed(name) => Event::Changed { name },
            };
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn next_conn(&mut self) -> ConnId {
        self.last_conn += 1;
        ConnId(self.last_conn)
    }

    /// Ends all connections and all work.
    fn stop(&mut self, reason: &CloseReason, now: Duration) {
        self.stopped = true;
        let all: Vec<_> = self.conns.keys().copied().collect();
        for id in all {
            self.close(id, reason, now);
        }
    }
}

fn uid(dice: &mut Dice) -> PeerUid {
    loop {
        if let Some(uid) = PeerUid::new(dice.u64()) {
            return uid;
        }
    }
}
