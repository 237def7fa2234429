//! The keeper: has the state written, off the loop, and no more often than need be.
//!
//! A name or an incarnation is on disk before anything goes out that depends on it, if the disk takes it at
//! once: the loop waits half a second for each write of one, and once only for a write that hangs. What the
//! disk has not confirmed is kept and given to it again. The address book changes all the time and is only a
//! convenience: it is written once a second at most, while the loop goes on. One write runs at a time, as
//! all use the same file, and the newest state wins.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::machine::Machine;
use super::state::{State, StateError, Store};
use crate::{PeerName, Saved};

/// The least time between two writes of the book.
const PACE: Duration = Duration::from_secs(1);
/// The least time between two attempts while the disk refuses, but for a new name or incarnation.
const RETRY: Duration = Duration::from_secs(10);
/// How long the loop waits for the disk: twice this, for an older write and for its own, is well under what
/// makes neighbours think that we are dead (3.5 s). A start after a crash then learns its incarnation from
/// the first peer instead.
const PATIENCE: Duration = Duration::from_millis(500);

/// The loop's side of the state file.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Option<Arc<Store>>,
    machine: Machine,
    /// The newest state, if it is neither on disk nor on its way.
    wanted: Option<Arc<State>>,
    /// When it may be given to the disk.
    due: Duration,
    /// The name and the incarnation given to the disk last.
    identity: Option<(PeerName, u64)>,
    running: Option<Write>,
    failures: u64,
}

/// A write that is under way.
#[derive(Debug)]
struct Write {
    state: Arc<State>,
    task: JoinHandle<Result<(), StateError>>,
    /// Whether it was waited for in vain.
    hangs: bool,
}

impl Keeper {
    /// Keeps state in `store`, if there is one.
    pub(super) fn new(store: Option<Store>, machine: Machine) -> Self {
        Self {
            store: store.map(Arc::new),
            machine,
            wanted: None,
            due: Duration::ZERO,
            identity: None,
            running: None,
            failures: 0,
        }
    }

