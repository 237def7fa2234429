//! Forgets what conntrack remembers of addresses: of all that are asked for meanwhile at once, as each look goes over the whole table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use router::pods::forget_flows;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Counts;

/// How long conntrack may take.
const WAIT: Duration = Duration::from_secs(2);
/// So many wait; more are refused, and say so.
const MAX: usize = 1024;

/// Between two looks: each takes the kernel some 10 ms, however few flows there are, as its table is large.
const PAUSE: Duration = Duration::from_millis(250);

/// Who is asked. Clones ask the same.
#[derive(Clone)]
pub(super) struct Flows(mpsc::Sender<Vec<IpAddr>>);

impl Flows {
    /// Starts it.
    pub(super) fn start(counts: Arc<Counts>) -> Self {
        let (asks, asked) = mpsc::channel(MAX);
        tokio::spawn(run(asked, counts));
        Self(asks)
    }

    /// Asks for it: at once, or right after the next pause. A pod does not wait for that.
    pub(super) fn forget(&self, addrs: Vec<IpAddr>) {
        if self.0.try_send(addrs).is_err() {
            warn!(
                "too many pods at once: what was sent to who had one's address before may still be"
            );
        }
    }
}

async fn run(mut asked: mpsc::Receiver<Vec<IpAddr>>, counts: Arc<Counts>) {
    let mut batch = Vec::new();
    while asked.recv_many(&mut batch, MAX).await > 0 {
        let addrs: BTreeSet<IpAddr> = batch.drain(..).flatten().collect();
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
        sleep(PAUSE).await;
    }
}
