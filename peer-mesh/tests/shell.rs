//! Meshes in one process, over loopback, as a program uses them.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where it cannot go on")]

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use peer_mesh::shell::{self, Endpoint, Handle, Identity, Notices, PeerView, Snapshot};
use peer_mesh::{CloseReason, Config, PeerName, PeerState, Progress};

const WAIT: Duration = Duration::from_secs(10);

/// A mesh that listens on a free port, with these peers to start with.
fn start(name: u64, peers: &[SocketAddr]) -> (Handle, Notices, SocketAddr) {
    let addr = free();
    let identity = Identity::open(None, Some(PeerName::local(name))).unwrap();
    let config = Config {
        nickname: format!("node-{name}"),
        labels: BTreeMap::from([("zone".to_owned(), format!("z{name}"))]),
        capabilities: name,
        ..identity.config()
    };
    let peers = peers.iter().copied().map(Endpoint::Addr).collect();
    let (handle, notices) = shell::start(identity, config, &[addr], peers).unwrap();
    (handle, notices, addr)
}

/// An address where nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for a snapshot that `shows` what is wanted.
async fn seen(handle: &Handle, shows: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let looks = async {
        loop {
            let snapshot = handle.snapshot().await.unwrap();
            if shows(&snapshot) {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let last = tokio::time::timeout(WAIT, looks).await;
    last.expect("never seen")
}

fn up(snapshot: &Snapshot, name: u64) -> Option<&PeerView> {
    let found = snapshot.peers.iter().find(|peer| peer.name == PeerName::local(name));
    found.filter(|peer| peer.state == PeerState::Up)
}

#[tokio::test]
async fn a_peer_is_shown_as_it_describes_itself_and_as_gone_when_it_has_left() {
    let (one, _events, addr) = start(1, &[]);
    let (two, _events, _) = start(2, &[addr]);

    let snapshot = seen(&one, |it| up(it, 2).is_some()).await;
    let peer = up(&snapshot, 2).unwrap();
    let routes = one.data_routes().await.unwrap();
    two.leave().await;
    let later = seen(&one, |it| !it.gone.is_empty()).await;

    assert_eq!((peer.nickname.as_str(), peer.capabilities, peer.explicit), ("node-2", 2, true));
    assert_eq!(peer.labels, BTreeMap::from([("zone".to_owned(), "z2".to_owned())]));
    assert_eq!((peer.incarnation, peer.isolated, peer.unreached.len()), (1, false, 0));
    assert_eq!(snapshot.own.as_ref().map(|own| own.nickname.as_str()), Some("node-1"));
    assert_eq!(routes, BTreeMap::from([(PeerName::local(2), vec![])]));
    assert_eq!(later.gone[0].name, PeerName::local(2));
    assert_eq!(later.gone[0].reason, peer_mesh::GoneReason::Left);
}

#[tokio::test]
async fn what_a_peer_says_of_itself_can_change_while_it_runs() {
    let (one, _events, addr) = start(1, &[]);
    let (two, _events, _) = start(2, &[addr]);
    seen(&one, |it| up(it, 2).is_some()).await;

    two.set_nickname("later".to_owned()).await.unwrap();
    two.set_labels(BTreeMap::new()).await.unwrap();

    let snapshot = seen(&one, |it| up(it, 2).is_some_and(|it| it.nickname == "later")).await;
    let peer = up(&snapshot, 2).unwrap();
    assert!(peer.labels.is_empty());
}

#[tokio::test]
async fn a_connection_that_is_no_link_yet_is_shown_with_how_far_it_has_come() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = mute.local_addr().unwrap();
    let (one, _events, _) = start(1, &[addr]);

    let snapshot =
        seen(&one, |it| it.pending.iter().any(|conn| conn.progress == Progress::Handshake)).await;

    let conn = &snapshot.pending[0];
    assert_eq!((conn.addr, conn.outbound, conn.name), (addr, true, None));
    assert!(conn.since <= snapshot.now);
}

#[tokio::test]
async fn a_target_where_nobody_is_shows_its_attempts_and_the_next_one() {
    let nobody = free();
    let (one, _events, _) = start(1, &[nobody]);

    let snapshot =
        seen(&one, |it| it.targets.iter().any(|it| it.attempts >= 2 && it.next.is_some())).await;

    let target = &snapshot.targets[0];
    assert_eq!((target.addr, target.given), (nobody, true));
    assert!(matches!(target.last, Some(CloseReason::Unreachable(_))), "{target:?}");
    assert!(target.ended.is_some_and(|ended| Some(ended) < target.next));
}

#[tokio::test]
async fn a_name_is_given_and_replaced_while_the_mesh_runs_and_its_link_stays() {
    let (one, _events, addr) = start(1, &[]);
    let (two, mut events, _) = start(2, &[]);
    let name: Endpoint = format!("localhost:{}", addr.port()).parse().unwrap();

    assert!(two.connect(name.clone()).await.unwrap());
    let linked = seen(&two, |it| up(it, 1).is_some()).await;
    let other = free();
    assert!(two.replace(vec![other.into()]).await.unwrap());
    let replaced = two.snapshot().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = two.snapshot().await.unwrap();

    assert_eq!(linked.given[0].peer, name);
    assert!(linked.given[0].addrs.contains(&addr), "{:?}", linked.given);
    let given: Vec<_> = replaced.given.iter().map(|given| given.peer.clone()).collect();
    assert_eq!(given, [Endpoint::Addr(other)]);
    let target = replaced.targets.iter().find(|target| target.addr == addr);
    assert_eq!(target.map(|target| target.given), Some(false));
    assert_eq!((after.links.len(), up(&after, 1).is_some()), (1, true));
    two.leave().await;
    while let Some(event) = events.next().await {
        drop(event);
    }
    drop(one);
}

#[tokio::test]
async fn three_hundred_recent_looks_a_second_are_ten_copies() {
    let (one, _events, _) = start(1, &[]);
    let mut copies = Vec::<Arc<Snapshot>>::new();
    for _ in 0..300 {
        let recent = one.recent().await.unwrap();
        if !copies.last().is_some_and(|last| Arc::ptr_eq(last, &recent)) {
            copies.push(recent);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }

    let time = copies.last().map(|last| last.now).unwrap_or_default();
    let most = time.as_millis() / Snapshot::RECENT.as_millis() + 2;
    assert!((copies.len() as u128) <= most, "{} copies in {time:?}", copies.len());
    one.leave().await;
    assert!(one.recent().await.is_err());
}
