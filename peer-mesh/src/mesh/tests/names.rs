//! Two of one name, and those who lie about it.

use super::*;
use crate::wire::{Announcement, MAX_COUNT, Message, Record, close_message, messages};

const SECOND: Duration = Duration::from_secs(1);

/// A record that somebody else wrote of that peer.
fn forged(table: &Table, index: usize, forge: impl FnOnce(&mut Announcement)) -> Record {
    let mut record = Announcement::from(&table.own(index));
    forge(&mut record);
    record.emit().unwrap()
}

impl Table {
    /// What a peer has published of itself.
    fn own(&self, index: usize) -> Record {
        let mesh = &self.meshes[index];
        mesh.directory.get(mesh.name()).unwrap().record.clone()
    }

    /// One of its links.
    fn link(&self, index: usize) -> ConnId {
        *self.meshes[index].links.values().next().unwrap()
    }

    /// Something comes on a connection of a peer.
    fn say(&mut self, index: usize, id: ConnId, message: &Message) {
        let mut batch = Vec::new();
        message.emit(&mut batch);
        self.meshes[index].handle_batch(id, &batch, self.now);
        self.perform(index);
    }

    fn heard(&self, index: usize, what: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(at, event)| *at == index && what(event)).count()
    }
}

fn uid(raw: u64) -> PeerUid {
    PeerUid::new(raw).unwrap()
}

fn is_renamed(event: &Event) -> bool {
    matches!(event, Event::Renamed { .. })
}

/// Peers that know the one before; the last was named by somebody.
fn chain_to_explicit(count: usize) -> (Table, usize) {
    let mut table = Table::chain(count - 1);
    let targets = vec![addr(count - 2)];
    let config = Config { targets, explicit: true, ..Config::new(name(count - 1)) };
    let last = table.add(config, Saved::default());
    table.run(5 * SECOND);
    (table, last)
}

#[test]
fn a_version_that_is_used_up_is_followed_by_an_incarnation() {
    let mut table = Table::chain(3);
    table.run(5 * SECOND);
    let before = table.own(1).stamp();

    let record = forged(&table, 1, |own| own.version = MAX_COUNT);
    table.say(1, table.link(1), &Message::Record(record));
    table.meshes[1].own.version = MAX_COUNT;
    table.run(2 * SECOND);

    assert!(table.own(1).stamp().incarnation > before.incarnation);
    assert_eq!(table.meshes[1].name(), name(1));
    assert!(table.agree());
}

#[test]
fn who_is_told_the_last_incarnation_takes_a_new_name() {
    for mine in [true, false] {
        let mut table = Table::chain(3);
        table.run(5 * SECOND);

        let record = forged(&table, 1, |own| {
            own.incarnation = MAX_COUNT;
            own.uid = if mine { own.uid } else { uid(u64::MAX) };
        });
        table.say(1, table.link(1), &Message::Record(record));
        table.run(5 * SECOND);

        assert_eq!(table.heard(1, is_renamed), 1);
        assert!(table.meshes[1].saved().incarnation < 100);
        assert_eq!(table.ups(0), 2);
    }
}

#[test]
fn who_was_named_by_somebody_stops_then_and_does_not_start_at_the_end() {
    let (mut table, last) = chain_to_explicit(3);

    let record = forged(&table, last, |own| {
        own.incarnation = MAX_COUNT;
        own.uid = uid(u64::MAX);
    });
    table.say(last, table.link(last), &Message::Record(record));

    assert!(table.meshes[last].is_stopped());
    assert_eq!(table.meshes[last].saved().incarnation, 0);
}

#[test]
fn a_welcome_and_a_disk_at_the_last_incarnation_do_no_harm() {
    let mut table = Table::chain(2);
    let saved = Saved { incarnation: u64::MAX, ..Saved::default() };
    let last = table.add(Config { targets: vec![addr(0)], ..Config::new(name(2)) }, saved);
    table.run(5 * SECOND);
    let now = table.now;

    table.meshes[0].raise_incarnation(MAX_COUNT, now);
    table.run(5 * SECOND);

    for index in [0, last] {
        assert_eq!(table.own(index).stamp().incarnation, MAX_COUNT);
        assert_eq!(table.meshes[index].name(), name(index));
    }
    assert!(table.agree());
}

#[test]
fn a_welcome_beyond_the_last_incarnation_is_malformed() {
    let mut octets = Vec::new();
    Message::Welcome { known: MAX_COUNT, observed: addr(0) }.emit(&mut octets);
    assert!(messages(&octets).all(|message| message.is_ok()));

    octets[10] = 1;

    assert!(messages(&octets).any(|message| message.is_err()));
}

#[test]
fn a_peer_is_settled_after_ten_seconds_with_links_and_says_so_within_thirty() {
    let mut table = Table::chain(4);
    table.run(9 * SECOND);
    assert!((0..4).all(|index| !table.meshes[index].own.settled));

    table.run(5 * SECOND);
    assert!((0..4).all(|index| table.meshes[index].own.settled));
    let before: Vec<_> = (0..4).map(|index| table.own(index).stamp().version).collect();
    table.run(20 * SECOND);

    for (index, before) in before.into_iter().enumerate() {
        assert!(table.own(index).settled());
        assert!(table.own(index).stamp().version <= before + 1, "one record at most");
    }
    assert!(table.agree());
}

#[test]
fn a_peer_without_links_is_not_settled() {
    let mut table = Table::chain(2);
    table.run(2 * SECOND);

    table.kill(0);
    table.run(30 * SECOND);

    assert!(!table.meshes[1].own.settled);
}

