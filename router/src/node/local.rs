//! The stations of this node: who is plugged into its bridge, with which addresses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::Mac;

use super::settle::REMEMBERED_MAX;
use super::{GATHER, Node, Output, Told, Word};
use crate::station::{Announcement, Item, MAX_ADDRESSES, MAX_STATIONS, emit};

/// A station that moves this often within [`MOVE_WINDOW`] is left where it is (RFC 7432, section 15.1).
const MOVES_MAX: usize = 5;
const MOVE_WINDOW: Duration = Duration::from_secs(180);
/// Frames that a station sent before it moved may still be in a queue here for this long.
const IN_FLIGHT: Duration = Duration::from_millis(500);

/// That somebody claims to be a peer's bridge is said again after this time.
const SAID: Duration = Duration::from_secs(600);

/// A station of which no address is known after this time is taken to have none,
const NAMELESS: Duration = Duration::from_secs(600);
/// and one of which none of IPv4, or of IPv6, is known after this time is taken to have none of that.
const HALF_NAMED: Duration = Duration::from_secs(60);

/// What the bridge and the pods have told us.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Local {
    /// Whether the bridge has told us all it knows: what it does not know is not here.
    complete: bool,
    /// Who is here, and since when.
    macs: BTreeMap<Mac, Duration>,
    /// Addresses, also of stations that the bridge has not learned yet.
    addresses: BTreeMap<Mac, BTreeSet<IpAddr>>,
    /// When stations came here from elsewhere.
    moves: BTreeMap<Mac, VecDeque<Duration>>,
    /// Bridges of peers that somebody here has claimed to be, and when that was said.
    claimed: BTreeMap<Mac, Duration>,
}

impl Local {
    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> {
        self.macs.keys().copied()
    }

    pub(super) fn has(&self, mac: Mac) -> bool {
        self.macs.contains_key(&mac)
    }

    pub(super) fn since(&self, mac: Mac) -> Option<Duration> {
        self.macs.get(&mac).copied()
    }

    /// It is here no longer. Whether it was.
    pub(super) fn leave(&mut self, mac: Mac) -> bool {
        self.addresses.remove(&mac);
        self.macs.remove(&mac).is_some()
    }

    /// In the last run it had these addresses.
    pub(super) fn remember(&mut self, mac: Mac, addresses: &BTreeSet<IpAddr>) {
        self.addresses.entry(mac).or_default().extend(addresses);
    }

    pub(super) fn age(&mut self, now: Duration) {
        self.claimed.retain(|_, said| *said + SAID > now);
        self.moves.retain(|_, times| times.back().is_some_and(|last| *last + MOVE_WINDOW > now));
        // What was said for a station that the bridge has not learned in all this time was not true.
        let Self { addresses, macs, .. } = self;
        addresses.retain(|mac, _| macs.contains_key(mac));
    }

    /// Counts a move to here, unless there were too many.
    fn admit_move(&mut self, mac: Mac, now: Duration) -> bool {
        let times = self.moves.entry(mac).or_default();
        while times.front().is_some_and(|first| *first + MOVE_WINDOW <= now) {
            times.pop_front();
        }
        if times.len() >= MOVES_MAX {
            return false;
        }
        times.push_back(now);
        true
    }
}

impl Node {
    /// Whether there are stations here that may have addresses that are not known. The bridge itself is not looked at.
    pub fn has_nameless(&self, now: Duration) -> bool {
        let Local { macs, addresses, .. } = &self.local;
        let patience = |mac| {
            let known = |ipv6: bool| {
                addresses.get(mac).is_some_and(|all| all.iter().any(|addr| addr.is_ipv6() == ipv6))
            };
            match (known(false), known(true)) {
                (true, true) => Duration::ZERO,
                (false, false) => NAMELESS,
                (true, false) | (false, true) => HALF_NAMED,
            }
        };
        let mut pods = macs.iter().filter(|(mac, _)| mac.0 != self.own.octets());
        pods.any(|(mac, since)| now.saturating_sub(*since) < patience(mac))
    }

