//! From what is known to what the frame path is told.
//!
//! [`fold`] is a function of its arguments: the same topology and config always give the same plan, so that a
//! recorded incident replays to the plans of that day.
//!
//! A peer that is up is reached directly unless either end says that this does not work; then through the first peer of
//! the mesh's data route, and if there is none, on UDP 6783, as a last resort. A peer that is *silent* keeps the path that it had: its daemon may only be restarting, and
//! its kernel still carries. What changed and why is said for each peer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::liveness::{Choice, Line};
use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::sleeve::Label;
use switch::{Mtu, Path, Peer, PeerId, Plan, Route, Vni, is_host};

use crate::Slots;

/// What the daemon was told, as far as plans depend on it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Config {
    /// The overlay's identifier.
    pub vni: Vni,
    /// Whether the underlay is IPv6: peers are reached at addresses of one family.
    pub ipv6: bool,
    /// What a path carries of which nothing is known yet.
    pub mtu: Mtu,
    /// Whether the kernel is to carry what it can.
    pub fast: bool,
}

/// Whether a peer is there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Standing {
    /// It is reached over the mesh.
    Up,
    /// It is not; nothing moves until it is gone.
    Silent,
}

/// What is known of a peer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fact {
    /// Whether it is there.
    pub standing: Standing,
    /// Where its mesh is: UDP 6783 is there, too, and VXLAN one port above. The first that can be used is; from the
    /// others it may send.
    pub addresses: Vec<SocketAddr>,
    /// What stands for it on UDP 6783.
    pub label: Option<Label>,
    /// The peers through which frames go to it: empty when they go directly, `None` when there is no way.
    pub route: Option<Vec<PeerName>>,
    /// Whether frames may go to it directly.
    pub allowed: bool,
    /// The line on which it answers, as far as we know.
    pub choice: Choice,
    /// The largest inner IP packet that the direct path to it carries, once measured.
    pub mtu: Option<Mtu>,
    /// The kernel's vxlan device would lose packets that are too big for the path, and that pods may send.
    pub narrow: bool,
    /// What all paths of that peer carry, as it says.
    pub least: Option<Mtu>,
}

/// Everybody who is up or silent, but for ourselves.
pub type Topology = BTreeMap<PeerName, Fact>;

/// Why a peer is reached as it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Reason {
    /// Nothing speaks against the direct path.
    Direct,
    /// The kernel is to carry frames here, and cannot.
    NoDevice,
    /// What the kernel sends is not answered; what the process sends is.
    FastUnanswered,
    /// The path is narrow, and the kernel would lose what the process fragments.
    Narrow,
    /// It answers on UDP 6783, and not on 6784.
    VxlanUnanswered,
    /// It answers on no line.
    Unanswered,
    /// It answers nowhere, not over the mesh either: nothing is moved.
    Quiet,
    /// It says that the direct path does not work.
    NotReached,
    /// It is no neighbour, and there is no discovery.
    NotGiven,
    /// There is no way to it, not over four hops either: UDP 6783 is tried.
    NoRoute,
    /// It is silent, and keeps what it had.
    Kept,
    /// It tells no address of the underlay's family that can be sent to.
    NoAddress,
    /// The peer that frames would go through has no slot or is not reached itself.
    RelayLost,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "reached directly",
            Self::NoDevice => "the kernel has no vxlan device for it here",
            Self::FastUnanswered => "no answer to probes that the kernel sends",
            Self::Narrow => {
                "the path is narrow: the kernel would lose what is too big for it, the process cuts it"
            }
            Self::VxlanUnanswered => "no answer to probes on UDP 6784",
            Self::Unanswered => "no answer to probes on the direct path",
            Self::Quiet => "nothing is heard from it: the path it had is kept",
            Self::NotReached => "the peer says that the direct path does not work",
            Self::NotGiven => "no neighbour: without discovery frames go directly to those only",
            Self::NoRoute => "no peer reaches both ends",
            Self::Kept => "silent: the path it had is kept",
            Self::NoAddress => "it tells no address that can be sent to",
            Self::RelayLost => "the peer that frames would go through is lost",
        })
    }
}

/// A plan, and how it came to be.
#[derive(Clone, Debug)]
pub struct Folded {
    /// For the frame path.
    pub plan: Plan,
    /// How each peer is to be reached, and why.
    pub paths: BTreeMap<PeerName, Chosen>,
    /// Peers whose relay is lost at the moment: for these the plan has no way.
    pub stranded: BTreeSet<PeerName>,
}

/// How a peer is reached.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Own {
    /// Our name.
    pub name: PeerName,
    /// Our label.
    pub label: Label,
    /// Whether there is a kernel device to send with.
    pub fast: bool,
}

/// All that a plan depends on, but for how things were before.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Who we are.
    pub own: Own,
    /// The others.
    pub topology: &'a Topology,
    /// Which peer has which number.
    pub slots: &'a Slots,
    /// What the operator wants.
    pub config: &'a Config,
}

