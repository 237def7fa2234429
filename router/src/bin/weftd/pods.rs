//! Plugs pods in and unplugs them, one step after the other, each with its undoing.
//!
//! ```text
//!  desk: a request --> its own task, which ends what it began --+--> shelf (own thread): what is plugged in, on disk
//!                      (one at a time for each interface)       +--> addresses: a lease
//!                                                               +--> kernel: veth pair, port, the pod's namespace
//!                                                               +--> control loop: the station is announced
//! ```

mod crash;
mod keeper;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{HostEnd, Plug, Plugged, PodRoute};
use futures_util::{StreamExt, stream};
use router::ipam::{Answer, Subnet, Wish};
use router::pods::{
    BridgeLink, Key, Netns, NetnsError, PlugError, Pod, Ports, Setup, Stage, configure, host_name,
    lacks, mac_of,
};
use router::serve::{Because, Refusal};
use switch::{Greeter, Mac};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, mpsc, oneshot};
use tracing::{info, warn};

use crate::addresses::Office;
use crate::control::Request;
use crate::desk::{leased, mixed_up, refusal, stopped, wish_for};
use crate::failure::Line;
use crate::look::timestamp;
use crate::tick;
pub(crate) use keeper::{drain, keep};
pub(crate) use shelf::FILE;
use shelf::Shelf;

/// Interfaces that are worked at at once: the kernel does one after the other anyway.
const AT_ONCE: usize = 16;
/// Names that are tried for a host's end.
const NAMES: u8 = 8;

const PLUG: &str = "plug the pod in";
const UNPLUG: &str = "unplug the pod";
const CHECK: &str = "find the pod as it was plugged in";

/// All that pods are plugged in with. Clones are the same.
#[derive(Clone)]
pub(crate) struct Pods(Arc<Inner>);

struct Inner {
    /// Or why there is none.
    shelf: Result<Shelf, String>,
    ports: Ports,
    office: Office,
    control: mpsc::Sender<Request>,
    bridge: String,
    boot: String,
    /// Who works at an interface.
    busy: Mutex<BTreeMap<Key, Arc<AsyncMutex<()>>>>,
    room: Semaphore,
}

/// The right to work at an interface.
pub(crate) type Turn = OwnedMutexGuard<()>;

/// What an address is taken from.
type Leased = (Vec<api::Cidr>, bool);

