//! The program and a daemon that does well, or badly: what is asked, and the one line for everything
//! that goes wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use common::{Daemon, Dir, failure, fixtures, status, weft};

#[test]
fn a_question_is_plain_http() {
    let daemon = Daemon::answering(200, status());

    weft(&daemon.socket(), &["status"]);

    let version = env!("CARGO_PKG_VERSION");
    let expected = format!(
        "GET /v1/status HTTP/1.1\r\nHost: weft\r\nUser-Agent: weft/{version}\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(daemon.asked(), [expected]);
}

#[test]
fn a_refusal_is_told_in_the_daemons_words() {
    let problem = r#"{"what":"cannot forget 10.0.0.9","why":"it was\nnever given","what_to_do":"see `weft status targets`"}"#;
    for code in [400, 404, 409, 503] {
        let daemon = Daemon::answering(code, problem);

        let line = failure(&weft(&daemon.socket(), &["forget", "10.0.0.9"]));

        let expected =
            "weft: cannot forget 10.0.0.9: it was never given: see `weft status targets`";
        assert_eq!(line, expected);
    }
}

#[test]
fn fields_and_words_of_a_later_release_are_no_trouble() {
    let mut connections = serde_json::to_value(fixtures::connections()).unwrap();
    connections["color"] = "blue".into();
    connections["connections"][0]["state"] = "levitating".into();
    connections["connections"][0]["spin"] = 0.5.into();
    let daemon = Daemon::answering(200, connections.to_string());

    let text = weft(&daemon.socket(), &["status", "connections"]).stdout;
    let json = weft(&daemon.socket(), &["status", "connections", "-o", "json"]).stdout;

    assert!(text.starts_with("<- 192.168.48.12:33866   levitating "), "{text}");
    assert!(json.contains("\"color\": \"blue\"") && json.contains("\"spin\": 0.5"), "{json}");
}

#[test]
fn an_answer_may_come_in_chunks_or_end_with_the_connection() {
    let body = status();
    let (first, rest) = body.split_at(100);
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:X};x=y\r\n{rest}\r\n0\r\n\r\n",
        first.len(),
        rest.len()
    );
    let closed = format!("HTTP/1.1 200 OK\r\n\r\n{body}");
    for answer in [chunked, closed] {
        let daemon = Daemon::saying(answer);

        let outcome = weft(&daemon.socket(), &["status"]);

        assert_eq!((outcome.code, &*outcome.stderr), (0, ""));
        assert!(outcome.stdout.starts_with("        Version: 0.1.0"));
    }
}

#[test]
fn nobody_there_is_one_line() {
    let dir = Dir::new();
    let (absent, dead, file) = (dir.0.join("absent"), dir.0.join("dead"), dir.0.join("file"));
    drop(UnixListener::bind(&dead).unwrap());
    std::fs::write(&file, "").unwrap();
    for (socket, why) in [
        (
            absent,
            "No such file or directory (os error 2): start weftd, or name its socket with --socket or WEFT_SOCKET",
        ),
        (
            dead,
            "Connection refused (os error 111): weftd is not running there any more: start it, or name its socket with --socket or WEFT_SOCKET",
        ),
        (
            file,
            "Connection refused (os error 111): weftd is not running there any more: start it, or name its socket with --socket or WEFT_SOCKET",
        ),
    ] {
        let line = failure(&weft(&socket, &["status"]));

        assert_eq!(line, format!("weft: cannot reach weftd at {}: {why}", socket.display()));
    }
}

#[test]
fn a_socket_path_that_is_too_long_is_one_line() {
    let line = failure(&weft(Path::new(&"x".repeat(300)), &["status"]));

    assert!(line.ends_with("name weftd's socket with --socket or WEFT_SOCKET"), "{line}");
}

#[test]
fn a_daemon_that_hangs_is_one_line_in_time() {
    let hangs = Daemon::new(|_, mut stream| drop(stream.read(&mut [0])));
    let drips = Daemon::new(|_, mut stream| {
        for octet in b"HTTP/1.1 200 OK\r\n".iter().cycle() {
            if stream.write_all(&[*octet]).is_err() {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(50));
        }
    });
    // Nobody accepts, and the backlog is full.
    let dir = Dir::new();
    let deaf = dir.0.join("deaf");
    let _listener = UnixListener::bind(&deaf).unwrap();
    let _waiting = fill_backlog(&deaf);
    for socket in [hangs.socket(), drips.socket(), deaf] {
        for command in [&["status"][..], &["report"], &["rmpeer", "host2"], &["expose"]] {
            let args = [&["--timeout", "0.3"], command].concat();
            let line = failure(&weft(&socket, &args));

            assert_eq!(
                line,
                format!(
                    "weft: weftd at {} does not answer: nothing, or not everything, came within 300ms: it hangs or is overloaded: see its log, or wait longer with --timeout",
                    socket.display()
                )
            );
        }
    }
}

#[test]
fn a_daemon_that_closes_early_is_one_line() {
    let body = status();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\nhalf".to_owned();
    for answer in [String::new(), whole[..10].into(), whole[..200].into(), chunks] {
        let daemon = Daemon::saying(answer);

        let line = failure(&weft(&daemon.socket(), &["status"]));

        let socket = daemon.socket();
        let what = format!(
            "weft: weftd at {} did not finish its answer to GET /v1/status: the connection was closed after ",
            socket.display()
        );
        assert!(line.starts_with(&what), "{line}");
        assert!(line.ends_with(" octets: ask again; if it stays so, see its log"), "{line}");
    }
}

