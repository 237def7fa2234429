use std::io;

use futures_util::TryStreamExt;
use netlink_packet_core::Nla;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, BridgePortState, BridgeStpState, In6AddrGenMode, InfoBridge,
    InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoTun, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder};

use super::fast::Shape;
use super::port::PortFlags;
use super::{ALIAS, WiringError};
use crate::{Mac, Mtu};

/// An attribute of TUN/TAP devices (include/uapi/linux/if_link.h).
const IFLA_TUN_MULTI_QUEUE: u16 = 7;

/// A link as the kernel describes it.
#[derive(Debug, Default)]
pub struct Link {
    /// Its interface index.
    pub index: u32,
    /// Whether it is set up.
    pub up: bool,
    /// Its MTU.
    pub mtu: u32,
    /// The bridge it is a port of.
    pub controller: Option<u32>,
    /// Frames dropped on their way out of the device.
    pub tx_dropped: u64,
    /// As a bridge port: its flags.
    pub(super) port: PortFlags,
    /// As a bridge port: does not forward, though its link is up. The kernel lets one that goes up forward.
    pub(super) is_stopped: bool,
    /// As a bridge: STP decides which ports forward.
    pub(super) stp: bool,
    /// As a TAP: several queues can be attached.
    pub(super) multi_queue: bool,
    pub(super) mac: Option<Mac>,
    /// As a vxlan device: what can only be chosen when it is made.
    pub(super) shape: Option<Shape>,
    /// Makes itself IPv6 addresses.
    pub(super) talkative: bool,
    pub(super) name: String,
    kind: Option<InfoKind>,
    alias: Option<String>,
    snooping: bool,
}

impl Link {
    /// Whether weft made it.
    pub fn is_ours(&self) -> bool {
        self.alias.as_deref() == Some(ALIAS)
    }

    /// Takes note that it was marked as ours.
    pub(super) fn adopt(&mut self) {
        self.alias = Some(ALIAS.into());
    }

    pub(super) fn is_bridge(&self) -> bool {
        self.kind == Some(InfoKind::Bridge)
    }

    pub(super) fn is_veth(&self) -> bool {
        self.kind == Some(InfoKind::Veth)
    }

    pub(super) fn is_tap(&self) -> bool {
        self.kind == Some(InfoKind::Tun)
    }

    /// What weft would have chosen otherwise.
    pub(super) fn differing(&self, mtu: Mtu) -> Vec<&'static str> {
        let settings = [
            (self.stp, "STP is on"),
            (self.snooping, "multicast snooping is on"),
            (self.mtu > u32::from(mtu.octets()), "its MTU is larger than the overlay's"),
            (self.mtu < u32::from(mtu.octets()), "its MTU is smaller than the overlay's"),
        ];
        settings.into_iter().filter(|(differs, _)| *differs).map(|(_, what)| what).collect()
    }
}

impl From<&LinkMessage> for Link {
    fn from(message: &LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            up: message.header.flags.contains(LinkFlags::Up),
            ..Self::default()
        };
        let running = message.header.flags.contains(LinkFlags::Running);
        #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of 70 variants")]
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(0) => {}
                LinkAttribute::Controller(index) => link.controller = Some(*index),
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Address(octets) => {
                    link.mac = octets.as_slice().try_into().ok().map(Mac);
                }
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
                LinkAttribute::Stats64(stats) => link.tx_dropped = stats.tx_dropped,
                LinkAttribute::AfSpecUnspec(specs) => link.talkative = talks(specs),
                LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| link.note(info)),
                _ => {}
            }
        }
        link.is_stopped &= running;
        link
    }
}

impl Link {
    #[expect(clippy::wildcard_enum_match_arm, reason = "foreign enums of many variants")]
    fn note(&mut self, info: &LinkInfo) {
        match info {
            LinkInfo::Kind(kind) => self.kind = Some(kind.clone()),
            LinkInfo::Data(InfoData::Bridge(infos)) => {
                for info in infos {
                    match info {
                        InfoBridge::StpState(state) => {
                            self.stp = *state != BridgeStpState::Disabled
                        }
                        InfoBridge::MulticastSnooping(on) => self.snooping = *on,
                        _ => {}
                    }
                }
            }
            LinkInfo::Data(InfoData::Vxlan(infos)) => self.shape = Some(Shape::of(infos)),
            LinkInfo::Data(InfoData::Tun(infos)) => {
                let flag = |info: &InfoTun| {
                    let InfoTun::Other(nla) = info else { return false };
                    let mut value = vec![0; nla.value_len()];
                    nla.emit_value(&mut value);
                    nla.kind() == IFLA_TUN_MULTI_QUEUE && value.first() == Some(&1)
                };
                self.multi_queue = infos.iter().any(flag);
            }
            LinkInfo::PortData(InfoPortData::BridgePort(infos)) => {
                for info in infos {
                    self.port.note(info);
                    if let InfoBridgePort::State(state) = info {
                        self.is_stopped = *state != BridgePortState::Forwarding;
                    }
                }
            }
            _ => {}
        }
    }
}

