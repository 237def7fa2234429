//! Peers by name: looked up again and again, as names outlive addresses.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::givers::HostPort;
use super::input::{Input, Inputs, NotFound};
use crate::Config;

/// Pause after a name that could not be looked up; it doubles up to `AGAIN`.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between two looks at a name that is known. As long as the usual least TTL.
const AGAIN: Duration = Duration::from_secs(30);

/// A peer as people write it: an address or a name, with or without a port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// An address.
    Addr(SocketAddr),
    /// A name to look up.
    Name {
        /// The host.
        host: String,
        /// The TCP port.
        port: u16,
    },
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is no peer: give an address or a name, and a port if it is not 6783, such as 10.0.0.1, [fd00::1]:6783 or node-1:6783"
)]
pub struct NotAnEndpoint(String);

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let wrong = || NotAnEndpoint(text.to_owned());
        if let Ok(addr) = text.parse::<SocketAddr>() {
            let sound = addr.port() != 0 && is_host(addr.ip());
            return if sound { Ok(Self::Addr(addr)) } else { Err(wrong()) };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(addr) = bare.parse::<IpAddr>() {
            let addr = Some(addr).filter(|addr| is_host(*addr)).ok_or_else(wrong)?;
            return Ok(Self::Addr((addr, Config::PORT).into()));
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => {
                (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?)
            }
            None => (text, Config::PORT),
        };
        let letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        // Digits and dots only: an address with a slip of the pen, not a name.
        let name =
            host.bytes().all(letter) && host.bytes().any(|octet| octet.is_ascii_alphabetic());
        if name { Ok(Self::Name { host: host.to_owned(), port }) } else { Err(wrong()) }
    }
}

/// Whether one host can have this address.
fn is_host(addr: IpAddr) -> bool {
    let broadcast = addr == IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    !(addr.is_unspecified() || addr.is_multicast() || broadcast)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        Self::Addr(addr)
    }
}

/// A task that looks a name up again and again, until this is dropped.
#[derive(Debug)]
pub(super) struct Follower(JoinHandle<()>);

impl Follower {
    /// Follows a name and tells the loop what is found. Needs a runtime.
    pub(super) fn start(name: HostPort, inputs: Inputs) -> Self {
        Self::of(tokio::spawn(follow(name, inputs)))
    }

    pub(super) fn of(task: JoinHandle<()>) -> Self {
        Self(task)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn follow(name: HostPort, inputs: Inputs) {
    let mut retry = RETRY;
    loop {
        let (found, pause) = match tokio::net::lookup_host((name.0.as_str(), name.1)).await {
            Ok(found) => {
                retry = RETRY;
                (Ok(found.collect()), AGAIN)
            }
            Err(error) => {
                if retry == RETRY {
                    tracing::warn!(host = %name.0, %error, "cannot look up a peer; trying again");
                }
                let pause = retry;
                retry = (retry * 2).min(AGAIN);
                (Err(NotFound { why: error.to_string(), again: pause }), pause)
            }
        };
        if inputs.send(Input::Found { name: name.clone(), found }).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_an_address_or_a_name_with_or_without_a_port() {
        let read = |text: &str| text.parse::<Endpoint>().unwrap().to_string();

        assert_eq!(read("10.99.0.1"), "10.99.0.1:6783");
        assert_eq!(read("10.99.0.1:7000"), "10.99.0.1:7000");
        assert_eq!(read("fd99::1"), "[fd99::1]:6783");
        assert_eq!(read("[fd99::1]"), "[fd99::1]:6783");
        assert_eq!(read("[fd99::1]:7000"), "[fd99::1]:7000");
        assert_eq!(read("node-1.example"), "node-1.example:6783");
        assert_eq!(read("node-1:7000"), "node-1:7000");
    }

    #[test]
    fn what_nobody_can_mean_is_no_peer() {
        for text in [
            "",
            ":",
            ":6783",
            "a:",
            "a:x",
            "a:0",
            "a:65536",
            "10.99.0",
            "10.99.0.256",
            "10.0.0.1:0",
            "a b",
            "a:1:2",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
