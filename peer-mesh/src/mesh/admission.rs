//! Who may become a neighbour.

use std::time::Duration;

use super::conn::{Conn, Stage};
use super::naming::{Claim, SETTLED_AFTER};
use super::outgoing::Form;
use super::own::MAX_ADDRESSES;
use super::{KEEPALIVE, Mesh};
use crate::directory::Standing;
use crate::secure::Secure;
use crate::wire::{Hello, Link, Message};
use crate::{CloseReason, ConnId, Event, NEWEST_VERSION, OLDEST_VERSION, PeerName, PeerUid};

/// A namesake that lives says something within a keepalive's time, and some for its journey.
pub(super) const CONTEST: Duration = KEEPALIVE.saturating_add(Duration::from_millis(300));
/// Two links between the same peers that are both younger than this were dialled at once.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Addresses a peer that is refused gets on its way.
const PARTING_ADDRESSES: usize = 16;
/// Links above the degree that a needed newcomer may open, until surplus ones are closed.
const MARGIN: usize = 4;

impl Mesh {
    pub(super) fn dial_secure(&mut self) -> Secure {
        let hello = self.hello();
        Secure::dial(&self.config.psk, &hello, self.dice.seed(), OLDEST_VERSION..=NEWEST_VERSION)
    }

    pub(super) fn accept_secure(&mut self) -> Secure {
        let hello = self.hello();
        Secure::accept(&self.config.psk, &hello, self.dice.seed(), OLDEST_VERSION..=NEWEST_VERSION)
    }

    fn hello(&self) -> Vec<u8> {
        let own = &self.own;
        let hello = Hello {
            name: own.name,
            uid: own.uid,
            incarnation: own.incarnation,
            explicit: own.explicit,
            leases: own.leases,
            settled: own.settled,
            started: own.started,
            nickname: own.nickname.clone(),
            port: self.config.port,
            addresses: own.addresses.clone(),
        };
        hello.emit()
    }

