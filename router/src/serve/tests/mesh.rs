//! What is told of real meshes, over loopback.

use peer_mesh::shell::{Endpoint, Handle, Identity, Notices, start};
use peer_mesh::{Config, PeerName};

use super::*;

#[tokio::test]
async fn two_that_meet_tell_of_each_other_and_one_that_dies_is_missed() {
    let (addr, nobody) = (free(), free());
    let (one, _notices) = mesh(1, addr, &[]);
    let (two, notices) = mesh(2, free(), &[addr, nobody]);

    let met = seen(&two, |look| status(look).router.established == 2).await;
    let (router, links) = (status(&met).router, connections(&met).connections);
    assert_eq!((router.peers, router.silent, router.targets), (2, 0, 2));
    assert_eq!(router.connections.established, 1);
    assert_eq!((links[0].outbound, links[0].addr), (true, addr));
    assert_eq!(links[0].nickname.as_deref(), Some("node-1"));
    let all = peers(&met).peers;
    assert_eq!(all[0].connections[0].addr, Some(addr));
    assert_eq!(all[1].connections[0].outbound, Some(false));
    let failed = seen(&two, |look| status(look).router.connections.failed == 1).await;
    assert_eq!(connections(&failed).connections[1].addr, nobody);

    assert_eq!(met.mesh.stats.links_ended, 0);
    drop(one);

    let lost = |look: &Look| status(look).router.silent == 1;
    let lost = seen(&two, |look| lost(look) && look.mesh.pending.is_empty()).await;
    let told = connections(&lost).connections;
    let missed = told.iter().find(|it| it.addr == addr).unwrap();
    assert!(missed.next_try.is_some() && missed.reason.is_some(), "{missed:?}");
    assert_eq!(missed.nickname.as_deref(), Some("node-1"));
    assert!(peers(&lost).peers[1].reason.is_some());
    assert_eq!(lost.mesh.stats.links_ended, 1);
    drop(notices);
}

fn mesh(n: u64, addr: SocketAddr, peers: &[SocketAddr]) -> (Handle, Notices) {
    let identity = Identity::open(None, Some(PeerName::local(n))).unwrap();
    let config = Config { nickname: format!("node-{n}"), ..identity.config() };
    let peers = peers.iter().copied().map(Endpoint::Addr).collect();
    start(identity, config, &[addr], peers).unwrap()
}

/// An address where nobody listens.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits for a look that `shows` what is wanted.
async fn seen(handle: &Handle, shows: impl Fn(&Look) -> bool) -> Look {
    let looks = async {
        loop {
            let look = Look { mesh: handle.snapshot().await.unwrap(), ..alone() };
            if shows(&look) {
                return look;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), looks).await.expect("seen at last")
}
