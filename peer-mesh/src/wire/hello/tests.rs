use proptest::prelude::*;

use super::*;
use crate::wire::strategies::hello;

fn with(tlvs: &[(u8, &[u8])]) -> Result<Hello, Malformed> {
    let mut octets = Vec::new();
    for (kind, value) in tlvs {
        put_tlv(&mut octets, *kind, value);
    }
    Hello::parse(&octets)
}

#[test]
fn a_hello_says_at_least_who() {
    let (name, uid) = (b"\x02\0\0\0\0\x01", 7u64.to_be_bytes());

    let hello = Hello::new(PeerName::local(1), PeerUid::new(7).unwrap());

    assert_eq!(with(&[(NAME, name), (UID, &uid)]), Ok(hello));
    assert!(with(&[(NAME, name)]).is_err());
    assert!(with(&[(UID, &uid)]).is_err());
}

#[test]
fn a_hello_says_a_thing_once() {
    let (name, uid) = (&b"\x02\0\0\0\0\x01"[..], &7u64.to_be_bytes()[..]);

    assert!(with(&[(UID, uid), (NAME, name)]).is_err());
    assert!(with(&[(NAME, name), (UID, uid), (UID, uid)]).is_err());
    assert!(with(&[(NAME, name), (UID, uid), (PORT, b"12"), (PORT, b"12")]).is_err());
    assert!(with(&[(NAME, name), (UID, uid), (ADDRESS, b"123456"), (ADDRESS, b"123456")]).is_ok());
    assert!(with(&[(NAME, name), (UID, uid), (99, b"x"), (99, b"")]).is_ok());
}

#[test]
fn a_value_that_its_type_cannot_have_is_malformed() {
    let (name, uid) = (&b"\x02\0\0\0\0\x01"[..], &7u64.to_be_bytes()[..]);

    for (kind, value) in [
        (INCARNATION, &b"1234567"[..]),
        (FLAGS, b"1"),
        (STARTED, b""),
        (NICKNAME, &[b'n'; 65]),
        (NICKNAME, b"\xff"),
        (PORT, b"123"),
        (ADDRESS, b"1234"),
    ] {
        assert!(with(&[(NAME, name), (UID, uid), (kind, value)]).is_err(), "{kind} {value:x?}");
    }
    assert!(with(&[(NAME, b"\x01aaaaa"), (UID, uid)]).is_err());
    assert!(with(&[(NAME, name), (UID, uid), (INCARNATION, &[0, 1, 0, 0, 0, 0, 0, 1])]).is_err());
    assert!(with(&[(NAME, name), (UID, &[0; 8])]).is_err());
}

#[test]
fn what_is_too_long_for_a_hello_is_cut() {
    let mut long = Hello::new(PeerName::local(1), PeerUid::new(7).unwrap());
    long.nickname = "caf\u{e9} ".repeat(20);
    long.addresses = vec![([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1], 6783).into(); 20];

    let octets = long.emit();

    let read = Hello::parse(&octets).unwrap();
    assert!(long.nickname.starts_with(&read.nickname) && read.nickname.len() > 60);
    assert_eq!(read.addresses.len(), MAX_ADDRESSES);
    assert!(octets.len() <= 462);
}

#[test]
fn a_hello_is_not_longer_than_its_bound() {
    let mut octets = Hello::new(PeerName::local(1), PeerUid::new(7).unwrap()).emit();
    let room = Hello::MAX - octets.len() - 3;

    let fits = [&octets[..], &[99], &u16::try_from(room).unwrap().to_be_bytes(), &vec![0; room]];
    assert!(Hello::parse(&fits.concat()).is_ok());

    put_tlv(&mut octets, 99, &vec![0; room + 1]);
    assert!(Hello::parse(&octets).is_err());
}

proptest! {
    #[test]
    fn what_is_said_is_read(hello in hello()) {
        prop_assert_eq!(Hello::parse(&hello.emit()), Ok(hello));
    }

    #[test]
    fn what_a_newer_version_adds_is_ignored(
        hello in hello(), kind in 9u8.., value in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut octets = hello.emit();
        put_tlv(&mut octets, kind, &value);

        prop_assert_eq!(Hello::parse(&octets), Ok(hello));
    }

    #[test]
    fn any_octets_are_a_hello_or_malformed(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Hello::parse(&octets);
    }
}
