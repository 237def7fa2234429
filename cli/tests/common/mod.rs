//! A daemon that does what a test tells it, and the program that asks it.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests; each uses a part of this"
)]

pub(crate) mod fixtures;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What the program did.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `weft` for a socket.
pub(crate) fn weft(socket: &Path, args: &[&str]) -> Outcome {
    let run = command(socket, args).stdin(Stdio::null()).output().unwrap();
    Outcome {
        code: run.status.code().unwrap(),
        stdout: String::from_utf8(run.stdout).unwrap(),
        stderr: String::from_utf8(run.stderr).unwrap(),
    }
}

/// `weft` with its environment made plain.
pub(crate) fn command(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft"));
    command.env_remove("WEFT_SOCKET").env("WEFT_SOCKET", socket).args(args);
    command
}

/// A directory of a test's own, removed with it.
#[derive(Debug)]
pub(crate) struct Dir(pub(crate) PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-cli-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A daemon: it reads a question and hands it and the connection to the test's function.
pub(crate) struct Daemon {
    dir: Dir,
    /// The questions so far, head and body.
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn new(mut answer: impl FnMut(&str, UnixStream) + Send + 'static) -> Self {
        let dir = Dir::new();
        let listener = UnixListener::bind(dir.0.join("weft.sock")).unwrap();
        let (asked, stop) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let (log, stopped) = (Arc::clone(&asked), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let mut stream = stream.unwrap();
                let question = read_question(&mut stream);
                log.lock().unwrap().push(question.clone());
                answer(&question, stream);
            }
        });
        Self { dir, asked, stop, thread: Some(thread) }
    }

    /// One that answers every question alike.
    pub(crate) fn answering(code: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        Self::new(move |_, mut stream| {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {code} X\r\nServer: weftd/0.1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
            );
            drop(stream.write_all((head + &body).as_bytes()));
        })
    }

    /// One that says these octets to everybody, and closes.
    pub(crate) fn saying(octets: impl Into<Vec<u8>>) -> Self {
        let octets = octets.into();
        Self::new(move |_, mut stream| drop(stream.write_all(&octets)))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.0.join("weft.sock")
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(UnixStream::connect(self.socket()));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn read_question(stream: &mut UnixStream) -> String {
    let mut octets = Vec::new();
    let mut room = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return text;
            }
        }
        match stream.read(&mut room) {
            Ok(0) | Err(_) => return text,
            Ok(read) => octets.extend_from_slice(&room[..read]),
        }
    }
}

/// A status, as a daemon says it.
pub(crate) fn status() -> String {
    serde_json::to_string(&fixtures::status()).unwrap()
}

/// The one line of a failure.
#[track_caller]
pub(crate) fn failure(outcome: &Outcome) -> String {
    assert_eq!((outcome.code, &*outcome.stdout), (1, ""), "{outcome:?}");
    let line = outcome.stderr.strip_suffix('\n').unwrap();
    assert!(!line.chars().any(api::is_control), "{line:?}");
    line.to_owned()
}
