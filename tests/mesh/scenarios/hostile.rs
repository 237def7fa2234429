//! Members that lie, and more than fits.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use peer_mesh::wire::{ChannelName, Message, Record};
use peer_mesh::{Config, Event, PeerName};
use weft_tests::mesh::feed::Feed;
use weft_tests::mesh::member::{Desk, Member};
use weft_tests::mesh::{HostId, World};
use weft_tests::seeds::each_seed_of;

use crate::{SECOND, calm_down, report, settled};

const MEBIBYTE: i64 = 1024 * 1024;
/// Of the heap of a core that knows five thousand peers.
const HEAP: i64 = 64 * MEBIBYTE;
/// What it takes to merge one record into it.
const MERGE: Duration = Duration::from_micros(50);

#[test]
fn records_replayed_by_a_member_bring_back_nothing_dead_and_are_not_passed_on_for_ever() {
    each_seed_of(5, |seed| {
        let (mut world, ids) = settled(12, seed);
        let (host, desk) = member(&mut world, &ids, seed);
        world.pass(5 * SECOND);
        assert!(!desk.borrow().links.is_empty(), "{}", world.journal());
        // Something to capture: peers restart, leave, die.
        let dead: Vec<PeerName> = [ids[3], ids[4]].map(|id| world.name(id)).to_vec();
        world.kill(ids[5]);
        world.pass(10 * SECOND);
        world.start(ids[5]);
        world.pass(10 * SECOND);
        world.leave(ids[3]);
        world.power_off(ids[4]);
        world.pass(200 * SECOND);
        let captured: Vec<Record> = desk.borrow().records.clone();
        assert!(captured.len() > 20);
        let rest = sent(&mut world, host, 10 * SECOND);

        for _ in 0..30 {
            let say = captured.iter().cloned().map(Message::Record);
            desk.borrow_mut().say.extend(say);
            world.pass(2 * SECOND);
        }

        for name in &dead {
            assert!(world.all_see(*name, None), "{name} is back\n{}", world.journal());
        }
        world.pass(10 * SECOND);
        let after = sent(&mut world, host, 10 * SECOND);
        assert!(after < rest * 5 / 4, "{rest} octets at rest before, {after} after");
        world.kill(host);
        calm_down(&mut world, 30 * SECOND);
    });
}

#[test]
fn a_member_that_claims_another_root_for_ever_costs_little() {
    each_seed_of(5, |seed| {
        let (mut world, ids) = settled(12, seed);
        let (host, desk) = member(&mut world, &ids, seed);
        world.pass(20 * SECOND);
        let rest = sent(&mut world, host, 20 * SECOND);

        desk.borrow_mut().root = Some(1);
        let lying = sent(&mut world, host, 20 * SECOND);

        report(format_args!("octets in 20 s of 12 peers: {rest} at rest, {lying} with a liar"));
        assert!(lying < 4 * rest, "{rest} octets at rest, {lying} with a liar");
        world.kill(host);
        calm_down(&mut world, 30 * SECOND);
    });
}

#[test]
fn a_flood_of_broadcasts_ends_and_links_stay_up() {
    each_seed_of(3, |seed| {
        let (mut world, ids) = settled(12, seed);
        let (host, desk) = member(&mut world, &ids, seed);
        world.pass(20 * SECOND);
        let rest = sent(&mut world, host, 20 * SECOND);
        let before = world.now();

        // More than any peer remembers, on a channel that nobody takes part in.
        let channel = ChannelName::new("flood").unwrap();
        let flood = (0_u32..40_000).map(|number| Message::Broadcast {
            channel,
            hops: u8::MAX,
            octets: number.to_be_bytes().to_vec(),
        });
        desk.borrow_mut().say.extend(flood);
        let flooded = sent(&mut world, host, 20 * SECOND);
        let after = sent(&mut world, host, 20 * SECOND);

        report(format_args!("octets in 20 s: {rest} at rest, {flooded} in a flood, {after} after"));
        assert!(flooded > 10 * rest, "no flood: {flooded}");
        assert!(after < rest * 5 / 4, "{rest} octets at rest before, {after} after");
        for id in ids {
            let lost = world.heard(id).filter(|(at, event)| {
                *at >= before && matches!(event, Event::LinkDown { .. } | Event::Silent { .. })
            });
            assert_eq!(lost.count(), 0, "{}", world.journal());
        }
        world.kill(host);
        calm_down(&mut world, 30 * SECOND);
    });
}

