//! What the plugin takes for weftd.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::Scratch;

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub body: Value,
    /// Of the descriptor that came with its first octet.
    pub inode: Option<u64>,
}

type Answer = dyn Fn(&Asked) -> Vec<u8> + Send + Sync;

/// Listens where the plugin looks for weftd. Dropped, it stops, and the socket stays, as after a crash.
pub struct Daemon {
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Says yes to everything.
    pub fn willing(scratch: &Scratch) -> Self {
        Self::answering(scratch, willing)
    }

    /// Refuses everything.
    pub fn refusing(scratch: &Scratch, code: u16) -> Self {
        Self::answering(scratch, move |_| problem(code))
    }

    pub fn answering(
        scratch: &Scratch,
        answer: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let socket = scratch.at("weft.sock");
        drop(std::fs::remove_file(&socket));
        let listener = UnixListener::bind(&socket).unwrap();
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let serving = std::thread::spawn({
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            let answer: Box<Answer> = Box::new(answer);
            move || serve(&listener, &asked, (&stop, &*answer))
        });
        Self { socket, asked, stop, serving: Some(serving) }
    }

    /// All that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The only thing that was asked.
    pub fn only(&self) -> Asked {
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked[0].clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(&self.socket));
        self.serving.take().unwrap().join().unwrap();
    }
}

fn serve(
    listener: &UnixListener,
    asked: &Mutex<Vec<Asked>>,
    (stop, answer): (&AtomicBool, &Answer),
) {
    for stream in listener.incoming() {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let mut stream = stream.unwrap();
        // Who only looks whether somebody listens asks nothing.
        let Some(question) = read(&mut stream) else { continue };
        asked.lock().unwrap().push(question.clone());
        drop(stream.write_all(&answer(&question)));
    }
}

fn read(stream: &mut UnixStream) -> Option<Asked> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (mut octets, fd) = first(stream)?;
    let mut room = [0; 4096];
    let (head, body) = loop {
        let text = String::from_utf8(octets.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() == length.map_or(0, |length| length.parse().unwrap()) {
                break (head.to_owned(), body.to_owned());
            }
        }
        let read = stream.read(&mut room).unwrap();
        assert!(read > 0, "cut off: {text}");
        octets.extend(&room[..read]);
    };
    Some(Asked {
        path: head.split(' ').nth(1).unwrap().to_owned(),
        body: serde_json::from_str(&body).unwrap_or_default(),
        inode: fd.map(|fd| File::from(fd).metadata().unwrap().ino()),
    })
}

/// The first octets, and the descriptor that comes with them.
fn first(stream: &UnixStream) -> Option<(Vec<u8>, Option<OwnedFd>)> {
    let mut room = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got =
        recvmsg(stream, &mut [IoSliceMut::new(&mut room)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let read = got.unwrap().bytes;
    let mut fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        RecvAncillaryMessage::ScmCredentials(_) | _ => None,
    });
    (read > 0).then(|| (room[..read].to_vec(), fds.next()))
}

pub fn willing(asked: &Asked) -> Vec<u8> {
    match asked.path.as_str() {
        "/v1/pods/plug" => ok(&plugged(&asked.body)),
        "/v1/pods/check" => ok(&plugged(&json!({}))),
        "/v1/status" => http(200, &status(true)),
        _ => ok(&json!({ "now": "2026-11-21T12:00:00Z", "pods": [] })),
    }
}

/// What came of a [`api::Plug`].
pub fn plugged(plug: &Value) -> Value {
    let given = plug["addresses"]["given"].as_array().filter(|it| !it.is_empty());
    let default = json!(["10.32.0.5/12"]);
    json!({
        "id": "c-1", "ifname": "eth0", "netns": plug["netns"], "network": plug["network"], "pod": null,
        "mac": plug["mac"].as_str().unwrap_or("02:00:0a:20:00:05"),
        "mtu": plug["mtu"].as_u64().unwrap_or(1410),
        "addresses": given.map_or_else(|| default.clone(), |it| json!(it)),
        "gateway": plug["gateway"].as_str().unwrap_or("10.32.0.1"),
        "routes": plug["routes"].as_array().cloned().unwrap_or_else(|| vec![
            json!({ "to": "0.0.0.0/0", "via": "10.32.0.1", "mtu": null, "advmss": null,
                "priority": null, "table": null, "scope": null })
        ]),
        "host": { "name": "vethwe1234567", "mac": "02:00:00:00:00:02" },
        "bridge": { "name": "weave", "mac": "02:00:00:00:00:01" },
        "since": "2026-11-21T12:00:00Z",
    })
}

/// As docs/API.md has it.
pub fn status(ready: bool) -> Value {
    let doc = include_str!("../../../docs/API.md");
    let (_, rest) = doc.split_once("```json Status\n").unwrap();
    let (example, _) = rest.split_once("\n```").unwrap();
    let mut status: Value = serde_json::from_str(example).unwrap();
    status["ready"] = json!(ready);
    status["waiting_for"] = if ready { json!([]) } else { json!(["the bridge"]) };
    status
}

pub fn ok(body: &Value) -> Vec<u8> {
    http(200, body)
}

pub fn problem(code: u16) -> Vec<u8> {
    http(code, &json!({ "what": "cannot", "why": "told so", "what_to_do": "ask again" }))
}

pub fn http(code: u16, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!("HTTP/1.1 {code} X\r\nServer: weftd/0.1.0\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}