    /// Whether a station, here or elsewhere, is known to have this address.
    pub fn is_station(&self, addr: IpAddr) -> bool {
        let mut here = self.local.addresses.iter().filter(|(mac, _)| self.local.has(**mac));
        self.told.answers.contains_key(&addr) || here.any(|(_, all)| all.contains(&addr))
    }

    /// The node that is reached and has told of a station of this MAC address, or whose bridge has it, or one of these addresses.
    pub fn holder(&self, mac: Mac, addrs: &[IpAddr]) -> Option<PeerName> {
        let of_bridge = |mac: Mac| self.told.paths.keys().find(|name| name.octets() == mac.0);
        let asked = |addr: &IpAddr| of_bridge(self.told.answers.get(addr)?.0);
        let holder = of_bridge(mac).or_else(|| addrs.iter().find_map(asked)).copied();
        let holder = holder.or_else(|| self.stations.owner(mac))?;
        let path = self.told.paths.get(&holder)?;
        let relayed = !path.via.is_empty() && !path.stranded;
        (holder != self.own && (relayed || self.liveness.is_sure(holder))).then_some(holder)
    }

    pub(super) fn all_local(&mut self, macs: Vec<Mac>, now: Duration, outputs: &mut Vec<Output>) {
        let all: BTreeSet<Mac> = macs.into_iter().collect();
        let ours = self.stations.of(self.own).chain(self.local.macs());
        let lost: BTreeSet<_> = ours.filter(|mac| !all.contains(mac)).collect();
        self.local.complete = true;
        lost.into_iter().for_each(|mac| self.unlearned(mac, now));
        all.into_iter().for_each(|mac| self.learned(mac, now, outputs));
    }

    pub(super) fn learned(&mut self, mac: Mac, now: Duration, outputs: &mut Vec<Output>) {
        if !mac.is_station() || self.local.has(mac) {
            return;
        }
        let peer = PeerName::new(mac.0).filter(|name| self.peers.contains_key(name));
        if peer.is_some_and(|name| name != self.own) {
            self.counts.claimed += 1;
            self.local.claimed.entry(mac).or_insert_with(|| {
                outputs.push(Output::Say(Word::Claimed(mac)));
                now
            });
            return;
        }
        let elsewhere = self.stations.owner(mac).filter(|owner| *owner != self.own);
        if elsewhere.is_some() {
            if !self.local.admit_move(mac, now) {
                self.counts.frozen += 1;
                outputs.push(Output::Say(Word::Frozen(mac)));
                return;
            }
            self.counts.moved_here += 1;
        }
        if self.local.macs.len() >= MAX_STATIONS {
            self.counts.full += 1;
            outputs.push(Output::Say(Word::Full(self.own)));
            return;
        }
        if let Some(said) = elsewhere.and_then(|owner| self.stations.get(owner, mac)) {
            // It comes with its addresses, but for those that another has by now.
            let own = |addr: &&IpAddr| self.told.answers.get(addr).is_none_or(|it| it.0 == mac);
            self.local.addresses.entry(mac).or_default().extend(said.addresses.iter().filter(own));
        }
        self.local.macs.insert(mac, now);
        self.announce(mac, now);
    }

    pub(super) fn unlearned(&mut self, mac: Mac, now: Duration) {
        self.local.leave(mac);
        self.withdraw(mac, now);
    }

