//! Peers by name: looked up again and again, as names outlive addresses.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use tokio::sync::oneshot;

use super::input::{Input, Inputs, Request};
use crate::Config;

/// Pause after a name that could not be looked up; it doubles up to `AGAIN`.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between two looks at a name that is known. As long as the usual least TTL.
const AGAIN: Duration = Duration::from_secs(30);
/// Addresses of one name that are dialled: the newest.
const PER_NAME: usize = 16;

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
            return if addr.port() == 0 { Err(wrong()) } else { Ok(Self::Addr(addr)) };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(addr) = bare.parse::<IpAddr>() {
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

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => write!(f, "{addr}"),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// Keeps the mesh dialling what a name stands for, until the loop ends.
pub(super) async fn follow(host: String, port: u16, inputs: Inputs) {
    let mut known = Known::default();
    let mut retry = RETRY;
    loop {
        let pause = match tokio::net::lookup_host((host.as_str(), port)).await {
            Ok(found) => {
                let (fresh, stale) = known.learn(found);
                // Whether there was room for it is seen among the targets.
                let connect =
                    fresh.into_iter().map(|addr| Request::Connect(addr, oneshot::channel().0));
                for request in connect.chain(stale.into_iter().map(Request::Forget)) {
                    if inputs.send(Input::Request(request)).await.is_err() {
                        return;
                    }
                }
                retry = RETRY;
                AGAIN
            }
            Err(error) => {
                if retry == RETRY {
                    tracing::warn!(%host, %error, "cannot look up a peer; trying again");
                }
                let pause = retry;
                retry = (retry * 2).min(AGAIN);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// The addresses a name has had, the longest unseen first.
#[derive(Debug, Default)]
struct Known(VecDeque<SocketAddr>);

impl Known {
    /// Returns what is new and what is to be forgotten for it. An address that is not in the answer stays
    /// while there is room: an answer may be a part, and a peer is no worse for its name having moved.
    fn learn(
        &mut self,
        found: impl Iterator<Item = SocketAddr>,
    ) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let (mut fresh, mut stale) = (Vec::new(), Vec::new());
        for addr in found.take(PER_NAME) {
            if let Some(at) = self.0.iter().position(|known| *known == addr) {
                self.0.remove(at);
            } else {
                fresh.push(addr);
            }
            self.0.push_back(addr);
        }
        while self.0.len() > PER_NAME {
            stale.extend(self.0.pop_front());
        }
        (fresh, stale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: usize) -> SocketAddr {
        format!("10.99.0.{n}:6783").parse().unwrap()
    }

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

    #[test]
    fn an_address_is_new_once() {
        let mut known = Known::default();

        assert_eq!(known.learn([addr(1), addr(2)].into_iter()), (vec![addr(1), addr(2)], vec![]));
        assert_eq!(known.learn([addr(2), addr(3)].into_iter()), (vec![addr(3)], vec![]));
        assert_eq!(known.learn([addr(1)].into_iter()), (vec![], vec![]));
    }

    #[test]
    fn a_name_with_ever_new_addresses_keeps_the_newest() {
        let mut known = Known::default();
        known.learn((0..PER_NAME).map(addr));
        known.learn([addr(0)].into_iter());

        let (fresh, stale) = known.learn([addr(100), addr(101)].into_iter());

        assert_eq!(fresh, [addr(100), addr(101)]);
        assert_eq!(stale, [addr(1), addr(2)]);
    }
}
