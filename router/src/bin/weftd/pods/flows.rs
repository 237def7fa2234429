//! Forgets what conntrack remembers of addresses: of all that are asked for meanwhile at once, as each look goes over the whole table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use router::pods::forget_flows;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use super::Counts;

/// How long conntrack may take.
const WAIT: Duration = Duration::from_secs(2);
/// So many wait; more are refused, and say so.
const MAX: usize = 1024;

/// Addresses, and who waits.
type Ask = (Vec<IpAddr>, oneshot::Sender<()>);

/// Who is asked. Clones ask the same.
#[derive(Clone)]
pub(super) struct Flows(mpsc::Sender<Ask>);

impl Flows {
    /// Starts it.
    pub(super) fn start(counts: Arc<Counts>) -> Self {
        let (asks, asked) = mpsc::channel(MAX);
        tokio::spawn(run(asked, counts));
        Self(asks)
    }

    /// Asks for it. What is returned ends when it is done, or cannot be.
    pub(super) fn forget(&self, addrs: Vec<IpAddr>) -> impl Future<Output = ()> + use<> {
        let (to, done) = oneshot::channel();
        if self.0.try_send((addrs, to)).is_err() {
            warn!(
                "too many pods at once: what was sent to who had one's address before may still be"
            );
        }
        async move {
            // Who is asked says why not.
            let _ = done.await;
        }
    }
}

async fn run(mut asked: mpsc::Receiver<Ask>, counts: Arc<Counts>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, MAX).await > 0 {
        let (addrs, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let addrs: BTreeSet<IpAddr> = addrs.into_iter().flatten().collect();
        match timeout(WAIT, forget_flows(addrs)).await {
            Ok(Ok(forgotten)) => counts.forgotten(forgotten),
            Ok(Err(error)) => {
                warn!(%error, "conntrack cannot be asked: what was sent to who had a pod's address before may still be");
            }
            Err(_) => {
                warn!(
                    "conntrack does not answer in time: what was sent to who had a pod's address before may still be"
                );
            }
        }
        for to in waiting {
            // Who asked may have gone.
            let _ = to.send(());
        }
    }
}
