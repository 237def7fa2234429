//! What peers publish of themselves.

use super::*;

#[test]
fn neighbours_that_come_and_go_cost_a_record_a_second_and_hide_no_loss() {
    let mut table = Table::chain(4);
    table.run(Duration::from_secs(5));
    let version = |table: &Table| table.meshes[0].own.version;
    let mut strangers = VecDeque::new();
    let mut versions = Vec::new();

    for number in 0..200 {
        let targets = vec![addr(0)];
        let config = Config { targets, discovery: false, ..Config::new(name(1_000 + number)) };
        strangers.push_back(table.add(config, Saved::default()));
        table.run(Duration::from_millis(200));
        if strangers.len() > 3 {
            strangers.pop_front().into_iter().for_each(|stranger| table.crash(stranger));
        }
        versions.push(version(&table));
    }
    table.kill(3);
    table.run(Duration::from_secs(5));

    let (first, second) = (versions[99] - versions[0], versions[199] - versions[99]);
    assert!(first <= 20 + 9 && second <= 20 + 1, "{first}, {second} in 20 s each");
    let silent = |index: usize| table.events.contains(&(index, Event::Silent { name: name(3) }));
    assert!((0..3).all(silent));
}

#[test]
fn a_link_that_comes_and_goes_before_it_is_published_is_not_published() {
    let mut table = Table::chain(3);
    table.run(Duration::from_secs(60));
    let before = table.meshes[0].root();

    let targets = vec![addr(0)];
    let stranger = table.add(Config { targets, ..Config::new(name(9)) }, Saved::default());
    table.run(Duration::from_millis(100));
    assert_eq!(table.meshes[0].links().count(), 3);
    table.crash(stranger);
    table.run(Duration::from_secs(5));

    assert_eq!(table.meshes[0].root(), before);
}

#[test]
fn a_data_path_that_does_not_work_is_published_until_its_peer_restarts_or_is_gone() {
    let mut table = Table::chain(4);
    table.run(Duration::from_secs(5));
    let unreached = |table: &Table| -> Vec<_> {
        let own = table.meshes[0].directory.get(name(0)).unwrap();
        own.record.unreached().collect()
    };
    let now = table.now;
    for far in [1, 2, 3, 77] {
        table.meshes[0].handle_data_path(name(far), false, now);
    }
    table.run(Duration::from_secs(20));
    let mut all = vec![name(1), name(2), name(3)];
    all.sort();
    assert_eq!(unreached(&table), all);

    // One restarts, one is gone for good, one was only silent.
    table.crash(1);
    table.kill(2);
    let config = Config { targets: vec![addr(0)], ..Config::new(name(1)) };
    table.add(config, Saved::default());
    table.run(Duration::from_secs(20));
    all.retain(|far| *far != name(1));
    assert_eq!(unreached(&table), all);
    table.run(Config::HOLD);

    assert_eq!(unreached(&table), [name(3)]);
    let now = table.now;
    table.meshes[0].handle_data_path(name(3), true, now);
    table.run(Duration::from_secs(10));
    assert_eq!(unreached(&table), []);
}

#[test]
fn what_a_peer_says_of_itself_later_reaches_the_others() {
    let mut table = Table::chain(3);
    table.run(Duration::from_secs(5));
    table.events.clear();
    let now = table.now;
    let labels = BTreeMap::from([("zone".to_owned(), "a".to_owned())]);

    table.meshes[2].set_nickname("later".to_owned(), now);
    table.meshes[2].set_labels(labels, now);
    table.run(Duration::from_secs(2));

    let peer = table.meshes[0].peers().find(|peer| peer.name == name(2)).unwrap();
    assert_eq!(peer.nickname, "later");
    assert_eq!(peer.record.labels().collect::<Vec<_>>(), [("zone", "a")]);
    // What changes at once is published once.
    let changed = |(at, e): &&(usize, Event)| *at == 0 && *e == Event::Changed { name: name(2) };
    assert_eq!(table.events.iter().filter(changed).count(), 1);
    table.events.clear();
    let now = table.now;
    table.meshes[2].set_nickname("later".to_owned(), now);
    table.run(Duration::from_secs(2));
    assert!(table.events.is_empty(), "{:?}", table.events);
}
