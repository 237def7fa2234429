//! One connection: from dialling or accepting to its end.

use std::net::SocketAddr;
use std::time::Duration;

use super::outgoing::Outgoing;
use super::{DEAD_AFTER, HANDSHAKE, Mesh};
use crate::secure::Secure;
use crate::wire::{Hello, Message, close_message};
use crate::{CloseReason, ConnId, Event, Output, PeerName};

/// A connection that is refused for want of room gets its snapshot in this time.
const PARTING: Duration = Duration::from_secs(5);

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The TCP connection is being made.
    Dialling,
    /// Octets of the handshake go to and fro.
    Handshake,
    /// A live peer may have the newcomer's name: waiting whether it says something.
    Contested,
    /// We said welcome, the other end has not yet.
    Welcomed,
    /// Both said welcome.
    Linked,
    /// Refused with a snapshot that is being sent.
    Parting,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) remote: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    pub(super) outbound: bool,
    pub(super) stage: Stage,
    /// When the stage began, or for the handshake when the connection did.
    pub(super) opened: Duration,
    /// When octets last came.
    pub(super) heard: Duration,
    pub(super) secure: Option<Secure>,
    pub(super) hello: Option<Hello>,
    /// What the other end knows of our name, from its welcome.
    pub(super) welcomed: bool,
    /// Whether the other end has told addresses of others.
    pub(super) told_addresses: bool,
    /// When the other end last showed its digest.
    pub(super) compared: Option<Duration>,
    pub(super) out: Outgoing,
    /// Keepalives in a row whose root is none of ours.
    pub(super) mismatches: u32,
}

impl Conn {
    pub(super) fn accepted(remote: SocketAddr, now: Duration) -> Self {
        Self::new(remote, false, Stage::Handshake, now)
    }

    pub(super) fn dialled(remote: SocketAddr, now: Duration) -> Self {
        Self::new(remote, true, Stage::Dialling, now)
    }

    fn new(remote: SocketAddr, outbound: bool, stage: Stage, now: Duration) -> Self {
        Self {
            remote,
            local: None,
            outbound,
            stage,
            opened: now,
            heard: now,
            secure: None,
            hello: None,
            welcomed: false,
            told_addresses: false,
            compared: None,
            out: Outgoing::default(),
            mismatches: 0,
        }
    }

    pub(super) fn is_linked(&self) -> bool {
        self.stage == Stage::Linked
    }

    pub(super) fn peer(&self) -> Option<PeerName> {
        self.hello.as_ref().map(|hello| hello.name)
    }

    /// When something must be done about it by the clock alone.
    pub(super) fn deadline(&self) -> Duration {
        let overdue = self.overdue_at();
        self.out.due().map_or(overdue, |at| at.min(overdue))
    }

    /// When it has lasted too long.
    pub(super) fn overdue_at(&self) -> Duration {
        match self.stage {
            Stage::Linked => self.heard + DEAD_AFTER,
            Stage::Parting => self.opened + PARTING,
            Stage::Contested => self.opened + super::admission::CONTEST,
            Stage::Dialling | Stage::Handshake | Stage::Welcomed => self.opened + HANDSHAKE,
        }
    }
}

impl Mesh {
    pub(super) fn send_batch(&mut self, id: ConnId, batch: &[u8]) -> bool {
        let mut octets = Vec::with_capacity(batch.len() + 32);
        let Some(conn) = self.conns.get_mut(&id) else { return false };
        if !conn.secure.as_mut().is_some_and(|secure| secure.seal(batch, &mut octets)) {
            return false;
        }
        self.stats.sent_batches += 1;
        self.transmit(id, octets);
        true
    }

    /// Sends what the handshake has to say.
    pub(super) fn transmit_handshake(&mut self, id: ConnId) {
        let secure = self.conns.get_mut(&id).and_then(|conn| conn.secure.as_mut());
        let octets = secure.map(Secure::take_transmit).unwrap_or_default();
        if !octets.is_empty() {
            self.transmit(id, octets);
        }
    }

