//! Links that are lost: who says so, and when.

use super::conn::Stage;
use super::*;

/// After this nobody has anything left to say.
const CALM: Duration = Duration::from_secs(120);

fn version(table: &Table, index: usize) -> u64 {
    table.meshes[index].own.version
}

fn states(table: &Table, at: usize, of: usize, far: usize) -> bool {
    let entry = table.meshes[at].directory.get(name(of)).unwrap();
    entry.record.links().any(|link| link.name == name(far))
}

#[test]
fn who_leaves_costs_the_others_no_record() {
    let mut table = Table::chain(3);
    table.run(CALM);
    let before = [1, 2].map(|index| version(&table, index));

    let now = table.now;
    table.meshes[0].leave(now);
    table.run(Duration::from_secs(20));

    assert_eq!([1, 2].map(|index| version(&table, index)), before);
    assert_eq!(table.meshes[1].root(), table.meshes[2].root());
    assert!(!table.meshes[1].directory.is_up(name(0)));
}

#[test]
fn a_neighbour_that_asks_without_end_is_answered_between_keepalives_and_a_stranger_not_at_all() {
    let mut table = Table::chain(2);
    table.run(CALM);
    let (now, id) = (table.now, table.meshes[0].links[&name(1)]);
    let dropped = |table: &Table| table.meshes[0].stats().dropped;
    let before = dropped(&table);

    (0..100).for_each(|_| table.meshes[0].handle_buckets(id, &[7; 64], now));
    table.meshes[0].handle_buckets(id, &[7; 64], now + KEEPALIVE);

    assert_eq!(dropped(&table) - before, 99);
    let conn = table.meshes[0].conns.get_mut(&id).unwrap();
    (conn.stage, conn.compared) = (Stage::Parting, None);
    table.meshes[0].handle_buckets(id, &[7; 64], now);
    assert_eq!(table.meshes[0].conns[&id].compared, None);
}

#[test]
fn a_link_that_one_end_closes_is_told_by_that_end() {
    let mut table = Table::chain(3);
    table.run(CALM);
    let before = version(&table, 1);

    let (now, id) = (table.now, table.meshes[0].links[&name(1)]);
    table.meshes[0].neighbours.pass_over(name(1), now);
    table.meshes[0].close(id, &CloseReason::Surplus, now);
    table.run(Duration::from_millis(900));

    assert_eq!(version(&table, 1), before);
    assert!(!states(&table, 2, 0, 1));
}

#[test]
fn a_link_whose_other_end_closes_it_and_dies_is_told_all_the_same() {
    let mut table = Table::chain(3);
    table.run(Duration::from_secs(20));

    let (now, id) = (table.now, table.meshes[0].links[&name(1)]);
    table.meshes[0].close(id, &CloseReason::Surplus, now);
    table.perform(0);
    table.run(Duration::from_millis(5));
    table.kill(0);
    table.run(Duration::from_secs(5));

    assert!(!states(&table, 2, 1, 0));
    assert!(!table.meshes[1].directory.is_up(name(0)));
    assert!(!table.meshes[2].directory.is_up(name(0)));
}

#[test]
fn a_peer_that_dies_and_starts_again_and_again_is_silent_for_a_second_at_most() {
    let mut table = Table::chain(4);
    table.run(CALM);
    let mut worst = Duration::ZERO;
    let mut life = 3;
    for again in 1..=8 {
        table.crash(life);
        // Longer than it takes to be noticed, some of the times.
        table.run(Duration::from_millis(300 * again));
        let incarnation = table.meshes[life].own.incarnation + 1;
        let config = Config { targets: vec![addr(0)], started: again, ..Config::new(name(3)) };
        let saved = Saved { incarnation, ..Saved::default() };
        life = table.add(config, saved);
        let began = table.now;
        let is_up = |table: &Table| {
            let uid = table.meshes[life].uid();
            let up = |mesh: &Mesh| {
                mesh.directory.is_up(name(3))
                    && mesh.directory.get(name(3)).is_some_and(|it| it.record.uid() == uid)
            };
            table.alive().all(|(_, mesh)| mesh.name() == name(3) || up(mesh))
        };
        while !is_up(&table) && table.now < began + CALM {
            table.step();
        }
        worst = worst.max(table.now - began);
        table.run(Duration::from_millis(500));
    }
    assert!(worst <= Duration::from_secs(1), "{worst:?}");
}
