use std::net::SocketAddr;
use std::time::Duration;

use crate::{ChannelName, PeerName, PeerUid};

/// A connection, from the moment it is dialled or accepted until it is closed. Never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ConnId(pub u64);

/// What the shell has to do. In order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Open a TCP connection; answer with `handle_connected` or `handle_dial_failed`.
    Dial {
        /// How the core will call it.
        conn: ConnId,
        /// Where to.
        addr: SocketAddr,
    },
    /// Write these octets; report them with `handle_written` when the socket has taken them.
    Send {
        /// On which connection.
        conn: ConnId,
        /// What.
        octets: Vec<u8>,
    },
    /// Close it, after what was sent before is written, within a second. The core knows it no longer.
    Close {
        /// Which connection.
        conn: ConnId,
    },
    /// Something happened.
    Event(Event),
}

/// How a peer is seen from here.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum PeerState {
    /// Reached over links that both ends state.
    Up,
    /// Not reached, but its hold time has not passed: what it owns is kept.
    Silent,
    /// It left, was removed, or was silent for longer than the hold time.
    Gone,
}

/// Why a peer is gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum GoneReason {
    /// It said so.
    Left,
    /// Somebody removed it.
    Removed,
    /// It was silent for the hold time.
    Silence,
}

/// Why a connection ended, or never came to be.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CloseReason {
    /// The socket said so.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Nobody answered there.
    #[error("cannot connect: {0}")]
    Unreachable(String),
    /// The other end speaks no version we speak.
    #[error(
        "the peer speaks versions {oldest} to {newest} of the protocol, we speak {} to {}",
        crate::OLDEST_VERSION,
        crate::NEWEST_VERSION
    )]
    OtherVersion {
        /// The oldest it speaks.
        oldest: u8,
        /// The newest it speaks.
        newest: u8,
    },
    /// What answers there is no weft.
    #[error("what answers there does not speak weft's protocol")]
    NotWeft,
    /// The passwords differ.
    #[error("the passwords differ")]
    WrongPassword,
    /// It is us.
    #[error("that address is our own")]
    Oneself,
    /// Another live peer has the name.
    #[error("another live peer is named {name} (uid {uid})")]
    DuplicateName {
        /// The name.
        name: PeerName,
        /// The uid of the one that keeps it.
        uid: PeerUid,
    },
    /// It has as many links as it keeps.
    #[error("the peer has as many links as it keeps")]
    Full,
    /// The handshake took too long.
    #[error("no handshake within {0:?}")]
    HandshakeTimeout(Duration),
    /// Nothing was heard.
    #[error("nothing heard for {0:?}")]
    Silent(Duration),
    /// What came made no sense. No state was changed by it.
    #[error("malformed: {0}")]
    Malformed(String),
    /// There is another connection to the same peer.
    #[error("another connection to the same peer is kept")]
    Doubled,
    /// More links than are kept, and this one is not needed.
    #[error("not needed: there are more links than are kept")]
    Surplus,
    /// It leaves the mesh.
    #[error("the peer leaves")]
    Leaving,
    /// Somebody told us to.
    #[error("forgotten on request")]
    Forgotten,
    /// Another reason, of a newer version.
    #[error("closed by the peer: {0}")]
    Other(String),
}

/// What the rest of the node may want to know.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A peer came up, for the first time or again, or restarted (another uid).
    Up {
        /// Which peer.
        name: PeerName,
        /// This start of it.
        uid: PeerUid,
    },
    /// A peer is no longer reached.
    Silent {
        /// Which peer.
        name: PeerName,
    },
    /// A peer is gone.
    Gone {
        /// Which peer.
        name: PeerName,
        /// Why.
        reason: GoneReason,
    },
    /// What a peer that is up says of itself changed: addresses, labels, data paths.
    Changed {
        /// Which peer.
        name: PeerName,
    },
    /// A link of ours is up.
    LinkUp {
        /// To whom.
        name: PeerName,
        /// The far end of the connection.
        addr: SocketAddr,
        /// Whether we dialled.
        outbound: bool,
    },
    /// A link of ours ended.
    LinkDown {
        /// To whom.
        name: PeerName,
        /// Why.
        reason: CloseReason,
    },
    /// A connection ended before it was a link.
    Refused {
        /// The far end.
        addr: SocketAddr,
        /// Whether we dialled.
        outbound: bool,
        /// Why.
        reason: CloseReason,
    },
    /// Another live peer has our name, and we have the better claim: it gives way.
    NameContested {
        /// Our name.
        name: PeerName,
        /// The other one.
        uid: PeerUid,
    },
    /// Another live peer had our name and the better claim: we have a new one, and nothing the old one owned. Everybody who was up has
    /// been told as silent before this; who is reached under the new name is up again, who is not is gone after the hold time.
    Renamed {
        /// What we were called.
        from: PeerName,
        /// What we are called.
        to: PeerName,
        /// Who keeps the old name.
        uid: PeerUid,
    },
    /// The same, but our name was given by the operator: the mesh has stopped; the process should say so and end.
    NameRefused {
        /// Our name.
        name: PeerName,
        /// Who keeps it.
        uid: PeerUid,
    },
    /// `Mesh::saved` has changed in a way that must survive a crash.
    Save,
    /// Somebody broadcast on a channel. Merge it, and pass what was new to `Mesh::broadcast`, with `via` as its `except`.
    Broadcast {
        /// The channel.
        channel: ChannelName,
        /// The neighbour it came through.
        via: PeerName,
        /// What was said.
        octets: Vec<u8>,
    },
    /// A neighbour may lack what a channel of ours holds: answer with `Mesh::broadcast_to`.
    StateWanted {
        /// The channel.
        channel: ChannelName,
        /// The neighbour.
        to: PeerName,
    },
    /// Somebody sent us something on a channel.
    Unicast {
        /// The channel.
        channel: ChannelName,
        /// Who.
        from: PeerName,
        /// What.
        octets: Vec<u8>,
    },
}
