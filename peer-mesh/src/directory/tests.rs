use proptest::prelude::*;

use super::*;
use crate::wire::Announcement;

const T0: Duration = Duration::ZERO;
const HOLD: Duration = Duration::from_secs(120);

fn name(n: u64) -> PeerName {
    PeerName::local(n)
}

fn uid(n: u64) -> PeerUid {
    PeerUid::new(n + 1000).unwrap()
}

/// A record of peer `n` in its first life, with links to these.
fn says(n: u64, version: u64, links: &[u64]) -> Record {
    let links = links.iter().map(|&far| Link { name: name(far), uid: uid(far) }).collect();
    Announcement { version, links, ..Announcement::new(name(n), uid(n), 1) }.emit().unwrap()
}

/// What peer 0 knows after these records.
fn knows(records: &[Record]) -> Directory {
    let mut directory = Directory::new(says(0, 1, &[]), T0);
    for record in records {
        directory.merge(record.clone(), None, T0);
    }
    directory.settle(T0);
    directory
}

fn up(directory: &Directory) -> Vec<PeerName> {
    directory.up().map(|(name, _)| name).collect()
}

#[test]
fn a_link_counts_when_both_ends_state_it() {
    let one_sided = knows(&[says(0, 2, &[1]), says(1, 1, &[])]);
    let mutual = knows(&[says(0, 2, &[1]), says(1, 1, &[0])]);

    assert_eq!(up(&one_sided), [name(0)]);
    assert_eq!(up(&mutual), [name(0), name(1)]);
    let alone =
        |directory: &Directory| -> Vec<_> { directory.get(name(0)).unwrap().one_sided().collect() };
    assert_eq!((alone(&one_sided), alone(&mutual)), (vec![name(1)], vec![]));
}

#[test]
fn a_link_to_an_earlier_life_does_not_count() {
    let restarted = Announcement {
        links: says(1, 1, &[0]).links().collect(),
        ..Announcement::new(name(1), uid(9), 2)
    };

    let directory = knows(&[says(0, 2, &[1]), restarted.emit().unwrap()]);

    assert_eq!(up(&directory), [name(0)]);
}

#[test]
fn a_peer_is_silent_when_the_last_link_to_it_is_gone() {
    let mut directory = knows(&[says(0, 2, &[1]), says(1, 1, &[0, 2]), says(2, 1, &[1])]);
    directory.take_changes();

    directory.merge(says(1, 2, &[0]), None, T0);
    directory.settle(T0);

    assert_eq!(up(&directory), [name(0), name(1)]);
    assert!(directory.take_changes().contains(&Change::Silent(name(2))));
}

#[test]
fn an_older_record_does_not_bring_back_the_silent() {
    let mut directory =
        knows(&[says(0, 2, &[1]), says(1, 1, &[0, 2]), says(2, 1, &[1]), says(1, 2, &[0])]);
    directory.age(HOLD, HOLD);

    let merged = directory.merge(says(1, 1, &[0, 2]), None, HOLD);

    assert_eq!(merged, Merged::Older);
    assert_eq!(up(&directory), [name(0), name(1)]);
    assert_eq!(directory.get(name(2)).unwrap().standing, Standing::Gone(GoneReason::Silence));
}

#[test]
fn what_a_stranger_invents_is_bounded_and_costs_nobody_who_was_reached() {
    let mut directory = knows(&[says(0, 2, &[1]), says(1, 1, &[0])]);

    for n in 10..20_000 {
        directory.merge(says(n, 1, &[n + 1]), None, T0);
    }

    assert!(directory.len() <= MAX_LIMBO + 2, "{}", directory.len());
    assert_eq!(up(&directory), [name(0), name(1)]);
}

#[test]
fn limbo_ends_after_an_hour() {
    let mut directory =
        knows(&[says(0, 2, &[1]), says(1, 1, &[0]), says(1, 2, &[]), says(7, 1, &[8])]);
    assert_eq!(directory.len(), 3);

    directory.age(HOLD, HOLD);
    directory.age(HOLD, HOLD + LIMBO);

    assert_eq!(directory.len(), 1);
    assert_eq!(directory.limbo, 0);
}

