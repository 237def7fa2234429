//! What becomes of pods while nobody asks: what was begun is undone, what was queued is done, and ports are put back.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use router::pods::{Key, Pod, PortLink, Stage};
use serde::Deserialize;
use switch::Mac;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::shelf::Shelf;
use super::unplug::Lost;
use super::{Gate, Inner, PLUG, Pods};
use crate::addresses::Office;
use crate::args::Config;
use crate::control::Request;

/// Where the CNI plugin leaves what it could not tell, in the state directory.
const QUEUE: &str = "unplug";
/// No file of the plugin's is longer.
const MAX: u64 = 4096;
/// How often ports are looked at.
const AGAIN: Duration = Duration::from_secs(10);
/// How long the start waits for what was begun to be undone, and what was queued to be done: what is left is tried again.
const START: Duration = Duration::from_secs(5);

/// What the plugin has left.
#[derive(Debug, Deserialize)]
struct Left {
    id: String,
    ifname: String,
    inode: Option<u64>,
}

/// Opens what is stored. What was begun is undone, and what was asked for meanwhile is done, before anybody can ask for more.
pub(crate) async fn start(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    Config { state_dir, bridge, .. }: &Config,
    (office, control, gate): (&Office, &mpsc::Sender<Request>, Gate),
) -> anyhow::Result<Pods> {
    let pods = Pods::open(state_dir, bridge, (office.clone(), control.clone(), gate))?;
    drain(&pods, state_dir).await;
    tasks.spawn(keep(pods.clone(), state_dir.clone()));
    Ok(pods)
}

/// Undoes what the last run had begun, and does what was asked for while there was no daemon.
async fn drain(pods: &Pods, state_dir: &Path) {
    if timeout(START, pods.0.mend()).await.is_err() {
        warn!("pods that were being plugged in when the last weftd ended are undone later");
    }
    read_queue(pods, state_dir).await;
}

/// Does what is queued.
async fn read_queue(pods: &Pods, state_dir: &Path) {
    let dir = state_dir.join(QUEUE);
    let Ok(files) = fs::read_dir(&dir) else { return };
    for file in files.filter_map(Result::ok).map(|it| it.path()) {
        // One that begins with a dot is being written.
        let hidden = file.file_name().is_none_or(|it| it.as_encoded_bytes().starts_with(b"."));
        if hidden || file.extension().is_none_or(|it| it != "json") {
            continue;
        }
        let found = fs::metadata(&file);
        if found.as_ref().is_err_and(|it| it.kind() == ErrorKind::NotFound) {
            // The plugin has taken it back.
            continue;
        }
        let left = found.ok().filter(|it| it.is_file() && it.len() <= MAX);
        let written = left.as_ref().and_then(|it| it.modified().ok());
        let left = left.and_then(|_| fs::read(&file).ok());
        let Some(left) = left.and_then(|it| serde_json::from_slice::<Left>(&it).ok()) else {
            let aside = file.with_extension("bad");
            let moved = fs::rename(&file, &aside);
            if moved.as_ref().is_err_and(|it| it.kind() == ErrorKind::NotFound) {
                continue;
            }
            let moved = moved.is_ok();
            warn!(file = %file.display(), moved, "what was left by the CNI plugin makes no sense: put aside");
            continue;
        };
        let Left { id, ifname, inode } = left;
        let written = written.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
        let key = Key { id: id.clone(), ifname: ifname.clone() };
        // What was plugged in since is not what was meant.
        let is = move |pod: &Pod| {
            let since = Duration::from_micros(pod.since);
            inode.is_none_or(|it| it == pod.inode) && written.is_none_or(|it| since <= it)
        };
        match timeout(START, pods.unplug_all(vec![key], Lost::Stays, is)).await {
            Ok(Ok(gone)) => {
                pods.0.counts.queued();
                if gone.is_empty() {
                    info!(
                        id,
                        ifname,
                        "what was to be unplugged while weftd could not be asked is not there, or another by now"
                    );
                } else {
                    info!(id, ifname, "unplugged, as was asked for while weftd could not be asked");
                }
                if let Err(error) = fs::remove_file(&file)
                    && error.kind() != ErrorKind::NotFound
                {
                    warn!(file = %file.display(), %error, "cannot be removed");
                }
            }
            Ok(Err(refusal)) => {
                warn!(id, ifname, why = %refusal, "not unplugged, though that was asked for: trying again")
            }
            Err(_) => {
                warn!(id, ifname, "not unplugged in time, though that was asked for: trying again")
            }
        }
    }
}

/// Looks after all of it for as long as the daemon runs.
async fn keep(pods: Pods, state_dir: PathBuf) -> anyhow::Result<()> {
    pods.0.tell_all().await;
    let mut again = interval(AGAIN);
    loop {
        again.tick().await;
        pods.0.mend().await;
        read_queue(&pods, &state_dir).await;
    }
}

impl Inner {
    /// Control is told of pods that were there before the daemon: what addresses they have is not in the bridge.
    async fn tell_all(&self) {
        let Ok(shelf) = &self.shelf else { return };
        for pod in shelf.all().into_iter().filter(|it| it.stage == Stage::There) {
            if self.ports.find(&pod.host).await.is_ok_and(|it| it.is_some()) {
                self.tell(&pod).await;
            }
        }
    }

    async fn tell(&self, pod: &Pod) {
        let addrs = pod.addresses.iter().map(api::Cidr::addr).collect();
        let (to, told) = oneshot::channel();
        if self.control.send(Request::Station(pod.mac, addrs, to)).await.is_ok() {
            // The daemon may be stopping.
            let _ = told.await;
        }
    }

