//! What every command prints, to the letter. `WEFT_BLESS=1 cargo test -p cli --test golden` writes the
//! files anew; look at the difference before it is committed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;

use common::{Daemon, fixtures, weft};
use serde::Serialize;

#[test]
fn status_looks_like_weaves() {
    for (name, code, status) in [
        ("status", 200, fixtures::status()),
        ("status-zero", 200, fixtures::status_of_nothing()),
        ("status-much", 200, fixtures::status_of_much()),
        ("status-not-ready", 503, fixtures::status_not_ready()),
    ] {
        check(name, code, &status, &["status"]);
    }
}

#[test]
fn connections_look_like_weaves() {
    for (name, connections) in [
        ("connections", fixtures::connections()),
        ("connections-ipv6", fixtures::connections_over_ipv6()),
        ("connections-many", fixtures::many_connections()),
        ("connections-hostile", fixtures::hostile_connections()),
        ("zero", api::Connections { now: fixtures::now(), connections: vec![] }),
    ] {
        check(name, 200, &connections, &["status", "connections"]);
    }
}

#[test]
fn peers_look_like_weaves() {
    for (name, peers) in [
        ("peers", fixtures::peers()),
        ("peers-long", fixtures::long_peers()),
        ("zero", api::Peers { now: fixtures::now(), peers: vec![] }),
    ] {
        check(name, 200, &peers, &["status", "peers"]);
    }
}

#[test]
fn targets_are_lines() {
    let none = api::Targets { now: fixtures::now(), targets: vec![] };
    check("targets", 200, &fixtures::targets(), &["status", "targets"]);
    check("zero", 200, &none, &["status", "targets"]);
}

#[test]
fn paths_are_lines() {
    let none = api::Paths { now: fixtures::now(), paths: vec![] };
    check("paths", 200, &fixtures::paths(), &["status", "paths"]);
    check("zero", 200, &none, &["status", "paths"]);
}

#[test]
fn addresses_look_like_weaves_and_what_is_amiss_is_a_line() {
    for (name, ipam) in [
        ("ipam", fixtures::ipam::of_three()),
        ("ipam-idle", fixtures::ipam::idle()),
        ("ipam-off", fixtures::ipam::off()),
        ("ipam-awaiting", fixtures::ipam::awaiting()),
        ("ipam-amiss", fixtures::ipam::amiss()),
    ] {
        check(name, 200, &ipam, &["status", "ipam"]);
    }
    check("ipam-json", 200, &fixtures::ipam::amiss(), &["status", "ipam", "-o", "json"]);
}

#[test]
fn a_removal_is_a_line() {
    let args = &["rmpeer", "host3"];
    check("rmpeer", 200, &fixtures::ipam::removal(), args);
    check("rmpeer-later", 200, &fixtures::ipam::removal_later(), args);
}

#[test]
fn exposed_addresses_are_lines() {
    let addresses = ["10.32.0.1/12", "fd00:32::1/64"].map(|it| it.parse().unwrap()).to_vec();
    check("expose", 200, &api::Exposed { addresses }, &["expose"]);
    check("zero", 200, &api::Exposed { addresses: vec![] }, &["expose", "10.32.0.1/12"]);
}

#[test]
fn stations_are_lines() {
    let none = api::Fdb { now: fixtures::now(), total: 0, stations: vec![] };
    check("fdb", 200, &fixtures::fdb(), &["fdb"]);
    check("fdb-many", 200, &fixtures::much_of_an_fdb(), &["fdb"]);
    check("fdb-json", 200, &fixtures::fdb(), &["fdb", "-o", "json"]);
    check("zero", 200, &none, &["fdb"]);
}

#[test]
fn stations_are_found_by_mac_address_and_peer() {
    let fdb = fixtures::fdb();
    for (name, wanted) in [
        ("fdb-one", "0a:58:0A:20:00:03"),
        ("fdb-one", "10.32.0.3"),
        ("fdb-one", "fd00:32:0::3"),
        ("fdb-of-host2", "host2"),
        ("fdb-of-host2", "CE:31:e0:06:45:02"),
        ("fdb-here", "host1"),
        ("fdb-here", "here"),
    ] {
        check(name, 200, &fdb, &["fdb", wanted]);
    }
    check("fdb-one-json", 200, &fdb, &["fdb", "10.32.0.3", "-o", "json"]);
}

#[test]
fn json_is_what_the_daemon_said() {
    check("status-json", 200, &fixtures::status(), &["status", "-o", "json"]);
    let hostile = fixtures::hostile_connections();
    check("connections-hostile-json", 200, &hostile, &["status", "-o", "json", "connections"]);
    check("connections-hostile-json", 200, &hostile, &["status", "connections", "-o", "json"]);
    check("report-json", 200, &fixtures::report(), &["report"]);
    check("report-json", 200, &fixtures::report(), &["report", "-o", "json"]);
}

#[test]
fn fields_of_a_report_are_found() {
    let report = fixtures::report();
    check("report-field", 200, &report, &["report", "-f", "control.latency_p99_us"]);
    check("report-fields", 200, &report, &["report", "-f", "peers.*.nickname"]);
    check("report-fields-json", 200, &report, &["report", "-f", "peers.*.nickname", "-o", "json"]);
    check("report-part", 200, &report, &["report", "--field", "status.router.connections"]);
}

#[test]
fn versions_are_two_lines() {
    check("version", 200, &fixtures::status(), &["version"]);
    check("version-json", 200, &fixtures::status(), &["version", "-o", "json"]);
}

fn check(name: &str, code: u16, body: &impl Serialize, args: &[&str]) {
    let daemon = Daemon::answering(code, serde_json::to_string(body).unwrap());

    let outcome = weft(&daemon.socket(), args);

    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{name}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    if std::env::var_os("WEFT_BLESS").is_some() {
        std::fs::write(&file, &outcome.stdout).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    assert_eq!(outcome.stdout, golden, "{name} with {args:?}");
}
