use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::PeerId;

const A: Port = Port::Peer(PeerId::new(0));
const B: Port = Port::Peer(PeerId::new(1));
const T0: Tick = Tick::from_millis(0);

fn table(stations: usize) -> MacTable {
    MacTable::new(Limits { stations, max_age: Duration::from_secs(300) })
}

fn mac(n: u64) -> Mac {
    Mac::local(n)
}

fn at(ms: u64) -> Tick {
    Tick::from_millis(ms)
}

#[test]
fn a_station_is_where_its_last_frame_came_from() {
    let table = table(8);

    assert_eq!(table.learn(mac(1), A, T0), Learned::New);
    assert_eq!(table.learn(mac(1), A, T0), Learned::Known);
    assert_eq!(table.learn(mac(1), B, T0), Learned::Moved { from: A });

    assert_eq!(table.lookup(mac(1)), Some(B));
    assert_eq!(table.lookup(mac(2)), None);
}

#[test]
fn idle_stations_are_forgotten_and_seen_ones_are_not() {
    let table = table(8);
    table.learn(mac(1), A, T0);
    table.learn(mac(2), A, T0);
    table.learn(mac(2), A, at(200_000));

    assert_eq!(table.age(at(300_000)), 0);
    assert_eq!(table.age(at(300_001)), 1);

    assert_eq!(table.lookup(mac(1)), None);
    assert_eq!(table.lookup(mac(2)), Some(A));
}

#[test]
fn a_static_station_is_neither_moved_nor_aged_nor_evicted() {
    let table = table(2);
    table.learn(mac(1), B, T0);
    table.pin(mac(1), A, T0);

    assert_eq!(table.learn(mac(1), B, T0), Learned::Static);
    for n in 2..10 {
        table.learn(mac(n), B, T0);
    }
    table.age(at(1_000_000));

    assert_eq!(table.lookup(mac(1)), Some(A));
    assert_eq!(table.len(), 1);
    assert_eq!(table.events().refused, 1);
}

#[test]
fn a_flooding_port_evicts_its_own() {
    let table = table(64);
    for n in 0..10 {
        table.learn(mac(n), A, T0);
        table.learn(mac(100 + n), Port::Local, T0);
    }

    for n in 0..10_000 {
        table.learn(mac(1000 + n), B, at(n));
    }

    for n in 0..10 {
        assert_eq!(table.lookup(mac(n)), Some(A), "station {n}");
        assert_eq!(table.lookup(mac(100 + n)), Some(Port::Local), "station {n}");
    }
    assert_eq!(table.len(), 64);
}

#[test]
fn among_the_stations_of_a_flooding_port_those_that_speak_again_stay() {
    let table = table(64);
    for n in 0..10 {
        table.learn(mac(n), A, T0);
        table.learn(mac(n), A, at(5));
    }

    for n in 0..10_000 {
        table.learn(mac(1000 + n), A, at(10 + n));
    }

    for n in 0..10 {
        assert_eq!(table.lookup(mac(n)), Some(A), "station {n}");
    }
}

#[test]
fn a_station_that_moves_all_the_time_is_frozen_for_a_while() {
    let table = table(8);
    table.learn(mac(1), A, T0);

    let moves: Vec<_> = (0..20).map(|n| table.learn(mac(1), [B, A][n % 2], at(n as u64))).collect();

    let moved = |it: &&Learned| matches!(it, Learned::Moved { .. });
    assert_eq!(moves.iter().filter(moved).count(), MOVES_MAX as usize);
    let frozen_at = table.lookup(mac(1)).unwrap();
    let other = if frozen_at == A { B } else { A };
    assert_eq!(table.learn(mac(1), other, at(9_000)), Learned::Frozen);
    assert_eq!(table.learn(mac(1), other, at(30_000)), Learned::Moved { from: frozen_at });
}

#[test]
fn five_moves_in_a_day_freeze_nothing() {
    let table = table(8);
    table.learn(mac(1), A, T0);

    for n in 1..20 {
        let learned = table.learn(mac(1), [A, B][n % 2], at(n as u64 * 11_000));
        assert!(matches!(learned, Learned::Moved { .. }));
    }
}

#[test]
fn forgetting_asks_where() {
    let table = table(8);
    table.learn(mac(1), A, T0);

    assert!(!table.forget(mac(1), B));
    assert!(table.forget(mac(1), A));
    assert!(table.is_empty());
}

#[test]
fn a_full_table_that_is_hammered_from_many_threads_keeps_its_bound() {
    let table = table(128);

    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let table = &table;
            scope.spawn(move || {
                for n in 0..20_000u64 {
                    let port = Port::Peer(PeerId::new(u16::try_from((n + thread) % 5).unwrap()));
                    table.learn(mac(n * 7 % 1000), port, at(n));
                    table.lookup(mac(n % 1000));
                    if n % 1000 == 0 {
                        table.age(at(n));
                        table.flush(port);
                    }
                }
            });
        }
    });

    assert!(table.len() <= 128);
    assert_eq!(table.len(), table.order().len());
}

