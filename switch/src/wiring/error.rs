use std::io;

/// Why bridge or TAP are not as they should be. What was done before the error stays done; the
/// next attempt goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum WiringError {
    /// The bridge's name belongs to a link of another kind.
    #[error("link {0} exists and is not a bridge")]
    NotABridge(String),
    /// The TAP's name belongs to a link of another kind.
    #[error("link {0} exists and is not a TAP device as it is asked for")]
    NotATap(String),
    /// The TAP is plugged into another bridge.
    #[error("TAP {0} is a port of another bridge")]
    Elsewhere(String),
    /// Another TAP of weft's is a port of the bridge.
    #[error("bridge {0} is also used by TAP {1}")]
    BridgeInUse(String, String),
    /// Another process has the TAP open.
    #[error("TAP {0} is in use by another process")]
    Busy(String),
    /// This process may not do it.
    #[error("{0} needs CAP_NET_ADMIN")]
    Denied(&'static str),
    /// The TAP could not be opened.
    #[error("cannot open TAP {0}")]
    Tap(String, #[source] io::Error),
    /// The TAP was removed.
    #[error("TAP {0} is gone")]
    TapGone(String),
    /// Netlink refused.
    #[error("{0} failed")]
    Netlink(&'static str, #[source] rtnetlink::Error),
    /// Netlink could not be opened.
    #[error("cannot open a netlink socket")]
    Socket(#[source] io::Error),
}
