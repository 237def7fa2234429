//! What has to be in force before a pod can send. The place for whoever compiles policies to be asked, too.

use std::time::Duration;

use router::pods::Pod;
use router::serve::{Because, Refusal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::PLUG;
use crate::desk::refusal;

/// How long a pod waits for it.
const WAIT: Duration = Duration::from_secs(2);

/// Who keeps the rules for pods' ports, and is told whether there are any.
#[derive(Clone)]
pub(crate) struct Gate {
    /// Whether there are pods; nobody knows before what is stored is read.
    pub(crate) wanted: watch::Sender<Option<bool>>,
    /// Whether the rules are in force.
    pub(crate) raised: watch::Receiver<bool>,
}

impl Gate {
    /// Waits until it is, before the pod's interface is set up.
    pub(super) async fn open(&self, pod: &Pod) -> Result<(), Refusal> {
        self.tell(|| true);
        let mut raised = self.raised.clone();
        if timeout(WAIT, raised.wait_for(|it| *it)).await.is_ok_and(|it| it.is_ok()) {
            return Ok(());
        }
        let why = format!("the rules for {} are not in force within {WAIT:?}", pod.host);
        Err(refusal(Because::NotReady, PLUG, why, "see what the log says of nft, and try again"))
    }

    /// Says whether there are pods. Who comes at the same time is seen, or says so itself after it.
    pub(super) fn tell(&self, any: impl FnOnce() -> bool) {
        self.wanted.send_if_modified(|wanted| {
            let now = Some(any());
            std::mem::replace(wanted, now) != now
        });
    }
}
