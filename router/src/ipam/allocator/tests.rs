#![expect(clippy::print_stdout, reason = "figures are printed")]

use std::net::IpAddr;

use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::ipam::wire::Trust;
use crate::ipam::{Range, Span};

const WALL: u64 = 1_700_000_000_000_000;

fn range() -> Range {
    Range::new("10.32.0.0/12".parse().unwrap()).unwrap()
}

fn config(seed: u64) -> Config {
    Config {
        name: PeerName::new([2, 0, 0, 0, 0, 1]).unwrap(),
        range: range(),
        subnet: range().subnet(),
        init: Init::Consensus(1),
        seed,
        flaw: None,
    }
}

/// A node whose disk is as quick as memory.
struct Alone {
    alloc: Allocator,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    now: Duration,
    tokens: u64,
}

impl Alone {
    fn new() -> Self {
        Self::with(BTreeMap::new())
    }

    fn with(disk: BTreeMap<Vec<u8>, Vec<u8>>) -> Self {
        let kept = Kept::read(&disk, config(1).name, range()).unwrap();
        let alloc = Allocator::new(config(1), kept);
        Self { alloc, disk, now: Duration::from_secs(1), tokens: 0 }
    }

    fn wish(&mut self, wish: Wish) -> Result<Answer, Refusal> {
        self.tokens += 1;
        let (token, until) = (self.tokens, self.now + Duration::from_secs(5));
        let mut inputs = vec![Input::Request(Request { token, wish, until, wall: WALL + token })];
        for _ in 0..10_000 {
            for output in self.alloc.step(self.now, std::mem::take(&mut inputs)) {
                match output {
                    Output::Save(seq, edits) => {
                        for Edit { key, value } in edits {
                            match value {
                                Some(value) => drop(self.disk.insert(key, value)),
                                None => drop(self.disk.remove(&key)),
                            }
                        }
                        inputs.push(Input::Saved(seq));
                    }
                    Output::Reply(it, answer) if it == token => return answer,
                    Output::Broadcast { .. }
                    | Output::Tell { .. }
                    | Output::Send { .. }
                    | Output::Digest(_)
                    | Output::Reply(..)
                    | Output::Probe(..)
                    | Output::Say(_) => {}
                }
            }
            if inputs.is_empty() {
                self.now = self.alloc.poll_timeout().unwrap_or(self.now).max(self.now);
            }
        }
        panic!("no answer");
    }

