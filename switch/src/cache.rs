use std::time::Duration;

use crate::{Learned, Mac, MacTable, Port, Tick};

/// Stations at hand; a power of two.
const SLOTS: usize = 1024;

/// A station that is seen all the time is shown to the table this often, so that it does not age.
const REFRESH: Duration = Duration::from_secs(1);

/// Stations that were lately seen where they are not, at hand; a power of two.
const REFUSALS: usize = 64;

/// What one worker has lately seen of the shared table: no lock and no shared write for the frames
/// of a station that stays where it is. An entry holds while the table's version does.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Box<[Entry]>,
    /// Apart from the others, as they are asked for less often.
    refusals: Box<[Option<Refusal>]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: Mac,
    port: Port,
    version: u64,
    /// When the table was last shown the station; `None` when it was only looked up.
    shown: Option<Tick>,
}

/// A station that the table does not move to a port.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    mac: Mac,
    port: Port,
    version: u64,
    at: Tick,
}

impl Cache {
    pub(crate) fn new() -> Self {
        // No station has this address.
        let empty = Entry { mac: Mac::ZERO, port: Port::Local, version: 0, shown: None };
        Self { slots: vec![empty; SLOTS].into(), refusals: vec![None; REFUSALS].into() }
    }

    /// Shows the table a station, unless it has been shown lately. Returns what the table said.
    pub(crate) fn learn(
        &mut self,
        table: &MacTable,
        mac: Mac,
        port: Port,
        now: Tick,
    ) -> Option<Learned> {
        let version = table.version();
        if let Some(entry) = self.entry(mac)
            && (entry.mac, entry.port, entry.version) == (mac, port, version)
            && entry.shown.is_some_and(|shown| now.since(shown) < REFRESH)
        {
            return None;
        }
        self.show(table, (mac, port, version), now)
    }

    pub(crate) fn lookup(&mut self, table: &MacTable, mac: Mac) -> Option<Port> {
        let version = table.version();
        if let Some(entry) = self.entry(mac)
            && (entry.mac, entry.version) == (mac, version)
        {
            return Some(entry.port);
        }
        let port = table.lookup(mac)?;
        self.put(Entry { mac, port, version, shown: None });
        Some(port)
    }

    #[cold]
    fn show(
        &mut self,
        table: &MacTable,
        (mac, port, version): (Mac, Port, u64),
        now: Tick,
    ) -> Option<Learned> {
        let refusal = self.refusals.get_mut(slot_of(mac) % REFUSALS)?;
        if let Some(it) = refusal
            && (it.mac, it.port, it.version) == (mac, port, version)
            && now.since(it.at) < REFRESH
        {
            return None;
        }
        let learned = table.learn(mac, port, now);
        match learned {
            Learned::Frozen => {}
            Learned::Static => *refusal = Some(Refusal { mac, port, version, at: now }),
            // The version before: if it has changed since, by us or others, the next frame looks again.
            Learned::Known => self.put(Entry { mac, port, version, shown: Some(now) }),
            Learned::New | Learned::Moved { .. } => {
                self.put(Entry { mac, port, version: table.version(), shown: Some(now) });
            }
        }
        Some(learned)
    }

    fn entry(&mut self, mac: Mac) -> Option<&mut Entry> {
        self.slots.get_mut(slot_of(mac))
    }

    fn put(&mut self, entry: Entry) {
        if let Some(slot) = self.entry(entry.mac) {
            *slot = entry;
        }
    }
}

fn slot_of(mac: Mac) -> usize {
    // The golden ratio spreads addresses that count up; the top ten bits choose one of 1 024.
    let hash = u64::from(mac).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(hash >> 54).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, PeerId};

    proptest! {
        /// Whatever others do to the table in between, the cache answers as the table would.
        #[test]
        fn a_cached_answer_is_the_tables(ops in prop::collection::vec((0..5u8, 0..6u64, 0..3u16), 0..200)) {
            let table = MacTable::new(Limits { stations: 4, ..Limits::default() });
            let mut cache = Cache::new();
            let now = Tick::from_millis(0);

            for (op, n, port) in ops {
                let (mac, port) = (Mac::local(n), Port::Peer(PeerId::new(port)));
                match op {
                    0 => drop(cache.learn(&table, mac, port, now)),
                    1 => drop(table.learn(mac, port, now)),
                    2 => drop(table.forget(mac, port)),
                    3 => drop(table.flush(port)),
                    _ => table.pin(mac, port, now),
                }
                prop_assert_eq!(cache.lookup(&table, mac), table.lookup(mac));
            }
        }
    }

    #[test]
    fn a_pinned_station_that_is_seen_elsewhere_is_told_of_once_a_second() {
        let table = MacTable::new(Limits::default());
        let mut cache = Cache::new();
        let pinned = Port::Peer(PeerId::new(1));
        table.pin(Mac::local(1), pinned, Tick::default());

        let mut told = Vec::new();
        for ms in (0..3000).step_by(10) {
            let now = Tick::from_millis(ms);
            told.extend(cache.learn(&table, Mac::local(1), Port::Local, now));
            cache.learn(&table, Mac::local(1), pinned, now);
        }

        assert_eq!(told, [Learned::Static; 3]);
        assert_eq!(cache.lookup(&table, Mac::local(1)), Some(pinned));
    }

    #[test]
    fn a_station_that_is_unpinned_is_learned_with_its_next_frame() {
        let table = MacTable::new(Limits::default());
        let (mut cache, now) = (Cache::new(), Tick::default());
        let pinned = Port::Peer(PeerId::new(1));
        table.pin(Mac::local(1), pinned, now);
        cache.learn(&table, Mac::local(1), Port::Local, now);

        table.forget(Mac::local(1), pinned);

        assert_eq!(cache.learn(&table, Mac::local(1), Port::Local, now), Some(Learned::New));
    }

    #[test]
    fn a_station_that_is_seen_all_the_time_does_not_age() {
        let table = MacTable::new(Limits::default());
        let mut cache = Cache::new();

        for second in 0..1000 {
            let now = Tick::from_millis(second * 500);
            cache.learn(&table, Mac::local(1), Port::Local, now);
            table.age(now);
        }

        assert_eq!(table.lookup(Mac::local(1)), Some(Port::Local));
    }
}
