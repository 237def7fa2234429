use proptest::prelude::*;

use super::*;
use crate::wire::put_tlv;
use crate::wire::strategies::{channel, message};

fn emitted(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.emit(&mut out);
    out
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    out.extend_from_slice(body);
    out
}

#[test]
fn a_message_of_a_newer_version_is_passed_over() {
    let want = Message::Want(vec![PeerName::local(1)]);
    let batch = [framed(99, b"anything"), emitted(&want), framed(0, b"")].concat();

    let read: Vec<_> = messages(&batch).collect();

    assert_eq!(read, [Ok(Message::Unknown(99)), Ok(want), Ok(Message::Unknown(0))]);
}

#[test]
fn nothing_is_read_behind_an_error() {
    let want = emitted(&Message::Want(Vec::new()));
    let batch = [&want[..], &framed(WELCOME, b""), &want].concat();

    let read: Vec<_> = messages(&batch).collect();

    assert_eq!(read, [Ok(Message::Want(Vec::new())), Err(Malformed("cut short"))]);
}

#[test]
fn a_message_that_reaches_beyond_its_batch_is_malformed() {
    let whole = framed(99, b"anything");

    for len in 1..whole.len() {
        assert_eq!(messages(&whole[..len]).next(), Some(Err(Malformed("cut short"))));
    }
}

#[test]
fn a_batch_is_not_longer_than_its_bound() {
    let longest = framed(99, &[0; MAX_BATCH - HEADER]);
    let longer = framed(99, &[0; MAX_BATCH - HEADER + 1]);

    assert_eq!(messages(&longest).next(), Some(Ok(Message::Unknown(99))));
    assert!(messages(&longer).next().unwrap().is_err());
}

#[test]
fn a_list_says_no_more_items_than_it_may_have_and_has() {
    for (kind, before, most, item) in [
        (KEEPALIVE, 8, MAX_DIGESTS, &[1, b'c', 0, 0, 0, 0, 0, 0, 0, 0][..]),
        (HELD, 8, MAX_ENTRIES, &[2; 14]),
        (WANT, 0, MAX_ENTRIES, &[2; 6]),
        (ADDRESSES, 0, MAX_ADDRESSES, &[6; 7]),
    ] {
        let list = |said: usize, there: usize| {
            let count = u16::try_from(said).unwrap().to_be_bytes();
            let body = [&vec![0; before][..], &count, &item.repeat(there)].concat();
            messages(&framed(kind, &body)).next().unwrap()
        };
        assert!(list(most, most).is_ok(), "{kind}");
        assert!(list(most + 1, most + 1).is_err(), "{kind}");
        assert_eq!(list(2, 1), Err(Malformed("cut short")), "{kind}");
        assert!(list(0, 0).is_ok(), "{kind}");
    }
}

#[test]
fn the_longest_messages_fit_a_batch() {
    let name = PeerName::local(1);
    let channel = ChannelName::new("0123456789abcdef").unwrap();
    let (from, to, octets) = (name, name, vec![0; MAX_PAYLOAD]);

    for message in [
        Message::Held { buckets: 1, entries: vec![(name, 2); MAX_ENTRIES] },
        Message::Want(vec![name; MAX_ENTRIES]),
        Message::Broadcast { channel, hops: 5, octets: octets.clone() },
        Message::Unicast { channel, from, to, hops: 1, octets },
    ] {
        let batch = emitted(&message);
        assert!(batch.len() <= MAX_BATCH);
        assert_eq!(messages(&batch).collect::<Vec<_>>(), vec![Ok(message)]);
    }
}

