//! Echo requests, and what the path says about their size.
//!
//! ```text
//! type 1, code 1, checksum 2, identifier 2, sequence 2, payload     RFC 792, RFC 4443
//! "too big": type 3 code 4, MTU in octets 6..8 (RFC 1191); ICMPv6 type 2, MTU in octets 4..8
//! ```

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use crate::content::Content;
use crate::udp::{is_pause, now_seed};
use crate::{now, report};

/// The longest packet.
const LONGEST: usize = 65_535;

/// The shortest time a socket can wait.
const SHORTEST_WAIT: Duration = Duration::from_micros(1);

/// What to send.
pub(crate) struct Ping {
    pub(crate) to: IpAddr,
    pub(crate) count: u16,
    pub(crate) size: usize,
    pub(crate) interval: Duration,
    pub(crate) wait: Duration,
    pub(crate) fragment: Fragment,
}

/// Whether packets may be fragmented.
#[derive(Clone, Copy)]
pub(crate) enum Fragment {
    System,
    Never,
    Allowed,
}

impl FromStr for Fragment {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        match word {
            "system" => Ok(Self::System),
            "never" => Ok(Self::Never),
            "allowed" => Ok(Self::Allowed),
            other => bail!("{other} says nothing about fragments"),
        }
    }
}

/// Sends the requests, listens until all are answered or the time is over, and reports.
pub(crate) fn ping(ping: &Ping) -> Result<()> {
    let mut pinger = Pinger::open(ping)?;
    let start = now();
    for sequence in 0..ping.count {
        pinger.request(sequence)?;
        let last = sequence + 1 == ping.count;
        let until = start + ping.interval * (u32::from(sequence) + 1);
        pinger.listen(if last { now() + ping.wait } else { until }, last)?;
    }
    let rtts: Vec<u128> = pinger.rtts.iter().map(Duration::as_micros).collect();
    report(&json!({
        "sent": ping.count,
        "received": pinger.rtts.len(),
        "duplicates": pinger.duplicates,
        "corrupt": pinger.corrupt,
        "too_big": pinger.too_big,
        "refused": pinger.refused,
        "rtts_us": rtts.iter().map(|it| u64::try_from(*it).unwrap_or(u64::MAX)).collect::<Vec<_>>(),
    }));
    Ok(())
}

struct Pinger {
    socket: Socket,
    to: IpAddr,
    identifier: [u8; 2],
    payload: Vec<u8>,
    /// When each unanswered request was sent.
    pending: BTreeMap<[u8; 2], Instant>,
    rtts: Vec<Duration>,
    duplicates: u64,
    corrupt: u64,
    refused: u64,
    too_big: Option<u32>,
}

