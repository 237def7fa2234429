use std::net::SocketAddr;

use switch::{Mtu, Path as Way, Vni};

use super::*;
use crate::liveness::{Line, Packet};
use crate::plan::Standing;

mod addresses;
mod alone;
mod anything;
mod claims;
mod halves;
mod nameless;
mod size;

fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

fn mac(n: u64) -> Mac {
    Mac::local(1_000 + n)
}

fn ip(n: u8) -> IpAddr {
    IpAddr::from([10, 32, 0, n])
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn config() -> Config {
    let mtu = Mtu::new(1450).unwrap();
    let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu, fast: false };
    Config { plan, discovery: true }
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

/// Nodes that all reach each other, and what they tell each other.
struct World {
    now: Duration,
    nodes: Vec<Node>,
    /// What each was told to do, but for messages and probes.
    done: Vec<Vec<Output>>,
    /// Pairs between which no probe passes but over the mesh.
    cut: BTreeSet<(usize, usize)>,
    /// Larger packets get lost.
    fits: u16,
    queued: Vec<(usize, Input)>,
}

impl World {
    fn new(count: u8) -> Self {
        Self::of(count, config())
    }

    fn of(count: u8, config: Config) -> Self {
        let nodes = (0..count).map(|n| Node::new(name(n.into()), config)).collect();
        let done = (0..count).map(|_| Vec::new()).collect();
        let (cut, queued) = (BTreeSet::new(), Vec::new());
        let mut world = Self { now: ms(0), nodes, done, cut, fits: u16::MAX, queued };
        for n in 0..count {
            world.nodes[usize::from(n)].step(ms(0), [Input::Local(Vec::new())]);
            (0..count).filter(|far| *far != n).for_each(|far| world.meet(n, far));
        }
        world.run(100);
        world
    }

    fn meet(&mut self, n: u8, far: u8) {
        self.queued.push((n.into(), Input::Peer(name(far.into()), peer(far))));
    }

    fn put(&mut self, n: usize, input: Input) {
        self.queued.push((n, input));
    }

    /// Runs for so many milliseconds; messages take one.
    fn run(&mut self, time: u64) {
        for _ in 0..time {
            self.now += ms(1);
            let mut inputs: Vec<Vec<Input>> = self.nodes.iter().map(|_| Vec::new()).collect();
            self.queued.drain(..).for_each(|(n, input)| inputs[n].push(input));
            for (n, inputs) in inputs.into_iter().enumerate() {
                if inputs.is_empty() && self.nodes[n].poll_timeout() > self.now {
                    continue;
                }
                for output in self.nodes[n].step(self.now, inputs) {
                    self.perform(n, output);
                }
            }
        }
    }

    fn perform(&mut self, n: usize, output: Output) {
        let via = name(n as u64);
        #[expect(clippy::wildcard_enum_match_arm, reason = "all others are only noted")]
        match output {
            Output::Broadcast { message, except } => {
                let others = (0..self.nodes.len()).filter(|far| *far != n);
                for far in others.filter(|far| Some(name(*far as u64)) != except) {
                    self.queued.push((far, Input::Stations { via, message: message.clone() }));
                }
            }
            Output::Tell { to, message } => {
                let far = (0..self.nodes.len()).find(|far| name(*far as u64) == to).unwrap();
                self.queued.push((far, Input::Stations { via, message }));
            }
            Output::Probe { packet, vxlan, sleeves, .. } => {
                let IpAddr::V4(addr) = vxlan.ip() else { panic!("{vxlan}") };
                let far = usize::from(addr.octets()[3]);
                if packet.line != Line::Mesh {
                    assert_eq!(sleeves, [SocketAddr::new(vxlan.ip(), 6783)]);
                }
                if packet.line == Line::Mesh || !self.cut.contains(&(n, far)) {
                    self.queued.push((far, Input::Probe(via, packet)));
                }
            }
            Output::Size { to, probe, .. } => {
                let far = (0..self.nodes.len()).find(|far| name(*far as u64) == to).unwrap();
                if probe.acknowledges || probe.octets <= self.fits {
                    self.queued.push((far, Input::Size(via, probe)));
                }
            }
            other => self.done[n].push(other),
        }
    }

    fn placed(&self, n: usize, mac: Mac) -> Option<PeerName> {
        let id = self.nodes[n].told.placements.get(&mac)?.id;
        let path = self.nodes[n].paths().find(|(_, path)| path.chosen.id == id)?;
        Some(path.0)
    }

    fn agree(&self) {
        let digests: BTreeSet<_> = self.nodes.iter().map(|node| node.stations.digest()).collect();
        assert_eq!(digests.len(), 1);
    }
}

#[test]
fn a_station_that_is_plugged_in_is_behind_its_node_everywhere_else_and_gone_when_it_is_unplugged() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.run(50);
    assert_eq!([0, 1, 2].map(|n| world.placed(n, mac(1))), [None, Some(name(0)), Some(name(0))]);

    world.put(0, Input::Unlearned(mac(1)));
    world.run(50);

    assert_eq!([0, 1, 2].map(|n| world.placed(n, mac(1))), [None; 3]);
    world.agree();
}

