//! What goes in: everything that happens to the mesh is a value in one bounded queue.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::gate::Admission;
use super::givers::HostPort;
use super::resolve::Endpoint;
use super::snapshot::Snapshot;
use crate::{ChannelName, ConnId, PeerName};

/// Inputs that may wait for the loop. Each holds 16 KiB of octets at most: 4 MiB in all.
pub(super) const QUEUE: usize = 256;

/// Where inputs go. Whoever sends waits while the queue is full: that is the back-pressure.
pub(super) type Inputs = mpsc::Sender<Input>;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Input {
    /// A connection came in and passed the gate.
    Accepted { stream: TcpStream, remote: SocketAddr, admission: Admission },
    /// A connection we dialled is open.
    Connected { conn: ConnId, stream: TcpStream },
    /// A connection we dialled cannot be opened.
    DialFailed { conn: ConnId, why: String },
    /// Octets came.
    Bytes { conn: ConnId, octets: Vec<u8> },
    /// The socket has taken octets.
    Written { conn: ConnId, octets: usize },
    /// The connection has ended.
    Closed { conn: ConnId, why: String },
    /// A name was looked up.
    Found { name: HostPort, found: Result<Vec<SocketAddr>, NotFound> },
    /// Somebody in this process wants something.
    Request(Request),
}

/// A look-up that failed.
#[derive(Debug)]
pub(super) struct NotFound {
    pub(super) why: String,
    /// How soon there is another.
    pub(super) again: Duration,
}

/// What the rest of the process may ask for.
#[derive(Debug)]
pub(super) enum Request {
    Connect(Endpoint, oneshot::Sender<bool>),
    Replace(Vec<Endpoint>, oneshot::Sender<bool>),
    Forget(Endpoint),
    Leave(oneshot::Sender<()>),
    Remove(PeerName, oneshot::Sender<bool>),
    DataPath(PeerName, bool),
    Nickname(String),
    Labels(BTreeMap<String, String>),
    Leases(bool),
    DataRoutes(oneshot::Sender<BTreeMap<PeerName, Vec<PeerName>>>),
    Join(ChannelName, oneshot::Sender<bool>),
    SetDigest(ChannelName, u64),
    Say(Say, oneshot::Sender<bool>),
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    Recent(oneshot::Sender<Arc<Snapshot>>),
}

/// Something to say on a channel.
#[derive(Debug)]
pub(super) struct Say {
    pub(super) channel: ChannelName,
    pub(super) to: Audience,
    pub(super) octets: Vec<u8>,
}

/// To whom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Audience {
    /// All neighbours but one.
    Neighbours { except: Option<PeerName> },
    /// One neighbour.
    Neighbour(PeerName),
    /// One peer, however far.
    Peer(PeerName),
}

/// The loop's clock: the time since the shell started. It never goes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(tokio::time::Instant);

impl Clock {
    /// Starts at zero.
    pub(super) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The time now.
    pub(super) fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// The moment that `now` will call so.
    pub(super) fn at(self, time: Duration) -> tokio::time::Instant {
        self.0 + time
    }
}
