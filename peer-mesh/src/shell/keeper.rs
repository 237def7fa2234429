//! The keeper: has the state written, off the loop, and no more often than need be.
//!
//! A name or an incarnation is on disk before anything goes out that depends on it, or the disk was given
//! its chance: the loop waits for it, not for long. The address book changes all the time and is only a
//! convenience: it is written once a second at most, while the loop goes on. One write runs at a time, and
//! the newest state wins.

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
/// The least time between two attempts while the disk refuses.
const RETRY: Duration = Duration::from_secs(10);
/// How long the loop waits for the disk: well under what makes neighbours think that we are dead (3.5 s).
/// A start after a crash then learns its incarnation from the first peer instead.
const PATIENCE: Duration = Duration::from_millis(500);

/// The loop's side of the state file.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Option<Arc<Store>>,
    machine: Machine,
    /// The newest state, if it is not given to the disk yet.
    wanted: Option<State>,
    /// When it may be.
    due: Duration,
    /// The name and the incarnation given to the disk last.
    identity: Option<(PeerName, u64)>,
    running: Option<JoinHandle<Result<(), StateError>>>,
    failures: u64,
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

    /// Writes the first state, which must not fail: nothing has gone out yet. Blocks.
    pub(super) fn write_first(&mut self, name: PeerName, saved: Saved) -> Result<(), StateError> {
        self.identity = Some((name, saved.incarnation));
        match &self.store {
            Some(store) => store.write(&State { name, saved, machine: self.machine }),
            None => Ok(()),
        }
    }

    /// There is something new to store.
    pub(super) async fn note(&mut self, name: PeerName, saved: Saved, now: Duration) {
        if self.store.is_none() {
            return;
        }
        let identity = Some((name, saved.incarnation));
        self.wanted = Some(State { name, saved, machine: self.machine });
        if self.identity != identity {
            self.finish(now).await;
            self.start(now);
            self.finish(now).await;
        }
    }

    /// When `turn` has something to do.
    pub(super) fn due(&self) -> Option<Duration> {
        self.wanted.as_ref().map(|_| self.due)
    }

    /// Starts a write that is due.
    pub(super) async fn turn(&mut self, now: Duration) {
        if self.wanted.is_none() || now < self.due {
            return;
        }
        if self.running.as_ref().is_some_and(|running| !running.is_finished()) {
            self.due = now + PACE;
            return;
        }
        self.finish(now).await;
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
        // While a write hangs there is no second one: both would use the same file.
        let (Some(store), None) = (self.store.clone(), &self.running) else { return };
        let Some(state) = self.wanted.take() else { return };
        self.identity = Some((state.name, state.saved.incarnation));
        self.due = now + PACE;
        let write = move || store.write(&state);
        self.running = Some(tokio::task::spawn_blocking(write));
    }

    /// Waits for the write that runs, not for long, and takes note of its outcome.
    async fn finish(&mut self, now: Duration) {
        let Some(mut running) = self.running.take() else { return };
        match timeout(PATIENCE, &mut running).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => self.count(&error, now),
            // It panicked, or the runtime ends.
            Ok(Err(error)) => self.count(&error, now),
            Err(_) => self.running = Some(running),
        }
    }

    fn count(&mut self, error: &dyn Error, now: Duration) {
        self.failures += 1;
        self.due = now + RETRY;
        let why = error.source().map(ToString::to_string);
        tracing::warn!(%error, why, "state not stored");
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
