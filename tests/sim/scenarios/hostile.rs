use std::collections::BTreeMap;
use std::net::IpAddr;

use switch::{Datagram, DropReason};

use crate::flows::{Family, Transfer};
use crate::seeds::each_seed;
use crate::weather::Weather;
use crate::world::World;

const INJECTED: u64 = 300;

#[test]
fn hostile_datagrams_are_each_counted_under_their_reason_and_traffic_goes_on() {
    each_seed(|seed| {
        let mut world = World::new(2, Weather::STORM, seed);
        let (a, b) = (world.add_pod(0), world.add_pod(1));
        let mut transfer = Transfer::start(&mut world, (a, b), Family::V4, 0, 300_000);
        let mut expected = BTreeMap::new();
        let mut injected = 0;
        world.tapped = Some(Vec::new());

        world.run(600_000, |world| {
            if injected < INJECTED {
                injected += 1;
                let (payload, from, reason) = hostile(world);
                if let Some(reason) = reason {
                    *expected.entry(reason.index()).or_default() += 1;
                }
                let to = world.nodes[1].addr;
                world.inject(Datagram { from, to, payload });
            }
            transfer.pump(world) && injected == INJECTED
        });

        let drops = world.nodes[1].drops().into_iter().map(|(reason, n)| (reason.index(), n));
        assert_eq!(drops.collect::<BTreeMap<_, u64>>(), expected);
        assert!(expected.len() >= 6, "{expected:?}");
        assert_eq!(world.nodes[0].drops(), []);
    });
}

/// A datagram for the second node, who it says it is from, and what it is to be dropped for; some
/// are whole VXLAN datagrams around garbage, which is for the pods to judge.
fn hostile(world: &mut World) -> (Vec<u8>, IpAddr, Option<DropReason>) {
    const HEADER: [u8; 8] = [0x08, 0, 0, 0, 0, 0x1a, 0x80, 0];
    let peer = world.nodes[0].addr;
    let len = usize::try_from(world.rng.within(0..=1400)).unwrap();
    let garbage = world.rng.octets(len);
    match world.rng.within(0..=7) {
        0 => (garbage, [192, 0, 2, 1].into(), Some(DropReason::UnknownVtep)),
        1 => {
            let short = world.rng.octets(len % 8);
            (short, peer, Some(DropReason::ShortVxlan))
        }
        2 => {
            let flags = world.rng.bits().to_le_bytes()[0] & !0x08;
            ([&[flags; 8], &garbage[..]].concat(), peer, Some(DropReason::NoVni))
        }
        3 => {
            let mut header = HEADER;
            header[4] ^= 0x80;
            ([&header, &garbage[..]].concat(), peer, Some(DropReason::WrongVni))
        }
        4 => {
            let runt = world.rng.octets(len % 14);
            ([&HEADER, &runt[..]].concat(), peer, Some(DropReason::Runt))
        }
        5 => {
            let frame = [&[2; 6], &[0xff; 6], &garbage[..], &[0, 0]].concat();
            ([&HEADER, &frame[..]].concat(), peer, Some(DropReason::BadSource))
        }
        6 => {
            let frame = [&[2; 6], &[2; 6], &garbage[..], &[0, 0]].concat();
            ([&HEADER, &frame[..]].concat(), peer, None)
        }
        _ => truncated(world, peer),
    }
}

/// The beginning of a datagram that was really sent.
fn truncated(world: &mut World, peer: IpAddr) -> (Vec<u8>, IpAddr, Option<DropReason>) {
    let tapped = world.tapped.as_ref().unwrap();
    let sent = tapped.iter().rfind(|it| it.from == peer).map(|it| it.payload.clone());
    let mut payload = sent.unwrap_or_default();
    payload.truncate(usize::try_from(world.rng.within(0..=60)).unwrap());
    let reason = match payload.len() {
        0..8 => Some(DropReason::ShortVxlan),
        8..22 => Some(DropReason::Runt),
        _ => None,
    };
    (payload, peer, reason)
}
