//! Whether the pods' range, or an address that the bridge is to have, is somebody else's already.
//!
//! A range that overlaps with a route of the host takes part of it away, or loses part of itself: which of the two depends on
//! prefixes and tables, and shows as addresses that cannot be reached. So the range is not used, and the route is named.
//!
//! Not in the way are: the default route, and those that VPNs put in its place in pieces (shorter than 8 bits, with all of the range
//! in them); routes by the pods' own bridge; and routes that only refuse what nobody else has a route for, when all of the range is in
//! them. Every table counts, but for the local one, and so do the host's addresses: each may be alone, without a route to its network.

mod read;

use std::fmt;
use std::net::IpAddr;

pub use read::{ReadError, read};

use crate::cidr::Cidr;

/// Routes with fewer bits than this stand for the default route, or a piece of it.
const PIECES: u8 = 8;
/// Tables that have names (include/uapi/linux/rtnetlink.h).
const MAIN: u32 = 254;
const DEFAULT: u32 = 253;

/// A route of the host, or one of its addresses.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Route {
    /// Where to.
    pub to: Cidr,
    /// What it is.
    pub kind: Kind,
    /// The interfaces that it leaves by, or the one that has the address.
    pub devices: Vec<String>,
}

/// What a route is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// An address of the host.
    Address,
    /// It goes somewhere.
    Unicast {
        /// Its table.
        table: u32,
        /// The next hop.
        via: Option<IpAddr>,
    },
    /// It goes nowhere: `blackhole`, `unreachable`, `prohibit` or `throw`.
    Refuses {
        /// Its table.
        table: u32,
        /// How `ip route` calls it.
        how: &'static str,
    },
}

/// The range is not free.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the range {range} overlaps with the {route}: choose another with --ipalloc-range, or remove that {}",
    .route.noun()
)]
pub struct Overlap {
    /// The range.
    pub range: Cidr,
    /// What it overlaps with: the narrowest there is.
    pub route: Route,
}

/// An address that the bridge is to have is not free: another interface has it, or a route has some of its network.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{addr} overlaps with the {route}: {}", .route.evasion())]
pub struct Clash {
    /// The address, with its network's prefix.
    pub addr: Cidr,
    /// What it overlaps with: the narrowest there is.
    pub route: Route,
}

/// Looks whether the range is free. `bridge` is the pods' own.
///
/// # Errors
/// It overlaps.
pub fn check(range: Cidr, routes: &[Route], bridge: &str) -> Result<(), Overlap> {
    match narrowest(range, routes, bridge) {
        None => Ok(()),
        Some(route) => Err(Overlap { range: range.network(), route: route.clone() }),
    }
}

/// Looks whether the bridge can have this address, and by it a route to its network.
///
/// # Errors
/// It clashes.
pub fn check_exposed(addr: Cidr, routes: &[Route], bridge: &str) -> Result<(), Clash> {
    match narrowest(addr, routes, bridge) {
        None => Ok(()),
        Some(route) => Err(Clash { addr, route: route.clone() }),
    }
}

fn narrowest<'a>(range: Cidr, routes: &'a [Route], bridge: &str) -> Option<&'a Route> {
    let in_the_way = routes.iter().filter(|route| route.is_in_the_way(range, bridge));
    // Which one is named must not depend on the order in which the kernel tells.
    in_the_way.max_by_key(|it| (it.to.prefix(), std::cmp::Reverse(*it)))
}

impl Clash {
    /// Why, without what to do.
    pub fn why(&self) -> String {
        format!("{} overlaps with the {}", self.addr, self.route)
    }

    /// What to do about it.
    pub fn what_to_do(&self) -> String {
        self.route.evasion()
    }
}

impl Route {
    fn is_in_the_way(&self, range: Cidr, bridge: &str) -> bool {
        let ours = !self.devices.is_empty() && self.devices.iter().all(|it| it == bridge);
        if ours || !self.to.overlaps(range) {
            return false;
        }
        match self.kind {
            Kind::Address => true,
            Kind::Unicast { .. } => self.to.prefix() >= PIECES || !self.to.contains(range),
            Kind::Refuses { .. } => !(self.to.contains(range) && self.to.prefix() < range.prefix()),
        }
    }

    fn evasion(&self) -> String {
        format!("expose another address, or remove that {}", self.noun())
    }

    fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Address => "address",
            Kind::Unicast { .. } | Kind::Refuses { .. } => "route",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.noun())?;
        if let Kind::Refuses { how, .. } = self.kind {
            write!(f, "{how} ")?;
        }
        write!(f, "{}", self.to)?;
        if let Kind::Unicast { via: Some(via), .. } = self.kind {
            write!(f, " via {via}")?;
        }
        self.devices.iter().try_for_each(|device| write!(f, " dev {device}"))?;
        match self.kind {
            Kind::Address => Ok(()),
            Kind::Unicast { table: MAIN, .. } | Kind::Refuses { table: MAIN, .. } => {
                write!(f, " (table main)")
            }
            Kind::Unicast { table: DEFAULT, .. } | Kind::Refuses { table: DEFAULT, .. } => {
                write!(f, " (table default)")
            }
            Kind::Unicast { table, .. } | Kind::Refuses { table, .. } => {
                write!(f, " (table {table})")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: &str = "10.32.0.0/12";

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn route(to: &str, device: &str) -> Route {
        let kind = Kind::Unicast { table: MAIN, via: None };
        Route { to: cidr(to), kind, devices: vec![device.to_owned()] }
    }

    fn refusing(to: &str) -> Route {
        let kind = Kind::Refuses { table: 52, how: "blackhole" };
        Route { to: cidr(to), kind, devices: Vec::new() }
    }

    fn said(routes: &[Route]) -> Option<String> {
        check(cidr(RANGE), routes, "weave").err().map(|it| it.to_string())
    }

    #[test]
    fn the_route_that_a_range_overlaps_with_is_named_with_what_to_do() {
        assert_eq!(
            said(&[route("10.32.0.0/16", "eth0")]).unwrap(),
            "the range 10.32.0.0/12 overlaps with the route 10.32.0.0/16 dev eth0 (table main): choose another with --ipalloc-range, or remove that route"
        );
        let through = Kind::Unicast { table: 52, via: Some([192, 168, 0, 1].into()) };
        let through = Route { kind: through, ..route("10.0.0.0/8", "tun0") };
        assert!(
            said(&[through])
                .unwrap()
                .contains("route 10.0.0.0/8 via 192.168.0.1 dev tun0 (table 52):")
        );
        assert!(
            said(&[refusing("10.40.0.0/16")])
                .unwrap()
                .contains("route blackhole 10.40.0.0/16 (table 52):")
        );
        let address = Route { kind: Kind::Address, ..route("10.33.1.1/32", "lo") };
        assert!(said(&[address]).unwrap().ends_with("the address 10.33.1.1/32 dev lo: choose another with --ipalloc-range, or remove that address"));
    }

    #[test]
    fn what_overlaps_most_narrowly_is_named_in_any_order() {
        let routes = [
            route("10.0.0.0/8", "eth0"),
            route("10.40.0.0/24", "eth1"),
            route("10.40.0.0/24", "eth0"),
        ];
        let turned: Vec<_> = routes.iter().rev().cloned().collect();

        assert_eq!(said(&routes), said(&turned));
        assert!(said(&routes).unwrap().contains("10.40.0.0/24 dev eth0"));
    }

    #[test]
    fn routes_that_are_not_in_the_way_are_passed_over() {
        let both =
            Route { devices: vec!["weave".into(), "eth0".into()], ..route("10.32.0.0/12", "") };
        for free in [
            route("0.0.0.0/0", "eth0"),
            route("0.0.0.0/1", "tun0"),
            route("8.0.0.0/5", "tun0"),
            route("10.32.0.0/12", "weave"),
            route("10.48.0.0/12", "eth0"),
            route("::/0", "eth0"),
            refusing("10.0.0.0/8"),
        ] {
            assert_eq!(said(std::slice::from_ref(&free)), None, "{free}");
        }
        for taken in [route("10.0.0.0/8", "tun0"), refusing(RANGE), both, route(RANGE, "weave2")] {
            assert!(said(std::slice::from_ref(&taken)).is_some(), "{taken}");
        }
    }

    #[test]
    fn an_address_to_expose_clashes_with_those_of_other_interfaces_and_their_routes() {
        let own = Route { kind: Kind::Address, ..route("10.99.0.1/32", "eth0") };
        let host = [own, route("10.99.0.0/24", "eth0"), route("0.0.0.0/0", "eth0")];
        let said = |addr, routes: &[Route]| check_exposed(cidr(addr), routes, "weave").err();

        let clash = said("10.99.0.1/24", &host).unwrap();

        assert_eq!(
            clash.to_string(),
            "10.99.0.1/24 overlaps with the address 10.99.0.1/32 dev eth0: expose another address, or remove that address"
        );
        assert_eq!(clash.to_string(), format!("{}: {}", clash.why(), clash.what_to_do()));
        for taken in ["10.99.0.1/32", "10.99.0.9/28", "10.99.0.200/32", "10.0.0.1/8"] {
            assert!(said(taken, &host).is_some(), "{taken}");
        }
        // What is by the bridge has been exposed.
        let exposed = [
            route("10.7.0.0/24", "weave"),
            Route { kind: Kind::Address, ..route("10.7.0.1/32", "weave") },
        ];
        for free in ["10.7.0.1/24", "10.7.0.1/8", "10.32.0.1/12", "fd00:32::1/64"] {
            assert_eq!(said(free, &exposed), None, "{free}");
        }
        assert_eq!(said("10.32.0.1/12", &host), None);
    }

    #[test]
    fn a_range_as_wide_as_a_piece_of_the_default_route_is_not_free_of_narrower_ones() {
        let wide = cidr("8.0.0.0/5");

        assert!(check(wide, &[route("8.0.0.0/5", "tun0")], "weave").is_ok());
        assert!(check(wide, &[route("8.0.0.0/6", "tun0")], "weave").is_err());
        assert!(
            check(cidr("fd00:32::/48"), &[route("fd00:32:0:1::/64", "eth0")], "weave").is_err()
        );
    }
}
