//! What the daemon can be told.

use serde::{Deserialize, Serialize};

/// Peers to connect to from now on, also after a restart.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Connect {
    /// Peers, as `HOST[:PORT]`: an IPv4 address, an IPv6 address (in brackets before a port), or a host name.
    pub peers: Vec<String>,
    /// Whether these take the place of all that were given before.
    #[serde(default)]
    pub replace: bool,
}

/// Peers to connect to no longer, also after a restart.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Forget {
    /// Peers, as they were given.
    pub peers: Vec<String>,
}

/// The answer to both: who is given now.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Given {
    /// All peers that are given, as they were given.
    pub peers: Vec<String>,
}
