//! Laws: whatever the texts say, an entry is one line. What the layouts look like is in cli/tests/golden.

mod ipam;

use std::net::SocketAddr;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    Connection, ConnectionCounts, Path, PeerConnection, PeerRef, Protocol, Router, Target, Traffic,
};

proptest! {
    #[test]
    fn a_connection_is_one_line(of in prop::collection::vec(connection(), 0..5)) {
        let text = connections(&Connections { now: NOW, connections: of.clone() });

        prop_assert!(is_lines(&text, of.len()), "{text:?}");
    }

    #[test]
    fn a_peer_is_one_line_and_one_for_each_connection(of in prop::collection::vec(peer(), 0..5)) {
        let expected = of.iter().map(|it| 1 + it.connections.len()).sum();

        let text = peers(&Peers { now: NOW, peers: of });

        prop_assert!(is_lines(&text, expected), "{text:?}");
    }

    #[test]
    fn a_target_is_one_line(of in prop::collection::vec(target(), 0..5)) {
        let text = targets(&Targets { now: NOW, targets: of.clone() });

        prop_assert!(is_lines(&text, of.len()), "{text:?}");
    }

    #[test]
    fn a_path_is_one_line(of in prop::collection::vec(path(), 0..5)) {
        let text = paths(&Paths { now: NOW, paths: of.clone() });

        prop_assert!(is_lines(&text, of.len()), "{text:?}");
    }

    #[test]
    fn a_station_is_one_line_and_those_not_told_are_another(
        of in prop::collection::vec(station(), 0..5),
        more in 0..2_u64,
    ) {
        let (told, total) = (of.len(), of.len() as u64 + more);

        let text = fdb(&Fdb { now: NOW, total, stations: of });

        prop_assert!(is_lines(&text, told + usize::from(more > 0)), "{text:?}");
    }

    #[test]
    fn a_status_has_its_lines_with_the_colon_in_column_16(of in any_status()) {
        let text = status(&of);

        let count = 13 + usize::from(!of.ready) + if of.ipam.is_some() { 5 } else { 0 };
        prop_assert!(is_lines(&text, count), "{text:?}");
        for line in text.lines().filter(|line| !line.is_empty()) {
            prop_assert_eq!(line.find(':'), Some(15), "{:?}", line);
        }
    }

    #[test]
    fn a_span_is_short_whatever_the_clocks_say(from in any::<i32>(), to in any::<i32>()) {
        let at = |seconds: i32| Timestamp::from_second(seconds.into()).unwrap();

        let text = span(at(from), at(to));

        prop_assert!(!text.contains('-') && text.len() <= 9, "{text}");
    }
}

#[test]
fn a_span_is_told_in_its_two_largest_units() {
    for (seconds, text) in [
        (0, "0s"),
        (59, "59s"),
        (60, "1m0s"),
        (3599, "59m59s"),
        (3600, "1h0m"),
        (86399, "23h59m"),
        (86400, "1d0h"),
        (400 * 86400 + 7200, "400d2h"),
    ] {
        let to = Timestamp::from_second(seconds).unwrap();

        assert_eq!(span(NOW, to), text);
    }
}

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn is_lines(text: &str, count: usize) -> bool {
    let printable = text.chars().all(|c| c == '\n' || !crate::is_control(c));
    printable && text.lines().count() == count && (text.is_empty() || text.ends_with('\n'))
}

/// Any text, and more often than chance has it, what a terminal or a reader of lines would act on.
fn words() -> impl Strategy<Value = String> {
    let nasty = "[a-z \\n\\r\\t\\x00\\x1b\\x7f\u{85}\u{200e}\u{2028}\u{202e}\u{2066}é東]{0,40}";
    prop_oneof![any::<String>(), nasty]
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    any::<SocketAddr>()
}

fn peer_ref() -> impl Strategy<Value = PeerRef> {
    (words(), words()).prop_map(|(name, nickname)| PeerRef { name, nickname })
}