    pub(super) fn address(
        &mut self,
        mac: Mac,
        addr: IpAddr,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        let placed = self.told.placements.get(&mac);
        if placed.is_some_and(|it| now < it.since + IN_FLIGHT)
            || !switch::is_host(addr)
            || addr.is_loopback()
        {
            return;
        }
        if placed.is_some() {
            // It speaks on this side, so it is here.
            self.learned(mac, now, outputs);
        }
        let known = self.local.addresses.get(&mac);
        if known.is_some_and(|all| all.contains(&addr) || all.len() >= MAX_ADDRESSES)
            || known.is_none() && self.local.addresses.len() >= MAX_STATIONS
        {
            return;
        }
        // Nobody else here has it any more.
        let others = self.local.addresses.iter_mut();
        let others = others.filter_map(|(other, all)| all.remove(&addr).then_some(*other));
        let others: Vec<_> = others.collect();
        self.local.addresses.entry(mac).or_default().insert(addr);
        for changed in
            others.into_iter().chain([mac]).filter(|mac| self.local.has(*mac)).collect::<Vec<_>>()
        {
            self.announce(changed, now);
        }
    }

    /// The bridge hears what peers flood, too: that tells nothing of where the station is.
    pub(super) fn heard(
        &mut self,
        mac: Mac,
        addr: IpAddr,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) {
        if !self.told.placements.contains_key(&mac) {
            self.address(mac, addr, now, outputs);
        }
    }

    /// Where nobody is known to have the address the question goes to all, and one that is not known to have it may answer.
    pub(super) fn asked(&mut self, mac: Mac, addr: IpAddr, now: Duration) {
        let Told { placements, answers, asked, .. } = &mut self.told;
        // What peers flood is heard here, too: those who asked are told by their own node.
        let unanswered = !placements.contains_key(&mac) && !answers.contains_key(&addr);
        if unanswered && (asked.len() < REMEMBERED_MAX || asked.contains_key(&addr)) {
            asked.insert(addr, now);
        }
    }

    pub(super) fn sighting(&mut self, mac: Mac, now: Duration, outputs: &mut Vec<Output>) {
        let Some(placed) = self.told.placements.get(&mac) else { return };
        if now >= placed.since + IN_FLIGHT {
            self.learned(mac, now, outputs);
        }
    }

    /// Somebody remembers a station of ours, from an earlier life perhaps.
    pub(super) fn told_of_our_own(&mut self, mac: Mac, said: &Announcement, now: Duration) {
        if self.local.has(mac) {
            self.local.addresses.entry(mac).or_default().extend(&said.addresses);
            self.announce(mac, now);
        } else if self.local.complete {
            self.withdraw(mac, now);
        }
    }

    /// Another station has said later than ours that it has this address.
    pub(super) fn give_up(&mut self, mac: Mac, addr: IpAddr, now: Duration) {
        let all = self.local.addresses.get_mut(&mac);
        if all.is_some_and(|all| all.remove(&addr)) && self.local.has(mac) {
            self.announce(mac, now);
        }
    }

    /// Announces a station that is here, as it is.
    pub(super) fn announce(&mut self, mac: Mac, now: Duration) {
        let addresses = self.local.addresses.get(&mac).cloned().unwrap_or_default();
        if self.stations.announce(self.own, mac, addresses, now).is_some() {
            self.counts.announced += 1;
            self.wait(mac, now);
        }
    }

    pub(super) fn withdraw(&mut self, mac: Mac, now: Duration) {
        if self.stations.withdraw(self.own, mac, now).is_some() {
            self.counts.withdrawn += 1;
            self.wait(mac, now);
        }
    }

    fn wait(&mut self, mac: Mac, now: Duration) {
        self.stations_changed = true;
        self.waiting.push((self.own, mac));
        self.flush_at.get_or_insert(now + GATHER);
    }

    /// Tells the neighbours what has changed since the last time: of each station the latest.
    pub(super) fn announce_waiting(&mut self, outputs: &mut Vec<Output>) {
        self.flush_at = None;
        let waiting: BTreeSet<_> = std::mem::take(&mut self.waiting).into_iter().collect();
        let items = waiting.into_iter().filter_map(|(owner, mac)| {
            Some(Item { owner, mac, said: self.stations.get(owner, mac)?.clone() })
        });
        let messages = emit(items).into_iter();
        outputs.extend(messages.map(|message| Output::Broadcast { message, except: None }));
    }
}
