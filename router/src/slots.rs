use std::collections::BTreeMap;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::PeerId;

/// Which peer has which slot of the switch's plan.
///
/// The frame path's MAC table knows peers by their slots, so a peer keeps its slot for as long as it is known. A slot
/// that was left is given to another only after whoever keeps the table has been told to forget what it had there: that
/// is what [`Slots::release`] returns the slot for.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Slots {
    taken: BTreeMap<PeerName, PeerId>,
    free: Vec<PeerId>,
    /// The first slot that nobody ever had.
    next: u32,
}

impl Slots {
    /// The peer's slot; a new one if it has none yet. `None`: all 65 536 are taken.
    pub fn assign(&mut self, name: PeerName) -> Option<PeerId> {
        if let Some(id) = self.taken.get(&name) {
            return Some(*id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = PeerId::new(u16::try_from(self.next).ok()?);
                self.next += 1;
                id
            }
        };
        self.taken.insert(name, id);
        Some(id)
    }

    /// The peer has this slot, as in an earlier run. Whether it was nobody's: for a start, before any is assigned.
    pub fn restore(&mut self, name: PeerName, id: PeerId) -> bool {
        if self.taken.contains_key(&name) || self.taken.values().any(|taken| *taken == id) {
            return false;
        }
        let raw = u32::try_from(id.slot()).unwrap_or(u32::MAX);
        let skipped = (self.next..raw).filter_map(|raw| u16::try_from(raw).ok()).map(PeerId::new);
        self.free.extend(skipped);
        self.free.retain(|free| *free != id);
        self.next = self.next.max(raw.saturating_add(1));
        self.taken.insert(name, id);
        true
    }

    /// The peer's slot.
    pub fn get(&self, name: PeerName) -> Option<PeerId> {
        self.taken.get(&name).copied()
    }

    /// The peer is gone for good. What the frame path has learned of its slot is to be forgotten before the next
    /// [`Slots::assign`].
    pub fn release(&mut self, name: PeerName) -> Option<PeerId> {
        let id = self.taken.remove(&name)?;
        self.free.push(id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_keeps_its_slot_and_who_leaves_makes_room() {
        let mut slots = Slots::default();
        let [a, b, c] = [1, 2, 3].map(PeerName::local);
        let (of_a, of_b) = (slots.assign(a), slots.assign(b));

        assert_ne!(of_a, of_b);
        assert_eq!(slots.release(a), of_a);
        assert_eq!(slots.assign(b), of_b);
        assert_eq!(slots.assign(c), of_a);
        assert_eq!(slots.release(a), None);
    }

    #[test]
    fn slots_of_an_earlier_run_are_kept_and_those_between_are_free() {
        let mut slots = Slots::default();
        let [a, b, c, d] = [1, 2, 3, 4].map(PeerName::local);

        assert!(slots.restore(a, PeerId::new(2)) && slots.restore(b, PeerId::new(0)));
        assert!(!slots.restore(c, PeerId::new(2)) && !slots.restore(a, PeerId::new(5)));

        assert_eq!(slots.assign(a), Some(PeerId::new(2)));
        assert_eq!(slots.assign(c), Some(PeerId::new(1)));
        assert_eq!(slots.assign(d), Some(PeerId::new(3)));
    }

    #[test]
    fn there_are_65536_slots() {
        let mut slots = Slots::default();
        let all = (0..65_536).filter(|n| slots.assign(PeerName::local(*n)).is_some()).count();

        assert_eq!(all, 65_536);
        assert_eq!(slots.assign(PeerName::local(65_536)), None);
        slots.release(PeerName::local(0));
        assert!(slots.assign(PeerName::local(65_536)).is_some());
    }
}
