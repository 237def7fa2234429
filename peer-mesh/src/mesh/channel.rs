//! Channels: what other parts of the node gossip, opaque to us.
//!
//! What is broadcast on a channel that this peer has joined is given to its owner, who merges it and broadcasts what was new. On any other
//! channel it is relayed, once per content, so that a mesh of peers with different features carries all channels. A channel's owner
//! says a digest of its state; neighbours whose digests differ for three keepalives are told to exchange it.
//!
//! A letter goes to one peer, from hop to hop along counted links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use blake2::{Blake2s256, Digest as _};

use super::{KEEPALIVE, Mesh};
use crate::wire::{ChannelName, MAX_PAYLOAD, Message};
use crate::{ConnId, Event, GoneReason, PeerName, PeerUid};

/// Hops a message takes at most: more than the diameter of any mesh of the promised sizes.
const MAX_HOPS: u8 = 32;
/// Relayed contents remembered, so that none goes round in circles. What comes while as many are remembered is not relayed:
/// forgetting one that may still be on its way would send it round again, and in a crowd all of them for ever.
const MAX_SEEN: usize = 16_384;
/// Longer than a message that may still be relayed is under way.
const SEEN_FOR: Duration = Duration::from_secs(30);
/// Keepalives in a row with another digest before the state is exchanged.
const PATIENCE: u32 = 3;
/// Channels joined; keepalives name them all.
const MAX_JOINED: usize = 16;

/// A message on its way to one peer.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) channel: ChannelName,
    pub(super) from: PeerName,
    pub(super) to: PeerName,
    pub(super) hops: u8,
    pub(super) octets: Vec<u8>,
}

/// A message on its way to everybody.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) channel: ChannelName,
    pub(super) hops: u8,
    pub(super) octets: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Channels {
    joined: BTreeMap<ChannelName, u64>,
    /// How often in a row a neighbour's digest differed, and when it was last looked at.
    mismatches: BTreeMap<(PeerName, ChannelName), (u32, Duration)>,
    seen: BTreeSet<u64>,
    seen_order: VecDeque<(u64, Duration)>,
}

impl Channels {
    pub(super) fn digests(&self) -> Vec<(ChannelName, u64)> {
        self.joined.iter().map(|(name, &digest)| (*name, digest)).collect()
    }

    /// Compares a neighbour's digests with ours.
    pub(super) fn compare(
        &mut self,
        to: PeerName,
        theirs: &[(ChannelName, u64)],
        now: Duration,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for (channel, digest) in theirs {
            let Some(ours) = self.joined.get(channel) else { continue };
            let (count, looked) =
                self.mismatches.entry((to, *channel)).or_insert((PATIENCE - 1, Duration::ZERO));
            // However often it says so.
            if now < *looked + KEEPALIVE / 2 {
                continue;
            }
            *looked = now;
            if ours == digest {
                *count = 0;
                continue;
            }
            *count += 1;
            if *count >= PATIENCE {
                *count = 0;
                events.push(Event::StateWanted { channel: *channel, to });
            }
        }
        events
    }

    pub(super) fn link_down(&mut self, name: PeerName) {
        self.mismatches.retain(|(far, _), _| *far != name);
    }

    pub(super) fn age(&mut self, now: Duration) {
        while self.seen_order.front().is_some_and(|&(_, since)| since + SEEN_FOR < now) {
            if let Some((hash, _)) = self.seen_order.pop_front() {
                self.seen.remove(&hash);
            }
        }
    }

    /// Notes a content that is to be relayed.
    fn note(&mut self, channel: &ChannelName, octets: &[u8], now: Duration) -> Content {
        let hash = Blake2s256::new()
            .chain_update(channel.as_str())
            .chain_update([0])
            .chain_update(octets)
            .finalize();
        let hash = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        if self.seen.contains(&hash) {
            return Content::Seen;
        }
        if self.seen_order.len() >= MAX_SEEN {
            self.age(now);
        }
        if self.seen_order.len() >= MAX_SEEN {
            return Content::TooMuch;
        }
        self.seen.insert(hash);
        self.seen_order.push_back((hash, now));
        Content::New
    }
}

/// What is known of a content that came to be relayed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Content {
    New,
    Seen,
    TooMuch,
}