fn connection() -> impl Strategy<Value = Connection> {
    let state =
        prop_oneof![Just("established"), Just("pending"), Just("failed"), Just("connecting")];
    let state = prop_oneof![state.prop_map(str::to_owned), words()];
    let names = prop::option::of((words(), words()));
    let via = prop::collection::vec(peer_ref(), 0..3);
    (state, names, via, prop::option::of(words()), prop::option::of(words()), addr()).prop_map(
        |(state, names, via, path, reason, addr)| {
            let (name, nickname) = names.unzip();
            Connection {
                outbound: via.is_empty(),
                addr,
                state: state.into(),
                name,
                nickname,
                encrypted: false,
                path: path.map(Into::into),
                via,
                mtu: Some(1410),
                since: NOW,
                reason,
                attempts: 1,
                next_try: None,
            }
        },
    )
}

fn peer() -> impl Strategy<Value = Peer> {
    let link = (words(), words(), any::<Option<bool>>(), prop::option::of(addr()));
    let links = prop::collection::vec(link, 0..4);
    (words(), words(), words(), prop::option::of(words()), links).prop_map(
        |(name, nickname, state, reason, links)| Peer {
            name,
            nickname,
            uid: String::new(),
            incarnation: 1,
            state: state.into(),
            since: NOW,
            reason,
            connections: links
                .into_iter()
                .map(|(name, nickname, outbound, addr)| PeerConnection {
                    name,
                    nickname,
                    established: true,
                    outbound,
                    addr,
                })
                .collect(),
            addresses: Vec::new(),
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    (words(), any::<bool>(), prop::option::of(words()), prop::collection::vec(addr(), 0..3))
        .prop_map(|(peer, given, last_error, resolved)| Target {
            peer,
            given,
            resolved,
            last_error,
            attempts: 0,
            next_try: None,
        })
}

fn path() -> impl Strategy<Value = Path> {
    let via = prop::collection::vec(peer_ref(), 0..3);
    let line = (words().prop_map(Into::into), words().prop_map(Into::into));
    let lines = prop::collection::btree_map(line.0, line.1, 0..4);
    (peer_ref(), words(), via, prop::option::of(words()), lines).prop_map(
        |(peer, path, via, reason, lines)| Path {
            peer,
            path: path.into(),
            via,
            since: NOW,
            reason,
            switches: u64::MAX,
            mtu: None,
            rtt_us: Some(u64::MAX),
            next_probe: None,
            lines,
            sent: Traffic::default(),
            received: Traffic { frames: u64::MAX, octets: u64::MAX },
            drops: 0,
        },
    )
}

fn station() -> impl Strategy<Value = Station> {
    let addresses = prop::collection::vec(any::<std::net::IpAddr>(), 0..3);
    (words(), any::<bool>(), peer_ref(), prop::option::of(words()), addresses).prop_map(
        |(mac, here, peer, path, addresses)| Station {
            mac,
            here,
            peer,
            path: path.map(Into::into),
            addresses,
            since: Some(NOW).filter(|_| here),
            announced: here,
        },
    )
}

fn any_status() -> impl Strategy<Value = Status> {
    let list = || prop::collection::vec(words(), 0..3);
    (words(), any::<bool>(), list(), words(), words(), list(), any::<u64>()).prop_map(
        |(version, ready, waiting_for, name, nickname, trusted_subnets, count)| Status {
            now: NOW,
            version: version.clone(),
            started: NOW,
            ready,
            waiting_for,
            router: Router {
                protocol: Protocol { min: 1, max: 2 },
                name,
                nickname: nickname.clone(),
                uid: String::new(),
                incarnation: 1,
                fast: version.clone(),
                receive: nickname.clone(),
                encryption: false,
                password: false,
                discovery: true,
                targets: count,
                connections: ConnectionCounts {
                    established: count,
                    failed: count,
                    ..Default::default()
                },
                peers: count,
                silent: count,
                established: count,
                pending: 0,
                trusted_subnets,
            },
            ipam: (count % 2 == 0).then(|| ipam::section(&nickname, &version)),
        },
    )
}
