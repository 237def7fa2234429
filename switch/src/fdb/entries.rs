//! Which entries are to be there, which are, and what that makes to do: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use crate::Mac;

/// How a remote station is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Its node has announced it: no frame moves it.
    Announced,
    /// A frame from a peer has told: a frame from a local port moves it.
    Learned,
}

/// What is to be there, or what is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Entries {
    /// The stations behind the TAP.
    pub stations: BTreeMap<Mac, Kind>,
    /// Whose the addresses are that the bridge answers for.
    pub neighbours: BTreeMap<IpAddr, Mac>,
}

/// One change to the kernel's tables.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Edit {
    /// A station is behind the TAP no more.
    Forget(Mac),
    /// An address is known no more.
    Unname(IpAddr),
    /// A station is behind the TAP.
    Place(Mac, Kind),
    /// An address is that station's.
    Name(IpAddr, Mac),
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forget(mac) => write!(f, "forget station {mac}"),
            Self::Unname(addr) => write!(f, "forget neighbour {addr}"),
            Self::Place(mac, Kind::Announced) => write!(f, "place announced station {mac}"),
            Self::Place(mac, Kind::Learned) => write!(f, "place learned station {mac}"),
            Self::Name(addr, mac) => write!(f, "name {addr} as station {mac}'s"),
        }
    }
}

/// What is installed, and which of it this run has asked for.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) installed: Entries,
    claims: Claims,
}

/// Whom the installed entries belong to.
#[derive(Debug)]
enum Claims {
    /// To this run those that it has asked for, or disowned; the others to an earlier one.
    Some { stations: BTreeSet<Mac>, addrs: BTreeSet<IpAddr> },
    /// To this run.
    All,
}

impl Default for Claims {
    fn default() -> Self {
        Self::Some { stations: BTreeSet::new(), addrs: BTreeSet::new() }
    }
}

impl Claims {
    fn station(&self, mac: Mac) -> bool {
        match self {
            Self::Some { stations, .. } => stations.contains(&mac),
            Self::All => true,
        }
    }

    fn addr(&self, addr: IpAddr) -> bool {
        match self {
            Self::Some { addrs, .. } => addrs.contains(&addr),
            Self::All => true,
        }
    }
}

impl Ledger {
    /// What makes the installed into the desired.
    ///
    /// Removals come first: a station that has become local is sticky on the TAP's port until then.
    /// Names come last: an answer is given only once the station it names can be reached. An address
    /// that changes its station is renamed in place, and so never unknown in between. A station of
    /// another kind is removed right before it is placed: the kernel does not make one kind into the
    /// other.
    pub(super) fn edits(&self, desired: &Entries) -> Vec<Edit> {
        let Self { installed, claims } = self;
        let gone = installed.stations.keys().filter(|mac| !desired.stations.contains_key(mac));
        let forget = gone.filter(|mac| claims.station(**mac)).map(|mac| Edit::Forget(*mac));
        let gone = installed.neighbours.keys().filter(|it| !desired.neighbours.contains_key(it));
        let unname = gone.filter(|addr| claims.addr(**addr)).map(|addr| Edit::Unname(*addr));
        let mut edits: Vec<Edit> = forget.chain(unname).collect();
        for (mac, kind) in &desired.stations {
            match installed.stations.get(mac) {
                Some(installed) if installed == kind => {}
                Some(_) => edits.extend([Edit::Forget(*mac), Edit::Place(*mac, *kind)]),
                None => edits.push(Edit::Place(*mac, *kind)),
            }
        }
        let named = desired.neighbours.iter();
        let named = named.filter(|(addr, mac)| installed.neighbours.get(addr) != Some(mac));
        edits.extend(named.map(|(addr, mac)| Edit::Name(*addr, *mac)));
        edits
    }

    /// Takes note that an edit was done.
    pub(super) fn note(&mut self, edit: Edit) {
        let Entries { stations, neighbours } = &mut self.installed;
        match edit {
            Edit::Forget(mac) => drop(stations.remove(&mac)),
            Edit::Unname(addr) => drop(neighbours.remove(&addr)),
            Edit::Place(mac, kind) => drop(stations.insert(mac, kind)),
            Edit::Name(addr, mac) => drop(neighbours.insert(addr, mac)),
        }
    }

    /// What is asked for is this run's from now on.
    pub(super) fn claim(&mut self, desired: &Entries) {
        if let Claims::Some { stations, addrs } = &mut self.claims {
            stations.extend(desired.stations.keys());
            addrs.extend(desired.neighbours.keys());
        }
    }

    /// All that is installed is this run's from now on.
    pub(super) fn settle(&mut self) {
        self.claims = Claims::All;
    }

    /// These are this run's to remove, though it has never asked for them.
    pub(super) fn release(&mut self, station: Option<Mac>, addr: Option<IpAddr>) {
        if let Claims::Some { stations, addrs } = &mut self.claims {
            stations.extend(station);
            addrs.extend(addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 0xa]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 0xb]);

