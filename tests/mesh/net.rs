use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::conn::NOBODY;
use super::host::HostId;
use super::weather::Weather;
use crate::rng::Rng;

/// Who can send packets to whom, and where an address leads.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) weather: Weather,
    /// Directed: packets from the first to the second are dropped.
    blocked: BTreeSet<(HostId, HostId)>,
    /// Hosts of different sides do not reach each other.
    sides: BTreeMap<HostId, u8>,
    /// Hosts without power.
    dark: BTreeSet<HostId>,
    /// Address, within a private network or (0) outside of all.
    addresses: BTreeMap<(u32, Ipv4Addr), HostId>,
}

/// Which private network a host is in, and as what it is seen outside. Site 0 is outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) site: u32,
    pub(super) addr: Ipv4Addr,
    pub(super) seen_as: Ipv4Addr,
}

impl Net {
    pub(super) fn new(weather: Weather) -> Self {
        let (blocked, sides) = (BTreeSet::new(), BTreeMap::new());
        Self { weather, blocked, sides, dark: BTreeSet::new(), addresses: BTreeMap::new() }
    }

    pub(super) fn plug(&mut self, host: HostId, place: Place) {
        self.addresses.insert((place.site, place.addr), host);
    }

    /// The host that a host in `site` reaches at `addr`: one of its own network, or one outside.
    /// Behind somebody else's NAT there is nobody.
    pub(super) fn resolve(&self, site: u32, addr: SocketAddr) -> Option<HostId> {
        let SocketAddr::V4(addr) = addr else { return None };
        let found = |site| self.addresses.get(&(site, *addr.ip())).copied();
        found(site).or_else(|| found(0))
    }

    /// Whether packets get from one host to the other. To itself a host gets them always.
    pub(super) fn passes(&self, from: HostId, to: HostId) -> bool {
        if from == NOBODY || to == NOBODY {
            return false;
        }
        if self.calm() || from == to {
            return true;
        }
        let side = |host| self.sides.get(&host).copied().unwrap_or_default();
        let dark = self.dark.contains(&from) || self.dark.contains(&to);
        !dark && side(from) == side(to) && !self.blocked.contains(&(from, to))
    }

    /// Whether nothing is blocked for anybody.
    pub(super) fn calm(&self) -> bool {
        self.blocked.is_empty() && self.sides.is_empty() && self.dark.is_empty()
    }

    /// Whether nothing is blocked for anybody that has power.
    pub(super) fn unblocked(&self) -> bool {
        self.blocked.is_empty() && self.sides.is_empty()
    }

    pub(super) fn delay(&self, from: HostId, to: HostId, rng: &mut Rng) -> Duration {
        if from == to {
            return Duration::from_micros(20);
        }
        let (low, high) = (from.min(to), from.max(to));
        let pair = Rng::new((u64::from(low.0) << 32) | u64::from(high.0)).bits();
        self.weather.delay(pair, rng)
    }

    pub(super) fn block(&mut self, from: HostId, to: HostId) {
        self.blocked.insert((from, to));
    }

    pub(super) fn unblock(&mut self, from: HostId, to: HostId) {
        self.blocked.remove(&(from, to));
    }

    pub(super) fn set_side(&mut self, host: HostId, side: u8) {
        if side == 0 {
            self.sides.remove(&host);
        } else {
            self.sides.insert(host, side);
        }
    }

    pub(super) fn set_dark(&mut self, host: HostId, dark: bool) {
        if dark {
            self.dark.insert(host);
        } else {
            self.dark.remove(&host);
        }
    }

    /// Takes all blocks and sides away. Power stays as it is.
    pub(super) fn heal(&mut self) {
        self.blocked.clear();
        self.sides.clear();
    }
}
