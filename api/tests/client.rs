//! Whatever listens on the socket and whatever it says: an answer or an error, in time, in one line.
#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use api::{Client, Error, Forget, Status};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..Default::default() })]

    #[test]
    fn any_octets_are_an_answer_or_an_error_in_one_line(octets in said()) {
        let there = Once::saying(octets);

        let outcome = there.client().read::<Status>();

        if let Err(error) = outcome {
            let line = error.problem().to_string();
            prop_assert!(!line.is_empty() && !line.chars().any(api::is_control), "{line:?}");
        }
    }
}

#[test]
fn who_answers_without_listening_is_heard() {
    let there = Once::saying(
        b"HTTP/1.1 413 X\r\nContent-Length: 41\r\n\r\n{\"what\":\"no\",\"why\":\"b\",\"what_to_do\":\"c\" }".to_vec(),
    );
    let peers = vec!["x".repeat(1000); 1000];

    let error = there.client().forget(&Forget { peers }).unwrap_err();

    assert!(matches!(&error, Error::Refused { code: 413, .. }), "{error}");
    assert_eq!(error.to_string(), "no: b: c");
}

/// Octets, most of them nearly right.
fn said() -> impl Strategy<Value = Vec<u8>> {
    let head = prop_oneof![
        Just("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        Just("HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\nServer: \u{1b}[2J\r\n\r\n"),
        Just("HTTP/1.1 404 OK\nServer: weftd/9\u{202e}\n\n"),
        Just("HTTP/1.0 999\r\n\r\n"),
        Just(""),
    ];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "(([0-9a-f]{1,17})\r\n[a-z]{0,20}(\r\n)?){0,5}(0\r\n\r\n)?".prop_map(String::into_bytes),
        Just(b"{\"what\":\"\x1b\",\"why\":\"\\n\",\"what_to_do\":\"\\u202e\"}".to_vec()),
    ];
    (head, body, prop::option::of((any::<prop::sample::Index>(), any::<u8>()))).prop_map(
        |(head, body, flip)| {
            let mut octets = [head.as_bytes(), &body].concat();
            if let (Some((at, to)), false) = (flip, octets.is_empty()) {
                *at.get_mut(&mut octets) = to;
            }
            octets
        },
    )
}

/// Listens for one connection, says something, and closes.
struct Once {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Once {
    fn saying(octets: Vec<u8>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("weft-api-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 256]);
            let _ = stream.write_all(&octets);
        });
        Self { path, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        Client::new(&self.path, Duration::from_secs(10))
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        drop(self.thread.take().map(JoinHandle::join));
        drop(std::fs::remove_file(&self.path));
    }
}
