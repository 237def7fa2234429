//! What plugin and daemon have said to each other, release by release: a daemon of one meets the plugin of another while a node is
//! brought up to date.
//!
//! `recorded/RELEASE.json` has it as it was on the socket, with how the plugin was called and what it told the runtime; `next.json` is of
//! a release that nobody has made yet, with fields, words and a code that are not known. None of a release that has been is changed.
//! `tests/e2e/cni/replay.rs` asks the daemon the same.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails where it cannot go on"
)]

mod common;

use common::daemon::{self, Asked, Daemon};
use common::{Call, Netns, Outcome, Scratch};
use serde_json::Value;

const THIS: &str = include_str!("recorded/0.1.0.json");
const NEXT: &str = include_str!("recorded/next.json");
/// The namespaces' paths, as they were.
const NETNS: [&str; 3] =
    ["/run/netns/cni-8c3f0d52", "/run/netns/cni-2e91b7aa", "/run/netns/cni-c0ffee00"];

/// Each exchange, and what the plugin asks and says when it is called so and answered so.
fn replayed(recorded: &str) -> Vec<(Value, Asked, Outcome)> {
    let (scratch, netns) = (Scratch::new(), Netns::new());
    let path = netns.path().display().to_string();
    let recorded = NETNS.iter().fold(recorded.to_owned(), |text, it| text.replace(it, &path));
    let all: Vec<Value> = serde_json::from_str(&recorded).unwrap();
    assert!(all.len() >= 9);
    let replay = |exchange: Value| {
        let (call, answer) = (&exchange["call"], &exchange["answer"]);
        let octets =
            daemon::http(answer["code"].as_u64().unwrap().try_into().unwrap(), &answer["body"]);
        let daemon = Daemon::answering(&scratch, move |_| octets.clone());
        let of = Call::new(&scratch, call["verb"].as_str().unwrap(), &call["config"]);
        let env = call["env"].as_object().unwrap();
        let done = env.iter().fold(of, |of, (name, it)| of.env(name, it.as_str().unwrap())).run();
        (exchange.clone(), daemon.only(), done)
    };
    all.into_iter().map(replay).collect()
}

#[test]
fn what_is_asked_today_is_what_was_recorded() {
    for (exchange, asked, _) in replayed(THIS) {
        let (name, request) = (&exchange["name"], &exchange["request"]);

        assert_eq!(
            (&*asked.path, &asked.body),
            (request["path"].as_str().unwrap(), &request["body"])
        );
        assert_eq!(asked.inode.is_some(), request["descriptor"] == true, "{name}");
    }
}

#[test]
fn answers_of_other_releases_are_understood() {
    for (exchange, _, done) in replayed(THIS).into_iter().chain(replayed(NEXT)) {
        let (name, said) = (&exchange["name"], &exchange["said"]);

        assert_eq!(done.success, said["code"].is_null(), "{name}: {done:?}");
        if said.is_null() {
            assert_eq!(done.stdout, "", "{name}");
        } else {
            assert_eq!(done.json(), *said, "{name}");
        }
    }
}