#[test]
fn what_is_too_long_for_a_message_is_cut() {
    let name = PeerName::local(1);
    let channel = ChannelName::new("c").unwrap();
    let address = ([10, 0, 0, 1], 1).into();
    let (from, to, octets) = (name, name, vec![0; 70_000]);

    for message in [
        Message::Keepalive { root: 1, digests: vec![(channel, 2); 17] },
        Message::Held { buckets: 1, entries: vec![(name, 2); 5_000] },
        Message::Want(vec![name; 20_000]),
        Message::Broadcast { channel, hops: 5, octets: octets.clone() },
        Message::Unicast { channel, from, to, hops: 1, octets },
        Message::Addresses(vec![address; 17]),
        Message::Close { code: 1, text: "\u{e9}".repeat(200), name: None },
    ] {
        let batch = emitted(&message);
        assert_eq!(batch.len(), message.emitted_len());
        let read: Vec<_> = messages(&batch).collect();
        assert!(matches!(&read[..], [Ok(_)]), "{read:?}");
    }
}

#[test]
fn a_close_is_about_one_or_none() {
    let close = |subject: &[u8]| {
        messages(&framed(CLOSE, &[&[1, 0, 1, b'x'], subject].concat())).next().unwrap()
    };

    assert!(close(&[0]).is_ok());
    assert!(close(b"\x01\x02aaaaabbbbbbbb").is_ok());
    assert!(close(&[2]).is_err());
    assert!(close(&[1]).is_err());
}

#[test]
fn a_text_is_utf_8_and_not_longer_than_its_bound() {
    let close = |text: &[u8]| {
        let len = u16::try_from(text.len()).unwrap().to_be_bytes();
        messages(&framed(CLOSE, &[&[1], &len[..], text, &[0]].concat())).next().unwrap()
    };

    assert!(close(&[b'x'; MAX_TEXT]).is_ok());
    assert!(close(&[b'x'; MAX_TEXT + 1]).is_err());
    assert!(close(&[0xff]).is_err());
}

proptest! {
    #[test]
    fn what_is_said_is_read(said in prop::collection::vec(message(), 0..4)) {
        let mut batch = Vec::new();
        for message in &said {
            let before = batch.len();
            message.emit(&mut batch);
            prop_assert_eq!(batch.len() - before, message.emitted_len());
        }

        let read: Result<Vec<_>, _> = messages(&batch).collect();

        prop_assert_eq!(read, Ok(said));
    }

    #[test]
    fn what_a_newer_version_adds_to_a_message_is_ignored(
        message in message(), kind in 9u8.., value in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let old = emitted(&message);
        let mut body = old[HEADER..].to_vec();
        put_tlv(&mut body, kind, &value);
        let cut = framed(old[0], &body[..body.len() - 1]);

        let read = messages(&framed(old[0], &body)).next().unwrap();

        // A record keeps it: it is its owner's.
        if !matches!(message, Message::Record(_)) {
            prop_assert_eq!(read, Ok(message));
            prop_assert!(messages(&cut).next().unwrap().is_err());
        }
    }

    #[test]
    fn any_octets_are_messages_or_malformed(
        mut batch in prop::collection::vec(any::<u8>(), 0..600), kind in 0u8..13,
    ) {
        let _ = messages(&batch).count();
        if let [first, high, ..] = &mut batch[..] {
            (*first, *high) = (kind, 0);
        }
        let _ = messages(&batch).count();
    }

    #[test]
    fn messages_that_were_changed_are_messages_or_malformed(
        message in message(), at in any::<prop::sample::Index>(), octet in any::<u8>(),
    ) {
        let mut batch = emitted(&message);
        let at = at.index(batch.len());
        batch[at] = octet;
        for message in messages(&batch).map_while(Result::ok) {
            prop_assert!(matches!(message, Message::Unknown(_)) || message.emitted_len() <= batch.len());
        }
    }

    #[test]
    fn a_channel_is_read_from_its_octets_only(name in channel()) {
        let mut octets = Vec::new();
        name.emit(&mut octets);

        prop_assert_eq!(Cursor::new(&octets).channel(), Ok(name));
        prop_assert!(Cursor::new(&octets[..octets.len() - 1]).channel().is_err());
    }
}
