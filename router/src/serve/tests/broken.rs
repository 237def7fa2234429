//! Clients that say too much, too little or nothing, and daemons that do not answer.

use super::*;

/// Impatient.
fn limits() -> Limits {
    let short = Duration::from_millis(200);
    Limits {
        connections: 4,
        local_connections: 4,
        body: 1000,
        address_body: 1000,
        gc_body: 1000,
        request: short,
        answer: short,
        address: short,
        whole: short * 3,
        journal: short * 3,
        end: short,
    }
}

#[tokio::test]
async fn a_body_that_makes_no_sense_is_400() {
    let there = There::with(alone()).await;
    for (body, why) in [
        ("", "EOF while parsing a value"),
        ("peers", "expected value"),
        ("{\"peers\":\"10.0.0.1\"}", "expected a sequence"),
        ("{\"replace\":true}", "missing field `peers`"),
        ("\u{1}\u{202e}", "expected value"),
    ] {
        let said = there.unix(&post("/v1/connect", body)).await;

        assert_eq!(said.code, 400, "{body}");
        assert!(said.problem().contains(why), "{}", said.problem());
        assert!(
            said.problem()
                .ends_with("send JSON such as {\"peers\": [\"10.0.0.1\"]}; see docs/API.md")
        );
    }
    assert!(there.daemon.said().is_empty());
}

#[tokio::test]
async fn a_body_that_is_too_long_is_413_whether_it_says_so_or_not() {
    let there = There::within(alone(), limits()).await;
    let (long, head) = ("x".repeat(1001), "POST /v1/forget HTTP/1.1\r\nHost: w\r\n");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n3e9\r\n{long}\r\n0\r\n\r\n");
    let announced = format!("{head}Content-Length: 1099511627776\r\n\r\n{long}");
    for request in [post("/v1/forget", &long), chunked, announced] {
        let said = there.unix(&request).await;

        assert_eq!(said.code, 413);
        assert_eq!(
            said.problem(),
            "POST /v1/forget is not answered: its body has more than 1000 octets: name fewer peers at once"
        );
    }
    assert!(there.daemon.said().is_empty());
}

#[tokio::test]
async fn half_a_body_is_400_in_time() {
    let there = There::within(alone(), limits()).await;
    let half = "POST /v1/forget HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\n{\"peers\":[]}";
    let mut closing = there.connect().await;
    closing.write_all(half.as_bytes()).await.unwrap();
    closing.shutdown().await.unwrap();

    let closed = Said::parse(&read_all(closing).await);
    let hangs = there.unix(half).await;

    assert_eq!((closed.code, hangs.code), (400, 400));
    assert!(closed.problem().contains("its body did not come whole"), "{}", closed.problem());
    let why = "its body did not come whole: within 200ms: ask again";
    assert!(hangs.problem().ends_with(why), "{}", hangs.problem());
    assert!(there.daemon.said().is_empty());
}

#[tokio::test]
async fn who_says_half_a_request_or_nothing_is_cut() {
    let there = There::within(alone(), limits()).await;
    for said in ["", "GET /v1/status HT", "GET /v1/status HTTP/1.1\r\nHost: w\r\n"] {
        assert_eq!(there.unix(said).await.code, 0, "{said:?}");
        assert_eq!(there.tcp(said).await.code, 0, "{said:?}");
    }
}

#[tokio::test]
async fn who_says_its_request_octet_by_octet_is_cut() {
    let there = There::within(alone(), limits()).await;
    let (mut read, mut write) = there.connect().await.into_split();
    tokio::spawn(async move {
        for octet in get("/v1/status").bytes().cycle() {
            if write.write_all(&[octet]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut octets = Vec::new();

    let read = read.read_to_end(&mut octets);

    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
    assert_eq!(octets, b"");
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let there = There::with(alone()).await;
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let path = get(&format!("/{}", "y".repeat(100_000)));
    for (request, code) in [
        ("\0\u{1}\u{2}\r\n\r\n", 400),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", 400),
        ("GET /v1/status HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (&many, 431),
        (&long, 431),
        (&path, 431),
    ] {
        let shown: String = request.chars().take(40).collect();
        assert_eq!(there.unix(request).await.code, code, "{shown:?}");
    }
    assert_eq!(there.unix(&get("/healthz")).await.code, 200);
}

#[tokio::test]
async fn a_long_path_is_not_repeated_in_full() {
    let there = There::with(alone()).await;

    let said = there.unix(&get(&format!("/{}", "y".repeat(9000)))).await;

    assert_eq!(said.code, 404);
    assert!(said.body.len() < 400, "{}", said.body);
}

#[tokio::test]
async fn idle_connections_keep_others_out_for_a_moment_only() {
    let there = There::within(alone(), limits()).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(there.connect().await);
    }

    let fifth = there.unix(&get("/v1/status")).await;

    assert_eq!(fifth.code, 200);
    for stream in idle {
        assert_eq!(read_all(stream).await, "");
    }
}

#[tokio::test]
async fn who_does_not_take_its_answer_is_cut() {
    let there = There::within(alone(), limits()).await;
    *there.daemon.journal.lock().unwrap() = vec![7; 32 << 20].into();
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = there.connect().await;
        stream.write_all(get("/v1/journal").as_bytes()).await.unwrap();
        slow.push(stream);
    }
    there.daemon.was_asked().await;

    let fifth = there.unix(&get("/v1/status")).await;

    // One of them was, and the others may be taken by now.
    assert_eq!(fifth.code, 200);
    let mut shortest = usize::MAX;
    for mut stream in slow {
        let mut octets = Vec::new();
        let _ = stream.read_to_end(&mut octets).await;
        shortest = shortest.min(octets.len());
    }
    assert!(shortest < 32 << 20);
}

#[tokio::test]
async fn a_daemon_that_says_nothing_is_500_in_time() {
    let there = There::within(alone(), limits()).await;
    there.daemon.hold(true);
    for request in [get("/v1/status"), get("/readyz"), post("/v1/forget", "{\"peers\":[]}")] {
        let said = there.unix(&request).await;

        assert_eq!(said.code, 500);
        let why = ": weftd's control loop said nothing for 200ms: see its log; what was asked for may still be done";
        assert!(said.problem().ends_with(why), "{}", said.problem());
    }
    assert_eq!(there.unix(&get("/healthz")).await.code, 200);
}

#[tokio::test]
async fn a_daemon_that_is_stopping_is_503() {
    let there = There::with(alone()).await;
    there.daemon.stop();

    let said = there.unix(&get("/v1/status")).await;

    assert_eq!(said.code, 503);
    assert_eq!(
        said.problem(),
        "GET /v1/status is not answered: weftd is stopping: ask again when it has started"
    );
}

#[tokio::test]
async fn whoever_hangs_does_not_hold_up_the_end() {
    let there =
        There::within(alone(), Limits { end: Duration::from_millis(200), ..Limits::default() })
            .await;
    there.daemon.hold(true);
    let mut asking = there.connect().await;
    asking.write_all(get("/v1/journal").as_bytes()).await.unwrap();
    there.daemon.was_asked().await;

    let ended = tokio::time::timeout(Duration::from_secs(5), there.server.end()).await;

    assert!(ended.is_ok());
    assert_eq!(read_all(asking).await, "");
}
