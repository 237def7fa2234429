//! What is kept from the last run, until the mesh has told it again.

use std::collections::BTreeSet;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::Path as Way;

use super::{Node, Path};
use crate::last::{Last, LastPeer};
use crate::liveness::Line;
use crate::plan::{Reason, Standing};

/// Peers of the last run of which the mesh has not told yet.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) names: BTreeSet<PeerName>,
    /// Who is still among them then goes.
    pub(super) until: Option<Duration>,
}

impl Node {
    /// What a next run may begin with.
    pub fn last(&self) -> Last {
        let peer = |(name, path): (&PeerName, &Path)| {
            let peer = self.peers.get(name)?.clone();
            Some((*name, LastPeer { peer, chosen: path.chosen, via: path.via.clone() }))
        };
        Last {
            own: self.own,
            vni: self.config.plan.vni,
            ipv6: self.config.plan.ipv6,
            label: self.label,
            peers: self.told.paths.iter().filter_map(peer).collect(),
            stations: self.stations.iter().filter(|item| !item.said.withdrawn).collect(),
        }
    }

    /// Whether the mesh has yet to tell of peers of the last run, or of any.
    pub fn is_waiting(&self) -> bool {
        !self.kept.names.is_empty() || self.peers.is_empty()
    }

    /// Begins where the last run has ended. Only the first input of a run does anything.
    pub(super) fn restore(&mut self, last: Last, hold: Duration, now: Duration) {
        let plan = self.config.plan;
        let ours = (last.own, last.vni, last.ipv6) == (self.own, plan.vni, plan.ipv6);
        if !ours || !self.peers.is_empty() {
            return;
        }
        self.label = last.label;
        // The kernel's device outlives the process. If it is not there, that is told soon.
        let is_fast = |it: &LastPeer| it.chosen.route.path == Way::Fast;
        self.fast |= plan.fast && last.peers.values().any(is_fast);
        let _nobody_is_tracked = self.liveness.set_fast(self.fast, now);
        for (name, LastPeer { mut peer, mut chosen, via }) in last.peers {
            if name == self.own || !self.slots.restore(name, chosen.id) {
                continue;
            }
            peer.standing = Standing::Silent;
            chosen.reason = Reason::Kept;
            if chosen.route.path == Way::Fast && !plan.fast {
                chosen.route.path = Way::User;
            }
            let path = Path { chosen, via, since: now, stranded: false, switches: 0 };
            self.told.paths.insert(name, path);
            self.stations.set_present(name, true, now);
            self.stations.set_ring(name, peer.ring, now);
            self.peers.insert(name, peer);
            self.kept.names.insert(name);
        }
        self.stations.set_present(self.own, true, now);
        for item in last.stations {
            if item.owner == self.own {
                self.local.remember(item.mac, &item.said.addresses);
            } else if !self.kept.names.contains(&item.owner) {
                continue;
            }
            self.stations.merge(item, now);
        }
        self.kept.until = Some(now + hold);
        (self.topology_changed, self.stations_changed) = (true, true);
    }

    /// The mesh tells of a peer that it has not told of before: if it was kept, its lines are what its path says.
    pub(super) fn resume(&mut self, name: PeerName, now: Duration) {
        let Some(path) = self.told.paths.get(&name) else { return };
        let line = match path.chosen.route.path {
            Way::Fast => Some(Line::Fast),
            Way::User => Some(Line::User),
            Way::Sleeve => Some(Line::Sleeve),
            Way::Relay(_) | Way::Down => None,
        };
        self.liveness.resume(name, line, now);
    }