#[test]
fn a_daemon_that_closes_between_chunks_has_said_what_came_before() {
    let daemon = Daemon::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n".as_bytes(),
    );

    let line = failure(&weft(&daemon.socket(), &["status"]));

    assert!(line.contains("the connection was closed after 4 octets"), "{line}");
}

#[test]
fn a_gigabyte_is_refused_however_it_comes() {
    const GIB: usize = 1 << 30;
    let says = "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40000000\r\n";
    let closed = "HTTP/1.1 200 OK\r\n\r\n";
    for head in [says, chunked, closed] {
        let daemon = Daemon::new(move |_, mut stream| {
            let _ = stream.write_all(head.as_bytes());
            let spaces = vec![b' '; 1 << 20];
            let mut sent = 0;
            while sent < GIB && stream.write_all(&spaces).is_ok() {
                sent += spaces.len();
            }
        });

        let line = failure(&weft(&daemon.socket(), &["--timeout", "60", "status"]));

        assert_eq!(
            line,
            format!(
                "weft: weftd at {} answers GET /v1/status with too much: more than 64 MiB: is that weftd's socket? name it with --socket or WEFT_SOCKET",
                daemon.socket().display()
            )
        );
    }
}

#[test]
fn what_is_not_weftd_is_one_line() {
    for (answer, why) in [
        (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "it does not speak HTTP (invalid HTTP version)"),
        (&b"\x00\x01\x02\xff\xfe"[..], "it does not speak HTTP (invalid HTTP version)"),
        (&[b'H'; 100_000][..], "it does not speak HTTP (invalid HTTP version)"),
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe"[..], "its answer is no UTF-8"),
        (&b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"[..], "its answer is \"-1\" long"),
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"[..],
            "its answer is coded as \"gzip\"",
        ),
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"[..],
            "a chunk of its answer has no size",
        ),
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n\r\n"[..],
            "a chunk of its answer has no size",
        ),
        (
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n"[..],
            "a chunk of its answer is longer than it says",
        ),
    ] {
        let daemon = Daemon::saying(answer);

        let line = failure(&weft(&daemon.socket(), &["status"]));

        let socket = daemon.socket();
        let what = format!("weft: what listens at {} is not weftd", socket.display());
        let to_do = "name weftd's socket with --socket or WEFT_SOCKET";
        assert_eq!(line, format!("{what}: {why}: {to_do}"));
    }
}

#[test]
fn a_head_that_does_not_end_is_refused() {
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1 << 20));
    let daemon = Daemon::saying(head);

    let line = failure(&weft(&daemon.socket(), &["status"]));

    assert!(line.contains("the head of its answer does not end"), "{line}");
}

#[test]
fn a_daemon_of_another_release_is_one_line() {
    let own = env!("CARGO_PKG_VERSION");
    let remedy = format!("use the weft of weftd's release (this one is {own})");
    for (code, body, why) in [
        (404, "", "does not answer GET /v1/status: it does not know it (404)"),
        (405, "<html>\n", "does not answer GET /v1/status: it does not know it (405)"),
    ] {
        let daemon = Daemon::answering(code, body);

        let line = failure(&weft(&daemon.socket(), &["status"]));

        let socket = daemon.socket();
        assert_eq!(line, format!("weft: weftd/0.1.0 at {} {why}: {remedy}", socket.display()));
    }
    for body in [r#"{"version":2}"#, "[]", "OK", ""] {
        let daemon = Daemon::answering(200, body);

        let line = failure(&weft(&daemon.socket(), &["status"]));

        let what = format!(
            "weft: cannot understand what weftd/0.1.0 at {} answers to GET /v1/status: ",
            daemon.socket().display()
        );
        assert!(line.starts_with(&what) && line.ends_with(&remedy), "{line}");
    }
}

#[test]
fn an_answer_that_is_too_deep_is_one_line() {
    let mut status = status();
    status.pop();
    let deep = format!("{status},\"later\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    for command in ["status", "report"] {
        let daemon = Daemon::answering(200, deep.clone());

        let line = failure(&weft(&daemon.socket(), &[command, "-o", "json"]));

        assert!(line.contains("it has more than 127 brackets within brackets"), "{line}");
    }
}

#[test]
fn an_error_that_nobody_explains_is_one_line() {
    for code in [500, 503] {
        let daemon = Daemon::answering(code, "Internal\nServer\u{1b}[31mError");

        let line = failure(&weft(&daemon.socket(), &["status"]));

        let who = format!("weftd/0.1.0 at {}", daemon.socket().display());
        assert_eq!(
            line,
            format!(
                "weft: {who} does not answer GET /v1/status: it says {code} and not why: see its log"
            )
        );
    }
}

/// Connections that wait, as many as the kernel lets wait.
fn fill_backlog(path: &Path) -> Vec<UnixStream> {
    let connect = |path: &Path| {
        let path = path.to_owned();
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || drop(done.send(UnixStream::connect(path))));
        wait.recv_timeout(std::time::Duration::from_millis(200))
    };
    std::iter::from_fn(|| connect(path).ok().map(Result::unwrap)).collect()
}
