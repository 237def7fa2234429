//! The givers: who wants an address dialled, the operator or names that stand for it.
//!
//! An address is given to the core when its first giver comes and taken back when its last one goes. Taken
//! back it is an address like any other: nothing is closed. An operator who forgets an address has the last
//! word for as long as a name goes on standing for it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::resolve::{Endpoint, Follower};

/// Addresses of one name that are given.
const PER_NAME: usize = 16;
/// Names followed.
const NAMES: usize = 64;

/// A host and a port.
pub(super) type HostPort = (String, u16);

/// Who gives what.
#[derive(Debug, Default)]
pub(super) struct Givers {
    operator: BTreeSet<SocketAddr>,
    names: BTreeMap<HostPort, Name>,
}

#[derive(Debug)]
struct Name {
    addrs: BTreeSet<SocketAddr>,
    failed: Option<Failed>,
    _follower: Follower,
}

/// A look-up that failed: why, and when there is another.
#[derive(Debug)]
struct Failed {
    why: String,
    next: Duration,
}

/// A peer that was given, and what became of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// As it was given.
    pub peer: Endpoint,
    /// The addresses it stands for.
    pub addrs: Vec<SocketAddr>,
    /// Why the last look-up failed.
    pub failed: Option<String>,
    /// When it is looked up again, if that failed.
    pub next: Option<Duration>,
}

/// What the core is to be told.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Changes {
    pub(super) give: Vec<SocketAddr>,
    pub(super) ungive: Vec<SocketAddr>,
}

impl Givers {
    /// The operator gives an address.
    pub(super) fn give(&mut self, addr: SocketAddr) {
        self.operator.insert(addr);
    }

    /// The operator takes it back; the core forgets it, whoever else gives it.
    pub(super) fn forget(&mut self, addr: SocketAddr) {
        self.operator.remove(&addr);
    }

    /// Whether a name is followed, or may be.
    pub(super) fn has_room_for(&self, name: &HostPort) -> bool {
        self.names.contains_key(name) || self.names.len() < NAMES
    }

    /// The operator gives a name.
    pub(super) fn follow(&mut self, name: HostPort, follower: impl FnOnce() -> Follower) {
        self.names.entry(name).or_insert_with(|| Name {
            addrs: BTreeSet::new(),
            failed: None,
            _follower: follower(),
        });
    }

    /// The operator takes a name back: returns the addresses that nobody gives any more.
    pub(super) fn forget_name(&mut self, name: &HostPort) -> Vec<SocketAddr> {
        let addrs = self.names.remove(name).map(|name| name.addrs).unwrap_or_default();
        addrs.into_iter().filter(|addr| !self.gives(*addr)).collect()
    }

    /// These peers are given and no others: returns the addresses that nobody gives any more.
    pub(super) fn keep(&mut self, peers: &[Endpoint]) -> Vec<SocketAddr> {
        let mut before = std::mem::take(&mut self.operator);
        let addr = |peer: &Endpoint| match peer {
            Endpoint::Addr(addr) => Some(*addr),
            Endpoint::Name { .. } => None,
        };
        self.operator = peers.iter().filter_map(addr).filter(|it| before.contains(it)).collect();
        let kept = |name: &HostPort| {
            peers.iter().any(|peer| match peer {
                Endpoint::Addr(_) => false,
                Endpoint::Name { host, port } => *host == name.0 && *port == name.1,
            })
        };
        let dropped: Vec<_> = self.names.keys().filter(|name| !kept(name)).cloned().collect();
        for name in dropped {
            before.extend(self.names.remove(&name).into_iter().flat_map(|name| name.addrs));
        }
        before.into_iter().filter(|addr| !self.gives(*addr)).collect()
    }

    /// What a look-up has found. What is known and found again stays, however many are found and in
    /// whatever order; there is room for others beside it.
    pub(super) fn learn(&mut self, name: &HostPort, found: &[SocketAddr]) -> Changes {
        let Some(known) = self.names.get_mut(name) else { return Changes::default() };
        known.failed = None;
        let gone: Vec<_> =
            known.addrs.iter().filter(|addr| !found.contains(addr)).copied().collect();
        known.addrs.retain(|addr| found.contains(addr));
        let mut fresh = Vec::new();
        for addr in found {
            if known.addrs.len() < PER_NAME && known.addrs.insert(*addr) {
                fresh.push(*addr);
            }
        }
        Changes {
            give: fresh.into_iter().filter(|addr| self.givers(*addr) == 1).collect(),
            ungive: gone.into_iter().filter(|addr| !self.gives(*addr)).collect(),
        }
    }

    /// The core had no room for an address: the next look-up offers it again.
    pub(super) fn refused(&mut self, name: &HostPort, addr: SocketAddr) {
        if let Some(known) = self.names.get_mut(name) {
            known.addrs.remove(&addr);
        }
    }

    /// A look-up failed. What is known stays.
    pub(super) fn failed(&mut self, name: &HostPort, why: String, next: Duration) {
        if let Some(known) = self.names.get_mut(name) {
            known.failed = Some(Failed { why, next });
        }
    }

    /// All that was given.
    pub(super) fn iter(&self) -> impl Iterator<Item = Given> {
        let addrs = self.operator.iter().map(|&addr| Given {
            peer: Endpoint::Addr(addr),
            addrs: vec![addr],
            failed: None,
            next: None,
        });
        let names = self.names.iter().map(|((host, port), name)| Given {
            peer: Endpoint::Name { host: host.clone(), port: *port },
            addrs: name.addrs.iter().copied().collect(),
            failed: name.failed.as_ref().map(|it| it.why.clone()),
            next: name.failed.as_ref().map(|it| it.next),
        });
        addrs.chain(names)
    }

