//! Where stations are, for who looks.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use switch::{Mac, PeerId};

use super::{Node, Placement};

/// Where a station is, as far as the node knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Whereabouts {
    /// The station.
    pub mac: Mac,
    /// Behind whom; ourselves, if it is here.
    pub peer: PeerName,
    /// What it is called by.
    pub addresses: Box<[IpAddr]>,
    /// Since when it is there, if that is known.
    pub since: Option<Duration>,
    /// Its node has announced it; else only frames have told of it.
    pub announced: bool,
}

impl Node {
    /// Where each station is, by MAC address, of the first so many; and how many there are.
    pub fn whereabouts(&self, limit: usize) -> (Vec<Whereabouts>, usize) {
        let mut placed = self.stations.placed();
        let mut since = Since { node: self, placements: self.told.placements.iter().peekable() };
        let mut rows = Vec::with_capacity(limit.min(self.stations.len()));
        rows.extend(placed.by_ref().take(limit).map(|(mac, peer, addresses)| Whereabouts {
            mac,
            peer,
            addresses: addresses.iter().copied().collect(),
            since: since.next(mac, peer),
            announced: true,
        }));
        let total = rows.len() + placed.count();
        (rows, total)
    }

    /// How many stations are behind each peer, by its slot.
    pub fn behind(&self) -> BTreeMap<PeerId, u64> {
        let mut counts = BTreeMap::new();
        for placement in self.told.placements.values() {
            *counts.entry(placement.id).or_default() += 1;
        }
        counts
    }
}

/// Since when stations are where they are, asked for in their order: no need to search for each.
struct Since<'a> {
    node: &'a Node,
    placements: Peekable<btree_map::Iter<'a, Mac, Placement>>,
}

impl Since<'_> {
    fn next(&mut self, mac: Mac, peer: PeerName) -> Option<Duration> {
        if peer == self.node.own {
            return self.node.local.since(mac);
        }
        while self.placements.next_if(|(before, _)| **before < mac).is_some() {}
        let placed = self.placements.next_if(|(at, _)| **at == mac)?;
        Some(placed.1.since)
    }
}

#[cfg(test)]
mod tests;
