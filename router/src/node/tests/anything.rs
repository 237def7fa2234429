//! Whatever comes, in whatever order.

use proptest::prelude::*;

use super::*;
use crate::pmtu::SizeProbe;
use crate::station::Item;

fn inputs() -> impl Strategy<Value = Input> {
    let peers = || (1_u8..5).prop_map(|n| name(n.into()));
    let macs = || (0_u64..6).prop_map(mac);
    let octets = || prop::collection::vec(any::<u8>(), 0..60);
    let known = (1_u8..5, 0_u64..3, any::<bool>(), any::<bool>(), 1_u8..5);
    let known = known.prop_map(|(n, uid, up, neighbour, hop)| {
        let standing = if up { Standing::Up } else { Standing::Silent };
        let route = if hop == n { Some(vec![]) } else { Some(vec![name(hop.into())]) };
        Input::Peer(name(n.into()), Peer { uid, standing, neighbour, route, ..peer(n) })
    });
    prop_oneof![
        known,
        peers().prop_map(Input::PeerGone),
        peers().prop_map(Input::StateWanted),
        (peers(), octets()).prop_map(|(via, message)| Input::Stations { via, message }),
        (peers(), peers(), macs(), 1_u64..9, any::<bool>()).prop_map(
            |(via, owner, mac, sequence, withdrawn)| {
                let addresses = [ip(7)].into();
                let said = crate::station::Announcement {
                    sequence,
                    withdrawn,
                    addresses,
                    more: Default::default(),
                };
                Input::Stations { via, message: emit([Item { owner, mac, said }]).remove(0) }
            }
        ),
        macs().prop_map(Input::Learned),
        macs().prop_map(Input::Unlearned),
        macs().prop_map(Input::Sighting),
        prop::collection::vec(macs(), 0..6).prop_map(Input::Local),
        (macs(), 0_u8..9).prop_map(|(mac, n)| Input::Address(mac, ip(n))),
        (macs(), 0_u8..9).prop_map(|(mac, n)| Input::Heard(mac, ip(n))),
        (macs(), 0_u8..9).prop_map(|(mac, n)| Input::Asked(mac, ip(n))),
        (peers(), lines(), any::<bool>(), 0_u64..9, 0_u64..9).prop_map(
            |(peer, line, poll, seq, echo)| Input::Probe(peer, packet(line, poll, seq, echo))
        ),
        (peers(), lines(), any::<bool>(), 0_u64..30, 500_u16..2_000).prop_map(
            |(peer, line, acknowledges, number, octets)| {
                Input::Size(peer, SizeProbe { line, acknowledges, number, octets })
            }
        ),
        any::<bool>().prop_map(Input::Fast),
        peers().prop_map(Input::Traffic),
        (peers(), prop::option::of(600_u16..2_000))
            .prop_map(|(peer, mtu)| Input::Carries(peer, mtu.and_then(Mtu::new))),
    ]
}

fn lines() -> impl Strategy<Value = Line> {
    prop::sample::select(&Line::ALL[..])
}

proptest! {
    #[test]
    fn the_same_inputs_give_the_same_plans_also_to_a_copy_that_was_written_and_read(
        steps in prop::collection::vec((0_u64..2_000, prop::collection::vec(inputs(), 0..4)), 1..40),
        copied_at in 0_usize..40,
    ) {
        let mut node = Node::new(name(0), config());
        let (mut copy, mut now) = (None::<Node>, ms(0));
        for (n, (pause, inputs)) in steps.into_iter().enumerate() {
            if n == copied_at {
                copy = Some(rmp_serde::from_slice(&rmp_serde::to_vec(&node).unwrap()).unwrap());
            }
            let written = rmp_serde::to_vec_named(&inputs).unwrap();
            prop_assert_eq!(rmp_serde::from_slice::<Vec<Input>>(&written).unwrap(), inputs.clone());
            now += ms(pause);

            let outputs = node.step(now, inputs.clone());

            if let Some(copy) = &mut copy {
                let same = copy.step(now, inputs);
                prop_assert_eq!(format!("{same:?}"), format!("{outputs:?}"));
                prop_assert_eq!(copy.hash(), node.hash());
            }
            // What the outside was told is what is so.
            let placed = node.stations.placed().filter(|(_, owner, _)| *owner != node.own);
            if !node.stations_changed {
                prop_assert_eq!(placed.count(), node.told.placements.len());
            }
        }
    }
}
