//! What there is to tell of address management.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use api::{Cidr, Conflict, Consensus, Here, IpamState};
use peer_mesh::PeerName;
use router::ipam::{Init, Reach, Refusal, Stage, Subnet, View};
use router::serve::{IpamLook, LostLook, OwnerLook, PendingLook, RemovalLook};

use super::remedy;
use crate::args::Addressing;

/// So long it is shown at least that two clusters have met.
const SHOWN: Duration = Duration::from_secs(600);

/// What the task knows besides: leases of its own addresses, and which address somebody claims.
type Known<'a> = (u64, &'a dyn Fn(&str) -> Option<IpAddr>);

/// How it stands at this moment, on the node of this name.
pub(super) fn look(
    (now, own): (Duration, PeerName),
    addressing: &Addressing,
    view: &View,
    (leased, claimed_by): Known<'_>,
) -> IpamLook {
    let (state, reason) = state(addressing, view);
    let pending = view.pending.iter().map(|(id, since, why)| PendingLook {
        id: id.clone(),
        address: claimed_by(id),
        since: *since,
        waiting_for: why.to_string(),
    });
    let lost = view.lost.iter().filter_map(|(at, lease, owner)| {
        let address = addressing.range.addr(*at);
        owner.map(|owner| LostLook { address, id: lease.id.clone(), owner })
    });
    IpamLook {
        now,
        ring: view.ring.map(|id| id.0),
        epoch: Some(view.epoch.0),
        here: Here {
            owned: view.owned,
            leased,
            free: view.free,
            resting: view.resting,
            exposed: Vec::new(),
        },
        consensus: view.consensus.filter(|_| state == IpamState::AwaitingConsensus).map(consensus),
        owners: owners(view, own),
        removals: view.removals.iter().map(removal).collect(),
        unowned: view.unowned,
        conflicts: conflicts(view, addressing, now),
        lost: lost.collect(),
        pending: pending.collect(),
        state,
        reason,
        ..empty(addressing)
    }
}

/// Nothing is leased, as what is stored cannot be used.
pub(super) fn refused(addressing: &Addressing, why: &str) -> IpamLook {
    IpamLook { state: IpamState::Refused, reason: Some(why.to_owned()), ..empty(addressing) }
}

/// A network, in the words of the API.
pub(crate) fn cidr(subnet: Subnet) -> Option<Cidr> {
    Cidr::new(subnet.first(), subnet.prefix())
}

fn empty(addressing: &Addressing) -> IpamLook {
    // A network's prefix fits its address.
    let any = || Cidr::new(IpAddr::from([0, 0, 0, 0]), 0);
    #[expect(clippy::expect_used, reason = "no prefix is shorter than none")]
    let of = |subnet| cidr(subnet).or_else(any).expect("a network");
    IpamLook {
        now: Duration::ZERO,
        state: IpamState::Idle,
        reason: None,
        range: of(addressing.range.subnet()),
        default_subnet: of(addressing.subnet),
        ring: None,
        epoch: None,
        here: Here::default(),
        consensus: None,
        owners: Vec::new(),
        removals: Vec::new(),
        unowned: 0,
        conflicts: Vec::new(),
        lost: Vec::new(),
        pending: Vec::new(),
    }
}

fn state(addressing: &Addressing, view: &View) -> (IpamState, Option<String>) {
    if let Some(why) = &view.failing {
        let why = Refusal::Unsaved(why.clone());
        return (IpamState::Unsaved, Some(reason(&why)));
    }
    let why = match &view.stage {
        Stage::Idle => return (IpamState::Idle, None),
        Stage::Ready => {
            let waits = view.pending.iter().min_by_key(|(_, since, _)| *since);
            return match waits {
                None => (IpamState::Ready, None),
                Some((_, _, why)) => (IpamState::Waiting, Some(reason(why))),
            };
        }
        Stage::Waiting(why) => why,
    };
    let observes = matches!(addressing.init, Init::Observer(_));
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are answers to requests")]
    let state = match why {
        Refusal::NoConsensus { .. } if observes => IpamState::Priming,
        Refusal::NoConsensus { .. } => IpamState::AwaitingConsensus,
        Refusal::NoRing => IpamState::Priming,
        Refusal::NotPulled(_) | Refusal::NotIntroduced(_) => IpamState::Joining,
        Refusal::RolledBack => IpamState::Quarantined,
        Refusal::Left => IpamState::Left,
        _ => IpamState::Waiting,
    };
    (state, Some(reason(why)))
}

