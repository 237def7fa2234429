//! Addresses of this node in the pods' network: by them pods and host reach each other, and pods what is behind the host.
//!
//! Each is on the pods' bridge, with the prefix of its network, so that the kernel has a route there. What leaves the network is
//! masqueraded by the tunnel guard's table ([`crate::guard::Guard::set_exposed`]). Here are the addresses: those that are wanted are
//! put on the bridge, those that are not wanted any more are taken away, and nothing else is touched.
//!
//! Which of them are ours is in a file, `exposed` in the state directory: it is written before an address is added, and again after
//! one was removed, so that none is left behind by a process that was killed. An address that somebody else has put there first
//! stays theirs, also where it is wanted. The file counts for one boot and one bridge: what is found after that is somebody else's.

mod book;
mod kernel;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use book::Book;
pub use book::FILE;
pub(crate) use kernel::cidr as cidr_of;
use kernel::{Bridge, KernelError};

use crate::cidr::Cidr;

/// Keeps the exposed addresses.
#[derive(Debug)]
pub struct Exposer {
    book: Book,
    /// Ours that this process has seen where they belong.
    seen: BTreeSet<Cidr>,
    /// Wanted, and somebody else's: told once.
    foreign: BTreeSet<Cidr>,
    /// Wanted, and on the bridge.
    there: BTreeSet<Cidr>,
}

/// Something that has changed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Change {
    /// The bridge has this address.
    Added(Cidr),
    /// Somebody had removed it.
    PutBack(Cidr),
    /// The bridge has it no more.
    Removed(Cidr),
    /// It is wanted, but somebody else has put it there: it will not be removed.
    Foreign(Cidr),
}

/// Why addresses are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// What is ours cannot be written down, and so is not added.
    #[error("cannot write down which addresses are exposed: {0}; see --state-dir")]
    Book(#[source] io::Error),
    /// The kernel says no.
    #[error("cannot {what} on the bridge: {why}")]
    Kernel {
        /// What was tried.
        what: &'static str,
        /// Why it did not work.
        #[source]
        why: rtnetlink::Error,
    },
    /// There is no netlink.
    #[error("cannot ask the kernel for addresses: {0}")]
    Netlink(#[source] io::Error),
}

/// What is to be done.
#[derive(Debug, Default, Eq, PartialEq)]
struct Steps {
    add: BTreeSet<Cidr>,
    remove: BTreeSet<Cidr>,
}

impl Exposer {
    /// Reads which addresses are ours.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        let book = Book::open(state_dir)?;
        let (seen, foreign, there) = Default::default();
        Ok(Self { book, seen, foreign, there })
    }

    /// Ours, and the bridge that they are on.
    pub fn ours(&self) -> (&str, &BTreeSet<Cidr>) {
        (self.book.bridge(), self.book.ours())
    }

    /// Those that were wanted last and that the bridge had then, whoever has put them there.
    pub fn there(&self) -> &BTreeSet<Cidr> {
        &self.there
    }

    /// Makes the addresses of ours on the bridge these. What has changed; without the bridge there is nothing to do.
    ///
    /// # Errors
    /// As [`ExposeError`] says. What was not done is done by the next call.
    pub async fn reconcile(
        &mut self,
        bridge: &str,
        wanted: &BTreeSet<Cidr>,
    ) -> Result<Vec<Change>, ExposeError> {
        let mut changes = Vec::new();
        if self.book.bridge() != bridge {
            let before = self.book.bridge().to_owned();
            changes = self.settle(&before, &BTreeSet::new()).await?;
            self.book.rename(bridge);
        }
        changes.extend(self.settle(bridge, wanted).await?);
        Ok(changes)
    }

    async fn settle(
        &mut self,
        bridge: &str,
        wanted: &BTreeSet<Cidr>,
    ) -> Result<Vec<Change>, ExposeError> {
        self.there.clear();
        if wanted.is_empty() && self.book.ours().is_empty() {
            return Ok(Vec::new());
        }
        let Some(bridge) = Bridge::find(bridge).await? else { return Ok(Vec::new()) };
        let there = bridge.addresses().await?;
        let there: BTreeSet<Cidr> = there.iter().filter_map(kernel::cidr).collect();
        self.there = wanted.intersection(&there).copied().collect();
        let Steps { add, remove } = steps(wanted, self.book.ours(), &there);
        let mut changes = Vec::new();
        self.book.add(&add).map_err(ExposeError::Book)?;
        for addr in &add {
            match bridge.add(*addr).await {
                Ok(()) if self.seen.contains(addr) => changes.push(Change::PutBack(*addr)),
                Ok(()) => changes.push(Change::Added(*addr)),
                // Somebody was faster.
                Err(KernelError::Exists) => self.forget(*addr)?,
                Err(KernelError::Other(error)) => return Err(error),
            }
            self.there.insert(*addr);
        }
        for addr in remove {
            bridge.remove(addr).await?;
            self.forget(addr)?;
            changes.push(Change::Removed(addr));
        }
        self.seen = self.book.ours().clone();
        let foreign: BTreeSet<_> = wanted.difference(self.book.ours()).copied().collect();
        changes.extend(foreign.difference(&self.foreign).copied().map(Change::Foreign));
        self.foreign = foreign;
        Ok(changes)
    }

    fn forget(&mut self, addr: Cidr) -> Result<(), ExposeError> {
        self.book.remove(addr).map_err(ExposeError::Book)
    }
}

fn steps(wanted: &BTreeSet<Cidr>, ours: &BTreeSet<Cidr>, there: &BTreeSet<Cidr>) -> Steps {
    Steps {
        add: wanted.difference(there).copied().collect(),
        // Also those that somebody has removed: they are to be forgotten.
        remove: ours.difference(wanted).copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> BTreeSet<Cidr> {
        texts.iter().map(|it| it.parse().unwrap()).collect()
    }

    #[test]
    fn what_is_wanted_and_missing_is_added_and_only_ours_is_removed() {
        let wanted = set(&["10.32.0.1/12", "10.96.0.1/16", "10.7.0.1/24"]);
        let ours = set(&["10.32.0.1/12", "10.64.0.1/16", "10.65.0.1/16"]);
        let there = set(&["10.7.0.1/24", "10.32.0.1/12", "10.64.0.1/16", "192.168.0.1/24"]);

        let Steps { add, remove } = steps(&wanted, &ours, &there);

        assert_eq!(add, set(&["10.96.0.1/16"]));
        assert_eq!(remove, set(&["10.64.0.1/16", "10.65.0.1/16"]));
    }
}
