//! Stations: which MAC address is behind which peer, as their owners announce it.
//!
//! Each peer writes only its own announcements: a MAC address, the addresses behind it, and a sequence number. A pod
//! that moves is announced by its new owner under a higher number than anybody has used for it (as in RFC 7432,
//! section 15: MAC mobility), so all agree where it is whatever order they hear it in; of equal numbers the lower name
//! wins. An announcement that was taken back stays for a while as one that says so, under its number, or an older copy
//! of it would bring the station back.
//!
//! Where two clusters that leased addresses separately have met, both may have pods of the same addresses. Then each peer
//! believes those of its own ring of addresses first, so that in either half all goes on.
//!
//! Merging is commutative, associative and idempotent. Only stations of owners that are *present* are anywhere: what is
//! heard of others waits for a minute, as gossip of a peer's stations may be faster than that of the peer.
//!
//! Limits: [`MAX_STATIONS`] of an owner and as many taken back ones; [`MAX_ABSENT`] owners that are not present.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::Mac;

mod wire;

pub use wire::{BadStations, MAX_MESSAGE, emit, parse};

/// Addresses of one station: more are not announced.
pub const MAX_ADDRESSES: usize = 16;
/// Stations of one owner; a peer that announces more is not believed the rest.
pub const MAX_STATIONS: usize = 16_384;
/// Owners whose stations are kept although they are not present.
pub const MAX_ABSENT: usize = 64;
/// How long what was taken back is remembered: far longer than anything is under way.
const TAKEN_BACK: Duration = Duration::from_secs(600);
/// How long stations of an owner that is not present are kept.
const ABSENT: Duration = Duration::from_secs(60);

/// What an owner says of one MAC address.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Announcement {
    /// Which of several is the latest.
    pub sequence: u64,
    /// It is no longer there. Of one number this wins.
    pub withdrawn: bool,
    /// Addresses behind it, in order.
    pub addresses: BTreeSet<IpAddr>,
    /// What a later version says besides: kept and passed on as it is.
    pub more: More,
}

/// What of an announcement is of a later version.
#[derive(Clone, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct More {
    /// Flags that are not ours.
    pub flags: u8,
    /// Octets after the addresses.
    pub octets: Vec<u8>,
}

impl Announcement {
    fn new(sequence: u64, addresses: BTreeSet<IpAddr>) -> Self {
        Self { sequence, withdrawn: false, addresses, more: More::default() }
    }
}

/// An announcement and who made it about what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Item {
    /// Who announces.
    pub owner: PeerName,
    /// The station.
    pub mac: Mac,
    /// What is said of it.
    pub said: Announcement,
}

/// What came of an announcement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Merged {
    /// It is news: others may want to hear it.
    New,
    /// The same or a later one was known.
    Known,
    /// Its owner has announced as many stations as are kept.
    Full,
}

/// All that was announced.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Stations {
    owners: BTreeMap<PeerName, Owner>,
    /// Who announces a station at present, each with its number.
    by_mac: BTreeMap<Mac, BTreeMap<PeerName, u64>>,
    /// The ring of addresses that this peer began in.
    home: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Owner {
    present: bool,
    /// Since when it is, or is not.
    since: Duration,
    /// The ring of addresses that it began in.
    ring: Option<u64>,
    said: BTreeMap<Mac, Announcement>,
    /// When those that are taken back were.
    taken_back: BTreeMap<Mac, Duration>,
    /// Of all stations that are not taken back.
    digest: u64,
}

impl Stations {
    /// Whether an owner is there: only then its stations are.
    pub fn set_present(&mut self, owner: PeerName, present: bool, now: Duration) {
        let entry = self.owners.entry(owner).or_insert_with(|| Owner::absent(now));
        if entry.present != present {
            (entry.present, entry.since) = (present, now);
        }
    }

    /// In which ring of addresses an owner began.
    pub fn set_ring(&mut self, owner: PeerName, ring: Option<u64>, now: Duration) {
        self.owners.entry(owner).or_insert_with(|| Owner::absent(now)).ring = ring;
    }

