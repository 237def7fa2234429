//! Keeps the bridge's addresses of the range leased to it, so that no pod gets one.
//!
//! They are claimed again and again: what another has now may be free later, and what was leased once may have been lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use api::Conflict;
use router::Cidr;
use router::ipam::{Lease, LeaseState, Range, Refusal, Wish};
use router::serve::Because;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::addresses::{Office, Question, remedy};

/// To whom addresses of the range are leased that the bridge has. No request can name it.
pub(crate) const ID: &str = "weave:expose";
/// How often they are claimed. What is leased without being exposed for so long is freed: a request may be about to expose it.
const AGAIN: Duration = Duration::from_secs(10);

/// Addresses that the bridge has and another, too.
#[derive(Debug, Default)]
pub(crate) struct Contested {
    now: BTreeMap<Cidr, Conflict>,
    /// How often one was found.
    pub(crate) found: u64,
}

/// The task.
struct Claims {
    range: Range,
    asks: mpsc::Sender<Question>,
    contested: watch::Sender<Contested>,
    /// Leases of addresses that are not exposed, and since when they are known.
    strays: BTreeMap<IpAddr, Instant>,
}

/// Keeps them leased for as long as the daemon runs.
pub(super) async fn keep(
    office: Office,
    mut wanted: watch::Receiver<BTreeSet<Cidr>>,
    contested: watch::Sender<Contested>,
) -> anyhow::Result<()> {
    let Office::Open(addressing, asks, ..) = office else { return std::future::pending().await };
    let strays = BTreeMap::new();
    let mut claims = Claims { range: addressing.range, asks, contested, strays };
    loop {
        let mut all = wanted.borrow_and_update().clone();
        all.retain(|it| claims.range.offset(it.addr()).is_some());
        claims.round(&all).await;
        tokio::select! {
            Ok(()) = wanted.changed() => {}
            () = sleep(AGAIN) => {}
        }
    }
}

impl Contested {
    /// What contradicts itself.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = Conflict> {
        self.now.values().cloned()
    }
}

impl Claims {
    async fn round(&mut self, wanted: &BTreeSet<Cidr>) {
        self.contested.send_modify(|it| it.now.retain(|addr, _| wanted.contains(addr)));
        for addr in wanted {
            let subnet = self.range.network(addr.addr(), addr.prefix());
            let wish = Wish::Claim { id: ID.to_owned(), addr: addr.addr(), subnet };
            match Office::wish(&self.asks, wish).await {
                Some(Err(why)) if remedy(&why).0 == Because::Forbidden => self.contest(*addr, &why),
                // Nothing new is known; or the lease itself tells.
                Some(Err(_) | Ok(_)) | None => {}
            }
        }
        let leases = Office::leases(&self.asks, Some(ID.to_owned())).await;
        let leases: BTreeMap<_, _> = leases.into_iter().flatten().collect();
        for addr in wanted {
            match leases.get(&addr.addr()).map(|it| it.state) {
                Some(LeaseState::Lost(owner)) => {
                    self.contest(*addr, &Refusal::Taken { addr: addr.addr(), owner });
                }
                Some(LeaseState::Owned) => self.settle(*addr),
                Some(LeaseState::Reclaiming) | None => {}
            }
        }
        self.free_strays(wanted, &leases).await;
    }

    /// Frees what the bridge does not have, as after a start without it.
    async fn free_strays(&mut self, wanted: &BTreeSet<Cidr>, leases: &BTreeMap<IpAddr, Lease>) {
        let now = Instant::now();
        let strays = leases.keys().filter(|at| wanted.iter().all(|it| it.addr() != **at));
        let strays = strays.map(|at| (*at, self.strays.get(at).copied().unwrap_or(now)));
        self.strays = strays.collect();
        for (addr, _) in self.strays.iter().filter(|(_, since)| now >= **since + AGAIN) {
            let wish = Wish::Free { id: ID.to_owned(), addr: Some(*addr) };
            if let Some(Ok(_)) = Office::wish(&self.asks, wish).await {
                info!(%addr, "the bridge does not have this address any more: it is free");
            }
        }
    }

    /// Another has it, too. It is said once.
    fn contest(&self, addr: Cidr, why: &Refusal) {
        let conflict = conflict(addr, why);
        self.contested.send_modify(|it| {
            if it.now.insert(addr, conflict.clone()).is_none() {
                it.found += 1;
                warn!("{}: {}", conflict.what, conflict.what_to_do);
            }
        });
    }

    fn settle(&self, addr: Cidr) {
        self.contested.send_modify(|it| {
            if it.now.remove(&addr).is_some() {
                info!(%addr, "an exposed address is the bridge's alone again");
            }
        });
    }
}

