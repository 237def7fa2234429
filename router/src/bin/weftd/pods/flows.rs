//! Forgets what conntrack remembers of an address before a pod gets it that another had. Each look goes over the kernel's whole table, some
//! 10 ms however few flows there are: so one is taken for all who come meanwhile, and none for an address that nobody has had.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use router::pods::{flow_ends, forget_flows};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::warn;

use super::Counts;

/// How long conntrack may take.
const WAIT: Duration = Duration::from_secs(2);
/// So many wait; for more none is taken, and that is said.
const MAX: usize = 1024;

/// Addresses, and who waits.
type Ask = (Vec<IpAddr>, oneshot::Sender<()>);

/// Who is asked.
pub(super) struct Flows {
    asks: mpsc::Sender<Ask>,
    had: Arc<Mutex<Had>>,
}

/// Addresses that flows may be of.
#[derive(Default)]
struct Had {
    addrs: BTreeSet<IpAddr>,
    /// What there was at the start is among them.
    whole: bool,
}

impl Had {
    fn has(&self, addr: IpAddr) -> bool {
        !self.whole || self.addrs.contains(&addr)
    }
}

impl Flows {
    /// Starts it.
    pub(super) fn start(counts: Arc<Counts>) -> Self {
        let (asks, asked) = mpsc::channel(MAX);
        let had = Arc::<Mutex<Had>>::default();
        tokio::spawn(run(asked, Arc::clone(&had), counts));
        Self { asks, had }
    }

    /// Takes note that a pod had these.
    pub(super) fn note(&self, addrs: impl Iterator<Item = IpAddr>) {
        lock(&self.had).addrs.extend(addrs);
    }

    /// Asks for it. What is returned ends when it is done, or cannot be: then the log says why.
    pub(super) fn forget(&self, addrs: Vec<IpAddr>) -> impl Future<Output = ()> + use<> {
        let (to, done) = oneshot::channel();
        let had = {
            let had = lock(&self.had);
            addrs.iter().any(|it| had.has(*it))
        };
        if had && self.asks.try_send((addrs, to)).is_err() {
            warn!(
                "too many pods at once: what was sent to who had one's address before may still be"
            );
        }
        async move {
            // Nobody was asked, or who was has said why not.
            let _ = done.await;
        }
    }
}

async fn run(mut asked: mpsc::Receiver<Ask>, had: Arc<Mutex<Had>>, counts: Arc<Counts>) {
    let mut complaint = None;
    let mut batch = Vec::new();
    if let Some(before) = within(flow_ends(), &mut complaint).await {
        let mut had = lock(&had);
        had.addrs.extend(before);
        had.whole = true;
    }
    while asked.recv_many(&mut batch, MAX).await > 0 {
        let (addrs, waiting): (Vec<_>, Vec<_>) = batch.drain(..).unzip();
        let addrs: BTreeSet<IpAddr> = addrs.into_iter().flatten().collect();
        if let Some(forgotten) = within(forget_flows(addrs.clone()), &mut complaint).await {
            counts.forgotten(forgotten);
            lock(&had).addrs.retain(|it| !addrs.contains(it));
        }
        for to in waiting {
            // Who asked may have gone.
            let _ = to.send(());
        }
    }
}

/// What it gives in time. Why it does not is said once.
async fn within<T>(
    look: impl Future<Output = io::Result<T>>,
    complaint: &mut Option<String>,
) -> Option<T> {
    let outcome = timeout(WAIT, look).await;
    match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(found) => {
            *complaint = None;
            Some(found)
        }
        Err(error) => {
            let text = error.to_string();
            if complaint.as_ref() != Some(&text) {
                warn!(%error, "conntrack cannot be asked: what was sent to who had a pod's address before may still be");
            }
            *complaint = Some(text);
            None
        }
    }
}

fn lock(of: &Mutex<Had>) -> MutexGuard<'_, Had> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
