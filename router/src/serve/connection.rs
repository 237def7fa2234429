//! Connections: as many at once as there are places, each for one request and within its time.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::passed::{Local, Stream};
pub(super) use super::route::Door;
use super::route::{Form, Page};
use super::sheets::Sheets;
use super::{Daemon, FdbLook, Limits, Look};

/// The largest head of a request, in octets, and the most lines. `weft` sends 120 octets in four.
const HEAD_MAX: usize = 16 << 10;
const LINES_MAX: usize = 64;
/// Octets that wait to be written, besides a body that is ready.
const BUFFER: usize = 64 << 10;
/// Without descriptors nobody can be accepted, and trying again at once would keep a processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of one listener have in common.
#[derive(Debug)]
pub(super) struct Service<D> {
    pub(super) daemon: Arc<D>,
    pub(super) sheets: Arc<Sheets<Look, (Page, Form)>>,
    pub(super) fdb_sheets: Arc<Sheets<FdbLook, Form>>,
    pub(super) door: Door,
    pub(super) limits: Limits,
}

/// A listener of either kind.
pub(super) trait Accept: Send + 'static {
    type Stream: Stream;

    fn accept_one(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for UnixListener {
    type Stream = Local;

    async fn accept_one(&self) -> io::Result<Local> {
        self.accept().await.map(|(stream, _)| Local::new(stream))
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept_one(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

/// Serves who connects until told to stop; who is being served then has a moment left.
pub(super) async fn accept<L: Accept, D: Daemon>(
    listener: L,
    service: Arc<Service<D>>,
    mut stop: watch::Receiver<bool>,
) {
    let Limits { connections, local_connections, end, .. } = service.limits;
    let connections = match service.door {
        Door::Unix => local_connections,
        Door::Tcp => connections,
    };
    let mut open = JoinSet::new();
    let mut failing = false;
    loop {
        let has_room = open.len() < connections;
        tokio::select! {
            _ = stop.changed() => break,
            Some(ended) = open.join_next() => log_panic(ended),
            accepted = listener.accept_one(), if has_room => match accepted {
                Ok(stream) => {
                    failing = false;
                    open.spawn(serve(stream, Arc::clone(&service), stop.clone()));
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(door = ?service.door, %error, "cannot accept connections to the API; trying again");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    let all = async { while open.join_next().await.is_some() {} };
    // Who is left then is cut when the set is dropped.
    let _ = timeout(end, all).await;
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an answer of the API has failed");
    }
}

/// Serves one request.
async fn serve<S, D>(stream: S, service: Arc<Service<D>>, mut stop: watch::Receiver<bool>)
where
    S: Stream,
    D: Daemon,
{
    let limits = service.limits;
    let (journal, passed) = (AtomicBool::new(false), stream.passed());
    let answer = service_fn(|request| {
        let (service, with) = (&service, (&journal, &passed));
        async move { Ok::<_, Infallible>(service.answer(request, with).await) }
    });
    let conn = builder(&limits).serve_connection(TokioIo::new(stream), answer);
    let mut conn = pin!(conn);
    let mut deadline = pin!(sleep(limits.whole));
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = conn.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(door = ?service.door, %error, "a connection to the API ended early");
                }
                return;
            }
            () = deadline.as_mut() => {
                if !journal.swap(false, Relaxed) {
                    tracing::debug!(door = ?service.door, "a connection to the API took too long");
                    return;
                }
                let more = limits.journal.saturating_sub(limits.whole);
                let until = deadline.deadline() + more;
                deadline.as_mut().reset(until);
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                conn.as_mut().graceful_shutdown();
            }
        }
    }
}

fn builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.request)
        .max_header_size(HEAD_MAX)
        .max_headers(LINES_MAX)
        .max_buf_size(BUFFER)
        .keep_alive(false)
        // Who has said all may say so, and still wait for the answer.
        .half_close(true);
    builder
}
