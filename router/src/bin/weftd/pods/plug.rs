//! Plugging in. What is durable before the kernel is asked for anything is the lease, whose id says whose it is, or where the
//! addresses are another's the record; what says that all was done is the mark of the host's end. So nobody waits for more
//! than two commits, the second of which takes its time while the kernel works (docs/decisions/0016).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;

use api::{Plug, Plugged, PodRoute};
use router::ipam::{Subnet, Wish};
use router::pods::{
    BridgeLink, Key, Netns, Pod, PortLink, Stage, configure, host_name, lacks, mac_of,
};
use router::serve::{Because, Refusal};
use switch::{Greeter, Mac};
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use super::shelf::{Shelf, Written};
use super::{Inner, NAMES, PLUG, crash, failed, setup, shown, unsaved};
use crate::control::Request;
use crate::desk::{leased, mixed_up, refusal, stopped, wish_for};
use crate::failure::Line;
use crate::start::random;
use crate::tick;

/// What is asked for, and where.
pub(super) struct Asked {
    pub(super) request: Plug,
    pub(super) netns: Netns,
    /// By whom its routes go, unless the request says.
    pub(super) gateway: Option<IpAddr>,
}

/// What a veth pair can have (`ETH_MIN_MTU`, `ETH_MAX_MTU`).
const MTU: RangeInclusive<u32> = 68..=65_535;

/// Addresses, and whether they are leased.
type Addresses = (Vec<api::Cidr>, bool);

impl Inner {
    /// Plugs an interface in, in its turn.
    pub(super) async fn plug(&self, asked: Asked) -> Result<Plugged, Refusal> {
        let shelf = self.shelf(PLUG)?;
        let key = Key { id: asked.request.id.clone(), ifname: asked.request.ifname.clone() };
        let bridge = self.ports.bridge(&self.bridge).await.map_err(|it| failed(PLUG, it))?;
        if let Some(before) = shelf.get(&key) {
            if let Some(there) = self.same(&before, &asked.netns, &bridge).await? {
                return Ok(there);
            }
            self.undo(shelf, before).await?;
        }
        let mut pod = self.begin(shelf, key, &asked, &bridge).await?;
        match self.steps(shelf, &mut pod, &asked, &bridge).await {
            Ok(host) => {
                self.counts.plugged();
                let Key { id, ifname } = &pod.key;
                info!(id, ifname, addresses = ?shown(&pod), host = pod.host, "plugged in");
                Ok(self.plugged(&pod, host.mac, Some(&bridge)))
            }
            Err(refusal) => {
                let Key { id, ifname } = pod.key.clone();
                let (kept, leases) =
                    (shelf.get(&pod.key).is_some(), self.office.counter(PLUG).is_ok());
                match self.undo(shelf, pod).await {
                    Ok(()) if kept => self.counts.undone(),
                    Ok(()) => {}
                    // Nothing was begun.
                    Err(_) if !kept && !leases => {}
                    Err(why) => warn!(id, ifname, %why, "what was begun is not undone yet"),
                }
                Err(refusal)
            }
        }
    }

