//! A few meshes on a table: connections are queues, time goes in steps of a millisecond, nothing is lost.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::{ChannelName, PeerState};

mod lost;
mod names;
mod records;

/// One direction of a connection: whose, and which.
type End = (usize, ConnId);

#[derive(Default)]
struct Table {
    meshes: Vec<Mesh>,
    ends: BTreeMap<End, End>,
    wire: VecDeque<(End, Vec<u8>)>,
    events: Vec<(usize, Event)>,
    now: Duration,
    dead: Vec<usize>,
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, octet(index)], Config::PORT))
}

fn octet(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap()
}

fn name(index: usize) -> PeerName {
    PeerName::local(crate::dice::mix(index as u64))
}

impl Table {
    /// Peers each of which knows the address of the one before.
    fn chain(count: usize) -> Self {
        let mut table = Self::default();
        for index in 0..count {
            let targets = index.checked_sub(1).map(addr).into_iter().collect();
            table.add(Config { targets, ..Config::new(name(index)) }, Saved::default());
        }
        table
    }

    fn add(&mut self, config: Config, saved: Saved) -> usize {
        let index = self.meshes.len();
        let config = Config { addresses: vec![addr(index)], ..config };
        self.meshes.push(Mesh::new(config, saved, [octet(index); 32], self.now));
        index
    }

    fn kill(&mut self, index: usize) {
        self.dead.push(index);
    }

