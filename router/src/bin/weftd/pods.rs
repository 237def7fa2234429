//! Plugs pods in and unplugs them, one step after the other, each with its undoing.
//!
//! ```text
//!  desk: a request --> its own task, which ends what it began --+--> shelf (own thread): what is plugged in, on disk
//!                      (one at a time for each interface)       +--> addresses: a lease
//!                                                               +--> kernel: veth pair, port, the pod's namespace
//!                                                               +--> control loop: the station is announced
//! ```

mod check;
mod counts;
mod crash;
mod flows;
mod gate;
mod keeper;
mod plug;
mod shelf;
mod unplug;

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::{HostEnd, Plug, Plugged};
use futures_util::{StreamExt, stream};
use router::pods::{BridgeLink, Key, Netns, NetnsError, PlugError, Pod, Ports, Setup, Stage};
use router::serve::{Because, Refusal};
use switch::Mac;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore, mpsc};
use tracing::warn;

use crate::addresses::Office;
use crate::control::Request;
use crate::desk::refusal;
use crate::failure::Line;
use crate::look::timestamp;
pub(crate) use counts::Counts;
use flows::Flows;
pub(crate) use gate::Gate;
pub(crate) use keeper::start;
use plug::Asked;
pub(crate) use shelf::FILE;
use shelf::{Shelf, Unsaved};
use unplug::Lost;

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
    gate: Gate,
    counts: Arc<Counts>,
    flows: Flows,
}

/// The right to work at an interface.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Pods {
    /// Opens what is stored in this directory. Where that cannot be used, nothing is plugged in, and all else goes on.
    fn open(
        state_dir: &Path,
        bridge: &str,
        (office, control, gate): (Office, mpsc::Sender<Request>, Gate),
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
        let counts = Arc::<Counts>::default();
        Ok(Self(Arc::new(Inner {
            shelf,
            ports: Ports::open()?,
            office,
            control,
            bridge: bridge.to_owned(),
            boot,
            busy: Mutex::default(),
            gate,
            flows: Flows::start(Arc::clone(&counts)),
            counts,
            room: Semaphore::new(AT_ONCE),
        })))
    }

    /// How often what was done, as a report has it.
    pub(crate) fn counters(&self) -> BTreeMap<String, u64> {
        self.0.counts.group()
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
            let outcome = inner.plug(Asked { request, netns, gateway }).await;
            drop(turn);
            inner.counted(outcome)
        });
        work.await.unwrap_or_else(|error| Err(broken(PLUG, &error)))
    }

    /// Unplugs an interface, or all of a container. Goes on to the end likewise.
    pub(crate) async fn unplug(&self, request: api::Unplug) -> Result<Vec<Plugged>, Refusal> {
        let api::Unplug { id, ifname, inode } = request;
        let is = move |pod: &Pod| inode.is_none_or(|it| it == pod.inode);
        // Of what is unknown nobody can tell in which namespace it is.
        let lost = if ifname.is_some() && inode.is_none() { Lost::Too } else { Lost::Stays };
        // What is being plugged in, or waits for its turn to be, is not on the shelf yet.
        let keys = match ifname {
            Some(ifname) => vec![Key { id, ifname }],
            None => self.0.keys(|key| key.id == id),
        };
        self.unplug_all(keys, lost, is).await
    }

    /// Unplugs all of a network but these.
    pub(crate) async fn gc(&self, request: api::Gc) -> Result<Vec<Plugged>, Refusal> {
        let api::Gc { network, valid } = request;
        let stays =
            move |key: &Key| valid.iter().any(|it| it.id == key.id && it.ifname == key.ifname);
        let keys = self.0.keys(|key| !stays(key));
        self.unplug_all(keys, Lost::Stays, move |pod| pod.network.as_ref() == Some(&network)).await
    }

    /// Unplugs those of these that are so.
    async fn unplug_all(
        &self,
        keys: Vec<Key>,
        lost: Lost,
        is: impl Fn(&Pod) -> bool + Send + Sync + 'static,
    ) -> Result<Vec<Plugged>, Refusal> {
        let inner = Arc::clone(&self.0);
        let work = tokio::spawn(async move {
            let (inner, is) = (&inner, &is);
            let each = keys.into_iter().map(|key| async move {
                let _turn = inner.alone(&key).await;
                inner.unplug(&key, lost, is).await
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
            inner.counted(outcome.map(|()| gone))
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
    fn counted<T>(&self, outcome: Result<T, Refusal>) -> Result<T, Refusal> {
        outcome.inspect_err(|_| self.counts.refused())
    }

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
        self.lock_of(key).lock_owned().await
    }

    /// The same if nobody does now.
    fn alone_now(&self, key: &Key) -> Option<Turn> {
        self.lock_of(key).try_lock_owned().ok()
    }

    fn lock_of(&self, key: &Key) -> Arc<AsyncMutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(busy.entry(key.clone()).or_default())
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

fn shown(pod: &Pod) -> Vec<String> {
    pod.addresses.iter().map(ToString::to_string).collect()
}

fn unsaved(what: &str, error: &Unsaved) -> Refusal {
    let what_to_do = "it is tried again every second; see what the log says of it";
    refusal(Because::Failed, what, error.to_string(), what_to_do)
}

fn failed(what: &str, error: PlugError) -> Refusal {
    let (because, what_to_do) = match &error {
        PlugError::NoBridge(_) => (Because::NotReady, "wait until weftd has made it again"),
        PlugError::Taken(_) => (Because::Forbidden, "remove that interface, or give another name"),
        PlugError::Netns(NetnsError::Io(why)) if why.kind() == ErrorKind::PermissionDenied => {
            (Because::Failed, "start weftd with CAP_SYS_ADMIN, or as root")
        }
        PlugError::Netns(NetnsError::Io(_)) => (
            Because::Failed,
            "see what weftd lacks, descriptors (ulimit -n) or memory, and try again",
        ),
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
