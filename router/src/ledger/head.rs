//! The first page of the file, as it was when the file was last forced to disk.
//!
//! It says which of the other pages are in use. With it as it was, what a failed commit has written elsewhere is as
//! if it had never been.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::locks::pass_on_locks;

/// redb's page; its own header is less.
const PAGE: usize = 4096;

/// The first page. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Head(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    written: Vec<u8>,
    forced: Vec<u8>,
}

/// A backend whose first page is watched.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn StorageBackend>,
    head: Head,
}

impl Head {
    /// Watches what is written from now on. What is there now is on disk.
    pub(super) fn watch(&self, inner: Box<dyn StorageBackend>) -> io::Result<Watched> {
        let there = usize::try_from(inner.len()?).unwrap_or(PAGE).min(PAGE);
        let mut page = vec![0; there];
        inner.read(0, &mut page)?;
        *self.pages() = Pages { written: page.clone(), forced: page };
        Ok(Watched { inner, head: self.clone() })
    }

    /// Makes the first page what it was when it was last forced to disk, and forces it.
    pub(super) fn put_back(&self, to: &dyn StorageBackend) -> io::Result<()> {
        let page = self.pages().forced.clone();
        to.write(0, &page)?;
        to.sync_data()?;
        to.close()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        let mut pages = self.head.pages();
        let Pages { written, forced } = &mut *pages;
        forced.clone_from(written);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.inner.write(offset, data)?;
        let mut pages = self.head.pages();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let room = pages.written.get_mut(start..).unwrap_or_default();
        room.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    pass_on_locks!(inner);
}