#[test]
fn a_station_that_moves_is_followed_also_while_its_old_node_believes_that_it_has_it() {
    let mut world = World::new(3);
    world.put(0, Input::Learned(mac(1)));
    world.run(1_000);

    world.put(1, Input::Sighting(mac(1)));
    world.run(50);

    assert_eq!([0, 1, 2].map(|n| world.placed(n, mac(1))), [Some(name(1)), None, Some(name(1))]);
    world.put(1, Input::Unlearned(mac(1)));
    world.run(50);
    assert_eq!([0, 1, 2].map(|n| world.placed(n, mac(1))), [None; 3]);
}

#[test]
fn frames_that_were_under_way_when_a_station_moved_do_not_bring_it_back() {
    let mut world = World::new(2);
    world.put(0, Input::Learned(mac(1)));
    world.run(1_000);
    world.put(1, Input::Sighting(mac(1)));
    world.run(50);

    world.put(0, Input::Sighting(mac(1)));
    world.run(1_000);

    assert_eq!(world.placed(0, mac(1)), Some(name(1)));
}

#[test]
fn a_station_that_two_nodes_fight_for_is_left_alone_after_five_moves() {
    let mut world = World::new(2);
    world.put(0, Input::Learned(mac(1)));

    for _ in 0..40 {
        world.run(1_000);
        (0..2).for_each(|n| world.put(n, Input::Sighting(mac(1))));
    }

    let moves: u64 = world.nodes.iter().map(|node| node.counts().moved_here).sum();
    assert!((5..=10).contains(&moves), "{moves}");
    let frozen = |output: &Output| matches!(output, Output::Say(Word::Frozen(_)));
    assert!(world.done.iter().flatten().any(frozen));
}

#[test]
fn a_node_that_starts_again_takes_over_what_it_had_and_takes_back_what_it_has_no_more() {
    let mut world = World::new(3);
    for n in 1..=2 {
        world.put(0, Input::Learned(mac(n)));
        world.put(0, Input::Address(mac(n), ip(1)));
    }
    world.put(0, Input::Address(mac(2), ip(2)));
    world.run(1_000);

    world.nodes[0] = Node::new(name(0), config());
    world.nodes[0].step(world.now, [Input::Local(vec![mac(2)])]);
    (1..3).for_each(|far| world.meet(0, far));
    world.run(50);
    assert_eq!(world.placed(1, mac(2)), Some(name(0)));
    world.put(1, Input::StateWanted(name(0)));
    world.run(50);

    assert_eq!([mac(1), mac(2)].map(|mac| world.placed(1, mac)), [None, Some(name(0))]);
    let displaced = |it: &Output| matches!(it, Output::Displace(far, _) if *far == mac(2));
    assert!(!world.done[1].iter().any(displaced));
    let said = world.nodes[1].stations.get(name(0), mac(2)).unwrap();
    assert!(said.addresses.contains(&ip(2)));
    world.agree();
}

#[test]
fn a_peer_that_starts_again_is_not_reproached_with_what_it_did_not_answer_before() {
    let mut world = World::new(2);
    world.run(3_000);
    world.cut = BTreeSet::from([(0, 1), (1, 0)]);
    while world.nodes[0].liveness.doubtful().0 == 0 {
        world.run(1);
    }
    world.run(100);

    world.put(0, Input::Peer(name(1), Peer { uid: 2, ..peer(1) }));
    world.run(100);
    world.cut.clear();
    world.run(3_000);

    let unreached = |it: &Output| matches!(it, Output::DataPath(_, false));
    assert!(!world.done[0].iter().any(unreached));
}

#[test]
fn a_peer_that_does_not_answer_is_reported_to_the_mesh_and_so_is_that_it_does_again() {
    let mut world = World::new(2);
    let told = |world: &World| {
        let all = world.done[0].iter().filter_map(|it| {
            if let Output::DataPath(_, direct) = it { Some(*direct) } else { None }
        });
        all.collect::<BTreeSet<_>>()
    };
    world.run(5_000);
    assert_eq!(told(&world), BTreeSet::new());

    world.cut = BTreeSet::from([(0, 1), (1, 0)]);
    world.run(3_500);
    assert_eq!(told(&world), BTreeSet::from([false]));
    world.cut.clear();
    world.run(5_000);

    assert_eq!(told(&world), BTreeSet::from([false, true]));
}