    /// Its process dies, and its kernel says so.
    fn crash(&mut self, index: usize) {
        self.kill(index);
        let ends: Vec<_> = self.ends.keys().filter(|(at, _)| *at == index).copied().collect();
        for end in ends {
            let Some(far) = self.ends.remove(&end) else { continue };
            self.ends.remove(&far);
            self.meshes[far.0].handle_closed(far.1, "reset", self.now);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += Duration::from_millis(1);
        for index in 0..self.meshes.len() {
            if !self.dead.contains(&index)
                && self.meshes[index].poll_timeout().is_some_and(|at| at <= self.now)
            {
                self.meshes[index].handle_timeout(self.now);
            }
            self.perform(index);
        }
        for _ in 0..self.wire.len() {
            let Some((to, octets)) = self.wire.pop_front() else { break };
            if !self.dead.contains(&to.0) {
                self.meshes[to.0].handle_bytes(to.1, &octets, self.now);
                self.perform(to.0);
            }
        }
    }

    fn perform(&mut self, index: usize) {
        while let Some(output) = self.meshes[index].poll_output() {
            match output {
                Output::Dial { conn, addr: to } => self.dial(index, conn, to),
                Output::Send { conn, octets } => {
                    self.meshes[index].handle_written(conn, octets.len(), self.now);
                    if let Some(&far) = self.ends.get(&(index, conn)) {
                        self.wire.push_back((far, octets));
                    }
                }
                Output::Close { conn } => {
                    if let Some(far) = self.ends.remove(&(index, conn)) {
                        self.ends.remove(&far);
                        // What is under way arrives first.
                        let waiting: Vec<_> =
                            self.wire.iter().filter(|(to, _)| *to == far).cloned().collect();
                        self.wire.retain(|(to, _)| *to != far);
                        for (_, octets) in waiting {
                            self.meshes[far.0].handle_bytes(far.1, &octets, self.now);
                        }
                        self.meshes[far.0].handle_closed(far.1, "end of stream", self.now);
                    }
                }
                Output::Event(event) => self.events.push((index, event)),
            }
        }
    }

    fn dial(&mut self, index: usize, conn: ConnId, to: SocketAddr) {
        let far = (0..self.meshes.len()).find(|&far| addr(far) == to && !self.dead.contains(&far));
        let local = SocketAddr::new(addr(index).ip(), 40_000);
        let accepted =
            far.and_then(|far| Some((far, self.meshes[far].handle_accepted(to, local, self.now)?)));
        let Some((far, accepted)) = accepted else {
            return self.meshes[index].handle_dial_failed(conn, "refused", self.now);
        };
        self.ends.insert((index, conn), (far, accepted));
        self.ends.insert((far, accepted), (index, conn));
        self.meshes[index].handle_connected(conn, local, self.now);
        self.perform(far);
    }

    fn alive(&self) -> impl Iterator<Item = (usize, &Mesh)> {
        self.meshes.iter().enumerate().filter(|(index, _)| !self.dead.contains(index))
    }

    fn ups(&self, index: usize) -> usize {
        self.meshes[index].peers().filter(|peer| peer.state == PeerState::Up).count()
    }

    fn agree(&self) -> bool {
        let mut roots = self.alive().map(|(_, mesh)| mesh.root());
        let first = roots.next();
        roots.all(|root| Some(root) == first)
    }
}

#[test]
fn peers_that_know_one_other_each_become_one_mesh() {
    for count in [2, 3, 10, 40] {
        let mut table = Table::chain(count);

        table.run(Duration::from_secs(8));

        for index in 0..count {
            assert_eq!(table.ups(index), count - 1, "{index} of {count}");
        }
        assert!(table.agree(), "{count}");
        let most = table.meshes.iter().map(|mesh| mesh.links().count()).max();
        assert!(most <= Some(32));
    }
}

#[test]
fn a_peer_that_stops_talking_is_silent_and_later_gone() {
    let mut table = Table::chain(6);
    table.run(Duration::from_secs(5));

    table.kill(2);
    table.run(Duration::from_secs(5));
    let silent = table.meshes[0].peers().filter(|peer| peer.state == PeerState::Silent).count();
    table.run(Config::HOLD);

    assert_eq!(silent, 1);
    assert_eq!(table.meshes[0].peers().count(), 4);
    assert!(table.agree());
}

#[test]
fn a_peer_that_leaves_is_gone_at_once() {
    let mut table = Table::chain(6);
    table.run(Duration::from_secs(5));

    let now = table.now;
    table.meshes[2].leave(now);
    table.run(Duration::from_secs(1));

    for index in [0, 1, 3, 4, 5] {
        assert!(
            table
                .events
                .contains(&(index, Event::Gone { name: name(2), reason: GoneReason::Left })),
            "{index}"
        );
    }
}

#[test]
fn a_peer_that_lost_its_state_comes_back_under_its_old_name() {
    let mut table = Table::chain(6);
    table.run(Duration::from_secs(5));

    table.kill(2);
    let again =
        table.add(Config { targets: vec![addr(0)], ..Config::new(name(2)) }, Saved::default());
    table.run(Duration::from_secs(3));

    let uid = table.meshes[again].uid();
    for index in [0, 1, 3, 4, 5] {
        let seen = table.meshes[index]
            .peers()
            .find(|peer| peer.name == name(2))
            .map(|peer| (peer.uid, peer.state));
        assert_eq!(seen, Some((uid, PeerState::Up)), "{index}");
    }
    assert_eq!(table.meshes[again].name(), name(2));
}

#[test]
fn of_two_clones_the_later_is_renamed_and_both_say_so() {
    let mut table = Table::chain(6);
    table.run(Duration::from_secs(5));

    let config = Config { targets: vec![addr(4)], started: 9, ..Config::new(name(2)) };
    let clone = table.add(config, Saved::default());
    table.run(Duration::from_secs(10));

    assert_eq!(table.meshes[2].name(), name(2));
    let renamed = table.meshes[clone].name();
    assert_ne!(renamed, name(2));
    assert!(table.events.iter().any(|(at, e)| *at == clone && matches!(e, Event::Renamed { to, .. } if *to == renamed)));
    assert!(
        table.events.iter().any(|(at, e)| *at == 2 && matches!(e, Event::NameContested { .. }))
    );
    assert_eq!(table.ups(0), 6);
    assert!(table.agree());
}

#[test]
fn a_chosen_name_is_refused_and_the_first_is_undisturbed() {
    let mut table = Table::chain(6);
    table.run(Duration::from_secs(5));
    table.events.clear();

    let config =
        Config { targets: vec![addr(4)], started: 9, explicit: true, ..Config::new(name(2)) };
    let clone = table.add(config, Saved::default());
    table.run(Duration::from_secs(10));

    assert!(table.meshes[clone].is_stopped());
    assert!(
        table.events.iter().any(|(at, e)| *at == clone && matches!(e, Event::NameRefused { .. }))
    );
    let lost = |(at, e): &(usize, Event)| *at == 2 && matches!(e, Event::LinkDown { .. });
    assert!(!table.events.iter().any(lost), "{:?}", table.events);
    assert_eq!(table.ups(0), 5);
}

#[test]
fn letters_and_broadcasts_arrive_also_through_peers_that_do_not_know_the_channel() {
    let mut table = Table::chain(40);
    let channel = ChannelName::new("test").unwrap();
    table.meshes[0].join(channel);
    table.meshes[39].join(channel);
    table.run(Duration::from_secs(8));

    let now = table.now;
    let far = name(39);
    assert!(table.meshes[0].send(&channel, far, b"letter", now));
    assert!(table.meshes[0].broadcast(&channel, b"news", None, now));
    table.run(Duration::from_secs(1));

    let got: Vec<_> =
        table.events.iter().filter(|(at, _)| *at == 39).map(|(_, event)| event).collect();
    assert!(got.contains(&&Event::Unicast { channel, from: name(0), octets: b"letter".to_vec() }));
    assert!(got.iter().any(|e| matches!(e, Event::Broadcast { octets, .. } if octets == b"news")));
}

#[test]
fn peers_with_different_passwords_never_meet_and_both_say_why() {
    let mut table = Table::default();
    let config = |index, psk: &str| Config {
        psk: crate::Psk::from_password(psk).unwrap(),
        targets: vec![addr(1 - index)],
        ..Config::new(name(index))
    };
    table.add(config(0, "one"), Saved::default());
    table.add(config(1, "two"), Saved::default());

    table.run(Duration::from_secs(10));

    for index in 0..2 {
        assert_eq!(table.ups(index), 0);
        assert!(table.events.iter().any(|(at, e)| *at == index
            && matches!(e, Event::Refused { reason: CloseReason::WrongPassword, .. })));
    }
    assert!(table.events.len() < 60, "backs off: {}", table.events.len());
}

#[test]
fn who_is_heard_just_after_we_overslept_is_not_believed_for_longer_than_others() {
    let mut table = Table::chain(2);
    table.run(Duration::from_secs(3));
    table.kill(1);
    table.now += Duration::from_secs(20);
    let now = table.now;
    let link = *table.meshes[0].links.get(&name(1)).unwrap();

    // As it is when the machine stood still: what waited in the sockets comes before the clock's turn.
    table.meshes[0].handle_bytes(link, &[], now);
    table.run(DEAD_AFTER + 4 * TICK);

    let silent = table.meshes[0].peers().find(|peer| peer.state == PeerState::Silent);
    assert_eq!(silent.map(|peer| peer.name), Some(name(1)));
}

#[test]
fn an_address_that_is_no_longer_given_keeps_its_link() {
    for discovery in [true, false] {
        let mut table = Table::default();
        table.add(Config::new(name(0)), Saved::default());
        let config = Config { targets: vec![addr(0)], discovery, ..Config::new(name(1)) };
        table.add(config, Saved::default());
        table.run(Duration::from_secs(3));

        table.meshes[1].ungive(addr(0));
        table.run(Duration::from_secs(3));

        assert_eq!(table.ups(1), 1);
        assert!(!table.events.iter().any(|(_, e)| matches!(e, Event::LinkDown { .. })));
        let target = table.meshes[1].targets().find(|target| target.addr == addr(0));
        assert_eq!(target.map(|target| target.given), discovery.then_some(false));
    }
}

#[test]
fn dials_of_our_own_take_no_place_from_those_who_come() {
    let now = Duration::ZERO;
    let targets = (0..9).map(addr).collect();
    let mut mesh =
        Mesh::new(Config { targets, ..Config::new(name(0)) }, Saved::default(), [1; 32], now);
    mesh.handle_timeout(now);
    let dials = std::iter::from_fn(|| mesh.poll_output()).count();

    let remote = |port| SocketAddr::from(([10, 0, 1, 1], port));
    let accepted =
        (1..=1000).filter(|port| mesh.handle_accepted(addr(0), remote(*port), now).is_some());

    assert_eq!(accepted.count(), MAX_UNFINISHED);
    assert!(dials > 0);
}