impl Pods {
    /// Opens what is stored in this directory. Where that cannot be used, nothing is plugged in, and all else goes on.
    pub(crate) fn open(
        state_dir: &Path,
        bridge: &str,
        (office, control): (Office, mpsc::Sender<Request>),
    ) -> anyhow::Result<Self> {
        let shelf = Shelf::open(state_dir).map_err(|error| {
            let why = Line(&error).to_string();
            warn!(
                why,
                "no pods are plugged in, as what is stored of them cannot be used; the file stays as it is"
            );
            why
        });
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self(Arc::new(Inner {
            shelf,
            ports: Ports::open()?,
            office,
            control,
            bridge: bridge.to_owned(),
            boot,
            busy: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
        })))
    }

    /// All that is plugged in.
    pub(crate) async fn all(&self) -> Result<Vec<Plugged>, Refusal> {
        let shelf = self.0.shelf("tell what is plugged in")?;
        let there = shelf.all().into_iter().filter(|pod| pod.stage == Stage::There);
        let bridge = self.0.ports.bridge(&self.0.bridge).await.ok();
        let mut all = Vec::new();
        for pod in there {
            let host = self.0.ports.find(&pod.host).await.ok().flatten();
            let host = host.and_then(|it| it.mac);
            all.push(self.0.plugged(&pod, host, bridge.as_ref()));
        }
        Ok(all)
    }

    /// Waits until nobody else works at an interface: until this is dropped it is the caller's.
    pub(crate) async fn turn(&self, key: &Key) -> Turn {
        self.0.alone(key).await
    }

    /// Plugs an interface in, in its turn. Goes on to the end although whoever asked has gone.
    pub(crate) async fn plug(
        &self,
        turn: Turn,
        request: Plug,
        (netns, gateway): (Netns, Option<IpAddr>),
    ) -> Result<Plugged, Refusal> {
        let inner = Arc::clone(&self.0);
        let work = tokio::spawn(async move {
            let outcome = inner.plug(request, netns, gateway).await;
            drop(turn);
            outcome
        });
        work.await.unwrap_or_else(|error| Err(broken(PLUG, &error)))
    }

    /// Unplugs an interface, or all of a container. Goes on to the end likewise.
    pub(crate) async fn unplug(&self, request: api::Unplug) -> Result<Vec<Plugged>, Refusal> {
        let api::Unplug { id, ifname, inode } = request;
        let is = move |pod: &Pod| inode.is_none_or(|it| it == pod.inode);
        // What is being plugged in, or waits for its turn to be, is not on the shelf yet.
        let keys = match ifname {
            Some(ifname) => vec![Key { id, ifname }],
            None => self.0.keys(|key| key.id == id),
        };
        self.unplug_all(keys, is).await
    }

    /// Unplugs all of a network but these.
    pub(crate) async fn gc(&self, request: api::Gc) -> Result<Vec<Plugged>, Refusal> {
        let api::Gc { network, valid } = request;
        let stays =
            move |key: &Key| valid.iter().any(|it| it.id == key.id && it.ifname == key.ifname);
        let keys = self.0.keys(|key| !stays(key));
        self.unplug_all(keys, move |pod| pod.network.as_ref() == Some(&network)).await
    }

    /// Unplugs those of these that are so.
    async fn unplug_all(
        &self,
        keys: Vec<Key>,
        is: impl Fn(&Pod) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Plugged>, Refusal> {
        let inner = Arc::clone(&self.0);
        let work = tokio::spawn(async move {
            let (inner, is) = (&inner, &is);
            let each = keys.into_iter().map(|key| async move {
                let _turn = inner.alone(&key).await;
                inner.unplug(&key, is).await
            });
            let mut each = stream::iter(each).buffer_unordered(AT_ONCE);
            let (mut gone, mut outcome) = (Vec::new(), Ok(()));
            while let Some(unplugged) = each.next().await {
                match unplugged {
                    Ok(pod) => gone.extend(pod.map(|pod| inner.plugged(&pod, None, None))),
                    // The others go all the same.
                    Err(refusal) => outcome = Err(refusal),
                }
            }
            outcome.map(|()| gone)
        });
        work.await.unwrap_or_else(|error| Err(broken(UNPLUG, &error)))
    }

    /// Whether an interface is as it was plugged in.
    pub(crate) async fn check(
        &self,
        key: &Key,
        netns: Result<Netns, NetnsError>,
    ) -> Result<Plugged, Refusal> {
        self.0.check(key, netns).await
    }
}

impl Inner {
    fn shelf(&self, what: &str) -> Result<&Shelf, Refusal> {
        self.shelf.as_ref().map_err(|why| {
            let what_to_do = "mend that, or move the file away, and start weftd again";
            refusal(Because::NotReady, what, why.clone(), what_to_do)
        })
    }

    /// Those that are known, or being worked at.
    fn keys(&self, is: impl Fn(&Key) -> bool) -> Vec<Key> {
        let known = self.shelf.iter().flat_map(Shelf::all).map(|pod| pod.key);
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let all: BTreeSet<Key> = known.chain(busy.keys().cloned()).filter(is).collect();
        all.into_iter().collect()
    }

    /// Waits until nobody else works at an interface.
    async fn alone(&self, key: &Key) -> Turn {
        let lock = {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            busy.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(busy.entry(key.clone()).or_default())
        };
        lock.lock_owned().await
    }

