//! Keeps the tunnel guard: told who the peers are, looked after, asked what it has counted.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use router::Cidr;
use router::guard::{Damage, Guard, GuardError, Receive, Tally};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use crate::beacon::Links;

/// How often the rules are looked at.
const VERIFY: Duration = Duration::from_secs(5);
/// Pause after nft has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Who asks what the guard has counted.
pub(crate) type Ask = oneshot::Sender<Tally>;

/// What it is told besides the peers.
pub(crate) struct Told {
    pub(crate) receive: watch::Receiver<Receive>,
    pub(crate) port: watch::Receiver<Option<u16>>,
    pub(crate) links: watch::Receiver<Links>,
    pub(crate) exposed: watch::Receiver<BTreeSet<Cidr>>,
    /// Whether there are pods, once that is known.
    pub(crate) pods: watch::Receiver<Option<bool>>,
}

/// What it tells.
pub(crate) struct Tells {
    /// Who receives.
    pub(crate) receive: watch::Sender<Receive>,
    /// Whether the rules for pods' ports are in force.
    pub(crate) raised: watch::Sender<bool>,
}

/// Keeps the guard until nobody tells it of peers any more.
pub(crate) async fn keep(
    mut guard: Guard,
    mut peers: watch::Receiver<BTreeSet<IpAddr>>,
    mut asks: mpsc::Receiver<Ask>,
    told: Told,
    Tells { receive: switched, raised }: Tells,
) -> anyhow::Result<()> {
    let Told { mut receive, mut port, mut links, mut exposed, mut pods } = told;
    let mut verify_at = Instant::now() + VERIFY;
    // What an earlier run has exposed is not what this one is to expose.
    exposed.mark_changed();
    let mut fence = Fence { raised, unfenced: None, refused: None };
    // What is to be exposed, as long as nft has not done it.
    let mut unexposed = None;
    // Who is to receive, as long as nft has not done it.
    let mut owed = None;
    let mut complaint = None;
    loop {
        let outcome = tokio::select! {
            biased;
            changed = peers.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                let peers = peers.borrow_and_update().clone();
                guard.set_peers(&peers).await.inspect_err(|_| verify_at = Instant::now() + RETRY)
            }
            Ok(()) = receive.changed() => {
                owed = Some(*receive.borrow_and_update());
                let outcome = switch(&mut guard, &mut owed, &switched).await;
                outcome.inspect_err(|_| verify_at = Instant::now() + RETRY)
            }
            Ok(()) = port.changed() => {
                let port = *port.borrow_and_update();
                guard.set_receiver(port).await
            }
            Ok(()) = exposed.changed() => {
                unexposed = Some(exposed.borrow_and_update().clone());
                let outcome = expose(&mut guard, &mut unexposed).await;
                outcome.inspect_err(|_| verify_at = Instant::now() + RETRY)
            }
            Ok(()) = pods.changed() => {
                fence.unfenced = *pods.borrow_and_update();
                let outcome = fence.mend(&mut guard).await;
                outcome.inspect_err(|_| verify_at = Instant::now() + RETRY)
            }
            // A new bridge has none of the rules that are its own.
            Ok(()) = links.changed() => {
                verify_at = Instant::now();
                Ok(())
            }
            Some(ask) = asks.recv() => guard.counters().await.map(|tally| {
                // Who asked may have gone.
                let _ = ask.send(tally);
            }),
            () = sleep_until(verify_at) => {
                let outcome = switch(&mut guard, &mut owed, &switched).await;
                let outcome = outcome.and(expose(&mut guard, &mut unexposed).await);
                let outcome = outcome.and(fence.mend(&mut guard).await);
                verify_at = Instant::now() + if outcome.is_ok() { VERIFY } else { RETRY };
                outcome.and(guard.verify().await.map(|damage| damage.into_iter().for_each(say)))
            }
        };
        complain(&mut complaint, outcome.err());
    }
}

/// Has that one receive to whom it is owed, and tells so.
async fn switch(
    guard: &mut Guard,
    owed: &mut Option<Receive>,
    switched: &watch::Sender<Receive>,
) -> Result<(), GuardError> {
    let Some(to) = *owed else { return Ok(()) };
    guard.set_receive(to).await?;
    *owed = None;
    switched.send_replace(to);
    Ok(())
}

/// Has networks masqueraded that are not yet.
async fn expose(
    guard: &mut Guard,
    unexposed: &mut Option<BTreeSet<Cidr>>,
) -> Result<(), GuardError> {
    if let Some(exposed) = unexposed {
        guard.set_exposed(exposed).await?;
    }
    *unexposed = None;
    Ok(())
}

/// The rules for pods' ports.
struct Fence {
    raised: watch::Sender<bool>,
    /// Whether they are to be there, as long as nft has not done it.
    unfenced: Option<bool>,
    /// Why the kernel refuses them, as was said.
    refused: Option<String>,
}

impl Fence {
    /// Sees to it. Where the kernel refuses them, pods do without, and it is tried again.
    async fn mend(&mut self, guard: &mut Guard) -> Result<(), GuardError> {
        let Some(fenced) = self.unfenced else { return Ok(()) };
        if !fenced {
            self.raised.send_replace(false);
        }
        match guard.set_fenced(fenced).await {
            Err(error) if fenced && error.is_refusal() => {
                let text = error.to_string();
                if self.refused.as_ref() != Some(&text) {
                    warn!(
                        "{text}; pods are plugged in all the same, and their probes are not believed"
                    );
                }
                self.refused = Some(text);
            }
            outcome => {
                outcome?;
                self.unfenced = None;
                self.refused = None;
            }
        }
        self.raised.send_replace(fenced);
        Ok(())
    }
}

fn say(damage: Damage) {
    let what = match damage {
        Damage::Gone => {
            "somebody has removed the tunnel guard (table inet weft), put back: its counters begin anew"
        }
        Damage::Rules => {
            "somebody has changed the rules of the tunnel guard (table inet weft), put back"
        }
        Damage::Peers => {
            "somebody has changed the peers in the tunnel guard (table inet weft), put back"
        }
        Damage::Pods => {
            "the rules of the tunnel guard for pods were gone or changed (tables netdev weft and bridge weft), put back: the bridge is a new one, or it was somebody"
        }
    };
    warn!("{what}");
}

/// Says an error once, and not as long as it lasts.
fn complain(complaint: &mut Option<String>, error: Option<GuardError>) {
    let text = error.map(|error| error.to_string());
    if let Some(text) = text.as_ref().filter(|text| complaint.as_ref() != Some(text)) {
        warn!("{text}; trying again");
    }
    *complaint = text;
}