#[test]
fn hearsay_stops_a_newcomer_but_nobody_who_is_settled() {
    for settled in [false, true] {
        let (mut table, last) = chain_to_explicit(4);
        if settled {
            table.run(10 * SECOND);
        }
        let reason = CloseReason::DuplicateName { name: name(last), uid: uid(77) };

        table.say(last, table.link(last), &close_message(&reason));

        assert_eq!(table.meshes[last].is_stopped(), !settled);
        let contested = Event::NameContested { name: name(last), uid: uid(77) };
        assert_eq!(table.heard(last, |event| *event == contested), usize::from(settled));
    }
}

#[test]
fn a_settled_peer_gives_way_to_a_better_claim_that_it_is_shown() {
    for (own_leases, leases) in [(false, true), (false, false), (true, true)] {
        let (mut table, last) = chain_to_explicit(4);
        table.run(10 * SECOND);
        // Since a moment ago.
        let now = table.now;
        table.meshes[last].set_leases(own_leases, now);
        let (id, other) = (table.link(last), uid(u64::MAX));

        let record = forged(&table, last, |own| {
            (own.uid, own.leases, own.settled) = (other, leases, true);
        });
        table.say(last, id, &Message::Record(record));
        assert!(!table.meshes[last].is_stopped());
        let reason = CloseReason::DuplicateName { name: name(last), uid: other };
        table.say(last, id, &close_message(&reason));

        assert_eq!(table.meshes[last].is_stopped(), leases && !own_leases);
    }
}

#[test]
fn an_incumbent_keeps_its_name_whatever_the_clock_of_a_newcomer_shows() {
    let mut table = Table::default();
    for index in 0..6_usize {
        let targets = index.checked_sub(1).map(addr).into_iter().collect();
        let config = Config { targets, started: 1_700_000_000, ..Config::new(name(index)) };
        table.add(config, Saved::default());
    }
    table.run(12 * SECOND);

    let clone =
        table.add(Config { targets: vec![addr(4)], ..Config::new(name(2)) }, Saved::default());
    table.run(10 * SECOND);

    assert_eq!(table.meshes[2].name(), name(2));
    assert_ne!(table.meshes[clone].name(), name(2));
    assert_eq!(table.ups(0), 6);
    assert!(table.agree());
}

#[test]
fn incarnations_of_the_dead_show_no_life_however_they_come() {
    let (mut table, last) = chain_to_explicit(4);
    let dead = uid(u64::MAX);

    // Held by different neighbours, one above the other; and one more by somebody who comes back from afar.
    for (above, wait) in [(5, 0), (6, 0), (9, 2), (12, 0), (12, 2), (11, 2)] {
        let record = forged(&table, last, |own| {
            (own.uid, own.leases, own.incarnation) = (dead, true, above);
        });
        table.say(last, table.link(last), &Message::Record(record));
        table.run(wait * SECOND);
    }

    assert!(!table.meshes[last].is_stopped());
    assert!(table.own(last).stamp().incarnation > 12);
}

#[test]
fn who_answers_twice_is_alive() {
    let (mut table, last) = chain_to_explicit(4);

    for _ in 0..3 {
        assert!(!table.meshes[last].is_stopped());
        let record = forged(&table, last, |own| {
            (own.uid, own.leases) = (uid(u64::MAX), true);
            own.incarnation += 1;
        });
        table.say(last, table.link(last), &Message::Record(record));
        table.run(SECOND);
    }

    assert!(table.meshes[last].is_stopped());
}

#[test]
fn whoever_is_renamed_tells_everybody_silent_and_up_again_or_gone() {
    let mut table = Table::chain(6);
    table.run(5 * SECOND);
    let before = table.meshes[2].directory.generation();
    assert!(table.hop(2, 4).is_some());

    // One goes at the same moment, and never comes back.
    table.kill(5);
    let now = table.now;
    table.meshes[2].give_way(uid(77), now);
    table.perform(2);

    assert!(table.meshes[2].directory.generation() > before);
    assert_eq!(table.hop(2, 4), None);
    assert_eq!(table.told(2), table.seen(2));
    assert!(table.told(2).values().all(|state| *state == PeerState::Silent));
    table.run(10 * SECOND);
    assert_eq!(table.told(2), table.seen(2));
    assert_eq!(table.ups(2), 4);
    assert_eq!(table.told(2).get(&name(5)), Some(&PeerState::Silent));
    assert!(table.hop(2, 4).is_some());
    table.run(Config::HOLD);
    assert_eq!(table.told(2), table.seen(2));
    assert_eq!(table.told(2).len(), 4);
    assert!(table.agree());
}

impl Table {
    /// The neighbour through which a peer reaches another.
    fn hop(&mut self, from: usize, to: usize) -> Option<NextHop> {
        let now = self.now;
        self.meshes[from].next_hop(name(to), now)
    }

    /// How a peer sees the others, by its events.
    fn told(&self, index: usize) -> BTreeMap<PeerName, PeerState> {
        let mut told = BTreeMap::new();
        for (_, event) in self.events.iter().filter(|(at, _)| *at == index) {
            if let Event::Up { name, .. } = event {
                told.insert(*name, PeerState::Up);
            } else if let Event::Silent { name } = event {
                told.insert(*name, PeerState::Silent);
            } else if let Event::Gone { name, .. } = event {
                told.remove(name);
            }
        }
        told
    }

    /// The same, by what it says when asked.
    fn seen(&self, index: usize) -> BTreeMap<PeerName, PeerState> {
        self.meshes[index].peers().map(|peer| (peer.name, peer.state)).collect()
    }
}
