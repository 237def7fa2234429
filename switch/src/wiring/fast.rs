//! The kernel's vxlan device, a second uplink of the bridge: made, adopted, mended, removed.
//!
//! It is one device for all peers: no interface, no address and no remote of its own, nothing learned;
//! its FDB says who is where ([`Fdb`](crate::Fdb)). Its name is weft's: what else bears it is removed,
//! as is a vxlan device that differs in what can only be chosen when one is made. One that fits is
//! adopted with all that it knows, also where it is ours and has got another name.
//!
//! The kernel does not tell whether a vxlan device sends over IPv4 or IPv6. So the address that we give
//! it says so, and a device with another address is none that fits.

use std::fmt;
use std::net::Ipv6Addr;

use netlink_packet_route::link::{InfoVxlan, VxlanDf};
use rtnetlink::LinkVxlan;
use serde::Serialize;

use super::link::errno;
use super::port::PortFlags;
use super::{Change, Installed, Link, Wiring, WiringError};
use crate::{Mac, Mtu, Vni};

/// What vxlan device is to be there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FastSpec {
    /// Its name.
    pub name: String,
    /// The overlay.
    pub vni: Vni,
    /// The UDP port on which it hears and to which it sends. While it is up it has that port.
    pub port: u16,
    /// Whether the underlay is IPv6.
    pub ipv6: bool,
}

/// What has become of the vxlan device.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FastState {
    /// It is not asked for.
    #[default]
    Off,
    /// It is there as it should be, and up; with this interface index.
    Up(u32),
    /// The kernel has no vxlan devices. It is not asked again before the TAP is opened anew.
    Unsupported,
    /// A socket has the UDP port, or another vxlan device has the VNI on it. The device is down, or
    /// not there; it is tried again each time.
    Busy,
    /// This process may not do it.
    Denied,
    /// The kernel refuses with this errno. It is tried again each time.
    Refused(i32),
}

/// What of a vxlan device can only be chosen when it is made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shape {
    id: u32,
    port: u16,
    learning: bool,
    df: VxlanDf,
    checksum: bool,
    /// It has an interface, an address or a remote of its own.
    bound: bool,
    /// It takes its tunnels from elsewhere, answers for others, or speaks a dialect.
    special: bool,
}

impl FastSpec {
    /// A device by the name that belongs to its port: `vxlan-6784`.
    pub fn new(vni: Vni, port: u16, ipv6: bool) -> Self {
        Self { name: format!("vxlan-{port}"), vni, port, ipv6 }
    }

    fn shape(&self) -> Shape {
        Shape { id: self.vni.into(), port: self.port, ..Shape::PLAIN }
    }
}

impl FastState {
    /// The device's interface index, while it is as it should be.
    pub fn index(self) -> Option<u32> {
        if let Self::Up(index) = self { Some(index) } else { None }
    }

    /// What a refusal means when a device was to be made.
    fn of_making(self) -> Self {
        let unsupported = [libc::EOPNOTSUPP, libc::ENODEV, libc::EPROTONOSUPPORT];
        if unsupported.map(Self::Refused).contains(&self) {
            Self::Unsupported
        } else if self == Self::Refused(libc::EEXIST) {
            Self::Busy
        } else {
            self
        }
    }
}