fn talks(specs: &[AfSpecUnspec]) -> bool {
    let of_ipv6 = |spec: &AfSpecUnspec| {
        if let AfSpecUnspec::Inet6(specs) = spec { specs.clone() } else { Vec::new() }
    };
    let talks = |spec: AfSpecInet6| matches!(spec, AfSpecInet6::AddrGenMode(mode) if mode != In6AddrGenMode::None);
    specs.iter().flat_map(of_ipv6).any(talks)
}

/// Requests about links.
#[derive(Debug)]
pub(super) struct Links(Handle);

impl Links {
    /// Opens a netlink socket.
    pub(super) fn open() -> io::Result<Self> {
        crate::netlink::connect().map(Self)
    }

    pub(super) async fn find(&self, name: &str) -> Result<Option<Link>, WiringError> {
        let mut found = self.0.link().get().match_name(name.to_owned()).execute();
        match found.try_next().await {
            // The kernel looks at alternative names, too.
            Ok(message) => Ok(message.as_ref().map(Link::from).filter(|link| link.name == name)),
            Err(error) if errno(&error) == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error_of("looking for a link", error)),
        }
    }

    pub(super) async fn all(&self) -> Result<Vec<Link>, WiringError> {
        let all = self.0.link().get().execute().try_collect::<Vec<_>>().await;
        let all = all.map_err(|error| error_of("reading the links", error))?;
        Ok(all.iter().map(Link::from).collect())
    }

    /// The TAPs of ours that are ports of this bridge.
    pub(super) async fn uplinks_of(&self, bridge: u32) -> Result<Vec<Link>, WiringError> {
        let links = self.all().await?.into_iter();
        let uplink =
            |link: &Link| link.controller == Some(bridge) && link.is_tap() && link.is_ours();
        Ok(links.filter(uplink).collect())
    }

    /// The vxlan devices of ours. The kernel picks those of the kind, so that it may be asked often.
    pub(super) async fn devices(&self) -> Result<Vec<Link>, WiringError> {
        let mut request = self.0.link().get();
        let kind = LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Vxlan)]);
        request.message_mut().attributes.push(kind);
        let found = request.execute().try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| error_of("reading the vxlan devices", error))?;
        let ours = |link: &Link| link.is_ours() && link.shape.is_some();
        Ok(found.iter().map(Link::from).filter(ours).collect())
    }

    pub(super) async fn add(
        &self,
        message: LinkMessage,
        what: &'static str,
    ) -> Result<(), WiringError> {
        self.0.link().add(message).execute().await.map_err(|error| error_of(what, error))
    }

    pub(super) async fn change(
        &self,
        message: LinkMessage,
        what: &'static str,
    ) -> Result<(), WiringError> {
        self.0.link().change(message).execute().await.map_err(|error| error_of(what, error))
    }

    pub(super) async fn delete(&self, index: u32) -> Result<(), WiringError> {
        let deleted = self.0.link().del(index).execute().await;
        deleted.map_err(|error| error_of("removing a link", error))
    }
}

pub(super) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    if let rtnetlink::Error::NetlinkError(message) = error {
        Some(-message.raw_code())
    } else {
        None
    }
}

fn error_of(what: &'static str, error: rtnetlink::Error) -> WiringError {
    match errno(&error) {
        Some(libc::EPERM) => WiringError::Denied(what),
        _ => WiringError::Netlink(what, error),
    }
}

/// `LinkBridge` spells it as an enum of the wire's values.
pub(super) trait StpOff {
    fn set_stp_off(self) -> Self;
}

impl StpOff for LinkMessageBuilder<LinkBridge> {
    fn set_stp_off(self) -> Self {
        self.stp_state(BridgeStpState::Disabled)
    }
}
