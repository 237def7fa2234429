//! Commits of a thread of their own.

use super::*;

type Answers = mpsc::Receiver<(u64, Result<u64, CommitError>)>;

fn started(platter: &Platter) -> (LedgerThread, Answers) {
    let (to, answers) = mpsc::channel();
    let answer = move |seq, outcome| drop(to.send((seq, outcome)));
    (LedgerThread::start(opened(platter).0, answer).unwrap(), answers)
}

fn next(answers: &Answers) -> (u64, Result<u64, CommitError>) {
    answers.recv_timeout(Duration::from_secs(10)).unwrap()
}

#[test]
fn submissions_are_answered_in_order_and_those_that_wait_share_a_commit() {
    let platter = Platter::default();
    let (thread, answers) = started(&platter);

    for seq in 0..500 {
        thread.submit(seq, vec![set("key", &seq.to_string())]).unwrap();
    }

    let told: Vec<_> = (0..500).map(|_| next(&answers)).collect();
    drop(thread);
    let numbers: Vec<_> = told.iter().map(|(_, outcome)| outcome.clone().unwrap()).collect();
    assert!(told.iter().map(|(seq, _)| *seq).eq(0..500));
    assert!(numbers.is_sorted() && numbers[499] < 400, "{}", numbers[499]);
    assert_eq!(opened(&platter).1.entries[b"key".as_slice()], b"499");
}

#[test]
fn a_commit_has_a_bound_and_a_submission_beyond_it_is_one_by_itself() {
    let platter = Platter::default();
    let (ledger, _) = opened(&platter);
    let (to, answers) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let answer = move |seq, outcome| {
        to.send((seq, outcome)).unwrap();
        let _held = gone.recv_timeout(Duration::from_secs(10));
    };
    let thread = LedgerThread::start(ledger, answer).unwrap();
    thread.submit(0, Vec::new()).unwrap();
    // It is held in its first answer until all have been submitted.
    let mut told = vec![next(&answers)];
    for (seq, edits) in [(1, 3000), (2, 1096), (3, 1), (4, 5000), (5, 1)] {
        thread.submit(seq, vec![set("key", "value"); edits]).unwrap();
    }
    drop(go);

    told.extend((1..=5).map(|_| next(&answers)));

    let numbers: Vec<_> = told.into_iter().map(|(_, outcome)| outcome.unwrap()).collect();
    assert_eq!(numbers, [1, 2, 2, 3, 4, 5]);
}

#[test]
fn what_cannot_be_committed_is_told_once_and_tried_again_in_order() {
    let platter = Platter::default();
    let (thread, answers) = started(&platter);
    thread.submit(1, vec![set("key", "1")]).unwrap();
    assert_eq!(next(&answers), (1, Ok(1)));

    platter.break_after(0, Fault::Full, true, 1);
    thread.submit(2, vec![set("key", "2")]).unwrap();
    let (seq, first) = next(&answers);
    thread.submit(3, vec![set("key", "3"), set("other", "3")]).unwrap();
    // Two rounds of trying again.
    let quiet = answers.recv_timeout(Duration::from_millis(2200));
    platter.break_after(0, Fault::Io, true, 1);
    let (again, second) = next(&answers);
    platter.mend();
    let told = [next(&answers), next(&answers)];

    assert!((seq, again) == (2, 2) && quiet.is_err());
    assert!(matches!(first, Err(CommitError::Full { .. })), "{first:?}");
    assert!(matches!(second, Err(CommitError::Failed { .. })), "{second:?}");
    assert_eq!(told, [(2, Ok(2)), (3, Ok(2))]);
    drop(thread);
    assert_eq!(opened(&platter).1.entries[b"key".as_slice()], b"3");
}

#[test]
fn a_panic_of_the_engine_is_an_error_that_passes() {
    let platter = Platter::default();
    let (thread, answers) = started(&platter);

    platter.break_after(1, Fault::Panic, false, 1);
    thread.submit(1, vec![set("key", "1")]).unwrap();

    let (_, first) = next(&answers);
    assert!(
        first.is_err_and(|it| it.to_string().contains("panicked (a defect)")),
        "no panic is told"
    );
    assert_eq!(next(&answers), (1, Ok(1)));
}

#[test]
fn a_thread_that_is_dropped_commits_what_waits() {
    let platter = Platter::default();
    let (thread, answers) = started(&platter);
    for seq in 0..50 {
        thread.submit(seq, vec![set(&seq.to_string(), "")]).unwrap();
    }

    drop(thread);

    assert_eq!(answers.iter().count(), 50);
    assert_eq!(opened(&platter).1.entries.len(), 50);
}
