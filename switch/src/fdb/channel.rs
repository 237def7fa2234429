//! Requests to rtnetlink, many in one datagram, and their answers.
//!
//! The kernel works through a datagram while it is sent, in order, and has queued every answer
//! when the send returns. So one datagram at a time is no slower than many, and the answers to
//! [`RUN`] requests are what the socket's buffer has to hold.

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

/// Requests in a datagram. Each may be answered by an entry and an acknowledgement, 2 KiB with the
/// kernel's accounting, and a buffer is 416 KiB where nobody has raised `net.core.rmem_max`.
const RUN: usize = 128;
const RECEIVE_BUFFER: u32 = 1 << 20;
/// For one datagram or one dump: the kernel answers at once, unless somebody holds its lock.
const DEADLINE: Duration = Duration::from_secs(10);
/// How often a dump is begun anew because the table changed meanwhile.
const DUMPS: usize = 4;

/// A request: what, and flags besides those of every request.
pub(super) type Request = (RouteNetlinkMessage, u16);

/// What the kernel said to a request.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The entry that was asked for.
    pub(super) answer: Option<NeighbourMessage>,
    /// Why it was refused.
    pub(super) errno: Option<i32>,
}

/// A netlink socket of its own.
///
/// # Cancel safety
/// A call that is dropped costs the socket: the next one opens another, in which no late answers
/// wait and no dump is under way.
pub(super) struct Channel {
    socket: TokioSocket,
    sequence: u32,
    /// Whether a call has begun and not ended well.
    broken: bool,
}

impl Channel {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self { socket: Self::open_socket()?, sequence: 0, broken: false })
    }

    fn open_socket() -> io::Result<TokioSocket> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let raw = socket.socket_mut();
        raw.bind(&SocketAddr::new(0, 0))?;
        raw.set_rx_buf_sz(RECEIVE_BUFFER)?;
        // A kernel that does not know these answers with more than is asked for.
        let _longer = raw.set_cap_ack(true);
        let _unfiltered = raw.set_netlink_get_strict_chk(true);
        Ok(socket)
    }

    /// Sends all requests; the replies are in their order.
    pub(super) async fn ask(&mut self, requests: Vec<Request>) -> io::Result<Vec<Reply>> {
        self.begin()?;
        let mut replies = Vec::with_capacity(requests.len());
        let mut requests = requests.into_iter();
        loop {
            let run: Vec<Request> = requests.by_ref().take(RUN).collect();
            if run.is_empty() {
                self.broken = false;
                return Ok(replies);
            }
            replies.extend(in_time(self.ask_run(run)).await?);
        }
    }

    /// All entries that a dump gives.
    pub(super) async fn dump(
        &mut self,
        request: RouteNetlinkMessage,
    ) -> io::Result<Vec<NeighbourMessage>> {
        self.begin()?;
        for _ in 0..DUMPS {
            if let Some(found) = in_time(self.dump_once(request.clone())).await? {
                self.broken = false;
                return Ok(found);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the table changes all the time"))
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.broken {
            self.socket = Self::open_socket()?;
        }
        self.broken = true;
        Ok(())
    }

    async fn ask_run(&mut self, run: Vec<Request>) -> io::Result<Vec<Reply>> {
        let first = self.sequence.wrapping_add(1);
        let mut replies: Vec<Reply> = run.iter().map(|_| Reply::default()).collect();
        let mut octets = Vec::new();
        for (message, flags) in run {
            self.append(&mut octets, message, flags | NLM_F_ACK);
        }
        self.send(&octets).await?;
        let mut left = replies.len();
        while left > 0 {
            for message in self.receive().await? {
                let number = message.header.sequence_number.wrapping_sub(first);
                let reply = usize::try_from(number).ok().and_then(|it| replies.get_mut(it));
                let Some(reply) = reply else { continue };
                #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
                match message.payload {
                    NetlinkPayload::Error(error) => {
                        reply.errno = error.code.map(|code| code.get().saturating_neg());
                        left = left.saturating_sub(1);
                    }
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
                        reply.answer = Some(entry);
                    }
                    _ => {}
                }
            }
        }
        Ok(replies)
    }

    /// `None`: the table has changed meanwhile.
    async fn dump_once(
        &mut self,
        request: RouteNetlinkMessage,
    ) -> io::Result<Option<Vec<NeighbourMessage>>> {
        let mut octets = Vec::new();
        self.append(&mut octets, request, NLM_F_DUMP);
        self.send(&octets).await?;
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            for message in self.receive().await? {
                if message.header.sequence_number != self.sequence {
                    continue;
                }
                consistent &= message.header.flags & NLM_F_DUMP_INTR == 0;
                #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
                match message.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) => {
                        found.push(entry);
                    }
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(_) => return Ok(consistent.then_some(found)),
                    _ => {}
                }
            }
        }
    }

    fn append(&mut self, octets: &mut Vec<u8>, message: RouteNetlinkMessage, flags: u16) {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut one = vec![0; aligned(message.buffer_len())];
        message.serialize(&mut one);
        octets.append(&mut one);
    }

    async fn send(&self, octets: &[u8]) -> io::Result<()> {
        let sent = self.socket.send_to(octets, &SocketAddr::new(0, 0)).await?;
        if sent == octets.len() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::WriteZero, "netlink took a part of a datagram"))
    }

    async fn receive(&self) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
        let (octets, _) = self.socket.recv_from_full().await?;
        let mut messages = Vec::new();
        let mut rest = octets.as_slice();
        while !rest.is_empty() {
            let message = NetlinkMessage::deserialize(rest).map_err(io::Error::other)?;
            let len = usize::try_from(message.header.length).unwrap_or(usize::MAX);
            messages.push(message);
            rest = rest.get(aligned(len)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

async fn in_time<T>(asked: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(answer) => answer,
        Err(_late) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")),
    }
}

/// Messages are aligned to four octets (NLMSG_ALIGN).
const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}
