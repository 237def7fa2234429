//! Datagrams: echoed, counted, blasted.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;

use crate::content::{Content, Payload};
use crate::{now, report};

/// The longest datagram.
const LONGEST: usize = 65_535;
/// How long an echo may take.
const ECHO: Duration = Duration::from_millis(1000);
/// Random payloads of a blast are shorter than this: they fit an Ethernet frame over IPv4.
const BLAST_MAX: u64 = 1473;

/// Sends every datagram back to where it came from, until killed.
pub(crate) fn echo(port: u16) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))?;
    report(&json!({ "listening": socket.local_addr()?.port() }));
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        // An answer that cannot be sent is one that is missed, there.
        let _lost = socket.send_to(buffer.get(..length).unwrap_or_default(), from);
    }
}

/// Sends datagrams one by one, each after the echo of the one before or after its time.
pub(crate) fn send(to: SocketAddr, size: usize, count: u64) -> Result<()> {
    let socket = socket_towards(to)?;
    let mut content = Content::new(now_seed());
    let (mut received, mut corrupt) = (0, 0);
    for _ in 0..count {
        let datagram = content.octets(size);
        socket.send_to(&datagram, to)?;
        match await_echo(&socket, &datagram)? {
            Some(true) => received += 1,
            Some(false) => corrupt += 1,
            None => {}
        }
    }
    report(&json!({ "sent": count, "received": received, "corrupt": corrupt }));
    Ok(())
}

/// Sends numbered datagrams and does not care; an ICMP error about one does not stop it.
pub(crate) fn post(to: SocketAddr, count: u32) -> Result<()> {
    let socket = socket_towards(to)?;
    let mut errors = 0_u64;
    for number in 0..count {
        errors += u64::from(socket.send_to(&number.to_be_bytes(), to).is_err());
    }
    report(&json!({ "sent": count, "errors": errors }));
    Ok(())
}

/// Counts datagrams for a while.
pub(crate) fn count(port: u16, seconds: u64) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))?;
    report(&json!({ "listening": socket.local_addr()?.port() }));
    let (mut received, mut bytes) = (0_u64, 0_u64);
    let mut buffer = vec![0; LONGEST];
    let end = now() + Duration::from_secs(seconds);
    while let Some((length, _from)) = receive(&socket, &mut buffer, end)? {
        received += 1;
        bytes += length as u64;
    }
    report(&json!({ "received": received, "bytes": bytes }));
    Ok(())
}

/// Says one line about each datagram, until killed.
pub(crate) fn tell(port: u16) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))?;
    report(&json!({ "listening": socket.local_addr()?.port() }));
    let mut buffer = vec![0; LONGEST];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        report(&json!({ "from": from.to_string(), "bytes": length }));
    }
}

/// Sends datagrams as fast as it goes; errors are counted and do not stop it.
pub(crate) fn blast(to: SocketAddr, seconds: u64, payloads: &[&str]) -> Result<()> {
    let socket = socket_towards(to)?;
    let payloads = Payload::parse_all(payloads)?;
    let mut content = Content::new(now_seed());
    let (mut sent, mut errors) = (0_u64, 0_u64);
    let end = now() + Duration::from_secs(seconds);
    let mut next = payloads.iter().cycle();
    while now() < end {
        let datagram = match next.next() {
            Some(payload) => payload.emit(&mut content),
            None => {
                let length = usize::try_from(content.word() % BLAST_MAX)?;
                content.octets(length)
            }
        };
        match socket.send_to(&datagram, to) {
            Ok(_length) => sent += 1,
            Err(_error) => errors += 1,
        }
    }
    report(&json!({ "sent": sent, "errors": errors }));
    Ok(())
}

/// The next datagram before `end`.
pub(crate) fn receive(
    socket: &UdpSocket,
    buffer: &mut [u8],
    end: Instant,
) -> Result<Option<(usize, SocketAddr)>> {
    loop {
        let left = end.saturating_duration_since(now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv_from(buffer) {
            Ok(got) => return Ok(Some(got)),
            Err(error) if is_pause(error.kind()) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether an error only says "not now".
pub(crate) fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// A seed that differs between processes and between calls.
pub(crate) fn now_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

pub(crate) fn socket_towards(to: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    Ok(UdpSocket::bind(SocketAddr::new(any, 0))?)
}

/// Whether the echo equals the datagram; `None` when none came in time. Late echoes of earlier
/// datagrams have another content of the same length, so they count as corrupt: there are none
/// on a path that answers within the time.
fn await_echo(socket: &UdpSocket, datagram: &[u8]) -> Result<Option<bool>> {
    let mut buffer = vec![0; LONGEST];
    let got = receive(socket, &mut buffer, now() + ECHO)?;
    Ok(got.map(|(length, _from)| buffer.get(..length) == Some(datagram)))
}