#[test]
fn without_discovery_only_neighbours_are_reached_directly() {
    let mut node = Node::new(name(0), Config { discovery: false, ..config() });

    let far = Peer { neighbour: false, ..peer(2) };
    let outputs = node.step(ms(1), [Input::Peer(name(1), peer(1)), Input::Peer(name(2), far)]);

    let told: Vec<_> = outputs.iter().filter(|it| matches!(it, Output::DataPath(..))).collect();
    assert!(matches!(told[..], [Output::DataPath(far, false)] if *far == name(2)), "{told:?}");
    // Not for the moment either that the mesh needs to hear of it, and not by probes.
    assert!(matches!(node.told.paths[&name(2)].chosen.route.path, Way::Down));
    let later = (1..100).flat_map(|n| node.step(ms(n * 100), []));
    let sent =
        later.filter_map(|it| if let Output::Probe { to, .. } = it { Some(to) } else { None });
    assert_eq!(sent.collect::<BTreeSet<_>>(), BTreeSet::from([name(1)]));
}

#[test]
fn a_node_that_is_told_the_name_it_has_stays_as_it_is_and_one_with_a_new_name_meets_the_old_one() {
    let mut node = Node::new(name(0), config());
    node.step(ms(1), [Input::Local(vec![mac(1)]), Input::Peer(name(1), peer(1))]);
    let before = (node.hash(), node.counts());
    node.step(ms(2), [Input::Renamed(name(0))]);
    assert_eq!((node.hash(), node.counts()), before);

    node.step(ms(3), [Input::Renamed(name(9)), Input::Peer(name(0), peer(2))]);

    assert_eq!(node.paths().map(|(name, _)| name).collect::<Vec<_>>(), [name(0), name(1)]);
    assert_eq!(node.stations.owner(mac(1)), Some(name(9)));
}

#[test]
fn a_slot_is_flushed_after_the_plan_without_its_peer_and_before_another_gets_it() {
    let mut node = Node::new(name(0), config());
    node.step(ms(1), [Input::Peer(name(1), peer(1))]);
    let first = node.slots.get(name(1)).unwrap();

    let outputs = node.step(ms(2), [Input::PeerGone(name(1)), Input::Peer(name(2), peer(2))]);

    let place = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).unwrap();
    let flush = place(|it| matches!(it, Output::Flush(_)));
    assert!(place(|it| matches!(it, Output::Install(_))) < flush);
    assert_ne!(node.slots.get(name(2)), Some(first));
    node.step(ms(3), [Input::Peer(name(3), peer(3))]);
    assert_eq!(node.slots.get(name(3)), Some(first));
}

#[test]
fn a_relayed_path_names_its_relay_and_one_word_is_said_for_each_change() {
    let mut node = Node::new(name(0), config());
    node.step(ms(1), [Input::Peer(name(1), peer(1)), Input::Peer(name(2), peer(2))]);

    let relayed = Peer { route: Some(vec![name(1)]), ..peer(2) };
    let outputs = node.step(ms(2), [Input::Peer(name(2), relayed)]);

    let path = &node.told.paths[&name(2)];
    assert!(matches!(path.chosen.route.path, Way::Relay(_)));
    assert_eq!((&path.via[..], path.since), (&[name(1)][..], ms(2)));
    let words = |outputs: &[Output]| {
        outputs.iter().filter(|it| matches!(it, Output::Say(Word::Path { .. }))).count()
    };
    assert_eq!(words(&outputs), 1);

    // Further on it goes another way.
    let through = Peer { route: Some(vec![name(1), name(3)]), ..peer(2) };
    let outputs = node.step(ms(3), [Input::Peer(name(2), through.clone())]);
    let path = &node.told.paths[&name(2)];
    assert_eq!((&path.via[..], path.since), (&[name(1), name(3)][..], ms(3)));
    assert_eq!(words(&outputs), 1);

    // Of a silent peer the mesh knows nothing, and its path is kept.
    let silent = Peer { route: None, standing: Standing::Silent, ..through };
    node.step(ms(4), [Input::Peer(name(2), silent)]);
    assert_eq!(node.told.paths[&name(2)].via, [name(1), name(3)]);
}

fn packet(line: Line, poll: bool, seq: u64, echo: u64) -> Packet {
    Packet { line, poll, active: poll, seq, echo, delay: ms(1), interval: ms(200) }
}
