//! The daemon's HTTP server: everything on a unix socket, and on TCP what only reads (docs/API.md).
//!
//! ```text
//!  accept --> connection: one request, one answer --> route --> Daemon::look --> Sheets --> octets
//!  (so many at once)  (each step has a deadline)                     Daemon::connect, forget, journal; Addresses
//! ```
//!
//! What is told comes as a [`Look`], everything at one moment; what each answer makes of it is pure. A look that is shared by
//! many requests is turned into octets once for each kind of answer, and not on the runtime's own thread.
//!
//! A connection serves one request. So nothing is held for those who say nothing, and all limits are of one kind: who has not
//! said all, or not taken all, within its time is cut.

mod addresses;
mod answers;
mod connection;
mod counters;
mod exposition;
mod ipam;
mod listen;
mod look;
mod orders;
mod passed;
mod pods;
mod respond;
mod route;
mod sheets;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::{Connect, Forget, Given, Problem};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use addresses::Addresses;
pub use answers::{connections, fdb, ipam, metrics, paths, peers, report, status, targets};
pub use counters::counters;
pub use hyper::body::Bytes;
pub use ipam::{IpamLook, LostLook, OwnerLook, PendingLook, RemovalLook};
pub use listen::ListenError;
pub use look::{FdbLook, Look, PathLook};
pub use pods::Pods;

use connection::{Door, Service};
use listen::SocketFile;
use sheets::Sheets;

/// What is served.
///
/// A future may be dropped before it ends, when whoever asked has gone. One that takes longer than
/// [`Limits::answer`] is given up.
pub trait Daemon: Addresses + Pods {
    /// What there is to tell, now or a moment ago. Answers are made once for each look: who is asked often
    /// gives the same one for a while.
    fn look(&self) -> impl Future<Output = Result<Arc<Look>, Gone>> + Send;

    /// Where stations are, now or a moment ago, in the same way.
    fn fdb(&self) -> impl Future<Output = Result<Arc<FdbLook>, Gone>> + Send;

    /// Connects to peers.
    fn connect(&self, request: Connect) -> impl Future<Output = Result<Given, Refusal>> + Send;

    /// Forgets peers.
    fn forget(&self, request: Forget) -> impl Future<Output = Result<Given, Refusal>> + Send;

    /// The flight recorder's journal.
    fn journal(&self) -> impl Future<Output = Result<Bytes, Refusal>> + Send;
}

/// The daemon is stopping: it tells nothing any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the daemon is stopping")]
pub struct Gone;

/// Something was not done, and nothing was changed, unless the reason says so.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct Refusal {
    /// Of which kind.
    pub because: Because,
    /// What whoever asked is told.
    pub problem: Problem,
}

/// Why something is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Because {
    /// The request makes no sense: 400.
    Senseless,
    /// There is no such thing: 404.
    Absent,
    /// Something else forbids it now: 409.
    Forbidden,
    /// The daemon failed: 500.
    Failed,
    /// The daemon is not ready: 503.
    NotReady,
}

/// Where to listen, and for how long to wait.
#[derive(Clone, Debug)]
pub struct Listen {
    /// The unix socket, for everything.
    pub socket: PathBuf,
    /// Addresses for what only reads.
    pub tcp: Vec<SocketAddr>,
    /// What is too much.
    pub limits: Limits,
}

/// What is too much, for each listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once over TCP; more wait until one has ended.
    pub connections: usize,
    /// The same of the unix socket: a runtime may plug in hundreds of pods at once.
    pub local_connections: usize,
    /// Octets of a request's body. All peers that can be given, as names of 255 octets, are 85 kB.
    pub body: usize,
    /// The same of a request about addresses: an id of 256 octets, each of which may be written with six, and as much again.
    pub address_body: usize,
    /// The same of one that says which pods are to stay: a few hundred octets for each.
    pub gc_body: usize,
    /// How long a request's head may take, and then its body.
    pub request: Duration,
    /// How long the daemon may take to answer. `weft` waits 10 s for all.
    pub answer: Duration,
    /// The same for requests about addresses, which the daemon ends within 10 s, and about pods. `weft` waits 15 s.
    pub address: Duration,
    /// How long a connection may take from its first octet to its last.
    pub whole: Duration,
    /// The same where a journal is sent.
    pub journal: Duration,
    /// How long those that are under way may take when the server ends.
    pub end: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            local_connections: 512,
            body: 256 << 10,
            address_body: 8 << 10,
            gc_body: 1 << 20,
            request: Duration::from_secs(5),
            answer: Duration::from_secs(8),
            address: Duration::from_secs(12),
            whole: Duration::from_secs(30),
            journal: Duration::from_secs(120),
            end: Duration::from_secs(2),
        }
    }
}

/// A running server. Dropped, it stops at once; the socket's file is removed either way.
#[derive(Debug)]
pub struct Server {
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    tcp: Vec<SocketAddr>,
    _file: SocketFile,
}

impl Server {
    /// Listens, and serves from now on in the current tokio runtime, which needs IO and time. On an error nothing
    /// listens.
    pub async fn start<D: Daemon>(listen: Listen, daemon: Arc<D>) -> Result<Self, ListenError> {
        let Listen { socket, tcp, limits } = listen;
        let mut bound = Vec::new();
        for addr in tcp {
            let opened = TcpListener::bind(addr).await;
            bound.push(opened.map_err(|why| ListenError::Tcp { addr, why })?);
        }
        let tcp = bound.iter().filter_map(|it| it.local_addr().ok()).collect();
        let (unix, file) = listen::unix(&socket).await?;

        let (stop, stopped) = watch::channel(false);
        let (sheets, fdb_sheets) = (Arc::new(Sheets::default()), Arc::new(Sheets::default()));
        let service = |door| Service {
            daemon: Arc::clone(&daemon),
            sheets: Arc::clone(&sheets),
            fdb_sheets: Arc::clone(&fdb_sheets),
            door,
            limits,
        };
        let mut listeners = JoinSet::new();
        listeners.spawn(connection::accept(unix, Arc::new(service(Door::Unix)), stopped.clone()));
        for listener in bound {
            let service = Arc::new(service(Door::Tcp));
            listeners.spawn(connection::accept(listener, service, stopped.clone()));
        }
        Ok(Self { stop, listeners, tcp, _file: file })
    }

    /// The TCP addresses that it listens on, with the ports that the kernel chose.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Takes no more connections, and waits, not for long, until those that are under way have been answered.
    pub async fn end(mut self) {
        // Without a listener there is nobody to tell.
        let _ = self.stop.send(true);
        while self.listeners.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