impl Mesh {
    /// Takes part in a channel: what comes on it becomes events. `false`: too many are joined, or the name is the mesh's own.
    pub fn join(&mut self, channel: ChannelName) -> bool {
        let room = self.channels.joined.len() < MAX_JOINED && channel != internal();
        if room {
            self.channels.joined.entry(channel).or_insert(0);
        }
        room
    }

    /// A digest of a joined channel's whole state: neighbours whose digest differs for long are told to exchange it.
    pub fn set_digest(&mut self, channel: &ChannelName, digest: u64) {
        if let Some(ours) = self.channels.joined.get_mut(channel) {
            *ours = digest;
        }
    }

    /// Tells all neighbours, except the one it came from. `false`: longer than [`MAX_PAYLOAD`].
    pub fn broadcast(
        &mut self,
        channel: &ChannelName,
        octets: &[u8],
        except: Option<PeerName>,
        now: Duration,
    ) -> bool {
        if octets.len() > MAX_PAYLOAD {
            return false;
        }
        let message =
            Message::Broadcast { channel: *channel, hops: MAX_HOPS, octets: octets.to_vec() };
        self.spread(&message, except, now);
        self.flush(now);
        true
    }

    /// Queues a message for all neighbours but one.
    fn spread(&mut self, message: &Message, except: Option<PeerName>, now: Duration) {
        let far = self.links.iter().filter(|(name, _)| Some(**name) != except);
        let far: Vec<_> = far.map(|(_, &id)| id).collect();
        for id in far {
            self.send_bulk(id, message.clone(), now);
        }
    }

    /// Tells one neighbour; the answer to [`Event::StateWanted`]. `false`: no neighbour, no room, or too long.
    pub fn broadcast_to(
        &mut self,
        channel: &ChannelName,
        to: PeerName,
        octets: &[u8],
        now: Duration,
    ) -> bool {
        let Some(&id) = self.links.get(&to).filter(|_| octets.len() <= MAX_PAYLOAD) else {
            return false;
        };
        let message =
            Message::Broadcast { channel: *channel, hops: MAX_HOPS, octets: octets.to_vec() };
        let sent = self.send_bulk(id, message, now);
        self.flush(now);
        sent
    }

    /// Sends to one peer, over any number of hops. `false`: no way there, no room, or too long. `true` does not say that it arrives.
    pub fn send(
        &mut self,
        channel: &ChannelName,
        to: PeerName,
        octets: &[u8],
        now: Duration,
    ) -> bool {
        if octets.len() > MAX_PAYLOAD {
            return false;
        }
        let letter = Letter {
            channel: *channel,
            from: self.own.name,
            to,
            hops: MAX_HOPS,
            octets: octets.to_vec(),
        };
        let sent = self.forward(letter, now);
        self.flush(now);
        sent
    }

    fn forward(&mut self, letter: Letter, now: Duration) -> bool {
        let Some(id) = self.relay_to(letter.to, now) else {
            self.stats.dropped += 1;
            return false;
        };
        let Letter { channel, from, to, hops, octets } = letter;
        self.send_bulk(id, Message::Unicast { channel, from, to, hops, octets }, now)
    }

    pub(super) fn handle_unicast(&mut self, letter: Letter, now: Duration) {
        if letter.to == self.own.name {
            return self.receive(letter);
        }
        let Some(hops) = hops_left(letter.hops) else {
            self.stats.dropped += 1;
            return;
        };
        self.forward(Letter { hops, ..letter }, now);
    }

    fn receive(&mut self, letter: Letter) {
        if letter.channel == internal() {
            if let Some(Notice::Contested { uid }) = Notice::parse(&letter.octets) {
                self.say_contested(uid);
            }
        } else if self.channels.joined.contains_key(&letter.channel) {
            self.event(Event::Unicast {
                channel: letter.channel,
                from: letter.from,
                octets: letter.octets,
            });
        } else {
            self.stats.dropped += 1;
        }
    }