/// The plan that follows. `before` is what the last one said: peers that are silent keep it. Peers without a slot
/// are left out: `slots` has given out all there are.
pub fn fold(known: &Known<'_>, before: &BTreeMap<PeerName, Chosen>) -> Folded {
    let Known { own, topology, slots, config } = *known;
    let mut paths = BTreeMap::new();
    let mut builder = Plan::builder(config.vni).label(own.label);
    for (&name, fact) in topology.iter().filter(|(name, _)| **name != own.name) {
        let Some(id) = slots.get(name) else { continue };
        let kept = before.get(&name).filter(|kept| kept.id == id);
        let chosen = match (fact.standing, kept) {
            (Standing::Silent, Some(kept)) => keep(kept, own.fast),
            (Standing::Silent, None) | (Standing::Up, _) => choose(id, fact, known),
        };
        paths.insert(name, chosen);
        let others = usable(fact, config).map(|addr| addr.ip());
        builder = others.fold(builder, |plan, addr| plan.alias(id, addr));
    }
    let stranded = stranded(&paths);
    for (name, Chosen { id, peer, mut route, .. }) in paths.iter().map(|(name, it)| (name, *it)) {
        if stranded.contains(name) {
            route.path = Path::Down;
        }
        builder = builder.peer(id, peer, route);
    }
    Folded { plan: builder.build(), stranded, paths }
}

/// The path that a silent peer had; without a device the process carries.
fn keep(kept: &Chosen, fast: bool) -> Chosen {
    let mut kept = Chosen { reason: Reason::Kept, ..*kept };
    if kept.route.path == Path::Fast && !fast {
        (kept.route.path, kept.reason) = (Path::User, Reason::NoDevice);
    }
    kept
}

fn choose(id: PeerId, fact: &Fact, known: &Known<'_>) -> Chosen {
    let Known { config, slots, topology, .. } = *known;
    let addr = usable(fact, config).next();
    let sleeve = addr;
    let vxlan = addr.and_then(|at| Some(SocketAddr::new(at.ip(), at.port().checked_add(1)?)));
    let why = match (fact.allowed, fact.choice.line) {
        (false, _) => Reason::NotGiven,
        (true, Some(_)) => Reason::NotReached,
        (true, None) => Reason::Unanswered,
    };
    let (path, reason) = match (vxlan, fact.route.as_deref()) {
        (None, _) => (Path::Down, Reason::NoAddress),
        // What neither end can tell to work may work all the same.
        (Some(_), None) if fact.allowed && fact.standing == Standing::Up => {
            (Path::Sleeve, Reason::NoRoute)
        }
        (Some(_), None) => (Path::Down, Reason::NoRoute),
        // The mesh has not been told yet.
        (Some(_), Some([])) if !fact.allowed => (Path::Down, why),
        (Some(_), Some([])) => direct(fact, known),
        (Some(_), Some([relay, ..])) => match slots.get(*relay) {
            Some(relay) => (Path::Relay(relay), why),
            None => (Path::Down, Reason::RelayLost),
        },
    };
    let hops = fact.route.iter().flatten().filter_map(|hop| topology.get(hop));
    let relayed = hops.clone().map(|hop| hop.mtu.unwrap_or(config.mtu)).take(1);
    let least = hops.chain([fact]).filter_map(|hop| hop.least);
    let straight = fact.mtu.filter(|_| !matches!(path, Path::Relay(_)));
    let mtu = match path {
        Path::Relay(_) => relayed.chain(least).min(),
        Path::Fast | Path::User | Path::Sleeve | Path::Down => straight,
    };
    // Nothing is ever sent to the unspecified address: the path is down.
    let nowhere = || SocketAddr::from(([0, 0, 0, 0], 0));
    let addr = vxlan.unwrap_or_else(nowhere);
    let peer = Peer { addr, mtu: mtu.unwrap_or(config.mtu) };
    Chosen { id, peer, route: Route { path, label: fact.label, sleeve }, reason }
}

/// The path for a line, and why not a better one.
fn direct(fact: &Fact, known: &Known<'_>) -> (Path, Reason) {
    let choice = fact.choice;
    let without_fast = match (known.config.fast, known.own.fast) {
        (true, true) => Reason::FastUnanswered,
        (true, false) => Reason::NoDevice,
        (false, _) => Reason::Direct,
    };
    let (path, reason) = match choice.line {
        Some(Line::Fast) if fact.narrow => (Path::User, Reason::Narrow),
        Some(Line::Fast) => (Path::Fast, Reason::Direct),
        Some(Line::User) => (Path::User, without_fast),
        Some(Line::Sleeve | Line::Mesh) => (Path::Sleeve, Reason::VxlanUnanswered),
        // The mesh has not been told yet.
        None => (Path::Sleeve, Reason::Unanswered),
    };
    (path, if choice.quiet { Reason::Quiet } else { reason })
}

/// Where a peer can be sent to, the best first.
fn usable<'a>(fact: &'a Fact, config: &'a Config) -> impl Iterator<Item = SocketAddr> + 'a {
    let family = |addr: IpAddr| addr.is_ipv6() == config.ipv6;
    let fits = move |addr: &SocketAddr| is_host(addr.ip()) && family(addr.ip()) && addr.port() > 0;
    fact.addresses.iter().copied().filter(fits)
}

/// Frames go through a peer only if it is reached itself, without another one.
fn stranded(paths: &BTreeMap<PeerName, Chosen>) -> BTreeSet<PeerName> {
    let direct: BTreeSet<PeerId> =
        paths.values().filter(|it| it.route.path.is_direct()).map(|it| it.id).collect();
    let lost = |path: Path| matches!(path, Path::Relay(relay) if !direct.contains(&relay));
    paths.iter().filter(|(_, it)| lost(it.route.path)).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests;
