//! Requests that change something, and what the daemon says to them.

use super::*;

#[tokio::test]
async fn requests_reach_the_daemon_and_its_word_comes_back() {
    let there = There::with(alone()).await;

    let connect = r#"{"peers":["10.0.0.1"],"replace":true,"later":1}"#;
    let given = there.unix(&post("/v1/connect", connect)).await;
    let left = there.unix(&post("/v1/forget", r#"{"peers":["10.0.0.1"]}"#)).await;

    assert_eq!((given.code, &*given.body), (200, r#"{"peers":["10.0.0.1"]}"#));
    assert_eq!((left.code, &*left.body), (200, r#"{"peers":[]}"#));
    let said = ["connect [\"10.0.0.1\"] true", "forget [\"10.0.0.1\"]"];
    assert_eq!(there.daemon.said(), said);
}

#[tokio::test]
async fn a_refusal_has_its_code_and_the_daemons_words() {
    let there = There::with(alone()).await;
    for (because, code) in [
        (Because::Senseless, 400),
        (Because::Absent, 404),
        (Because::Forbidden, 409),
        (Because::Failed, 500),
        (Because::NotReady, 503),
    ] {
        there.daemon.refuse(because);

        for request in [post("/v1/connect", r#"{"peers":[]}"#), get("/v1/journal")] {
            let said = there.unix(&request).await;

            assert_eq!((said.code, &*said.problem()), (code, "no: because: so"));
        }
    }
}

#[tokio::test]
async fn a_client_of_the_api_reads_what_is_served() {
    let there = There::with(a_mesh()).await;
    let client = api::Client::new(&there.socket, Duration::from_secs(5));
    let look = a_mesh();

    let read = blocking(move || {
        assert_eq!(client.read::<api::Status>().unwrap().value, status(&look));
        assert_eq!(client.read::<api::Connections>().unwrap().value, connections(&look));
        assert_eq!(client.read::<api::Peers>().unwrap().value, peers(&look));
        assert_eq!(client.read::<api::Targets>().unwrap().value, targets(&look));
        assert_eq!(client.read::<api::Paths>().unwrap().value, paths(&look));
        assert_eq!(client.read::<api::Ipam>().unwrap().value, ipam(&look));
        let fdb_look = fixtures::stations(Arc::new(look.clone()));
        assert_eq!(client.read::<api::Fdb>().unwrap().value, fdb(&fdb_look));
        assert_eq!(client.read::<api::Report>().unwrap().value, report(&look));
        let peers = vec!["node-1".to_owned()];
        let given = client.connect(&Connect { peers: peers.clone(), replace: false }).unwrap();
        assert_eq!(given.peers, peers);
        assert_eq!(client.forget(&Forget { peers }).unwrap().peers, [""; 0]);
        let mut journal = Vec::new();
        client.journal(&mut journal).unwrap();
        journal
    });

    assert_eq!(read.await, b"journal");
}

#[tokio::test]
async fn a_client_of_the_api_reads_what_is_refused() {
    let mut look = alone();
    look.ready = false;
    let there = There::with(look).await;
    there.daemon.refuse(Because::NotReady);
    let client = api::Client::new(&there.socket, Duration::from_secs(5));

    let (ready, refused) = blocking(move || {
        let forget = client.forget(&Forget { peers: Vec::new() });
        (client.read::<api::Status>().unwrap().value.ready, forget.unwrap_err().to_string())
    })
    .await;

    assert!(!ready);
    assert_eq!(refused, "no: because: so");
}
