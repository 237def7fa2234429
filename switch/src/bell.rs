//! How workers wake control: an eventfd that all of them write to and control waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys;

/// Control's side: waits until somebody rings.
#[derive(Debug)]
pub struct Bell {
    fd: AsyncFd<Arc<OwnedFd>>,
}

/// The side of those who ring. Clones ring the same bell.
///
/// # Thread-safety
/// Any thread may ring at any time; nobody waits.
#[derive(Clone, Debug)]
pub struct Ringer(Arc<OwnedFd>);

impl Bell {
    /// A bell that nobody has rung. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn new() -> io::Result<Self> {
        Ok(Self { fd: sys::readable(Ringer::new()?.0)? })
    }

    /// What workers ring it with.
    pub fn ringer(&self) -> Ringer {
        Ringer(Arc::clone(self.fd.get_ref()))
    }

    /// Waits until it was rung since this was last answered, however often. Whoever is answered
    /// empties all queues: a queue that is not empty rings no more.
    ///
    /// # Errors
    /// The descriptor failed: a defect.
    ///
    /// # Cancel safety
    /// No ring is lost when the future is dropped.
    pub async fn rung(&self) -> io::Result<()> {
        let silence = |fd: &Arc<OwnedFd>| Ok(rustix::io::read(fd, &mut [0; 8]).map(drop)?);
        self.fd.async_io(Interest::READABLE, silence).await
    }
}

impl Ringer {
    /// Rings for who waits for its descriptor.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)))
    }

    /// Readable when it was rung, until [`Ringer::silence`].
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    pub(crate) fn silence(&self) {
        // Who is not rung for has nothing to read.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }

    /// Rings: one system call.
    pub(crate) fn ring(&self) {
        // An eventfd that cannot be written to is already readable.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(50);
    const DEADLINE: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_bell_rung_often_is_answered_once() {
        let bell = Bell::new().unwrap();
        let ringer = bell.ringer();

        (0..3).for_each(|_| ringer.clone().ring());

        timeout(DEADLINE, bell.rung()).await.unwrap().unwrap();
        assert!(timeout(SOON, bell.rung()).await.is_err(), "nobody has rung since");
    }

    #[tokio::test]
    async fn a_ring_from_another_thread_wakes_who_waits() {
        let bell = Bell::new().unwrap();

        for _ in 0..3 {
            let ringer = bell.ringer();
            let thread = std::thread::spawn(move || ringer.ring());
            timeout(DEADLINE, bell.rung()).await.unwrap().unwrap();
            thread.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_ring_outlives_a_wait_that_was_given_up() {
        let bell = Bell::new().unwrap();
        assert!(timeout(SOON, bell.rung()).await.is_err());

        bell.ringer().ring();

        timeout(DEADLINE, bell.rung()).await.unwrap().unwrap();
    }
}
