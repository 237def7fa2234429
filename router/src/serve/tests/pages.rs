//! Pages and texts.

use super::*;

#[tokio::test]
async fn every_page_is_json_on_both_doors() {
    let there = There::with(alone()).await;
    for page in PAGES {
        for said in [there.unix(&get(page)).await, there.tcp(&get(page)).await] {
            assert_eq!((said.code, said.header("content-type")), (200, "application/json"));
            assert_eq!(said.header("server"), "weftd/0.1.0");
            assert_eq!(said.header("content-length"), said.body.len().to_string());
            let json: serde_json::Value = serde_json::from_str(&said.body).unwrap();
            assert_eq!(json["now"], "2026-11-21T00:16:40Z", "{page}");
        }
    }
}

#[tokio::test]
async fn over_tcp_there_are_weaves_texts_and_what_changes_is_not_there() {
    let there = There::with(alone()).await;
    for text in ["/status", "/status/connections", "/status/peers", "/status/targets", "/fdb"] {
        let said = there.tcp(&get(text)).await;

        assert_eq!((said.code, said.header("content-type")), (200, "text/plain; charset=utf-8"));
        assert_eq!(there.unix(&get(text)).await.code, 404);
    }
    let report = there.tcp(&get("/report")).await;
    assert_eq!(report.body, there.tcp(&get("/v1/report")).await.body);
    for path in ["/v1/connect", "/v1/forget"] {
        let said = there.tcp(&post(path, r#"{"peers":[]}"#)).await;

        assert_eq!(said.code, 404);
        let expected = format!(
            "POST {path} is not answered: over TCP nothing is changed: ask over the unix socket, as weft does"
        );
        assert_eq!(said.problem(), expected);
    }
    assert_eq!(there.daemon.said(), [""; 0]);
}

/// To the letter, and so `weft status` prints it.
#[tokio::test]
async fn the_text_of_a_status_is_weaves() {
    let there = There::with(a_mesh()).await;

    let said = there.tcp(&get("/status")).await;

    let expected = "        Version: 0.1.0 (up 16m40s)

        Service: router
       Protocol: weft 1
           Name: 02:00:00:00:00:00(host0)
       FastPath: off
        Receive: process, plain socket
     Encryption: disabled
  PeerDiscovery: enabled
        Targets: 0
    Connections: 1 (1 established)
          Peers: 2 (with 2 established connections)
 TrustedSubnets: none
";
    assert_eq!(said.body, expected);
}

#[tokio::test]
async fn before_it_is_ready_pages_are_503_and_have_what_is_known() {
    let mut look = alone();
    look.ready = false;
    look.waiting_for = vec!["the bridge".into(), "a name".into()];
    let there = There::with(look).await;
    for page in PAGES {
        let said = there.unix(&get(page)).await;

        assert_eq!(said.code, 503, "{page}");
        let json: serde_json::Value = serde_json::from_str(&said.body).unwrap();
        assert_eq!(json["now"], "2026-11-21T00:16:40Z", "{page}");
    }
    let text = there.tcp(&get("/status")).await;
    assert_eq!(text.code, 503);
    assert!(text.body.contains("Status: not ready: waiting for the bridge, a name"));
    let ready = there.tcp(&get("/readyz")).await;
    assert_eq!(ready.code, 503);
    assert_eq!(
        ready.problem(),
        "weftd is not ready: it waits for the bridge, a name: wait, or see its log if it stays so"
    );
    assert_eq!(there.tcp(&get("/healthz")).await.code, 200);
}

#[tokio::test]
async fn metrics_are_there_on_both_doors_before_it_is_ready_and_after() {
    let mut look = a_mesh();
    for ready in [false, true] {
        look.ready = ready;
        let there = There::with(look.clone()).await;
        for said in [there.unix(&get("/metrics")).await, there.tcp(&get("/metrics")).await] {
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            assert_eq!((said.code, said.header("content-type")), (200, kind));
            let read = exposition::strict::parse(&said.body).unwrap();
            assert_eq!(read["weft_ready"].at(&[]), Some(f64::from(u8::from(ready))));
        }
    }
}
