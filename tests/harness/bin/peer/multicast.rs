//! Multicast datagrams, numbered so that duplicates show.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::net::if_::if_nametoindex;
use serde_json::json;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::udp::receive as receive_one;
use crate::{doze, now, report};

/// Between two datagrams.
const INTERVAL: Duration = Duration::from_millis(5);

/// Joins `group` on `iface` and counts for a while what arrives.
pub(crate) fn receive(iface: &str, group: SocketAddr, seconds: u64) -> Result<()> {
    let index = if_nametoindex(iface)?;
    let socket = socket(iface, group)?;
    match group.ip() {
        IpAddr::V4(group) => {
            socket.join_multicast_v4_n(&group, &InterfaceIndexOrAddress::Index(index))?;
        }
        IpAddr::V6(group) => socket.join_multicast_v6(&group, index)?,
    }
    socket.bind(&group.into())?;
    report(&json!({ "listening": group.port() }));
    let socket = UdpSocket::from(socket);
    let mut seen: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let (mut received, mut duplicates) = (0_u64, 0_u64);
    let mut buffer = [0; 64];
    let end = now() + Duration::from_secs(seconds);
    while let Some((length, from)) = receive_one(&socket, &mut buffer, end)? {
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        received += 1;
        if !seen.entry(from.to_string()).or_default().insert(datagram) {
            duplicates += 1;
        }
    }
    let sources: BTreeMap<_, _> = seen.iter().map(|(from, them)| (from, them.len())).collect();
    report(&json!({ "received": received, "duplicates": duplicates, "sources": sources }));
    Ok(())
}

/// Sends `count` numbered datagrams to `group` through `iface`.
pub(crate) fn send(iface: &str, group: SocketAddr, count: u32) -> Result<()> {
    let socket = socket(iface, group)?;
    let any: IpAddr = match group {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    socket.bind(&SocketAddr::new(any, 0).into())?;
    for number in 0..count {
        socket.send_to(&number.to_be_bytes(), &group.into())?;
        doze(INTERVAL);
    }
    report(&json!({ "sent": count }));
    Ok(())
}

/// Bound to the interface: a pod has no route for groups.
fn socket(iface: &str, group: SocketAddr) -> Result<Socket> {
    if !group.ip().is_multicast() {
        bail!("{} is no multicast group", group.ip());
    }
    let socket = Socket::new(Domain::for_address(group), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(iface.as_bytes()))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}
