//! The server on real sockets, with a daemon that says what a test has it say.

mod addresses;
mod broken;
mod files;
mod mesh;
mod pages;
mod pods;
mod requests;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::fixtures::{alone, link, name, peer, with};
use super::*;

const PAGES: [&str; 8] = [
    "/v1/status",
    "/v1/status/connections",
    "/v1/status/peers",
    "/v1/status/targets",
    "/v1/status/paths",
    "/v1/status/ipam",
    "/v1/fdb",
    "/v1/report",
];

#[tokio::test]
async fn health_and_readiness_are_200_without_a_body() {
    let there = There::with(alone()).await;
    for path in ["/healthz", "/readyz"] {
        for said in [there.unix(&get(path)).await, there.tcp(&get(path)).await] {
            assert_eq!((said.code, &*said.body), (200, ""), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_another_method_405() {
    let there = There::with(alone()).await;
    for path in ["/", "/v1", "/v1/status/", "/v2/status", "/v1/status/dns", "/v1/../status"] {
        let said = there.unix(&get(path)).await;

        assert_eq!(said.code, 404, "{path}");
        let expected = format!(
            "GET {path} is not answered: there is no {path}: ask for /v1/status; docs/API.md lists the rest"
        );
        assert_eq!(said.problem(), expected);
    }
    for (method, path, needed) in [
        ("POST", "/v1/status", "GET"),
        ("DELETE", "/v1/report", "GET"),
        ("GET", "/v1/connect", "POST"),
        ("BREW", "/v1/forget", "POST"),
    ] {
        let said = there.unix(&format!("{method} {path} HTTP/1.1\r\nHost: w\r\n\r\n")).await;

        assert_eq!((said.code, said.header("allow")), (405, needed));
        let expected =
            format!("{method} {path} is not answered: {path} is for {needed}: ask with {needed}");
        assert_eq!(said.problem(), expected);
    }
    let head = there.unix("HEAD /v1/status HTTP/1.1\r\nHost: w\r\n\r\n").await;
    assert_eq!((head.code, &*head.body), (405, ""));
    assert_eq!(there.unix(&get("/v1/status?verbose=1")).await.code, 200);
    assert_eq!(there.unix("GET /healthz HTTP/1.0\r\n\r\n").await.code, 200);
}

#[tokio::test]
async fn a_look_is_turned_into_octets_once() {
    let sheets = Sheets::default();
    let page = async |look: &Arc<Look>, page| {
        sheets
            .page(Arc::clone(look), (page, route::Form::Json), sheets::page)
            .await
            .unwrap()
            .as_ptr()
    };
    let (one, other) = (Arc::new(alone()), Arc::new(alone()));

    let first = page(&one, route::Page::Status).await;
    let report = page(&one, route::Page::Report).await;
    let again = page(&one, route::Page::Status).await;
    let status = (route::Page::Status, route::Form::Json);
    let kept = sheets.page(Arc::clone(&one), status, sheets::page).await;
    let of_other = page(&other, route::Page::Status).await;

    assert_eq!(first, again);
    assert_ne!(first, report);
    assert_ne!(kept.unwrap().as_ptr(), of_other);
}

#[tokio::test]
async fn the_server_ends_and_its_socket_with_it() {
    let there = There::with(alone()).await;
    let idle = UnixStream::connect(&there.socket).await.unwrap();
    there.daemon.hold(true);
    let asked = tokio::spawn(exchange(there.connect().await, get("/v1/journal")));
    there.daemon.was_asked().await;

    let There { server, socket, daemon, .. } = there;
    let ending = tokio::spawn(server.end());
    assert_eq!(read_all(idle).await, "");
    daemon.hold(false);
    ending.await.unwrap();

    assert_eq!(asked.await.unwrap().body, "journal");
    assert!(!socket.exists());
}

/// A mesh of two.
fn a_mesh() -> Look {
    let mut look = with(|mesh| {
        mesh.own = Some(peer(0, &[1]));
        mesh.peers = vec![peer(1, &[0])];
        mesh.links = vec![link(1, true)];
    });
    look.paths.insert(name(1), fixtures::direct());
    look
}

/// A daemon that knows one look.
#[derive(Debug)]
struct Fake {
    look: Mutex<Result<Arc<Look>, Gone>>,
    refuses: Mutex<Option<Because>>,
    said: Mutex<Vec<String>>,
    journal: Mutex<Bytes>,
    held: watch::Sender<bool>,
    asked: watch::Sender<usize>,
}

impl Fake {
    fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    fn refuse(&self, because: Because) {
        *self.refuses.lock().unwrap() = Some(because);
    }

    fn stop(&self) {
        *self.look.lock().unwrap() = Err(Gone);
    }

    /// Whether it lets whoever asks wait.
    fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    async fn was_asked(&self) {
        self.asked.subscribe().wait_for(|asked| *asked > 0).await.unwrap();
    }

    async fn answer<T>(&self, value: T) -> Result<T, Refusal> {
        self.asked.send_modify(|asked| *asked += 1);
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        let Some(because) = *self.refuses.lock().unwrap() else { return Ok(value) };
        let [what, why, what_to_do] = ["no", "because", "so"].map(str::to_owned);
        Err(Refusal { because, problem: Problem { what, why, what_to_do } })
    }

    fn say(&self, what: String) {
        self.said.lock().unwrap().push(what);
    }
}

impl Daemon for Fake {
    async fn look(&self) -> Result<Arc<Look>, Gone> {
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        self.look.lock().unwrap().clone()
    }

    async fn fdb(&self) -> Result<Arc<FdbLook>, Gone> {
        Ok(Arc::new(fixtures::stations(self.look().await?)))
    }

    async fn connect(&self, request: Connect) -> Result<Given, Refusal> {
        self.say(format!("connect {:?} {}", request.peers, request.replace));
        self.answer(Given { peers: request.peers }).await
    }

    async fn forget(&self, request: Forget) -> Result<Given, Refusal> {
        self.say(format!("forget {:?}", request.peers));
        self.answer(Given { peers: Vec::new() }).await
    }

    async fn journal(&self) -> Result<Bytes, Refusal> {
        let journal = self.journal.lock().unwrap().clone();
        self.answer(journal).await
    }
}

/// A server, in a directory of its own.
struct There {
    server: Server,
    daemon: Arc<Fake>,
    socket: PathBuf,
    _dir: Dir,
}

impl There {
    async fn with(look: Look) -> Self {
        Self::within(look, Limits::default()).await
    }

    async fn within(look: Look, limits: Limits) -> Self {
        let dir = Dir::new();
        let socket = dir.0.join("run/weft.sock");
        let daemon = Arc::new(Fake {
            look: Mutex::new(Ok(Arc::new(look))),
            refuses: Mutex::default(),
            said: Mutex::default(),
            journal: Mutex::new(Bytes::from_static(b"journal")),
            held: watch::channel(false).0,
            asked: watch::channel(0).0,
        });
        let tcp = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let listen = Listen { socket: socket.clone(), tcp, limits };
        let server = Server::start(listen, Arc::clone(&daemon)).await.unwrap();
        Self { server, daemon, socket, _dir: dir }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(self.server.tcp()[0]).await.unwrap()
    }

    async fn unix(&self, request: &str) -> Said {
        exchange(self.connect().await, request.to_owned()).await
    }

    async fn tcp(&self, request: &str) -> Said {
        exchange(self.connect_tcp().await, request.to_owned()).await
    }
}

/// An answer as it came.
#[derive(Debug)]
struct Said {
    code: u16,
    head: String,
    body: String,
}

impl Said {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self { code, head: head.to_owned(), body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(of, _)| of.eq_ignore_ascii_case(name)).map_or("", |(_, it)| it)
    }

    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str::<Problem>(&self.body).unwrap().to_string()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: weft\r\n\r\n")
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: weft\r\nContent-Length: {length}\r\n\r\n{body}")
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: String) -> Said {
    // Who answers without having listened may close meanwhile.
    let _ = stream.write_all(request.as_bytes()).await;
    Said::parse(&read_all(stream).await)
}

/// Whatever comes until the end, or for 20 s.
async fn read_all(mut stream: impl AsyncRead + Unpin) -> String {
    let mut octets = Vec::new();
    let read = stream.read_to_end(&mut octets);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    // A reset is an end, too.
    let _ = ended.expect("the server cuts whoever hangs");
    String::from_utf8_lossy(&octets).into_owned()
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A directory of a test's own, removed with it.
#[derive(Debug)]
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("weft-serve-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
