//! Datagrams in runs: many of one size in one call (UDP_SEGMENT), each of which can be told from all
//! others.
//!
//! ```text
//! number 4, length 4, octets that follow from the seed and the number
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use serde_json::json;

use crate::content::Content;
use crate::udp::{receive, socket_towards};
use crate::{doze, now, report};

/// Number and length.
const HEADER: usize = 8;
/// The longest run: what UDP over IPv4 carries.
const RUN_MAX: usize = 65_507;
/// Between two runs, so that no queue on the way fills.
const PACE: Duration = Duration::from_millis(3);
/// How long after the last datagram none is expected any more.
const SILENCE: Duration = Duration::from_millis(400);
/// How long the first may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A few runs; the default holds hardly one of small datagrams.
const RECEIVE_BUFFER: usize = 8 << 20;

/// Sends `runs` runs of `count` datagrams of `size` octets; the last of each is shorter.
pub(crate) fn send(
    to: SocketAddr,
    (size, count): (usize, usize),
    runs: usize,
    seed: u64,
) -> Result<()> {
    ensure!(size > HEADER && size * count <= RUN_MAX, "no such run");
    let socket = socket_towards(to)?;
    let segment = i32::try_from(size)?;
    setsockopt(&socket, UdpGsoSegment, &segment).context("UDP_SEGMENT")?;
    let short = HEADER + (size - HEADER) / 2;
    let mut number = 0_u32;
    for _ in 0..runs {
        let mut run = Vec::with_capacity(size * count);
        for n in 1..=count {
            run.extend(datagram(number, if n == count { short } else { size }, seed));
            number += 1;
        }
        let sent = socket.send_to(&run, to).context("send")?;
        ensure!(sent == run.len(), "a part of a run");
        doze(PACE);
    }
    report(&json!({ "sent": number }));
    Ok(())
}

/// Receives until it has been silent for a while, and judges each datagram.
pub(crate) fn collect(port: u16, seed: u64) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port))?;
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
    report(&json!({ "listening": socket.local_addr()?.port() }));
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let (mut seen, mut duplicates, mut corrupt) = (BTreeSet::new(), 0_u64, 0_u64);
    let mut wrong = None;
    let mut patience = PATIENCE;
    while let Some((length, _from)) = receive(&socket, &mut buffer, now() + patience)? {
        patience = SILENCE;
        match number_of(buffer.get(..length).unwrap_or_default(), seed) {
            Some(number) => duplicates += u64::from(!seen.insert(number)),
            None => {
                corrupt += 1;
                wrong.get_or_insert(length);
            }
        }
    }
    report(&json!({
        "received": seen.len(), "duplicates": duplicates, "corrupt": corrupt, "wrong": wrong,
    }));
    Ok(())
}

fn datagram(number: u32, length: usize, seed: u64) -> Vec<u8> {
    let stated = u32::try_from(length).unwrap_or_default();
    let mut octets = [number.to_be_bytes(), stated.to_be_bytes()].concat();
    octets.extend(Content::new(seed ^ u64::from(number)).octets(length - HEADER));
    octets
}

/// The number of a datagram that is as it was sent.
fn number_of(octets: &[u8], seed: u64) -> Option<u32> {
    let number = u32::from_be_bytes(*octets.first_chunk()?);
    let whole = octets.len() >= HEADER && datagram(number, octets.len(), seed) == octets;
    whole.then_some(number)
}
