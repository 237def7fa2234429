//! Entries as rtnetlink has them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::channel::Request;
use super::{Edit, Entries, Kind, Refusal, Station, Uplink};
use crate::Mac;

/// What our neighbours carry as their `protocol` (`ip neigh show` prints `proto 119`): a number
/// that `/etc/iproute2/rt_protos` has for nobody. Not `extern_learn`, which `ip neigh flush`
/// removes even from permanent ones.
pub const PROTOCOL: u8 = 119;

/// What the kernel counts the age of entries in (`USER_HZ`).
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The interfaces in question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) bridge: u32,
    pub(super) tap: u32,
    pub(super) fast: Option<u32>,
}

impl Links {
    /// What of these entries can be, with these interfaces.
    pub(super) fn possible(self, desired: &Entries) -> Cow<'_, Entries> {
        if self.fast.is_some() {
            return Cow::Borrowed(desired);
        }
        let behind_tap = |it: &Station| Station { uplink: Uplink::Tap, ..*it };
        let stations = desired.stations.iter().map(|(mac, it)| (*mac, behind_tap(it))).collect();
        let neighbours = desired.neighbours.clone();
        Cow::Owned(Entries { stations, neighbours, ..Entries::default() })
    }

    /// What does an edit.
    pub(super) fn request(self, edit: Edit) -> Request {
        let placed = NLM_F_CREATE | NLM_F_REPLACE;
        match edit {
            Edit::Unflood(node) => (RouteNetlinkMessage::DelNeighbour(self.flood(node)), 0),
            Edit::Forget(mac, uplink) => {
                let mut message = self.station(mac, uplink);
                message.header.flags = NeighbourFlags::Controller;
                (RouteNetlinkMessage::DelNeighbour(message), 0)
            }
            Edit::Point(mac, node) => {
                let mut message = self.remote(mac);
                message.attributes.push(NeighbourAttribute::Destination(node.into()));
                (RouteNetlinkMessage::NewNeighbour(message), placed)
            }
            Edit::Unpoint(mac) => (RouteNetlinkMessage::DelNeighbour(self.remote(mac)), 0),
            Edit::Flood(node) => {
                let added = NLM_F_CREATE | NLM_F_APPEND;
                (RouteNetlinkMessage::NewNeighbour(self.flood(node)), added)
            }
            Edit::Place(mac, Station { kind, uplink }) => {
                let mut message = self.station(mac, uplink);
                (message.header.state, message.header.flags) = match kind {
                    Kind::Announced => {
                        let flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
                        (NeighbourState::Noarp, flags)
                    }
                    Kind::Learned => {
                        let flags = NeighbourFlags::Controller | NeighbourFlags::ExtLearned;
                        (NeighbourState::Reachable, flags)
                    }
                };
                (RouteNetlinkMessage::NewNeighbour(message), placed)
            }
            Edit::Unname(addr) => (RouteNetlinkMessage::DelNeighbour(self.neighbour(addr)), 0),
            Edit::Name(addr, mac) => {
                let mut message = self.neighbour(addr);
                message.header.state = NeighbourState::Permanent;
                let protocol = RouteProtocol::from(PROTOCOL);
                message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
                message.attributes.push(NeighbourAttribute::Protocol(protocol));
                (RouteNetlinkMessage::NewNeighbour(message), placed)
            }
        }
    }

    /// What asks for the entry that an edit would replace.
    pub(super) fn query(self, edit: Edit) -> Option<Request> {
        let message = match edit {
            // The vxlan device and what it knows are ours alone.
            Edit::Point(..) | Edit::Unpoint(_) | Edit::Flood(_) | Edit::Unflood(_) => return None,
            Edit::Forget(..) | Edit::Unname(_) => return None,
            Edit::Place(mac, Station { uplink, .. }) => {
                // Wherever on the bridge it is: no port, but the bridge.
                let mut message = self.station(mac, uplink);
                message.header.ifindex = 0;
                message.attributes.push(NeighbourAttribute::Controller(self.bridge));
                message
            }
            Edit::Name(addr, _) => self.neighbour(addr),
        };
        Some((RouteNetlinkMessage::GetNeighbour(message), 0))
    }

    /// Whether an edit may replace this entry. `mending`: nothing new is known about the station.
    pub(super) fn judge(
        self,
        edit: Edit,
        there: &NeighbourMessage,
        mending: bool,
    ) -> Option<Refusal> {
        let state = u16::from(there.header.state);
        let fixed = u16::from(NeighbourState::Permanent) | u16::from(NeighbourState::Noarp);
        let fixed = state & fixed != 0;
        match edit {
            Edit::Place(..) if self.uplink_at(there.header.ifindex).is_some() => None,
            Edit::Place(..) if fixed => Some(Refusal::Held),
            Edit::Place(_, Station { kind: Kind::Learned, .. }) if mending => Some(Refusal::Moved),
            Edit::Name(..) if fixed && !is_ours(there) => Some(Refusal::Held),
            Edit::Forget(..) | Edit::Unname(_) | Edit::Place(..) | Edit::Name(..) => None,
            Edit::Point(..) | Edit::Unpoint(_) | Edit::Flood(_) | Edit::Unflood(_) => None,
        }
    }

    /// What asks for all that may be ours.
    pub(super) fn dumps(self) -> impl Iterator<Item = RouteNetlinkMessage> {
        let neighbours = move |family| {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.attributes.push(NeighbourAttribute::IfIndex(self.bridge));
            RouteNetlinkMessage::GetNeighbour(message)
        };
        let named = [AddressFamily::Inet, AddressFamily::Inet6].map(neighbours);
        [dump_of(self.tap)].into_iter().chain(self.fast_dump()).chain(named)
    }

    /// What asks for all that the vxlan device knows, and all that is behind its port.
    pub(super) fn fast_dump(self) -> Option<RouteNetlinkMessage> {
        self.fast.map(dump_of)
    }

    /// How long ago the vxlan device has sent to the MAC of an entry, if it is one of a MAC of its.
    pub(super) fn used(self, message: &NeighbourMessage) -> Option<(Mac, Duration)> {
        let mac = mac_of(message).filter(|mac| mac.is_station() && self.is_of_fast(message))?;
        message.attributes.iter().find_map(|attribute| {
            let NeighbourAttribute::CacheInfo(info) = attribute else { return None };
            Some((mac, CLOCK_TICK * info.used))
        })
    }

    /// Adds an entry of a dump, if it is ours.
    pub(super) fn collect(self, message: &NeighbourMessage, found: &mut Entries) {
        let Some(mac) = mac_of(message) else { return };
        let header = &message.header;
        if self.is_of_fast(message) {
            match node_of(message) {
                Some(node) if mac == Mac::ZERO => drop(found.floods.insert(node)),
                Some(node) => drop(found.remotes.insert(mac, node)),
                None => {}
            }
        } else if header.family == AddressFamily::Bridge {
            let master = NeighbourAttribute::Controller(self.bridge);
            // With VLAN filtering there is one for each VLAN as well: the one without counts.
            let tagged = |it: &NeighbourAttribute| matches!(it, NeighbourAttribute::Vlan(_));
            let placed =
                message.attributes.contains(&master) && !message.attributes.iter().any(tagged);
            let uplink = self.uplink_at(header.ifindex).filter(|_| placed);
            let station = uplink.zip(kind_of(header.flags));
            found.stations.extend(station.map(|(uplink, kind)| (mac, Station { kind, uplink })));
        } else if header.ifindex == self.bridge && is_ours(message) {
            found.neighbours.extend(addr_of(message).map(|addr| (addr, mac)));
        }
    }

    fn uplink_at(self, port: u32) -> Option<Uplink> {
        match port {
            port if port == self.tap => Some(Uplink::Tap),
            port if Some(port) == self.fast => Some(Uplink::Fast),
            _ => None,
        }
    }

    /// Whether an entry is one of the vxlan device's own, and not the bridge's.
    fn is_of_fast(self, message: &NeighbourMessage) -> bool {
        let header = &message.header;
        header.family == AddressFamily::Bridge
            && Some(header.ifindex) == self.fast
            && header.flags.contains(NeighbourFlags::Own)
    }

    fn station(self, mac: Mac, uplink: Uplink) -> NeighbourMessage {
        match uplink {
            Uplink::Tap => entry(self.tap, mac),
            Uplink::Fast => entry(self.fast.unwrap_or(self.tap), mac),
        }
    }

    fn remote(self, mac: Mac) -> NeighbourMessage {
        let mut message = entry(self.fast.unwrap_or_default(), mac);
        message.header.flags = NeighbourFlags::Own;
        message.header.state = NeighbourState::Permanent;
        message
    }

    fn flood(self, node: IpAddr) -> NeighbourMessage {
        let mut message = self.remote(Mac::ZERO);
        message.attributes.push(NeighbourAttribute::Destination(node.into()));
        message
    }

    fn neighbour(self, addr: IpAddr) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family =
            if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.ifindex = self.bridge;
        message.attributes.push(NeighbourAttribute::Destination(addr.into()));
        message
    }
}