impl Pinger {
    fn open(ping: &Ping) -> Result<Self> {
        let (domain, protocol) = match ping.to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).context("raw socket")?;
        set_fragment(&socket, ping)?;
        let mut content = Content::new(now_seed());
        let [a, b, ..] = content.word().to_be_bytes();
        Ok(Self {
            socket,
            to: ping.to,
            identifier: [a, b],
            payload: content.octets(ping.size),
            pending: BTreeMap::new(),
            rtts: Vec::new(),
            duplicates: 0,
            corrupt: 0,
            refused: 0,
            too_big: None,
        })
    }

    fn request(&mut self, sequence: u16) -> Result<()> {
        let sequence = sequence.to_be_bytes();
        let kind = if self.to.is_ipv4() { 8 } else { 128 };
        let mut packet = vec![kind, 0, 0, 0];
        packet.extend(self.identifier.iter().chain(&sequence).chain(&self.payload));
        if self.to.is_ipv4() {
            // The kernel fills in the checksum of ICMPv6 only.
            let [high, low] = checksum(&packet);
            packet.splice(2..4, [high, low]);
        }
        self.pending.insert(sequence, now());
        match self.socket.send_to(&packet, &SocketAddr::new(self.to, 0).into()) {
            Ok(_length) => {}
            // Unreachable now may be reachable at the next request: that is what a ping finds.
            // ENOBUFS is what IPv6 says without a carrier.
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EMSGSIZE) => self.refused += 1,
                Some(
                    Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENETDOWN | Errno::ENOBUFS,
                ) => {}
                _ => return Err(error).context("send"),
            },
        }
        Ok(())
    }

    fn listen(&mut self, until: Instant, all_sent: bool) -> Result<()> {
        let mut buffer = vec![0; LONGEST];
        loop {
            let left = until.saturating_duration_since(now());
            if left.is_zero() || (all_sent && self.pending.is_empty()) {
                return Ok(());
            }
            // Rounded down to no microseconds, the timeout would mean to wait for ever.
            self.socket.set_read_timeout(Some(left.max(SHORTEST_WAIT)))?;
            match self.socket.read(&mut buffer) {
                Ok(length) => self.handle(buffer.get(..length).unwrap_or_default()),
                Err(error) if is_pause(error.kind()) => {}
                Err(error) => {
                    // A queued ICMP error shows here too; the packet itself comes as well.
                    if error.raw_os_error().is_none() {
                        return Err(error).context("receive");
                    }
                }
            }
        }
    }

    fn handle(&mut self, packet: &[u8]) {
        // A raw IPv4 socket delivers the IP header, an IPv6 one does not.
        let message = if self.to.is_ipv4() { skip_ipv4(packet) } else { Some(packet) };
        match (self.to, message) {
            (IpAddr::V4(_), Some([0, 0, _, _, a, b, c, d, payload @ ..]))
            | (IpAddr::V6(_), Some([129, 0, _, _, a, b, c, d, payload @ ..])) => {
                if [*a, *b] == self.identifier {
                    self.handle_reply([*c, *d], payload);
                }
            }
            (IpAddr::V4(_), Some([3, 4, _, _, _, _, a, b, inner @ ..])) => {
                if skip_ipv4(inner).is_some_and(|it| self.is_request(it)) {
                    self.too_big = Some(u16::from_be_bytes([*a, *b]).into());
                }
            }
            (IpAddr::V6(_), Some([2, 0, _, _, a, b, c, d, inner @ ..])) => {
                // 40 octets of IPv6 header; a fragment header (8) may stand before the request.
                let fragment = inner.get(48..).is_some_and(|it| self.is_request(it));
                if fragment || inner.get(40..).is_some_and(|it| self.is_request(it)) {
                    self.too_big = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                }
            }
            (_, _) => {}
        }
    }

    fn handle_reply(&mut self, sequence: [u8; 2], payload: &[u8]) {
        match self.pending.remove(&sequence) {
            None => self.duplicates += 1,
            Some(_sent) if payload != self.payload => self.corrupt += 1,
            Some(sent) => self.rtts.push(sent.elapsed()),
        }
    }

    fn is_request(&self, inner: &[u8]) -> bool {
        matches!(inner, [8 | 128, 0, _, _, a, b, ..] if [*a, *b] == self.identifier)
    }
}

fn set_fragment(socket: &Socket, ping: &Ping) -> Result<()> {
    match (ping.to, ping.fragment) {
        (_, Fragment::System) => {}
        (IpAddr::V4(_), Fragment::Never) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?,
        (IpAddr::V4(_), Fragment::Allowed) => {
            set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?;
        }
        (IpAddr::V6(_), Fragment::Never) => {
            set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?;
        }
        (IpAddr::V6(_), Fragment::Allowed) => {
            set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
        }
    }
    Ok(())
}

/// What follows an IPv4 header, options included.
fn skip_ipv4(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    packet.get(usize::from(first & 0x0f) * 4..)
}

/// The Internet checksum (RFC 1071) of a message whose checksum field is zero.
fn checksum(message: &[u8]) -> [u8; 2] {
    let (words, odd) = message.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    if let [last] = odd {
        sum += u32::from(*last) << 8;
    }
    let [a, b, c, d] = sum.to_be_bytes();
    let folded = u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]));
    let [_, carry, c, d] = folded.to_be_bytes();
    (!(u16::from_be_bytes([c, d]).wrapping_add(carry.into()))).to_be_bytes()
}
