//! Who owns which part of the address range, as Weave laid it out; then what is not as it should be.

use std::fmt::Write;

use jiff::Timestamp;

use super::describe::{joined, span, who};
use super::{PEER, lines, plain, width};
use crate::{
    Awaited, Conflict, Consensus, Exposed, Here, Ipam, IpamState, LostLease, Owner, OwnerState,
    PendingRequest, Removal, Removing,
};

/// Instead of an owner.
const NOBODY: &str = "nobody";

/// `weft status ipam`: a line for each owner, and one for each thing that is not as it should be.
pub fn ipam(it: &Ipam) -> String {
    let owners = it.owners.iter().map(|of| who(&of.name, &of.nickname));
    let removed = it.removals.iter().map(|of| who(&of.name, &of.nickname));
    let columns = Columns { peer: width(PEER, owners.chain(removed)), of: it.addresses };
    let state = (it.state != IpamState::Ready)
        .then(|| state(&it.state, it.reason.as_deref(), it.consensus));
    let owners = it.owners.iter().map(|of| owner(of, &it.here, &columns));
    let unowned = (it.unowned > 0).then(|| columns.part(NOBODY, it.unowned));
    let removals = it.removals.iter().map(|of| removing(of, &columns));
    let rest = it.conflicts.iter().map(conflict).chain(it.lost.iter().map(lost));
    let pending = it.pending.iter().map(|of| request(of, it.now));
    let all = state.into_iter().chain(owners).chain(unowned);
    lines(all.chain(removals).chain(rest).chain(pending))
}

/// `weft rmpeer`: one line.
pub fn removal(it: &Removal) -> String {
    let who = who(&it.name, &it.nickname);
    if it.waiting_for.is_empty() {
        return format!("{} IPs taken over from {who}\n", it.addresses);
    }
    format!(
        "{} IPs of {who} are taken over later: waiting for {}: see weft status ipam\n",
        it.addresses,
        awaited(&it.waiting_for)
    )
}

/// `weft expose`: a line for each address.
pub fn exposed(it: &Exposed) -> String {
    lines(it.addresses.iter().map(ToString::to_string))
}

/// Weave's words where it had some, and why.
pub(super) fn state(
    state: &IpamState,
    reason: Option<&str>,
    consensus: Option<Consensus>,
) -> String {
    let mut text = match (state, reason, consensus) {
        (IpamState::AwaitingConsensus, _, Some(Consensus { needed, known })) => {
            format!("awaiting consensus (quorum: {needed}, known: {known})")
        }
        (IpamState::Waiting, None, _) => "waiting for IP(s) to become available".to_owned(),
        (other, ..) => plain(other.as_str()),
    };
    if let Some(reason) = reason {
        let _ = write!(text, ": {}", plain(reason));
    }
    text
}

/// What the columns of a part are made for.
struct Columns {
    peer: usize,
    /// All addresses.
    of: u64,
}

impl Columns {
    fn part(&self, whose: &str, addresses: u64) -> String {
        let &Self { peer, of } = self;
        let share = if of == 0 { 0.0 } else { addresses as f64 * 100.0 / of as f64 };
        format!("{whose:<peer$} {addresses:>8} IPs ({share:04.1}% of total)")
    }
}

fn owner(it: &Owner, here: &Here, columns: &Columns) -> String {
    let mut line = columns.part(&who(&it.name, &it.nickname), it.addresses);
    match &it.state {
        OwnerState::Own => {
            let _ = write!(line, " ({} active)", here.leased);
        }
        OwnerState::Up => {}
        OwnerState::Silent | OwnerState::Gone => line += " - unreachable!",
        OwnerState::Apart => line += " - manages no addresses!",
        // A word of another release says what it says.
        OwnerState::Other(_) => {}
    }
    match (&it.state, it.free) {
        (OwnerState::Own, _) => {
            let _ = write!(line, " free={} resting={}", here.free, here.resting);
        }
        (_, Some(free)) => {
            let _ = write!(line, " free={free}");
        }
        (_, None) => {}
    }
    if !matches!(it.state, OwnerState::Own | OwnerState::Up) {
        let _ = write!(line, " state={}", plain(it.state.as_str()));
    }
    let _ = write!(line, " epoch={}", plain(&it.epoch));
    if it.state == OwnerState::Own && !here.exposed.is_empty() {
        let exposed: Vec<_> = here.exposed.iter().map(ToString::to_string).collect();
        let _ = write!(line, " exposed={}", exposed.join(","));
    }
    line
}

fn removing(it: &Removing, columns: &Columns) -> String {
    let mut line = columns.part(&who(&it.name, &it.nickname), it.addresses);
    let _ = write!(line, " removed epoch={}", plain(&it.epoch));
    if it.waiting_for.is_empty() {
        return line + ": being taken over";
    }
    let _ = write!(line, ": waiting for {}", awaited(&it.waiting_for));
    line
}

fn awaited(each: &[Awaited]) -> String {
    joined(each.iter().map(|it| format!("{} ({})", who(&it.name, &it.nickname), plain(&it.reason))))
}

fn conflict(it: &Conflict) -> String {
    format!("conflict: {}: {}", plain(&it.what), plain(&it.what_to_do))
}

fn lost(it: &LostLease) -> String {
    let (address, id, owner) = (it.address, plain(&it.id), who(&it.owner, &it.nickname));
    format!(
        "lost: {address} of {id}: {owner} owns it now: start {id} anew, and it gets another address"
    )
}

fn request(it: &PendingRequest, now: Timestamp) -> String {
    let wanted = it.address.map_or_else(|| "any".to_owned(), |address| address.to_string());
    let (id, since) = (plain(&it.id), span(it.since, now));
    format!("pending: {id} address={wanted} since={since}: waiting for {}", plain(&it.waiting_for))
}
