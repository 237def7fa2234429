//! A daemon that is down, hangs, fails half-way, or is something else.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails where it cannot go on"
)]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use common::daemon::{self, Daemon};
use common::{Call, Netns, Outcome, Scratch, config, config_for};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use serde_json::{Value, json};

/// What it may take while the daemon is down.
const QUICK: Duration = Duration::from_secs(1);

#[test]
fn while_the_daemon_is_down_add_fails_at_once_and_del_is_written_down() {
    for down in [Down::NoSocket, Down::Refused, Down::Full] {
        let (scratch, netns) = (Scratch::new(), Netns::new());
        let _held = down.make(&scratch);
        let run = |verb: &str| {
            let config = config_for(verb, "1.1.0", &netns.path());
            let done = Call::new(&scratch, verb, &config).netns(netns.path()).run();
            // Written down is twice looked for.
            let within = if verb == "DEL" { QUICK + Duration::from_millis(300) } else { QUICK };
            assert!(done.took < within, "{down:?} {verb}: {done:?}");
            done
        };

        assert_eq!(run("ADD").code(), 11, "{down:?}");
        assert_eq!(run("CHECK").code(), 11, "{down:?}");
        assert_eq!(run("GC").code(), 11, "{down:?}");
        assert_eq!(run("STATUS").code(), 50, "{down:?}");
        assert!(scratch.queued().is_empty(), "{down:?}");
        for _ in 0..2 {
            let done = run("DEL");
            assert_eq!((done.code(), &*done.stdout), (0, ""), "{down:?}");
        }
        assert_eq!(scratch.queued(), [scratch.at("state/unplug/c-1:eth0.json")]);
    }
}

#[test]
fn a_del_that_the_daemon_dies_of_is_written_down() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::answering(&scratch, |asked| match &*asked.path {
        "/v1/pods/unplug" => Vec::new(),
        _ => daemon::willing(asked),
    });

    let done = Call::new(&scratch, "DEL", &config("1.0.0")).netns(netns.path()).run();

    assert_eq!((done.code(), scratch.queued().len()), (0, 1), "{done:?}");
}

#[test]
fn what_is_written_down_is_what_the_daemon_is_asked() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let del = |id: &str, ifname: &str, netns: &str| {
        let call = Call::new(&scratch, "DEL", &config("1.0.0")).netns(netns);
        assert_eq!(call.env("CNI_CONTAINERID", id).env("CNI_IFNAME", ifname).run().code(), 0);
    };
    let long = "x".repeat(200);
    del("a-b", "c", "");
    del("a", "b-c", netns.path().to_str().unwrap());
    del(&long, "fifteen-letters", "");

    let queued = scratch.queued();
    let told: Vec<Value> =
        queued.iter().map(|it| serde_json::from_slice(&fs::read(it).unwrap()).unwrap()).collect();
    let expected = [
        json!({ "id": "a-b", "ifname": "c", "inode": null }),
        json!({ "id": "a", "ifname": "b-c", "inode": netns.inode() }),
        json!({ "id": long, "ifname": "fifteen-letters", "inode": null }),
    ];
    assert_eq!(told, expected);
    for file in queued {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o7777, 0o600);
    }
}

#[test]
fn del_is_written_down_for_a_daemon_that_is_not_ready_or_stops() {
    let scratch = Scratch::new();
    let _daemon = Daemon::refusing(&scratch, 503);

    let done = Call::new(&scratch, "DEL", &config("1.0.0")).run();

    assert_eq!((done.code(), &*done.stdout), (0, ""));
    assert_eq!(scratch.queued().len(), 1);
}

#[test]
fn a_daemon_that_begins_meanwhile_does_it_itself() {
    let scratch = Scratch::new();
    let times = std::sync::atomic::AtomicUsize::new(0);
    let daemon = Daemon::answering(&scratch, move |asked| {
        let first = times.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        if first { daemon::problem(503) } else { daemon::willing(asked) }
    });

    assert_eq!(Call::new(&scratch, "DEL", &config("1.0.0")).run().code(), 0);

    assert_eq!(daemon.asked().len(), 2);
    assert!(scratch.queued().is_empty());
}

#[test]
fn what_is_added_now_is_not_lost_to_what_was_to_be_unplugged() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    assert_eq!(Call::new(&scratch, "DEL", &config("1.0.0")).run().code(), 0);
    assert_eq!(scratch.queued().len(), 1);
    let _daemon = Daemon::willing(&scratch);

    let done = Call::new(&scratch, "ADD", &config("1.0.0")).netns(netns.path()).run();

    assert_eq!(done.code(), 0);
    assert!(scratch.queued().is_empty());
}

#[test]
fn del_fails_where_it_cannot_be_written_down() {
    let scratch = Scratch::new();
    fs::write(scratch.at("state"), "a file").unwrap();

    let done = Call::new(&scratch, "DEL", &config("1.0.0")).run();

    assert_eq!(done.code(), 5, "{done:?}");
    assert!(done.stdout.contains("cannot reach weftd"), "{done:?}");
}

#[test]
fn an_answer_that_does_not_come_or_makes_no_sense_can_be_asked_for_again() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    for answer in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\xff\xfe\x00\x00",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\n[]",
    ] {
        let _daemon = Daemon::answering(&scratch, |_| answer.to_vec());
        for verb in ["ADD", "CHECK", "DEL", "GC"] {
            let config = config_for(verb, "1.1.0", &netns.path());

            let done = Call::new(&scratch, verb, &config).netns(netns.path()).run();

            // What is to be unplugged is written down.
            let expected = if verb == "DEL" { 0 } else { 11 };
            assert_eq!(done.code(), expected, "{verb} {answer:?}: {done:?}");
        }
        let done = Call::new(&scratch, "STATUS", &config("1.1.0")).run();
        assert_eq!(done.code(), 50, "{answer:?}: {done:?}");
    }
    assert_eq!(scratch.queued().len(), 1);
}

#[test]
fn plugging_in_may_take_its_time_and_status_may_not() {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let _daemon = Daemon::answering(&scratch, |asked| {
        std::thread::sleep(Duration::from_millis(1500));
        daemon::willing(asked)
    });
    let run = |verb: &str| -> Outcome {
        Call::new(&scratch, verb, &config("1.1.0")).netns(netns.path()).run()
    };

    assert_eq!(run("ADD").code(), 0);
    let done = run("STATUS");
    assert_eq!(done.code(), 50);
    assert!(done.took < Duration::from_millis(1400), "{done:?}");
}

/// How a daemon is not there.
#[derive(Clone, Copy, Debug)]
enum Down {
    NoSocket,
    /// It was killed, and its socket is still there.
    Refused,
    /// It accepts nobody, and no more can wait.
    Full,
}

impl Down {
    fn make(self, scratch: &Scratch) -> Vec<Box<dyn std::any::Any>> {
        let path = scratch.at("weft.sock");
        match self {
            Self::NoSocket => Vec::new(),
            Self::Refused => {
                drop(UnixListener::bind(path).unwrap());
                Vec::new()
            }
            Self::Full => {
                let kind = SocketType::STREAM;
                let listener = rustix::net::socket(AddressFamily::UNIX, kind, None).unwrap();
                rustix::net::bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
                rustix::net::listen(&listener, 0).unwrap();
                // One waits; the next would have to wait to be let wait.
                let waiting = UnixStream::connect(path).unwrap();
                vec![Box::new(listener), Box::new(waiting)]
            }
        }
    }
}