    /// Writes the first state: nothing has gone out yet. Where a disk is full, or takes nothing more, that is tried again later: the
    /// first peer tells what this start has counted wrongly. Blocks.
    pub(super) fn write_first(&mut self, name: PeerName, saved: Saved) -> Result<(), StateError> {
        self.identity = Some((name, saved.incarnation));
        let Some(store) = self.store.clone() else { return Ok(()) };
        let state = State { name, saved, machine: self.machine };
        match store.write(&state) {
            Err(error) if store.can_wait(&error) => {
                self.failed(Arc::new(state), &error, Duration::ZERO);
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// There is something new to store.
    pub(super) async fn note(&mut self, name: PeerName, saved: Saved, now: Duration) {
        if self.store.is_none() {
            return;
        }
        let identity = Some((name, saved.incarnation));
        self.wanted = Some(Arc::new(State { name, saved, machine: self.machine }));
        if self.identity != identity {
            self.wait(now).await;
            self.start(now);
            self.wait(now).await;
        }
    }

    /// When `turn` has something to do. That a write has ended is seen in any turn.
    pub(super) fn due(&self) -> Option<Duration> {
        self.wanted.as_ref().map(|_| self.due)
    }

    /// Takes note of a write that has ended, and starts one that is due.
    pub(super) async fn turn(&mut self, now: Duration) {
        if self.running.as_ref().is_some_and(|write| write.task.is_finished()) {
            self.finish(now).await;
        }
        if self.wanted.is_none() || now < self.due {
            return;
        }
        if self.running.is_some() {
            self.due = now + PACE;
            return;
        }
        self.start(now);
    }

    /// Writes what is not written yet, at the end.
    pub(super) async fn write_last(&mut self, now: Duration) {
        self.finish(now).await;
        self.start(now);
        self.finish(now).await;
    }

    /// Writes that failed.
    pub(super) fn failures(&self) -> u64 {
        self.failures
    }

    fn start(&mut self, now: Duration) {
        let (Some(store), None) = (self.store.clone(), &self.running) else { return };
        let Some(state) = self.wanted.take() else { return };
        self.identity = Some((state.name, state.saved.incarnation));
        self.due = now + PACE;
        let written = Arc::clone(&state);
        let task = tokio::task::spawn_blocking(move || store.write(&written));
        self.running = Some(Write { state, task, hangs: false });
    }

    /// Waits for the write that runs, unless it was waited for already.
    async fn wait(&mut self, now: Duration) {
        if self.running.as_ref().is_some_and(|write| !write.hangs || write.task.is_finished()) {
            self.finish(now).await;
        }
    }

    /// Waits for the write that runs, not for long, and takes note of its outcome.
    async fn finish(&mut self, now: Duration) {
        let Some(mut write) = self.running.take() else { return };
        match timeout(PATIENCE, &mut write.task).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => self.failed(write.state, &error, now),
            // It panicked, or the runtime ends.
            Ok(Err(error)) => self.failed(write.state, &error, now),
            Err(_) => {
                if !write.hangs {
                    tracing::warn!("the disk takes the state slowly or not at all");
                }
                self.running = Some(Write { hangs: true, ..write });
            }
        }
    }

    fn failed(&mut self, state: Arc<State>, error: &dyn Error, now: Duration) {
        self.failures += 1;
        self.due = now + RETRY;
        // Unless there is a newer one by now.
        self.wanted.get_or_insert(state);
        let why = error.source().map(ToString::to_string);
        tracing::warn!(%error, why, "state not stored, trying again: make room there, or see what the kernel says of that disk");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::shell::scratch::Scratch;
    use crate::shell::state::Found;

    const NAME: PeerName = PeerName::local(1);
    const T0: Duration = Duration::ZERO;

    fn keeper(scratch: &Scratch) -> Keeper {
        let (store, _) = Store::open(scratch.path()).unwrap();
        Keeper::new(Some(store), Machine::default())
    }

    fn saved(incarnation: u64, port: u16) -> Saved {
        let addr = format!("10.99.0.2:{port}").parse().unwrap();
        Saved { incarnation, book: vec![crate::Known { addr, name: None }] }
    }

    fn stored(dir: &Path) -> String {
        fs::read_to_string(dir.join("mesh.json")).unwrap()
    }

    #[tokio::test]
    async fn an_incarnation_is_on_disk_before_the_loop_goes_on() {
        let scratch = Scratch::new("incarnation");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();

        keeper.note(NAME, saved(9, 1), T0).await;

        assert!(stored(scratch.path()).contains("\"incarnation\": 9"));
    }

    #[tokio::test]
    async fn a_first_state_that_cannot_be_written_over_an_earlier_one_is_tried_again() {
        let scratch = Scratch::new("first");
        let obstacle = scratch.path().join("mesh.json.new");
        fs::create_dir_all(&obstacle).unwrap();
        assert!(keeper(&scratch).write_first(NAME, saved(1, 1)).is_err());
        fs::remove_dir(&obstacle).unwrap();
        keeper(&scratch).write_first(NAME, saved(1, 1)).unwrap();
        fs::create_dir(&obstacle).unwrap();
        let mut keeper = keeper(&scratch);

        keeper.write_first(NAME, saved(2, 1)).unwrap();

        assert_eq!((keeper.failures(), keeper.due()), (1, Some(RETRY)));
        assert!(stored(scratch.path()).contains("\"incarnation\": 1"));
        fs::remove_dir(&obstacle).unwrap();
        keeper.turn(RETRY).await;
        keeper.wait(RETRY).await;
        assert!(stored(scratch.path()).contains("\"incarnation\": 2"));
    }

    #[tokio::test]
    async fn the_book_is_written_once_a_second_at_most_and_the_newest_wins() {
        let scratch = Scratch::new("book");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        keeper.note(NAME, saved(1, 2), PACE).await;
        keeper.turn(PACE).await;
        keeper.note(NAME, saved(1, 3), PACE).await;
        keeper.note(NAME, saved(1, 4), PACE).await;

        keeper.turn(PACE * 3 / 2).await;
        keeper.finish(PACE * 3 / 2).await;
        assert!(stored(scratch.path()).contains("10.99.0.2:2"));
        assert_eq!(keeper.due(), Some(2 * PACE));
        keeper.turn(2 * PACE).await;
        keeper.finish(2 * PACE).await;

        assert!(stored(scratch.path()).contains("10.99.0.2:4"));
        assert_eq!(keeper.due(), None);
    }

    #[tokio::test]
    async fn a_disk_that_refuses_is_counted_and_asked_again_later() {
        let scratch = Scratch::new("refuses");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        let obstacle = scratch.path().join("mesh.json.new");
        fs::create_dir(&obstacle).unwrap();

        keeper.note(NAME, saved(2, 1), T0).await;
        keeper.note(NAME, saved(2, 2), T0).await;

        assert_eq!((keeper.failures(), keeper.due()), (1, Some(RETRY)));
        fs::remove_dir(&obstacle).unwrap();
        keeper.turn(RETRY).await;
        keeper.write_last(RETRY).await;
        assert!(stored(scratch.path()).contains("\"incarnation\": 2"));
    }

    #[tokio::test]
    async fn a_state_that_could_not_be_written_is_written_when_the_disk_takes_it() {
        let scratch = Scratch::new("retried");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        let obstacle = scratch.path().join("mesh.json.new");
        fs::create_dir(&obstacle).unwrap();

        keeper.note(NAME, saved(2, 1), T0).await;
        assert_eq!(keeper.due(), Some(RETRY));
        fs::remove_dir(&obstacle).unwrap();
        keeper.turn(RETRY / 2).await;
        assert!(keeper.running.is_none());
        keeper.turn(RETRY).await;
        keeper.wait(RETRY).await;

        assert!(stored(scratch.path()).contains("\"incarnation\": 2"));
        assert_eq!((keeper.failures(), keeper.due()), (1, None));
    }

    #[tokio::test]
    async fn a_write_that_failed_while_nobody_waited_is_noticed_and_tried_again() {
        let scratch = Scratch::new("unwaited");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        fs::create_dir(scratch.path().join("mesh.json.new")).unwrap();
        keeper.note(NAME, saved(1, 2), T0).await;

        keeper.turn(T0).await;
        while keeper.running.as_ref().is_some_and(|write| !write.task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        keeper.turn(PACE).await;

        assert_eq!((keeper.failures(), keeper.due()), (1, Some(PACE + RETRY)));
    }

    #[tokio::test]
    async fn a_write_that_hangs_is_waited_for_once_and_followed_by_the_newest() {
        let scratch = Scratch::new("hangs");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        let (disk, answer) = std::sync::mpsc::channel::<()>();
        let hang = move || {
            let _ = answer.recv();
            Ok(())
        };
        let state = State { name: NAME, saved: saved(1, 2), machine: Machine::default() };
        let task = tokio::task::spawn_blocking(hang);
        keeper.running = Some(Write { state: Arc::new(state), task, hangs: false });

        let start = tokio::time::Instant::now();
        for incarnation in 2..100 {
            keeper.note(NAME, saved(incarnation, 1), T0).await;
        }
        let waited = start.elapsed();
        drop(disk);
        while !keeper.running.as_ref().is_some_and(|write| write.task.is_finished()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        keeper.turn(PACE).await;
        keeper.wait(PACE).await;

        assert!(waited >= PATIENCE && waited < 2 * PATIENCE, "{waited:?}");
        assert!(stored(scratch.path()).contains("\"incarnation\": 99"));
    }

    #[tokio::test]
    async fn what_waits_is_written_at_the_end() {
        let scratch = Scratch::new("last");
        let mut keeper = keeper(&scratch);
        keeper.write_first(NAME, saved(1, 1)).unwrap();
        keeper.note(NAME, saved(1, 2), T0).await;

        keeper.write_last(T0).await;
        drop(keeper);

        let (_, found) = Store::open(scratch.path()).unwrap();
        assert!(matches!(found, Found::State(state) if state.saved == saved(1, 2)));
    }

    #[tokio::test]
    async fn without_a_store_nothing_is_kept_and_nothing_is_due() {
        let mut keeper = Keeper::new(None, Machine::default());
        keeper.write_first(NAME, saved(1, 1)).unwrap();

        keeper.note(NAME, saved(2, 1), T0).await;
        keeper.write_last(T0).await;

        assert_eq!((keeper.due(), keeper.failures()), (None, 0));
    }
}
