//! Octets that must not change: what version 1 says, and what it does with what later ones will say.
//!
//! The files in `golden/` were not written by this crate, but after `docs/WIRE.md` alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which clippy does not know as such")]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use peer_mesh::wire::{
    Announcement, ChannelName, Flags, Hello, Link, Message, Patch, PatchError, Record,
    close_message, close_reason, messages,
};
use peer_mesh::{CloseReason, PeerName, PeerUid};

#[test]
fn a_record_of_a_later_version_is_read_and_kept() {
    let octets = golden("future-record");

    let record = Record::parse(&octets).unwrap();

    assert_eq!(record.octets(), octets);
    assert_eq!(record.flags(), Flags(0xc036));
    let mut announcement = announcement();
    (announcement.departed, announcement.explicit, announcement.leases) = (false, true, true);
    assert_eq!(Announcement::from(&record), announcement);
}

#[test]
fn a_record_of_a_later_version_goes_on_unchanged() {
    let octets = golden("future-record");
    let record = Record::parse(&octets).unwrap();

    let batch = emitted(&[Message::Record(record)]);

    let Some(Ok(Message::Record(again))) = messages(&batch).next() else { panic!("no record") };
    assert_eq!(again.octets(), octets);
}

#[test]
fn a_change_of_a_later_version_goes_on_unchanged() {
    let old = Record::parse(&golden("future-record")).unwrap();
    let new = Record::parse(&golden("future-record-next")).unwrap();

    let batch = emitted(&[Message::Patch(Patch::between(&old, &new).unwrap())]);

    let Some(Ok(Message::Patch(patch))) = messages(&batch).next() else { panic!("no patch") };
    assert_eq!(patch.apply(&old).unwrap().octets(), golden("future-record-next"));
    assert_eq!(patch.apply(&new), Err(PatchError::OtherBase));
    assert_eq!(emitted(&[Message::Patch(patch)]), batch);
}

#[test]
fn a_batch_of_a_later_version_is_read() {
    let channel = ChannelName::new("x-later").unwrap();
    let octets = b"opaque".to_vec();
    let close = CloseReason::Other("the moon".into());

    let read: Result<Vec<_>, _> = messages(&golden("future-batch")).collect();

    let record = Record::parse(&golden("future-record")).unwrap();
    let expected = vec![
        Message::Welcome { known: 6, observed: "192.0.2.1:6783".parse().unwrap() },
        Message::Unknown(200),
        Message::Keepalive { root: 0x4444_4444_4444_4444, digests: vec![(channel, 8)] },
        Message::Record(record),
        Message::Broadcast { channel, hops: 5, octets: octets.clone() },
        Message::Unicast { channel, from: name(1), to: name(2), hops: 5, octets },
        Message::Unknown(12),
        Message::Close { code: 77, text: "the moon".into(), name: None },
    ];
    assert_eq!(read, Ok(expected));
    assert_eq!(close_reason(77, "the moon", None), close);
}

#[test]
fn this_version_says_what_it_always_said() {
    let channel = ChannelName::new("ipam").unwrap();
    let longest = ChannelName::new("0123456789abcdef").unwrap();
    let octets = b"opaque".to_vec();
    let old = announcement().emit().unwrap();
    let mut next = announcement();
    next.version += 1;
    next.links.insert(Link { name: name(3), uid: uid(0x3333_3333_3333_3333) });
    let patch = Patch::between(&old, &next.emit().unwrap()).unwrap();
    let said = [
        Message::Welcome { known: 6, observed: v4() },
        Message::Keepalive {
            root: 0x4444_4444_4444_4444,
            digests: vec![(channel, 8), (longest, 9)],
        },
        Message::Record(old),
        Message::Patch(patch),
        Message::Buckets(Box::new(std::array::from_fn(|bucket| bucket as u64))),
        Message::Held { buckets: 5, entries: vec![(name(1), 1), (name(2), 2)] },
        Message::Want(vec![name(1), name(3)]),
        Message::Broadcast { channel, hops: 5, octets: octets.clone() },
        Message::Unicast { channel, from: name(1), to: name(2), hops: 5, octets },
        Message::Addresses(vec![v4(), v6()]),
        close_message(&CloseReason::DuplicateName {
            name: name(1),
            uid: uid(0x1111_1111_1111_1111),
        }),
    ];

    let batch = emitted(&said);

    assert_eq!(batch, golden("version-1"));
    assert_eq!(messages(&batch).collect::<Result<Vec<_>, _>>(), Ok(said.to_vec()));
}

#[test]
fn a_hello_says_what_it_always_said() {
    let hello = Hello {
        incarnation: 7,
        explicit: true,
        leases: true,
        settled: true,
        started: 1_700_000_000,
        nickname: "node-1".into(),
        port: 6783,
        addresses: vec![v6(), v4()],
        ..Hello::new(name(1), uid(0x1111_1111_1111_1111))
    };

    assert_eq!(hello.emit(), golden("hello"));
    assert_eq!(Hello::parse(&golden("hello")), Ok(hello));
}

/// What is in `version-1.hex`, and is known of `future-record.hex`.
fn announcement() -> Announcement {
    Announcement {
        version: 9,
        explicit: true,
        leases: true,
        settled: true,
        started: 1_700_000_000,
        nickname: "node-1".into(),
        addresses: vec![v6(), v4()],
        labels: [("a".into(), "b".into()), ("zone".into(), "north".into())].into(),
        capabilities: 5,
        links: [Link { name: name(2), uid: uid(0x2222_2222_2222_2222) }].into(),
        unreached: [name(3)].into(),
        ..Announcement::new(name(1), uid(0x1111_1111_1111_1111), 7)
    }
}

fn name(last: u8) -> PeerName {
    PeerName::new([0x0a, 0, 0, 0, 0, last]).unwrap()
}

fn uid(raw: u64) -> PeerUid {
    PeerUid::new(raw).unwrap()
}

fn v4() -> SocketAddr {
    "192.0.2.1:6783".parse().unwrap()
}

fn v6() -> SocketAddr {
    "[2001:db8::1]:6783".parse().unwrap()
}

fn emitted(said: &[Message]) -> Vec<u8> {
    let mut batch = Vec::new();
    for message in said {
        message.emit(&mut batch);
    }
    batch
}

/// The octets in a file of hex with comments.
fn golden(file: &str) -> Vec<u8> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = fs::read_to_string(home.join(file).with_extension("hex")).unwrap();
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(octet).collect()
}
