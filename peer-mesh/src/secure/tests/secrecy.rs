//! What somebody on the way can read or choose.

use super::*;

fn contains(octets: &[u8], text: &[u8]) -> bool {
    octets.windows(text.len()).any(|window| window == text)
}

/// What goes over the wire in both directions, one batch included.
fn captured(seeds: [u8; 2], psk: &Psk) -> Vec<u8> {
    let mut a = End::new(Secure::dial(psk, HELLO_A, [seeds[0]; 32], V1));
    let mut b = End::new(Secure::accept(psk, HELLO_B, [seeds[1]; 32], V1));
    let (mut octets, from_b) = settle(&mut a, &mut b);
    octets.extend(from_b);
    octets.extend(a.sealed(b"a batch of records"));
    octets
}

#[test]
fn captured_octets_hold_neither_hello_nor_batch() {
    for psk in [password(0), password(1)] {
        let octets = captured([1, 2], &psk);

        for text in [HELLO_A, HELLO_B, b"a batch of records", psk.key()] {
            text.chunks(6).filter(|part| part.len() == 6).for_each(|part| {
                assert!(!contains(&octets, part));
            });
        }
    }
}

#[test]
fn equal_seeds_give_equal_octets_and_others_give_others() {
    let once = captured([1, 2], &password(1));

    assert_eq!(captured([1, 2], &password(1)), once);
    for other in [captured([1, 3], &password(1)), captured([3, 2], &password(1))] {
        assert_eq!(other.len(), once.len());
        assert_ne!(other, once);
    }
}

#[test]
fn the_octets_on_the_wire_are_those_of_version_1() {
    // A change here is a change of the protocol: peers of different builds no longer meet.
    let octets = captured([1, 2], &password(0));

    let digest = <blake2::Blake2s256 as blake2::Digest>::digest(&octets);
    let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, "decabb25c85d5e46d0a4dd46001c4069375a182a0b568ef744cc66dbdb25359e");
}

#[test]
fn an_older_version_cannot_be_forced_on_two_ends() {
    let (mut a, mut b) = (End::dial(&password(0), 1..=2), End::accept(&password(0), 1..=2));
    let (to_b, to_a) = (sent(&mut a), sent(&mut b));
    assert_eq!((&to_b[..], &to_a[..]), (&b"weft\x01\x02"[..], &b"weft\x01\x02"[..]));

    a.feed(b"weft\x01\x01");
    b.feed(b"weft\x01\x01");
    assert_eq!((a.secure.version(), b.secure.version()), (Some(1), Some(1)));
    settle(&mut a, &mut b);

    assert_eq!(b.error, Some(SecureError::Malformed("message 1 does not open")));
    assert_eq!(a.error, Some(SecureError::Malformed("the other end cannot read us")));
}

#[test]
fn a_range_changed_to_the_same_end_is_found_too() {
    for forged in [b"weft\x00\x01", b"weft\x01\x02"] {
        let (mut a, mut b) = (End::dial(&password(0), V1), End::accept(&password(0), V1));
        sent(&mut a);
        a.feed(&sent(&mut b));

        b.feed(forged);
        settle(&mut a, &mut b);

        assert!(a.error.is_some() && b.error.is_some());
    }
}

#[test]
fn no_key_is_printed() {
    let (a, _) = open_pair();
    let fresh = End::dial(&password(1), V1);

    let printed = format!("{:?} {:?}", a.secure, fresh.secure);

    assert_eq!(
        printed,
        "Secure { state: \"open\", version: Some(1) } \
         Secure { state: \"preamble\", version: None }"
    );
}