#[test]
fn a_peer_that_stood_still_for_hours_brings_back_nothing_dead() {
    each_seed_of(5, |seed| {
        let (mut world, ids) = settled(10, seed);
        let dead: Vec<_> = [ids[4], ids[5], ids[6]].map(|id| world.name(id)).to_vec();
        world.stop(ids[9]);
        world.pass(10 * SECOND);
        world.leave(ids[4]);
        world.power_off(ids[5]);
        world.kill(ids[6]);
        world.pass(Duration::from_secs(3 * 3_600));

        world.resume(ids[9]);

        for _ in 0..300 {
            world.pass(SECOND / 5);
            let others: Vec<_> = world.running().filter(|id| *id != ids[9]).collect();
            for id in others {
                let back = dead.iter().find(|name| world.view(id, **name).is_some());
                assert_eq!(back, None, "#{}\n{}", id.0, world.journal());
            }
        }
        calm_down(&mut world, 30 * SECOND);
    });
}

#[test]
fn a_core_that_knows_five_thousand_peers_is_small() {
    let mut feed = None;
    let heap = allocation_counter::measure(|| {
        let mut fed = Feed::new(1);
        assert_eq!(fed.grow(5_000), 5_001);
        // What the feed itself holds is not the core's.
        fed.peers.truncate(200);
        fed.peers.shrink_to_fit();
        feed = Some(fed);
    });
    let mut feed = feed.unwrap();

    let mut times: Vec<_> = (0..101).map(|_| feed.change()).collect();
    times.sort();

    let (median, mebibytes) = (times[50], heap.bytes_current / MEBIBYTE);
    report(format_args!("5 000 fed: {mebibytes} MiB, a merge {median:?}"));
    assert!(heap.bytes_current < HEAP, "{mebibytes} MiB");
    assert!(median < MERGE, "{median:?}");
}

#[test]
fn a_million_records_of_strangers_cost_a_core_no_more_than_the_first_ten_thousand() {
    let mut feed = Feed::new(1);
    feed.grow(20);
    let first = allocation_counter::measure(|| feed.strangers(10_000)).bytes_current;

    let rest = allocation_counter::measure(|| {
        for _ in 0..99 {
            feed.strangers(10_000);
        }
    });

    report(format_args!(
        "strangers: {first} octets for 10 000, {} for the rest",
        rest.bytes_current
    ));
    assert!(!feed.closed);
    assert!(first < 8 * MEBIBYTE && rest.bytes_current < MEBIBYTE, "{rest:?}");
    assert_eq!(feed.mesh().peers().count(), 21);
}

/// A member that knows three hosts.
fn member(world: &mut World, ids: &[HostId], seed: u64) -> (HostId, Rc<RefCell<Desk>>) {
    let host = world.add();
    let targets = ids[..3].iter().map(|id| SocketAddr::from((addr(*id), Config::PORT))).collect();
    let (member, desk) = Member::new(world.name(host), targets, seed);
    world.start_process(host, Box::new(member));
    (host, desk)
}

/// The address of a host outside of all private networks.
fn addr(id: HostId) -> [u8; 4] {
    let [_, a, b, c] = (id.0 + 1).to_be_bytes();
    [10, a, b, c]
}

/// What all but one host send in that time.
fn sent(world: &mut World, but: HostId, time: Duration) -> u64 {
    let octets = |world: &World| -> u64 {
        world.hosts().filter(|host| *host != but).map(|host| world.sent(host).octets).sum()
    };
    let before = octets(world);
    world.pass(time);
    octets(world) - before
}
