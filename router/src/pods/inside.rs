//! The pod's side: what is done in its network namespace, by a thread that enters it and ends there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::{fs, thread};

use api::PodRoute;
use futures_util::TryStreamExt;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::AddressHeaderFlags;
use netlink_packet_route::link::{LinkAttribute, LinkFlags};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteScope,
};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use switch::{Greeter, Mac};
use tokio::sync::oneshot;

use super::{PlugError, errno, kernel};
use crate::cidr::Cidr;
use crate::expose::cidr_of;

/// The loopback's index, in every namespace.
const LOOPBACK: u32 = 1;
/// What a file system of namespaces says of itself (include/uapi/linux/magic.h, `NSFS_MAGIC`).
const NSFS: rustix::fs::FsWord = 0x6e73_6673;
/// Our own namespace.
const OWN: &str = "/proc/thread-self/ns/net";

/// A pod's network namespace.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    inode: u64,
}

/// Why something is no pod's network namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// It cannot be opened.
    #[error("{path} cannot be opened: {why}")]
    Open {
        /// Where.
        path: String,
        /// Why.
        why: io::Error,
    },
    /// It is another kind of file.
    #[error("what was given is no network namespace")]
    Other,
    /// It is the host's.
    #[error("what was given is the host's own network namespace")]
    Own,
    /// The kernel refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Netns {
    /// That of a path.
    ///
    /// # Errors
    /// As [`NetnsError`] says.
    pub fn open(path: &str) -> Result<Self, NetnsError> {
        let failed = |why: Errno| NetnsError::Open { path: path.to_owned(), why: why.into() };
        // What a pipe or a device does when it is opened is not found out.
        let place = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let place = place.map_err(failed)?;
        if fstatfs(&place).map_err(failed)?.f_type != NSFS {
            return Err(NetnsError::Other);
        }
        let again = format!("/proc/self/fd/{}", place.as_raw_fd());
        let opened = openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        Self::of(opened.map_err(failed)?)
    }

    /// That of a descriptor.
    ///
    /// # Errors
    /// As [`NetnsError`] says.
    pub fn of(fd: OwnedFd) -> Result<Self, NetnsError> {
        use std::os::unix::fs::MetadataExt;
        let system = fstatfs(&fd).map_err(io::Error::from)?;
        if system.f_type != NSFS {
            return Err(NetnsError::Other);
        }
        let inode = rustix::fs::fstat(&fd).map_err(io::Error::from)?.st_ino;
        if fs::metadata(Path::new(OWN))?.ino() == inode {
            return Err(NetnsError::Own);
        }
        Ok(Self { fd, inode })
    }

    /// Its inode. That of a namespace which is gone may be another's later.
    pub const fn inode(&self) -> u64 {
        self.inode
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What a pod's interface is to have.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Its name.
    pub ifname: String,
    /// Its MAC address.
    pub mac: Mac,
    /// Its addresses.
    pub addresses: Vec<Cidr>,
    /// By whom routes go.
    pub gateway: Option<IpAddr>,
    /// Its routes.
    pub routes: Vec<PodRoute>,
}

/// Gives a pod's interface what it is to have, and sets it up. By what is returned it is announced.
///
/// # Errors
/// As [`PlugError`] says. Some of it may be done: whoever removes the interface undoes it.
pub async fn configure(netns: &Netns, setup: Setup) -> Result<Greeter, PlugError> {
    within(netns, async move |handle| apply(&handle, &setup).await).await
}

/// What a pod's interface lacks of what it was given.
///
/// # Errors
/// The namespace cannot be entered, or netlink refused.
pub async fn lacks(netns: &Netns, setup: Setup) -> Result<Vec<String>, PlugError> {
    within(netns, async move |handle| look(&handle, &setup).await).await
}

/// Runs this in the namespace, on a thread of its own: nobody else is ever in it.
async fn within<T: Send + 'static>(
    netns: &Netns,
    work: impl AsyncFnOnce(Handle) -> Result<T, PlugError> + Send + 'static,
) -> Result<T, PlugError> {
    let fd = netns.fd.try_clone().map_err(|why| PlugError::Netns(why.into()))?;
    let (to, done) = oneshot::channel();
    let thread = move || {
        let outcome = enter(&fd).and_then(|()| run(work));
        // Who asked may have gone.
        let _ = to.send(outcome);
    };
    let failed = |why| PlugError::Socket { what: "start a thread", why };
    thread::Builder::new().name("pod".to_owned()).spawn(thread).map_err(failed)?;
    let ended = || io::Error::other("the thread has panicked: please report this");
    done.await.unwrap_or_else(|_| Err(failed(ended())))
}

fn enter(fd: &OwnedFd) -> Result<(), PlugError> {
    let entered = move_into_link_name_space(fd.as_fd(), Some(LinkNameSpaceType::Network));
    entered.map_err(|why| PlugError::Netns(NetnsError::Io(why.into())))
}