    /// Undoes what nobody works at and is not there; what is there is put back as it should be.
    async fn mend(&self) {
        let Ok(shelf) = &self.shelf else { return };
        self.gate.tell(|| !shelf.is_empty());
        // Before anything that waits for addresses: who asks for one of them meanwhile would not find it.
        for pod in shelf.all().into_iter().filter(|it| it.stage == Stage::Coming) {
            self.complete(shelf, &pod.key).await;
        }
        let stations = self.ports.stations().await.unwrap_or_default();
        for pod in shelf.all() {
            let _alone = self.alone(&pod.key).await;
            // It may have changed while that was waited for.
            let Some(pod) = shelf.get(&pod.key) else { continue };
            let (id, ifname) = (pod.key.id.clone(), pod.key.ifname.clone());
            let outcome = match pod.stage {
                // It was done, or that cannot be seen at the moment.
                Stage::Coming if self.may_be_done(&pod).await => Ok(()),
                Stage::Coming | Stage::Going => self.undo(shelf, pod).await.map(|()| {
                    info!(id, ifname, "what was begun is undone");
                }),
                Stage::There => match self.put_back(&pod, &stations).await {
                    Seen::PutBack => {
                        let host = &pod.host;
                        warn!(id, ifname, host, "somebody has changed a pod's port, put back");
                        self.counts.put_back();
                        self.tell(&pod).await;
                        Ok(())
                    }
                    // A runtime will say so of what it has plugged in; of what was plugged in by hand nobody does.
                    Seen::Gone if pod.boot != self.boot || pod.network.is_none() => {
                        let addresses = super::shown(&pod);
                        self.undo(shelf, pod).await.map(|()| {
                            info!(id, ifname, ?addresses, "this pod is gone with its network namespace, or with the boot that it was of: its addresses are free");
                        })
                    }
                    Seen::Fits | Seen::Gone | Seen::Hidden => Ok(()),
                },
            };
            if let Err(refusal) = outcome {
                warn!(id, ifname, why = %refusal, "trying again");
            }
        }
        self.mend_unknown(shelf).await;
    }

    async fn may_be_done(&self, pod: &Pod) -> bool {
        let done = |it: Option<PortLink>| it.is_some_and(|it| it.veth && it.ours);
        pod.boot == self.boot && self.ports.find(&pod.host).await.map_or(true, done)
    }

    /// Notes that one is there to which all was done, and whoever did it died before that was kept.
    async fn complete(&self, shelf: &Shelf, key: &Key) {
        let Some(_alone) = self.alone_now(key) else { return };
        let coming = |pod: &Pod| pod.stage == Stage::Coming && pod.boot == self.boot;
        let Some(pod) = shelf.get(key).filter(coming) else { return };
        let host = self.ports.find(&pod.host).await.ok().flatten();
        if host.is_some_and(|it| it.veth && it.ours) {
            let pod = Pod { stage: Stage::There, ..pod };
            drop(shelf.put(&pod));
            self.tell(&pod).await;
        }
    }

    /// Undoes what was begun by one who died before it was kept: links without a mark, and leases without a pod.
    async fn mend_unknown(&self, shelf: &Shelf) {
        let Ok(bridge) = self.ports.bridge(&self.bridge).await else { return };
        let links = self.ports.begun(&bridge).await.unwrap_or_default();
        for host in links.into_iter().filter(|it| !shelf.has_host(it)) {
            let removed = self.ports.remove(&host).await.is_ok_and(|it| it);
            warn!(host, removed, "a link that nobody knows was being plugged in when weftd ended");
        }
        let Ok((_, asks)) = self.office.counter(PLUG) else { return };
        let leases = Office::leases(asks, None).await.unwrap_or_default();
        let keys: BTreeSet<Key> =
            leases.iter().filter_map(|(_, lease)| Key::of_lease(&lease.id)).collect();
        for key in keys.into_iter().filter(|key| shelf.get(key).is_none()) {
            let Some(_alone) = self.alone_now(&key) else { continue };
            if shelf.get(&key).is_some() {
                continue;
            }
            let Key { id, ifname } = &key;
            match self.undo_unknown(&key, Lost::Stays).await {
                Ok(true) => info!(id, ifname, "an address without a pod is free"),
                Ok(false) => {}
                Err(refusal) => warn!(id, ifname, why = %refusal, "trying again"),
            }
        }
    }

    /// Puts its port back as it should be.
    async fn put_back(&self, pod: &Pod, stations: &BTreeSet<(u32, Mac)>) -> Seen {
        let Ok(host) = self.ports.find(&pod.host).await else { return Seen::Hidden };
        let Some(host) = host else { return Seen::Gone };
        let Ok(bridge) = self.ports.bridge(&self.bridge).await else { return Seen::Hidden };
        let at = (host.index, pod.mac);
        // It may have been plugged in since they were read.
        let is_known = stations.contains(&at)
            || self.ports.stations().await.is_ok_and(|stations| stations.contains(&at));
        if is_known && host.fits(&bridge, pod) {
            return Seen::Fits;
        }
        match self.ports.put_back(host.index, &bridge, pod).await {
            Ok(()) => Seen::PutBack,
            Err(_) => Seen::Hidden,
        }
    }
}

/// How a pod's port was found.
enum Seen {
    /// As it should be.
    Fits,
    /// Otherwise, and it was put back.
    PutBack,
    /// It is not there.
    Gone,
    /// That cannot be seen, or not be mended, at the moment.
    Hidden,
}
