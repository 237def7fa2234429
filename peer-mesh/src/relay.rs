//! Through whom frames go to a peer that cannot be reached directly.
//!
//! The data graph is nearly complete: any two peers that are up reach each other, except those of which one says
//! that it does not reach the other. So a relay is found among almost everybody. As peers say so only after a while,
//! those with links in the mesh to the ends come first: a lost link is known at once. Among these a rendezvous hash
//! over the pair spreads them, so that one node blocked from many makes no hot spot, and both ends choose alike.

use std::collections::{BTreeMap, BTreeSet};

use crate::PeerName;
use crate::dice::mix;

/// Hops a frame takes at most.
pub(crate) const MAX_HOPS: usize = 4;

/// Who is up, and which data paths between them do not work.
#[derive(Debug, Default)]
pub(crate) struct DataGraph {
    peers: BTreeMap<PeerName, Says>,
}

/// What one peer says of its data paths.
#[derive(Debug, Default)]
pub(crate) struct Says {
    /// Whom it does not reach.
    pub(crate) unreached: BTreeSet<PeerName>,
    /// Whether there are more than it lists: then only its neighbours in the mesh, which it reaches somehow, are tried.
    pub(crate) isolated: bool,
    /// Its neighbours.
    pub(crate) neighbours: BTreeSet<PeerName>,
}

impl DataGraph {
    pub(crate) fn new(peers: BTreeMap<PeerName, Says>) -> Self {
        Self { peers }
    }

    /// Whether frames pass between the two without a third.
    pub(crate) fn direct(&self, a: PeerName, b: PeerName) -> bool {
        let (Some(says_a), Some(says_b)) = (self.peers.get(&a), self.peers.get(&b)) else {
            return false;
        };
        says_a.reaches(b) && says_b.reaches(a)
    }

    /// The peers through which frames go from `from` to `to`, without the two: empty if they go directly, `None` if there is no way.
    pub(crate) fn route(&self, from: PeerName, to: PeerName) -> Option<Vec<PeerName>> {
        if self.direct(from, to) {
            return Some(Vec::new());
        }
        match self.relay(from, to, self.peers.keys().copied()) {
            Some(relay) => Some(vec![relay]),
            None => self.hop_by_hop(from).remove(&to),
        }
    }

    /// The routes from a peer to all others that it reaches somehow, each as [`Self::route`] has it.
    pub(crate) fn routes(&self, from: PeerName) -> BTreeMap<PeerName, Vec<PeerName>> {
        let others = || self.peers.keys().copied().filter(|&peer| peer != from);
        let near: Vec<_> = others().filter(|&peer| self.direct(from, peer)).collect();
        let mut far = None;
        let mut routes = BTreeMap::new();
        for to in others() {
            let route = if near.binary_search(&to).is_ok() {
                Some(Vec::new())
            } else if let Some(relay) = self.relay(from, to, near.iter().copied()) {
                Some(vec![relay])
            } else {
                far.get_or_insert_with(|| self.hop_by_hop(from)).remove(&to)
            };
            routes.extend(route.map(|route| (to, route)));
        }
        routes
    }

    /// Of these peers the one between the two that both ends choose.
    fn relay(
        &self,
        from: PeerName,
        to: PeerName,
        among: impl Iterator<Item = PeerName>,
    ) -> Option<PeerName> {
        let between = |&relay: &PeerName| {
            relay != from && relay != to && self.direct(from, relay) && self.direct(relay, to)
        };
        let weight =
            |relay: &PeerName| mix(relay.to_u64() ^ mix(from.to_u64().wrapping_add(to.to_u64())));
        let links = |relay: &PeerName| {
            let says = self.peers.get(relay);
            says.map_or(0, |it| [from, to].iter().filter(|end| it.neighbours.contains(end)).count())
        };
        among.filter(between).max_by_key(|relay| (links(relay), weight(relay)))
    }

    /// The shortest ways over any number of relays, the lowest names first.
    fn hop_by_hop(&self, from: PeerName) -> BTreeMap<PeerName, Vec<PeerName>> {
        let mut came_from = BTreeMap::from([(from, from)]);
        let mut left: BTreeSet<_> =
            self.peers.keys().copied().filter(|&peer| peer != from).collect();
        let mut edge = vec![from];
        for _ in 0..MAX_HOPS {
            let mut next = Vec::new();
            for &at in &edge {
                for peer in left.extract_if(.., |&peer| self.direct(at, peer)) {
                    came_from.entry(peer).or_insert(at);
                    next.push(peer);
                }
            }
            edge = next;
        }
        came_from.keys().map(|&to| (to, path(&came_from, from, to))).collect()
    }
}

