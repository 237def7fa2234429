//! What a daemon might report.

pub(crate) mod ipam;

use std::collections::BTreeMap;

use api::{
    Connection, ConnectionCounts, Connections, Consensus, Control, Fdb, IpamStatus, Kernel,
    LineState, MeshStats, Path, PathKind, Paths, Peer, PeerConnection, PeerRef, Peers, Protocol,
    Quirk, Report, Router, Station, Status, Target, Targets, Timestamp, Traffic,
};

pub(crate) fn now() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// So many seconds ago.
pub(crate) fn ago(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() - seconds).unwrap()
}

/// In so many seconds.
pub(crate) fn ahead(seconds: i64) -> Option<Timestamp> {
    Some(ago(-seconds))
}

/// Weave's documentation has this one.
pub(crate) fn status() -> Status {
    Status {
        now: now(),
        version: "0.1.0".into(),
        started: ago(3 * 3600 + 125),
        ready: true,
        waiting_for: vec![],
        router: Router {
            protocol: Protocol { min: 1, max: 2 },
            name: "4a:0f:f6:ec:1c:93".into(),
            nickname: "host1".into(),
            uid: "0011223344556677".into(),
            incarnation: 3,
            fast: "on".into(),
            receive: "kernel".into(),
            encryption: false,
            password: true,
            discovery: true,
            targets: 2,
            connections: ConnectionCounts {
                established: 1,
                pending: 1,
                retrying: 1,
                failed: 1,
                connecting: 1,
            },
            peers: 3,
            silent: 0,
            established: 5,
            pending: 1,
            trusted_subnets: vec![],
        },
        ipam: Some(section("ready", None)),
    }
}

pub(crate) fn status_of_nothing() -> Status {
    let mut status = Status { ipam: None, ..status() };
    status.started = now();
    status.router = Router {
        protocol: Protocol { min: 1, max: 1 },
        connections: ConnectionCounts::default(),
        fast: "off: this kernel has no vxlan devices".into(),
        receive: "process, plain socket".into(),
        discovery: false,
        targets: 0,
        peers: 1,
        established: 0,
        pending: 0,
        ..status.router
    };
    status
}

pub(crate) fn status_not_ready() -> Status {
    let waiting_for = vec!["the bridge".into(), "the state directory".into()];
    let consensus = Some(Consensus { needed: 2, known: 1 });
    let ipam = Some(IpamStatus { consensus, ..section("awaiting consensus", None) });
    Status { ready: false, waiting_for, ipam, ..status_of_nothing() }
}

pub(crate) fn status_of_much() -> Status {
    let mut status = status();
    let dead = "all IP ranges owned by unreachable peers - use 'rmpeer' if they are dead";
    status.ipam = Some(section("waiting", Some(dead)));
    status.started = ago(40 * 86400);
    status.router = Router {
        nickname: "ein-sehr-langer-name.rechenzentrum-zürich.example.org".into(),
        encryption: true,
        connections: ConnectionCounts { established: 32, failed: 1, ..Default::default() },
        peers: 1000,
        silent: 12,
        established: 31616,
        trusted_subnets: vec!["10.0.0.0/8".into(), "2001:db8::/32".into()],
        ..status.router
    };
    status
}

fn section(state: &str, reason: Option<&str>) -> IpamStatus {
    IpamStatus {
        state: state.to_owned().into(),
        reason: reason.map(str::to_owned),
        consensus: None,
        range: "10.32.0.0/12".parse().unwrap(),
        default_subnet: "10.32.0.0/16".parse().unwrap(),
    }
}

/// A connection that stands.
pub(crate) fn standing(addr: &str, name: &str, nickname: &str) -> Connection {
    Connection {
        outbound: false,
        addr: addr.parse().unwrap(),
        state: "established".to_owned().into(),
        name: Some(name.into()),
        nickname: Some(nickname.into()),
        encrypted: false,
        path: Some("fast".to_owned().into()),
        via: vec![],
        mtu: Some(1410),
        since: ago(192),
        reason: None,
        attempts: 0,
        next_try: None,
    }
}

/// One that does not.
pub(crate) fn wanted(addr: &str, state: &str, reason: Option<&str>) -> Connection {
    Connection {
        outbound: true,
        state: state.to_owned().into(),
        name: None,
        nickname: None,
        path: None,
        mtu: None,
        since: ago(61),
        reason: reason.map(str::to_owned),
        ..standing(addr, "", "")
    }
}

