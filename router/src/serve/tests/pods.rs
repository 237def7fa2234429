//! Requests about pods, and the descriptors that come with them.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use api::{Check, Client, Gc, HostEnd, Plug, Plugged, Unplug};

use super::super::fixtures::wall;
use super::*;

const PLUG: &str = r#"{"id":"b07","ifname":"eth0"}"#;

fn client(there: &There) -> Client {
    Client::new(&there.socket, None)
}

fn plug() -> Plug {
    serde_json::from_str(PLUG).unwrap()
}

#[tokio::test]
async fn each_request_reaches_the_daemon() {
    let there = There::with(alone()).await;
    for (path, body) in [
        ("/v1/pods/plug", PLUG),
        ("/v1/pods/unplug", r#"{"id":"b07"}"#),
        ("/v1/pods/gc", r#"{"network":"weft","valid":[{"id":"b07","ifname":"eth0"}]}"#),
    ] {
        assert_eq!(there.unix(&post(path, body)).await.code, 200, "{path}");
        assert_eq!(there.tcp(&post(path, body)).await.code, 404, "{path}");
    }
    assert_eq!(there.tcp(&get("/v1/pods")).await.code, 200);
    assert_eq!(there.daemon.said(), ["plug b07 eth0 false", "unplug b07", "gc weft 1", "pods"]);
}

#[tokio::test]
async fn a_descriptor_comes_with_its_request() {
    let there = There::with(alone()).await;
    let (asks, netns) = (client(&there), File::open("/proc/self/ns/net").unwrap());

    let plugged = blocking(move || {
        let plugged = asks.plug(&plug(), Some(netns.as_fd()));
        let check = Check { id: "b07".into(), ifname: "eth0".into(), netns: None };
        asks.check(&check, Some(netns.as_fd())).unwrap();
        asks.plug(&plug(), None).unwrap();
        plugged
    });

    assert_eq!(plugged.await.unwrap().ifname, "eth0");
    let expected = ["plug b07 eth0 true", "check b07 eth0 true", "plug b07 eth0 false"];
    assert_eq!(there.daemon.said(), expected);
}

#[tokio::test]
async fn what_can_be_no_pods_is_refused_before_the_daemon_is_asked() {
    let there = There::with(alone()).await;
    for (path, body) in [
        ("/v1/pods/plug", r#"{"id":"../../etc","ifname":"eth0"}"#),
        ("/v1/pods/plug", r#"{"id":"","ifname":"eth0"}"#),
        ("/v1/pods/plug", r#"{"id":"a","ifname":"a/b"}"#),
        ("/v1/pods/plug", r#"{"id":"a","ifname":"veth%d"}"#),
        ("/v1/pods/plug", r#"{"id":"a","ifname":"eth0","netns":"run/netns/a"}"#),
        ("/v1/pods/plug", r#"{"id":"a","ifname":"e","addresses":{"subnet":"10.32.0.1/24"}}"#),
        ("/v1/pods/unplug", r#"{"id":"a b"}"#),
        ("/v1/pods/check", r#"{"id":"a","ifname":"0123456789abcdef"}"#),
        ("/v1/pods/gc", r#"{"network":"","valid":[]}"#),
        ("/v1/pods/gc", r#"{"network":"weft","valid":[{"id":"/","ifname":"eth0"}]}"#),
        ("/v1/pods/gc", r#"{"network":"weft"}"#),
    ] {
        assert_eq!(there.unix(&post(path, body)).await.code, 400, "{body}");
    }
    assert!(there.daemon.said().is_empty());
}

impl Pods for Fake {
    async fn plug(&self, plug: Plug, netns: Option<OwnedFd>) -> Result<Plugged, Refusal> {
        self.say(format!("plug {} {} {}", plug.id, plug.ifname, netns.is_some()));
        self.answer(plugged(plug.id, plug.ifname)).await
    }

    async fn unplug(&self, unplug: Unplug) -> Result<api::Pods, Refusal> {
        self.say(format!("unplug {}", unplug.id));
        self.answer(none()).await
    }

    async fn check(&self, check: Check, netns: Option<OwnedFd>) -> Result<Plugged, Refusal> {
        self.say(format!("check {} {} {}", check.id, check.ifname, netns.is_some()));
        self.answer(plugged(check.id, check.ifname)).await
    }

    async fn gc(&self, gc: Gc) -> Result<api::Pods, Refusal> {
        self.say(format!("gc {} {}", gc.network, gc.valid.len()));
        self.answer(none()).await
    }

    async fn pods(&self) -> Result<api::Pods, Refusal> {
        self.say("pods".into());
        self.answer(none()).await
    }
}

fn none() -> api::Pods {
    api::Pods { now: wall(1000), pods: Vec::new() }
}

fn plugged(id: String, ifname: String) -> Plugged {
    let end = |name: &str| HostEnd { name: name.into(), mac: "0a:58:0a:20:00:01".into() };
    Plugged {
        id,
        ifname,
        netns: None,
        network: None,
        pod: None,
        mac: "0a:58:0a:20:00:02".into(),
        mtu: 1410,
        addresses: Vec::new(),
        gateway: None,
        routes: Vec::new(),
        host: end("vethweftabcdefg"),
        bridge: end("weave"),
        since: wall(0),
    }
}
