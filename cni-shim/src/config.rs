//! The configuration of a network, as it comes on stdin.

use std::net::IpAddr;
use std::path::PathBuf;

use rscni_types::error::Error;
use rscni_types::ipnet::IpNet;
use rscni_types::types::{CNIResult, Dns, GcAttachment, Route};
use rscni_types::version::SpecVersion;
use serde_json::{Map, Value};

use crate::args::Args;
use crate::object::Object;

/// The kernel's bounds of an MTU: RFC 791, and what a veth takes.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65_535;
/// Names that mean weft's own address management; the last one is Weave's.
const OWN: [&str; 3] = ["", "weft", "weave-ipam"];

/// A network, as its administrator and the runtime want it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The version of the specification that it is written in, and is answered in.
    pub version: SpecVersion,
    /// What the network is called.
    pub name: String,
    /// Of the pod's interface; the node's, if none is wanted.
    pub mtu: Option<u32>,
    /// Whether a pod reaches itself by a service: its port sends back what came from it.
    pub hairpin: bool,
    /// Whether a pod may send by no other MAC address than its own.
    pub lock: bool,
    /// Where weftd listens; where it does unless told otherwise, if this does not say.
    pub socket: Option<PathBuf>,
    /// Where weftd keeps its state, likewise.
    pub state_dir: Option<PathBuf>,
    /// Where addresses come from.
    pub ipam: Ipam,
    /// Addresses that are wanted, and no others.
    pub addresses: Vec<Address>,
    /// The MAC address that is wanted.
    pub mac: Option<[u8; 6]>,
    /// Passed through to the result.
    pub dns: Option<Dns>,
    /// What the plugins have said so far: with CHECK and DEL, all of them.
    pub previous: Option<CNIResult>,
    /// With GC: all that are to stay. `None`: it does not say.
    pub valid: Option<Vec<GcAttachment>>,
}

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Ipam {
    /// Weft's own.
    Own {
        /// Of this part of the range; the node's default, if none is wanted.
        subnet: Option<IpNet>,
        /// By whom routes go; the bridge's address, if none is wanted.
        gateway: Option<IpAddr>,
        /// Instead of a default route.
        routes: Option<Vec<Route>>,
    },
    /// Another plugin of this name.
    Other(String),
}

/// An address that is wanted, with or without the length of its prefix.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address {
    /// Which.
    pub ip: IpAddr,
    /// That of its subnet, if none is said.
    pub prefix: Option<u8>,
}

impl Config {
    /// # Errors
    /// What is known is of another type (6), makes no sense (7), or cannot be had (2).
    pub(crate) fn parse(
        map: &Map<String, Value>,
        (version, name): (SpecVersion, String),
        args: &Args,
    ) -> Result<Self, Error> {
        let all = Object::new(map, "");
        for key in ["isGateway", "ipMasq"] {
            if all.get::<bool>(key)? == Some(true) {
                let why =
                    format!("{key}: weft's nodes do that themselves (weft expose): leave it out");
                return Err(Error::UnsupportedNetworkConfiguration(why));
            }
        }
        let mtu = all.get::<u32>("mtu")?.filter(|mtu| *mtu != 0);
        if let Some(mtu) = mtu.filter(|mtu| !MTUS.contains(mtu)) {
            return Err(Error::InvalidNetworkConfig(format!(
                "mtu: {mtu} is not within 68 and 65535"
            )));
        }
        let ipam = all.object("ipam", "ipam.")?;
        let runtime = all.object("runtimeConfig", "runtimeConfig.")?;
        let outer = all.object("args", "args.")?;
        let inner = outer.map(|it| it.object("cni", "args.cni.")).transpose()?.flatten();
        Ok(Self {
            version,
            name,
            mtu,
            hairpin: all.get("hairpinMode")?.unwrap_or(true),
            lock: all.get("macspoofchk")?.unwrap_or(true),
            socket: path(all, "socket")?,
            state_dir: path(all, "stateDir")?,
            addresses: addresses([runtime, inner], args, ipam)?,
            mac: mac([runtime, inner], args)?,
            ipam: Ipam::parse(ipam)?,
            dns: all.get("dns")?,
            previous: all.get("prevResult")?,
            valid: valid(all)?,
        })
    }

    /// What is needed to take something away: whom to ask, and by which plugin addresses were given.
    pub(crate) fn parse_needed(
        map: &Map<String, Value>,
        (version, name): (SpecVersion, String),
    ) -> Result<Self, Error> {
        let all = Object::new(map, "");
        let ipam = all.object("ipam", "ipam.")?;
        let kind = ipam.map(|it| it.get::<String>("type")).transpose()?.flatten();
        Ok(Self {
            version,
            name,
            mtu: None,
            hairpin: true,
            lock: true,
            socket: path(all, "socket")?,
            state_dir: path(all, "stateDir")?,
            ipam: Ipam::of(kind.unwrap_or_default())?,
            addresses: Vec::new(),
            mac: None,
            dns: None,
            previous: None,
            valid: valid(all)?,
        })
    }
}

