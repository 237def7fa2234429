//! A file that can be written to without being changed: what is written stays in memory.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::locks::pass_on_locks;

const PAGE: u64 = 4096;

/// What is over a backend that is only read.
#[derive(Debug)]
pub(super) struct Overlay {
    under: Box<dyn StorageBackend>,
    over: Mutex<Over>,
}

#[derive(Debug)]
struct Over {
    len: u64,
    /// As much of what is under it still counts.
    shows: u64,
    /// Pages that were written, by number.
    pages: BTreeMap<u64, Vec<u8>>,
}

impl Overlay {
    /// Over all of it.
    pub(super) fn over(under: Box<dyn StorageBackend>) -> io::Result<Self> {
        let len = under.len()?;
        Ok(Self { under, over: Mutex::new(Over { len, shows: len, pages: BTreeMap::new() }) })
    }

    fn lock(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn page(&self, over: &Over, number: u64) -> io::Result<Vec<u8>> {
        if let Some(page) = over.pages.get(&number) {
            return Ok(page.clone());
        }
        let start = number.saturating_mul(PAGE);
        let mut page = vec![0; usize::try_from(PAGE).unwrap_or_default()];
        let there = usize::try_from(over.shows.saturating_sub(start).min(PAGE)).unwrap_or_default();
        match page.get_mut(..there) {
            Some(octets) if there > 0 => self.under.read(start, octets)?,
            Some(_) | None => {}
        }
        Ok(page)
    }
}

/// The pages that `len` octets from `offset` are in: each with the place of the first octet in it.
fn places(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
    (offset / PAGE..end.div_ceil(PAGE)).map(move |number| {
        let first = offset.saturating_sub(number.saturating_mul(PAGE));
        (number, usize::try_from(first).unwrap_or_default())
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let over = self.lock();
        let len = u64::try_from(out.len()).unwrap_or(u64::MAX);
        if offset.checked_add(len).is_none_or(|end| end > over.len) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut rest = &mut *out;
        for (number, first) in places(offset, rest.len()) {
            let page = self.page(&over, number)?;
            let from = page.get(first..).unwrap_or_default();
            let (now, later) = rest.split_at_mut(from.len().min(rest.len()));
            now.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            rest = later;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut over = self.lock();
        over.shows = over.shows.min(len);
        // What comes again after this is zeros.
        let _cut = over.pages.split_off(&len.div_ceil(PAGE));
        if let Some(page) = over.pages.get_mut(&(len / PAGE)) {
            let kept = usize::try_from(len % PAGE).unwrap_or_default();
            page.iter_mut().skip(kept).for_each(|octet| *octet = 0);
        }
        over.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut over = self.lock();
        let mut rest = data;
        for (number, first) in places(offset, data.len()) {
            let mut page = self.page(&over, number)?;
            let to = page.get_mut(first..).unwrap_or_default();
            let (now, later) = rest.split_at(to.len().min(rest.len()));
            to.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            rest = later;
            over.pages.insert(number, page);
        }
        let end = offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        over.len = over.len.max(end);
        Ok(())
    }

    pass_on_locks!(under);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Write(u64, Vec<u8>),
        SetLen(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        let octets = prop::collection::vec(any::<u8>(), 1..6000);
        prop_oneof![
            3 => (0_u64..20_000, octets).prop_map(|(at, octets)| Op::Write(at, octets)),
            1 => (0_u64..30_000).prop_map(Op::SetLen),
        ]
    }

    fn all(of: &dyn StorageBackend) -> Vec<u8> {
        let mut octets = vec![0; usize::try_from(of.len().unwrap()).unwrap()];
        of.read(0, &mut octets).unwrap();
        octets
    }

    proptest! {
        #[test]
        fn an_overlay_reads_as_the_file_would_and_leaves_it(
            before in prop::collection::vec(any::<u8>(), 0..20_000),
            ops in prop::collection::vec(op(), 0..12),
        ) {
            let under = InMemoryBackend::new();
            under.set_len(before.len() as u64).unwrap();
            under.write(0, &before).unwrap();
            let overlay = Overlay::over(Box::new(under)).unwrap();
            let mut model = before.clone();

            for op in ops {
                match op {
                    Op::Write(at, octets) => {
                        let end = usize::try_from(at).unwrap() + octets.len();
                        model.resize(model.len().max(end), 0);
                        model[end - octets.len()..end].copy_from_slice(&octets);
                        overlay.write(at, &octets).unwrap();
                    }
                    Op::SetLen(len) => {
                        model.resize(usize::try_from(len).unwrap(), 0);
                        overlay.set_len(len).unwrap();
                    }
                }
                prop_assert!(all(&overlay) == model);
            }

            prop_assert!(overlay.read(model.len() as u64, &mut [0]).is_err());
            prop_assert!(all(&*overlay.under) == before);
        }
    }
}
