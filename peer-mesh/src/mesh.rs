//! The mesh core. (Being written: signatures are final, bodies are not there yet.)
#![expect(unused_variables, clippy::todo, clippy::unused_self, clippy::needless_pass_by_value, reason = "skeleton")]

use std::net::SocketAddr;
use std::time::Duration;

use crate::{ChannelName, CloseReason, Config, ConnId, Output, PeerName, PeerState, PeerUid, Saved};

/// The core. `now` is the time since any fixed moment, by a clock that never goes back.
///
/// After every `handle_*` call or request: perform `poll_output` until it gives nothing, then call
/// `handle_timeout` at the moment `poll_timeout` names.
#[derive(Debug)]
pub struct Mesh {}

impl Mesh {
    /// A peer that starts. It uses an incarnation above the saved one: store `saved()` before performing any output.
    pub fn new(config: Config, saved: Saved, seed: [u8; 32], now: Duration) -> Self { todo!() }

    // input
    /// A connection came in. `None`: refuse it, there are too many.
    pub fn handle_accepted(&mut self, local: SocketAddr, remote: SocketAddr, now: Duration) -> Option<ConnId> { todo!() }
    /// A connection we dialled is open.
    pub fn handle_connected(&mut self, conn: ConnId, local: SocketAddr, now: Duration) { todo!() }
    /// It could not be opened.
    pub fn handle_dial_failed(&mut self, conn: ConnId, why: &str, now: Duration) { todo!() }
    /// Octets came, any number.
    pub fn handle_bytes(&mut self, conn: ConnId, octets: &[u8], now: Duration) { todo!() }
    /// The socket has taken this many octets of what `Send` gave.
    pub fn handle_written(&mut self, conn: ConnId, octets: usize, now: Duration) { todo!() }
    /// The connection ended (not called after `Output::Close`; ignored if it is).
    pub fn handle_closed(&mut self, conn: ConnId, why: &str, now: Duration) { todo!() }
    /// The time that `poll_timeout` named has come (calling it earlier does no harm).
    pub fn handle_timeout(&mut self, now: Duration) { todo!() }

    // output
    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output> { todo!() }
    /// When to call `handle_timeout`.
    pub fn poll_timeout(&self) -> Option<Duration> { todo!() }

    // requests
    /// Dial this address until its peer is in the mesh.
    pub fn connect(&mut self, addr: SocketAddr, now: Duration) { todo!() }
    /// Dial it no longer, and close what was dialled there.
    pub fn forget(&mut self, addr: SocketAddr, now: Duration) { todo!() }
    /// Leave the mesh for good: everybody is told, links are closed. Nothing is dialled or accepted after this.
    pub fn leave(&mut self, now: Duration) { todo!() }
    /// Declare a silent peer gone, everywhere. `false`: it is up, or unknown.
    pub fn remove(&mut self, name: PeerName, now: Duration) -> bool { todo!() }
    /// Whether frames reach a peer directly; `false` is published after 10 s.
    pub fn handle_data_path(&mut self, name: PeerName, direct: bool, now: Duration) { todo!() }
    /// Take part in a channel: what comes on it becomes events.
    pub fn join(&mut self, channel: ChannelName) { todo!() }
    /// A digest of the channel's whole state: neighbours whose digests differ for long are asked to exchange it.
    pub fn set_digest(&mut self, channel: &ChannelName, digest: u64) { todo!() }
    /// Tell all neighbours, except the one it came from. At most `MAX_PAYLOAD` octets, else `false`.
    pub fn broadcast(&mut self, channel: &ChannelName, octets: &[u8], except: Option<PeerName>, now: Duration) -> bool { todo!() }
    /// Tell one neighbour (answers `Event::StateWanted`).
    pub fn broadcast_to(&mut self, channel: &ChannelName, to: PeerName, octets: &[u8], now: Duration) -> bool { todo!() }
    /// Send to one peer, over any number of hops. `false`: no route, or too long.
    pub fn send(&mut self, channel: &ChannelName, to: PeerName, octets: &[u8], now: Duration) -> bool { todo!() }

    // views
    /// Our name now.
    pub fn name(&self) -> PeerName { todo!() }
    /// This start of us.
    pub fn uid(&self) -> PeerUid { todo!() }
    /// What to store.
    pub fn saved(&self) -> Saved { todo!() }
    /// Whether the name was refused or we left: there is nothing more to do once outputs are performed.
    pub fn is_stopped(&self) -> bool { todo!() }
    /// Every peer but ourselves that is up or silent, by name.
    pub fn peers(&self) -> impl Iterator<Item = Peer<'_>> { std::iter::empty() }
    /// Our links, by name.
    pub fn links(&self) -> impl Iterator<Item = LinkView> { std::iter::empty() }
    /// What we dial, and how it goes.
    pub fn targets(&self) -> impl Iterator<Item = Target> { std::iter::empty() }
    /// The neighbour through which control messages to this peer go.
    pub fn next_hop(&mut self, to: PeerName) -> Option<NextHop> { todo!() }
    /// A hash of everything we believe of the peers that are up: equal on peers that believe the same.
    pub fn root(&self) -> u64 { todo!() }
    /// What was counted.
    pub fn stats(&self) -> Stats { todo!() }
}

/// Where a control message goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NextHop { /** The neighbour. */ pub via: PeerName, /** Hops to the end. */ pub hops: u16 }

/// A peer, as its own record describes it.
#[derive(Clone, Debug)]
pub struct Peer<'a> {
    /// Its name.
    pub name: PeerName,
    /// This start of it.
    pub uid: PeerUid,
    /// Its nickname.
    pub nickname: &'a str,
    /// How it is seen.
    pub state: PeerState,
    /// Since when.
    pub since: Duration,
    /// Its neighbours, by links that both ends state.
    pub links: Vec<PeerName>,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

/// A link of ours.
#[derive(Clone, Debug)]
pub struct LinkView { /** To whom. */ pub name: PeerName, /** Where. */ pub addr: SocketAddr, /** Whether we dialled. */ pub outbound: bool, /** Since when. */ pub since: Duration }

/// An address we dial.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where.
    pub addr: SocketAddr,
    /// Whether the operator named it.
    pub given: bool,
    /// Who was there.
    pub name: Option<PeerName>,
    /// Why the last attempt failed.
    pub last: Option<CloseReason>,
    /// When it is tried again.
    pub next: Option<Duration>,
}

/// Counters; each only grows, but for the sizes at the end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Octets of TCP payload given to `Send`.
    pub sent_octets: u64,
    /// Sealed batches given to `Send`.
    pub sent_batches: u64,
    /// Octets received.
    pub received_octets: u64,
    /// Records that changed what we know.
    pub merged: u64,
    /// Records and patches that told nothing new.
    pub stale: u64,
    /// Connections closed because what came made no sense.
    pub malformed: u64,
    /// Messages for others that found no route or no room.
    pub dropped: u64,
    /// Records not taken because there are too many.
    pub overflow: u64,
    /// Records held, of peers up, silent and gone.
    pub records: usize,
    /// Connections, links among them.
    pub connections: usize,
}
