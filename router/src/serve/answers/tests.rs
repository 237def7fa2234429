use std::collections::BTreeMap;

use api::PeerState;
use peer_mesh::shell::PeerView;
use peer_mesh::{CloseReason, GonePeer, GoneReason, Progress, Target};

use super::*;
use crate::serve::fixtures::*;

/// What is told of a connection: far end, state, peer, why, in how many seconds again.
type Told = (String, &'static str, Option<String>, Option<String>, Option<i64>);

fn told(look: &Look) -> Vec<Told> {
    let connections = connections(look).connections.into_iter();
    connections
        .map(|it| {
            let word = ConnectionState::ALL.iter().find(|word| **word == it.state).unwrap();
            let next = it.next_try.map(|next| next.as_second() - look.now.as_second());
            (it.addr.ip().to_string(), word.as_str(), it.nickname, it.reason, next)
        })
        .collect()
}

#[test]
fn a_link_is_established_and_has_the_path_that_frames_take() {
    let mut look = with(|mesh| {
        mesh.links = vec![link(1, false)];
        mesh.peers = vec![peer(1, &[0]), peer(2, &[])];
    });
    look.paths.insert(name(1), relayed(&[2]));

    let connection = connections(&look).connections.remove(0);

    assert_eq!(connection.state, ConnectionState::Established);
    assert_eq!((connection.outbound, connection.addr), (false, addr(1)));
    assert_eq!(connection.name, Some(name(1).to_string()));
    assert_eq!(connection.nickname.as_deref(), Some("host1"));
    assert_eq!((connection.path, connection.mtu), (Some(PathKind::Relay), Some(1410)));
    assert_eq!(connection.via, [look.refer(name(2))]);
    assert_eq!(connection.since, wall(20));
    assert_eq!(connection.reason.as_deref(), Some("nothing heard on user and sleeve"));
    assert_eq!((connection.attempts, connection.next_try), (0, None));
}

#[test]
fn a_connection_that_is_no_link_yet_is_connecting_or_pending() {
    let look = with(|mesh| {
        mesh.pending = vec![
            pending(1, true, Progress::Dialling),
            pending(2, true, Progress::Handshake),
            pending(3, false, Progress::Contested),
            pending(4, false, Progress::Welcomed),
            pending(5, false, Progress::Parting),
        ];
    });

    let told = told(&look);

    let expected = [
        ("10.0.0.2", "pending", None),
        ("10.0.0.3", "pending", Some("another live peer may have its name")),
        ("10.0.0.4", "pending", Some("waits for the other end's word")),
        ("10.0.0.5", "pending", Some("no link is needed: being told of other peers")),
        ("10.0.0.1", "connecting", None),
    ];
    let expected = expected
        .map(|(addr, state, why)| (addr.to_owned(), state, None, why.map(str::to_owned), None));
    assert_eq!(told, expected);
    assert_eq!(connections(&look).connections[0].since, wall(990));
}

#[test]
fn an_address_that_is_dialled_again_says_why_the_last_attempt_failed() {
    let look = with(|mesh| {
        mesh.pending = vec![pending(1, true, Progress::Dialling)];
        mesh.targets = vec![Target { next: None, ..failed(1, unreachable(), 3) }];
    });

    let connection = connections(&look).connections.remove(0);

    assert_eq!(connection.state, ConnectionState::Connecting);
    assert_eq!(connection.reason.as_deref(), Some("cannot connect: No route to host"));
    assert_eq!((connection.attempts, connection.next_try), (3, None));
}

#[test]
fn an_address_where_nobody_was_reached_has_failed() {
    let look = with(|mesh| mesh.targets = vec![failed(1, unreachable(), 3)]);

    let connection = connections(&look).connections.remove(0);

    assert_eq!(connection.state, ConnectionState::Failed);
    assert_eq!((connection.outbound, connection.attempts), (true, 3));
    assert_eq!(connection.since, wall(995));
    assert_eq!(connection.next_try, Some(wall(1005)));
    assert_eq!(connection.reason.as_deref(), Some("cannot connect: No route to host"));
}

#[test]
fn a_link_that_was_lost_is_retrying_until_an_attempt_fails() {
    for (last, attempts, state) in [
        (CloseReason::Silent(secs(3)), 1, "retrying"),
        (CloseReason::Leaving, 1, "retrying"),
        (unreachable(), 2, "failed"),
        (CloseReason::WrongPassword, 1, "failed"),
        (CloseReason::HandshakeTimeout(secs(10)), 1, "failed"),
    ] {
        let look = with(|mesh| {
            mesh.targets =
                vec![Target { name: Some(name(1)), ..failed(1, last.clone(), attempts) }];
        });

        let told = told(&look);

        let why = Some(last.to_string());
        assert_eq!(told, [("10.0.0.1".into(), state, Some(String::new()), why, Some(5))]);
    }
}

#[test]
fn what_is_overdue_is_due_now() {
    let look = with(|mesh| {
        mesh.targets = vec![Target { next: Some(secs(1)), ..failed(1, unreachable(), 3) }];
    });

    assert_eq!(connections(&look).connections[0].next_try, Some(look.now));
    assert_eq!(targets(&look).targets[0].next_try, Some(look.now));
}

#[test]
fn addresses_that_are_not_needed_are_no_connections() {
    let of = |n: u8, target: Target| Target { name: Some(name(n.into())), ..target };
    let look = with(|mesh| {
        mesh.links = vec![link(1, true)];
        mesh.peers = vec![peer(1, &[0, 2]), peer(2, &[1]), peer(3, &[1]), peer(4, &[1])];
        mesh.targets = vec![
            // Another address of a peer that we have a link with, and others that others reach.
            of(1, failed(11, unreachable(), 3)),
            of(2, failed(12, CloseReason::Full, 1)),
            of(3, target(13)),
            of(4, Target { next: Some(secs(999)), ..failed(14, unreachable(), 1) }),
            // The dead, and whoever was there.
            of(9, failed(15, unreachable(), 30)),
            failed(16, unreachable(), 30),
            // Being dialled: it is among the pending.
            Target { next: None, ..failed(17, unreachable(), 30) },
        ];
    });

    assert_eq!(told(&look).len(), 1);
}

#[test]
fn who_is_reached_by_others_only_and_cannot_be_dialled_is_shown() {
    let look = with(|mesh| {
        mesh.links = vec![link(1, true)];
        mesh.peers = vec![peer(1, &[0, 2]), peer(2, &[1])];
        mesh.targets = vec![Target { name: Some(name(2)), ..failed(2, unreachable(), 2) }];
    });

    let why = Some("cannot connect: No route to host".to_owned());
    let expected = ("10.0.0.2".into(), "failed", Some("host2".into()), why, Some(5));
    assert_eq!(told(&look)[1], expected);
}

#[test]
fn connections_are_in_the_order_of_their_states_and_addresses() {
    let look = with(|mesh| {
        mesh.links = vec![link(2, true), link(9, false)];
        mesh.pending =
            vec![pending(3, true, Progress::Dialling), pending(8, false, Progress::Handshake)];
        mesh.targets = vec![
            Target { given: true, ..failed(1, unreachable(), 1) },
            Target { given: true, name: Some(name(4)), ..failed(4, CloseReason::Leaving, 1) },
        ];
    });

    let order: Vec<_> = told(&look).into_iter().map(|(addr, state, ..)| (addr, state)).collect();

    let expected = [
        ("10.0.0.2", "established"),
        ("10.0.0.9", "established"),
        ("10.0.0.8", "pending"),
        ("10.0.0.4", "retrying"),
        ("10.0.0.1", "failed"),
        ("10.0.0.3", "connecting"),
    ];
    assert_eq!(order, expected.map(|(addr, state)| (addr.to_owned(), state)));
    let counts = status(&look).router.connections;
    let expected =
        ConnectionCounts { established: 2, pending: 1, retrying: 1, failed: 1, connecting: 1 };
    assert_eq!(counts, expected);
}

#[test]
fn links_that_one_end_states_are_pending_and_each_end_counts() {
    let look = with(|mesh| {
        mesh.own = Some(peer(0, &[1]));
        mesh.links = vec![link(1, true), link(3, false)];
        let silent = PeerView { state: peer_mesh::PeerState::Silent, ..peer(2, &[]) };
        let claims = PeerView { one_sided: vec![name(1)], ..silent };
        mesh.peers = vec![peer(1, &[0]), claims];
    });

    let router = status(&look).router;
    let peers = peers(&look).peers;

    assert_eq!((router.peers, router.silent), (3, 1));
    assert_eq!((router.established, router.pending), (2, 1));
    let links = |n: usize| -> Vec<_> {
        let each = peers[n].connections.iter();
        each.map(|it| (it.nickname.as_str(), it.established, it.outbound, it.addr)).collect()
    };
    // Of a link of ours that is not told yet it is known already where it goes.
    let own = [("host1", true, Some(true), Some(addr(1))), ("", false, Some(false), Some(addr(3)))];
    assert_eq!(links(0), own);
    assert_eq!(links(1), [("host0", true, Some(false), None)]);
    assert_eq!(links(2), [("host1", false, None, None)]);
}

#[test]
fn peers_are_this_one_then_by_name_then_those_that_are_gone() {
    let gone = GonePeer {
        name: name(1),
        uid: uid(1),
        nickname: "old".into(),
        incarnation: 7,
        reason: GoneReason::Left,
        since: secs(500),
    };
    let look = with(|mesh| {
        mesh.peers =
            vec![peer(2, &[]), PeerView { state: peer_mesh::PeerState::Silent, ..peer(3, &[]) }];
        mesh.gone = vec![gone];
        let lost = failed(3, CloseReason::Silent(std::time::Duration::from_millis(3500)), 1);
        mesh.targets = vec![Target { name: Some(name(3)), ..lost }];
    });

    let peers = peers(&look).peers;

    let told: Vec<_> = peers
        .iter()
        .map(|it| (it.nickname.as_str(), it.state.clone(), it.reason.as_deref(), it.since))
        .collect();
    let expected = [
        ("host0", PeerState::Up, None, wall(10)),
        ("host2", PeerState::Up, None, wall(10)),
        ("host3", PeerState::Silent, Some("nothing heard for 3.5s"), wall(10)),
        ("old", PeerState::Gone, Some("it left"), wall(500)),
    ];
    assert_eq!(told, expected);
    assert_eq!(peers[3].incarnation, 7);
}

#[test]
fn targets_are_what_was_given_then_what_was_learned() {
    let look = with(|mesh| {
        mesh.given = vec![given("10.0.0.1", &[1]), given("node-2", &[2, 3]), given("node-4", &[])];
        mesh.given[2].failed = Some("no such name".into());
        mesh.given[2].next = Some(secs(1007));
        mesh.links = vec![link(7, true)];
        mesh.targets = vec![
            Target { given: true, ..failed(1, CloseReason::WrongPassword, 4) },
            Target { given: true, ..failed(2, unreachable(), 4) },
            Target { given: true, next: None, name: Some(name(7)), ..target(3) },
            target(5),
        ];
    });

    let told: Vec<_> = targets(&look)
        .targets
        .into_iter()
        .map(|it| (it.peer, it.given, it.resolved.len(), it.last_error, it.attempts, it.next_try))
        .collect();

    let error = |text: &str| Some(text.to_owned());
    let expected = [
        ("10.0.0.1:6783".into(), true, 0, error("the passwords differ"), 4, Some(wall(1005))),
        ("node-2:6783".into(), true, 2, None, 0, None),
        (
            "node-4:6783".into(),
            true,
            0,
            error("cannot look it up: no such name"),
            0,
            Some(wall(1007)),
        ),
        ("10.0.0.5:6783".into(), false, 0, None, 0, None),
    ];
    assert_eq!(told, expected);
    assert_eq!(status(&look).router.targets, 3);
}

#[test]
fn of_a_name_with_several_addresses_the_one_that_is_tried_next_is_told() {
    let look = with(|mesh| {
        mesh.given = vec![given("node-2", &[2, 3])];
        mesh.targets = vec![
            Target { given: true, ..failed(2, CloseReason::NotWeft, 9) },
            Target { given: true, next: Some(secs(1001)), ..failed(3, unreachable(), 2) },
        ];
    });

    let target = targets(&look).targets.remove(0);

    assert_eq!(target.last_error.as_deref(), Some("cannot connect: No route to host"));
    assert_eq!((target.attempts, target.next_try), (2, Some(wall(1001))));
}

#[test]
fn paths_are_by_name_with_moments_by_the_wall_clock() {
    let mut look = with(|mesh| mesh.peers = vec![peer(1, &[]), peer(2, &[])]);
    look.paths.insert(name(2), relayed(&[1]));
    look.paths.insert(name(1), direct());

    let paths = paths(&look).paths;

    assert_eq!(paths[0].peer, look.refer(name(1)));
    assert_eq!((&paths[0].path, paths[0].rtt_us), (&PathKind::User, Some(412)));
    assert_eq!((paths[0].since, paths[0].next_probe), (wall(30), Some(wall(1003))));
    let lines = |of: &[(PathKind, LineState)]| of.iter().cloned().collect::<BTreeMap<_, _>>();
    let (user, sleeve) = (PathKind::User, PathKind::Sleeve);
    let assumed = [(user.clone(), LineState::Up), (sleeve.clone(), LineState::Assumed)];
    assert_eq!((paths[0].switches, &paths[0].lines), (2, &lines(&assumed)));
    assert_eq!(paths[1].lines, lines(&[(user, LineState::Down), (sleeve, LineState::Down)]));
    assert_eq!((&paths[1].path, &paths[1].via), (&PathKind::Relay, &vec![look.refer(name(1))]));
    assert_eq!((paths[1].rtt_us, paths[1].next_probe, paths[1].drops), (None, None, 1));
}

#[test]
fn a_station_is_here_or_behind_a_peer_with_its_path_since_it_is_there() {
    let mut look = with(|mesh| mesh.peers = vec![peer(1, &[])]);
    look.paths.insert(name(1), direct());
    let look = stations(look.into());

    let fdb = fdb(&look);

    let told: Vec<_> = fdb
        .stations
        .iter()
        .map(|it| (it.mac.as_str(), it.here, it.peer.nickname.as_str(), it.path.clone(), it.since))
        .collect();
    let ago = Some(wall(990));
    let expected = [
        ("02:00:00:00:00:0a", true, "host0", None, ago),
        ("02:00:00:00:00:0b", false, "host1", Some(PathKind::User), ago),
        ("02:00:00:00:00:0c", false, "", None, None),
    ];
    assert_eq!(told, expected);
    assert_eq!((fdb.now, fdb.total, fdb.stations[0].addresses.len()), (wall(1000), 3, 2));
    assert!(fdb.stations[1].announced && !fdb.stations[2].announced);
}

#[test]
fn a_report_has_what_the_parts_have() {
    let mut look = with(|mesh| {
        mesh.links = vec![link(1, true)];
        mesh.peers = vec![peer(1, &[0])];
        mesh.root = 0xabc;
        mesh.stats.merged = 40;
        mesh.stats.records = 2;
        mesh.shell.refused.too_fast = 3;
    });
    look.paths.insert(name(1), direct());
    look.counters = crate::serve::counters(&switch::Counters::new(0));

    let report = report(&look);

    assert_eq!(report.status, status(&look));
    assert_eq!(report.connections, connections(&look).connections);
    assert_eq!(report.peers, peers(&look).peers);
    assert_eq!(report.paths, paths(&look).paths);
    assert_eq!(report.counters["drops"]["runt"], 0);
    assert_eq!(report.mesh.root, "0000000000000abc");
    assert_eq!((report.mesh.counters["merged"], report.mesh.sizes["records"]), (40, 2));
    assert_eq!(report.mesh.counters["refused_too_fast"], 3);
}

#[test]
fn a_node_that_has_not_started_yet_tells_what_it_knows() {
    let mut look = with(|mesh| mesh.own = None);
    look.ready = false;
    look.waiting_for = vec!["the bridge".into()];

    let status = status(&look);

    assert!(!status.ready);
    assert_eq!(status.waiting_for, ["the bridge"]);
    assert_eq!((status.router.peers, status.router.incarnation), (1, 0));
    assert_eq!(peers(&look).peers, []);
}

/// Both crates say what a terminal takes for its own, since neither may depend on the other.
#[test]
fn the_mesh_and_the_api_take_the_same_characters_for_controls() {
    let differ = |c: &char| api::is_control(*c) != peer_mesh::is_control(*c);

    assert_eq!(('\0'..=char::MAX).find(differ), None);
}
