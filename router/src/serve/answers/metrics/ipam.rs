//! What Prometheus is told of addresses: Weave's names where they mean the same, and our own.

use std::collections::BTreeSet;

use api::{IpamState, OwnerState};

use crate::serve::answers::ipam::state;
use crate::serve::exposition::{Exposition, Kind};
use crate::serve::ipam::IpamLook;
use crate::serve::look::{Look, Standing};

/// Nothing, where none are managed.
pub(super) fn addresses(out: &mut Exposition, look: &Look) {
    let Some(it) = look.ipam.as_deref() else { return };
    weaves(out, look, it);
    own(out, look, it);
}

/// What Weave has told under these names.
fn weaves(out: &mut Exposition, look: &Look, it: &IpamLook) {
    let help = "Addresses that are leased on this node.";
    out.family(Kind::Gauge, "weave_ips", help).put(&[("state", "local-used")], it.here.leased);
    let help = "How many addresses the range has.";
    out.single(Kind::Gauge, "weave_max_ips", help, it.addresses());
    let (peers, addresses) = unreachable(look, it);
    let help = "Peers that own addresses and are not reached.";
    out.single(Kind::Gauge, "weave_ipam_unreachable_count", help, peers);
    let share = addresses as f64 * 100.0 / it.addresses() as f64;
    let help = "Which part of all addresses these own, in percent.";
    out.single(Kind::Gauge, "weave_ipam_unreachable_percentage", help, share);
    let claims = it.pending.iter().filter(|of| of.address.is_some()).count();
    let allocates = it.pending.len().saturating_sub(claims);
    let help = "Requests for any address that wait.";
    out.single(Kind::Gauge, "weave_ipam_pending_allocates", help, allocates);
    let help = "Requests for a certain address that wait.";
    out.single(Kind::Gauge, "weave_ipam_pending_claims", help, claims);
}

/// How many peers, and how many addresses: those of a removed peer as well, until somebody has taken them over.
fn unreachable(look: &Look, it: &IpamLook) -> (usize, u64) {
    let owners = it.owners.iter().filter(|of| match state(look, it, of) {
        OwnerState::Silent | OwnerState::Gone | OwnerState::Apart => true,
        OwnerState::Own | OwnerState::Up | OwnerState::Other(_) => false,
    });
    let removed = it.removals.iter().filter(|of| match look.standing(of.name) {
        Standing::Silent | Standing::Absent => of.name != look.mesh.name,
        Standing::Linked | Standing::Up => false,
    });
    let owners = owners.map(|of| (of.name, of.addresses));
    let all: Vec<_> = owners.chain(removed.map(|of| (of.name, of.addresses))).collect();
    let peers: BTreeSet<_> = all.iter().map(|(name, _)| name).collect();
    (peers.len(), all.iter().map(|(_, addresses)| addresses).sum())
}

fn own(out: &mut Exposition, look: &Look, it: &IpamLook) {
    let help = "Whether addresses can be had: 1 for how it is, 0 for how it is not.";
    let mut family = out.family(Kind::Gauge, "weft_ipam_state", help);
    for state in IpamState::ALL {
        family.put(&[("state", state.as_str())], u8::from(it.state == *state));
    }
    let here = &it.here;
    let mut family = out.family(Kind::Gauge, "weft_ipam_addresses", "This node's addresses.");
    let parts = [("owned", here.owned), ("leased", here.leased), ("free", here.free)];
    for (which, count) in parts.into_iter().chain([("resting", here.resting)]) {
        family.put(&[("which", which)], count);
    }
    let states: Vec<_> = it.owners.iter().map(|of| state(look, it, of)).collect();
    let help = "Who owns addresses, by how it is seen.";
    let mut family = out.family(Kind::Gauge, "weft_ipam_owners", help);
    for state in OwnerState::ALL {
        let count = states.iter().filter(|is| *is == state).count();
        family.put(&[("state", state.as_str())], count);
    }
    for (name, help, count) in [
        (
            "weft_ipam_removals",
            "Removed owners whose addresses are not taken over.",
            it.removals.len(),
        ),
        ("weft_ipam_conflicts", "Contradictions about addresses.", it.conflicts.len()),
        ("weft_ipam_lost_leases", "Leases here that another node owns now.", it.lost.len()),
    ] {
        out.single(Kind::Gauge, name, help, count);
    }
    let help = "Addresses that nobody owns at the moment.";
    out.single(Kind::Gauge, "weft_ipam_unowned", help, it.unowned);
}
