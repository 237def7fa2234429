//! Entries as rtnetlink has them.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::channel::Request;
use super::{Edit, Entries, Kind, Refusal};
use crate::Mac;

/// What our neighbours carry as their `protocol` (`ip neigh show` prints `proto 119`): a number
/// that `/etc/iproute2/rt_protos` has for nobody. Not `extern_learn`, which `ip neigh flush`
/// removes even from permanent ones.
pub const PROTOCOL: u8 = 119;

/// The interfaces in question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) bridge: u32,
    pub(super) tap: u32,
}

impl Links {
    /// What does an edit.
    pub(super) fn request(self, edit: Edit) -> Request {
        let placed = NLM_F_CREATE | NLM_F_REPLACE;
        match edit {
            Edit::Forget(mac) => {
                let mut message = self.station(mac);
                message.header.flags = NeighbourFlags::Controller;
                (RouteNetlinkMessage::DelNeighbour(message), 0)
            }
            Edit::Place(mac, kind) => {
                let mut message = self.station(mac);
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
            Edit::Forget(_) | Edit::Unname(_) => return None,
            Edit::Place(mac, _) => {
                // Wherever on the bridge it is: no port, but the bridge.
                let mut message = self.station(mac);
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
            Edit::Place(..) if there.header.ifindex == self.tap => None,
            Edit::Place(..) if fixed => Some(Refusal::Held),
            Edit::Place(_, Kind::Learned) if mending => Some(Refusal::Moved),
            Edit::Name(..) if fixed && !is_ours(there) => Some(Refusal::Held),
            Edit::Forget(_) | Edit::Unname(_) | Edit::Place(..) | Edit::Name(..) => None,
        }
    }

    /// What asks for all that may be ours.
    pub(super) fn dumps(self) -> [RouteNetlinkMessage; 3] {
        let mut fdb = NeighbourMessage::default();
        fdb.header.family = AddressFamily::Bridge;
        fdb.header.ifindex = self.tap;
        let neighbours = |family| {
            let mut message = NeighbourMessage::default();
            message.header.family = family;
            message.attributes.push(NeighbourAttribute::IfIndex(self.bridge));
            message
        };
        [fdb, neighbours(AddressFamily::Inet), neighbours(AddressFamily::Inet6)]
            .map(RouteNetlinkMessage::GetNeighbour)
    }

    /// Adds an entry of a dump, if it is ours.
    pub(super) fn collect(self, message: &NeighbourMessage, found: &mut Entries) {
        let Some(mac) = mac_of(message) else { return };
        let header = &message.header;
        if header.family == AddressFamily::Bridge {
            let master = NeighbourAttribute::Controller(self.bridge);
            // With VLAN filtering there is one for each VLAN as well: the one without counts.
            let tagged = |it: &NeighbourAttribute| matches!(it, NeighbourAttribute::Vlan(_));
            let placed = header.ifindex == self.tap
                && message.attributes.contains(&master)
                && !message.attributes.iter().any(tagged);
            let kind = kind_of(header.flags).filter(|_| placed);
            found.stations.extend(kind.map(|kind| (mac, kind)));
        } else if header.ifindex == self.bridge && is_ours(message) {
            found.neighbours.extend(addr_of(message).map(|addr| (addr, mac)));
        }
    }

    fn station(self, mac: Mac) -> NeighbourMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = self.tap;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
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