fn conflict(addr: Cidr, why: &Refusal) -> Conflict {
    let (_, remedy) = remedy(why);
    Conflict {
        what: format!("the bridge has {addr}, and {why}"),
        what_to_do: format!(
            "{remedy}; it is taken from the bridge by weft hide {addr}, or by a start without it in --expose"
        ),
    }
}

#[cfg(test)]
mod tests {
    use peer_mesh::PeerName;
    use router::ipam::Answer;

    use super::*;

    const OTHER: PeerName = PeerName::local(7);
    const ADDR: &str = "10.32.0.9/12";

    /// A task that leases nothing but this, and notes what it is asked to free.
    fn office(outcome: Result<LeaseState, Refusal>) -> (Claims, mpsc::UnboundedReceiver<IpAddr>) {
        let (asks, mut asked) = mpsc::channel(4);
        let (freed_to, freed) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let addr = ADDR.parse::<Cidr>().unwrap().addr();
            while let Some(question) = asked.recv().await {
                match question {
                    Question::Wish(Wish::Claim { addr, .. }, to) => {
                        let answer = outcome.clone().map(|_| Answer::Leased(addr));
                        drop(to.send(answer));
                    }
                    Question::Wish(Wish::Free { addr, .. }, to) => {
                        freed_to.send(addr.unwrap()).unwrap();
                        drop(to.send(Ok(Answer::Freed(addr.into_iter().collect()))));
                    }
                    Question::Leases(_, to) => {
                        let lease =
                            |state| Lease { id: ID.to_owned(), since: 0, state, prefix: None };
                        let leases = outcome.iter().map(|it| (addr, lease(*it))).collect();
                        drop(to.send(leases));
                    }
                    Question::Wish(..) | Question::Look(_) => {}
                }
            }
        });
        let range = Range::new("10.32.0.0/12".parse().unwrap()).unwrap();
        let (contested, _) = watch::channel(Contested::default());
        (Claims { range, asks, contested, strays: BTreeMap::new() }, freed)
    }

    fn wanted() -> BTreeSet<Cidr> {
        [ADDR.parse().unwrap()].into()
    }

    fn shown(claims: &Claims) -> (Vec<Conflict>, u64) {
        let contested = claims.contested.borrow();
        (contested.conflicts().collect(), contested.found)
    }

    #[tokio::test]
    async fn an_address_that_another_has_is_a_conflict_and_counted_once_while_it_is_so() {
        let addr = ADDR.parse::<Cidr>().unwrap().addr();
        let (mut claims, _freed) = office(Err(Refusal::Taken { addr, owner: OTHER }));

        claims.round(&wanted()).await;
        claims.round(&wanted()).await;

        let (conflicts, found) = shown(&claims);
        assert_eq!((conflicts.len(), found), (1, 1));
        assert!(conflicts[0].what.contains(&format!("in use on {OTHER}")), "{conflicts:?}");
        assert!(conflicts[0].what_to_do.contains(&format!("weft hide {ADDR}")), "{conflicts:?}");
        claims.asks = office(Ok(LeaseState::Owned)).0.asks;
        claims.round(&wanted()).await;
        assert_eq!(shown(&claims), (Vec::new(), 1));
    }

    #[tokio::test]
    async fn a_lease_that_was_lost_is_a_conflict_until_the_address_is_hidden() {
        let (mut claims, _freed) = office(Ok(LeaseState::Lost(OTHER)));

        claims.round(&wanted()).await;

        assert_eq!(shown(&claims).0.len(), 1);
        claims.round(&BTreeSet::new()).await;
        assert_eq!(shown(&claims).0, []);
    }

    #[tokio::test]
    async fn what_cannot_be_told_yet_is_no_conflict() {
        let (mut claims, _freed) = office(Err(Refusal::NoRing));

        claims.round(&wanted()).await;

        assert_eq!(shown(&claims), (Vec::new(), 0));
    }

    #[tokio::test]
    async fn a_lease_of_an_address_that_the_bridge_does_not_have_is_freed_but_not_at_once() {
        let (mut claims, mut freed) = office(Ok(LeaseState::Owned));
        let addr = ADDR.parse::<Cidr>().unwrap().addr();

        claims.round(&BTreeSet::new()).await;
        assert!(freed.try_recv().is_err());
        claims.strays.values_mut().for_each(|since| *since -= AGAIN);
        claims.round(&BTreeSet::new()).await;

        assert_eq!(freed.try_recv(), Ok(addr));
    }
}