    /// In which one we did: of several who announce the same, those of that are believed first.
    pub fn set_home(&mut self, ring: Option<u64>) {
        self.home = ring;
    }

    /// Whether an owner began in the same ring as we.
    pub fn is_of_home(&self, owner: PeerName) -> bool {
        self.home.is_some() && self.owners.get(&owner).is_some_and(|it| it.ring == self.home)
    }

    /// Announces a station of ours, unless that is already known as it is. What to tell the others.
    pub fn announce(
        &mut self,
        own: PeerName,
        mac: Mac,
        addresses: impl IntoIterator<Item = IpAddr>,
        now: Duration,
    ) -> Option<Item> {
        let addresses: BTreeSet<_> = addresses.into_iter().take(MAX_ADDRESSES).collect();
        let present = self.get(own, mac).filter(|said| !said.withdrawn);
        if present.is_some_and(|said| said.addresses == addresses) && self.owner(mac) == Some(own) {
            return None;
        }
        let said = Announcement::new(self.next_sequence(mac)?, addresses);
        let item = Item { owner: own, mac, said };
        (self.merge(item.clone(), now) == Merged::New).then_some(item)
    }

    /// Takes back a station of ours, if it was announced. What to tell the others.
    pub fn withdraw(&mut self, own: PeerName, mac: Mac, now: Duration) -> Option<Item> {
        let said = self.get(own, mac).filter(|said| !said.withdrawn)?;
        let said = Announcement { withdrawn: true, ..Announcement::new(said.sequence, [].into()) };
        let item = Item { owner: own, mac, said };
        (self.merge(item.clone(), now) == Merged::New).then_some(item)
    }

    /// Takes in what an owner says.
    pub fn merge(&mut self, item: Item, now: Duration) -> Merged {
        let absent = self.owners.values().filter(|it| !it.present).count();
        if !self.owners.contains_key(&item.owner) && absent >= MAX_ABSENT {
            return Merged::Full;
        }
        let owner = self.owners.entry(item.owner).or_insert_with(|| Owner::absent(now));
        let Item { owner: name, mac, said } = &item;
        let (known, withdrawn) = (owner.said.get(mac), said.withdrawn);
        if known.is_some_and(|known| known >= said) {
            return Merged::Known;
        }
        let was_there = known.is_some_and(|known| !known.withdrawn);
        let (taken_back, all) = (owner.taken_back.len(), owner.said.len());
        if !withdrawn && !was_there && all - taken_back >= MAX_STATIONS {
            return Merged::Full;
        }
        if let Some(known) = known.filter(|_| was_there) {
            let before = Item { owner: *name, mac: *mac, said: known.clone() };
            owner.digest ^= wire::hash(&before);
        }
        let claims = self.by_mac.entry(*mac).or_default();
        if withdrawn {
            owner.take_back(*mac, now);
            claims.remove(name);
        } else {
            owner.taken_back.remove(mac);
            owner.digest ^= wire::hash(&item);
            claims.insert(*name, said.sequence);
        }
        if claims.is_empty() {
            self.by_mac.remove(mac);
        }
        owner.said.insert(item.mac, item.said);
        Merged::New
    }

    /// The owner is gone: what it announced goes with it.
    pub fn forget(&mut self, owner: PeerName) {
        for mac in self.owners.remove(&owner).into_iter().flat_map(|it| it.said.into_keys()) {
            if let Some(claims) = self.by_mac.get_mut(&mac) {
                claims.remove(&owner);
                if claims.is_empty() {
                    self.by_mac.remove(&mac);
                }
            }
        }
    }