/// Runs this with a netlink socket of its own, which ends with it. The kernel answers while it is being asked: whoever asks for what
/// takes long is kept.
pub(super) fn run<T>(
    work: impl AsyncFnOnce(Handle) -> Result<T, PlugError>,
) -> Result<T, PlugError> {
    let failed = |why| PlugError::Socket { what: "open netlink", why };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(failed)?.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
        tokio::spawn(connection);
        work(handle).await
    })
}

async fn apply(handle: &Handle, setup: &Setup) -> Result<Greeter, PlugError> {
    let loopback = LinkUnspec::new_with_index(LOOPBACK).up().build();
    let done = handle.link().change(loopback).execute().await;
    done.map_err(kernel("set the pod's loopback up"))?;
    let index = index_of(handle, &setup.ifname).await?;
    if setup.addresses.iter().any(|it| it.addr().is_ipv6()) {
        let failed = |why| PlugError::Socket { what: "let the pod's interface have IPv6", why };
        allow_ipv6(&setup.ifname).map_err(failed)?;
    }
    for cidr in &setup.addresses {
        let mut request = handle.address().add(index, cidr.addr(), cidr.prefix());
        if cidr.addr().is_ipv6() {
            // Nobody else has it: that is what leasing is for, and waiting a second for the same answer is not.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        request.execute().await.map_err(kernel("give the pod its address"))?;
    }
    let up = LinkUnspec::new_with_index(index).up().build();
    handle.link().change(up).execute().await.map_err(kernel("set the pod's interface up"))?;
    for route in routes(setup, index) {
        match handle.route().add(route).execute().await {
            // As that of its subnet, or one that others go by.
            Err(error) if errno(&error) == Some(libc::EEXIST) => {}
            outcome => outcome.map_err(kernel("give the pod its routes"))?,
        }
    }
    // Whoever asks for it has the kernel tell the other end at once that this one is up.
    index_of(handle, &setup.ifname).await?;
    let failed = |why| PlugError::Socket { what: "announce the pod", why };
    Greeter::open(index, setup.mac).map_err(failed)
}

/// Runtimes make namespaces in which no interface has IPv6, and count on the plugin.
fn allow_ipv6(ifname: &str) -> io::Result<()> {
    let switch = Path::new("/proc/sys/net/ipv6/conf").join(ifname).join("disable_ipv6");
    if fs::read_to_string(&switch)?.trim() == "0" { Ok(()) } else { fs::write(switch, "0") }
}

async fn look(handle: &Handle, setup: &Setup) -> Result<Vec<String>, PlugError> {
    let Setup { ifname, mac, addresses, .. } = setup;
    let mut found = handle.link().get().match_name(ifname.clone()).execute();
    let link = match found.try_next().await {
        Ok(link) => link,
        Err(error) if errno(&error) == Some(libc::ENODEV) => None,
        Err(why) => return Err(PlugError::Kernel { what: "find the pod's interface", why }),
    };
    let Some(link) = link else { return Ok(vec![format!("its interface {ifname}")]) };
    let index = link.header.index;
    let mut lacks = Vec::new();
    if !link.header.flags.contains(LinkFlags::Up) {
        lacks.push(format!("that {ifname} is up"));
    }
    if !link.attributes.contains(&LinkAttribute::Address(mac.0.to_vec())) {
        lacks.push(format!("its MAC address {mac}"));
    }
    let there = handle.address().get().execute().try_collect::<Vec<_>>().await;
    let there = there.map_err(kernel("read the pod's addresses"))?;
    let there = there.iter().filter(|it| it.header.index == index);
    let there: Vec<Cidr> = there.filter_map(cidr_of).collect();
    let missing = addresses.iter().filter(|it| !there.contains(it));
    lacks.extend(missing.map(|it| format!("its address {it}")));
    let on_link = addresses.iter().map(|it| it.network()).filter(|it| !is_host(*it));
    let on_link = on_link.map(|it| route(index, (it.addr(), it.prefix()), None, &|_| {}));
    let made = on_link.map(|it| (it, false));
    // Of these ADD makes none to what others go to.
    let asked = routes(setup, index).into_iter().map(|it| (it, true));
    for (wanted, optional) in made.chain(asked) {
        let ipv6 = wanted.header.address_family == AddressFamily::Inet6;
        let family = if ipv6 {
            RouteMessageBuilder::<Ipv6Addr>::new().build()
        } else {
            RouteMessageBuilder::<Ipv4Addr>::new().build()
        };
        let there = handle.route().get(family).execute().try_collect::<Vec<_>>().await;
        let there = there.map_err(kernel("read the pod's routes"))?;
        if !there.iter().any(|it| is_route(it, &wanted) || optional && was_first(it, &wanted)) {
            lacks.push(format!("its route to {}", target(&wanted)));
        }
    }
    Ok(lacks)
}

/// Whether a route is the one that was made, as far as it says.
fn is_route(there: &RouteMessage, wanted: &RouteMessage) -> bool {
    let same = there.header.destination_prefix_length == wanted.header.destination_prefix_length;
    let counts = |it: &&RouteAttribute| {
        matches!(
            it,
            RouteAttribute::Destination(_) | RouteAttribute::Gateway(_) | RouteAttribute::Oif(_)
        )
    };
    // The kernel leaves out the destination of a default route.
    let zero = |it: &RouteAttribute| {
        wanted.header.destination_prefix_length == 0 && matches!(it, RouteAttribute::Destination(_))
    };
    same && wanted
        .attributes
        .iter()
        .filter(counts)
        .all(|it| zero(it) || there.attributes.contains(it))
}

/// Whether it goes to the same by another interface: one that came before stays, as with the reference.
fn was_first(there: &RouteMessage, wanted: &RouteMessage) -> bool {
    let by = |of: &RouteMessage| {
        of.attributes
            .iter()
            .find_map(|it| if let RouteAttribute::Oif(index) = it { Some(*index) } else { None })
    };
    let to = |of: &RouteMessage| {
        let to = |it: &&RouteAttribute| matches!(it, RouteAttribute::Destination(_));
        of.attributes.iter().find(to).cloned()
    };
    let length = |of: &RouteMessage| of.header.destination_prefix_length;
    let same = length(there) == length(wanted) && (length(wanted) == 0 || to(there) == to(wanted));
    same && by(there).is_some() && by(there) != by(wanted)
}

/// Whether it has room for one address.
fn is_host(net: Cidr) -> bool {
    net.prefix() == if net.addr().is_ipv4() { 32 } else { 128 }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum of many variants")]
fn target(route: &RouteMessage) -> String {
    let to = route.attributes.iter().find_map(|it| match it {
        RouteAttribute::Destination(RouteAddress::Inet(to)) => Some(to.to_string()),
        RouteAttribute::Destination(RouteAddress::Inet6(to)) => Some(to.to_string()),
        _ => None,
    });
    let to = to.unwrap_or_else(|| "0.0.0.0".to_owned());
    format!("{to}/{}", route.header.destination_prefix_length)
}

async fn index_of(handle: &Handle, ifname: &str) -> Result<u32, PlugError> {
    let mut found = handle.link().get().match_name(ifname.to_owned()).execute();
    let gone = || PlugError::Socket {
        what: "find the pod's interface",
        why: io::Error::new(io::ErrorKind::NotFound, format!("{ifname} is not there")),
    };
    match found.try_next().await {
        Ok(link) => link.map(|link| link.header.index).ok_or_else(gone),
        Err(error) if errno(&error) == Some(libc::ENODEV) => Err(gone()),
        Err(why) => Err(PlugError::Kernel { what: "find the pod's interface", why }),
    }
}

/// Its routes, those by which others go first.
fn routes(setup: &Setup, index: u32) -> Vec<RouteMessage> {
    let on_link = |addr: IpAddr| {
        setup.addresses.iter().any(|it| {
            let host = Cidr::new(addr, if addr.is_ipv4() { 32 } else { 128 });
            host.is_some_and(|host| it.network().contains(host))
        })
    };
    let mut messages = Vec::new();
    let vias = setup.routes.iter().filter_map(|it| it.via.or(setup.gateway));
    let mut direct: Vec<IpAddr> = vias.filter(|via| !on_link(*via)).collect();
    direct.sort_unstable();
    direct.dedup();
    for via in direct {
        let prefix = if via.is_ipv4() { 32 } else { 128 };
        messages.push(route(index, (via, prefix), None, &|it| it.header.scope = RouteScope::Link));
    }
    for it in &setup.routes {
        let via = it.via.or(setup.gateway).filter(|via| via.is_ipv4() == it.to.addr().is_ipv4());
        let to = Cidr::new(it.to.addr(), it.to.prefix()).map(|to| to.network().addr());
        let to = to.unwrap_or_else(|| it.to.addr());
        messages.push(route(index, (to, it.to.prefix()), via, &|message| {
            if via.is_none() {
                message.header.scope = RouteScope::Link;
            }
            if let Some(scope) = it.scope {
                message.header.scope = scope.into();
            }
            let metrics = [it.mtu.map(RouteMetric::Mtu), it.advmss.map(RouteMetric::Advmss)];
            let metrics: Vec<_> = metrics.into_iter().flatten().collect();
            if !metrics.is_empty() {
                message.attributes.push(RouteAttribute::Metrics(metrics));
            }
            message.attributes.extend(it.priority.map(RouteAttribute::Priority));
            message.attributes.extend(it.table.map(RouteAttribute::Table));
        }));
    }
    messages
}

fn route(
    index: u32,
    (to, prefix): (IpAddr, u8),
    via: Option<IpAddr>,
    edit: &dyn Fn(&mut RouteMessage),
) -> RouteMessage {
    let mut message = match (to, via) {
        (IpAddr::V4(to), via) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to, prefix)
                .output_interface(index);
            match via {
                Some(IpAddr::V4(via)) => builder.gateway(via).build(),
                Some(IpAddr::V6(_)) | None => builder.build(),
            }
        }
        (IpAddr::V6(to), via) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to, prefix)
                .output_interface(index);
            match via {
                Some(IpAddr::V6(via)) => builder.gateway(via).build(),
                Some(IpAddr::V4(_)) | None => builder.build(),
            }
        }
    };
    edit(&mut message);
    message
}
