//! What the kernel says about links and bridge stations while the switch runs.

use std::collections::VecDeque;
use std::io;

use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use crate::Mac;
use crate::wiring::Entry;

/// Multicast groups of rtnetlink (include/uapi/linux/rtnetlink.h).
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_NEIGH: u32 = 3;

/// Room for a few thousand notifications; beyond that we are told, and read everything anew.
const RECEIVE_BUFFER: u32 = 4 << 20;

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
}

/// The notices in one datagram of netlink messages: for tests of the parser.
#[doc(hidden)]
pub fn notices_in(octets: &[u8]) -> Vec<Notice> {
    let mut notices = VecDeque::new();
    parse(octets, &mut notices);
    notices.into()
}

/// The notices in one datagram of netlink messages. What is not understood is left out.
fn parse(mut octets: &[u8], notices: &mut VecDeque<Notice>) {
    while let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(octets) {
        let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            notices.extend(notice_of(&message));
        }
        // Messages are aligned to four octets (NLMSG_ALIGN).
        let Some(rest) = octets.get(len.saturating_add(3) & !3..).filter(|_| len > 0) else {
            return;
        };
        octets = rest;
    }
}

fn notice_of(message: &RouteNetlinkMessage) -> Option<Notice> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => {
            let Entry { mac, port, bridge } = Entry::of(message)?;
            Some(Notice::Station { mac, port, bridge })
        }
        RouteNetlinkMessage::DelNeighbour(message) => {
            let Entry { mac, port, bridge } = Entry::of(message)?;
            Some(Notice::StationGone { mac, port, bridge })
        }
        RouteNetlinkMessage::NewLink(_) | RouteNetlinkMessage::DelLink(_) => Some(Notice::Link),
        _ => None,
    }
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
}
