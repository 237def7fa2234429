//! Looks for tests: a node of a small mesh, at a fixed moment.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use api::{Cidr, Conflict, Here, IpamState, Timestamp, Traffic};
use peer_mesh::shell::{Given, PeerView, Snapshot};
use peer_mesh::{CloseReason, LinkView, PeerName, PeerState, PeerUid, Pending, Progress, Target};

use super::{FdbLook, IpamLook, Look, LostLook, OwnerLook, PathLook, PendingLook, RemovalLook};
use crate::liveness::{Line, Verdict};
use crate::node::Whereabouts;

/// The mesh has run for so long.
pub(super) const NOW: Duration = Duration::from_secs(1000);

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(super) fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

pub(super) fn uid(n: u64) -> PeerUid {
    PeerUid::new(n + 1).unwrap()
}

pub(super) fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 6783))
}

fn addr_of(n: u64) -> SocketAddr {
    addr(u8::try_from(n).unwrap_or(u8::MAX))
}

/// Midnight and so many seconds.
pub(super) fn wall(seconds: i64) -> Timestamp {
    let midnight: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    Timestamp::from_second(midnight.as_second() + seconds).unwrap()
}

/// A node that is alone. The mesh's clock and the wall's show the same number of seconds.
pub(super) fn alone() -> Look {
    let mesh = Snapshot { now: NOW, own: Some(peer(0, &[])), ..Snapshot::empty(name(0), uid(0)) };
    Look {
        now: wall(1000),
        started: wall(0),
        ready: true,
        waiting_for: Vec::new(),
        password: false,
        discovery: true,
        nickname: "host0".into(),
        fast: "off".into(),
        receive: "process, plain socket".into(),
        mesh: mesh.into(),
        paths: Default::default(),
        ipam: None,
        counters: Default::default(),
        kernel: Default::default(),
        control: Default::default(),
    }
}

/// The same with another mesh.
pub(super) fn with(change: impl FnOnce(&mut Snapshot)) -> Look {
    let mut look = alone();
    change(Arc::make_mut(&mut look.mesh));
    look
}

/// Peer `n`, up since 10 s, with links that both ends state.
pub(super) fn peer(n: u64, links: &[u64]) -> PeerView {
    PeerView {
        name: name(n),
        uid: uid(n),
        nickname: format!("host{n}"),
        state: PeerState::Up,
        since: secs(10),
        links: links.iter().map(|&n| name(n)).collect(),
        one_sided: Vec::new(),
        addresses: vec![addr_of(n)],
        incarnation: n + 1,
        started: 0,
        explicit: false,
        leases: false,
        labels: Default::default(),
        capabilities: 0,
        unreached: Vec::new(),
        isolated: false,
    }
}

pub(super) fn link(n: u64, outbound: bool) -> LinkView {
    LinkView { name: name(n), addr: addr_of(n), outbound, since: secs(20) }
}

pub(super) fn pending(n: u8, outbound: bool, progress: Progress) -> Pending {
    Pending { addr: addr(n), outbound, name: None, progress, since: secs(990) }
}

/// An address that was learned, and never dialled.
pub(super) fn target(n: u8) -> Target {
    Target {
        addr: addr(n),
        given: false,
        name: None,
        last: None,
        attempts: 0,
        ended: None,
        next: Some(Duration::ZERO),
    }
}

/// An address where an attempt has failed, to be tried again in 5 s.
pub(super) fn failed(n: u8, last: CloseReason, attempts: u32) -> Target {
    Target {
        last: Some(last),
        attempts,
        ended: Some(secs(995)),
        next: Some(secs(1005)),
        ..target(n)
    }
}

pub(super) fn unreachable() -> CloseReason {
    CloseReason::Unreachable("No route to host".into())
}

pub(super) fn given(peer: &str, addrs: &[u8]) -> Given {
    Given {
        peer: peer.parse().unwrap(),
        addrs: addrs.iter().map(|&n| addr(n)).collect(),
        failed: None,
        next: None,
    }
}