    fn transmit(&mut self, id: ConnId, octets: Vec<u8>) {
        self.stats.sent_octets += octets.len() as u64;
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.out.handed_over(octets.len());
        }
        self.outputs.push_back(Output::Send { conn: id, octets });
    }

    /// The last words of one who leaves go out whatever waits before them.
    pub(super) fn tell_departure(&mut self, id: ConnId, now: Duration) {
        let Some(own) = self.directory.get(self.own.name) else { return };
        let mut batch = Vec::new();
        Message::Record(own.record.clone()).emit(&mut batch);
        self.transmit_handshake(id);
        self.send_batch(id, &batch);
        self.close(id, &CloseReason::Leaving, now);
    }

    /// Closes a connection and, if it can be, tells the other end why.
    pub(super) fn close(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        let mut batch = Vec::new();
        close_message(reason).emit(&mut batch);
        self.transmit_handshake(id);
        self.send_batch(id, &batch);
        if self.conns.contains_key(&id) {
            self.outputs.push_back(Output::Close { conn: id });
        }
        self.lost(id, reason, now);
    }

    /// A connection is no more, and others are told if it was a link.
    pub(super) fn lost(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        if let Some(name) = self.ended(id, reason, now) {
            self.unpublish(name, now);
        }
    }

    /// The other end closes and says why.
    pub(super) fn handle_close(&mut self, id: ConnId, reason: &CloseReason, now: Duration) {
        let peer = self.conns.get(&id).and_then(Conn::peer);
        if self.conns.contains_key(&id) {
            self.outputs.push_back(Output::Close { conn: id });
        }
        match (self.ended(id, reason, now), reason) {
            // Who leaves is gone whatever we say of our link, and who closes one too many says so itself.
            (Some(name), CloseReason::Leaving | CloseReason::Surplus) => {
                self.unpublish_late(name, now);
            }
            (Some(name), _) => self.unpublish(name, now),
            (None, _) => {}
        }
        match reason {
            CloseReason::Full | CloseReason::Surplus => {
                if let Some(peer) = peer {
                    self.neighbours.pass_over(peer, now);
                }
            }
            CloseReason::DuplicateName { name, uid }
                if *name == self.own.name && *uid != self.own.uid =>
            {
                self.name_refused(id, *uid, now);
            }
            CloseReason::Lost(_)
            | CloseReason::Unreachable(_)
            | CloseReason::OtherVersion { .. }
            | CloseReason::NotWeft
            | CloseReason::WrongPassword
            | CloseReason::Oneself
            | CloseReason::DuplicateName { .. }
            | CloseReason::HandshakeTimeout(_)
            | CloseReason::Silent(_)
            | CloseReason::Malformed(_)
            | CloseReason::Doubled
            | CloseReason::Leaving
            | CloseReason::Forgotten
            | CloseReason::Other(_) => {}
        }
    }

    /// Takes a connection out of everything it was part of. To whom it was a link, if it was one.
    fn ended(&mut self, id: ConnId, reason: &CloseReason, now: Duration) -> Option<PeerName> {
        let conn = self.conns.remove(&id)?;
        if matches!(reason, CloseReason::Malformed(_)) {
            self.stats.malformed += 1;
        }
        if conn.outbound {
            self.book.ended(conn.remote, reason, now, &mut self.dice);
        }
        self.sync.ended(id);
        self.neighbours.review_soon(now);
        match conn.peer() {
            Some(name) if self.links.get(&name) == Some(&id) => {
                self.links.remove(&name);
                self.channels.link_down(name);
                self.stats.links_ended += 1;
                self.event(Event::LinkDown { name, reason: reason.clone() });
                Some(name)
            }
            Some(_) | None => {
                self.event(Event::Refused {
                    addr: conn.remote,
                    outbound: conn.outbound,
                    reason: reason.clone(),
                });
                None
            }
        }
    }

    /// Ends what has lasted too long.
    pub(super) fn end_overdue(&mut self, now: Duration) {
        let overdue: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| conn.overdue_at() <= now)
            .map(|(&id, conn)| (id, conn.stage))
            .collect();
        for (id, stage) in overdue {
            match stage {
                Stage::Linked => self.close(id, &CloseReason::Silent(DEAD_AFTER), now),
                Stage::Parting => self.close(id, &CloseReason::Full, now),
                Stage::Contested => self.contest_over(id, now),
                Stage::Dialling | Stage::Handshake | Stage::Welcomed => {
                    self.close(id, &CloseReason::HandshakeTimeout(HANDSHAKE), now);
                }
            }
        }
    }
}
