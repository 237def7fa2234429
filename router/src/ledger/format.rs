//! From the format of an earlier release to ours.

use redb::Database;

use super::Entries;
use super::engine::{self, Stored};
use super::error::Why;

/// A step from one format to the next.
#[derive(Debug)]
pub(super) struct Migration {
    /// The format that it reads. It makes the next one.
    pub(super) from: u32,
    /// Makes it; what cannot be understood is said.
    pub(super) apply: fn(&mut Entries) -> Result<(), String>,
}

/// All that we know. Each is kept for as long as anybody may have the format that it reads.
pub(super) const MIGRATIONS: [Migration; 0] = [];

/// The steps from the format that was found to ours; `None` when there is no way.
pub(super) fn steps(found: u32, ours: u32, known: &[Migration]) -> Option<Vec<&Migration>> {
    let step = |from| known.iter().find(|step| step.from == from);
    (found <= ours).then(|| (found..ours).map(step).collect()).flatten()
}

/// Takes them, in one transaction. The number of the last commit, and what is there then.
pub(super) fn migrate(
    open: &Database,
    stored: Stored,
    mut entries: Entries,
    (steps, ours): (&[&Migration], u32),
) -> Result<(u64, Entries), Why> {
    if steps.is_empty() {
        return Ok((stored.last, entries));
    }
    for step in steps {
        (step.apply)(&mut entries).map_err(Why::Damaged)?;
    }
    let number = stored.last + 1;
    engine::replace(open, number, &entries, ours)?;
    Ok((number, entries))
}
