//! Waiting: every wait in the lab has a deadline, and only this module reads the clock.
#![expect(clippy::disallowed_methods, reason = "the lab drives real processes in real time")]

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::clean::runs_dir;

/// How many tests run beside each other: two processors, and most of the time they wait.
const PLACES: usize = 6;
/// How long a test waits for the ones before it.
const TURN_WAIT: Duration = Duration::from_secs(25 * 60);
/// Pause between two looks: short at first, for commands that end at once.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// A point in time after which a wait gives up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `limit` from now.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self(Instant::now() + limit)
    }

    /// Whether it is over.
    #[must_use]
    pub fn passed(self) -> bool {
        Instant::now() >= self.0
    }

    /// What is left; zero when it is over.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Measures how long something takes, for tests with time bounds.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts to count.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Sleeps: only for something that gives no sign to wait for.
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// Looks again and again until `done` says so; fails with `what` after `limit`.
pub fn wait_until(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    match poll(limit, || Ok(done().then_some(())))? {
        Some(()) => Ok(()),
        None => bail!("{what}: not within {limit:?}"),
    }
}

/// Looks again and again until `look` finds something; `None` after `limit`.
pub(crate) fn poll<T>(
    limit: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Deadline::after(limit);
    let mut nap = FIRST_PAUSE;
    loop {
        // Read the clock first: what happened before the deadline is always found.
        let last = deadline.passed();
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if last {
            return Ok(None);
        }
        pause(nap.min(deadline.left()));
        nap = (nap * 2).min(LONGEST_PAUSE);
    }
}

/// Holds the machine-wide turn of a test; dropped, others run.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Turn(#[expect(dead_code, reason = "holds the locks")] Vec<File>);

/// Waits for a turn alone: while it lasts nobody else has one, in no process. For tests with time bounds, and those that take a
/// whole processor.
pub fn serial() -> Result<Turn> {
    let all = lock_file("serial")?;
    turn(|| Ok(lock(all.try_lock())?.then_some(())))?;
    Ok(Turn(vec![all]))
}

/// Waits for a turn beside others that call this, a few at a time. For tests that mostly wait, and have no bound that a neighbour
/// could break. As long as there are any who wait for this, nobody gets a turn alone.
pub fn beside() -> Result<Turn> {
    let all = lock_file("serial")?;
    turn(|| Ok(lock(all.try_lock_shared())?.then_some(())))?;
    let places = (0..PLACES).map(|place| lock_file(&format!("place-{place}")));
    let places = places.collect::<Result<Vec<_>>>()?;
    let number = turn(|| {
        for (number, place) in places.iter().enumerate() {
            if lock(place.try_lock())? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    })?;
    Ok(Turn([all].into_iter().chain(places.into_iter().nth(number)).collect()))
}

fn turn<T>(free: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    poll(TURN_WAIT, free)?.with_context(|| format!("no turn within {TURN_WAIT:?}: a test hangs"))
}

fn lock(outcome: Result<(), TryLockError>) -> Result<bool> {
    match outcome {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the turn"),
    }
}

fn lock_file(name: &str) -> Result<File> {
    let path = runs_dir()?.join(format!("{name}.lock"));
    File::create(&path).with_context(|| format!("cannot create {}", path.display()))
}
