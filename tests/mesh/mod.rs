//! The mesh under simulation: thousands of [`peer_mesh::Mesh`] cores on one virtual clock, each with
//! its real handshakes and real octets, and between them a network that behaves as TCP over a bad one.
//!
//! A [`World`] has hosts; a host has addresses, a kernel, a disk and at most one process, usually a
//! core. The world plays the shell: it dials, writes, closes and stores what the core asks for. What
//! TCP hides stays hidden: loss is delay, a partition is silence, a process that stands still still
//! acknowledges, until its window is full. Faults are methods of the world ([`faults`]); what must be
//! true once they are over is in [`oracle`]; random lists of them, and how a failing list is made
//! short, in [`script`].
//!
//! The same seed is the same run: all randomness comes from the world's [`Rng`](crate::rng::Rng), and
//! nothing here iterates over a hash map.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not know as such"
)]

mod conn;
mod deliver;
pub mod faults;
pub mod feed;
pub mod growth;
mod host;
mod journal;
pub mod member;
mod net;
pub mod oracle;
mod process;
pub mod script;
mod shell;
pub mod shrink;
mod traffic;
mod weather;
mod world;

pub use host::{HostId, Power};
pub use journal::Journal;
pub use process::Process;
pub use traffic::{Cost, Sent};
pub use weather::Weather;
pub use world::World;
