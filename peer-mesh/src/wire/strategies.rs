//! Values for property tests.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::{
    Announcement, ChannelName, Hello, Link, MAX_ADDRESSES, MAX_COUNT, MAX_RECORD, Message, Patch,
    Record, put_tlv,
};
use crate::{PeerName, PeerUid};

/// Any name.
pub(crate) fn name() -> impl Strategy<Value = PeerName> {
    any::<u64>().prop_map(PeerName::local)
}

/// One of a few names, so that they meet.
pub(crate) fn few_names() -> impl Strategy<Value = PeerName> {
    (0u64..8).prop_map(PeerName::local)
}

/// Any uid.
pub(crate) fn uid() -> impl Strategy<Value = PeerUid> {
    (1u64..).prop_map(|raw| PeerUid::new(raw).unwrap())
}

/// Any address with a port.
pub(crate) fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(SocketAddr::from)
}

/// Any channel's name.
pub(crate) fn channel() -> impl Strategy<Value = ChannelName> {
    "[!-~]{1,16}".prop_map(|text| ChannelName::new(&text).unwrap())
}

/// A nickname, or a label's key or value.
pub(crate) fn short_text() -> impl Strategy<Value = String> {
    ".{0,16}"
}

/// Any link.
pub(crate) fn link() -> impl Strategy<Value = Link> {
    (name(), uid()).prop_map(|(name, uid)| Link { name, uid })
}

/// What any peer may say of itself; it fits a record, with 2 kB to spare.
pub(crate) fn announcement() -> impl Strategy<Value = Announcement> {
    let who = (name(), uid(), 0..MAX_COUNT, 1..=MAX_COUNT);
    let flags = any::<[bool; 5]>();
    let numbers = (any::<u64>(), any::<u64>());
    let texts = (short_text(), btree_map(short_text(), short_text(), 0..5));
    let addresses = btree_set(address(), 0..=MAX_ADDRESSES);
    let peers = (btree_set(link(), 0..40), btree_set(name(), 0..16));
    (who, flags, numbers, texts, addresses, peers).prop_map(
        |(who, flags, (started, capabilities), (nickname, labels), addresses, peers)| {
            let [departed, explicit, leases, isolated, settled] = flags;
            Announcement {
                version: who.3,
                departed,
                explicit,
                leases,
                isolated,
                settled,
                started,
                nickname,
                addresses: addresses.into_iter().collect(),
                labels,
                capabilities,
                links: peers.0,
                unreached: peers.1,
                ..Announcement::new(who.0, who.1, who.2)
            }
        },
    )
}

/// The record of any peer, of this version or with flags and TLVs of a newer one.
pub(crate) fn record() -> impl Strategy<Value = Record> {
    (announcement(), newer_tlvs(), 0u16..0x800).prop_map(|(announcement, tlvs, flags)| {
        let octets = newer(announcement.emit().unwrap().octets(), &tlvs, flags << 5);
        Record::parse(&octets).unwrap()
    })
}

/// Two records of one start of a peer, most of the time with something in common.
pub(crate) fn versions() -> impl Strategy<Value = (Record, Record)> {
    let other = (announcement(), newer_tlvs(), 0u16..0x800);
    (record(), other, any::<[bool; 4]>()).prop_map(|(old, (other, tlvs, flags), keep)| {
        let mut new = Announcement::from(&old);
        let [links, addresses, labels, unreached] = keep;
        let fewer = new.links.iter().step_by(2).copied().collect::<BTreeSet<_>>();
        new.links = if links { &fewer | &other.links } else { fewer };
        if !addresses {
            new.addresses = other.addresses;
        }
        if !labels {
            new.labels = other.labels;
        }
        if !unreached {
            new.unreached = other.unreached;
        }
        new.version = other.version;
        let octets = newer(new.emit().unwrap().octets(), &tlvs, flags << 5);
        (old, Record::parse(&octets).unwrap())
    })
}

/// TLVs that no record of this version has.
pub(crate) fn newer_tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    vec((prop_oneof![Just(0), 8u8..], vec(any::<u8>(), 0..24)), 0..8)
}

/// The same record as a newer version might have written it.
pub(crate) fn newer(record: &[u8], tlvs: &[(u8, Vec<u8>)], flags: u16) -> Vec<u8> {
    let old = Record::parse(record).unwrap();
    let kept = old.tlvs().map(|(kind, value)| (kind, value.to_vec()));
    let mut all: Vec<_> = kept.chain(tlvs.iter().cloned()).collect();
    // Stable: values of a newer type are in any order.
    all.sort_by_key(|(kind, _)| *kind);
    let mut out = (old.flags().0 | flags).to_be_bytes().to_vec();
    out.extend_from_slice(&record[2..record.len() - old.body().len()]);
    for (kind, value) in all {
        put_tlv(&mut out, kind, &value);
    }
    assert!(out.len() <= MAX_RECORD);
    out
}

/// Any hello.
pub(crate) fn hello() -> impl Strategy<Value = Hello> {
    let who = (name(), uid(), 0..=MAX_COUNT, any::<u64>());
    let rest = (any::<[bool; 3]>(), short_text(), any::<u16>(), vec(address(), 0..=MAX_ADDRESSES));
    (who, rest).prop_map(|(who, ([explicit, leases, settled], nickname, port, addresses))| Hello {
        incarnation: who.2,
        explicit,
        leases,
        settled,
        started: who.3,
        nickname,
        port,
        addresses,
        ..Hello::new(who.0, who.1)
    })
}

/// A patch between two records.
pub(crate) fn patch() -> impl Strategy<Value = Patch> {
    versions().prop_filter_map("a patch is longer", |(old, new)| Patch::between(&old, &new))
}

/// Any message of this version.
pub(crate) fn message() -> impl Strategy<Value = Message> {
    let hashes = vec(any::<u64>(), super::BUCKETS);
    let payload = || vec(any::<u8>(), 0..300);
    let unicast = (channel(), name(), name(), any::<u8>(), payload());
    prop_oneof![
        (0..=MAX_COUNT, address())
            .prop_map(|(known, observed)| Message::Welcome { known, observed }),
        (any::<u64>(), vec((channel(), any::<u64>()), 0..=16))
            .prop_map(|(root, digests)| Message::Keepalive { root, digests }),
        record().prop_map(Message::Record),
        patch().prop_map(Message::Patch),
        hashes.prop_map(|hashes| Message::Buckets(Box::new(hashes.try_into().unwrap()))),
        (any::<u64>(), vec((name(), any::<u64>()), 0..40))
            .prop_map(|(buckets, entries)| Message::Held { buckets, entries }),
        vec(name(), 0..40).prop_map(Message::Want),
        (channel(), any::<u8>(), payload())
            .prop_map(|(channel, hops, octets)| Message::Broadcast { channel, hops, octets }),
        unicast.prop_map(|(channel, from, to, hops, octets)| Message::Unicast {
            channel,
            from,
            to,
            hops,
            octets
        }),
        vec(address(), 0..=MAX_ADDRESSES).prop_map(Message::Addresses),
        (any::<u8>(), ".{0,60}", proptest::option::of((name(), uid())))
            .prop_map(|(code, text, name)| Message::Close { code, text, name }),
    ]
}