    fn allocate(&mut self, id: &str) -> String {
        let wish = Wish::Allocate { id: id.to_owned(), subnet: range().subnet() };
        match self.wish(wish) {
            Ok(Answer::Leased(addr)) => addr.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn free(&mut self, id: &str) -> Result<Answer, Refusal> {
        self.wish(Wish::Free { id: id.to_owned(), addr: None })
    }
}

#[test]
fn one_id_has_one_address_however_often_it_asks() {
    let mut node = Alone::new();

    assert_eq!(node.allocate("a"), "10.32.0.1");
    assert_eq!(node.allocate("b"), "10.32.0.2");
    assert_eq!(node.allocate("a"), "10.32.0.1");
}

#[test]
fn a_freed_address_is_not_the_next_one() {
    let mut node = Alone::new();
    node.allocate("a");

    assert!(node.free("a").is_ok());
    assert_eq!(node.free("a"), Err(Refusal::Unknown("a".to_owned())));
    assert_eq!(node.allocate("b"), "10.32.0.2");
}

#[test]
fn what_was_freed_and_cannot_be_saved_is_not_said_to_be_nobodys() {
    let mut node = Alone::new();
    node.allocate("a");
    for round in 0..2 {
        let (token, now) = (70 + round, node.now + Duration::from_secs(20 * (1 + round)));
        let wish = Wish::Free { id: "a".to_owned(), addr: None };
        let until = now + Duration::from_secs(9);
        let request = Input::Request(Request { token, wish, until, wall: WALL });

        let mut all = node.alloc.step(now, [request]);
        all.extend(node.alloc.step(now, [Input::Unsaved("the disk is full".to_owned())]));
        all.extend(node.alloc.step(until, []));

        let replies: Vec<_> = all.iter().filter(|it| matches!(it, Output::Reply(..))).collect();
        let [Output::Reply(_, Err(Refusal::Unsaved(_)))] = replies[..] else {
            panic!("{replies:?}")
        };
    }
}

/// There is no heir yet.
#[test]
fn who_is_leaving_answers_no_request_of_before_with_an_address() {
    let mut node = Alone::new();
    node.allocate("a");
    let request = |token, wish| {
        let until = Duration::from_secs(9);
        Input::Request(Request { token, wish, until, wall: WALL })
    };
    let wish = Wish::Allocate { id: "b".to_owned(), subnet: range().subnet() };

    let first = node.alloc.step(node.now, [request(70, wish)]);
    let second = node.alloc.step(node.now, [request(71, Wish::Leave)]);
    let third = node.alloc.step(node.now, [Input::Saved(u64::MAX)]);

    let outputs = [first, second, third].into_iter().flatten();
    let replies: Vec<_> = outputs.filter(|it| matches!(it, Output::Reply(70, _))).collect();
    assert!(matches!(replies[..], [Output::Reply(_, Err(Refusal::Left))]), "{replies:?}");
}

#[test]
fn several_subnets_lie_in_the_range() {
    let mut node = Alone::new();
    let subnet = "10.40.7.0/24".parse().unwrap();

    let answer = node.wish(Wish::Allocate { id: "a".to_owned(), subnet });
    assert_eq!(answer, Ok(Answer::Leased("10.40.7.1".parse().unwrap())));
    assert_eq!(node.allocate("a"), "10.40.7.1");
    let foreign = "192.168.0.0/24".parse().unwrap();
    let answer = node.wish(Wish::Allocate { id: "a".to_owned(), subnet: foreign });
    assert!(matches!(answer, Err(Refusal::NoSubnet(..))));
}

#[test]
fn a_claimed_address_is_nobody_elses() {
    let mut node = Alone::new();
    let addr = "10.32.0.1".parse().unwrap();

    let claim = |id: &str| Wish::Claim { id: id.to_owned(), addr, subnet: range().subnet() };
    assert_eq!(node.wish(claim("a")), Ok(Answer::Leased(addr)));
    assert_eq!(node.wish(claim("a")), Ok(Answer::Leased(addr)));
    assert_eq!(node.wish(claim("b")), Err(Refusal::TakenHere { addr, id: "a".to_owned() }));
    assert_eq!(node.allocate("b"), "10.32.0.2");
}

#[test]
fn a_full_subnet_says_so_at_once_and_a_resting_address_is_better_than_none() {
    let mut node = Alone::new();
    let subnet = "10.32.0.0/30".parse().unwrap();
    let allocate =
        |node: &mut Alone, id: &str| node.wish(Wish::Allocate { id: id.to_owned(), subnet });

    assert!(allocate(&mut node, "a").is_ok() && allocate(&mut node, "b").is_ok());
    let began = node.now;
    assert_eq!(allocate(&mut node, "c"), Err(Refusal::Full { subnet }));
    assert_eq!(node.now, began);
    node.free("a").unwrap();
    assert_eq!(allocate(&mut node, "c"), Ok(Answer::Leased("10.32.0.1".parse().unwrap())));
}

#[test]
fn what_was_kept_is_leased_again_to_the_same() {
    let mut node = Alone::new();
    node.allocate("a");
    node.allocate("b");

    let mut again = Alone::with(node.disk.clone());

    assert_eq!(again.allocate("b"), "10.32.0.2");
    assert_eq!(again.allocate("c"), "10.32.0.3");
}

/// Others may have removed this node while it was down, and lease what was its.
#[test]
fn who_has_started_again_leases_nothing_new_before_another_has_told_what_it_knows() {
    let mut node = Alone::new();
    node.allocate("a");
    let other = Owner { name: PeerName::local(9), epoch: Epoch::after(0, 1) };
    let ring = node.alloc.ring.as_mut().unwrap();
    ring.write(other, |_| {});
    node.alloc.store.note(&News { records: [other].into(), ..News::default() });
    node.allocate("b");

    let mut again = Alone::with(node.disk);

    assert_eq!(again.allocate("a"), "10.32.0.1");
    assert!(again.allocate("c").contains("NotPulled"));
}

/// Of a ring in two messages the second was lost, and who told it is silent: another is asked.
#[test]
fn a_ring_that_does_not_come_whole_is_asked_of_who_tells_next() {
    let [first, second] = [8, 9].map(PeerName::local);
    let owners = [first, second].map(|name| Owner { name, epoch: Epoch::after(0, 1) });
    let ring = Ring::divided(RingId(1), range(), &owners.into());
    let whole = ring.whole();
    let part = |at: usize| Patch { records: vec![whole.records[at].clone()], ..Patch::default() };
    let torn = Patch { records: part(0).records, ..whole.clone() };
    let mut alloc = Allocator::new(config(1), Kept::default());
    for peer in [first, second] {
        alloc.step(Duration::ZERO, [Input::Peer(peer, Reach::Up)]);
    }
    let mut hear = |secs, from, patch| {
        let messages = wire::emit(range(), &Message::Ring(RingId(1), patch));
        let gossip = messages.into_iter().map(|message| Input::Gossip { via: from, message });
        let now = Duration::from_secs(secs);
        let mut done = alloc.step(now, gossip.collect::<Vec<_>>());
        // A disk that is quick.
        done.extend(alloc.step(now, [Input::Saved(u64::MAX)]));
        let pull = wire::emit(range(), &Message::Pull(Trust::Blind)).remove(0);
        done.iter().any(
            |it| matches!(it, Output::Send { to, message } if *to == second && *message == pull),
        )
    };

    assert!(!hear(1, first, torn));
    assert!(!hear(2, second, part(1)));
    assert!(hear(9, second, part(1)));
}

/// All were born before the last removal was done: the ring does not keep it in mind who of them was removed.
#[test]
fn for_whom_a_removal_waits_is_shown_whoever_was_removed_before() {
    let owner = |name| Owner { name, epoch: Epoch::after(2, 1) };
    let [own, second, third] = [config(1).name, PeerName::local(8), PeerName::local(9)].map(owner);
    let mut ring = Ring::divided(RingId(1), range(), &[own, second, third].into());
    ring.rise(5);
    let whole = Message::Ring(ring.id(), ring.whole());
    let had = ring.record(third).unwrap().owned();
    let epoch = Some(own.epoch);
    let kept = Kept { epoch, ring: Some(ring), introduced: true, ..Kept::default() };
    let mut alloc = Allocator::new(config(1), kept);
    alloc.step(Duration::ZERO, [Input::Peer(second.name, Reach::Up)]);
    let messages = wire::emit(range(), &whole).into_iter();
    let told = messages.map(|message| Input::Message { from: second.name, message });
    alloc.step(Duration::from_secs(1), told.collect::<Vec<_>>());
    let mut remove = |token, secs| {
        let (wish, until) =
            (Wish::Remove { name: third.name, force: false }, Duration::from_secs(60));
        let request = Input::Request(Request { token, wish, until, wall: WALL });
        let mut all = alloc.step(Duration::from_secs(secs), [request]);
        all.extend(alloc.step(Duration::from_secs(secs + 5), [Input::Saved(u64::MAX)]));
        all.extend(alloc.step(Duration::from_secs(secs + 5), [Input::Saved(u64::MAX)]));
        let removals = alloc.view().removals;
        let waits: Vec<_> =
            removals.iter().map(|it| (it.addresses, it.waiting_for.len())).collect();
        let answer = all
            .into_iter()
            .find_map(|it| if let Output::Reply(_, answer) = it { Some(answer) } else { None });
        (answer, waits)
    };

    let removed =
        Answer::Removed { epochs: vec![third], addresses: had, waiting_for: vec![second] };
    assert_eq!(remove(1, 2), (Some(Ok(removed.clone())), vec![(Some(had), 1)]));
    assert_eq!(remove(2, 20), (Some(Ok(removed)), vec![(Some(had), 1)]));
}

#[test]
fn what_a_node_had_leased_and_was_giving_away_when_it_stopped_is_claimed_again() {
    let mut node = Alone::new();
    node.allocate("a");
    let own = node.alloc.own;
    node.alloc.ring.as_mut().unwrap().write(own, |own| drop(own.cut(Span::one(1))));
    node.alloc.store.note(&News { records: [own].into(), ..News::default() });
    node.free("b").unwrap_err();

    let again = Alone::with(node.disk);

    assert_eq!(again.alloc.leases.get(1).unwrap().state, LeaseState::Reclaiming);
}

#[test]
fn what_is_not_saved_is_not_answered_and_leases_nothing() {
    let mut alloc = Allocator::new(config(1), Kept::default());
    let wish = Wish::Allocate { id: "a".to_owned(), subnet: range().subnet() };
    let (now, until) = (Duration::from_secs(1), Duration::from_secs(3));
    let request = Request { token: 1, wish, until, wall: WALL };

    let before = alloc.step(now, [Input::Request(request)]);
    let full = alloc.step(now, [Input::Unsaved("No space left on device".to_owned())]);
    let after = alloc.step(until, []);

    let replies = before.iter().chain(&full).filter(|it| matches!(it, Output::Reply(..)));
    assert_eq!(replies.count(), 0);
    let why = Refusal::Unsaved("No space left on device".to_owned());
    assert!(after.iter().any(|it| matches!(it, Output::Reply(1, Err(it)) if *it == why)));
    assert_eq!(alloc.leases().count(), 0);
}

#[test]
fn who_asks_again_and_whose_address_another_has_gets_one_of_its_own() {
    let mut node = Alone::new();
    let first = node.allocate("pod");
    let at = range().offset(first.parse().unwrap()).unwrap();
    let other = PeerName::new([2, 0, 0, 0, 0, 9]).unwrap();
    node.alloc.leases.set(at, LeaseState::Lost(other));

    let second = node.allocate("pod");

    assert_ne!(second, first);
    assert_eq!(node.alloc.leases_of("pod").count(), 1);
    let addr: IpAddr = second.parse().unwrap();
    node.alloc.leases.set(range().offset(addr).unwrap(), LeaseState::Lost(other));
    let claimed = node.wish(Wish::Claim { id: "pod".to_owned(), addr, subnet: range().subnet() });
    assert!(matches!(claimed, Err(Refusal::Taken { owner, .. }) if owner == other));
}

#[test]
fn state_of_another_name_or_range_is_refused_and_said() {
    let mut node = Alone::new();
    node.allocate("a");
    let other = PeerName::new([2, 0, 0, 0, 0, 9]).unwrap();
    let smaller = Range::new("10.32.0.0/16".parse().unwrap()).unwrap();

    assert_eq!(
        Kept::read(&node.disk, other, range()).unwrap_err(),
        RefusedState::OtherName(config(1).name)
    );
    assert_eq!(
        Kept::read(&node.disk, config(1).name, smaller).unwrap_err(),
        RefusedState::OtherRange { found: range(), leases: 1 }
    );
    node.free("a").unwrap();
    assert!(Kept::read(&node.disk, config(1).name, smaller).unwrap().ring.is_none());
    node.disk.insert(b"s".to_vec(), vec![0xc1]);
    let garbage = Kept::read(&node.disk, config(1).name, range());
    assert!(matches!(garbage, Err(RefusedState::Malformed(_))));
}

#[test]
fn a_hundred_thousand_leases_and_frees_are_made_at_fifty_thousand_a_second() {
    const COUNT: u32 = 100_000;
    let mut node = Alone::new();
    node.allocate("first");

    // Of the processor's time, as other tests run beside this one.
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let began = now();
    for it in 0..COUNT {
        let id = it.to_string();
        node.allocate(&id);
    }
    for it in 0..COUNT {
        node.free(&it.to_string()).unwrap();
    }
    let each = f64::from(2 * COUNT) / (now() - began).as_secs_f64();

    println!("{each:.0} leases and frees a second, in a build that is hardly optimised");
    assert_eq!(node.alloc.leases().count(), 1);
    let (free, resting) = node.alloc.space.counts();
    assert_eq!(free + resting + 1, Span::len(range().span()));
    assert!(each > 50_000.0, "{each:.0}");
}

#[test]
fn one_that_was_rolled_back_shows_whose_its_leases_are_now() {
    let mut node = Alone::new();
    node.allocate("a");
    node.allocate("b");
    let own = node.alloc.own;
    let other = Owner { name: PeerName::local(77), epoch: Epoch(5) };
    let (at, _) = node.alloc.leases.of("b").next().unwrap();
    assert!(node.alloc.view().lost.is_empty());

    // Others know that it has given that away.
    let ring = node.alloc.ring.as_mut().unwrap();
    let mut given = Vec::new();
    ring.write(own, |own| given = own.cut(Span::one(at)));
    ring.write(other, |other| other.segments = given);
    node.alloc.rolled_back = true;

    let lost = node.alloc.view().lost;

    let lost: Vec<_> = lost.iter().map(|(at, lease, to)| (*at, lease.id.as_str(), *to)).collect();
    assert_eq!(lost, [(at, "b", Some(other.name))]);
}
