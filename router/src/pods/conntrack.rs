//! Flows of UDP that the kernel remembers of whoever had an address before.
//!
//! A client that goes on sending keeps its entry alive, and with it where a service's address was translated to, or from which port the pod
//! before was masqueraded: what it sends would reach the new pod as what it is not. TCP finds that out by itself.
//!
//! Netlink's subsystem `ctnetlink` (`net/netfilter/nf_conntrack_netlink.c`).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

use futures_util::StreamExt;
use netlink_packet_core::{
    DefaultNla, Emitable, NLA_F_NESTED, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Protocol, Tuple,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};
use netlink_proto::ConnectionHandle;
use netlink_proto::sys::{SocketAddr, protocols::NETLINK_NETFILTER};
use tokio::task::spawn_blocking;

/// How many flows are remembered in this network namespace; there is none without the module.
const COUNT: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
/// `IPCTNL_MSG_CT_GET` (`include/uapi/linux/netfilter/nfnetlink_conntrack.h`).
const GET: u8 = 1;
/// `CTA_TUPLE_ORIG`: the ends of a flow, as its first packet named them.
const TUPLE_ORIG: u16 = 1;
/// `CTA_ZONE`: two flows of one tuple may differ in it.
const ZONE: u16 = 18;
/// `CTA_FILTER`, since 5.8: the kernel sends what is asked for only. Earlier ones send all.
const FILTER: u16 = 25;
/// `CTA_FILTER_ORIG_FLAGS`: what of that tuple counts.
const FILTER_ORIG: u16 = 1;
/// `CTA_FILTER_F_CTA_PROTO_NUM` (`include/net/netfilter/nf_internals.h`).
const PROTOCOL: u32 = 0b1000;

const FAMILIES: [NetfilterProtoFamily; 2] =
    [NetfilterProtoFamily::IPv4, NetfilterProtoFamily::IPv6];

type Handle = ConnectionHandle<NetfilterMessage>;

/// A flow, by what it is deleted by.
type Flow = Vec<ConntrackAttribute>;

/// Has the kernel forget all flows of UDP from and to these addresses, translated or not. Tells how many there were. Each look goes over
/// the whole table, and the kernel does that while it is asked: on a thread of its own.
///
/// # Errors
/// The kernel refuses.
pub async fn forget_flows(addrs: BTreeSet<IpAddr>) -> io::Result<u64> {
    let forgotten = aside(async move |handle| {
        let mut forgotten = 0;
        for family in FAMILIES {
            let ipv4 = family == NetfilterProtoFamily::IPv4;
            if !addrs.iter().any(|it| it.is_ipv4() == ipv4) {
                continue;
            }
            let of = |flow: &Flow| flow.iter().flat_map(sources).any(|it| addrs.contains(&it));
            let mut found = Vec::new();
            flows(&handle, family, |flow| {
                if of(&flow) {
                    found.push(flow.into_iter().filter(names).collect());
                }
            })
            .await?;
            for flow in found {
                forgotten += u64::from(forget(&handle, family, flow).await?);
            }
        }
        Ok(forgotten)
    });
    Ok(forgotten.await?.unwrap_or_default())
}

/// The addresses that something sends UDP from, of all flows, as their first packets and as answers to them name them.
///
/// # Errors
/// The kernel refuses.
pub async fn flow_ends() -> io::Result<BTreeSet<IpAddr>> {
    let ends = aside(async move |handle| {
        let mut ends = BTreeSet::new();
        for family in FAMILIES {
            flows(&handle, family, |flow| ends.extend(flow.iter().flat_map(sources))).await?;
        }
        Ok(ends)
    });
    Ok(ends.await?.unwrap_or_default())
}

/// Runs this on a thread that may wait, if the kernel remembers any flow.
async fn aside<T: Send + 'static>(
    work: impl AsyncFnOnce(Handle) -> io::Result<T> + Send + 'static,
) -> io::Result<Option<T>> {
    if !fs::read_to_string(COUNT).is_ok_and(|it| it.trim() != "0") {
        return Ok(None);
    }
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = netlink_proto::new_connection(NETLINK_NETFILTER)?;
            tokio::spawn(connection);
            work(handle).await.map(Some)
        })
    };
    spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Goes through the flows of UDP of a family.
