//! Peers and the paths to them: what can be reached, and with how large packets.

use std::net::{IpAddr, SocketAddr};

use anyhow::{anyhow, bail};
use switch::options::MtuChoice;
use switch::{Mac, Mtu, Peer, path_mtu};

use crate::args::Config;

/// What the paths to all peers carry; an error when there is no path to one of them.
pub(crate) fn measure_all(config: &Config) -> anyhow::Result<Vec<Peer>> {
    let peer = |ip: &IpAddr| {
        let mtu = measure(config, *ip)?;
        Ok(Peer { addr: SocketAddr::new(*ip, config.port), mtu })
    };
    config.peers.iter().map(peer).collect()
}

/// Addresses that are no peer's, which only this host can tell.
pub(crate) fn check_hosts(config: &Config) -> anyhow::Result<()> {
    let Config { local, peers, .. } = config;
    let denied = path_mtu(*local, *local).err().and_then(|error| error.raw_os_error());
    if denied == Some(libc::EACCES) {
        bail!("--local {local} is a broadcast address: give this node's own");
    }
    let own = |peer: &&IpAddr| std::net::UdpSocket::bind((**peer, 0)).is_ok();
    match peers.iter().find(own) {
        Some(peer) => {
            bail!("--peer {peer} is an address of this host, too: name only the other nodes")
        }
        None => Ok(()),
    }
}

pub(crate) fn measure(config: &Config, peer: IpAddr) -> anyhow::Result<Mtu> {
    let local = config.local;
    let underlay = path_mtu(local, peer).map_err(|error| match error.raw_os_error() {
        Some(libc::EACCES) => anyhow!(
            "peer {peer} cannot be sent to: it is a broadcast address, or its route forbids it (see `ip route get {peer} from {local}`): correct --peer, or the route"
        ),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL) => anyhow!(
            "no route to peer {peer} from {local} (see `ip route get {peer} from {local}`): add a route, or correct --peer"
        ),
        _ => anyhow::Error::new(error).context(format!("cannot ask what the path to peer {peer} carries")),
    })?;
    let carried = Mtu::over(underlay, peer).ok_or_else(|| {
        anyhow!("the path to peer {peer} carries only {underlay} octets: its MTU must be raised")
    })?;
    Ok(match config.mtu {
        MtuChoice::Auto => carried,
        MtuChoice::Fixed(mtu) => carried.min(mtu),
    })
}

/// What the bridge is told: the operator's choice, or what every path carries.
pub(crate) fn overlay_mtu(config: &Config, peers: &[Peer]) -> Mtu {
    match config.mtu {
        MtuChoice::Fixed(mtu) => mtu,
        MtuChoice::Auto => peers.iter().map(|peer| peer.mtu).min().unwrap_or(Mtu::MAX),
    }
}

/// The address of a bridge that is made on the node with this underlay address: always the same
/// one there, and another one elsewhere. FNV-1a, to be stable over releases.
pub(crate) fn bridge_mac(local: IpAddr) -> Mac {
    let mix = |hash: u64, octet: &u8| (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
    let hash = |octets: &[u8]| octets.iter().fold(0xcbf2_9ce4_8422_2325, mix);
    Mac::local(match local {
        IpAddr::V4(addr) => hash(&addr.octets()),
        IpAddr::V6(addr) => hash(&addr.octets()),
    })
}
