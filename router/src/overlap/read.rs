//! The host's routes and addresses, by rtnetlink.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteType,
};
use rtnetlink::Handle;
use switch::netlink;

use super::{Kind, Route};
use crate::cidr::Cidr;
use crate::expose::cidr_of;

/// The table that the kernel keeps for itself: its own addresses, and broadcasts.
const LOCAL: u32 = 255;

/// Why routes cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no netlink.
    #[error("cannot ask the kernel for routes: {0}")]
    Netlink(#[source] io::Error),
    /// The kernel says no.
    #[error("cannot read the {what} of this host: {why}")]
    Kernel {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        why: rtnetlink::Error,
    },
}

/// Interfaces by their index.
type Names = BTreeMap<u32, String>;

/// All that the network namespace of the calling thread has.
///
/// # Errors
/// As [`ReadError`] says.
pub async fn read() -> Result<Vec<Route>, ReadError> {
    let handle = netlink::connect().map_err(ReadError::Netlink)?;
    let failed = |what| move |why| ReadError::Kernel { what, why };
    let names = names(&handle).await.map_err(failed("interfaces"))?;
    let routes = handle.route().get(RouteMessage::default()).execute();
    let routes: Vec<_> = routes.try_collect().await.map_err(failed("routes"))?;
    let addresses = handle.address().get().execute();
    let addresses: Vec<_> = addresses.try_collect().await.map_err(failed("addresses"))?;
    let mut all: Vec<_> = routes.iter().filter_map(|it| route(it, &names)).collect();
    all.extend(addresses.iter().filter_map(|it| {
        let addr = cidr_of(it)?.addr();
        let to = Cidr::new(addr, if addr.is_ipv4() { 32 } else { 128 })?;
        Some(Route { to, kind: Kind::Address, devices: vec![name(it.header.index, &names)] })
    }));
    Ok(all)
}

async fn names(handle: &Handle) -> Result<Names, rtnetlink::Error> {
    let mut names = Names::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                names.insert(link.header.index, name);
            }
        }
    }
    Ok(names)
}

fn name(index: u32, names: &Names) -> String {
    names.get(&index).cloned().unwrap_or_else(|| format!("if{index}"))
}

/// `None` for those that take nothing away.
fn route(message: &RouteMessage, names: &Names) -> Option<Route> {
    let header = &message.header;
    let any: IpAddr = if header.address_family == AddressFamily::Inet {
        Ipv4Addr::UNSPECIFIED.into()
    } else if header.address_family == AddressFamily::Inet6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        return None;
    };
    let (mut to, mut via, mut devices) = (any, None, Vec::new());
    let mut table = u32::from(header.table);
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
        match attribute {
            RouteAttribute::Destination(addr) => to = ip(addr)?,
            RouteAttribute::Gateway(addr) => via = ip(addr),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Oif(index) => devices.push(name(*index, names)),
            RouteAttribute::MultiPath(hops) => {
                devices.extend(hops.iter().map(|hop| name(hop.interface_index, names)));
            }
            _ => {}
        }
    }
    let refuses = |how| Kind::Refuses { table, how };
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are the kernel's own")]
    let kind = match header.kind {
        RouteType::Unicast => Kind::Unicast { table, via },
        RouteType::BlackHole => refuses("blackhole"),
        RouteType::Unreachable => refuses("unreachable"),
        RouteType::Prohibit => refuses("prohibit"),
        RouteType::Throw => refuses("throw"),
        _ => return None,
    };
    let to = Cidr::new(to, header.destination_prefix_length)?;
    let counts = table != LOCAL && !header.flags.contains(RouteFlags::Cloned);
    counts.then_some(Route { to, kind, devices })
}

fn ip(addr: &RouteAddress) -> Option<IpAddr> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; others are no IP")]
    match addr {
        RouteAddress::Inet(addr) => Some((*addr).into()),
        RouteAddress::Inet6(addr) => Some((*addr).into()),
        _ => None,
    }
}
