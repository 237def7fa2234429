use peer_mesh::Progress;
use proptest::prelude::*;

use super::*;
use crate::serve::exposition::strict::{Family, parse};
use crate::serve::fixtures::*;

fn read(look: &Look) -> BTreeMap<String, Family> {
    parse(&metrics(look)).unwrap()
}

/// A node with a link, an attempt, a peer on the kernel's path and one behind another.
fn look() -> Look {
    let mut look = with(|mesh| {
        mesh.links = vec![link(1, true)];
        mesh.pending = vec![pending(3, true, Progress::Dialling)];
        mesh.peers = vec![peer(1, &[0]), peer(2, &[1])];
        mesh.stats.links_ended = 4;
        mesh.stats.merged = 40;
        mesh.stats.records = 3;
    });
    look.ipam = with_ipam(|_| {}).ipam;
    look.paths.insert(name(1), PathLook { path: switch::Path::Fast, ..direct() });
    look.paths.insert(name(2), relayed(&[1]));
    look.counters = crate::serve::counters(&switch::Counters::new(0));
    let group = |of: &[(&str, u64)]| of.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
    let more = [
        ("stations", group(&[("now", 9), ("merged", 8)])),
        ("table", group(&[("entries", 7), ("learned", 6)])),
        ("kernel_drops", group(&[("tap_queue_full", 5)])),
        ("control", group(&[("plans", 2)])),
        ("engine", group(&[("restarts", 1)])),
        ("guard", group(&[("let_in", 3)])),
        ("later", group(&[("things", 1)])),
    ];
    look.counters.extend(more.map(|(name, group)| (name.to_owned(), group)));
    look.counters.get_mut("drops").unwrap().insert("runt".into(), 11);
    look.counters.get_mut("to_tap").unwrap().insert("octets".into(), 1 << 40);
    look.control.latency_p99_us = 900;
    look
}

#[test]
fn what_weave_told_is_told_under_its_names() {
    let read = read(&look());

    let connections = &read["weave_connections"];
    let of =
        |state, overlay| connections.at(&[("state", state), ("type", overlay), ("encryption", "")]);
    assert_eq!((of("established", "fastdp"), of("connecting", "unknown")), (Some(1.0), Some(1.0)));
    // An alert that sums over a state finds each of them.
    assert_eq!((of("pending", "unknown"), of("failed", "unknown")), (Some(0.0), Some(0.0)));
    assert_eq!(connections.samples.len(), 6);
    assert_eq!(read["weave_connection_terminations_total"].at(&[]), Some(4.0));
    assert_eq!(read["weave_flows"].at(&[]), Some(3.0));
}

#[test]
fn what_weave_told_of_addresses_is_told_under_its_names() {
    let look = with_ipam(|of| of.removals.push(removal(1, 7)));
    let read = read(&look);

    assert_eq!(read["weave_ips"].at(&[("state", "local-used")]), Some(2.0));
    assert_eq!(read["weave_ips"].samples.len(), 1);
    for (family, value) in [
        ("weave_max_ips", 1024.0),
        // The one that is silent, and one that was removed; who was removed and is up is reached.
        ("weave_ipam_unreachable_count", 2.0),
        ("weave_ipam_unreachable_percentage", 25.0),
        ("weave_ipam_pending_allocates", 2.0),
        ("weave_ipam_pending_claims", 1.0),
        ("weft_ipam_removals", 2.0),
        ("weft_ipam_conflicts", 1.0),
        ("weft_ipam_lost_leases", 2.0),
        ("weft_ipam_unowned", 256.0),
    ] {
        assert_eq!(read[family].at(&[]), Some(value), "{family}");
    }
    for (state, is) in [("ready", 1.0), ("quarantined", 0.0), ("awaiting consensus", 0.0)] {
        assert_eq!(read["weft_ipam_state"].at(&[("state", state)]), Some(is), "{state}");
    }
    for (which, count) in [("owned", 256.0), ("leased", 2.0), ("free", 250.0), ("resting", 4.0)] {
        assert_eq!(read["weft_ipam_addresses"].at(&[("which", which)]), Some(count), "{which}");
    }
    for (state, count) in [("self", 1.0), ("up", 1.0), ("silent", 1.0), ("gone", 0.0)] {
        assert_eq!(read["weft_ipam_owners"].at(&[("state", state)]), Some(count), "{state}");
    }
}

#[test]
fn where_no_addresses_are_managed_nothing_is_told_of_them() {
    let read = read(&alone());

    let of_addresses = |name: &&String| name.contains("_ipam_") || name.ends_with("_ips");
    assert_eq!(read.keys().find(of_addresses), None);
}