/// Why, and what to do.
fn reason(why: &Refusal) -> String {
    format!("{why}: {}", remedy(why).1)
}

fn consensus((needed, known): (usize, usize)) -> Consensus {
    let count = |count| u64::try_from(count).unwrap_or(u64::MAX);
    Consensus { needed: count(needed), known: count(known) }
}

fn owners(view: &View, own: PeerName) -> Vec<OwnerLook> {
    let mut last = BTreeMap::new();
    for owner in view.owners.iter().map(|it| it.owner) {
        let last = last.entry(owner.name).or_insert(owner.epoch);
        *last = owner.epoch.max(*last);
    }
    let owner = |it: &router::ipam::OwnerView| OwnerLook {
        name: it.owner.name,
        nickname: it.nickname.clone(),
        epoch: it.owner.epoch.0,
        replaced: it.owner.name != own && last.get(&it.owner.name) != Some(&it.owner.epoch),
        addresses: it.addresses,
        free: Some(it.free),
        apart: it.reach == Some(Reach::Apart),
    };
    view.owners.iter().map(owner).collect()
}

fn removal(it: &router::ipam::RemovalView) -> RemovalLook {
    let waiting = it.waiting_for.iter().map(|(owner, reach)| (owner.name, awaited(*reach)));
    RemovalLook {
        name: it.owner.name,
        nickname: String::new(),
        epoch: it.owner.epoch.0,
        addresses: it.addresses.unwrap_or(0),
        waiting_for: waiting.collect(),
    }
}

/// Why somebody is waited for who is seen like that.
pub(crate) fn awaited(reach: Reach) -> String {
    match reach {
        Reach::Up => "has not said yet that it knows",
        Reach::Apart => "manages no addresses of this range",
        Reach::Silent => "silent",
        Reach::Gone => "unreachable",
    }
    .to_owned()
}

