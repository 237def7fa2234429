//! Code of the test itself, run in a host's network namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::thread;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::host::Host;

impl Host {
    /// Runs `body` in a tokio runtime on a thread that is in this host's network namespace: its
    /// sockets, its `/proc/sys/net` and the processes it starts are the host's. The mounts are the
    /// test's.
    pub fn inside<T: Send>(&self, body: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
        let path = format!("/run/netns/{}", self.netns());
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let space = File::open(&path).with_context(|| format!("cannot open {path}"))?;
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))
                    .with_context(|| format!("cannot enter {path}"))?;
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(body())
            });
            match worker.join() {
                Ok(outcome) => outcome,
                Err(_panicked) => bail!("{}: what ran inside panicked", self.name()),
            }
        })
    }
}
