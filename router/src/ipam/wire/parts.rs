//! What is too long for one message.

use super::{MAX_MESSAGE, put};
use crate::ipam::Owner;
use crate::ipam::ring::Patch;

/// Octets of a message for what is listed: not head, counts and flags.
const ROOM: usize = MAX_MESSAGE - 64;

/// Messages of a patch: the roster goes with the first, then who was removed, then records, as many as fit.
pub(super) fn split(patch: &Patch) -> Vec<Patch> {
    let Patch { records, removed, roster, whole, tentative } = patch;
    let roster = roster.clone();
    let len = roster.as_ref().map_or(0, |(_, alive)| alive.len()) * Owner::LEN;
    let mut parts = Parts {
        done: Vec::new(),
        last: Patch { roster, whole: *whole, tentative: *tentative, ..Patch::default() },
        room: ROOM.saturating_sub(len),
    };
    for owner in removed {
        parts.with_room(Owner::LEN).removed.push(*owner);
    }
    for (owner, record) in records {
        let len = Owner::LEN + 4 + put::record(record).len();
        parts.with_room(len).records.push((*owner, record.clone()));
    }
    parts.done.push(parts.last);
    parts.done
}

/// Messages that are being filled.
struct Parts {
    done: Vec<Patch>,
    last: Patch,
    /// In the last one.
    room: usize,
}

impl Parts {
    /// The message that so many octets more go into.
    fn with_room(&mut self, len: usize) -> &mut Patch {
        if len > self.room {
            self.done.push(std::mem::take(&mut self.last));
            self.room = ROOM;
        }
        self.room = self.room.saturating_sub(len);
        &mut self.last
    }
}
