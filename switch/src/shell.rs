//! The frame loop's thread: waits for either side, and gives the worker the time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use crate::spin::Spin;
use crate::{Fault, Poll, Ringer, Tap, Tick, Underlay, Worker};

/// Where ticks come from.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that reads zero now.
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// What it reads now.
    pub fn now(&self) -> Tick {
        self.elapsed().into()
    }

    /// The same, more precisely.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Threads that run workers. Dropping them stops the threads and waits for them.
#[derive(Debug)]
pub struct FrameThreads {
    handles: Vec<JoinHandle<()>>,
    wakes: Vec<Wake>,
}

/// Wakes a thread that waits: there is another plan, or it is to stop.
#[derive(Clone, Debug)]
struct Wake {
    ringer: Ringer,
    stop: Arc<AtomicBool>,
}

/// Tells how threads have ended, one after the other: `Ok` when they were told to.
pub type Ended = mpsc::UnboundedReceiver<Result<(), Fault>>;

impl FrameThreads {
    /// Starts a thread for each of `workers`, which runs until one of its sides fails or this is
    /// dropped.
    ///
    /// # Errors
    /// The system has no thread or descriptor to spare; those started are stopped again.
    pub fn spawn<T, U>(
        workers: Vec<Worker<T, U>>,
        clock: Clock,
        poll: Poll,
    ) -> io::Result<(Self, Ended)>
    where
        T: Tap + AsFd + Send + 'static,
        U: Underlay + AsFd + Send + 'static,
    {
        let (report, ended) = mpsc::unbounded_channel();
        let mut threads = Self { handles: Vec::new(), wakes: Vec::new() };
        let stop = Arc::new(AtomicBool::new(false));
        for (n, worker) in workers.into_iter().enumerate() {
            let wake = Wake { ringer: Ringer::new()?, stop: Arc::clone(&stop) };
            threads.wakes.push(wake.clone());
            worker.follow(wake.ringer.clone());
            let report = Report { end: Err(Fault::Panicked), to: report.clone() };
            let thread = std::thread::Builder::new().name(format!("frames-{n}"));
            let handle = thread.spawn(move || {
                let mut report = report;
                report.end = run(worker, clock, poll, &wake);
            })?;
            threads.handles.push(handle);
        }
        Ok((threads, ended))
    }
}

/// Tells the end of a thread, also when that is a panic.
struct Report {
    end: Result<(), Fault>,
    to: mpsc::UnboundedSender<Result<(), Fault>>,
}

impl Drop for Report {
    fn drop(&mut self) {
        // Nobody listens any more when the thread is stopped by being dropped.
        drop(self.to.send(std::mem::replace(&mut self.end, Ok(()))));
    }
}

impl Drop for FrameThreads {
    fn drop(&mut self) {
        self.wakes.iter().for_each(Wake::stop);
        for handle in self.handles.drain(..) {
            // A panic was reported by its guard.
            drop(handle.join());
        }
    }
}

fn run<T, U>(mut worker: Worker<T, U>, clock: Clock, spin: Poll, wake: &Wake) -> Result<(), Fault>
where
    T: Tap + AsFd,
    U: Underlay + AsFd,
{
    let mut spin = Spin::new(spin);
    let (mut turns, mut slept) = (0u32, true);
    loop {
        let now = clock.elapsed();
        let moved = worker.turn(now.into())?;
        turns = turns.wrapping_add(1);
        let again = spin.again(moved, clock.elapsed(), slept);
        slept = !again;
        // A flood that never lets the worker rest must not keep it from stopping.
        if (!again || turns.is_multiple_of(1024)) && wait(&worker, wake, !again)? {
            return Ok(());
        }
        if again && moved.reads == 0 {
            // Who shares the core goes first: it may be the pod we look out for.
            rustix::thread::sched_yield();
        }
    }
}

/// Waits for either side, if it may block. Returns whether to stop.
fn wait<T, U>(worker: &Worker<T, U>, wake: &Wake, block: bool) -> Result<bool, Fault>
where
    T: Tap + AsFd,
    U: Underlay + AsFd,
{
    let (tap, underlay) = worker.sides();
    let three = [wake.ringer.fd(), tap.as_fd(), underlay.as_fd()];
    let woken = match worker.sleeve() {
        None => wait_for(three, block)?,
        Some(sleeve) => {
            let [wake, tap, underlay] = three;
            wait_for([wake, tap, underlay, sleeve.as_fd()], block)?
        }
    };
    Ok(woken && wake.answer())
}

impl Wake {
    fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ringer.ring();
    }

    /// Whether it was rung for the end.
    fn answer(&self) -> bool {
        self.ringer.silence();
        self.stop.load(Ordering::Acquire)
    }
}

/// Waits for one of `fds`, if it may block. Returns whether the first of them is ready.
fn wait_for<const N: usize>(fds: [BorrowedFd<'_>; N], block: bool) -> Result<bool, Fault> {
    let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    let timeout = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(&mut fds, if block { None } else { Some(&timeout) }) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(Fault::Poll(error.into())),
    }
    Ok(fds.first().is_some_and(|first| !first.revents().is_empty()))
}