    fn gives(&self, addr: SocketAddr) -> bool {
        self.givers(addr) > 0
    }

    fn givers(&self, addr: SocketAddr) -> usize {
        let names = self.names.values().filter(|name| name.addrs.contains(&addr)).count();
        names + usize::from(self.operator.contains(&addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(n: usize) -> SocketAddr {
        format!("10.99.0.{n}:6783").parse().unwrap()
    }

    fn addrs(numbers: impl IntoIterator<Item = usize>) -> Vec<SocketAddr> {
        numbers.into_iter().map(addr).collect()
    }

    fn name(host: &str) -> HostPort {
        (host.to_owned(), 6783)
    }

    fn following(hosts: &[&str]) -> Givers {
        let mut givers = Givers::default();
        for host in hosts {
            givers.follow(name(host), || Follower::of(tokio::spawn(std::future::pending())));
        }
        givers
    }

    #[tokio::test]
    async fn an_address_is_given_when_it_is_found_and_taken_back_when_it_is_not() {
        let mut givers = following(&["a"]);

        let first = givers.learn(&name("a"), &addrs([1, 2]));
        let again = givers.learn(&name("a"), &addrs([2, 1]));
        let moved = givers.learn(&name("a"), &addrs([2, 3]));

        assert_eq!(first, Changes { give: addrs([1, 2]), ungive: vec![] });
        assert_eq!(again, Changes::default());
        assert_eq!(moved, Changes { give: addrs([3]), ungive: addrs([1]) });
    }

    #[tokio::test]
    async fn a_name_of_many_addresses_in_any_order_changes_nothing_again_and_again() {
        let mut givers = following(&["a"]);
        let mut found = addrs(0..50);
        let first = givers.learn(&name("a"), &found);

        for turn in 1..50 {
            found.rotate_left(turn);
            assert_eq!(givers.learn(&name("a"), &found), Changes::default(), "{turn}");
        }

        assert_eq!(first, Changes { give: addrs(0..PER_NAME), ungive: vec![] });
    }

    #[tokio::test]
    async fn a_name_that_is_not_found_says_why_and_until_when() {
        let mut givers = following(&["a"]);
        givers.failed(&name("a"), "no such name".into(), Duration::from_secs(4));

        let failed = givers.iter().next().unwrap();
        givers.learn(&name("a"), &addrs([1]));
        let found = givers.iter().next().unwrap();

        assert_eq!(failed.failed.as_deref(), Some("no such name"));
        assert_eq!(failed.next, Some(Duration::from_secs(4)));
        assert_eq!((found.failed, found.next), (None, None));
    }

    #[tokio::test]
    async fn what_the_operator_or_another_name_gives_stays_given() {
        let mut givers = following(&["a", "b"]);
        givers.give(addr(1));
        let first = givers.learn(&name("a"), &addrs([1, 2, 3]));
        let second = givers.learn(&name("b"), &addrs([2]));

        let moved = givers.learn(&name("a"), &addrs([4]));

        assert_eq!(first.give, addrs([2, 3]));
        assert_eq!(second, Changes::default());
        assert_eq!(moved, Changes { give: addrs([4]), ungive: addrs([3]) });
    }

    #[tokio::test]
    async fn a_forgotten_address_is_given_again_only_when_its_name_has_left_it_and_come_back() {
        let mut givers = following(&["a"]);
        givers.learn(&name("a"), &addrs([1]));

        givers.forget(addr(1));

        assert_eq!(givers.learn(&name("a"), &addrs([1])), Changes::default());
        assert_eq!(givers.learn(&name("a"), &addrs([2])).give, addrs([2]));
        assert_eq!(givers.learn(&name("a"), &addrs([1])).give, addrs([1]));
    }

    #[tokio::test]
    async fn a_name_that_is_taken_back_gives_nothing_any_more() {
        let mut givers = following(&["a"]);
        givers.give(addr(1));
        givers.learn(&name("a"), &addrs([1, 2]));

        assert_eq!(givers.forget_name(&name("a")), addrs([2]));
        assert_eq!(givers.learn(&name("a"), &addrs([3])), Changes::default());
    }

    #[tokio::test]
    async fn what_is_not_kept_is_taken_back() {
        let mut givers = following(&["a", "b"]);
        givers.give(addr(1));
        givers.give(addr(2));
        givers.learn(&name("a"), &addrs([3, 2]));
        givers.learn(&name("b"), &addrs([4, 2]));

        let ungiven = givers.keep(&["10.99.0.1".parse().unwrap(), "b".parse().unwrap()]);

        assert_eq!(ungiven, addrs([3]));
        let left: Vec<_> = givers.iter().map(|given| given.peer.to_string()).collect();
        assert_eq!(left, ["10.99.0.1:6783", "b:6783"]);
    }

    #[tokio::test]
    async fn an_address_that_the_core_had_no_room_for_is_offered_again() {
        let mut givers = following(&["a"]);
        givers.learn(&name("a"), &addrs([1]));
        givers.refused(&name("a"), addr(1));

        assert_eq!(givers.learn(&name("a"), &addrs([1])).give, addrs([1]));
    }

    #[tokio::test]
    async fn names_are_limited() {
        let hosts: Vec<_> = (0..NAMES).map(|n| format!("h{n}")).collect();
        let givers = following(&hosts.iter().map(String::as_str).collect::<Vec<_>>());

        assert!(givers.has_room_for(&name("h1")));
        assert!(!givers.has_room_for(&name("another")));
    }
}
