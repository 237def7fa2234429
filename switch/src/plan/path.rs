use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::PeerId;
use crate::sleeve::{self, HOPS, Header, Label};

/// How frames get to a peer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Path {
    /// By the kernel, which also floods to it. What reaches the process all the same goes in VXLAN to its
    /// address, as with [`Path::User`]; what the process floods does not go there.
    Fast,
    /// In VXLAN to its address.
    #[default]
    User,
    /// On UDP 6783, to the peer itself.
    Sleeve,
    /// On UDP 6783, to another peer, which passes them on. That one's own path has to be
    /// direct ([`Path::is_direct`]): through one that is not reached itself, nobody is.
    Relay(PeerId),
    /// Not at all: what is for its stations is dropped.
    Down,
}

impl Path {
    /// Whether frames go to the peer itself, without help of others.
    pub const fn is_direct(self) -> bool {
        match self {
            Self::Fast | Self::User | Self::Sleeve => true,
            Self::Relay(_) | Self::Down => false,
        }
    }
}

/// What [`Plan`](crate::Plan)s say of a peer beside its address: how to reach it, and how others do.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Route {
    /// How its frames are sent.
    pub path: Path,
    /// What stands for it on UDP 6783. Without one that path and relaying are not to be had.
    pub label: Option<Label>,
    /// Where its UDP 6783 is: behind a NAT, what was observed.
    pub sleeve: Option<SocketAddr>,
}

/// Which of the two tunnels.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tunnel {
    /// VXLAN, UDP 6784.
    Vxlan,
    /// From process to process, UDP 6783.
    Sleeve,
}

/// What is to be done with a frame for a peer: made once for each plan, so that no frame asks
/// which path it takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// Through which tunnel it goes.
    pub tunnel: Tunnel,
    /// Where to.
    pub to: SocketAddr,
    /// What goes before it.
    pub header: [u8; sleeve::HEADER_LEN],
}

impl Way {
    /// To `to` on UDP 6783, from the peer `source` for the peer `destination`.
    pub(super) fn sleeve(to: SocketAddr, source: Label, destination: Label) -> Self {
        let header = Header { source, destination, hops: HOPS }.emit();
        Self { tunnel: Tunnel::Sleeve, to, header }
    }
}
