//! What must be true at a quiet point: when no fault is active and time has passed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use peer_mesh::{PeerName, PeerState, PeerUid};

use super::host::{HostId, Power};
use super::traffic::Cost;
use super::world::World;

/// What is wrong, if anything.
pub type Verdict = Result<(), String>;

/// From more peers than this, routes are checked from some of them only.
const ALL_ROUTES: usize = 40;
/// How often the mesh is asked whether it agrees.
const LOOK: Duration = Duration::from_millis(100);
/// What a link may cost at rest, in octets a second each way: a sealed keepalive, and now and then a digest.
const REST: f64 = 64.0;

/// Neighbours of each peer, as the peers themselves have them.
type Graph = BTreeMap<PeerName, BTreeSet<PeerName>>;

impl World {
    /// The hosts whose cores can reach one another over links that packets pass both ways: what every
    /// core of a component must believe is up.
    pub fn components(&self) -> Vec<Vec<HostId>> {
        let mut left: Vec<_> = self.running().collect();
        if self.everybody_meets() {
            return if left.is_empty() { Vec::new() } else { vec![left] };
        }
        let mut components = Vec::new();
        while let Some(first) = left.pop() {
            let (mut component, mut next) = (vec![first], 0);
            while next < component.len() {
                let here = component[next];
                let (found, rest) = left.iter().partition(|other| self.can_link(here, **other));
                component.extend::<Vec<_>>(found);
                (left, next) = (rest, next + 1);
            }
            component.sort();
            components.push(component);
        }
        components
    }

    /// Whether all cores see what is true, and the same. Cheap: views are compared by their roots.
    pub fn agree(&self) -> Verdict {
        for component in self.components() {
            let root = component.first().and_then(|host| self.mesh(*host)).map(|mesh| mesh.root());
            for host in &component {
                let up = self.host(*host).up;
                if up + 1 != component.len() {
                    return Err(format!("#{} sees {up} of {} up", host.0, component.len() - 1));
                }
                if self.mesh(*host).map(|mesh| mesh.root()) != root {
                    return Err(format!(
                        "#{} and #{} have different roots",
                        host.0, component[0].0
                    ));
                }
            }
        }
        Ok(())
    }

    /// Lets time pass until all agree. How long it took.
    pub fn settle(&mut self, limit: Duration) -> Result<Duration, String> {
        let took = self.until(limit, LOOK, |world| world.agree().is_ok());
        took.ok_or_else(|| {
            let why = self.agree().err().unwrap_or_default();
            format!("no agreement within {limit:?}: {why}")
        })
    }

    /// Every oracle but that of traffic.
    pub fn check(&mut self) -> Verdict {
        self.agree()?;
        for component in self.components() {
            self.check_views(&component)?;
            self.check_links(&component)?;
            self.check_routes(&component)?;
        }
        Ok(())
    }

    /// Nobody says more than keepalives while nothing happens.
    pub fn check_rest(&mut self, time: Duration) -> Verdict {
        let before: Vec<_> = self.hosts().map(|host| self.sent(host)).collect();
        self.pass(time);
        for (host, before) in self.hosts().zip(before) {
            let Some(mesh) = self.mesh(host) else { continue };
            let rate = octets(self.sent(host).since(before).octets) / time.as_secs_f64();
            let links = mesh.links().count() + 2;
            if rate > octets(links as u64) * REST {
                return Err(format!("#{} sends {rate:.0} octets/s at rest, {links} links", host.0));
            }
        }
        Ok(())
    }

    /// The degree of everybody, for people.
    pub fn degrees(&self) -> (usize, Cost) {
        let degree = |host| self.mesh(host).map(|mesh| mesh.links().count());
        let degrees: Vec<_> = self.hosts().filter_map(degree).collect();
        let least = degrees.iter().copied().min().unwrap_or_default();
        (least, Cost::of(degrees.into_iter().map(|degree| octets(degree as u64))))
    }

    /// Every host that runs a core.
    pub fn running(&self) -> impl Iterator<Item = HostId> {
        let runs = |host: &HostId| self.power(*host) == Power::Runs && self.mesh(*host).is_some();
        self.hosts().filter(runs)
    }

    /// The host that runs the core of this name.
    pub fn host_of(&self, name: PeerName) -> Option<HostId> {
        self.running().find(|host| self.name(*host) == name)
    }

    /// How a host sees a peer, and since when, by its events; `None` is gone, or never heard of.
    pub fn view(&self, host: HostId, name: PeerName) -> Option<(PeerState, Duration)> {
        self.host(host).seen.get(&name).copied()
    }

    /// Whether every running core but `but` sees the peer so (`None`: not at all).
    pub fn all_see(&self, name: PeerName, state: Option<PeerState>) -> bool {
        let sees = |host| self.view(host, name).map(|(state, _)| state) == state;
        self.running().filter(|host| self.name(*host) != name).all(sees)
    }

    fn everybody_meets(&self) -> bool {
        let first = self.hosts.first().map(|host| &host.config.psk);
        let alike =
            |host: &super::host::Host| host.place.site == 0 && Some(&host.config.psk) == first;
        self.net.unblocked() && self.hosts.iter().all(alike)
    }

