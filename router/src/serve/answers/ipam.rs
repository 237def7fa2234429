//! Who owns which addresses.

use api::{
    Awaited, Here, Ipam, IpamState, IpamStatus, LostLease, Owner, OwnerState, PendingRequest,
    Removing,
};
use peer_mesh::PeerName;

use crate::serve::ipam::{IpamLook, LostLook, OwnerLook, PendingLook, RemovalLook};
use crate::serve::look::{Look, Standing};

/// Why there is nothing to tell.
const OFF: &str = "this weftd manages no addresses";

/// The address range: who owns which part of it, and what is not as it should be.
pub fn ipam(look: &Look) -> Ipam {
    let Some(it) = look.ipam.as_deref() else { return off(look) };
    let mut owners: Vec<&OwnerLook> = it.owners.iter().collect();
    owners.sort_by_key(|of| (!is_own(look, it, of), of.name, of.epoch));
    let mut removals: Vec<&RemovalLook> = it.removals.iter().collect();
    removals.sort_by_key(|of| (of.name, of.epoch));
    let mut lost: Vec<&LostLook> = it.lost.iter().collect();
    lost.sort_by_key(|of| of.address);
    let mut pending: Vec<&PendingLook> = it.pending.iter().collect();
    pending.sort_by_key(|of| of.since);
    Ipam {
        now: look.now,
        state: it.state.clone(),
        reason: it.reason.clone(),
        range: Some(it.range),
        default_subnet: Some(it.default_subnet),
        addresses: it.addresses(),
        ring: it.ring.map(digits),
        name: look.mesh.name.to_string(),
        epoch: it.epoch.map(digits),
        here: it.here.clone(),
        consensus: it.consensus,
        owners: owners.into_iter().map(|of| owner(look, it, of)).collect(),
        removals: removals.into_iter().map(|of| removing(look, of)).collect(),
        unowned: it.unowned,
        conflicts: it.conflicts.clone(),
        lost: lost.into_iter().map(|of| lost_lease(look, of)).collect(),
        pending: pending.into_iter().map(|of| request(look, it, of)).collect(),
    }
}

/// The same at a glance.
pub(super) fn section(look: &Look) -> Option<IpamStatus> {
    let it = look.ipam.as_deref()?;
    Some(IpamStatus {
        state: it.state.clone(),
        reason: it.reason.clone(),
        consensus: it.consensus,
        range: it.range,
        default_subnet: it.default_subnet,
    })
}

/// How an owner is seen from here.
pub(super) fn state(look: &Look, it: &IpamLook, of: &OwnerLook) -> OwnerState {
    if is_own(look, it, of) {
        return OwnerState::Own;
    }
    // Who has lost its state file is there under another epoch: nobody owns under this one any more.
    // A seed that has not taken up its part yet.
    if of.name == look.mesh.name && of.epoch == 0 {
        return OwnerState::Own;
    }
    if of.replaced || of.name == look.mesh.name {
        return OwnerState::Gone;
    }
    match look.standing(of.name) {
        Standing::Linked | Standing::Up if of.apart => OwnerState::Apart,
        Standing::Linked | Standing::Up => OwnerState::Up,
        Standing::Silent => OwnerState::Silent,
        Standing::Absent => OwnerState::Gone,
    }
}

fn off(look: &Look) -> Ipam {
    Ipam {
        now: look.now,
        state: IpamState::Off,
        reason: Some(OFF.to_owned()),
        range: None,
        default_subnet: None,
        addresses: 0,
        ring: None,
        name: look.mesh.name.to_string(),
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

fn is_own(look: &Look, it: &IpamLook, of: &OwnerLook) -> bool {
    of.name == look.mesh.name && it.epoch == Some(of.epoch)
}

fn owner(look: &Look, it: &IpamLook, of: &OwnerLook) -> Owner {
    Owner {
        name: of.name.to_string(),
        nickname: nickname(look, of.name, &of.nickname),
        epoch: digits(of.epoch),
        addresses: of.addresses,
        free: if is_own(look, it, of) { Some(it.here.free) } else { of.free },
        state: state(look, it, of),
    }
}

fn removing(look: &Look, of: &RemovalLook) -> Removing {
    let awaited = of.waiting_for.iter().map(|(name, reason)| Awaited {
        name: name.to_string(),
        nickname: look.nickname(*name).to_owned(),
        reason: reason.clone(),
    });
    Removing {
        name: of.name.to_string(),
        nickname: nickname(look, of.name, &of.nickname),
        epoch: digits(of.epoch),
        addresses: of.addresses,
        waiting_for: awaited.collect(),
    }
}

fn lost_lease(look: &Look, of: &LostLook) -> LostLease {
    LostLease {
        address: of.address,
        id: of.id.clone(),
        owner: of.owner.to_string(),
        nickname: look.nickname(of.owner).to_owned(),
    }
}

fn request(look: &Look, it: &IpamLook, of: &PendingLook) -> PendingRequest {
    PendingRequest {
        id: of.id.clone(),
        address: of.address,
        since: look.ago(it.now.saturating_sub(of.since)),
        waiting_for: of.waiting_for.clone(),
    }
}

/// The mesh's word is newer than the ring's, where it has one.
fn nickname(look: &Look, name: PeerName, of_ring: &str) -> String {
    match look.nickname(name) {
        "" => of_ring.to_owned(),
        known => known.to_owned(),
    }
}

/// 16 of them.
fn digits(id: u64) -> String {
    format!("{id:016x}")
}

#[cfg(test)]
mod tests;