#[test]
fn counters_that_add_up_are_one_family_and_others_are_one_each() {
    let read = read(&look());

    for (family, labels, value) in [
        ("weft_drops_total", &[("reason", "runt")][..], 11.0),
        ("weft_drops_total", &[("reason", "too_big")], 0.0),
        ("weft_kernel_drops_total", &[("place", "tap_queue_full")], 5.0),
        ("weft_udp_refusals_total", &[("errno", "eio")], 0.0),
        ("weft_octets_total", &[("way", "to_tap")], 1_099_511_627_776.0),
        ("weft_switch_segmented_total", &[], 0.0),
        ("weft_stations", &[], 9.0),
        ("weft_stations_merged_total", &[], 8.0),
        ("weft_table_entries", &[], 7.0),
        ("weft_guard_let_in_total", &[], 3.0),
        ("weft_later_things_total", &[], 1.0),
        ("weft_mesh_merged_total", &[], 40.0),
        ("weft_mesh_records", &[], 3.0),
        ("weft_control_latency_seconds", &[("of", "p99")], 0.0009),
    ] {
        assert_eq!(read[family].at(labels), Some(value), "{family} {labels:?}");
    }
    assert_eq!(
        read["weft_engine_restarts_total"].help,
        "The upkeep of bridge, TAP and frame threads: restarts."
    );
}

#[test]
fn of_each_peer_its_path_and_what_was_exchanged_are_told() {
    let read = read(&look());

    let (one, two) = (name(1).to_string(), name(2).to_string());
    let info = [("peer", &*one), ("nickname", "host1")];
    assert_eq!(read["weft_peer_info"].at(&info), Some(1.0));
    let path = [("peer", &*two), ("path", "relay")];
    assert_eq!(read["weft_peer_path"].at(&path), Some(1.0));
    let of = |family: &str, peer: &str| read[family].at(&[("peer", peer)]);
    assert_eq!(of("weft_peer_rtt_seconds", &one), Some(0.000_412));
    assert_eq!(of("weft_peer_rtt_seconds", &two), None);
    assert_eq!(of("weft_peer_path_switches_total", &one), Some(2.0));
    assert_eq!(of("weft_peer_stations", &two), Some(3.0));
    assert_eq!(of("weft_peer_sent_octets_total", &one), Some(1000.0));
    assert_eq!(of("weft_peer_received_frames_total", &one), Some(7.0));
    assert_eq!(of("weft_peer_mtu_octets", &two), Some(1410.0));
}

#[test]
fn a_node_that_has_not_started_yet_tells_that_too() {
    let mut look = with(|mesh| mesh.own = None);
    look.ready = false;

    let read = read(&look);

    assert_eq!(read["weft_ready"].at(&[]), Some(0.0));
    assert_eq!(read["weft_peers"].at(&[("state", "up")]), Some(0.0));
    assert_eq!(read["weft_start_time_seconds"].at(&[]), Some(wall(0).as_second() as f64));
}

#[test]
fn of_very_many_peers_only_those_are_told_that_are_counted_one_by_one() {
    let mut look = look();
    look.paths = (0..5_000).map(|n| (name(n), PathLook { counted: n != 7, ..direct() })).collect();

    let text = metrics(&look);
    let read = parse(&text).unwrap();

    assert_eq!(read["weft_peer_sent_frames_total"].samples.len(), PEERS);
    assert_eq!(
        read["weft_peer_path"].at(&[("peer", &name(7).to_string()), ("path", "user")]),
        None
    );
    assert!(text.len() < 4 << 20, "{} octets", text.len());
}

#[test]
fn every_family_is_documented() {
    let doc = include_str!("../../../../../docs/API.md");
    let (_, section) = doc.split_once("\n## Metrics\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let names = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let names: Vec<_> = names.filter_map(|line| line.split(['`', '{']).next()).collect();
    let mut look = look();
    look.counters.remove("later");

    let told = read(&look);

    let fits = |name: &str, row: &str| match row.split_once('*') {
        Some((start, end)) => name.starts_with(start) && name.ends_with(end),
        None => name == row,
    };
    for name in told.keys() {
        assert!(names.iter().any(|row| fits(name, row)), "{name} is in no row of {names:?}");
    }
    for row in names {
        assert!(told.keys().any(|name| fits(name, row)), "there is no {row}");
    }
}

proptest! {
    #[test]
    fn what_peers_call_themselves_breaks_nothing(
        nickname in prop_oneof![any::<String>(), "[a\\\\\"\n{}, =\u{1b}\r]{0,12}"],
    ) {
        let mut look = look();
        std::sync::Arc::make_mut(&mut look.mesh).peers[0].nickname = nickname.clone();

        let read = read(&look);

        let labels = [("peer", &*name(1).to_string()), ("nickname", &*api::printable(&nickname))];
        prop_assert_eq!(read["weft_peer_info"].at(&labels), Some(1.0));
        prop_assert_eq!(read["weft_peer_info"].samples.len(), 2);
    }
}
