//! Which entries are to be there, which are, and what that makes to do: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::Mac;

/// How a remote station is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Its node has announced it: no frame moves it.
    Announced,
    /// A frame from a peer has told: a frame from a local port moves it.
    Learned,
}

/// Which of the bridge's ports leads to a remote station.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Uplink {
    /// The TAP: the process carries its frames.
    #[default]
    Tap,
    /// The vxlan device: the kernel does. Where there is none this is the TAP.
    Fast,
}

/// A remote station.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Station {
    /// How it is known.
    pub kind: Kind,
    /// Where the bridge sends its frames.
    pub uplink: Uplink,
}

/// What is to be there, or what is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entries {
    /// The stations behind the uplinks.
    pub stations: BTreeMap<Mac, Station>,
    /// Where the vxlan device sends frames for a MAC: to which node's underlay address.
    pub remotes: BTreeMap<Mac, IpAddr>,
    /// The nodes to whose underlay addresses the vxlan device floods.
    pub floods: BTreeSet<IpAddr>,
    /// Whose the addresses are that the bridge answers for.
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

/// One change to the kernel's tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edit {
    /// The vxlan device floods to a node no more.
    Unflood(IpAddr),
    /// A station is behind that uplink no more.
    Forget(Mac, Uplink),
    /// An address is known no more.
    Unname(IpAddr),
    /// The vxlan device sends a MAC's frames to that node.
    Point(Mac, IpAddr),
    /// A station is behind an uplink.
    Place(Mac, Station),
    /// The vxlan device knows a MAC no more.
    Unpoint(Mac),
    /// The vxlan device floods to a node.
    Flood(IpAddr),
    /// An address is that station's.
    Name(IpAddr, Mac),
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unflood(node) => write!(f, "flood to {node} no more"),
            Self::Forget(mac, _) => write!(f, "forget station {mac}"),
            Self::Unname(addr) => write!(f, "forget neighbour {addr}"),
            Self::Point(mac, node) => write!(f, "send {mac} to {node}"),
            Self::Place(mac, Station { kind: Kind::Announced, .. }) => {
                write!(f, "place announced station {mac}")
            }
            Self::Place(mac, Station { kind: Kind::Learned, .. }) => {
                write!(f, "place learned station {mac}")
            }
            Self::Unpoint(mac) => write!(f, "send {mac} nowhere"),
            Self::Flood(node) => write!(f, "flood to {node}"),
            Self::Name(addr, mac) => write!(f, "name {addr} as station {mac}'s"),
        }
    }
}

/// What is installed, and which of it this run has asked for.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) installed: Entries,
    claims: Claims,
}

/// Whom the installed entries belong to.
#[derive(Debug)]
enum Claims {
    /// To this run those that it has asked for, or disowned; the others to an earlier one.
    Some {
        stations: BTreeSet<Mac>,
        remotes: BTreeSet<Mac>,
        floods: BTreeSet<IpAddr>,
        addrs: BTreeSet<IpAddr>,
    },
    /// To this run.
    All,
}

impl Default for Claims {
    fn default() -> Self {
        let (stations, remotes) = (BTreeSet::new(), BTreeSet::new());
        Self::Some { stations, remotes, floods: BTreeSet::new(), addrs: BTreeSet::new() }
    }
}

impl Claims {
    fn station(&self, mac: Mac) -> bool {
        match self {
            Self::Some { stations, .. } => stations.contains(&mac),
            Self::All => true,
        }
    }

    /// Who says where a station is says by what way it is reached.
    fn remote(&self, mac: Mac) -> bool {
        match self {
            Self::Some { remotes, .. } => remotes.contains(&mac) || self.station(mac),
            Self::All => true,
        }
    }

    fn addr(&self, addr: IpAddr) -> bool {
        match self {
            Self::Some { addrs, .. } => addrs.contains(&addr),
            Self::All => true,
        }
    }

    fn flood(&self, node: IpAddr) -> bool {
        match self {
            Self::Some { floods, .. } => floods.contains(&node),
            Self::All => true,
        }
    }
}

