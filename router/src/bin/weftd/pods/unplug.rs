//! Unplugging, and undoing what was begun: the same steps, and each may have been done before.

use router::ipam::{Answer, Wish};
use router::pods::{Key, Pod, Stage, host_name};
use router::serve::{Because, Refusal};
use tracing::info;

use super::shelf::Shelf;
use super::{Inner, NAMES, UNPLUG, crash, failed, shown, unsaved};
use crate::desk::{mixed_up, wish_for};

/// What becomes of a pod that is there, and whose record was lost.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Lost {
    /// It stays.
    Stays,
    /// It goes as others do: that it is to go was said by its name.
    Too,
}

impl Inner {
    /// Unplugs it in its turn, if it is so. What was there.
    pub(super) async fn unplug(
        &self,
        key: &Key,
        lost: Lost,
        is: impl Fn(&Pod) -> bool,
    ) -> Result<Option<Pod>, Refusal> {
        let shelf = self.shelf(UNPLUG)?;
        let Some(pod) = shelf.get(key) else {
            if lost == Lost::Too {
                self.undo_unknown(key, lost).await?;
            }
            return Ok(None);
        };
        if !is(&pod) {
            return Ok(None);
        }
        let going = Pod { stage: Stage::Going, ..pod.clone() };
        // Either tells the next run that it is to be gone: the kernel is not kept waiting for the disk.
        let written = async {
            let outcome = shelf.put(&going).settled().await;
            crash::point("going");
            outcome.map_err(|error| unsaved(UNPLUG, &error))
        };
        let (written, removed) = tokio::join!(written, self.ports.remove(&pod.host));
        written?;
        removed.map_err(|it| failed(UNPLUG, it))?;
        crash::point("removed");
        self.forget(shelf, &going).await?;
        self.counts.unplugged();
        info!(id = key.id, ifname = key.ifname, addresses = ?shown(&pod), "unplugged");
        Ok(Some(pod))
    }

    /// Undoes whatever was done of it.
    pub(super) async fn undo(&self, shelf: &Shelf, pod: Pod) -> Result<(), Refusal> {
        self.ports.remove(&pod.host).await.map_err(|it| failed(UNPLUG, it))?;
        self.forget(shelf, &pod).await
    }

    /// Frees its addresses, and forgets it.
    async fn forget(&self, shelf: &Shelf, pod: &Pod) -> Result<(), Refusal> {
        self.flows.note(pod.addresses.iter().map(api::Cidr::addr));
        if pod.leased {
            self.free(&pod.key).await?;
        }
        crash::point("freed");
        if shelf.get(&pod.key).is_some() {
            // Nobody waits: should it not become durable, the next run does all of this again, and finds nothing.
            drop(shelf.remove(&pod.key));
        }
        Ok(())
    }

    /// Undoes what no record tells of, in its turn: by whoever began it and died, or of a pod whose record was lost. Whether it did.
    pub(super) async fn undo_unknown(&self, key: &Key, lost: Lost) -> Result<bool, Refusal> {
        let mut begun = Vec::new();
        for name in (0..NAMES).map(|it| host_name(key, it)) {
            let found = self.ports.find(&name).await.map_err(|it| failed(UNPLUG, it))?;
            match found.filter(|it| it.veth) {
                Some(link) if link.ours && lost == Lost::Stays => return Ok(false),
                Some(_) => begun.push(name),
                None => {}
            }
        }
        for name in begun {
            self.ports.remove(&name).await.map_err(|it| failed(UNPLUG, it))?;
        }
        self.free(key).await.map(|()| true)
    }

    /// Frees what is leased to it, if anything is.
    async fn free(&self, key: &Key) -> Result<(), Refusal> {
        let (_, asks) = self.office.counter(UNPLUG)?;
        match wish_for(UNPLUG, asks, Wish::Free { id: key.lease(), addr: None }).await {
            Ok(Answer::Freed(_)) => Ok(()),
            Ok(_) => Err(mixed_up(UNPLUG)),
            // It has none, or not yet.
            Err(refusal) if refusal.because == Because::Absent => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }
}