pub(super) fn direct() -> PathLook {
    PathLook {
        path: switch::Path::User,
        via: Vec::new(),
        since: secs(30),
        reason: None,
        switches: 2,
        mtu: Some(1450),
        rtt: Some(Duration::from_micros(412)),
        next_probe: Some(secs(1003)),
        lines: vec![(Line::User, Verdict::Up), (Line::Sleeve, Verdict::Assumed)],
        stations: 3,
        counted: true,
        sent: Traffic { frames: 10, octets: 1000 },
        received: Traffic { frames: 7, octets: 420 },
        drops: 1,
    }
}

pub(super) fn relayed(via: &[u64]) -> PathLook {
    PathLook {
        path: switch::Path::Relay(switch::PeerId::new(1)),
        via: via.iter().map(|&n| name(n)).collect(),
        reason: Some("nothing heard on user and sleeve".into()),
        mtu: Some(1410),
        rtt: None,
        next_probe: None,
        lines: vec![(Line::User, Verdict::Down), (Line::Sleeve, Verdict::Down)],
        ..direct()
    }
}

/// Stations here, behind peer 1, and behind one of which nothing is known.
pub(super) fn stations(look: Arc<Look>) -> FdbLook {
    let row = |n: u64, peer: u64, addresses: &[IpAddr]| Whereabouts {
        mac: switch::Mac::local(n),
        peer: name(peer),
        addresses: addresses.into(),
        since: Some(secs(60)),
        announced: true,
    };
    let rows = vec![
        row(0xa, 0, &[[10, 32, 0, 1].into(), [0xfd00, 0x32, 0, 0, 0, 0, 0, 1].into()]),
        row(0xb, 1, &[[10, 32, 0, 2].into()]),
        Whereabouts { since: None, announced: false, ..row(0xc, 9, &[]) },
    ];
    FdbLook { look, now: secs(70), rows, total: 3 }
}

pub(super) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(super) fn owning(n: u64, addresses: u64) -> OwnerLook {
    OwnerLook {
        name: name(n),
        nickname: format!("once{n}"),
        epoch: n + 0xe0,
        replaced: false,
        addresses,
        free: Some(addresses / 2),
        apart: false,
    }
}

pub(super) fn removal(n: u64, addresses: u64) -> RemovalLook {
    let OwnerLook { name, nickname, epoch, addresses, .. } = owning(n, addresses);
    RemovalLook { name, nickname, epoch, addresses, waiting_for: Vec::new() }
}

/// The range of node 0 and others, where everything is amiss that can be: 70 s by its own clock.
pub(super) fn a_range() -> IpamLook {
    let awaited = vec![(name(2), "unreachable".to_owned())];
    let pending = |id: &str, since, address: Option<[u8; 4]>| PendingLook {
        id: id.into(),
        address: address.map(IpAddr::from),
        since: secs(since),
        waiting_for: "host2".into(),
    };
    let lost =
        |n: u8| LostLook { address: [10, 32, 0, n].into(), id: "b07".into(), owner: name(1) };
    IpamLook {
        now: secs(70),
        state: IpamState::Ready,
        reason: None,
        range: cidr("10.32.0.0/22"),
        default_subnet: cidr("10.32.0.0/24"),
        ring: Some(0xab),
        epoch: Some(0xe0),
        here: Here {
            owned: 256,
            leased: 2,
            free: 250,
            resting: 4,
            exposed: vec![cidr("10.32.0.1/24")],
        },
        consensus: None,
        owners: vec![owning(2, 128), owning(0, 256), owning(1, 256)],
        removals: vec![RemovalLook { waiting_for: awaited, ..removal(9, 128) }],
        unowned: 256,
        conflicts: vec![Conflict { what: "two".into(), what_to_do: "reset one".into() }],
        lost: vec![lost(9), lost(7)],
        pending: vec![
            pending("late", 69, None),
            pending("claim", 60, Some([10, 32, 0, 3])),
            pending("soon", 65, None),
        ],
    }
}

/// A node with that: peer 1 is linked, 2 is silent, nobody has heard of the others.
pub(super) fn with_ipam(change: impl FnOnce(&mut IpamLook)) -> Look {
    let mut look = with(|mesh| {
        mesh.links = vec![link(1, true)];
        mesh.peers = vec![peer(1, &[0]), PeerView { state: PeerState::Silent, ..peer(2, &[]) }];
    });
    let mut of = a_range();
    change(&mut of);
    look.ipam = Some(of.into());
    look
}
