//! What becomes of pods while nobody asks: what was begun is undone, what was queued is done, and ports are put back.

use std::fs;
use std::path::Path;
use std::time::Duration;

use router::pods::{Pod, Stage};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};
use tracing::{info, warn};

use super::{Inner, Pods};
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

/// Undoes what the last run had begun, and does what was asked for while there was no daemon.
pub(crate) async fn drain(pods: &Pods, state_dir: &Path) {
    if timeout(START, pods.0.mend(true)).await.is_err() {
        warn!("pods that were being plugged in when the last weftd ended are undone later");
    }
    let dir = state_dir.join(QUEUE);
    let Ok(files) = fs::read_dir(&dir) else { return };
    for file in files.filter_map(Result::ok).map(|it| it.path()) {
        // One that begins with a dot is being written.
        let hidden = file.file_name().is_none_or(|it| it.as_encoded_bytes().starts_with(b"."));
        if hidden || file.extension().is_none_or(|it| it != "json") {
            continue;
        }
        let left = fs::metadata(&file).ok().filter(|it| it.is_file() && it.len() <= MAX);
        let left = left.and_then(|_| fs::read(&file).ok());
        let Some(left) = left.and_then(|it| serde_json::from_slice::<Left>(&it).ok()) else {
            let aside = file.with_extension("bad");
            let moved = fs::rename(&file, &aside).is_ok();
            warn!(file = %file.display(), moved, "what was left by the CNI plugin makes no sense: put aside");
            continue;
        };
        let Left { id, ifname, inode } = left;
        let request = api::Unplug { id: id.clone(), ifname: Some(ifname.clone()), inode };
        match timeout(START, pods.unplug(request)).await {
            Ok(Ok(gone)) => {
                info!(
                    id,
                    ifname,
                    there = !gone.is_empty(),
                    "unplugged, as was asked for while there was no weftd"
                );
                if let Err(error) = fs::remove_file(&file) {
                    warn!(file = %file.display(), %error, "cannot be removed");
                }
            }
            Ok(Err(refusal)) => {
                warn!(id, ifname, why = %refusal, "not unplugged, though that was asked for: tried again at the next start")
            }
            Err(_) => warn!(
                id,
                ifname,
                "not unplugged in time, though that was asked for: tried again at the next start"
            ),
        }
    }
}

/// Looks after all of it for as long as the daemon runs.
pub(crate) async fn keep(pods: Pods) -> anyhow::Result<()> {
    pods.0.tell_all().await;
    let mut again = interval(AGAIN);
    loop {
        again.tick().await;
        pods.0.mend(false).await;
    }
}

impl Inner {
    /// Control is told of pods that were there before the daemon: what addresses they have is not in the bridge.
    async fn tell_all(&self) {
        let Ok(shelf) = &self.shelf else { return };
        for pod in shelf.all().into_iter().filter(|it| it.stage == Stage::There) {
            if self.ports.find(&pod.host).await.is_ok_and(|it| it.is_some()) {
                let addrs = pod.addresses.iter().map(api::Cidr::addr).collect();
                let (to, told) = oneshot::channel();
                if self.control.send(Request::Station(pod.mac, addrs, to)).await.is_ok() {
                    let _ = told.await;
                }
            }
        }
    }

    /// Undoes what nobody works at and is not there; what is there is put back as it should be.
    async fn mend(&self, at_start: bool) {
        let Ok(shelf) = &self.shelf else { return };
        for pod in shelf.all() {
            let _alone = self.alone(&pod.key).await;
            // It may have changed while that was waited for.
            let Some(pod) = shelf.get(&pod.key) else { continue };
            let (id, ifname) = (pod.key.id.clone(), pod.key.ifname.clone());
            let outcome = match pod.stage {
                Stage::Coming | Stage::Going => self.undo(shelf, pod).await.map(|()| {
                    info!(id, ifname, "what was begun is undone");
                }),
                Stage::There => match self.put_back(&pod).await {
                    Some(true) => {
                        warn!(
                            id,
                            ifname,
                            host = pod.host,
                            "somebody has changed a pod's port, put back"
                        );
                        Ok(())
                    }
                    Some(false) => Ok(()),
                    None if at_start && pod.boot != self.boot => {
                        let addresses = super::shown(&pod);
                        self.undo(shelf, pod).await.map(|()| {
                            info!(id, ifname, ?addresses, "the host has started anew, and this pod is gone: its address is free");
                        })
                    }
                    None => Ok(()),
                },
            };
            if let Err(refusal) = outcome {
                warn!(id, ifname, why = %refusal, "trying again");
            }
        }
    }

    /// Whether its port had to be put back; `None`: it is gone, or cannot be looked at.
    async fn put_back(&self, pod: &Pod) -> Option<bool> {
        let bridge = self.ports.bridge(&self.bridge).await.ok()?;
        let host = self.ports.find(&pod.host).await.ok()??;
        if host.fits(&bridge, pod) {
            return Some(false);
        }
        self.ports.settle(host.index, &bridge, pod).await.ok().map(|()| true)
    }
}
