//! A node: a network namespace with a mount namespace of its own.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::host::Host;
use super::pod::{Pod, PodSpec};
use super::proc::Proc;
use super::underlay::FarEnd;
use super::wait::poll;

/// How long the holder may take to build its mounts.
const HOLDER_WAIT: Duration = Duration::from_secs(10);

/// What makes a mount namespace a node: its own `/run` and `/var/lib`, its own layer over
/// `/etc` with its own machine-id, and the `/sys` of its network namespace. `/run/netns` stays the
/// machine's, so that pods have a path. Slave propagation brings later namespaces in and lets
/// deleted ones go.
const MOUNTS: &str = "
mkdir -p /run/netns
mount -t tmpfs -o mode=755 lab /mnt
mkdir -p /mnt/netns /mnt/etc /mnt/work /mnt/lib
mount --rbind /run/netns /mnt/netns
mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work lab /etc
mkdir -p /etc/cni/net.d
tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id
mount --bind /mnt/lib /var/lib
mkdir -p /mnt/run
mount -t tmpfs -o mode=755 lab /run
mkdir -p /run/netns /run/lock
mount --rbind /mnt/netns /run/netns
umount -l /mnt
mount -t sysfs sysfs /sys
echo ready
exec sleep infinity";

/// How long a port may take to forward, which is the kernel's own affair: it looks at links that came up once a second, and at a
/// hundred of the machine's at a time (net/core/link_watch.c). Of 180 ports one took 2.01 s, the others 53 ms at most.
const FORWARDING_WAIT: Duration = Duration::from_secs(20);

/// A node of the lab. Clones are the same node. Commands run in both of its namespaces.
#[derive(Clone, Debug)]
pub struct Node(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    addr: IpAddr,
    /// Keeps the mount namespace alive.
    holder: Proc,
    /// Where `eth0` ends.
    far: FarEnd,
    /// Pods that were made here, by host.
    pods: Mutex<Vec<Host>>,
}

impl Deref for Node {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.0.host
    }
}

impl Node {
    /// Starts the holder of the mount namespace.
    pub(super) fn start(host: &Host, addr: IpAddr, far: FarEnd) -> Result<Self> {
        let script = ["unshare", "--mount", "--propagation", "slave", "sh", "-ec", MOUNTS];
        let mut holder = host.spawn_quietly(&script)?;
        holder.wait_for_line("ready", HOLDER_WAIT).context("a node's mounts")?;
        let host = host.with_mounts_of(holder.pid());
        Ok(Self(Arc::new(Inner { host, addr, holder, far, pods: Mutex::default() })))
    }

    /// Its address on the underlay.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.0.addr
    }

    /// A pod with one IPv4 address in CIDR form, not plugged yet.
    pub fn pod(&self, name: &str, cidr: &str) -> Result<Pod> {
        self.add_pod(&PodSpec::new(name, cidr))
    }

    /// A pod as `spec` says, not plugged yet.
    pub fn add_pod(&self, spec: &PodSpec) -> Result<Pod> {
        let pod = Pod::create(self, spec)?;
        self.0.pods.lock().unwrap_or_else(PoisonError::into_inner).push((*pod).clone());
        Ok(pod)
    }

    /// Makes the pod's host end a port of the bridge `weave`.
    pub fn plug(&self, pod: &Pod) -> Result<()> {
        self.plug_into(pod, "weave")
    }

    /// Makes the pod's host end a port of `bridge`, and waits until it forwards: the kernel may
    /// take a second to see that a link has come up. A bridge with STP takes longer, and is not
    /// waited for.
    pub fn plug_into(&self, pod: &Pod, bridge: &str) -> Result<()> {
        let port = pod.host_if();
        self.ip(&format!("link set {port} master {bridge}"))?;
        let show = ["bridge", "link", "show", "dev", &port];
        poll(FORWARDING_WAIT, || {
            let forwards = self.run(&show)?.contains("state forwarding");
            Ok(forwards.then_some(()))
        })?;
        Ok(())
    }

    /// Its MAC on the underlay.
    pub fn mac(&self) -> Result<String> {
        Ok(self.run(&["cat", "/sys/class/net/eth0/address"])?.trim().to_owned())
    }

    pub(super) fn far(&self) -> &FarEnd {
        &self.0.far
    }

    pub(super) fn holder(&self) -> u32 {
        self.0.holder.pid()
    }

    /// The network namespaces of the node and of the pods made on it.
    pub(super) fn spaces(&self) -> Vec<String> {
        let pods = self.0.pods.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::once(self.netns()).chain(pods.iter().map(Host::netns)).collect()
    }
}
