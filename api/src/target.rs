//! What `weft status targets` shows.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Where this node looks for peers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Targets {
    /// When this was true, by the daemon's clock.
    pub now: Timestamp,
    /// In the order in which to show them: those that were given first.
    pub targets: Vec<Target>,
}

/// An address or a host name where a peer may be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Target {
    /// `HOST:PORT`, as it was given or learned.
    pub peer: String,
    /// Whether the operator gave it; else it was learned from peers.
    pub given: bool,
    /// The addresses that a host name stands for; empty for an address.
    #[serde(default)]
    pub resolved: Vec<SocketAddr>,
    /// Why the last attempt failed, or the last look-up of the name; `null` when it did not.
    pub last_error: Option<String>,
    /// Attempts that have failed since the last one that did not.
    #[serde(default)]
    pub attempts: u32,
    /// When it is tried again; `null` for never, and while a connection stands or is being made.
    pub next_try: Option<Timestamp>,
}