    /// What is there, if that is what is asked for; `None` if it is dead or damaged, and may be undone.
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
        let missing = lacks(netns, setup(before)).await.map_err(|it| failed(PLUG, it))?;
        if missing.is_empty() {
            return Ok(Some(self.plugged(before, host.mac, Some(bridge))));
        }
        let Key { id, ifname } = &before.key;
        info!(id, ifname, ?missing, "plugged in anew, as somebody has taken something away");
        Ok(None)
    }

    /// What it is to be, without its addresses.
    async fn begin(
        &self,
        shelf: &Shelf,
        key: Key,
        Asked { request, netns, gateway }: &Asked,
        bridge: &BridgeLink,
    ) -> Result<Pod, Refusal> {
        let mac = match &request.mac {
            Some(text) => mac_from(text)?,
            // Known once there is an address.
            None => Mac([0; 6]),
        };
        if let Some(mtu) = request.mtu.filter(|it| !MTU.contains(it)) {
            let why =
                format!("an MTU of {mtu} octets: veth pairs have {} to {}", MTU.start(), MTU.end());
            return Err(refusal(
                Because::Senseless,
                PLUG,
                why,
                "give none: then it is the bridge's",
            ));
        }
        Ok(Pod {
            host: self.free_name(shelf, &key).await?,
            key,
            stage: Stage::Coming,
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
            gateway: request.gateway.or(*gateway),
            routes: Vec::new(),
            since: u64::try_from(tick::wall().as_micros()).unwrap_or(u64::MAX),
        })
    }

    /// What the host's end is called.
    async fn free_name(&self, shelf: &Shelf, key: &Key) -> Result<String, Refusal> {
        for name in (0..NAMES).map(|it| host_name(key, it)) {
            let found = self.ports.find(&name).await.map_err(|it| failed(PLUG, it))?;
            let known = shelf.has_host(&name);
            if found.as_ref().is_some_and(|it| it.veth && it.ours && !known) {
                let Key { id, ifname } = key;
                let why =
                    format!("{ifname} of {id} is plugged in by {name}, and its record was lost");
                return Err(refusal(Because::Forbidden, PLUG, why, "unplug it first"));
            }
            if found.is_none() && !known {
                return Ok(name);
            }
        }
        let first = host_name(key, 0);
        let why = format!("the host has links of all names that are tried, such as {first}");
        Err(refusal(Because::Failed, PLUG, why, "see who made them (ip -d link)"))
    }

    /// All steps. The host's end.
    async fn steps(
        &self,
        shelf: &Shelf,
        pod: &mut Pod,
        asked: &Asked,
        bridge: &BridgeLink,
    ) -> Result<PortLink, Refusal> {
        let Asked { request, netns, .. } = asked;
        (pod.addresses, pod.leased) = self.addresses(&pod.key, request).await?;
        crash::point("leased");
        if pod.mac == Mac([0; 6]) {
            let mac = pod.addresses.iter().find_map(|it| mac_of(it.addr()));
            pod.mac = mac.map_or_else(random_mac, Ok)?;
        }
        self.is_nobodys(shelf, pod, (request, bridge)).await?;
        pod.routes = request.routes.clone().unwrap_or_else(|| default_routes(pod));
        let mut written = Some(shelf.put(pod));
        if !pod.leased {
            // Nothing else tells the next run of it.
            is_kept(&mut written).await?;
        }
        crash::point("coming");
        let flows = self.flows.forget(pod.addresses.iter().map(api::Cidr::addr).collect());
        // Those that wait for an address keep nobody from going.
        let _room = self.room.acquire().await;
        let made = self.ports.make(pod, bridge, netns.as_fd()).await;
        let index = made.map_err(|it| failed(PLUG, it))?;
        crash::point("made");
        self.gate.open(pod).await?;
        flows.await;
        let greeter = configure(netns, setup(pod)).await.map_err(|it| failed(PLUG, it))?;
        crash::point("configured");
        let waited = self.ports.wait_until_forwarding(&pod.host).await;
        let host = waited.map_err(|it| failed(PLUG, it))?;
        self.announce(pod, greeter).await?;
        crash::point("announced");
        is_kept(&mut written).await?;
        self.ports.mark(index).await.map_err(|it| failed(PLUG, it))?;
        pod.stage = Stage::There;
        drop(shelf.put(pod));
        crash::point("there");
        Ok(host)
    }

    /// Those that were given, or that are leased.
    async fn addresses(&self, key: &Key, request: &Plug) -> Result<Addresses, Refusal> {
        let wanted = &request.addresses;
        if !wanted.given.is_empty() {
            return Ok((each_once(&wanted.given), false));
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
        Ok((each_once(&all), true))
    }

    /// Tells control, and with it all peers, where the pod is, and whoever knew another by its address.
    async fn announce(&self, pod: &Pod, greeter: Greeter) -> Result<(), Refusal> {
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
        // The kernel has whoever closes a packet socket wait until nobody can be looking at it (`packet_release`): 10 ms.
        spawn_blocking(move || drop(greeter));
        Ok(())
    }

    /// No two are known by one MAC address, here or on another node; and what another plugin has given is nobody's.
    async fn is_nobodys(
        &self,
        shelf: &Shelf,
        pod: &Pod,
        (request, bridge): (&Plug, &BridgeLink),
    ) -> Result<(), Refusal> {
        let no = |what: String, whose: String, what_to_do| {
            Err(refusal(Because::Forbidden, PLUG, format!("{what} is that of {whose}"), what_to_do))
        };
        let given = || request.addresses.given.iter().map(api::Cidr::addr);
        let all = shelf.all();
        let others = || all.iter().filter(|it| it.key != pod.key);
        let has = |it: &&Pod, addr| it.addresses.iter().any(|it| it.addr() == addr);
        for addr in given() {
            let what = || format!("the address {addr}");
            if let Some(other) = others().find(|it| has(it, addr)) {
                return no(what(), called(other), "give another, or unplug that one");
            }
            if self.ports.is_of_host(addr).await.map_err(|it| failed(PLUG, it))? {
                return no(what(), "this host".to_owned(), "give another (ip address)");
            }
        }
        let mac = || format!("the MAC address {}", pod.mac);
        if pod.mac == bridge.mac {
            return no(mac(), format!("the bridge {}", self.bridge), "give another, or none");
        }
        if let Some(other) = others().find(|it| it.mac == pod.mac) {
            return no(mac(), called(other), "give another, or none");
        }
        if pod.leased && request.mac.is_none() {
            // Made of an address that nobody else has.
            return Ok(());
        }
        let (to, told) = oneshot::channel();
        let asked = Request::Holder(pod.mac, given().collect(), to);
        self.control.send(asked).await.map_err(|_| stopped(PLUG))?;
        match told.await.map_err(|_| stopped(PLUG))? {
            None => Ok(()),
            Some(node) => {
                let what = if request.mac.is_some() {
                    mac()
                } else {
                    format!("what was given, {}, {}", shown(pod).join(", "), pod.mac)
                };
                no(
                    what,
                    format!("a bridge or station of the node {node}"),
                    "give another, or unplug that one there (weft fdb)",
                )
            }
        }
    }
}