    /// Forgets what was taken back long ago, and owners that have long not been present.
    pub fn age(&mut self, now: Duration) {
        let absent = |owner: &Owner| !owner.present && now >= owner.since + ABSENT;
        let gone = self.owners.iter().filter(|(_, owner)| absent(owner)).map(|(name, _)| *name);
        for name in gone.collect::<Vec<_>>() {
            self.forget(name);
        }
        for Owner { said, taken_back, .. } in self.owners.values_mut() {
            for (mac, _) in taken_back.extract_if(.., |_, since| now >= *since + TAKEN_BACK) {
                said.remove(&mac);
            }
        }
    }

    /// Behind whom a station is.
    pub fn owner(&self, mac: Mac) -> Option<PeerName> {
        self.believed(self.by_mac.get(&mac)?).map(|(name, _)| name)
    }

    /// Of those who announce a station the one who is believed.
    fn believed(&self, claims: &BTreeMap<PeerName, u64>) -> Option<(PeerName, &Owner)> {
        let claims = claims.iter().filter_map(|(name, sequence)| {
            let owner = self.owners.get(name).filter(|it| it.present)?;
            let of_home = self.home.is_some() && owner.ring == self.home;
            Some(((of_home, *sequence, Reverse(*name)), owner))
        });
        claims.max_by_key(|(rank, _)| *rank).map(|((.., Reverse(name)), owner)| (name, owner))
    }

    /// What an owner says of a station.
    pub fn get(&self, owner: PeerName, mac: Mac) -> Option<&Announcement> {
        self.owners.get(&owner)?.said.get(&mac)
    }

    /// Every station that is somewhere, behind whom, and with which addresses.
    pub fn placed(&self) -> impl Iterator<Item = (Mac, PeerName, &BTreeSet<IpAddr>)> {
        self.by_mac.iter().filter_map(|(mac, claims)| {
            let (name, owner) = self.believed(claims)?;
            Some((*mac, name, &owner.said.get(mac)?.addresses))
        })
    }

    /// The stations that an owner announces.
    pub fn of(&self, owner: PeerName) -> impl Iterator<Item = Mac> {
        let all = self.owners.get(&owner).into_iter().flat_map(|it| &it.said);
        all.filter(|(_, said)| !said.withdrawn).map(|(mac, _)| *mac)
    }

    /// Everything that owners who are present have said, by owner and station.
    pub fn iter(&self) -> impl Iterator<Item = Item> {
        let present = self.owners.iter().filter(|(_, owner)| owner.present);
        present.flat_map(|(owner, it)| {
            it.said.iter().map(|(mac, said)| Item { owner: *owner, mac: *mac, said: said.clone() })
        })
    }

    /// How many stations are somewhere.
    pub fn len(&self) -> usize {
        self.by_mac.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_mac.is_empty()
    }

    /// A hash of all stations that are there: equal at peers that know the same, whatever order they heard it in.
    pub fn digest(&self) -> u64 {
        self.owners.values().filter(|it| it.present).fold(0, |digest, it| digest ^ it.digest)
    }

    /// One more than anybody has used for this station. `None` when there is none.
    fn next_sequence(&self, mac: Mac) -> Option<u64> {
        let said = self.owners.values().filter_map(|it| it.said.get(&mac));
        let highest = said.map(|said| said.sequence).max().unwrap_or(0);
        highest.checked_add(1).filter(|next| *next <= wire::MAX_SEQUENCE)
    }
}

impl Owner {
    const fn absent(now: Duration) -> Self {
        Self {
            present: false,
            since: now,
            ring: None,
            said: BTreeMap::new(),
            taken_back: BTreeMap::new(),
            digest: 0,
        }
    }

    /// Remembers that a station was taken back: of too many, not the oldest.
    fn take_back(&mut self, mac: Mac, now: Duration) {
        if self.taken_back.len() >= MAX_STATIONS
            && let Some((&oldest, _)) = self.taken_back.iter().min_by_key(|(_, since)| **since)
        {
            self.taken_back.remove(&oldest);
            self.said.remove(&oldest);
        }
        self.taken_back.insert(mac, now);
    }
}

#[cfg(test)]
mod tests;
