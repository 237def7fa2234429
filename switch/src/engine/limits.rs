use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How many queues make good use of this machine: half the processors, at least two where there are as
/// many, at most eight.
pub fn default_queues() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    // Two processors are better used by two: one thread for each direction of a stream.
    (processors / 2).clamp(processors.min(2), 8)
}

/// Why there may be too few descriptors.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// This process may not have as many.
    #[error("{needed} open files are needed, and the limit is lower")]
    TooLow {
        /// How many it needs.
        needed: u64,
    },
    /// The system refused.
    #[error("cannot raise the limit of open files")]
    Refused(#[source] io::Error),
}

/// Open files of a queue: 16 that send, two that receive and one more name for each of them, the TAP
/// and one more name for it, what wakes the thread, and some to spare.
const EACH: u64 = 28;

/// Raises the limit of open files to what so many queues need, and `others` beside them.
///
/// # Errors
/// As [`LimitError`] says; the limit is as it was.
pub fn raise_descriptor_limit(queues: usize, others: u64) -> Result<(), LimitError> {
    let needed = others + EACH * queues as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(LimitError::TooLow { needed });
    }
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).map_err(|error| LimitError::Refused(error.into()))?;
    }
    Ok(())
}
