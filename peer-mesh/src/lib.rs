//! The gossip mesh: who is there, and who reaches whom.
//!
//! [`Mesh`] is the core. It does no input or output of its own: time, randomness and octets come in, and
//! octets to send, connections to open and events go out.
#![forbid(unsafe_code)]

mod name;

pub use name::{NotAName, PeerName, PeerUid};