fn called(pod: &Pod) -> String {
    format!("{} of {}", pod.key.ifname, pod.key.id)
}

/// The kernel takes none twice.
fn each_once(all: &[api::Cidr]) -> Vec<api::Cidr> {
    let mut each: Vec<api::Cidr> = Vec::with_capacity(all.len());
    for it in all {
        if !each.iter().any(|before| before.addr() == it.addr()) {
            each.push(*it);
        }
    }
    each
}

/// Waits until it is, if nobody has yet.
async fn is_kept(written: &mut Option<Written>) -> Result<(), Refusal> {
    match written.take() {
        None => Ok(()),
        Some(written) => written.settled().await.map_err(|error| unsaved(PLUG, &error)),
    }
}

/// One for each family that has a gateway.
fn default_routes(pod: &Pod) -> Vec<PodRoute> {
    let any = |gateway: IpAddr| {
        let all: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let to = api::Cidr::new(all, 0)?;
        let (mtu, advmss, priority) = (None, None, None);
        Some(PodRoute { to, via: Some(gateway), mtu, advmss, priority, table: None, scope: None })
    };
    pod.gateway.and_then(any).into_iter().collect()
}

fn mac_from(text: &str) -> Result<Mac, Refusal> {
    let no =
        |why: String| refusal(Because::Senseless, PLUG, why, "give one such as 0a:58:0a:20:00:01");
    let mac: Mac = text.parse().map_err(|error: switch::BadMac| no(error.to_string()))?;
    if mac.is_station() { Ok(mac) } else { Err(no(format!("{mac} is no station's MAC address"))) }
}

/// Of a pod that has no IPv4 address: locally administered, and nobody else's.
fn random_mac() -> Result<Mac, Refusal> {
    let [first, b, c, d, e, f] = random()
        .map_err(|error| refusal(Because::Failed, PLUG, Line(&error).to_string(), "try again"))?;
    Ok(Mac([first & 0xfc | 0x02, b, c, d, e, f]))
}