impl Says {
    fn reaches(&self, other: PeerName) -> bool {
        !self.unreached.contains(&other) && (!self.isolated || self.neighbours.contains(&other))
    }
}

fn path(came_from: &BTreeMap<PeerName, PeerName>, from: PeerName, to: PeerName) -> Vec<PeerName> {
    let mut path = Vec::new();
    let mut at = to;
    while let Some(&previous) = came_from.get(&at)
        && previous != from
    {
        path.push(previous);
        at = previous;
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u64) -> PeerName {
        PeerName::local(n)
    }

    /// A graph of `count` peers in which the pairs do not reach each other.
    fn graph(count: u64, blocked: &[(u64, u64)]) -> DataGraph {
        let mut peers: BTreeMap<_, Says> =
            (1..=count).map(|n| (name(n), Says::default())).collect();
        for &(a, b) in blocked {
            peers.get_mut(&name(a)).unwrap().unreached.insert(name(b));
        }
        DataGraph::new(peers)
    }

    #[test]
    fn one_side_saying_so_is_enough_to_need_a_relay() {
        let graph = graph(3, &[(1, 2)]);

        assert_eq!(graph.route(name(1), name(2)), Some(vec![name(3)]));
        assert_eq!(graph.route(name(2), name(1)), Some(vec![name(3)]));
        assert_eq!(graph.route(name(1), name(3)), Some(vec![]));
    }

    #[test]
    fn all_routes_at_once_are_those_one_by_one() {
        let chain: Vec<_> = (1..=9).flat_map(|a| (a + 2..=9).map(move |b| (a, b))).collect();
        for seed in 0..200 {
            let mut graph = graph(9, if seed == 0 { &chain } else { &[] });
            for (a, b) in (1..=9).flat_map(|a| (1..=9).map(move |b| (a, b))) {
                let says = graph.peers.get_mut(&name(a)).unwrap();
                match mix(seed ^ mix(a * 100 + b)) % 3 {
                    0 if seed > 0 => drop(says.unreached.insert(name(b))),
                    1 => drop(says.neighbours.insert(name(b))),
                    _ => {}
                }
                says.isolated = seed > 0 && mix(seed + a).is_multiple_of(4);
            }

            let routes = graph.routes(name(1));

            for to in 2..=9 {
                let alone = graph.route(name(1), name(to));
                assert_eq!(routes.get(&name(to)).cloned(), alone, "{seed}: {to}");
            }
        }
    }

    #[test]
    fn the_relays_of_a_peer_blocked_from_many_are_many() {
        let blocked: Vec<_> = (2..=51).map(|n| (1, n)).collect();
        let graph = graph(100, &blocked);

        let relays: BTreeSet<_> =
            (2..=51).filter_map(|n| graph.route(name(1), name(n))).flatten().collect();

        assert!(relays.len() > 15, "{}", relays.len());
    }

    #[test]
    fn a_peer_with_links_to_both_ends_is_the_relay_before_one_that_has_not_said_yet_that_it_reaches_neither()
     {
        let mut graph = graph(9, &[(1, 2)]);
        assert_ne!(graph.route(name(1), name(2)), Some(vec![name(7)]), "by chance");
        for (a, b) in [(1, 7), (2, 7), (1, 3), (2, 4)] {
            graph.peers.get_mut(&name(a)).unwrap().neighbours.insert(name(b));
            graph.peers.get_mut(&name(b)).unwrap().neighbours.insert(name(a));
        }

        assert_eq!(graph.route(name(1), name(2)), Some(vec![name(7)]));
        assert_eq!(graph.route(name(2), name(1)), Some(vec![name(7)]));
    }

    #[test]
    fn without_a_common_relay_the_way_goes_hop_by_hop_up_to_four() {
        let chain = |count: u64| {
            let pairs = (1..=count).flat_map(|a| (a + 2..=count).map(move |b| (a, b)));
            graph(count, &pairs.collect::<Vec<_>>())
        };

        assert_eq!(chain(5).route(name(1), name(5)), Some(vec![name(2), name(3), name(4)]));
        assert_eq!(chain(6).route(name(1), name(6)), None);
    }

    #[test]
    fn an_isolated_peer_is_reached_through_its_neighbours_only() {
        let mut peers: BTreeMap<_, Says> = (1..=5).map(|n| (name(n), Says::default())).collect();
        peers.insert(
            name(1),
            Says { isolated: true, neighbours: BTreeSet::from([name(4)]), ..Says::default() },
        );
        let graph = DataGraph::new(peers);

        assert_eq!(graph.route(name(1), name(2)), Some(vec![name(4)]));
        assert!(!graph.direct(name(2), name(1)));
    }
}
