//! Who we are at this start: the operator's word, else what is stored, else the machine, else chance.

use std::io;
use std::path::Path;

use rustix::rand::{GetRandomFlags, getrandom};

use super::machine::Machine;
use super::state::{Found, State, StateError, Store};
use crate::{Config, PeerName, Saved};

/// Where a name comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The operator gave it.
    Given,
    /// An earlier start stored it.
    Stored,
    /// It is derived from this machine.
    Machine,
    /// It is random: nothing is known of this machine.
    Random,
    /// The state was written on another machine, as when a disk is cloned. The name there is not ours.
    Copied {
        /// The name in the state.
        from: PeerName,
    },
}

/// Who we are, and what earlier starts left us. Holds the state directory.
#[derive(Debug)]
pub struct Identity {
    /// The name.
    pub name: PeerName,
    /// Where it comes from.
    pub origin: Origin,
    /// What the core goes on from.
    pub saved: Saved,
    pub(super) machine: Machine,
    pub(super) store: Option<Store>,
}

impl Identity {
    /// Reads the state in `dir`, if there is one, and decides. Warns of state that it cannot use.
    pub fn open(dir: Option<&Path>, given: Option<PeerName>) -> Result<Self, StateError> {
        let (store, found) = match dir {
            Some(dir) => Store::open(dir).map(|(store, found)| (Some(store), found))?,
            None => (None, Found::Nothing),
        };
        let state = match found {
            Found::Nothing => None,
            Found::State(state) => Some(state),
            Found::Bad { moved_to, reason } => {
                tracing::warn!(%reason, moved_to = %moved_to.display(), "unusable state file put aside, starting afresh");
                None
            }
        };
        let random = || random().map(u64::from_be_bytes).map_err(StateError::Random);
        let mut identity = Self::choose(state, given, Machine::read(), random)?;
        if let Origin::Copied { from } = identity.origin {
            tracing::warn!(%from, to = %identity.name, "the state is a copy from another machine: new name");
        }
        identity.store = store;
        Ok(identity)
    }

    /// The defaults under this name.
    pub fn config(&self) -> Config {
        Config { explicit: self.origin == Origin::Given, ..Config::new(self.name) }
    }

    fn choose<E>(
        state: Option<State>,
        given: Option<PeerName>,
        machine: Machine,
        random: impl Fn() -> Result<u64, E>,
    ) -> Result<Self, E> {
        let stored = state.as_ref().map(|state| state.name);
        let copied = state.as_ref().is_some_and(|state| state.machine.differs_from(&machine));
        let (name, origin) = match (given, stored) {
            (Some(name), _) => (name, Origin::Given),
            (None, Some(name)) if !copied => (name, Origin::Stored),
            (None, stored) => {
                // Two machines may look alike: what the copy was called is in use elsewhere.
                let own = machine.name().filter(|own| Some(*own) != stored);
                let origin = match (stored, own) {
                    (Some(from), _) => Origin::Copied { from },
                    (None, Some(_)) => Origin::Machine,
                    (None, None) => Origin::Random,
                };
                (own.map_or_else(|| random().map(PeerName::local), Ok)?, origin)
            }
        };
        let earlier = state.as_ref().filter(|_| !copied).map(|state| state.machine);
        let machine = machine.or(earlier.unwrap_or_default());
        let mut saved = state.map(|state| state.saved).unwrap_or_default();
        if copied || stored != Some(name) {
            // It counts the starts of somebody else. Where peers are is true for us, too.
            saved.incarnation = 0;
        }
        Ok(Self { name, origin, saved, machine, store: None })
    }
}

/// Octets nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut octets = [0; N];
    // Up to 256 octets come whole and without interruption (getrandom(2)).
    match getrandom(&mut octets, GetRandomFlags::empty()) {
        Ok(count) if count == N => Ok(octets),
        Ok(_) => Err(io::Error::other("getrandom gave too little")),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::Known;

    fn machine(id: &str) -> Machine {
        Machine::from_texts(Some(id), None)
    }

    fn stored(id: &str) -> State {
        let book = vec![Known { addr: "10.99.0.2:6783".parse().unwrap(), name: None }];
        let name = "0a:1b:2c:3d:4e:5f".parse().unwrap();
        State { name, saved: Saved { incarnation: 7, book }, machine: machine(id) }
    }

    fn choose(state: Option<State>, given: Option<PeerName>, machine: Machine) -> Identity {
        Identity::choose(state, given, machine, || Ok::<_, Infallible>(42)).unwrap()
    }

    #[test]
    fn a_given_name_beats_the_stored_one_and_keeps_the_address_book() {
        let given = "0a:00:00:00:00:01".parse().unwrap();

        let identity = choose(Some(stored("1")), Some(given), machine("1"));

        assert_eq!((identity.name, identity.origin), (given, Origin::Given));
        assert_eq!(identity.saved, Saved { incarnation: 0, ..stored("1").saved });
        assert!(identity.config().explicit);
    }

    #[test]
    fn a_given_name_that_is_stored_goes_on_counting_its_starts() {
        let identity = choose(Some(stored("1")), Some(stored("1").name), machine("1"));

        assert_eq!(identity.saved.incarnation, 7);
    }

    #[test]
    fn a_stored_name_stays_on_its_machine() {
        let identity = choose(Some(stored("1")), None, machine("1"));

        assert_eq!((identity.name, identity.origin), (stored("1").name, Origin::Stored));
        assert_eq!(identity.saved, stored("1").saved);
        assert!(!identity.config().explicit);
    }

    #[test]
    fn state_from_another_machine_gives_a_new_name_and_a_new_count() {
        let identity = choose(Some(stored("1")), None, machine("2"));

        assert_eq!(identity.origin, Origin::Copied { from: stored("1").name });
        assert_eq!(Some(identity.name), machine("2").name());
        assert_eq!(identity.saved, Saved { incarnation: 0, ..stored("1").saved });
        assert_eq!(identity.machine, machine("2"));
    }

    #[test]
    fn what_an_earlier_start_knew_of_the_machine_is_kept() {
        let identity = choose(Some(stored("1")), None, Machine::default());

        assert_eq!((identity.origin, identity.machine), (Origin::Stored, machine("1")));
    }

    #[test]
    fn a_copy_never_takes_the_name_that_it_was_copied_with() {
        let state = State { name: machine("2").name().unwrap(), ..stored("1") };

        let identity = choose(Some(state.clone()), None, machine("2"));

        assert_eq!(identity.origin, Origin::Copied { from: state.name });
        assert_eq!(identity.name, PeerName::local(42));
    }

    #[test]
    fn a_first_start_is_named_after_its_machine_or_by_chance() {
        let named = choose(None, None, machine("1"));
        let unnamed = choose(None, None, Machine::default());

        assert_eq!((Some(named.name), named.origin), (machine("1").name(), Origin::Machine));
        assert_eq!((unnamed.name, unnamed.origin), (PeerName::local(42), Origin::Random));
    }
}
