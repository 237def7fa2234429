//! What the system grants this process.

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A socket for each lane of each queue, and some more.
pub(crate) fn raise_descriptor_limit(queues: usize) -> anyhow::Result<()> {
    let needed = 64 + 24 * queues as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        bail!(
            "{needed} open files are needed, and the limit is lower: raise it (ulimit -n {needed}), or use fewer --queues"
        );
    }
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    }
    Ok(())
}
