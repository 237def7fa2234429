//! The stations of a bridge, as rtnetlink tells of them.
//!
//! Pods write the bridge's FDB, and can make it as long as they like. So a dump of it is read piece
//! by piece, with nothing kept but addresses, and no further than [`ENTRIES_MAX`] and
//! [`STATIONS_MAX`]; where that ends it the reading is not complete. The few fields that count are
//! taken from where the kernel puts them (include/uapi/linux/neighbour.h).

use std::io;
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::NeighbourMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::Installed;
use crate::Mac;

/// Stations that are read: more than any node has pods.
const STATIONS_MAX: usize = 8192;
/// Entries that are looked at for them: as many again may be behind the TAP, and a flood's besides.
const ENTRIES_MAX: usize = 131_072;
/// For a dump: the kernel answers at once, unless somebody holds its lock.
const DEADLINE: Duration = Duration::from_secs(10);

/// Octets of a message's header and of what neighbour messages begin with (`struct ndmsg`).
const HEADER: usize = 16;
const NDMSG: usize = 12;
/// Message types (include/uapi/linux/netlink.h, rtnetlink.h).
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_NEIGHBOUR: u16 = 28;
const DEL_NEIGHBOUR: u16 = 29;
/// Attributes.
const ADDRESS: u16 = 2;
const CONTROLLER: u16 = 9;
/// The family of FDB entries (`AF_BRIDGE`).
const BRIDGE: u8 = 7;
/// `NUD_PERMANENT`: a port's own address.
const PERMANENT: u16 = 0x80;

/// The stations of a bridge's own ports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stations {
    /// Their addresses.
    pub macs: Vec<Mac>,
    /// Whether these are all.
    pub complete: bool,
}

/// An entry of a bridge's FDB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) mac: Mac,
    pub(crate) port: u32,
    pub(crate) bridge: Option<u32>,
}

/// A message of rtnetlink's, as far as it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Message {
    /// A station was learned, or is in a dump.
    Station(Entry),
    /// A station was forgotten.
    StationGone(Entry),
    /// Something about a link.
    Link,
    /// The end of a dump.
    Done,
    /// A request was refused; the number is as on the wire, negative.
    Refused(i32),
    /// Anything else.
    Other,
}

/// Reads the stations of the bridge behind ports other than the uplinks.
pub(super) async fn read(installed: &Installed) -> io::Result<Stations> {
    match tokio::time::timeout(DEADLINE, dump(installed)).await {
        Ok(stations) => stations,
        Err(_late) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 10 s")),
    }
}

async fn dump(installed: &Installed) -> io::Result<Stations> {
    // A socket for each dump: with it goes what is not read.
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    socket.send_to(&request(), &SocketAddr::new(0, 0)).await?;
    let mut stations = Stations::default();
    let mut entries = 0;
    while entries < ENTRIES_MAX {
        let (octets, _) = socket.recv_from_full().await?;
        for message in messages(&octets) {
            match message {
                Message::Station(entry)
                    if entry.bridge == Some(installed.bridge)
                        && !installed.is_uplink(entry.port) =>
                {
                    if stations.macs.len() == STATIONS_MAX {
                        return Ok(stations);
                    }
                    stations.macs.push(entry.mac);
                }
                Message::Done => return Ok(Stations { complete: true, ..stations }),
                Message::Refused(errno) => {
                    return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
                }
                Message::Station(_) | Message::StationGone(_) | Message::Link | Message::Other => {}
            }
            entries += 1;
        }
    }
    Ok(stations)
}