impl Ipam {
    fn parse(ipam: Option<Object<'_>>) -> Result<Self, Error> {
        let none = Self::Own { subnet: None, gateway: None, routes: None };
        let Some(ipam) = ipam else { return Ok(none) };
        let other = Self::of(ipam.get("type")?.unwrap_or_default())?;
        if let Self::Other(_) = other {
            return Ok(other);
        }
        let (subnet, gateway) = (ipam.get::<IpNet>("subnet")?, ipam.get("gateway")?);
        Ok(Self::Own { subnet, gateway, routes: ipam.get("routes")? })
    }

    /// By its type, and nothing else.
    fn of(kind: String) -> Result<Self, Error> {
        if OWN.contains(&kind.as_str()) {
            return Ok(Self::Own { subnet: None, gateway: None, routes: None });
        }
        if kind.contains(['/', '\\']) || kind.starts_with('.') {
            let why = format!("ipam.type: {kind:?} is no plugin's name");
            return Err(Error::InvalidNetworkConfig(why));
        }
        Ok(Self::Other(kind))
    }
}

/// Addresses that are wanted, by whoever comes first: the runtime, the operator, `CNI_ARGS`, the configuration.
fn addresses(
    objects: [Option<Object<'_>>; 2],
    args: &Args,
    ipam: Option<Object<'_>>,
) -> Result<Vec<Address>, Error> {
    let mut wanted: Option<Vec<String>> = None;
    for object in objects.into_iter().flatten() {
        if wanted.is_none() {
            wanted = object.get("ips")?;
        }
    }
    if wanted.is_none() {
        wanted = args.get("IP").map(|text| text.split(',').map(str::to_owned).collect());
    }
    if let Some(ipam) = ipam.filter(|_| wanted.is_none()) {
        wanted = ipam.get("ips")?;
    }
    wanted.unwrap_or_default().iter().map(|text| Address::parse(text)).collect()
}

impl Address {
    fn parse(text: &str) -> Result<Self, Error> {
        let net = || text.parse::<IpNet>().ok();
        let with = || net().map(|it| Self { ip: it.addr(), prefix: Some(it.prefix_len()) });
        let plain = || text.parse().ok().map(|ip| Self { ip, prefix: None });
        let wrong = || Error::InvalidNetworkConfig(format!("ips: {text:?} is no address"));
        with().or_else(plain).ok_or_else(wrong)
    }
}

fn mac(objects: [Option<Object<'_>>; 2], args: &Args) -> Result<Option<[u8; 6]>, Error> {
    let mut wanted: Option<String> = None;
    for object in objects.into_iter().flatten() {
        if wanted.is_none() {
            wanted = object.get::<String>("mac")?.filter(|text| !text.is_empty());
        }
    }
    let wanted = wanted.or_else(|| args.get("MAC").map(str::to_owned));
    let wrong = |text: &str| {
        Error::InvalidNetworkConfig(format!("mac: {text:?} is no MAC address of one station"))
    };
    wanted.map(|text| unicast(&text).ok_or_else(|| wrong(&text))).transpose()
}

fn unicast(text: &str) -> Option<[u8; 6]> {
    let octet = |part: &str| {
        let digits = part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
        u8::from_str_radix(part, 16).ok().filter(|_| digits)
    };
    let octets: Vec<u8> = text.split([':', '-']).map(octet).collect::<Option<_>>()?;
    let octets = <[u8; 6]>::try_from(octets).ok()?;
    (octets[0] & 1 == 0 && octets != [0; 6]).then_some(octets)
}

fn path(all: Object<'_>, key: &str) -> Result<Option<PathBuf>, Error> {
    let path = all.get::<PathBuf>(key)?.filter(|path| !path.as_os_str().is_empty());
    match path {
        Some(path) if !path.is_absolute() => {
            let why = format!("{key}: {} is no absolute path", path.display());
            Err(Error::InvalidNetworkConfig(why))
        }
        path => Ok(path),
    }
}

/// Go writes an empty list as `null`: nobody is to stay. Without the key nothing is said of that.
fn valid(all: Object<'_>) -> Result<Option<Vec<GcAttachment>>, Error> {
    const KEY: &str = "cni.dev/valid-attachments";
    Ok(all.get(KEY)?.or_else(|| all.has(KEY).then(Vec::new)))
}
