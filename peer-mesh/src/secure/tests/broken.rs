//! Octets that were changed, cut, repeated or made up.

use proptest::prelude::*;

use super::*;

/// Everything the two say up to one batch each way, as it is due: (sender is a, octets).
fn turns(a: &mut End, b: &mut End) -> Vec<(bool, Vec<u8>)> {
    let mut turns = Vec::new();
    for _ in 0..3 {
        for from_a in [true, false] {
            let (from, to) = if from_a { (&mut *a, &mut *b) } else { (&mut *b, &mut *a) };
            let octets = sent(from);
            to.feed(&octets);
            turns.push((from_a, octets));
        }
    }
    let batch = a.sealed(b"a to b");
    b.feed(&batch);
    turns.push((true, batch));
    let batch = b.sealed(b"b to a");
    a.feed(&batch);
    turns.push((false, batch));
    turns
}

fn fresh() -> (End, End) {
    (End::dial(&password(1), V1), End::accept(&password(1), V1))
}

/// Runs a connection in which what one end sends at octet `at` is changed; gives the ends.
fn with_change(by_a: bool, at: usize, change: impl Fn(&mut u8)) -> (End, End) {
    let (mut a, mut b) = fresh();
    let mut seen = 0;
    let mut tap = |from_a: bool, mut octets: Vec<u8>| {
        if from_a == by_a {
            if let Some(octet) = at.checked_sub(seen).and_then(|at| octets.get_mut(at)) {
                change(octet);
            }
            seen += octets.len();
        }
        octets
    };
    for turn in 0..12 {
        let (from_a, batch) = (turn % 2 == 0, turn >= 8);
        let (from, to) = if from_a { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let mut octets = sent(from);
        if batch {
            from.secure.seal(b"a batch", &mut octets);
        }
        to.feed(&tap(from_a, octets));
    }
    (a, b)
}

fn lengths() -> (usize, usize) {
    let (mut a, mut b) = fresh();
    let (from_a, from_b) = settle(&mut a, &mut b);
    (from_a.len() + a.sealed(b"a batch").len(), from_b.len() + b.sealed(b"a batch").len())
}

#[test]
fn an_octet_changed_anywhere_is_found_before_anything_after_it_is_believed() {
    let (len_a, len_b) = lengths();
    for (by_a, len) in [(true, len_a), (false, len_b)] {
        for at in 0..len {
            for bit in [0x01, 0x80] {
                let (a, b) = with_change(by_a, at, |octet| *octet ^= bit);
                let (from, to) = if by_a { (&a, &b) } else { (&b, &a) };

                // A length that grew may still wait for its octets, but then nothing was believed.
                let batches =
                    to.received.iter().filter(|r| matches!(r, Received::Batch(_))).count();
                assert!(to.error.is_some() || batches == 0, "octet {at} of {len}, by a: {by_a}");
                let hello = Received::Hello(if by_a { HELLO_A } else { HELLO_B }.to_vec());
                assert!(to.received.iter().all(|r| matches!(r, Received::Batch(_)) || *r == hello));
                let spurious = Some(SecureError::NotWeft);
                assert!(from.error != spurious, "who was not changed is not blamed");
            }
        }
    }
}

#[test]
fn a_message_changed_on_the_way_is_told_from_a_wrong_password() {
    // Octets of b before the payload of message 2: preamble, length, both keys and a tag.
    let keys = 6 + 2 + 32 + 32 + 16;

    let (a, b) = with_change(false, keys - 1, |octet| *octet ^= 1);
    assert_eq!(a.error, Some(SecureError::Malformed("message 2 does not open")));
    assert_eq!(b.error, Some(SecureError::Malformed("the other end cannot read us")));

    let (a, b) = with_change(false, keys, |octet| *octet ^= 1);
    assert_eq!(
        (a.error, b.error),
        (Some(SecureError::WrongPassword), Some(SecureError::WrongPassword))
    );
}

#[test]
fn a_connection_cut_anywhere_waits_and_then_goes_on() {
    let (mut a, mut b) = fresh();
    let all = turns(&mut a, &mut b);
    for by_a in [true, false] {
        let stream: Vec<u8> =
            all.iter().filter(|(from_a, _)| *from_a == by_a).flat_map(|(_, o)| o.clone()).collect();
        let expected = if by_a { b.received.clone() } else { a.received.clone() };
        for cut in 0..=stream.len() {
            let (x, y) = fresh();
            let mut end = if by_a { y } else { x };

            end.feed(&stream[..cut]);
            assert_eq!(end.error, None);
            assert!(cut == stream.len() || end.received.len() < expected.len());

            end.feed(&stream[cut..]);
            assert_eq!((end.error, end.received), (None, expected.clone()));
        }
    }
}

#[test]
fn octets_that_come_one_at_a_time_or_all_at_once_mean_the_same() {
    let (mut a, mut b) = fresh();
    let all = turns(&mut a, &mut b);
    let stream: Vec<u8> = all.into_iter().filter(|t| t.0).flat_map(|t| t.1).collect();

    let (_, mut slow) = fresh();
    stream.chunks(1).for_each(|octet| slow.feed(octet));
    let (_, mut fast) = fresh();
    fast.feed(&stream);

    assert_eq!(slow.received, b.received);
    assert_eq!(fast.received, b.received);
}

#[test]
fn frames_that_come_together_are_given_one_by_one() {
    let (mut a, mut b) = open_pair();
    let mut frames = Vec::new();
    for n in 0..=u8::MAX {
        assert!(a.secure.seal(&[n; 3], &mut frames));
    }

    b.feed(&frames);

    let batches: Vec<_> = (0..=u8::MAX).map(|n| Received::Batch(vec![n; 3])).collect();
    assert_eq!(b.received[1..], batches);
}

#[test]
fn a_frame_that_comes_again_is_refused() {
    let (mut a, mut b) = open_pair();
    let frame = a.sealed(b"once");

    b.feed(&frame);
    assert_eq!(b.error, None);
    b.feed(&frame);

    assert_eq!(b.error, Some(SecureError::Malformed("a batch does not open")));
    assert_eq!(b.received.len(), 2);
}

#[test]
fn a_frame_that_was_left_out_is_missed() {
    let (mut a, mut b) = open_pair();
    let _lost = a.sealed(b"first");

    b.feed(&a.sealed(b"second"));

    assert_eq!(b.error, Some(SecureError::Malformed("a batch does not open")));
}

#[test]
fn a_frame_sent_back_to_its_sender_is_refused() {
    let (mut a, _) = open_pair();
    let frame = a.sealed(b"mine");

    a.feed(&frame);

    assert_eq!(a.error, Some(SecureError::Malformed("a batch does not open")));
}

#[test]
fn a_connection_replayed_to_the_same_responder_gets_no_hello_through() {
    let (mut a, mut b) = fresh();
    let (from_a, _) = settle(&mut a, &mut b);

    let mut again = End::new(Secure::accept(&password(1), HELLO_B, [3; 32], V1));
    again.feed(&from_a);

    assert_eq!(again.error, Some(SecureError::Malformed("message 3 does not open")));
    assert_eq!(again.received, []);
}

#[test]
fn a_frame_of_no_use_is_refused_at_its_header() {
    let short = Some(SecureError::Malformed("a short frame"));
    let long = Some(SecureError::Malformed("a long frame"));
    for (len, error) in [(1_u16, &short), (47, &short), (49, &long), (2048, &long), (65_535, &long)]
    {
        let mut b = End::accept(&password(1), V1);
        b.feed(b"weft\x01\x01");

        b.feed(&len.to_be_bytes());

        assert_eq!(&b.error, error);
        assert_eq!(sent(&mut b), b"weft\x01\x01\0\0\x02", "and it says so");
    }
    for (len, error) in [(1, &short), (15, &short), (65_017, &long), (65_535, &long)] {
        let (mut a, _) = open_pair();

        a.feed(&u16::to_be_bytes(len));

        assert_eq!(&a.error, error);
        assert_eq!(sent(&mut a), b"", "nothing is said in clear once open");
    }
}

#[test]
fn a_hello_of_more_than_the_longest_is_refused_at_its_header() {
    let (mut a, mut b) = fresh();
    a.feed(&sent(&mut b));
    b.feed(&sent(&mut a));

    a.feed(&(96 + 1025_u16).to_be_bytes());

    assert_eq!(a.error, Some(SecureError::Malformed("a long frame")));
}

#[test]
fn nothing_is_computed_for_who_never_ends_message_1() {
    let (mut a, mut b) = fresh();
    let preamble = sent(&mut a);
    a.feed(&sent(&mut b));
    let message = sent(&mut a);

    b.feed(&preamble);
    b.feed(&message[..message.len() - 1]);

    assert!(matches!(b.secure.state, State::Handshake(Handshake::Message1 { .. })));
    assert_eq!(sent(&mut b), [0_u8; 0]);
}

#[test]
fn a_reject_ends_a_handshake_and_is_not_answered() {
    let unknown = SecureError::Malformed("a reject for an unknown reason");
    let malformed = SecureError::Malformed("the other end cannot read us");
    for (code, error) in [(1, SecureError::WrongPassword), (2, malformed), (77, unknown)] {
        for mut end in [End::dial(&password(1), V1), End::accept(&password(1), V1)] {
            end.feed(b"weft\x01\x01");
            sent(&mut end);

            end.feed(&[0, 0, code]);

            assert_eq!(end.error, Some(error.clone()));
            assert_eq!(sent(&mut end), b"");
        }
    }
}

#[test]
fn a_reject_after_the_handshake_is_malformed() {
    let (a, b) = open_pair();
    for mut end in [a, b] {
        end.feed(&[0, 0, 1]);

        assert_eq!(end.error, Some(SecureError::Malformed("a reject after the handshake")));
    }
}

#[test]
fn octets_after_an_error_are_not_kept() {
    let mut end = End::accept(&password(1), V1);
    end.feed(b"GET /");

    for _ in 0..100 {
        end.feed(&[0; 65_536]);
    }

    assert_eq!(end.secure.inbox.held(), 0);
}

/// Every held octet is of one frame, however the octets come.
#[test]
fn less_than_a_frame_is_held() {
    let (mut a, mut b) = open_pair();
    let mut stream = Vec::new();
    (0..4).for_each(|n| assert!(a.secure.seal(&[n; MAX_BATCH], &mut stream)));

    for octets in stream.chunks(50_021) {
        b.feed(octets);
        assert!(b.secure.inbox.held() < MAX_BATCH + OVERHEAD);
    }

    assert_eq!(b.secure.inbox.held(), 0);
    assert_eq!(b.received.len(), 5);
}

proptest! {
    #[test]
    fn octets_made_up_never_panic_and_never_open_a_connection(
        initiator: bool,
        preamble: bool,
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8),
    ) {
        let (a, b) = fresh();
        let mut end = if initiator { a } else { b };
        if preamble {
            end.feed(b"weft\x01\x01");
        }
        for piece in &pieces {
            end.feed(piece);
        }
        prop_assert!(!end.secure.is_open());
        prop_assert_eq!(end.received, []);
    }

    #[test]
    fn frames_made_up_are_refused_by_every_state(
        stage in 0_usize..4,
        len in 1_u16..1200,
        fill: u8,
    ) {
        let (mut a, mut b) = fresh();
        for _ in 0..stage {
            let (x, y) = (sent(&mut a), sent(&mut b));
            a.feed(&y);
            b.feed(&x);
        }
        let frame: Vec<u8> =
            len.to_be_bytes().into_iter().chain(vec![fill; usize::from(len)]).collect();
        for mut end in [a, b] {
            let before = end.received.len();
            if stage == 0 {
                end.feed(b"weft\x01\x01");
            }

            end.feed(&frame);

            // 48 octets are a message 1 only if their tag is right.
            prop_assert!(end.error.is_some());
            prop_assert_eq!(end.received.len(), before);
        }
    }

    #[test]
    fn octets_made_up_after_the_handshake_end_in_an_error_or_wait(octets: Vec<u8>) {
        let (a, b) = open_pair();
        for mut end in [a, b] {
            end.feed(&octets);

            prop_assert!(end.error.is_some() || end.secure.inbox.held() == octets.len());
            prop_assert_eq!(end.received.len(), 1);
        }
    }
}