    fn addr(n: u8) -> IpAddr {
        IpAddr::from([10, 32, 0, n])
    }

    fn entries(stations: &[(Mac, Kind)], neighbours: &[(u8, Mac)]) -> Entries {
        Entries {
            stations: stations.iter().copied().collect(),
            neighbours: neighbours.iter().map(|(n, mac)| (addr(*n), *mac)).collect(),
        }
    }

    fn ledger(installed: Entries) -> Ledger {
        let mut ledger = Ledger { installed, ..Ledger::default() };
        ledger.settle();
        ledger
    }

    #[test]
    fn what_is_there_as_it_should_be_needs_nothing() {
        let there = entries(&[(A, Kind::Announced), (B, Kind::Learned)], &[(1, A)]);

        assert_eq!(ledger(there.clone()).edits(&there), []);
    }

    #[test]
    fn a_station_is_removed_before_anything_is_placed_and_names_come_last() {
        let it = ledger(entries(&[(A, Kind::Announced)], &[(1, A)]));

        let edits = it.edits(&entries(&[(B, Kind::Announced)], &[(2, B)]));

        let expected = [
            Edit::Forget(A),
            Edit::Unname(addr(1)),
            Edit::Place(B, Kind::Announced),
            Edit::Name(addr(2), B),
        ];
        assert_eq!(edits, expected);
    }

    #[test]
    fn a_learned_station_that_is_announced_is_placed_anew() {
        let it = ledger(entries(&[(A, Kind::Learned)], &[]));

        let edits = it.edits(&entries(&[(A, Kind::Announced)], &[]));

        assert_eq!(edits, [Edit::Forget(A), Edit::Place(A, Kind::Announced)]);
    }

    #[test]
    fn an_address_that_changes_its_station_is_renamed_in_place() {
        let it = ledger(entries(&[], &[(1, A)]));

        assert_eq!(it.edits(&entries(&[], &[(1, B)])), [Edit::Name(addr(1), B)]);
    }

    #[test]
    fn what_an_earlier_run_left_stays_until_the_owner_has_settled() {
        let left = entries(&[(A, Kind::Announced)], &[(1, A)]);
        let mut it = Ledger { installed: left, ..Ledger::default() };
        assert_eq!(it.edits(&Entries::default()), []);

        it.settle();

        assert_eq!(it.edits(&Entries::default()), [Edit::Forget(A), Edit::Unname(addr(1))]);
    }

    #[test]
    fn what_was_asked_for_in_this_run_goes_before_it_has_settled() {
        let left = entries(&[(A, Kind::Announced), (B, Kind::Announced)], &[]);
        let mut it = Ledger { installed: left, ..Ledger::default() };
        it.claim(&entries(&[(A, Kind::Announced)], &[]));

        assert_eq!(it.edits(&Entries::default()), [Edit::Forget(A)]);
    }

    #[test]
    fn what_is_local_now_goes_before_the_owner_has_settled() {
        let left = entries(&[(A, Kind::Announced), (B, Kind::Announced)], &[(1, A), (2, B)]);
        let mut it = Ledger { installed: left, ..Ledger::default() };

        it.release(Some(A), Some(addr(1)));

        assert_eq!(it.edits(&Entries::default()), [Edit::Forget(A), Edit::Unname(addr(1))]);
    }

    fn any_entries() -> impl Strategy<Value = Entries> {
        let kind = prop_oneof![Just(Kind::Announced), Just(Kind::Learned)];
        let mac = || (0_u64..8).prop_map(Mac::local);
        let stations = prop::collection::btree_map(mac(), kind, 0..8);
        let neighbours = prop::collection::btree_map((0_u8..8).prop_map(addr), mac(), 0..8);
        (stations, neighbours).prop_map(|(stations, neighbours)| Entries { stations, neighbours })
    }

    proptest! {
        #[test]
        fn the_edits_make_the_installed_into_the_desired(from in any_entries(), to in any_entries()) {
            let mut it = ledger(from);

            for edit in it.edits(&to) {
                it.note(edit);
            }

            prop_assert_eq!(&it.installed, &to);
            prop_assert_eq!(it.edits(&to), []);
        }

        #[test]
        fn before_it_is_settled_nothing_is_lost_that_was_not_asked_for(
            from in any_entries(),
            to in any_entries(),
        ) {
            let mut it = Ledger { installed: from.clone(), ..Ledger::default() };
            it.claim(&to);

            for edit in it.edits(&to) {
                it.note(edit);
            }

            prop_assert!(from.stations.keys().all(|mac| it.installed.stations.contains_key(mac)));
            prop_assert!(to.stations.iter().all(|(k, v)| it.installed.stations.get(k) == Some(v)));
            let named = &it.installed.neighbours;
            prop_assert!(from.neighbours.keys().all(|addr| named.contains_key(addr)));
            prop_assert!(to.neighbours.iter().all(|(k, v)| named.get(k) == Some(v)));
        }
    }
}