    async fn plug(
        &self,
        request: Plug,
        netns: Netns,
        gateway: Option<IpAddr>,
    ) -> Result<Plugged, Refusal> {
        let shelf = self.shelf(PLUG)?;
        let key = Key { id: request.id.clone(), ifname: request.ifname.clone() };
        let bridge = self.ports.bridge(&self.bridge).await.map_err(|it| failed(PLUG, it))?;
        if let Some(before) = shelf.get(&key) {
            if let Some(there) = self.same(&before, &netns, &bridge).await? {
                return Ok(there);
            }
            self.undo(shelf, before).await?;
        }
        let mut pod = self.begin(shelf, &request, (&netns, &bridge)).await?;
        shelf.put(&pod).await.map_err(|error| {
            // It may get there all the same, when there is room again.
            shelf.forget(&key);
            refusal(
                Because::Failed,
                PLUG,
                error.to_string(),
                "make room on that disk, or see what the log says of it",
            )
        })?;
        crash::point("coming");
        match self.steps(&mut pod, &request, (&netns, &bridge, gateway)).await {
            Ok(host) => {
                info!(id = key.id, ifname = key.ifname, addresses = ?shown(&pod), host = pod.host, "plugged in");
                Ok(self.plugged(&pod, host, Some(&bridge)))
            }
            Err(refusal) => {
                if let Err(undone) = self.undo(shelf, pod).await {
                    warn!(id = key.id, ifname = key.ifname, why = %undone, "what was begun is not undone yet");
                }
                Err(refusal)
            }
        }
    }

    /// What is there, if that is what is asked for; `None` if it is dead, and may be undone.
    async fn same(
        &self,
        before: &Pod,
        netns: &Netns,
        bridge: &BridgeLink,
    ) -> Result<Option<Plugged>, Refusal> {
        let host = self.ports.find(&before.host).await.map_err(|it| failed(PLUG, it))?;
        let Some(host) = host.filter(|_| before.stage == Stage::There) else { return Ok(None) };
        if before.inode != netns.inode() {
            let (id, ifname) = (&before.key.id, &before.key.ifname);
            let there = before.netns.as_deref().unwrap_or("another network namespace");
            let why = format!("{ifname} of {id} is plugged in in {there}");
            return Err(refusal(Because::Forbidden, PLUG, why, "unplug it first"));
        }
        Ok(Some(self.plugged(before, host.mac, Some(bridge))))
    }

