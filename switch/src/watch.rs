//! What the kernel says about links and bridge stations while the switch runs.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use futures_util::FutureExt;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use crate::Mac;
use crate::wiring::{Entry, Message, messages};

/// Multicast groups of rtnetlink (include/uapi/linux/rtnetlink.h).
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NEIGH: u32 = 3;

/// Room for a few thousand notifications; beyond that we are told, and read everything anew.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// Notices that are taken at a time: what else there is to do comes between two batches.
const BATCH: usize = 1024;

/// Subscribes to notifications. Dropping it unsubscribes.
pub struct Watch {
    socket: TokioSocket,
    queue: VecDeque<Notice>,
}

/// Something that has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A bridge learned a station, or was told of it.
    Station {
        /// The station.
        mac: Mac,
        /// The port it is behind.
        port: u32,
        /// The bridge.
        bridge: Option<u32>,
    },
    /// A bridge forgot a station.
    StationGone {
        /// The station.
        mac: Mac,
        /// The port it was behind.
        port: u32,
        /// The bridge.
        bridge: Option<u32>,
    },
    /// A link was made, changed or removed.
    Link,
    /// Some notifications were lost: anything may have changed.
    Overrun,
}

impl Notice {
    /// What it is about.
    fn subject(self) -> (Option<(Mac, u32, Option<u32>)>, bool) {
        match self {
            Self::Station { mac, port, bridge } | Self::StationGone { mac, port, bridge } => {
                (Some((mac, port, bridge)), false)
            }
            Self::Link => (None, false),
            Self::Overrun => (None, true),
        }
    }
}

impl Watch {
    /// Opens the subscription. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// No netlink socket is to be had.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let raw = socket.socket_mut();
        raw.bind(&SocketAddr::new(0, 0))?;
        raw.set_rx_buf_sz(RECEIVE_BUFFER)?;
        raw.add_membership(RTNLGRP_LINK)?;
        raw.add_membership(RTNLGRP_NEIGH)?;
        Ok(Self { socket, queue: VecDeque::new() })
    }

    /// Waits for the next notice.
    ///
    /// # Errors
    /// The socket failed; the subscription is to be opened anew.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(notice) = self.queue.pop_front() {
                return Ok(notice);
            }
            match self.socket.recv_from_full().await {
                Ok((octets, _)) => parse(&octets, &mut self.queue),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Notice::Overrun);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for a notice, and takes with it what waits already, up to a bound. Of what is about
    /// the same, only the last is given.
    ///
    /// # Errors
    /// As [`Watch::next`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next_batch(&mut self) -> io::Result<Vec<Notice>> {
        let mut notices = vec![self.next().await?];
        while notices.len() < BATCH
            && let Some(next) = self.next().now_or_never()
        {
            match next {
                Ok(notice) => notices.push(notice),
                // It is said again when nothing else is left.
                Err(_) => break,
            }
        }
        coalesce(&mut notices);
        Ok(notices)
    }
}

/// Leaves, of notices about the same, the last one: they stay in order.
fn coalesce(notices: &mut Vec<Notice>) {
    let mut seen = BTreeSet::new();
    notices.reverse();
    notices.retain(|notice| seen.insert(notice.subject()));
    notices.reverse();
}

/// The notices in one datagram of netlink messages: for tests of the parser.
#[doc(hidden)]
pub fn notices_in(octets: &[u8]) -> Vec<Notice> {
    let mut notices = VecDeque::new();
    parse(octets, &mut notices);
    notices.into()
}

/// The notices in one datagram of netlink messages. What is not understood is left out.
fn parse(octets: &[u8], notices: &mut VecDeque<Notice>) {
    notices.extend(messages(octets).filter_map(|message| match message {
        Message::Station(Entry { mac, port, bridge }) => {
            Some(Notice::Station { mac, port, bridge })
        }
        Message::StationGone(Entry { mac, port, bridge }) => {
            Some(Notice::StationGone { mac, port, bridge })
        }
        Message::Link => Some(Notice::Link),
        Message::Done | Message::Refused(_) | Message::Other => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_notice_and_no_endless_loop() {
        for len in 0..64 {
            let mut notices = VecDeque::new();
            parse(&vec![0; len], &mut notices);
            parse(&vec![0xff; len], &mut notices);
            assert!(notices.is_empty());
        }
    }

    #[test]
    fn of_notices_about_the_same_the_last_stays_where_it_is() {
        let [a, b] = [1, 2].map(|n| Mac([2, 0, 0, 0, 0, n]));
        let station = |mac, port| Notice::Station { mac, port, bridge: Some(9) };
        let gone = |mac, port| Notice::StationGone { mac, port, bridge: Some(9) };
        let mut notices = vec![
            Notice::Link,
            station(a, 1),
            gone(a, 1),
            Notice::Overrun,
            station(b, 1),
            station(a, 2),
            Notice::Link,
            station(b, 1),
            Notice::Overrun,
        ];

        coalesce(&mut notices);

        let left = [gone(a, 1), station(a, 2), Notice::Link, station(b, 1), Notice::Overrun];
        assert_eq!(notices, left);
    }
}
