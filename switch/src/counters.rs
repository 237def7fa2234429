//! What a worker counts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crossbeam_utils::CachePadded;
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{DropReason, PeerId, Refusals, Tick};

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. INVARIANT: only the worker that owns the counter calls this, so that a plain store
    /// is enough: no locked instruction per frame.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn load(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.load())
    }
}

/// Frames and their octets, in one direction.
#[derive(Debug, Default, Serialize)]
pub struct Traffic {
    /// Frames, or datagrams.
    pub frames: Counter,
    /// Octets of inner Ethernet frames: the same on both sides of the switch.
    pub octets: Counter,
}

impl Traffic {
    /// Counts one frame.
    pub fn count(&self, octets: usize) {
        self.frames.add(1);
        self.octets.add(octets as u64);
    }

    fn absorb(&self, other: &Self) {
        self.frames.add(other.frames.load());
        self.octets.add(other.octets.load());
    }

    /// Counts the frames that a super-frame stands for, and its octets.
    pub fn count_many(&self, frames: usize, octets: usize) {
        self.frames.add(frames as u64);
        self.octets.add(octets as u64);
    }
}

/// By which way a datagram of a peer came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Via {
    /// In VXLAN.
    User,
    /// On UDP 6783, from the peer itself.
    Sleeve,
    /// On UDP 6783, from another peer that passed it on.
    Relay,
}

/// What was exchanged with a peer.
#[derive(Debug, Default)]
pub struct PeerCounters {
    /// Frames from the peer.
    pub received: Traffic,
    /// Frames to the peer.
    pub sent: Traffic,
    /// Milliseconds since the start when a datagram of the peer last came, for each [`Via`]; 0 when
    /// none has.
    heard: [AtomicU64; 3],
}

impl PeerCounters {
    /// Takes note that a datagram of the peer came.
    pub fn hear(&self, via: Via, now: Tick) {
        if let Some(heard) = self.heard.get(via as usize) {
            heard.store(now.as_millis().max(1), Relaxed);
        }
    }

    /// When a datagram of the peer last came, whichever way.
    pub fn heard(&self) -> Option<Tick> {
        self.heard.iter().filter_map(tick).max()
    }

    /// When a datagram of the peer last came that way.
    pub fn heard_via(&self, via: Via) -> Option<Tick> {
        self.heard.get(via as usize).and_then(tick)
    }

    fn absorb(&self, other: &Self) {
        self.received.absorb(&other.received);
        self.sent.absorb(&other.sent);
        for (heard, other) in self.heard.iter().zip(&other.heard) {
            heard.fetch_max(other.load(Relaxed), Relaxed);
        }
    }
}

fn tick(heard: &AtomicU64) -> Option<Tick> {
    let ms = heard.load(Relaxed);
    (ms > 0).then(|| Tick::from_millis(ms))
}

/// How often the socket refused a run that smaller ones, or another try, might do for.
#[derive(Debug, Default, Serialize)]
pub struct RefusalCounters {
    /// The kernel or the device cannot cut it.
    pub eio: Counter,
    /// The same, or the path is too narrow, or the address has left.
    pub einval: Counter,
    /// The path is too narrow, or the run too long.
    pub emsgsize: Counter,
    /// There was no memory for it; also counts single datagrams that were tried once more.
    pub enobufs: Counter,
}

/// All that one worker counts.
///
/// # Thread-safety
/// One worker writes, anybody reads. Readers may see one counter of a frame and not yet another.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames read from the TAP.
    pub from_tap: Traffic,
    /// Frames written to the TAP.
    pub to_tap: Traffic,
    /// Frames of peers that were passed on to other peers.
    pub relayed: Traffic,
    /// Super-frames that came from a peer whole.
    pub segmented: Counter,
    /// Packets from peers that were joined to super-frames.
    pub joined: Counter,
    /// Super-frames that the TAP refused, and got in pieces.
    pub tap_fallbacks: Counter,
    /// Probes from peers that were handed to control.
    pub punted: Counter,
    /// What control was told of addresses and sightings.
    pub told: Counter,
    /// What it was not told of them: too much at once.
    pub untold: Counter,
    /// Runs of datagrams that were sent in pieces, as the socket refuses, or was found to spoil, them.
    pub udp_fallbacks: Counter,
    /// How often the socket refused a run.
    pub udp_refusals: RefusalCounters,
    /// Packets from a peer whose checksum was left half done, and finished here.
    pub checksums: Counter,
    /// Packets to a peer that were sent in fragments.
    pub fragmented: Counter,
    /// ICMP errors sent to pods about packets that were too big.
    pub icmp_sent: Counter,
    /// ICMP errors not sent, because there were too many of them.
    pub icmp_limited: Counter,
    drops: [Counter; DropReason::ALL.len()],
    peers: Box<[CachePadded<PeerCounters>]>,
}

