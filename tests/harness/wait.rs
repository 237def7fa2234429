//! Waiting: every wait in the lab has a deadline, and only this module reads the clock.
#![expect(clippy::disallowed_methods, reason = "the lab drives real processes in real time")]

use std::fs::{File, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::clean::runs_dir;

/// How long a serial test waits for the ones before it.
const SERIAL_WAIT: Duration = Duration::from_secs(25 * 60);
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

/// Holds the machine-wide turn of tests with time bounds; dropped, the next one runs.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Serial(#[expect(dead_code, reason = "holds the lock")] File);

/// Waits for the turn: of the tests that call this, in all processes, one runs at a time.
pub fn serial() -> Result<Serial> {
    let path = runs_dir()?.join("serial.lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let turn = poll(SERIAL_WAIT, || match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock the serial turn"),
    })?;
    match turn {
        Some(()) => Ok(Serial(file)),
        None => bail!("no turn within {SERIAL_WAIT:?}: another serial test hangs"),
    }
}