/// Weave's five, and what Weave could not say.
pub(crate) fn connections() -> Connections {
    let refused = Some("cannot connect: No route to host");
    let connections = vec![
        standing("192.168.48.12:33866", "7e:21:4a:70:2f:45", "host2"),
        Connection {
            state: "pending".to_owned().into(),
            encrypted: true,
            since: now(),
            ..standing("192.168.48.13:60773", "7e:ae:cd:d5:23:8d", "host3")
        },
        Connection {
            attempts: 3,
            next_try: ahead(12),
            name: Some("7e:ae:cd:d5:23:8e".into()),
            nickname: Some("host4".into()),
            ..wanted("192.168.48.14:6783", "retrying", refused)
        },
        Connection {
            attempts: 40,
            next_try: ahead(0),
            ..wanted("192.168.48.15:6783", "failed", refused)
        },
        wanted("192.168.48.16:6783", "connecting", None),
        wanted("192.168.48.11:6783", "failed", Some("that address is our own")),
        Connection {
            path: Some("relay".to_owned().into()),
            via: vec![peer_ref(2), peer_ref(3)],
            reason: Some("nothing heard on fast, user, sleeve".into()),
            since: ago(90061),
            ..standing("192.168.48.17:6783", "7e:21:4a:70:2f:47", "host7")
        },
        Connection {
            path: Some("teleport".to_owned().into()),
            ..standing("192.168.48.18:6783", "7e:21:4a:70:2f:48", "of-another-release")
        },
    ];
    Connections { now: now(), connections }
}

pub(crate) fn connections_over_ipv6() -> Connections {
    let connections = vec![
        standing("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:60773", "7e:21:4a:70:2f:45", "host2"),
        standing("[fe80::1]:6783", "7e:21:4a:70:2f:46", "東京"),
        wanted("192.0.2.1:6783", "connecting", None),
    ];
    Connections { now: now(), connections }
}

pub(crate) fn many_connections() -> Connections {
    let one = |i: u32| {
        let addr = format!("10.0.{}.{}:6783", i / 250, 1 + i % 250);
        let mut conn = standing(&addr, &format!("02:00:00:00:00:{i:02x}"), &format!("node-{i}"));
        conn.outbound = i.is_multiple_of(2);
        conn.since = ago(i64::from(i * i * i));
        conn
    };
    Connections { now: now(), connections: (0..100).map(one).collect() }
}

/// Peers that do their worst.
pub(crate) fn hostile_connections() -> Connections {
    let say = |nickname: &str, reason: &str| Connection {
        reason: Some(reason.into()),
        ..standing("192.0.2.1:6783", "7e:21:4a:70:2f:45", nickname)
    };
    let long = "x".repeat(300);
    let connections = vec![
        say("two\nlines\r\0", "\u{1b}[2J\u{1b}]0;title\u{7}"),
        say("\u{202e}txet desrever", "\u{2028}\u{2029}\u{85}\u{9b}1m"),
        say("", "   "),
        say(&long, "the next line is where it was"),
        say("host2", "fine"),
    ];
    Connections { now: now(), connections }
}

pub(crate) fn peer_ref(number: u32) -> PeerRef {
    PeerRef { name: name(number), nickname: format!("host{number}") }
}

fn name(number: u32) -> String {
    format!("ce:31:e0:06:45:{number:02x}")
}

fn peer(number: u32, links: Vec<PeerConnection>) -> Peer {
    Peer {
        name: name(number),
        nickname: format!("host{number}"),
        uid: format!("{number:016x}"),
        incarnation: 7,
        state: "up".to_owned().into(),
        since: ago(192),
        reason: None,
        connections: links,
        addresses: vec![format!("192.168.48.{number}:6783").parse().unwrap()],
    }
}

fn link(number: u32, outbound: Option<bool>, addr: Option<&str>) -> PeerConnection {
    PeerConnection {
        name: name(number),
        nickname: format!("host{number}"),
        established: true,
        outbound,
        addr: addr.map(|addr| addr.parse().unwrap()),
    }
}

pub(crate) fn peers() -> Peers {
    let own = vec![
        link(2, Some(false), Some("192.168.48.12:39634")),
        PeerConnection { established: false, ..link(3, Some(true), Some("192.168.48.13:6783")) },
    ];
    let silent = Peer {
        state: "silent".to_owned().into(),
        since: ago(12),
        reason: Some("no link reaches it".into()),
        ..peer(4, vec![])
    };
    let gone = Peer {
        state: "gone".to_owned().into(),
        since: ago(600),
        reason: Some("it left".into()),
        ..peer(5, vec![])
    };
    let known = vec![link(1, None, None), link(3, None, None)];
    Peers { now: now(), peers: vec![peer(1, own), peer(2, known), peer(3, vec![]), silent, gone] }
}

pub(crate) fn long_peers() -> Peers {
    let mut first = peer(
        1,
        vec![
            link(2, Some(false), Some("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:39634")),
            link(3, Some(true), Some("192.168.48.13:6783")),
        ],
    );
    first.connections[0].nickname = "ip-10-0-3-17.eu-central-1.compute".into();
    first.nickname = "ip-10-0-3-16.eu-central-1.compute.internal.example.org".repeat(3);
    Peers { now: now(), peers: vec![first] }
}

