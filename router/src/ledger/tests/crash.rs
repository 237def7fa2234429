//! Power fails at every write, and disks fail at any.

use super::super::{Contents, Edit, Entries, Ledger, engine};
use super::platter::{Fault, Op, Platter, apply};
use super::{Dice, apply_edits, batch, opened};

const BATCHES: usize = 16;

/// A run: what was asked of the disk, from which image on, and when which commit was told.
struct Run {
    image: Vec<u8>,
    log: Vec<Op>,
    /// How long the log was when the commit of that number was told.
    told: Vec<(usize, u64)>,
    /// What there is after each commit, the one of number 0 first.
    states: Vec<Entries>,
}

fn run(seed: u64) -> Run {
    let platter = Platter::default();
    let mut dice = Dice(seed);
    let (mut ledger, _) = opened(&platter);
    let image = platter.base();
    let (mut told, mut states) = (Vec::new(), vec![Entries::new()]);
    for _ in 0..BATCHES {
        let edits = batch(&mut dice, states.last().unwrap());
        let mut next = states.last().unwrap().clone();
        apply_edits(&mut next, &edits);
        let number = ledger.commit(&edits).unwrap();
        told.push((platter.operations(), number));
        states.push(next);
    }
    drop(ledger);
    Run { image, log: platter.log(), told, states }
}

/// What is found in what a failure has left: its number.
fn number_of(image: Vec<u8>, states: &[Entries]) -> (u64, Platter) {
    let platter = Platter::with(image);
    let (ledger, Contents { entries, .. }) = opened(&platter);
    let number = ledger.last();
    assert!(entries == states[usize::try_from(number).unwrap()], "commit {number} is not whole");
    drop(ledger);
    (number, platter)
}

/// What a failure of power may leave on a disk that has got `at` operations since it had this image: of those that were not
/// forced, none, all, or about half, each torn at its sectors.
pub(super) fn each_failure(
    image: &[u8],
    log: &[Op],
    dice: &mut Dice,
    mut look: impl FnMut(usize, Vec<u8>, &mut Dice),
) {
    let (mut forced, mut unforced) = (image.to_vec(), Vec::new());
    for at in 0..=log.len() {
        for chance in [0, 8, 4] {
            let mut left = forced.clone();
            for op in &unforced {
                apply(&mut left, op, &mut |_| dice.below(8) < chance);
            }
            look(at, left, dice);
        }
        match log.get(at) {
            Some(Op::Sync) => {
                for op in unforced.drain(..) {
                    apply(&mut forced, &op, &mut |_| true);
                }
            }
            Some(op) => unforced.push(op.clone()),
            None => {}
        }
    }
}

#[test]
fn whenever_power_fails_every_commit_that_was_told_is_there_and_whole() {
    let run = run(1);
    let mut dice = Dice(2);
    let (mut images, mut ahead) = (0, 0);
    each_failure(&run.image, &run.log, &mut dice, |at, mut image, dice| {
        let told = run.told.iter().rev().find(|(len, _)| *len <= at).map_or(0, |(_, it)| *it);
        let (number, after) = number_of(image.clone(), &run.states);
        assert!((told..=told + 1).contains(&number), "{told} was told, {number} is there");
        // Power fails once more, while that is put in order.
        let mut log = after.log();
        log.truncate(dice.below(log.len() + 1));
        let synced = log.iter().rposition(|op| matches!(op, Op::Sync)).unwrap_or_default();
        for (at, op) in log.iter().enumerate() {
            apply(&mut image, op, &mut |_| at < synced || dice.below(2) == 0);
        }
        let (again, _) = number_of(image, &run.states);
        assert!((told..=told + 1).contains(&again), "{told} was told, {again} is there");
        (images, ahead) = (images + 2, ahead + usize::from(number > told));
    });

    assert!(images > 600 && ahead > 0, "{images} images, {ahead} with a commit ahead");
}

/// A disk that fails once, or until it is mended, at some operation of a commit: what is told is there, and nothing else.
#[test]
fn a_commit_that_fails_leaves_nothing_and_the_next_one_works() {
    let (mut failed, mut worked, mut late) = (0, 0, 0);
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let platter = Platter::default();
        let (mut ledger, _) = opened(&platter);
        let mut state = Entries::new();
        for _ in 0..6 {
            let edits = batch(&mut dice, &state);
            let fault = [Fault::Full, Fault::Io, Fault::Panic][dice.below(3)];
            platter.break_after(dice.below(14), fault, dice.below(3) == 0, dice.0);
            let before = ledger.last();
            let mut sure_until = before;
            match ledger.commit(&edits) {
                Ok(number) => {
                    worked += 1;
                    assert_eq!(number, before + 1);
                    apply_edits(&mut state, &edits);
                    platter.mend();
                }
                Err(_) => {
                    failed += 1;
                    platter.mend();
                    // As when the next commit comes.
                    let (open, sure) = match ledger.open.take() {
                        Some(open) => (open, true),
                        None => (ledger.recover().unwrap(), false),
                    };
                    // The disk may have failed right after it had all of it, and until now.
                    if ledger.last() > before && !sure {
                        apply_edits(&mut state, &edits);
                        (late, sure_until) = (late + 1, before + 1);
                    }
                    assert!(engine::entries(&open).unwrap() == state, "seed {seed}");
                    ledger.open = Some(open);
                    assert_eq!(ledger.last(), sure_until, "seed {seed}");
                }
            }
            let (of_disk, Contents { entries, .. }) = opened(&Platter::with(platter.forced()));
            assert!(entries == state && of_disk.last() == ledger.last(), "seed {seed}");
        }
        let edits = [Edit { key: b"last".to_vec(), value: Some(b"one".to_vec()) }];
        ledger.commit(&edits).unwrap();
        apply_edits(&mut state, &edits);
        drop(ledger);
        assert!(opened(&platter).1.entries == state);
    }

    assert!(failed > 100 && worked > 40, "{failed} failed, {worked} worked");
    assert!(late < failed / 10, "{late} of {failed}");
}

#[test]
fn a_ledger_whose_disk_fails_for_good_says_so_each_time_and_loses_nothing() {
    let platter = Platter::default();
    let (mut ledger, _) = opened(&platter);
    let edits = |value: &[u8]| [Edit { key: b"key".to_vec(), value: Some(value.to_vec()) }];
    ledger.commit(&edits(b"1")).unwrap();

    platter.break_after(0, Fault::Full, true, 1);
    let said: Vec<_> = (0..3).map(|_| ledger.commit(&edits(b"2")).unwrap_err()).collect();
    platter.mend();
    let number = ledger.commit(&edits(b"3")).unwrap();

    assert!(said.iter().all(|it| matches!(it, super::super::CommitError::Full { .. })), "{said:?}");
    assert_eq!(number, 2);
    drop(ledger);
    let Ledger { last, .. } = opened(&platter).0;
    assert_eq!(last, 2);
}