    /// What is to be kept before the first step.
    async fn begin(
        &self,
        shelf: &Shelf,
        request: &Plug,
        (netns, bridge): (&Netns, &BridgeLink),
    ) -> Result<Pod, Refusal> {
        let key = Key { id: request.id.clone(), ifname: request.ifname.clone() };
        let mut host = None;
        for name in (0..NAMES).map(|it| host_name(&key, it)) {
            let taken = self.ports.find(&name).await.map_err(|it| failed(PLUG, it))?.is_some();
            if !taken && !shelf.has_host(&name) {
                host = Some(name);
                break;
            }
        }
        let host = host.ok_or_else(|| {
            let why = format!(
                "the host has links of all names that are tried, such as {}",
                host_name(&key, 0)
            );
            refusal(Because::Failed, PLUG, why, "see who made them (ip -d link)")
        })?;
        let mac = match &request.mac {
            Some(text) => text.parse::<Mac>().map_err(|error| {
                refusal(
                    Because::Senseless,
                    PLUG,
                    error.to_string(),
                    "give one such as 0a:58:0a:20:00:01",
                )
            })?,
            // Known once there is an address.
            None => Mac([0; 6]),
        };
        Ok(Pod {
            key,
            stage: Stage::Coming,
            host,
            inode: netns.inode(),
            boot: self.boot.clone(),
            netns: request.netns.clone(),
            network: request.network.clone(),
            name: request.pod.clone(),
            mac,
            mtu: request.mtu.unwrap_or(bridge.mtu),
            hairpin: request.hairpin,
            lock: request.lock,
            leased: request.addresses.given.is_empty(),
            addresses: Vec::new(),
            gateway: None,
            routes: Vec::new(),
            since: u64::try_from(tick::wall().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// All steps. The host's end's address.
    async fn steps(
        &self,
        pod: &mut Pod,
        request: &Plug,
        (netns, bridge, gateway): (&Netns, &BridgeLink, Option<IpAddr>),
    ) -> Result<Option<Mac>, Refusal> {
        let shelf = self.shelf(PLUG)?;
        (pod.addresses, pod.leased) = self.addresses(&pod.key, request).await?;
        crash::point("leased");
        if pod.mac == Mac([0; 6]) {
            pod.mac = pod
                .addresses
                .iter()
                .find_map(|it| mac_of(it.addr()))
                .map_or_else(random_mac, Ok)?;
        }
        self.is_nobodys(shelf, pod, bridge)?;
        pod.gateway = request.gateway.or(gateway);
        pod.routes = request.routes.clone().unwrap_or_else(|| default_routes(pod));
        // Those that wait for an address keep nobody from going.
        let _room = self.room.acquire().await;
        self.ports
            .make(pod, bridge, std::os::fd::AsFd::as_fd(netns))
            .await
            .map_err(|it| failed(PLUG, it))?;
        crash::point("made");
        let greeter = configure(netns, setup(pod)).await.map_err(|it| failed(PLUG, it))?;
        crash::point("configured");
        self.ports.wait_until_forwarding(&pod.host).await.map_err(|it| failed(PLUG, it))?;
        self.announce(pod, &greeter).await?;
        crash::point("announced");
        pod.stage = Stage::There;
        shelf.put(pod).await.map_err(|error| {
            refusal(
                Because::Failed,
                PLUG,
                error.to_string(),
                "make room on that disk, or see what the log says of it",
            )
        })?;
        crash::point("there");
        let host = self.ports.find(&pod.host).await.ok().flatten();
        Ok(host.and_then(|it| it.mac))
    }

    /// Those that were given, or that are leased.
    async fn addresses(&self, key: &Key, request: &Plug) -> Result<Leased, Refusal> {
        let wanted = &request.addresses;
        if !wanted.given.is_empty() {
            return Ok((wanted.given.clone(), false));
        }
        let (addressing, asks) = self.office.counter(PLUG)?;
        let subnet = match wanted.subnet {
            None => addressing.subnet,
            Some(it) => Subnet::of(it.addr(), it.prefix()).ok_or_else(|| mixed_up(PLUG))?,
        };
        let cidr = |addr, prefix| api::Cidr::new(addr, prefix).ok_or_else(|| mixed_up(PLUG));
        let id = key.lease();
        if wanted.claimed.is_empty() {
            let answer = wish_for(PLUG, asks, Wish::Allocate { id, subnet }).await?;
            let addr = leased(&answer).ok_or_else(|| mixed_up(PLUG))?;
            return Ok((vec![cidr(addr, subnet.prefix())?], true));
        }
        let mut all = Vec::new();
        for it in &wanted.claimed {
            let prefix = it.prefix.unwrap_or_else(|| subnet.prefix());
            let of = Subnet::of(it.address, prefix).ok_or_else(|| mixed_up(PLUG))?;
            let wish = Wish::Claim { id: id.clone(), addr: it.address, subnet: of };
            wish_for(PLUG, asks, wish).await?;
            all.push(cidr(it.address, prefix)?);
        }
        Ok((all, true))
    }

    /// Tells control, and with it all peers, where the pod is, and whoever knew another by its address.
    async fn announce(&self, pod: &Pod, greeter: &Greeter) -> Result<(), Refusal> {
        let addrs: Vec<IpAddr> = pod.addresses.iter().map(api::Cidr::addr).collect();
        let (to, told) = oneshot::channel();
        let station = Request::Station(pod.mac, addrs.clone(), to);
        self.control.send(station).await.map_err(|_| stopped(PLUG))?;
        told.await.map_err(|_| stopped(PLUG))?;
        for addr in addrs {
            if let Err(error) = greeter.greet(addr) {
                warn!(%addr, %error, "the pod is not announced: whoever knew another by its address finds it late");
            }
        }
        Ok(())
    }

    /// No two are known by one MAC address.
    fn is_nobodys(&self, shelf: &Shelf, pod: &Pod, bridge: &BridgeLink) -> Result<(), Refusal> {
        let other = shelf.all().into_iter().find(|it| it.key != pod.key && it.mac == pod.mac);
        let whose = match other {
            _ if pod.mac == bridge.mac => format!("the bridge {}", self.bridge),
            Some(other) => format!("{} of {}", other.key.ifname, other.key.id),
            None => return Ok(()),
        };
        let why = format!("the MAC address {} is that of {whose}", pod.mac);
        Err(refusal(Because::Forbidden, PLUG, why, "give another, or none"))
    }

    /// Unplugs it in its turn, if it is so. What was there.
    async fn unplug(&self, key: &Key, is: impl Fn(&Pod) -> bool) -> Result<Option<Pod>, Refusal> {
        let shelf = self.shelf(UNPLUG)?;
        let Some(pod) = shelf.get(key).filter(|pod| is(pod)) else { return Ok(None) };
        let going = Pod { stage: Stage::Going, ..pod.clone() };
        shelf.put(&going).await.map_err(|error| {
            refusal(
                Because::Failed,
                UNPLUG,
                error.to_string(),
                "make room on that disk, or see what the log says of it",
            )
        })?;
        crash::point("going");
        self.undo(shelf, going).await?;
        info!(id = key.id, ifname = key.ifname, addresses = ?shown(&pod), "unplugged");
        Ok(Some(pod))
    }

    /// Undoes whatever was done of it.
    async fn undo(&self, shelf: &Shelf, pod: Pod) -> Result<(), Refusal> {
        self.ports.remove(&pod.host).await.map_err(|it| failed(UNPLUG, it))?;
        crash::point("removed");
        if pod.leased {
            let (_, asks) = self.office.counter(UNPLUG)?;
            let id = pod.key.lease();
            let freed = wish_for(UNPLUG, asks, Wish::Free { id, addr: None }).await;
            match freed {
                Ok(Answer::Freed(_)) => {}
                Ok(_) => return Err(mixed_up(UNPLUG)),
                // It has none, or not yet.
                Err(refusal) if refusal.because == Because::Absent => {}
                Err(refusal) => return Err(refusal),
            }
        }
        crash::point("freed");
        shelf.remove(&pod.key).await.map_err(|error| {
            refusal(
                Because::Failed,
                UNPLUG,
                error.to_string(),
                "make room on that disk, or see what the log says of it",
            )
        })
    }

    async fn check(&self, key: &Key, netns: Result<Netns, NetnsError>) -> Result<Plugged, Refusal> {
        let shelf = self.shelf(CHECK)?;
        let pod = shelf.get(key).filter(|pod| pod.stage == Stage::There);
        let Some(pod) = pod else {
            let why = format!("{} of {} was never plugged in", key.ifname, key.id);
            return Err(refusal(Because::Absent, CHECK, why, "see weft ps"));
        };
        let bridge = self.ports.bridge(&self.bridge).await.map_err(|it| failed(CHECK, it))?;
        let mut missing = Vec::new();
        let host = self.ports.find(&pod.host).await.map_err(|it| failed(CHECK, it))?;
        match &host {
            None => missing.push(format!("its link {} of the host", pod.host)),
            Some(host) if !host.fits(&bridge, &pod) => {
                missing
                    .push(format!("{} is not the port of {} that it was", pod.host, self.bridge));
            }
            Some(host) => {
                let stations = self.ports.stations().await.map_err(|it| failed(CHECK, it))?;
                if !stations.contains(&(host.index, pod.mac)) {
                    missing.push(format!("{} in the bridge's FDB", pod.mac));
                }
            }
        }
        match netns {
            Err(error) => missing.push(error.to_string()),
            Ok(netns) if netns.inode() != pod.inode => {
                missing.push("it is in another network namespace".to_owned());
            }
            Ok(netns) => {
                missing.extend(lacks(&netns, setup(&pod)).await.map_err(|it| failed(CHECK, it))?)
            }
        }
        if pod.leased {
            let (_, asks) = self.office.counter(CHECK)?;
            let leases = Office::leases(asks, Some(key.lease())).await;
            let leases = leases.ok_or_else(|| stopped(CHECK))?;
            let is_leased = |it: &&api::Cidr| leases.iter().all(|(addr, _)| *addr != it.addr());
            missing.extend(
                pod.addresses.iter().filter(is_leased).map(|it| format!("the lease of {it}")),
            );
        }
        if missing.is_empty() {
            return Ok(self.plugged(&pod, host.and_then(|it| it.mac), Some(&bridge)));
        }
        let why = format!("missing: {}", missing.join(", "));
        Err(refusal(Because::Forbidden, CHECK, why, "plug it in anew"))
    }

    /// In the words of the API.
    fn plugged(&self, pod: &Pod, host: Option<Mac>, bridge: Option<&BridgeLink>) -> Plugged {
        let text = |mac: Option<Mac>| mac.map(|it| it.to_string()).unwrap_or_default();
        Plugged {
            id: pod.key.id.clone(),
            ifname: pod.key.ifname.clone(),
            netns: pod.netns.clone(),
            network: pod.network.clone(),
            pod: pod.name.clone(),
            mac: pod.mac.to_string(),
            mtu: pod.mtu,
            addresses: pod.addresses.clone(),
            gateway: pod.gateway,
            routes: pod.routes.clone(),
            host: HostEnd { name: pod.host.clone(), mac: text(host) },
            bridge: HostEnd { name: self.bridge.clone(), mac: text(bridge.map(|it| it.mac)) },
            since: timestamp(Duration::from_micros(pod.since)),
        }
    }
}

fn setup(pod: &Pod) -> Setup {
    Setup {
        ifname: pod.key.ifname.clone(),
        mac: pod.mac,
        addresses: pod.cidrs().collect(),
        gateway: pod.gateway,
        routes: pod.routes.clone(),
    }
}

/// One for each family that has a gateway.
fn default_routes(pod: &Pod) -> Vec<PodRoute> {
    let any = |gateway: IpAddr| {
        let all: IpAddr = match gateway {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let to = api::Cidr::new(all, 0)?;
        let (mtu, advmss, priority) = (None, None, None);
        Some(PodRoute { to, via: Some(gateway), mtu, advmss, priority, table: None, scope: None })
    };
    pod.gateway.and_then(any).into_iter().collect()
}

/// Of a pod that has no IPv4 address: locally administered, and nobody else's.
fn random_mac() -> Result<Mac, Refusal> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut octets = [0; 6];
    let got = getrandom(&mut octets, GetRandomFlags::empty());
    if got.is_ok_and(|got| got == octets.len()) {
        let [first, rest @ ..] = octets;
        let [b, c, d, e, f] = rest;
        return Ok(Mac([first & 0xfc | 0x02, b, c, d, e, f]));
    }
    Err(refusal(Because::Failed, PLUG, "there are no random numbers".to_owned(), "try again"))
}

fn shown(pod: &Pod) -> Vec<String> {
    pod.addresses.iter().map(ToString::to_string).collect()
}

fn failed(what: &str, error: PlugError) -> Refusal {
    let (because, what_to_do) = match &error {
        PlugError::NoBridge(_) => (Because::NotReady, "wait until weftd has made it again"),
        PlugError::Taken(_) => (Because::Forbidden, "remove that interface, or give another name"),
        PlugError::Netns(_) => (Because::Senseless, "give a network namespace that is there"),
        PlugError::Kernel { .. } | PlugError::Socket { .. } => {
            (Because::Failed, "see what the kernel says (dmesg), and try again")
        }
    };
    let why = Line(&anyhow::Error::from(error)).to_string();
    refusal(because, what, why, what_to_do)
}

fn broken(what: &str, error: &tokio::task::JoinError) -> Refusal {
    refusal(Because::Failed, what, error.to_string(), "please report this")
}