/// Versions of the records of six peers that link to one another at random.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0_u64..6, 2_u64..6, prop::collection::btree_set(0_u64..6, 0..5));
    let record = one.prop_map(|(n, version, links)| {
        says(n, version, &links.into_iter().filter(|&far| far != n).collect::<Vec<_>>())
    });
    prop::collection::vec(record, 0..30)
}

proptest! {
    #[test]
    fn the_order_in_which_records_come_does_not_matter(records in records(), seed in any::<u64>()) {
        let mut shuffled = records.clone();
        shuffled.sort_by_key(|record| crate::dice::mix(seed ^ record.stamp().hash));
        let twice: Vec<_> = records.iter().chain(&shuffled).cloned().collect();

        let (one, other, both) = (knows(&records), knows(&shuffled), knows(&twice));

        prop_assert_eq!(up(&one), up(&other));
        prop_assert_eq!(one.digest(), other.digest());
        prop_assert_eq!(one.digest(), both.digest());
        for (name, entry) in one.iter() {
            prop_assert_eq!(entry.record.stamp(), other.get(name).unwrap().record.stamp());
            prop_assert_eq!(&entry.neighbours, &other.get(name).unwrap().neighbours);
        }
    }

    #[test]
    fn who_is_up_is_who_is_reached_after_every_record(records in records()) {
        let mut directory = knows(&[]);

        for record in &records {
            directory.merge(record.clone(), None, T0);
            directory.settle(T0);

            prop_assert_eq!(up(&directory), directory.reached().into_keys().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_digest_covers_exactly_who_is_up_and_neighbours_are_mutual(records in records()) {
        let directory = knows(&records);

        let mut digest = Digest::EMPTY;
        for (name, entry) in directory.up() {
            digest.toggle(name, entry.record.stamp().hash);
        }
        prop_assert_eq!(directory.digest(), &digest);
        for (name, entry) in directory.iter() {
            for far in &entry.neighbours {
                prop_assert!(directory.get(*far).unwrap().neighbours.contains(&name));
            }
        }
        prop_assert_eq!(up(&directory), directory.reached().into_keys().collect::<Vec<_>>());
    }
}

#[test]
fn records_that_nobody_reaches_keep_no_newcomer_out_however_they_are_linked() {
    let mut directory = knows(&[says(0, 2, &[1]), says(1, 1, &[0, 2])]);
    let pairs = MAX_LIMBO as u64;
    for n in 0..pairs {
        let (one, other) = (1_000 + 2 * n, 1_001 + 2 * n);
        for (from, to) in [(one, other), (other, one)] {
            assert_eq!(directory.merge(says(from, 1, &[to]), None, T0), Merged::New);
        }
    }

    assert_eq!(directory.merge(says(2, 1, &[1]), None, T0), Merged::New);

    assert_eq!(up(&directory), [name(0), name(1), name(2)]);
    assert!(directory.len() <= MAX_LIMBO + 3, "{}", directory.len());
}

#[test]
fn peers_that_are_gone_keep_no_newcomer_out() {
    let mut directory = knows(&[]);
    let crowd: Vec<_> = (1_000..1_100 + MAX_LIMBO as u64).collect();
    // A hub after the other, each with as many as a record may state.
    for (version, some) in (2..).zip(crowd.chunks(50)) {
        let hub = 100_000 + version;
        directory.merge(says(0, version, &[hub]), None, T0);
        directory.merge(says(hub, 1, &[&[0], some].concat()), None, T0);
        for &n in some {
            directory.merge(says(n, 1, &[hub]), None, T0);
            assert!(directory.is_up(name(n)));
        }
        directory.settle(T0);
    }
    directory.merge(says(0, 1_000, &[2]), None, T0);
    directory.settle(T0);
    directory.age(HOLD, HOLD);
    assert_eq!(up(&directory), [name(0)]);

    assert_eq!(directory.merge(says(2, 1, &[0]), None, HOLD), Merged::New);

    assert_eq!(up(&directory), [name(0), name(2)]);
}
