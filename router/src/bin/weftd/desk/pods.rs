//! Requests about pods.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use api::{Check, Gc, Plug, Plugged, Pods, Unplug};
use router::ipam::Subnet;
use router::pods::{Key, Netns, NetnsError};
use router::serve::{self, Because, Refusal};

use super::{Desk, refusal};
use crate::look::timestamp;
use crate::tick;

impl serve::Pods for Desk {
    async fn plug(&self, request: Plug, netns: Option<OwnedFd>) -> Result<Plugged, Refusal> {
        let netns = open(netns, request.netns.as_deref())?.map_err(|error| no_netns(&error))?;
        // Before anything else: who unplugs it from now on waits.
        let key = Key { id: request.id.clone(), ifname: request.ifname.clone() };
        let turn = self.pods.turn(&key).await;
        let gateway = self.gateway(&request).await?;
        self.pods.plug(turn, request, (netns, gateway)).await
    }

    async fn unplug(&self, request: Unplug) -> Result<Pods, Refusal> {
        let gone = self.pods.unplug(request).await?;
        self.renew_look().await;
        Ok(Pods { now: timestamp(tick::wall()), pods: gone })
    }

    async fn check(&self, request: Check, netns: Option<OwnedFd>) -> Result<Plugged, Refusal> {
        let Check { id, ifname, netns: path } = request;
        let netns = open(netns, path.as_deref())?;
        self.pods.check(&Key { id, ifname }, netns).await
    }

    async fn gc(&self, request: Gc) -> Result<Pods, Refusal> {
        let gone = self.pods.gc(request).await?;
        self.renew_look().await;
        Ok(Pods { now: timestamp(tick::wall()), pods: gone })
    }

    async fn pods(&self) -> Result<Pods, Refusal> {
        Ok(Pods { now: timestamp(tick::wall()), pods: self.pods.all().await? })
    }
}

impl Desk {
    /// By whom a pod's routes go that has none of its own: the bridge, which gets an address for that if it has none.
    async fn gateway(&self, request: &Plug) -> Result<Option<IpAddr>, Refusal> {
        let own = &request.addresses;
        let asked = request.gateway.is_some() || !own.given.is_empty();
        let needs = |it: &api::PodRoute| it.via.is_none();
        if asked || request.routes.as_ref().is_some_and(|routes| !routes.iter().any(needs)) {
            return Ok(None);
        }
        let (addressing, _) = self.office.counter("plug the pod in")?;
        let subnet = match (own.subnet, own.claimed.first()) {
            (_, Some(it)) => {
                Subnet::of(it.address, it.prefix.unwrap_or_else(|| addressing.subnet.prefix()))
            }
            (Some(it), None) => Subnet::of(it.addr(), it.prefix()),
            (None, None) => Some(addressing.subnet),
        };
        let subnet = subnet.unwrap_or(addressing.subnet);
        let there = self.exposed.lock().await.all();
        let there = there.iter().map(api::Cidr::addr).find(|it| subnet.contains(*it));
        if there.is_some() {
            return Ok(there);
        }
        // In another subnet a pod goes without, until the bridge has an address there.
        if subnet != addressing.subnet {
            return Ok(None);
        }
        let exposed = self.do_expose(None).await?.addresses;
        Ok(exposed.iter().map(api::Cidr::addr).find(|it| subnet.contains(*it)))
    }
}

/// What was passed, or else what is at that path.
fn open(passed: Option<OwnedFd>, path: Option<&str>) -> Result<Result<Netns, NetnsError>, Refusal> {
    match (passed, path) {
        (Some(fd), _) => Ok(Netns::of(fd)),
        (None, Some(path)) => Ok(Netns::open(path)),
        (None, None) => {
            let why = "no network namespace is given".to_owned();
            let what_to_do = "pass a descriptor of it with the request, or give its path as netns";
            Err(refusal(Because::Senseless, "find the pod", why, what_to_do))
        }
    }
}

fn no_netns(error: &NetnsError) -> Refusal {
    let what_to_do = "give that of a pod, as /run/netns/NAME or /proc/PID/ns/net";
    refusal(Because::Senseless, "plug the pod in", error.to_string(), what_to_do)
}