    /// The other end has said who it is.
    pub(super) fn handle_hello(&mut self, id: ConnId, octets: &[u8], now: Duration) {
        let hello = match Hello::parse(octets) {
            Ok(hello) => hello,
            Err(error) => return self.close(id, &CloseReason::Malformed(error.to_string()), now),
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.hello = Some(hello.clone());
        let (remote, outbound) = (conn.remote, conn.outbound);
        if hello.name == self.own.name && hello.uid == self.own.uid {
            return self.close(id, &CloseReason::Oneself, now);
        }
        self.unsaved |= outbound && self.book.reached(remote, hello.name, now);
        if hello.name == self.own.name {
            return self.meet_namesake(id, Claim::of_hello(&hello), now);
        }
        self.learn_addresses(&hello, remote);
        match self.links.get(&hello.name).copied() {
            Some(old) if self.uid_of(old) == Some(hello.uid) => {
                if self.keeps_newer(old, id, now) {
                    self.admit(id, hello.name, now);
                }
            }
            Some(_) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.stage = Stage::Contested;
                    conn.opened = now;
                }
            }
            None => self.admit(id, hello.name, now),
        }
    }

    fn uid_of(&self, id: ConnId) -> Option<PeerUid> {
        self.conns.get(&id)?.hello.as_ref().map(|hello| hello.uid)
    }

    fn learn_addresses(&mut self, hello: &Hello, remote: std::net::SocketAddr) {
        if !self.config.discovery {
            return;
        }
        let observed = std::net::SocketAddr::new(remote.ip(), hello.port);
        let told =
            if hello.addresses.is_empty() { vec![observed] } else { hello.addresses.clone() };
        for addr in told {
            self.unsaved |= self.book.learn(addr, Some(hello.name), &mut self.dice);
        }
    }

    /// Two connections to one peer: of two dialled at once both ends keep the one that the lower name dialled;
    /// otherwise the old one, which is dropped soon enough if it is dead.
    fn keeps_newer(&mut self, old: ConnId, new: ConnId, now: Duration) -> bool {
        let (Some(old_conn), Some(new_conn)) = (self.conns.get(&old), self.conns.get(&new)) else {
            return false;
        };
        let Some(theirs) = new_conn.peer() else { return false };
        let dialler = |outbound: bool| if outbound { self.own.name } else { theirs };
        let young = now < old_conn.opened + AT_ONCE;
        let newer = young && dialler(new_conn.outbound) < dialler(old_conn.outbound);
        self.close(if newer { old } else { new }, &CloseReason::Doubled, now);
        newer
    }

    /// The time to show a sign of life is over for the older of two that have one name.
    pub(super) fn contest_over(&mut self, id: ConnId, now: Duration) {
        let Some(conn) = self.conns.get(&id) else { return };
        let (Some(hello), began) = (conn.hello.clone(), conn.opened) else { return };
        let Some(&old) = self.links.get(&hello.name) else {
            return self.admit(id, hello.name, now);
        };
        // The link it was contested with is down, and whoever has the new one was heard of later: that may be the
        // newcomer itself, or its next start. If it is neither, the newcomer comes again.
        if self.conns.get(&old).is_some_and(|old| old.opened > began) {
            return self.close(id, &CloseReason::Doubled, now);
        }
        let Some(incumbent) = self
            .conns
            .get(&old)
            .filter(|old| old.heard > began)
            .and_then(|old| self.claim_of(old, now))
        else {
            self.close(old, &CloseReason::Silent(CONTEST), now);
            return self.admit(id, hello.name, now);
        };
        let (name, newcomer) = (hello.name, Claim::of_hello(&hello));
        if incumbent.beats(&newcomer) {
            self.tell_contested(old, name, newcomer.uid, now);
            self.refuse_name(id, name, incumbent.uid, now);
        } else {
            self.refuse_name(old, name, newcomer.uid, now);
            self.admit(id, name, now);
            self.tell_contested(id, name, incumbent.uid, now);
        }
    }

    /// What a neighbour can claim by now; its hello is from before we were linked.
    fn claim_of(&self, conn: &Conn, now: Duration) -> Option<Claim> {
        let claim = Claim::of_hello(conn.hello.as_ref()?);
        let told = self
            .directory
            .get(conn.peer()?)
            .is_some_and(|entry| entry.record.uid() == claim.uid && entry.record.settled());
        let settled = claim.settled || told || now >= conn.opened + SETTLED_AFTER;
        Some(Claim { settled, ..claim })
    }

    /// Closes because another keeps the name, and shows its record: a settled peer gives way to nothing less.
    fn refuse_name(&mut self, id: ConnId, name: PeerName, keeper: PeerUid, now: Duration) {
        let record = self.directory.get(name).map(|entry| &entry.record);
        if let Some(record) = record.filter(|record| record.uid() == keeper) {
            let mut batch = Vec::new();
            Message::Record(record.clone()).emit(&mut batch);
            self.send_batch(id, &batch);
        }
        self.close(id, &CloseReason::DuplicateName { name, uid: keeper }, now);
    }

    fn admit(&mut self, id: ConnId, name: PeerName, now: Duration) {
        if !self.has_room(name) {
            return self.part(id, now);
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stage = Stage::Welcomed;
        let uid = conn.hello.as_ref().map(|hello| hello.uid);
        let observed = conn.remote;
        let known = self
            .directory
            .get(name)
            .map(|entry| &entry.record)
            .filter(|record| Some(record.uid()) != uid);
        let known = known.map_or(0, |record| record.stamp().incarnation);
        self.send_message(id, Message::Welcome { known, observed }, now);
        if self.conns.get(&id).is_some_and(|conn| conn.welcomed) {
            self.link_up(id, now);
        }
    }

    /// There is room below the degree; above it only for those who are needed, at the cost of one who is not, and for
    /// neighbours on the ring at anybody's cost.
    pub(super) fn has_room(&self, name: PeerName) -> bool {
        let stages = self.conns.values().map(|conn| conn.stage);
        let taken = stages.filter(|stage| matches!(stage, Stage::Welcomed | Stage::Linked)).count();
        let needed = || self.is_beside(name) || self.is_needed(name) && self.surplus().is_some();
        taken < self.config.degree || taken < self.config.degree + MARGIN && needed()
    }

    /// Refuses for want of room: but with all we know, so that it finds others.
    fn part(&mut self, id: ConnId, now: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.outbound {
            if let Some(peer) = conn.peer() {
                self.neighbours.pass_over(peer, now);
            }
            return self.close(id, &CloseReason::Surplus, now);
        }
        conn.stage = Stage::Parting;
        conn.opened = now;
        let newcomer = conn.peer().is_none_or(|name| !self.directory.is_up(name));
        let mut addresses: Vec<_> = self.neighbour_addresses();
        self.dice.choose(&mut addresses, PARTING_ADDRESSES);
        self.send_message(id, Message::Addresses(addresses), now);
        let Some(conn) = self.conns.get_mut(&id).filter(|_| newcomer) else { return };
        for (name, _) in self.directory.up() {
            conn.out.want(name, Form::Whole, now);
        }
    }

    /// Addresses of peers that are up, from their records.
    fn neighbour_addresses(&self) -> Vec<std::net::SocketAddr> {
        let others = self.directory.up().filter(|&(name, _)| name != self.own.name);
        others.filter_map(|(_, entry)| entry.record.addresses().next()).collect()
    }

    /// Once on a connection: more would only wash the book.
    pub(super) fn handle_addresses(
        &mut self,
        id: ConnId,
        addresses: &[std::net::SocketAddr],
        now: Duration,
    ) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::replace(&mut conn.told_addresses, true) || !self.config.discovery {
            return;
        }
        for &addr in addresses {
            self.unsaved |= self.book.learn(addr, None, &mut self.dice);
        }
        self.neighbours.review_soon(now);
    }

    /// The other end wants the link.
    pub(super) fn handle_welcome(&mut self, id: ConnId, known: u64, now: Duration) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if std::mem::replace(&mut conn.welcomed, true) {
            return self.close(id, &CloseReason::Malformed("welcomed twice".to_owned()), now);
        }
        let ready = conn.stage == Stage::Welcomed;
        if known >= self.own.incarnation {
            self.raise_incarnation(known, now);
        }
        if ready {
            self.link_up(id, now);
        }
    }

    fn link_up(&mut self, id: ConnId, now: Duration) {
        let Some(conn) = self.conns.get(&id) else { return };
        let Some(Hello { name, uid, .. }) = conn.hello.clone() else { return };
        let (addr, outbound, local) = (conn.remote, conn.outbound, conn.local);
        if let Some(&other) = self.links.get(&name)
            && !self.keeps_newer(other, id, now)
        {
            return;
        }
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.stage = Stage::Linked;
        conn.opened = now;
        self.links.insert(name, id);
        self.linked_since.get_or_insert(now);
        self.own.links.insert(Link { name, uid });
        self.learn_own_address(local);
        // One that is back is silent until two neighbours tell of each other.
        let is_back = self
            .directory
            .get(name)
            .is_some_and(|it| it.standing == Standing::Silent || it.record.uid() != uid);
        self.publish_soon(is_back, now);
        self.event(Event::LinkUp { name, addr, outbound });
        self.publish_lost(now);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.out.want(self.own.name, Form::Whole, now);
        }
        self.send_keepalive(id, now);
        self.neighbours.review_soon(now);
    }

    /// Without configured addresses others dial us where our connections end.
    fn learn_own_address(&mut self, local: Option<std::net::SocketAddr>) {
        let Some(local) = local.filter(|_| self.config.addresses.is_empty()) else { return };
        let addr = std::net::SocketAddr::new(local.ip(), self.config.port);
        if self.own.addresses.contains(&addr) {
            return;
        }
        self.book.allow_loopback(addr.ip().is_loopback());
        self.own.addresses.push(addr);
        if self.own.addresses.len() > MAX_ADDRESSES {
            // Addresses change: the oldest that nothing comes to any more, or else the oldest.
            let in_use = |addr: &std::net::SocketAddr| {
                self.conns.values().any(|conn| conn.local.is_some_and(|it| it.ip() == addr.ip()))
            };
            let unused = self.own.addresses.iter().position(|addr| !in_use(addr));
            self.own.addresses.remove(unused.unwrap_or(0));
        }
    }
}

impl Claim {
    fn of_hello(hello: &Hello) -> Self {
        let &Hello { leases, settled, started, uid, .. } = hello;
        Self { leases, settled, started, uid }
    }
}
