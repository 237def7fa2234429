use std::time::Duration;

use crate::{Learned, Mac, MacTable, Port, Tick};

/// Stations at hand; a power of two.
const SLOTS: usize = 1024;

/// A station that is seen all the time is shown to the table this often, so that it does not age.
const REFRESH: Duration = Duration::from_secs(1);

/// What one worker has lately seen of the shared table: no lock and no shared write for the frames
/// of a station that stays where it is. An entry holds while the table's version does.
#[derive(Debug)]
pub(crate) struct Cache {
    slots: Box<[Entry]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mac: Mac,
    port: Port,
    version: u64,
    /// When the table was last shown the station; `None` when it was only looked up.
    shown: Option<Tick>,
}

impl Cache {
    pub(crate) fn new() -> Self {
        // No station has this address.
        let empty = Entry { mac: Mac::ZERO, port: Port::Local, version: 0, shown: None };
        Self { slots: vec![empty; SLOTS].into() }
    }

    pub(crate) fn learn(&mut self, table: &MacTable, mac: Mac, port: Port, now: Tick) {
        let version = table.version();
        if let Some(entry) = self.entry(mac)
            && (entry.mac, entry.port, entry.version) == (mac, port, version)
            && entry.shown.is_some_and(|shown| now.since(shown) < REFRESH)
        {
            return;
        }
        let learned = table.learn(mac, port, now);
        if matches!(learned, Learned::Frozen | Learned::Static) {
            return;
        }
        // The version before: if it has changed since, by us or others, the next frame looks again.
        let version = if learned == Learned::Known { version } else { table.version() };
        self.put(Entry { mac, port, version, shown: Some(now) });
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
                    0 => cache.learn(&table, mac, port, now),
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