impl Ledger {
    /// What makes the installed into the desired.
    ///
    /// Removals come first: a station that has become local is sticky on an uplink's port until then,
    /// and what is flooded by the process from now on must not be flooded by the kernel as well.
    /// Where the vxlan device sends a MAC's frames is set before the bridge gives it any, and removed
    /// when it gets none any more: frames for a MAC that it does not know it floods. Names come last:
    /// an answer is given only once the station it names can be reached. An address that changes its
    /// station is renamed, and a station that changes its uplink is moved, in place, and so never
    /// unknown in between. A station of another kind is removed right before it is placed: the kernel
    /// does not make one kind into the other.
    pub(super) fn edits(&self, desired: &Entries) -> Vec<Edit> {
        let Self { installed, claims } = self;
        let gone = installed.floods.difference(&desired.floods);
        let mut edits: Vec<Edit> =
            gone.filter(|node| claims.flood(**node)).map(|node| Edit::Unflood(*node)).collect();
        let gone = installed.stations.iter().filter(|(mac, _)| !desired.stations.contains_key(mac));
        let gone = gone.filter(|(mac, _)| claims.station(**mac));
        edits.extend(gone.map(|(mac, it)| Edit::Forget(*mac, it.uplink)));
        let gone = installed.neighbours.keys().filter(|it| !desired.neighbours.contains_key(it));
        edits.extend(gone.filter(|addr| claims.addr(**addr)).map(|addr| Edit::Unname(*addr)));
        let new = desired.remotes.iter();
        let new = new.filter(|(mac, node)| installed.remotes.get(mac) != Some(node));
        edits.extend(new.map(|(mac, node)| Edit::Point(*mac, *node)));
        edits.extend(self.placed(desired));
        let gone = installed.remotes.keys().filter(|mac| !desired.remotes.contains_key(mac));
        edits.extend(gone.filter(|mac| claims.remote(**mac)).map(|mac| Edit::Unpoint(*mac)));
        let new = desired.floods.difference(&installed.floods);
        edits.extend(new.map(|node| Edit::Flood(*node)));
        let new = desired.neighbours.iter();
        let new = new.filter(|(addr, mac)| installed.neighbours.get(addr) != Some(mac));
        edits.extend(new.map(|(addr, mac)| Edit::Name(*addr, *mac)));
        edits
    }

    fn placed(&self, desired: &Entries) -> impl Iterator<Item = Edit> {
        desired.stations.iter().flat_map(|(mac, it)| {
            let was = self.installed.stations.get(mac);
            let forget = was.filter(|was| was.kind != it.kind);
            let place = (was != Some(it)).then_some(Edit::Place(*mac, *it));
            forget.map(|was| Edit::Forget(*mac, was.uplink)).into_iter().chain(place)
        })
    }

    /// Takes note that an edit was done.
    pub(super) fn note(&mut self, edit: Edit) {
        let Entries { stations, remotes, floods, neighbours } = &mut self.installed;
        match edit {
            Edit::Unflood(node) => drop(floods.remove(&node)),
            Edit::Forget(mac, _) => drop(stations.remove(&mac)),
            Edit::Unname(addr) => drop(neighbours.remove(&addr)),
            Edit::Point(mac, node) => drop(remotes.insert(mac, node)),
            Edit::Place(mac, station) => drop(stations.insert(mac, station)),
            Edit::Unpoint(mac) => drop(remotes.remove(&mac)),
            Edit::Flood(node) => drop(floods.insert(node)),
            Edit::Name(addr, mac) => drop(neighbours.insert(addr, mac)),
        }
    }

    /// What is asked for is this run's from now on.
    pub(super) fn claim(&mut self, desired: &Entries) {
        if let Claims::Some { stations, remotes, floods, addrs } = &mut self.claims {
            stations.extend(desired.stations.keys());
            remotes.extend(desired.remotes.keys());
            floods.extend(&desired.floods);
            addrs.extend(desired.neighbours.keys());
        }
    }

    /// All that is installed is this run's from now on.
    pub(super) fn settle(&mut self) {
        self.claims = Claims::All;
    }

    /// These are this run's to remove, though it has never asked for them.
    pub(super) fn release(&mut self, station: Option<Mac>, addr: Option<IpAddr>) {
        if let Claims::Some { stations, addrs, .. } = &mut self.claims {
            stations.extend(station);
            addrs.extend(addr);
        }
    }

    /// This node is this run's to flood to no more, though it has never asked for that.
    pub(super) fn release_flood(&mut self, node: IpAddr) {
        if let Claims::Some { floods, .. } = &mut self.claims {
            floods.insert(node);
        }
    }
}

#[cfg(test)]
mod tests;
