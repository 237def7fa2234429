//! What the allocator says, for the log.

use std::fmt;

use router::ipam::Word;
use tracing::{info, warn};

/// A word as a line.
struct Line<'a>(&'a Word);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Word::Ring(id) => write!(f, "the address range is divided by the ring {id}"),
            Word::Malformed(from, why) => {
                write!(f, "{from} tells of addresses what makes no sense: {why}")
            }
            Word::OtherRange(name, range) => write!(
                f,
                "{name} divides another range, {range}: start all nodes with the same --ipalloc-range"
            ),
            Word::OtherRing { with, kept, dropped } => write!(
                f,
                "two clusters were begun separately and met at {with}: the ring {kept} is kept, {dropped} is not; weft status ipam shows which leases are doubtful"
            ),
            Word::OtherCount(name, count) => write!(
                f,
                "{name} counts {count} nodes for the first division: give all nodes the same --ipalloc-init consensus=N"
            ),
            Word::Reborn(old, new) => write!(
                f,
                "this node was removed as an owner of addresses ({old}): it begins anew ({new}), and claims what it has leased again"
            ),
            Word::RolledBack => f.write_str(
                "what this node has stored of addresses is older than what others know of it: it leases no new ones; run weft rmpeer --force with its name on another node",
            ),
            Word::Lost { addr, id, owner } => write!(
                f,
                "{addr}, leased here to {id:?}, is leased by {owner} too: restart one of the pods that have it"
            ),
            Word::Regained(addr) => write!(f, "{addr} is this node's again"),
            Word::Usurped { from, count, by } => write!(
                f,
                "{count} addresses from {from} on have two owners, and {by} keeps them: was a state directory copied?"
            ),
            Word::Recovered { from, count } => {
                write!(f, "{count} addresses from {from} on are taken over from removed peers")
            }
            Word::InUse(addr) => write!(
                f,
                "somebody uses {addr} without a lease: it is left alone for ten minutes; weft fdb shows where it is"
            ),
            Word::RemovalDone(count) => {
                write!(f, "all have agreed: {count} removed owners are forgotten")
            }
            Word::Saving(Some(why)) => {
                write!(f, "no address is leased, as that cannot be saved: {why}; trying again")
            }
            Word::Saving(None) => f.write_str("what is leased can be saved again"),
        }
    }
}

/// Says it, as loud as it deserves.
pub(super) fn say(word: &Word) {
    let line = Line(word);
    match word {
        Word::Ring(_)
        | Word::Regained(_)
        | Word::Recovered { .. }
        | Word::RemovalDone(_)
        | Word::Saving(None) => info!("{line}"),
        Word::Malformed(..)
        | Word::OtherRange(..)
        | Word::OtherRing { .. }
        | Word::OtherCount(..)
        | Word::Reborn(..)
        | Word::RolledBack
        | Word::Lost { .. }
        | Word::Usurped { .. }
        | Word::InUse(_)
        | Word::Saving(Some(_)) => warn!("{line}"),
    }
}
