//! How a connection ends, or begins, as both ends see it.

use super::*;

#[test]
fn two_ends_with_one_password_exchange_hellos_and_batches() {
    let (mut a, mut b) = pair(1, 1);
    assert_eq!(a.received, [Received::Hello(HELLO_B.to_vec())]);
    assert_eq!(b.received, [Received::Hello(HELLO_A.to_vec())]);
    assert_eq!((a.secure.version(), b.secure.version()), (Some(1), Some(1)));

    b.feed(&a.sealed(b"one"));
    a.feed(&b.sealed(b"two"));

    assert_eq!(b.received.last(), Some(&Received::Batch(b"one".to_vec())));
    assert_eq!(a.received.last(), Some(&Received::Batch(b"two".to_vec())));
}

#[test]
fn two_ends_without_a_password_meet() {
    let (a, b) = pair(0, 0);

    assert!(a.secure.is_open() && b.secure.is_open());
}

#[test]
fn both_ends_name_a_wrong_password() {
    for (x, y) in [(1, 2), (0, 1), (1, 0)] {
        let (a, b) = pair(x, y);

        assert_eq!(a.error, Some(SecureError::WrongPassword));
        assert_eq!(b.error, Some(SecureError::WrongPassword));
        assert_eq!((a.received, b.received), (vec![], vec![]));
    }
}

#[test]
fn ends_without_a_common_version_learn_each_others() {
    let (mut a, mut b) = (End::dial(&password(1), 1..=2), End::accept(&password(1), 3..=9));

    settle(&mut a, &mut b);

    assert_eq!(a.error, Some(SecureError::OtherVersion { oldest: 3, newest: 9 }));
    assert_eq!(b.error, Some(SecureError::OtherVersion { oldest: 1, newest: 2 }));
}

#[test]
fn the_newest_common_version_is_spoken() {
    let (mut a, mut b) = (End::dial(&password(1), 1..=3), End::accept(&password(1), 2..=5));

    settle(&mut a, &mut b);

    assert_eq!((a.secure.version(), b.secure.version()), (Some(3), Some(3)));
    assert!(a.secure.is_open() && b.secure.is_open());
}

#[test]
fn who_speaks_something_else_is_known_at_the_first_octet() {
    let others: [&[u8]; 5] =
        [b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"wef7", b"SSH-2.0", &[0; 600]];
    for other in others {
        for mut end in [End::dial(&password(1), V1), End::accept(&password(1), V1)] {
            end.feed(other);

            assert_eq!(end.error, Some(SecureError::NotWeft));
            assert_eq!(sent(&mut end), b"weft\x01\x01", "no more than what was due at once");
        }
    }
}

#[test]
fn an_empty_range_of_versions_is_malformed() {
    let mut end = End::accept(&password(1), 1..=9);

    end.feed(b"weft\x05\x04");

    assert!(matches!(end.error, Some(SecureError::Malformed(_))));
}

#[test]
fn the_longest_hello_and_the_longest_batch_pass() {
    let (hello, batch) = (vec![7; MAX_HELLO], vec![8; MAX_BATCH]);
    let mut a = End::new(Secure::dial(&password(1), &hello, [1; 32], V1));
    let mut b = End::new(Secure::accept(&password(1), &hello, [2; 32], V1));
    settle(&mut a, &mut b);

    b.feed(&a.sealed(&batch));
    b.feed(&a.sealed(&[]));

    assert_eq!(a.received, [Received::Hello(hello.clone())]);
    let all = [Received::Hello(hello), Received::Batch(batch), Received::Batch(vec![])];
    assert_eq!(b.received, all);
}

#[test]
fn a_hello_that_is_too_long_fails_at_home() {
    let mut a = End::new(Secure::dial(&password(1), &[7; MAX_HELLO + 1], [1; 32], V1));

    a.feed(&[]);

    assert!(matches!(a.error, Some(SecureError::Malformed(_))));
}

#[test]
fn nothing_is_sealed_before_the_handshake_or_beyond_the_longest_batch() {
    let mut out = Vec::new();
    let mut fresh = End::dial(&password(1), V1);
    let (mut open, _) = open_pair();
    let (mut rejected, _) = pair(1, 2);

    assert!(!fresh.secure.seal(b"batch", &mut out));
    assert!(!open.secure.seal(&[0; MAX_BATCH + 1], &mut out));
    assert!(!rejected.secure.seal(b"batch", &mut out));

    assert!(out.is_empty());
}

#[test]
fn what_is_still_to_be_sent_goes_before_what_is_sealed() {
    let (mut a, mut b) = (End::dial(&password(1), V1), End::accept(&password(1), V1));
    let (to_b, to_a) = (sent(&mut a), sent(&mut b));
    a.feed(&to_a);
    b.feed(&to_b);
    b.feed(&sent(&mut a));
    a.feed(&sent(&mut b));
    assert!(a.secure.is_open() && !b.secure.is_open());

    b.feed(&a.sealed(b"with message 3"));

    let hello = Received::Hello(HELLO_A.to_vec());
    assert_eq!(b.received, [hello, Received::Batch(b"with message 3".to_vec())]);
}

#[test]
fn two_initiators_give_up() {
    let (mut a, mut b) = (End::dial(&password(1), V1), End::dial(&password(1), V1));

    settle(&mut a, &mut b);

    assert!(matches!(a.error, Some(SecureError::Malformed(_))));
    assert!(matches!(b.error, Some(SecureError::Malformed(_))));
}

#[test]
fn an_end_moves_between_threads() {
    fn moves<T: Send>() {}

    moves::<Secure>();
}