async fn flows(
    handle: &Handle,
    family: NetfilterProtoFamily,
    mut each: impl FnMut(Flow),
) -> io::Result<()> {
    let tuple = [Tuple::Proto(vec![ProtoTuple::Protocol(Protocol::Udp)])];
    let mut octets = vec![0; tuple.as_slice().buffer_len()];
    tuple.as_slice().emit(&mut octets);
    let attributes = vec![
        DefaultNla::new(TUPLE_ORIG | NLA_F_NESTED, octets),
        DefaultNla::new(FILTER | NLA_F_NESTED, number(FILTER_ORIG, PROTOCOL)),
    ];
    // The crate's own `Get` would say of the filter that it is not nested.
    let what = ConntrackMessage::Other { message_type: GET, attributes };
    let asked = message(family, what, NLM_F_DUMP);
    let mut told = handle.request(asked, kernel()).map_err(io::Error::other)?;
    while let Some(message) = told.next().await {
        check(&message)?;
        if let NetlinkPayload::InnerMessage(message) = message.payload
            && let NetfilterMessageInner::Conntrack(ConntrackMessage::New(flow)) = message.inner
        {
            each(flow);
        }
    }
    Ok(())
}

/// Whether it was still there.
async fn forget(handle: &Handle, family: NetfilterProtoFamily, flow: Flow) -> io::Result<bool> {
    let asked = message(family, ConntrackMessage::Delete(flow), NLM_F_ACK);
    let mut told = handle.request(asked, kernel()).map_err(io::Error::other)?;
    while let Some(message) = told.next().await {
        match check(&message) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            outcome => outcome?,
        }
    }
    Ok(true)
}

/// An acknowledgement is an error without a number.
fn check(message: &NetlinkMessage<NetfilterMessage>) -> io::Result<()> {
    if let NetlinkPayload::Error(error) = &message.payload
        && error.code.is_some()
    {
        return Err(error.to_io());
    }
    Ok(())
}

fn message(
    family: NetfilterProtoFamily,
    what: ConntrackMessage,
    flags: u16,
) -> NetlinkMessage<NetfilterMessage> {
    let message = NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), what);
    let mut message = NetlinkMessage::from(message);
    message.header.flags = NLM_F_REQUEST | flags;
    message
}

fn kernel() -> SocketAddr {
    SocketAddr::new(0, 0)
}

/// An attribute of one number, in the order of this machine's octets.
fn number(kind: u16, number: u32) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend(8u16.to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(number.to_ne_bytes());
    octets
}

/// Whether it belongs to what a flow is deleted by.
fn names(attribute: &ConntrackAttribute) -> bool {
    matches!(attribute, ConntrackAttribute::CtaTupleOrig(_))
        || matches!(attribute, ConntrackAttribute::Other(it) if netlink_packet_core::Nla::kind(it) == ZONE)
}

/// From where this end of a flow of UDP sends: kernels that know no filter send flows of all protocols.
fn sources(attribute: &ConntrackAttribute) -> Vec<IpAddr> {
    let (ConntrackAttribute::CtaTupleOrig(tuple) | ConntrackAttribute::CtaTupleReply(tuple)) =
        attribute
    else {
        return Vec::new();
    };
    let udp = ProtoTuple::Protocol(Protocol::Udp);
    if !tuple.iter().any(|it| matches!(it, Tuple::Proto(of) if of.contains(&udp))) {
        return Vec::new();
    }
    let source = |it: &IPTuple| match it {
        IPTuple::SourceAddress(addr) => Some(*addr),
        IPTuple::DestinationAddress(_) | IPTuple::Other(_) | _ => None,
    };
    let ips = tuple.iter().filter_map(|it| if let Tuple::Ip(of) = it { Some(of) } else { None });
    ips.flatten().filter_map(source).collect()
}