/// What the table promises, written as plainly as possible: no ageing list, no shards.
#[derive(Default)]
struct Model {
    stations: BTreeMap<Mac, (Port, u64, bool)>,
}

#[derive(Clone, Debug)]
enum Op {
    Learn(u64, u16),
    Pin(u64, u16),
    Forget(u64, u16),
    Flush(u16),
    Pass(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..40u64, 0..4u16).prop_map(|(m, p)| Op::Learn(m, p)),
        1 => (0..40u64, 0..4u16).prop_map(|(m, p)| Op::Pin(m, p)),
        2 => (0..40u64, 0..4u16).prop_map(|(m, p)| Op::Forget(m, p)),
        1 => (0..4u16).prop_map(Op::Flush),
        2 => (0..200_000u64).prop_map(Op::Pass),
    ]
}

fn port(n: u16) -> Port {
    n.checked_sub(1).map_or(Port::Local, |n| Port::Peer(PeerId::new(n)))
}

proptest! {
    /// With room for all the table equals the model, but for moves it may refuse.
    #[test]
    fn a_table_with_room_does_what_the_model_does(ops in prop::collection::vec(op(), 0..200)) {
        let table = table(64);
        let mut model = Model::default();
        let mut now = 0;

        for op in ops {
            match op {
                Op::Learn(m, p) => {
                    let learned = table.learn(mac(m), port(p), at(now));
                    let old = model.stations.get(&mac(m)).copied();
                    let takes = match old {
                        Some((_, _, true)) => false,
                        Some((at, ..)) if at != port(p) => learned != Learned::Frozen,
                        Some(_) | None => true,
                    };
                    if takes {
                        model.stations.insert(mac(m), (port(p), now, false));
                    }
                }
                Op::Pin(m, p) => {
                    table.pin(mac(m), port(p), at(now));
                    model.stations.insert(mac(m), (port(p), now, true));
                }
                Op::Forget(m, p) => {
                    let was = model.stations.get(&mac(m)).is_some_and(|it| it.0 == port(p));
                    prop_assert_eq!(table.forget(mac(m), port(p)), was);
                    if was {
                        model.stations.remove(&mac(m));
                    }
                }
                Op::Flush(p) => {
                    table.flush(port(p));
                    model.stations.retain(|_, (at, _, fixed)| *fixed || *at != port(p));
                }
                Op::Pass(ms) => {
                    now += ms;
                    table.age(at(now));
                    model.stations.retain(|_, (_, seen, fixed)| *fixed || now - *seen <= 300_000);
                }
            }
            let is: Vec<_> = table.entries(at(now)).iter().map(|it| (it.mac, it.port)).collect();
            let should: Vec<_> = model.stations.iter().map(|(mac, it)| (*mac, it.0)).collect();
            prop_assert_eq!(is, should);
        }
    }

    /// Whatever happens, the bound holds and the order knows exactly the learned stations.
    #[test]
    fn a_full_table_keeps_its_bound(ops in prop::collection::vec(op(), 0..300)) {
        let table = table(8);
        let mut now = 0;

        for op in ops {
            match op {
                Op::Learn(m, p) => drop(table.learn(mac(m), port(p), at(now))),
                Op::Pin(m, p) => table.pin(mac(m), port(p), at(now)),
                Op::Forget(m, p) => drop(table.forget(mac(m), port(p))),
                Op::Flush(p) => drop(table.flush(port(p))),
                Op::Pass(ms) => {
                    now += ms;
                    table.age(at(now));
                }
            }
            let learned = table.entries(at(now)).iter().filter(|it| !it.is_static).count();
            prop_assert!(learned <= 8);
            prop_assert_eq!(learned, table.order().len());
        }
    }

    /// The newcomer is always taken in, and nobody loses a station while another port has more.
    #[test]
    fn eviction_takes_from_the_largest_port(ports in prop::collection::vec(0..4u16, 1..200)) {
        let table = table(8);

        for (n, p) in (0..).zip(ports) {
            let before = census(&table);
            table.learn(mac(n), port(p), at(n));
            let after = census(&table);

            prop_assert_eq!(table.lookup(mac(n)), Some(port(p)));
            for (loser, count) in &before {
                if after.get(loser).copied().unwrap_or_default() < *count {
                    prop_assert_eq!(Some(count), before.values().max());
                }
            }
        }
    }
}

fn census(table: &MacTable) -> BTreeMap<Port, usize> {
    let mut census = BTreeMap::new();
    for row in table.entries(T0) {
        *census.entry(row.port).or_default() += 1;
    }
    census
}