    /// What nobody has confirmed by now goes.
    pub(super) fn let_go(&mut self, now: Duration) {
        if self.kept.until.is_none_or(|until| now < until) {
            return;
        }
        self.kept.until = None;
        let unconfirmed: Vec<_> = self.kept.names.iter().copied().collect();
        unconfirmed.into_iter().for_each(|name| self.peer_gone(name));
        let own = self.stations.of(self.own).filter(|mac| !self.local.has(*mac));
        own.collect::<Vec<_>>().into_iter().for_each(|mac| self.withdraw(mac, now));
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use switch::{Mac, Mtu, PeerId, Vni};

    use super::*;
    use crate::choose_label;
    use crate::node::{Config, Input, Output, Peer};
    use crate::plan;

    const HOLD: Duration = Duration::from_secs(120);

    fn name(n: u64) -> PeerName {
        PeerName::local(n)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn node() -> Node {
        let mtu = Mtu::new(1450).unwrap();
        let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu, fast: true };
        Node::new(name(0), Config { plan, discovery: true })
    }

    fn peer(n: u8) -> Peer {
        Peer {
            uid: 1,
            standing: Standing::Up,
            addresses: vec![SocketAddr::from(([10, 99, 0, n], 6783))],
            label: Some(choose_label(name(n.into()), None, [])),
            least: None,
            route: Some(vec![]),
            neighbour: true,
            ring: None,
        }
    }

    fn up(n: u8) -> Input {
        Input::Peer(name(n.into()), peer(n))
    }

    /// What a node of a cluster of four leaves, with a station of peer 2 and one of its own.
    fn last() -> Last {
        let mut far = node();
        far.renamed(name(2), at(0));
        far.step(at(0), [Input::Local(vec![Mac::local(1_002)])]);
        let told = far.step(at(1), []);
        let message = told.into_iter().find_map(|output| {
            if let Output::Broadcast { message, .. } = output { Some(message) } else { None }
        });
        let mut node = node();
        let gone = Input::PeerGone(name(1));
        node.step(at(0), [Input::Fast(true), Input::Local(vec![Mac::local(1_000)]), up(1), up(2)]);
        let stations = Input::Stations { via: name(2), message: message.unwrap() };
        node.step(at(1), [stations, gone]);
        node.step(at(2), [up(3), up(4)]);
        Last::parse(&node.last().emit()).unwrap()
    }

    fn restored() -> (Node, Vec<Output>) {
        let mut node = node();
        let outputs = node.step(at(0), [Input::Restored(Box::new(last()), HOLD)]);
        (node, outputs)
    }

    fn ways(node: &Node) -> Vec<(PeerName, PeerId, Way)> {
        node.paths().map(|(name, it)| (name, it.chosen.id, it.chosen.route.path)).collect()
    }

    #[test]
    fn a_start_goes_by_the_slots_paths_and_stations_of_the_last_run() {
        let last = last();
        let (node, outputs) = restored();

        let slot = last.peers[&name(2)].chosen.id;
        assert_eq!(slot, PeerId::new(1));
        let plan = outputs.iter().find_map(|output| {
            if let Output::Install(plan) = output { Some(plan.clone()) } else { None }
        });
        let peer = *plan.unwrap().peer(slot).unwrap();
        assert_eq!(peer.addr, SocketAddr::from(([10, 99, 0, 2], 6784)));
        let placed = |output: &Output| matches!(output, Output::Place(mac, id) if (*mac, *id) == (Mac::local(1_002), slot));
        assert!(outputs.iter().any(placed), "{outputs:?}");
        let before = last.peers.iter().map(|(name, it)| (*name, it.chosen.id, Way::Fast));
        assert_eq!(before.clone().map(|it| it.0).collect::<Vec<_>>(), [2, 3, 4].map(name));
        assert!(node.is_waiting() && node.paths().all(|(_, it)| it.chosen.reason == Reason::Kept));
        assert_eq!(ways(&node), before.collect::<Vec<_>>());
        // Nothing to tell an operator, and what is written next is the same but for the standing.
        assert!(!outputs.iter().any(|output| matches!(output, Output::Say(_))), "{outputs:?}");
        assert_eq!(node.last().stations, last.stations);
    }

    #[test]
    fn what_the_mesh_confirms_stays_and_the_rest_goes_after_the_hold_time() {
        let (mut node, _) = restored();
        let restarted = Peer { uid: 2, ..peer(2) };
        node.step(at(5), [up(3), Input::Peer(name(2), restarted)]);
        assert!(node.is_waiting());

        node.step(HOLD - at(1), []);
        assert_eq!(ways(&node).len(), 3);
        assert!(node.poll_timeout() <= HOLD);
        let outputs = node.step(HOLD, []);

        assert_eq!(ways(&node).iter().map(|it| it.0).collect::<Vec<_>>(), [2, 3].map(name));
        assert!(outputs.iter().any(|output| matches!(output, Output::Flush(_))), "{outputs:?}");
        assert!(!node.is_waiting());
        assert_eq!(node.stations().owner(Mac::local(1_002)), Some(name(2)));
        // Our own that the bridge does not have are not ours.
        assert_eq!(node.stations().owner(Mac::local(1_000)), None);
    }

    #[test]
    fn the_path_that_worked_is_used_when_the_peer_is_up_and_better_ones_prove_themselves_first() {
        for (way, line) in
            [(Way::Fast, Line::Fast), (Way::User, Line::User), (Way::Sleeve, Line::Sleeve)]
        {
            let (mut node, mut last) = (node(), last());
            last.peers.values_mut().for_each(|it| it.chosen.route.path = way);
            node.step(at(0), [Input::Restored(Box::new(last), HOLD), Input::Fast(true)]);

            node.step(at(1), [up(2), up(3), up(4)]);

            assert!(ways(&node).iter().all(|it| it.2 == way), "{:?}", ways(&node));
            assert_eq!(node.liveness().choice(name(2)).line, Some(line));
        }
    }

    #[test]
    fn without_the_device_the_process_carries_what_the_kernel_did() {
        let (mut node, mut last) = (node(), last());
        last.peers.values_mut().for_each(|it| it.chosen.route.path = Way::Fast);

        node.step(at(0), [Input::Restored(Box::new(last), HOLD)]);
        assert!(ways(&node).iter().all(|it| it.2 == Way::Fast));
        node.step(at(0), [Input::Fast(false)]);

        assert!(ways(&node).iter().all(|it| it.2 == Way::User), "{:?}", ways(&node));
    }

    #[test]
    fn the_plan_of_another_node_is_not_taken() {
        let mut node = node();
        let last = Last { own: name(9), ..last() };

        node.step(at(0), [Input::Restored(Box::new(last), HOLD)]);

        assert_eq!(node.paths().count() + node.stations().len(), 0);
    }
}