fn conflicts(view: &View, addressing: &Addressing, now: Duration) -> Vec<Conflict> {
    let mut all = Vec::new();
    let mut add = |what: String, what_to_do: &str| {
        all.push(Conflict { what, what_to_do: what_to_do.to_owned() });
    };
    let lost = view.lost.iter().filter(|(.., owner)| owner.is_some()).count();
    if let Some((with, kept, dropped)) = view.other_ring
        && (lost > 0 || now < view.other_ring_at + SHOWN)
    {
        let to_do = match lost {
            0 => {
                "nothing here, but pods of other nodes may share their addresses: look there (weft status ipam); this is shown for ten minutes"
            }
            _ => {
                "pods that are shown as lost share their addresses with others: restart them, or run weft reset on the nodes of the smaller side"
            }
        };
        add(
            format!(
                "two clusters were begun separately and met at {with}: the ring {kept} is kept, {dropped} is not; {lost} leases lost here"
            ),
            to_do,
        );
    }
    for (name, range) in &view.strangers {
        let own = addressing.range;
        add(
            format!("{name} divides the range {range}, this node {own}"),
            "start all nodes with the same --ipalloc-range",
        );
    }
    for (name, count) in &view.other_counts {
        add(
            format!("{name} counts {count} nodes for the first division, this node does not"),
            "start all nodes with the same --ipalloc-init consensus=N",
        );
    }
    let (_, usurped, _) = view.conflicts;
    if usurped > 0 {
        add(
            format!("{usurped} parts of the range had two owners: the other one kept them"),
            "see whether a state directory was copied from one node to another: run weft reset --all on the copy",
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use router::ipam::{Epoch, Lease, LeaseState, Owner, OwnerView, RingId};

    use super::*;

    const PEER: PeerName = PeerName::local(7);
    const OWN: PeerName = PeerName::local(1);

    fn addressing(init: Init) -> Addressing {
        let subnet: Subnet = "10.32.0.0/12".parse().unwrap();
        Addressing { range: router::ipam::Range::new(subnet).unwrap(), subnet, init }
    }

    fn view(stage: Stage) -> View {
        View {
            stage,
            ring: Some(RingId(5)),
            epoch: Epoch(1),
            owned: 10,
            leased: 2,
            free: 7,
            resting: 1,
            occupied: 0,
            consensus: Some((2, 1)),
            owners: Vec::new(),
            removals: Vec::new(),
            unowned: 0,
            lost: Vec::new(),
            pending: Vec::new(),
            other_ring: None,
            other_ring_at: Duration::ZERO,
            failing: None,
            strangers: Vec::new(),
            other_counts: Vec::new(),
            conflicts: (0, 0, 0),
        }
    }

    fn look_of(view: &View, init: Init) -> IpamLook {
        look((Duration::ZERO, OWN), &addressing(init), view, (2, &|_| None))
    }

    #[test]
    fn what_a_node_waits_for_is_its_state_and_the_reason_has_a_remedy() {
        let waits = |why: Refusal, init| look_of(&view(Stage::Waiting(why)), init);
        let none = || Refusal::NoConsensus { needed: 2, known: 1, others: Vec::new() };

        let voter = waits(none(), Init::Consensus(3));
        let observer = waits(none(), Init::Observer(3));
        let joins = waits(Refusal::NotPulled(vec![PEER]), Init::Consensus(3));

        assert_eq!(voter.state, IpamState::AwaitingConsensus);
        assert_eq!(voter.consensus, Some(Consensus { needed: 2, known: 1 }));
        assert!(voter.reason.is_some_and(|it| it.contains("--ipalloc-init")));
        assert_eq!((observer.state, observer.consensus), (IpamState::Priming, None));
        assert_eq!(joins.state, IpamState::Joining);
        assert!(joins.reason.is_some_and(|it| it.contains("weft rmpeer")));
    }

    #[test]
    fn a_node_that_leases_waits_while_somebody_does() {
        let subnet = "10.32.0.0/12".parse().unwrap();
        let mut it = view(Stage::Ready);
        assert_eq!(look_of(&it, Init::Consensus(1)).state, IpamState::Ready);

        let why = Refusal::Unreachable { subnet, owners: vec![(PEER, 3)] };
        it.pending.push(("pod".to_owned(), Duration::ZERO, why));

        let look = look_of(&it, Init::Consensus(1));
        assert_eq!(look.state, IpamState::Waiting);
        assert!(look.reason.is_some_and(|it| it.contains(&format!("weft rmpeer {PEER}"))));
    }

    #[test]
    fn rings_that_met_are_a_conflict_with_what_was_lost_and_a_remedy() {
        let mut it = view(Stage::Ready);
        it.other_ring = Some((PEER, RingId(5), RingId(9)));
        let lease = |state| Lease { id: "pod".to_owned(), since: 0, state, prefix: None };
        it.lost.push((7, lease(LeaseState::Lost(PEER)), Some(PEER)));

        let look = look_of(&it, Init::Consensus(1));

        assert!(look.conflicts.iter().any(|it| it.what.contains("1 leases lost")));
        assert!(look.conflicts.iter().all(|it| it.what_to_do.contains("weft reset")));
        assert_eq!(look.lost.len(), 1);
    }

    #[test]
    fn that_rings_have_met_is_shown_for_a_while_and_as_long_as_something_is_lost() {
        let mut it = view(Stage::Ready);
        it.other_ring = Some((PEER, RingId(5), RingId(9)));
        let later = |it: &View| {
            let moment = (SHOWN, OWN);
            look(moment, &addressing(Init::Consensus(1)), it, (2, &|_| None)).conflicts.len()
        };

        assert_eq!(look_of(&it, Init::Consensus(1)).conflicts.len(), 1);
        assert_eq!(later(&it), 0);
        let lease =
            Lease { id: "pod".to_owned(), since: 0, state: LeaseState::Lost(PEER), prefix: None };
        it.lost.push((7, lease, Some(PEER)));
        assert_eq!(later(&it), 1);
    }

    #[test]
    fn a_disk_that_fails_is_why_nothing_is_leased() {
        let mut it = view(Stage::Ready);
        it.failing = Some("no room".to_owned());

        let look = look_of(&it, Init::Consensus(1));

        assert_eq!(look.state, IpamState::Unsaved);
        assert!(look.reason.is_some_and(|it| it.contains("no room")));
    }

    #[test]
    fn of_an_owner_that_has_started_anew_the_earlier_one_is_nobody_any_more() {
        let mut it = view(Stage::Ready);
        let owner = |epoch| OwnerView {
            owner: Owner { name: PEER, epoch: Epoch(epoch) },
            nickname: String::new(),
            addresses: 4,
            free: 2,
            reach: Some(Reach::Up),
        };
        it.owners = vec![owner(3), owner(8)];

        let look = look_of(&it, Init::Consensus(1));

        let replaced: Vec<_> = look.owners.iter().map(|it| it.replaced).collect();
        assert_eq!(replaced, [true, false]);
    }
}