impl Counters {
    /// Counters for peers in slots below `peers`.
    pub fn new(peers: usize) -> Self {
        let peers = std::iter::repeat_with(CachePadded::default).take(peers).collect();
        Self { peers, ..Self::default() }
    }

    /// What several workers have counted together, as of now.
    pub fn total<'a>(all: impl IntoIterator<Item = &'a Self>, peers: usize) -> Self {
        let total = Self::new(peers);
        for one in all {
            total.from_tap.absorb(&one.from_tap);
            total.to_tap.absorb(&one.to_tap);
            total.relayed.absorb(&one.relayed);
            for (sum, count) in total.scalars().into_iter().zip(one.scalars()) {
                sum.add(count.load());
            }
            for (sum, count) in total.drops.iter().zip(&one.drops) {
                sum.add(count.load());
            }
            for (sum, peer) in total.peers.iter().zip(&one.peers) {
                sum.absorb(peer);
            }
        }
        total
    }

    /// Counts what the socket has refused.
    pub fn count_refusals(&self, refusals: Refusals) {
        let Refusals { runs, eio, einval, emsgsize, enobufs } = refusals;
        self.udp_fallbacks.add(runs);
        self.udp_refusals.eio.add(eio);
        self.udp_refusals.einval.add(einval);
        self.udp_refusals.emsgsize.add(emsgsize);
        self.udp_refusals.enobufs.add(enobufs);
    }

    fn scalars(&self) -> [&Counter; 15] {
        let Self { segmented, joined, tap_fallbacks, checksums, fragmented, .. } = self;
        let Self { icmp_sent, icmp_limited, udp_fallbacks, punted, told, untold, .. } = self;
        let RefusalCounters { eio, einval, emsgsize, enobufs } = &self.udp_refusals;
        [
            segmented,
            joined,
            tap_fallbacks,
            udp_fallbacks,
            checksums,
            fragmented,
            icmp_sent,
            icmp_limited,
            punted,
            told,
            untold,
            eio,
            einval,
            emsgsize,
            enobufs,
        ]
    }

    /// Counts a frame that went no further.
    pub fn count_drop(&self, reason: DropReason) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.add(1);
        }
    }

    /// Counts the frames that a super-frame stood for as dropped.
    pub fn count_drops(&self, reason: DropReason, frames: usize) {
        if let Some(counter) = self.drops.get(reason.index()) {
            counter.add(frames as u64);
        }
    }

    /// Frames dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops.get(reason.index()).map_or(0, Counter::load)
    }

    /// The counters of a peer; `None` for a slot they were not made for.
    pub fn peer(&self, id: PeerId) -> Option<&PeerCounters> {
        self.peers.get(id.slot()).map(|padded| &**padded)
    }

    /// The drops, to be serialized as one map from reason to count.
    pub fn drops(&self) -> impl Serialize {
        Drops(self)
    }
}

struct Drops<'a>(&'a Counters);

impl Serialize for Drops<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(DropReason::ALL.len()))?;
        for reason in DropReason::ALL {
            map.serialize_entry(reason.name(), &self.0.dropped(reason))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_serialized_under_their_names() {
        let counters = Counters::new(0);
        counters.count_drop(DropReason::Runt);
        counters.count_drop(DropReason::Runt);

        let json = serde_json::to_value(counters.drops()).unwrap();

        assert_eq!(json["runt"], 2);
        assert_eq!(json["unknown_vtep"], 0);
    }

    #[test]
    fn a_peer_is_heard_from_the_first_datagram_on() {
        let counters = Counters::new(1);
        let peer = counters.peer(PeerId::new(0)).unwrap();

        assert_eq!(peer.heard(), None);
        peer.hear(Via::Sleeve, Tick::from_millis(0));

        assert!(peer.heard().is_some() && peer.heard_via(Via::Sleeve).is_some());
        assert_eq!(peer.heard_via(Via::User), None);
        assert!(counters.peer(PeerId::new(1)).is_none());
    }
}
