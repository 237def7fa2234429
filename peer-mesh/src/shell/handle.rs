//! The handle: what the rest of the process asks of the mesh.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::input::{Audience, Input, Inputs, Request, Say};
use super::resolve::Endpoint;
use super::snapshot::{Recent, Snapshot};
use crate::{ChannelName, PeerName};

/// The mesh has stopped: somebody told it to leave, or its name was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the mesh has stopped")]
pub struct Stopped;

/// A running mesh. Clones are the same mesh; when the last one is dropped it ends as by a crash, and all its
/// tasks with it. To say goodbye, [`Handle::leave`].
///
/// Every request waits for its turn in the loop's queue, behind what the network sends; only
/// [`Handle::recent`] mostly does not.
#[derive(Clone, Debug)]
pub struct Handle {
    inputs: Inputs,
    recent: Arc<Recent>,
    _alive: Arc<Alive>,
}

/// Ends the loop when dropped.
#[derive(Debug)]
struct Alive(AbortHandle);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Handle {
    pub(super) fn new(inputs: Inputs, recent: Arc<Recent>, task: AbortHandle) -> Self {
        Self { inputs, recent, _alive: Arc::new(Alive(task)) }
    }

    /// Dials this address, or those that this name stands for from now on, until its peer is in the mesh.
    /// `false`: too many were named.
    pub async fn connect(&self, peer: impl Into<Endpoint>) -> Result<bool, Stopped> {
        self.ask(|reply| Request::Connect(peer.into(), reply)).await
    }

    /// Connects to these peers and takes back all others that were given. Nothing is closed: what is no
    /// longer given is an address like any other. `false`: too many are named, some are not dialled.
    pub async fn replace(&self, peers: Vec<Endpoint>) -> Result<bool, Stopped> {
        self.ask(|reply| Request::Replace(peers, reply)).await
    }

    /// Dials it no longer, and closes what was dialled there. Of a name: the addresses that only it gave.
    pub async fn forget(&self, peer: impl Into<Endpoint>) -> Result<(), Stopped> {
        self.tell(Request::Forget(peer.into())).await
    }

    /// Leaves the mesh for good. Everybody has been told, as far as a second allows, when this returns.
    pub async fn leave(&self) {
        // A mesh that has stopped has left.
        let _ = self.ask(Request::Leave).await;
    }

    /// Declares a silent peer gone, everywhere. `false`: it is up, or unknown.
    pub async fn remove(&self, name: PeerName) -> Result<bool, Stopped> {
        self.ask(|reply| Request::Remove(name, reply)).await
    }

    /// Whether frames reach a peer directly.
    pub async fn data_path(&self, name: PeerName, direct: bool) -> Result<(), Stopped> {
        self.tell(Request::DataPath(name, direct)).await
    }

    /// What people call this peer from now on.
    pub async fn set_nickname(&self, nickname: String) -> Result<(), Stopped> {
        self.tell(Request::Nickname(nickname)).await
    }

    /// What others may want to know from now on, such as a zone.
    pub async fn set_labels(&self, labels: BTreeMap<String, String>) -> Result<(), Stopped> {
        self.tell(Request::Labels(labels)).await
    }

    /// Whether address leases are held under the own name: of two peers of one name the other one gives way then.
    pub async fn set_leases(&self, leases: bool) -> Result<(), Stopped> {
        self.tell(Request::Leases(leases)).await
    }

    /// Through whom frames go to each peer, first hop first: none if they go directly. To a peer that is not
    /// there is no way.
    pub async fn data_routes(&self) -> Result<BTreeMap<PeerName, Vec<PeerName>>, Stopped> {
        self.ask(Request::DataRoutes).await
    }

    /// Takes part in a channel. `false`: too many are joined, or the name is the mesh's own.
    pub async fn join(&self, channel: ChannelName) -> Result<bool, Stopped> {
        self.ask(|reply| Request::Join(channel, reply)).await
    }

    /// A digest of a channel's whole state here.
    pub async fn set_digest(&self, channel: ChannelName, digest: u64) -> Result<(), Stopped> {
        self.tell(Request::SetDigest(channel, digest)).await
    }

    /// Tells all neighbours except the one it came from. `false`: too long.
    pub async fn broadcast(
        &self,
        channel: ChannelName,
        octets: Vec<u8>,
        except: Option<PeerName>,
    ) -> Result<bool, Stopped> {
        self.say(Say { channel, to: Audience::Neighbours { except }, octets }).await
    }

    /// Tells one neighbour. `false`: it is none, has no room, or too long.
    pub async fn broadcast_to(
        &self,
        channel: ChannelName,
        to: PeerName,
        octets: Vec<u8>,
    ) -> Result<bool, Stopped> {
        self.say(Say { channel, to: Audience::Neighbour(to), octets }).await
    }

    /// Sends to one peer, over any number of hops. `false`: no way there, no room, or too long. `true` does
    /// not say that it arrives.
    pub async fn send(
        &self,
        channel: ChannelName,
        to: PeerName,
        octets: Vec<u8>,
    ) -> Result<bool, Stopped> {
        self.say(Say { channel, to: Audience::Peer(to), octets }).await
    }

    /// Everything there is to see, at one moment after this call. Each is a copy of it all: for status that
    /// many ask for, [`Self::recent`].
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Stopped> {
        self.ask(Request::Snapshot).await
    }

    /// The same, but perhaps of up to [`Snapshot::RECENT`] before this call, and then the same for all who
    /// ask, at no cost to the loop.
    pub async fn recent(&self) -> Result<Arc<Snapshot>, Stopped> {
        match self.recent.get() {
            Some(snapshot) if !self.inputs.is_closed() => Ok(snapshot),
            Some(_) | None => self.ask(Request::Recent).await,
        }
    }

    async fn say(&self, say: Say) -> Result<bool, Stopped> {
        self.ask(|reply| Request::Say(say, reply)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Stopped> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply)).await?;
        answer.await.map_err(|_| Stopped)
    }

    async fn tell(&self, request: Request) -> Result<(), Stopped> {
        self.inputs.send(Input::Request(request)).await.map_err(|_| Stopped)
    }
}
