//! Laws and words of what is shown of addresses.

use std::net::IpAddr;

use super::*;
use crate::{
    Awaited, Cidr, Conflict, Consensus, Exposed, Here, Ipam, IpamState, IpamStatus, LostLease,
    Owner, PendingRequest, Removal, Removing,
};

proptest! {
    #[test]
    fn each_owner_and_each_thing_amiss_is_one_line(of in any_ipam()) {
        let amiss = of.removals.len() + of.conflicts.len() + of.lost.len() + of.pending.len();
        let expected = usize::from(of.state != IpamState::Ready)
            + of.owners.len()
            + usize::from(of.unowned > 0)
            + amiss;

        let text = ipam(&of);

        prop_assert!(is_lines(&text, expected), "{text:?}");
    }

    #[test]
    fn what_a_removal_says_is_one_line(
        (name, nickname) in (words(), words()),
        waiting_for in prop::collection::vec(awaited(), 0..3),
        addresses in any::<u64>(),
    ) {
        let of = Removal { name, nickname, epochs: Vec::new(), addresses, waiting_for };

        let text = removal(&of);

        prop_assert!(is_lines(&text, 1), "{text:?}");
    }
}

#[test]
fn a_state_has_weaves_words_where_weave_had_some() {
    let consensus = Some(Consensus { needed: 2, known: 1 });
    for (state, reason, consensus, shown) in [
        (IpamState::Ready, None, None, "ready"),
        (IpamState::Idle, None, None, "idle"),
        (IpamState::AwaitingConsensus, None, consensus, "awaiting consensus (quorum: 2, known: 1)"),
        (IpamState::AwaitingConsensus, None, None, "awaiting consensus"),
        (IpamState::Waiting, None, None, "waiting for IP(s) to become available"),
        (IpamState::Waiting, Some("all dead"), None, "waiting: all dead"),
        (IpamState::Refused, Some("a\nb"), None, "refused: a\u{fffd}b"),
        (IpamState::Other("new".into()), Some("so"), None, "new: so"),
    ] {
        assert_eq!(super::super::ipam::state(&state, reason, consensus), shown);
    }
}

#[test]
fn addresses_are_shown_one_a_line() {
    let addresses = ["10.32.0.1/12", "fd00:32::1/64"].map(|it| it.parse().unwrap()).to_vec();

    assert_eq!(exposed(&Exposed { addresses }), "10.32.0.1/12\nfd00:32::1/64\n");
    assert_eq!(exposed(&Exposed { addresses: Vec::new() }), "");
}

pub(super) fn section(reason: &str, state: &str) -> IpamStatus {
    IpamStatus {
        state: state.to_owned().into(),
        reason: Some(reason.to_owned()),
        consensus: None,
        range: range(),
        default_subnet: range(),
    }
}

fn range() -> Cidr {
    "10.32.0.0/12".parse().unwrap()
}

fn state() -> impl Strategy<Value = String> {
    let known = ["ready", "self", "up", "gone", "awaiting consensus"].map(str::to_owned).to_vec();
    prop_oneof![prop::sample::select(known), words()]
}

fn awaited() -> impl Strategy<Value = Awaited> {
    let parts = (words(), words(), words());
    parts.prop_map(|(name, nickname, reason)| Awaited { name, nickname, reason })
}

fn owner() -> impl Strategy<Value = Owner> {
    (words(), words(), words(), any::<u64>(), any::<Option<u64>>(), state()).prop_map(
        |(name, nickname, epoch, addresses, free, state)| Owner {
            name,
            nickname,
            epoch,
            addresses,
            free,
            state: state.into(),
        },
    )
}

fn removing() -> impl Strategy<Value = Removing> {
    let waiting_for = prop::collection::vec(awaited(), 0..3);
    (words(), words(), words(), any::<u64>(), waiting_for).prop_map(
        |(name, nickname, epoch, addresses, waiting_for)| Removing {
            name,
            nickname,
            epoch,
            addresses,
            waiting_for,
        },
    )
}

fn lost() -> impl Strategy<Value = LostLease> {
    (any::<IpAddr>(), words(), words(), words())
        .prop_map(|(address, id, owner, nickname)| LostLease { address, id, owner, nickname })
}

fn pending() -> impl Strategy<Value = PendingRequest> {
    (words(), any::<Option<IpAddr>>(), words()).prop_map(|(id, address, waiting_for)| {
        PendingRequest { id, address, since: NOW, waiting_for }
    })
}

fn any_ipam() -> impl Strategy<Value = Ipam> {
    let glance = (state(), prop::option::of(words()), any::<u64>(), any::<u64>());
    let owners = prop::collection::vec(owner(), 0..4);
    let removals = prop::collection::vec(removing(), 0..3);
    let conflicts = prop::collection::vec((words(), words()), 0..3);
    let lost = prop::collection::vec(lost(), 0..3);
    let pending = prop::collection::vec(pending(), 0..3);
    (glance, owners, removals, conflicts, lost, pending).prop_map(
        |((state, reason, addresses, unowned), owners, removals, conflicts, lost, pending)| Ipam {
            now: NOW,
            state: state.into(),
            reason,
            range: None,
            default_subnet: Some(range()),
            addresses,
            ring: None,
            name: String::new(),
            epoch: None,
            here: Here { leased: u64::MAX, exposed: vec![range()], ..Here::default() },
            consensus: Some(Consensus { needed: u64::MAX, known: 0 }),
            owners,
            removals,
            unowned,
            conflicts: conflicts
                .into_iter()
                .map(|(what, what_to_do)| Conflict { what, what_to_do })
                .collect(),
            lost,
            pending,
        },
    )
}
