//! The gossip mesh: who is there, and who reaches whom.
//!
//! [`Mesh`] is the core. It does no input or output of its own: time, randomness and octets come in, and
//! octets to send, connections to open and events go out.
#![forbid(unsafe_code)]

mod book;
mod config;
mod dice;
mod digest;
mod directory;
mod fingers;
mod mesh;
mod name;
mod output;
mod relay;
pub mod secure;
pub mod shell;
mod text;
pub mod wire;

pub use config::{Config, Known, Saved};
#[doc(hidden)]
pub use mesh::is_notice;
pub use mesh::{GonePeer, LinkView, Mesh, NextHop, Peer, Pending, Progress, Stats, Target};
pub use name::{NotAName, PeerName, PeerUid};
pub use output::{CloseReason, ConnId, Event, GoneReason, Output, PeerState};
pub use secure::Psk;
pub use text::{is_control, printable};
pub use wire::ChannelName;

/// The oldest version of the protocol we speak.
pub const OLDEST_VERSION: u8 = 1;
/// The newest version of the protocol we speak.
pub const NEWEST_VERSION: u8 = 1;