impl fmt::Display for FastState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => write!(f, "not asked for"),
            Self::Up(_) => write!(f, "up"),
            Self::Unsupported => write!(f, "this kernel has no vxlan devices"),
            Self::Busy => write!(
                f,
                "its UDP port is in use, or its VNI on that port, or its name; see `ss -ulpn` and `ip -d link`"
            ),
            Self::Denied => write!(f, "not permitted; CAP_NET_ADMIN is needed"),
            Self::Refused(errno) => {
                write!(f, "refused: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}

impl From<WiringError> for FastState {
    fn from(error: WiringError) -> Self {
        let number = match &error {
            WiringError::Denied(_) => return Self::Denied,
            WiringError::Netlink(_, error) => errno(error),
            WiringError::NotABridge(_)
            | WiringError::NotATap(_)
            | WiringError::Elsewhere(_)
            | WiringError::BridgeInUse(..)
            | WiringError::Busy(_)
            | WiringError::Tap(..)
            | WiringError::TapGone(_)
            | WiringError::Socket(_) => None,
        };
        match number {
            Some(libc::EADDRINUSE) => Self::Busy,
            number => Self::Refused(number.unwrap_or(libc::EIO)),
        }
    }
}

impl Shape {
    const PLAIN: Self = Self {
        id: 0,
        port: 0,
        learning: false,
        df: VxlanDf::Inherit,
        checksum: true,
        bound: false,
        special: false,
    };

    /// Whether the kernel makes no other one like this beside it.
    pub(super) fn is_in_way_of(self, spec: &FastSpec) -> bool {
        (self.id, self.port) == (spec.vni.into(), spec.port)
    }

    /// What the kernel says of a vxlan device. One that says nothing of DF is too old to know it.
    pub(super) fn of(infos: &[InfoVxlan]) -> Self {
        let mut shape = Self::PLAIN;
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
        for info in infos {
            match info {
                InfoVxlan::Id(id) => shape.id = *id,
                InfoVxlan::Port(port) => shape.port = *port,
                InfoVxlan::Learning(on) => shape.learning = *on,
                InfoVxlan::Df(df) => shape.df = *df,
                InfoVxlan::UDPCsum(on) => shape.checksum &= *on,
                InfoVxlan::UDPZeroCsumTX(on) => shape.checksum &= !*on,
                InfoVxlan::Link(_)
                | InfoVxlan::Group(_)
                | InfoVxlan::Group6(_)
                | InfoVxlan::Local(_)
                | InfoVxlan::Local6(_) => shape.bound = true,
                InfoVxlan::CollectMetadata(on)
                | InfoVxlan::Vnifilter(on)
                | InfoVxlan::Proxy(on)
                | InfoVxlan::RemCsumTX(on)
                | InfoVxlan::RemCsumRX(on) => shape.special |= *on,
                InfoVxlan::Gbp | InfoVxlan::Gpe => shape.special = true,
                _ => {}
            }
        }
        shape
    }
}

impl Wiring {
    /// Removes the vxlan devices that weft has made for this, whatever they are called: while one is up
    /// nobody else can have its UDP port. Tells whether there were any.
    ///
    /// # Errors
    /// Netlink refused.
    pub async fn remove_fast(&self, spec: &FastSpec) -> Result<bool, WiringError> {
        let bridge = self.links.find(&self.spec.bridge).await?.map(|it| it.index);
        let found = self.devices(spec, bridge).await?;
        for link in &found {
            self.links.delete(link.index).await?;
        }
        Ok(!found.is_empty())
    }

    /// Sees to the vxlan device, and notes what has become of it.
    pub(super) async fn install_fast(&mut self, bridge: &Link, installed: &mut Installed) {
        installed.fast = match &self.spec.fast {
            None => FastState::Off,
            Some(_) if self.without_vxlan => FastState::Unsupported,
            Some(spec) => match self.try_fast(spec, bridge, installed).await {
                Ok(index) => FastState::Up(index),
                Err(state) => state,
            },
        };
        self.without_vxlan = installed.fast == FastState::Unsupported;
    }

    async fn try_fast(
        &self,
        spec: &FastSpec,
        bridge: &Link,
        installed: &mut Installed,
    ) -> Result<u32, FastState> {
        let mut device = self.fitting_device(spec, installed).await?;
        installed.fast_port = Some(device.index);
        if !device.is_ours() {
            self.mark(&spec.name).await?;
            installed.done.push(Change::FastMarked);
        }
        if device.talkative {
            self.silence(&spec.name).await?;
            installed.done.push(Change::FastSilenced);
        }
        self.set_mtu_of(&mut device, Mtu::UPLINK, Change::FastMtu, installed).await?;
        if device.controller != Some(bridge.index) {
            self.plug(&mut device, bridge).await?;
            installed.done.push(Change::FastPlugged);
        }
        if self.set_flags(&device, PortFlags::uplink(false, true)).await? {
            installed.done.push(Change::FastFlags);
        }
        self.set_up(&device, Change::FastUp, installed).await?;
        self.set_forwarding(&device, bridge, Change::FastForwards, installed).await?;
        Ok(device.index)
    }

    /// The device that is there, if it fits, else a new one.
    async fn fitting_device(
        &self,
        spec: &FastSpec,
        installed: &mut Installed,
    ) -> Result<Link, FastState> {
        let (mut fitting, mut made) = (None, Change::FastMade);
        match self.links.find(&spec.name).await? {
            Some(link) if self.fits(&link, spec) => fitting = Some(link),
            Some(link) if [installed.bridge, installed.tap].contains(&link.index) => {
                return Err(FastState::Refused(libc::EEXIST));
            }
            Some(link) => {
                self.links.delete(link.index).await?;
                made = Change::FastReplaced;
            }
            None => {}
        }
        if let Some(link) = self.clear_strays(spec, fitting, installed).await? {
            return Ok(link);
        }
        self.make_device(spec).await?;
        installed.done.push(made);
        let made = self.links.find(&spec.name).await?;
        made.ok_or(FastState::Refused(libc::ENODEV))
    }

    /// Whether a link is as the device has to be in what can only be chosen when it is made.
    pub(super) fn fits(&self, link: &Link, spec: &FastSpec) -> bool {
        link.shape == Some(spec.shape()) && link.mac == Some(self.fast_mac(spec))
    }

    async fn make_device(&self, spec: &FastSpec) -> Result<(), FastState> {
        let mut device = LinkVxlan::new(&spec.name, spec.vni.into())
            .port(spec.port)
            .learning(false)
            .udp_csum(true)
            .df(VxlanDf::Inherit)
            .mtu(Mtu::UPLINK.octets().into())
            .address(self.fast_mac(spec).0.to_vec());
        if spec.ipv6 {
            device = device.local6(Ipv6Addr::UNSPECIFIED);
        }
        let made = self.links.add(device.build(), "making the vxlan device").await;
        made.map_err(|error| FastState::from(error).of_making())
    }

    /// Derived from the bridge's as the TAP's is; IPv4 and IPv6 differ.
    fn fast_mac(&self, spec: &FastSpec) -> Mac {
        let [.., d, e, f] = self.spec.mac.0;
        Mac([if spec.ipv6 { 0xf6 } else { 0xfa }, 0x77, 0x74, d, e, f])
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_device_is_named_after_its_port() {
        assert_eq!(FastSpec::new(Vni::DEFAULT, 6784, false).name, "vxlan-6784");
    }

    #[test]
    fn a_device_as_we_make_it_fits_also_where_the_kernel_knows_no_df() {
        let wanted = FastSpec::new(Vni::DEFAULT, 6784, false).shape();

        assert_eq!(Shape::of(&ours()), wanted);
        let without_df: Vec<_> =
            ours().into_iter().filter(|it| !matches!(it, InfoVxlan::Df(_))).collect();
        assert_eq!(Shape::of(&without_df), wanted);
    }

    #[test]
    fn a_device_that_differs_in_what_cannot_be_changed_does_not_fit() {
        let wanted = FastSpec::new(Vni::DEFAULT, 6784, false).shape();
        for differing in [
            InfoVxlan::Id(1),
            InfoVxlan::Port(4789),
            InfoVxlan::Learning(true),
            InfoVxlan::Df(VxlanDf::Set),
            InfoVxlan::UDPCsum(false),
            InfoVxlan::UDPZeroCsumTX(true),
            InfoVxlan::Link(2),
            InfoVxlan::Local(Ipv4Addr::LOCALHOST),
            InfoVxlan::Group(Ipv4Addr::LOCALHOST),
            InfoVxlan::CollectMetadata(true),
            InfoVxlan::Gpe,
        ] {
            let infos = [ours(), vec![differing.clone()]].concat();

            assert_ne!(Shape::of(&infos), wanted, "{differing:?}");
        }
    }

    #[test]
    fn a_kernel_without_vxlan_is_told_from_one_where_the_place_is_taken() {
        let of = |errno| FastState::Refused(errno).of_making();

        assert_eq!(of(libc::EOPNOTSUPP), FastState::Unsupported);
        assert_eq!(of(libc::EEXIST), FastState::Busy);
        assert_eq!(of(libc::EINVAL), FastState::Refused(libc::EINVAL));
        assert_eq!(FastState::Denied.of_making(), FastState::Denied);
    }

    /// As Linux 6.18 tells of it.
    fn ours() -> Vec<InfoVxlan> {
        vec![
            InfoVxlan::Id(6784),
            InfoVxlan::Ttl(0),
            InfoVxlan::Learning(false),
            InfoVxlan::CollectMetadata(false),
            InfoVxlan::Port(6784),
            InfoVxlan::UDPCsum(true),
            InfoVxlan::UDPZeroCsumTX(false),
            InfoVxlan::Df(VxlanDf::Inherit),
            InfoVxlan::Localbypass(true),
        ]
    }
}
