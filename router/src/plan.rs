//! From what is known to what the frame path is told.
//!
//! [`fold`] is a function of its arguments: the same topology, stations and config always give the same plan, so that a
//! recorded incident replays to the plans of that day.
//!
//! A peer that is up is reached directly unless either end says that this does not work; then through the first peer of
//! the mesh's data route. A peer that is *silent* keeps the path that it had: its daemon may only be restarting, and
//! its kernel still carries. What changed and why is said for each peer.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use peer_mesh::PeerName;
use switch::sleeve::Label;
use switch::{Mac, Mtu, Path, Peer, PeerId, Plan, Port, Route, Vni};

use crate::Slots;
use crate::station::Stations;

/// What the daemon was told, as far as plans depend on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Config {
    /// The overlay's identifier.
    pub vni: Vni,
    /// The UDP port of VXLAN.
    pub vxlan_port: u16,
    /// The UDP port of the sleeve: the mesh's own port.
    pub sleeve_port: u16,
    /// What a path carries of which nothing is known yet.
    pub mtu: Mtu,
}

/// Whether a peer is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is reached over the mesh.
    Up,
    /// It is not; nothing moves until it is gone.
    Silent,
}

/// What is known of a peer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fact {
    /// Whether it is there.
    pub standing: Standing,
    /// Where it can be sent to; the first one is used.
    pub addresses: Vec<IpAddr>,
    /// What stands for it on UDP 6783.
    pub label: Option<Label>,
    /// The peers through which frames go to it: empty when they go directly, `None` when there is no way.
    pub route: Option<Vec<PeerName>>,
    /// The largest inner IP packet the path carries, once measured.
    pub mtu: Option<Mtu>,
}

/// Everybody who is up or silent, but for ourselves.
pub type Topology = BTreeMap<PeerName, Fact>;

/// Why a peer is reached as it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Reason {
    /// Nothing speaks against the direct path.
    Direct,
    /// One of the two ends says that the direct path does not work.
    NotReached,
    /// There is no way to it, not over four hops either.
    NoRoute,
    /// It is silent, and keeps what it had.
    Kept,
    /// It says no address that can be sent to.
    NoAddress,
    /// The peer that frames would go through has no slot or is not reached itself.
    RelayLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "reached directly",
            Self::NotReached => "not reached directly: through another peer",
            Self::NoRoute => "no peer reaches both ends",
            Self::Kept => "silent: the path it had is kept",
            Self::NoAddress => "it tells no address",
            Self::RelayLost => "the peer that frames would go through is lost",
        })
    }
}

/// A plan, and what follows for the tables.
#[derive(Clone, Debug)]
pub struct Folded {
    /// For the frame path.
    pub plan: Plan,
    /// Each announced station of others, and behind whom it is.
    pub placements: BTreeMap<Mac, Port>,
    /// How each peer is reached, and why.
    pub paths: BTreeMap<PeerName, Chosen>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Chosen {
    /// Its slot.
    pub id: PeerId,
    /// Address and path MTU.
    pub peer: Peer,
    /// The path.
    pub route: Route,
    /// Why this one.
    pub reason: Reason,
}

/// Who we are, on the data path.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Own {
    /// Our name.
    pub name: PeerName,
    /// Our label.
    pub label: Label,
}

/// All that a plan depends on, but for how things were before.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Who we are.
    pub own: Own,
    /// The others.
    pub topology: &'a Topology,
    /// Who is behind whom.
    pub stations: &'a Stations,
    /// Which peer has which number.
    pub slots: &'a Slots,
    /// What the operator wants.
    pub config: &'a Config,
}

/// The plan that follows. `before` is what the last one said: peers that are silent keep it. Peers without a slot
/// are left out: `slots` has given out all there are.
pub fn fold(known: &Known<'_>, before: &BTreeMap<PeerName, Chosen>) -> Folded {
    let Known { own, topology, stations, slots, config } = *known;
    let mut paths = BTreeMap::new();
    for (&name, fact) in topology.iter().filter(|(name, _)| **name != own.name) {
        let Some(id) = slots.get(name) else { continue };
        let kept = before.get(&name).filter(|kept| kept.id == id);
        let chosen = match (fact.standing, kept) {
            (Standing::Silent, Some(kept)) => Chosen { reason: Reason::Kept, ..*kept },
            (Standing::Silent, None) | (Standing::Up, _) => choose(id, fact, slots, config),
        };
        paths.insert(name, chosen);
    }
    drop_lost_relays(&mut paths);
    let builder = Plan::builder(config.vni).label(own.label);
    let plan = paths.values().fold(builder, |plan, it| plan.peer(it.id, it.peer, it.route)).build();
    let placed = stations.placed().filter(|(_, owner)| *owner != own.name);
    let placements = placed.filter_map(|(mac, owner)| {
        let chosen = paths.get(&owner)?;
        Some((mac, Port::Peer(chosen.id)))
    });
    Folded { plan, placements: placements.collect(), paths }
}

fn choose(id: PeerId, fact: &Fact, slots: &Slots, config: &Config) -> Chosen {
    let ip = fact.addresses.first().copied();
    let (path, reason) = match (&fact.route, ip) {
        (_, None) => (Path::Down, Reason::NoAddress),
        (None, _) => (Path::Down, Reason::NoRoute),
        (Some(hops), Some(_)) => match hops.first() {
            None => (Path::User, Reason::Direct),
            Some(relay) => match slots.get(*relay) {
                Some(relay) => (Path::Relay(relay), Reason::NotReached),
                None => (Path::Down, Reason::RelayLost),
            },
        },
    };
    // Nothing is ever sent to the unspecified address: the path is down.
    let ip = ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let sleeve = Some(SocketAddr::new(ip, config.sleeve_port)).filter(|_| !ip.is_unspecified());
    let peer =
        Peer { addr: SocketAddr::new(ip, config.vxlan_port), mtu: fact.mtu.unwrap_or(config.mtu) };
    Chosen { id, peer, route: Route { path, label: fact.label, sleeve }, reason }
}

/// Frames go through a peer only if it is reached itself, without another one.
fn drop_lost_relays(paths: &mut BTreeMap<PeerName, Chosen>) {
    let direct: std::collections::BTreeSet<PeerId> = paths
        .values()
        .filter(|it| matches!(it.route.path, Path::User | Path::Sleeve))
        .map(|it| it.id)
        .collect();
    for chosen in paths.values_mut() {
        if let Path::Relay(relay) = chosen.route.path
            && !direct.contains(&relay)
        {
            chosen.route.path = Path::Down;
            chosen.reason = Reason::RelayLost;
        }
    }
}

#[cfg(test)]
mod tests;