    pub(super) fn handle_broadcast(&mut self, id: ConnId, parcel: Parcel, now: Duration) {
        let Parcel { channel, hops, octets } = parcel;
        let Some(via) = self.conns.get(&id).and_then(super::Conn::peer) else { return };
        if self.channels.joined.contains_key(&channel) {
            return self.event(Event::Broadcast { channel, via, octets });
        }
        match self.channels.note(&channel, &octets, now) {
            Content::New => {}
            Content::Seen => return,
            Content::TooMuch => {
                self.stats.dropped += 1;
                return;
            }
        }
        if channel == internal()
            && let Some(Notice::Removed { name, incarnation }) = Notice::parse(&octets)
        {
            self.hear_removal(name, incarnation, now);
        }
        match hops_left(hops) {
            Some(hops) => {
                self.spread(&Message::Broadcast { channel, hops, octets }, Some(via), now)
            }
            None => self.stats.dropped += 1,
        }
    }

    /// Tells everybody that somebody removed a silent peer.
    pub(super) fn announce_removal(&mut self, name: PeerName, incarnation: u64, now: Duration) {
        let octets = Notice::Removed { name, incarnation }.emit();
        self.channels.note(&internal(), &octets, now);
        self.broadcast(&internal(), &octets, None, now);
    }

    fn hear_removal(&mut self, name: PeerName, incarnation: u64, now: Duration) {
        let outdated = self
            .directory
            .get(name)
            .is_some_and(|entry| entry.record.stamp().incarnation <= incarnation);
        if outdated && !self.directory.is_up(name) {
            self.directory.gone(name, GoneReason::Removed, now);
        }
    }

    /// Tells a neighbour that another wants its name, and which.
    pub(super) fn tell_contested(
        &mut self,
        id: ConnId,
        name: PeerName,
        uid: PeerUid,
        now: Duration,
    ) {
        let octets = Notice::Contested { uid }.emit();
        let notice = Message::Unicast {
            channel: internal(),
            from: self.own.name,
            to: name,
            hops: 1,
            octets,
        };
        self.send_message(id, notice, now);
    }
}

/// What peers tell each other on the mesh's own channel.
#[derive(Debug, Eq, PartialEq)]
enum Notice {
    /// `1 | name 6 | incarnation u64`: a peer that is not up was removed, up to this incarnation.
    Removed { name: PeerName, incarnation: u64 },
    /// `2 | uid u64`: a live peer with this uid wanted the receiver's name.
    Contested { uid: PeerUid },
}

impl Notice {
    fn emit(&self) -> Vec<u8> {
        match self {
            Self::Removed { name, incarnation } => {
                [&[1][..], &name.octets(), &incarnation.to_be_bytes()].concat()
            }
            Self::Contested { uid } => [&[2][..], &uid.to_u64().to_be_bytes()].concat(),
        }
    }

    /// Notices of newer versions, or with more than we know of, are not ours to understand.
    fn parse(octets: &[u8]) -> Option<Self> {
        match octets {
            [1, rest @ ..] => {
                let (name, rest) = rest.split_first_chunk()?;
                let (incarnation, _) = rest.split_first_chunk()?;
                Some(Self::Removed {
                    name: PeerName::new(*name)?,
                    incarnation: u64::from_be_bytes(*incarnation),
                })
            }
            [2, rest @ ..] => {
                let (uid, _) = rest.split_first_chunk()?;
                Some(Self::Contested { uid: PeerUid::new(u64::from_be_bytes(*uid))? })
            }
            _ => None,
        }
    }
}

/// Whether octets on the mesh's own channel say something that we understand: for tests of the parser.
#[doc(hidden)]
pub fn is_notice(octets: &[u8]) -> bool {
    Notice::parse(octets).is_some_and(|notice| octets.starts_with(&notice.emit()))
}

/// How many hops a message may still take once it is passed on. What came may say anything.
fn hops_left(hops: u8) -> Option<u8> {
    hops.min(MAX_HOPS).checked_sub(1).filter(|&hops| hops > 0)
}

#[expect(clippy::expect_used, reason = "the text is a valid channel name")]
fn internal() -> ChannelName {
    ChannelName::new("weft.mesh").expect("a valid name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_reads_back_as_it_was_written() {
        let notices = [
            Notice::Removed { name: PeerName::local(7), incarnation: 3 },
            Notice::Contested { uid: PeerUid::new(9).unwrap() },
        ];

        for notice in notices {
            assert_eq!(Notice::parse(&notice.emit()), Some(notice));
        }
        assert_eq!(Notice::parse(&[1, 2]), None);
        assert_eq!(Notice::parse(&[]), None);
    }
}
