use peer_mesh::PeerName;
use switch::{Mac, Mtu, Vni};

use super::*;
use crate::node::{Config, Peer};
use crate::plan::{self, Standing};

fn node() -> Node {
    let mtu = Mtu::new(1450).unwrap();
    let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu, fast: false };
    Node::new(PeerName::local(0), Config { plan, discovery: true })
}

fn peer(n: u8) -> Input {
    let peer = Peer {
        uid: 1,
        standing: Standing::Up,
        addresses: vec![([10, 99, 0, n], 6783).into()],
        label: None,
        least: None,
        route: Some(vec![]),
        neighbour: true,
        ring: None,
    };
    Input::Peer(PeerName::local(n.into()), peer)
}

/// So many steps in which peers come and stations move.
fn recorded(limit: usize, steps: u64) -> (Journal, Node) {
    let (mut journal, mut node) = (Journal::new(limit), node());
    for n in 0..steps {
        let inputs = match n % 4 {
            0 => vec![peer(u8::try_from(n / 4 % 100 + 1).unwrap())],
            1 => vec![Input::Learned(Mac::local(n)), Input::Learned(Mac::local(n + 1))],
            2 => vec![Input::Unlearned(Mac::local(n - 1))],
            _ => Vec::new(),
        };
        let now = Duration::from_nanos(n * 7_000_001);
        journal.step(&mut node, now, Duration::from_secs(n), inputs);
    }
    (journal, node)
}

#[test]
fn a_journal_runs_again_to_the_same_state_with_the_same_hash_at_every_step() {
    let (journal, node) = recorded(1 << 20, 400);

    let mut last = None;
    let outcome = replay(&journal.emit(), |moment| {
        assert!(moment.same);
        last = Some((moment.node.hash(), moment.wall));
    });

    let outcome = outcome.unwrap();
    assert_eq!((outcome.steps, outcome.differing), (400, 0));
    assert!(outcome.changes >= 100, "{outcome:?}");
    assert_eq!(last, Some((node.hash(), Duration::from_secs(399))));
}

#[test]
fn a_full_journal_loses_its_oldest_part_and_still_runs() {
    let limit = 512 << 10;
    let (journal, node) = recorded(limit, 8_000);

    let file = journal.emit();
    let mut last = 0;
    let outcome = replay(&file, |moment| last = moment.node.hash()).unwrap();

    assert!(file.len() <= limit + 100_000, "{}", file.len());
    assert!(outcome.steps < 8_000 && outcome.steps > 100, "{outcome:?}");
    assert_eq!((outcome.differing, last), (0, node.hash()));
}

#[test]
fn another_outcome_than_then_is_noticed() {
    let (mut journal, mut node) = recorded(1 << 20, 40);
    node.step(Duration::from_secs(1), [peer(200)]);
    journal.step(&mut node, Duration::from_secs(2), Duration::ZERO, vec![peer(201)]);

    let outcome = replay(&journal.emit(), |_| {}).unwrap();

    assert_eq!(outcome.differing, 1);
}

#[test]
fn a_journal_that_was_cut_off_or_altered_or_is_none_is_refused_with_the_reason() {
    let file = recorded(1 << 20, 20).0.emit();

    assert!(matches!(replay(b"", |_| {}), Err(BadJournal::NotOne)));
    assert!(matches!(replay(b"a text of some kind", |_| {}), Err(BadJournal::NotOne)));
    for len in (8..file.len()).step_by(5) {
        let outcome = replay(&file[..len], |_| panic!("run"));
        assert!(
            matches!(outcome, Err(BadJournal::Altered | BadJournal::Short)),
            "{len}: {outcome:?}"
        );
    }
    for at in (20..file.len()).step_by(17) {
        let mut altered = file.clone();
        altered[at] ^= 0x40;
        let outcome = replay(&altered, |_| panic!("run"));
        assert!(matches!(outcome, Err(BadJournal::Altered | BadJournal::Short)), "{outcome:?}");
    }
    let mut other = file;
    other[9] = 9;
    assert!(matches!(replay(&other, |_| {}), Err(BadJournal::Format(9, _))));
}

#[test]
fn a_journal_of_no_size_records_nothing_and_runs_the_steps() {
    let (journal, node) = recorded(0, 20);

    assert_ne!(node.hash(), 0);
    assert!(matches!(replay(&journal.emit(), |_| {}), Err(BadJournal::Empty)));
}
