//! What a later version says crosses today's nodes.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use peer_mesh::Config;
use peer_mesh::wire::{ChannelName, Message, Record, put_tlv};
use weft_tests::mesh::member::Member;
use weft_tests::mesh::{HostId, Weather, World};

use crate::{SECOND, SOON, holds};

/// The last type of a TLV that today's version has in a record.
const NEWEST_TLV: u8 = 7;

#[test]
fn a_record_and_a_channel_of_a_later_version_cross_todays_nodes_unchanged() {
    let mut world = World::new(1, Weather::CALM);
    let ids = world.add_many(3, |number| vec![number.saturating_sub(1)]);
    world.start_all(&ids);
    let took = world.settle(SOON);
    holds(&world, took);
    // Two of a later version, who meet only through those of today.
    let (one, other) = (world.add(), world.add());
    let (left, speaker) = Member::new(world.name(one), vec![addr(ids[0])], 1);
    let (right, listener) = Member::new(world.name(other), vec![addr(ids[2])], 2);
    let later = later_tlvs();
    speaker.borrow_mut().later.clone_from(&later);
    world.start_process(one, Box::new(left));
    world.start_process(other, Box::new(right));
    world.pass(5 * SECOND);
    let channel = ChannelName::new("x-later").unwrap();
    let octets = b"opaque".to_vec();
    let said = Message::Broadcast { channel, hops: 9, octets: octets.clone() };

    speaker.borrow_mut().say.extend([Message::Unknown(200), said]);
    world.pass(5 * SECOND);

    let listener = listener.borrow();
    let is_relayed = |heard: &Message| {
        let Message::Broadcast { channel: on, octets: what, .. } = heard else { return false };
        *on == channel && *what == octets
    };
    let name = world.name(one);
    let record = listener.records.iter().rfind(|record| record.name() == name);
    let record = record.expect("its record did not cross");
    assert!(!later.is_empty() && record.octets().ends_with(&later), "{:?}", record.octets());
    assert!(listener.heard.iter().any(is_relayed), "{:?}", listener.heard);
}

/// What the golden record of a later version has and today's does not understand.
fn later_tlvs() -> Vec<u8> {
    let path = "../peer-mesh/tests/golden/future-record.hex";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let pairs = digits.trim().as_bytes().chunks(2);
    let octets = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16));
    let record = Record::parse(&octets.collect::<Result<Vec<_>, _>>().unwrap()).unwrap();
    let mut later = Vec::new();
    for (kind, value) in record.tlvs().filter(|(kind, _)| *kind > NEWEST_TLV) {
        put_tlv(&mut later, kind, value);
    }
    later
}

fn addr(id: HostId) -> SocketAddr {
    let [_, a, b, c] = (id.0 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], Config::PORT))
}