fn request() -> Vec<u8> {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let message = RouteNetlinkMessage::GetNeighbour(message);
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
    message.finalize();
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

/// The messages in a datagram. It ends where one says that it is longer than what is left.
pub(crate) fn messages(mut octets: &[u8]) -> impl Iterator<Item = Message> {
    std::iter::from_fn(move || {
        let [a, b, c, d, x, y, ..] = *octets.first_chunk::<HEADER>()?;
        let len = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
        let body = octets.get(HEADER..len)?;
        octets = octets.get(aligned(len)..).unwrap_or_default();
        Some(Message::of(u16::from_ne_bytes([x, y]), body))
    })
}

impl Message {
    fn of(kind: u16, body: &[u8]) -> Self {
        match kind {
            NEW_NEIGHBOUR => Entry::of(body).map_or(Self::Other, Self::Station),
            DEL_NEIGHBOUR => Entry::of(body).map_or(Self::Other, Self::StationGone),
            NEW_LINK | DEL_LINK => Self::Link,
            DONE => Self::Done,
            ERROR => match body.first_chunk() {
                Some(errno) => Self::Refused(i32::from_ne_bytes(*errno)),
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

impl Entry {
    /// `None` for a neighbour that is no bridge's, for a group, and for a port's own address: no
    /// station is behind that.
    fn of(body: &[u8]) -> Option<Self> {
        let [family, _, _, _, a, b, c, d, s, t, ..] = *body.first_chunk::<NDMSG>()?;
        if family != BRIDGE || u16::from_ne_bytes([s, t]) == PERMANENT {
            return None;
        }
        let (mut mac, mut bridge) = (None, None);
        for (kind, value) in attributes(body.get(NDMSG..)?) {
            match kind {
                ADDRESS => mac = value.try_into().ok().map(Mac).filter(|mac| mac.is_station()),
                CONTROLLER => bridge = value.first_chunk().map(|it| u32::from_ne_bytes(*it)),
                _ => {}
            }
        }
        Some(Self { mac: mac?, port: u32::from_ne_bytes([a, b, c, d]), bridge })
    }
}

fn attributes(mut octets: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *octets.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([a, b]));
        let value = octets.get(4..len)?;
        octets = octets.get(aligned(len)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]), value))
    })
}

/// Messages and attributes are aligned to four octets (NLMSG_ALIGN, NLA_ALIGN).
const fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourState};

    use super::*;

    const POD: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_entry_is_read_from_where_rtnetlink_puts_it() {
        let entry = Entry { mac: POD, port: 0x1234_5678, bridge: Some(9) };
        let octets = [
            octets_of(RouteNetlinkMessage::NewNeighbour(neighbour(entry))),
            octets_of(RouteNetlinkMessage::DelNeighbour(neighbour(entry))),
            octets_of(RouteNetlinkMessage::DelLink(LinkMessage::default())),
        ];

        let read: Vec<_> = messages(&octets.concat()).collect();

        assert_eq!(read, [Message::Station(entry), Message::StationGone(entry), Message::Link]);
    }

    #[test]
    fn a_group_a_ports_own_address_and_a_neighbour_of_ip_are_no_stations() {
        let entry = Entry { mac: POD, port: 3, bridge: Some(9) };
        let own = |message: &mut NeighbourMessage| message.header.state = NeighbourState::Permanent;
        let ip = |message: &mut NeighbourMessage| message.header.family = AddressFamily::Inet;
        let group = |message: &mut NeighbourMessage| {
            message.attributes = vec![NeighbourAttribute::LinkLayerAddress(vec![3, 0, 0, 0, 0, 1])];
        };
        for change in [&own as &dyn Fn(&mut _), &ip, &group] {
            let mut message = neighbour(entry);
            change(&mut message);

            let octets = octets_of(RouteNetlinkMessage::NewNeighbour(message));

            assert_eq!(messages(&octets).collect::<Vec<_>>(), [Message::Other]);
        }
    }

    #[test]
    fn what_is_cut_off_is_left_out() {
        let entry = Entry { mac: POD, port: 3, bridge: Some(9) };
        let octets = octets_of(RouteNetlinkMessage::NewNeighbour(neighbour(entry)));

        for len in 0..octets.len() {
            assert_eq!(messages(&octets[..len]).count(), 0, "{len}");
        }
    }

    fn neighbour(Entry { mac, port, bridge }: Entry) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.state = NeighbourState::Reachable;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message.attributes.extend(bridge.map(NeighbourAttribute::Controller));
        message
    }

    fn octets_of(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message =
            NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        octets
    }
}
