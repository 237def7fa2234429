//! Stations: which MAC address is behind which peer, as their owners announce it.
//!
//! Each peer writes only its own announcements: a MAC address, the addresses behind it, and a sequence number. A pod
//! that moves is announced by its new owner under a higher number than anybody has used for it (as in RFC 7432,
//! section 15: MAC mobility), so all agree where it is whatever order they hear it in; of equal numbers the lower name
//! wins. An announcement that was taken back stays as one that says so, under its number, or an older copy of it
//! would bring the station back.
//!
//! Merging is commutative, associative and idempotent. What is gone with its owner is forgotten with it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use peer_mesh::PeerName;
use switch::Mac;

mod wire;

pub use wire::{BadStations, MAX_MESSAGE, emit, parse};

/// Addresses of one station: more are not announced.
pub const MAX_ADDRESSES: usize = 16;
/// Stations of one owner, taken back ones among them; a peer that announces more is not believed the rest.
pub const MAX_STATIONS: usize = 16_384;

/// What an owner says of one MAC address.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Announcement {
    /// Which of several is the latest.
    pub sequence: u64,
    /// It is no longer there. Of one number this wins.
    pub withdrawn: bool,
    /// Addresses behind it, in order.
    pub addresses: BTreeSet<IpAddr>,
}

/// An announcement and who made it about what.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Item {
    /// Who announces.
    pub owner: PeerName,
    /// The station.
    pub mac: Mac,
    /// What is said of it.
    pub said: Announcement,
}

/// All that was announced.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stations {
    by_owner: BTreeMap<PeerName, BTreeMap<Mac, Announcement>>,
    /// Who announces a station at present, each with its number.
    by_mac: BTreeMap<Mac, BTreeMap<PeerName, u64>>,
}

impl Stations {
    /// Announces a station of ours, unless that is already known as it is. What to tell the others.
    pub fn announce(
        &mut self,
        own: PeerName,
        mac: Mac,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Option<Item> {
        let addresses: BTreeSet<_> = addresses.into_iter().take(MAX_ADDRESSES).collect();
        let present = self.get(own, mac).filter(|said| !said.withdrawn);
        if present.is_some_and(|said| said.addresses == addresses) && self.owner(mac) == Some(own) {
            return None;
        }
        let said = Announcement { sequence: self.next_sequence(mac)?, withdrawn: false, addresses };
        let item = Item { owner: own, mac, said };
        self.merge(item.clone()).then_some(item)
    }

    /// Takes back a station of ours, if it was announced. What to tell the others.
    pub fn withdraw(&mut self, own: PeerName, mac: Mac) -> Option<Item> {
        let said = self.get(own, mac).filter(|said| !said.withdrawn)?;
        let said = Announcement { withdrawn: true, addresses: BTreeSet::new(), ..said.clone() };
        let item = Item { owner: own, mac, said };
        self.merge(item.clone()).then_some(item)
    }

    /// Takes in what an owner says. Whether it was news.
    pub fn merge(&mut self, item: Item) -> bool {
        let Item { owner, mac, said } = item;
        let all = self.by_owner.entry(owner).or_default();
        if !all.contains_key(&mac) && all.len() >= MAX_STATIONS {
            return false;
        }
        if all.get(&mac).is_some_and(|known| *known >= said) {
            return false;
        }
        let claims = self.by_mac.entry(mac).or_default();
        if said.withdrawn {
            claims.remove(&owner);
        } else {
            claims.insert(owner, said.sequence);
        }
        if claims.is_empty() {
            self.by_mac.remove(&mac);
        }
        all.insert(mac, said);
        true
    }

    /// The owner is gone: what it announced goes with it. The stations that were behind it.
    pub fn forget(&mut self, owner: PeerName) -> Vec<Mac> {
        let all = self.by_owner.remove(&owner).unwrap_or_default();
        let mut lost = Vec::new();
        for mac in all.into_keys() {
            if self.owner(mac) == Some(owner) {
                lost.push(mac);
            }
            if let Some(claims) = self.by_mac.get_mut(&mac) {
                claims.remove(&owner);
                if claims.is_empty() {
                    self.by_mac.remove(&mac);
                }
            }
        }
        lost
    }

    /// Behind whom a station is.
    pub fn owner(&self, mac: Mac) -> Option<PeerName> {
        let claims = self.by_mac.get(&mac)?;
        claims
            .iter()
            .max_by_key(|(name, sequence)| (**sequence, Reverse(**name)))
            .map(|(name, _)| *name)
    }

    /// What an owner says of a station.
    pub fn get(&self, owner: PeerName, mac: Mac) -> Option<&Announcement> {
        self.by_owner.get(&owner)?.get(&mac)
    }

    /// Every station that is somewhere, and behind whom.
    pub fn placed(&self) -> impl Iterator<Item = (Mac, PeerName)> {
        self.by_mac.keys().filter_map(|mac| Some((*mac, self.owner(*mac)?)))
    }

    /// Everything, by owner and station.
    pub fn iter(&self) -> impl Iterator<Item = Item> {
        self.by_owner.iter().flat_map(|(owner, all)| {
            all.iter().map(|(mac, said)| Item { owner: *owner, mac: *mac, said: said.clone() })
        })
    }

    /// A hash of everything: equal at peers that know the same, whatever order they heard it in.
    pub fn digest(&self) -> u64 {
        self.iter().fold(0, |digest, item| digest ^ wire::hash(&item))
    }

    /// One more than anybody has used for this station. `None` when there is none.
    fn next_sequence(&self, mac: Mac) -> Option<u64> {
        let highest =
            self.by_owner.values().filter_map(|all| all.get(&mac)).map(|said| said.sequence);
        highest.max().unwrap_or(0).checked_add(1).filter(|next| *next <= wire::MAX_SEQUENCE)
    }
}

#[cfg(test)]
mod tests;