pub(crate) fn targets() -> Targets {
    let target = |peer: &str, given| Target {
        peer: peer.into(),
        given,
        resolved: vec![],
        last_error: None,
        attempts: 0,
        next_try: None,
    };
    let targets = vec![
        target("192.168.48.12:6783", true),
        Target {
            resolved: vec![
                "192.0.2.7:6783".parse().unwrap(),
                "[2001:db8::7]:6783".parse().unwrap(),
            ],
            ..target("node-2.example.org:6783", true)
        },
        Target {
            last_error: Some("no such host".into()),
            attempts: 4,
            next_try: ahead(30),
            ..target("node-3:6783", true)
        },
        Target {
            last_error: Some("that address is our own".into()),
            ..target("192.168.48.11:6783", false)
        },
        target("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:6783", false),
    ];
    Targets { now: now(), targets }
}

pub(crate) fn paths() -> Paths {
    let path = |number, path: &str, reason: Option<&str>| Path {
        peer: peer_ref(number),
        path: path.to_owned().into(),
        via: vec![],
        since: ago(192),
        reason: reason.map(str::to_owned),
        switches: 0,
        mtu: Some(1410),
        rtt_us: None,
        next_probe: None,
        lines: Default::default(),
        sent: Traffic { frames: 1000, octets: 1_410_000 },
        received: Traffic { frames: 7, octets: 420 },
        drops: 0,
    };
    let paths = vec![
        Path {
            rtt_us: Some(412),
            next_probe: millis_ahead(250),
            lines: lines([("fast", "up"), ("user", "up"), ("sleeve", "assumed")]),
            ..path(2, "fast", None)
        },
        path(3, "user", Some("the kernel has no vxlan device")),
        Path {
            next_probe: ahead(5),
            rtt_us: Some(12_034),
            switches: 3,
            lines: lines([("fast", "down"), ("user", "down"), ("sleeve", "up")]),
            ..path(4, "sleeve", Some("nothing heard on UDP 6784 for 0.6 s"))
        },
        Path {
            via: vec![peer_ref(2), peer_ref(3)],
            next_probe: ahead(61),
            lines: lines([("user", "down"), ("sleeve", "down"), ("teleport", "bent")]),
            drops: 3,
            ..path(5, "relay", Some("not reached directly"))
        },
        Path { mtu: None, sent: Traffic::default(), ..path(6, "down", Some("no peer reaches it")) },
    ];
    Paths { now: now(), paths }
}

fn station(number: u8, peer: u32) -> Station {
    Station {
        mac: format!("0a:58:0a:20:00:{number:02x}"),
        here: peer == 1,
        peer: peer_ref(peer),
        path: Some("user".to_owned().into()).filter(|_| peer > 1),
        addresses: vec![
            [10, 32, 0, number].into(),
            [0xfd00, 0x32, 0, 0, 0, 0, 0, number.into()].into(),
        ],
        since: Some(ago(192)),
        announced: true,
    }
}

pub(crate) fn fdb() -> Fdb {
    let stations = vec![
        station(2, 1),
        station(3, 2),
        Station { addresses: vec![], since: None, announced: false, ..station(4, 2) },
        Station { path: Some("relay".to_owned().into()), ..station(5, 3) },
        Station { path: None, ..station(6, 4) },
    ];
    Fdb { now: now(), total: stations.len() as u64, stations }
}

/// More than is told, behind a peer with a long name.
pub(crate) fn much_of_an_fdb() -> Fdb {
    let mut stations: Vec<_> = (0..3).map(|number| station(number, 2)).collect();
    stations[1].peer.nickname = "ip-10-0-3-17.eu-central-1.compute.internal".into();
    Fdb { now: now(), total: 70_000, stations }
}

fn lines<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<PathKind, LineState> {
    of.map(|(line, state)| (line.to_owned().into(), state.to_owned().into())).into()
}

fn millis_ahead(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(now().as_millisecond() + millis).ok()
}

pub(crate) fn report() -> Report {
    let counters = |of: &[(&str, u64)]| of.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
    Report {
        now: now(),
        version: "0.1.0".into(),
        status: status(),
        connections: connections().connections,
        peers: peers().peers,
        targets: targets().targets,
        paths: paths().paths,
        ipam: Some(ipam::of_three()),
        counters: [("drops".to_owned(), counters(&[("runt", 0), ("unknown_vtep", 12)]))].into(),
        kernel: Kernel {
            release: "6.18.0".into(),
            quirks: vec![Quirk {
                name: "tap-short-tail".into(),
                what: "super-frames whose last packet is short are refused by the TAP".into(),
                mitigated: false,
            }],
            supports: [("udp_gro".to_owned(), true.into())].into(),
        },
        control: Control {
            events: 123_456,
            latency_p50_us: 80,
            latency_p99_us: 900,
            latency_max_us: 4_000,
        },
        mesh: MeshStats {
            root: "0123456789abcdef".into(),
            counters: counters(&[("merged", 40)]),
            sizes: counters(&[("records", 3)]),
        },
    }
}