/// What asks for the entries of one device and of one port.
fn dump_of(port: u32) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    RouteNetlinkMessage::GetNeighbour(message)
}

fn entry(port: u32, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = port;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
    message
}

/// The node that a permanent entry of the vxlan device names, if it says nothing else: no other port,
/// VNI or interface, which we never ask for.
fn node_of(message: &NeighbourMessage) -> Option<IpAddr> {
    let state = u16::from(message.header.state);
    if state & u16::from(NeighbourState::Permanent) == 0
        || message.header.flags.contains(NeighbourFlags::ExtLearned)
    {
        return None;
    }
    let mut node = None;
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum")]
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Port(_)
            | NeighbourAttribute::Vni(_)
            | NeighbourAttribute::IfIndex(_) => return None,
            NeighbourAttribute::Destination(NeighbourAddress::Other(octets)) => {
                node = ip_of(octets);
            }
            _ => {}
        }
    }
    node
}

/// In entries of bridges and vxlan devices the length of an address says what it is.
fn ip_of(octets: &[u8]) -> Option<IpAddr> {
    let v4 = || octets.try_into().ok().map(|it: [u8; 4]| it.into());
    let v6 = || octets.try_into().ok().map(|it: [u8; 16]| it.into());
    v4().or_else(v6)
}

fn kind_of(flags: NeighbourFlags) -> Option<Kind> {
    if flags.contains(NeighbourFlags::Sticky) {
        Some(Kind::Announced)
    } else if flags.contains(NeighbourFlags::ExtLearned) {
        Some(Kind::Learned)
    } else {
        None
    }
}

fn is_ours(message: &NeighbourMessage) -> bool {
    let ours = NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL));
    message.header.state == NeighbourState::Permanent && message.attributes.contains(&ours)
}

fn mac_of(message: &NeighbourMessage) -> Option<Mac> {
    message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::LinkLayerAddress(octets) = attribute else { return None };
        octets.as_slice().try_into().ok().map(Mac)
    })
}

fn addr_of(message: &NeighbourMessage) -> Option<IpAddr> {
    message.attributes.iter().find_map(|attribute| {
        let NeighbourAttribute::Destination(addr) = attribute else { return None };
        match addr {
            NeighbourAddress::Inet(addr) => Some((*addr).into()),
            NeighbourAddress::Inet6(addr) => Some((*addr).into()),
            NeighbourAddress::Other(_) | _ => None,
        }
    })
}