    /// Whether one of the two can dial the other, packets pass both ways, and the passwords are equal.
    fn can_link(&self, a: HostId, b: HostId) -> bool {
        let dials = |from: HostId, to: HostId| {
            let (from, place) = (self.host(from).place, self.host(to).place);
            self.net.resolve(from.site, (place.addr, peer_mesh::Config::PORT).into()) == Some(to)
        };
        let passes = self.net.passes(a, b) && self.net.passes(b, a);
        let alike = self.host(a).config.psk == self.host(b).config.psk;
        passes && alike && (dials(a, b) || dials(b, a))
    }

    /// Each core's view is the truth, and its events said the same.
    fn check_views(&self, component: &[HostId]) -> Verdict {
        let truth: BTreeMap<PeerName, PeerUid> = component
            .iter()
            .filter_map(|host| self.mesh(*host))
            .map(|m| (m.name(), m.uid()))
            .collect();
        if truth.len() != component.len() {
            return Err("two live peers have one name".into());
        }
        for host in component {
            let Some(mesh) = self.mesh(*host) else { continue };
            let mut expected = truth.clone();
            expected.remove(&mesh.name());
            let up = mesh.peers().filter(|peer| peer.state == PeerState::Up);
            let seen: BTreeMap<_, _> = up.map(|peer| (peer.name, peer.uid)).collect();
            if seen != expected {
                let wrong = seen.iter().find(|(name, uid)| expected.get(name) != Some(uid));
                let missing = expected.keys().find(|name| !seen.contains_key(name));
                return Err(format!("#{}: dead or old {wrong:?} up, or {missing:?} not", host.0));
            }
            let told = self.host(*host).seen.iter().map(|(name, (state, _))| (*name, *state));
            if !told.eq(mesh.peers().map(|peer| (peer.name, peer.state))) {
                return Err(format!("#{}: events told something else than peers()", host.0));
            }
        }
        Ok(())
    }

    fn check_links(&self, component: &[HostId]) -> Verdict {
        let graph = self.graph(component);
        let n = component.len();
        for host in component {
            let Some(mesh) = self.mesh(*host) else { continue };
            let links = &graph[&mesh.name()];
            let one_way =
                |name: &&PeerName| !graph.get(name).is_some_and(|n| n.contains(&mesh.name()));
            if let Some(name) = links.iter().find(one_way) {
                return Err(format!("#{} has a link to {name} that has none back", host.0));
            }
            let cap = self.host(*host).config.degree;
            let possible = if self.everybody_meets() {
                n - 1
            } else {
                component.iter().filter(|b| *b != host && self.can_link(*host, **b)).count()
            };
            let floor = self.floor.min(possible).min(cap);
            if links.len() > cap || links.len() < floor {
                let degree = links.len();
                return Err(format!(
                    "#{} has {degree} links, not {floor} to {cap}, of {n}",
                    host.0
                ));
            }
        }
        Ok(())
    }

    fn graph(&self, component: &[HostId]) -> Graph {
        let meshes = component.iter().filter_map(|host| self.mesh(*host));
        meshes.map(|mesh| (mesh.name(), mesh.links().map(|link| link.name).collect())).collect()
    }

    /// Hop by hop, each route is a shortest one on the links there are.
    fn check_routes(&mut self, component: &[HostId]) -> Verdict {
        let graph = self.graph(component);
        let step = component.len().div_ceil(ALL_ROUTES).max(1);
        for to in component.iter().step_by(step) {
            let name = self.name(*to);
            let distance = distances(&graph, name);
            for from in component.iter().filter(|from| *from != to) {
                let here = self.name(*from);
                let hop = self.ask_hop(*from, name);
                let Some((via, hops)) = hop else {
                    return Err(format!("#{} has no route to #{}", from.0, to.0));
                };
                let closer = distance.get(&via).is_some_and(|d| d + 1 == distance[&here]);
                let linked = graph[&here].contains(&via);
                if !linked || !closer || usize::from(hops) != distance[&here] {
                    let real = distance[&here];
                    return Err(format!(
                        "#{} routes to #{} via {via} (linked: {linked}) in {hops}, really {real}",
                        from.0, to.0
                    ));
                }
            }
        }
        Ok(())
    }

    fn ask_hop(&mut self, from: HostId, to: PeerName) -> Option<(PeerName, u16)> {
        let clock = self.clock(from);
        let mesh = self.host_mut(from).process.as_mut()?.mesh_mut()?;
        mesh.next_hop(to, clock).map(|hop| (hop.via, hop.hops))
    }
}

/// Breadth first, from one peer to all that are connected.
fn distances(graph: &Graph, from: PeerName) -> BTreeMap<PeerName, usize> {
    let (mut distance, mut next) = (BTreeMap::from([(from, 0)]), VecDeque::from([from]));
    while let Some(here) = next.pop_front() {
        for name in &graph[&here] {
            if graph.contains_key(name) && !distance.contains_key(name) {
                distance.insert(*name, distance[&here] + 1);
                next.push_back(*name);
            }
        }
    }
    distance
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn octets(count: u64) -> f64 {
    count as f64
}
