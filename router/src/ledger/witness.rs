//! What remembers the last commit when the disk does not: a file in memory, which goes when the machine goes.
//!
//! ```text
//! block   "weftwtns" 8 | boot 36 | identity u64 | number u64 | digest 32 | zeros up to 512
//! ```
//! The boot is the kernel's id of it as text. The digest is BLAKE2s-256 of what is before it. It is written after each commit, by
//! one write that nothing waits for, so it may be one commit behind, and never ahead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use blake2::{Blake2s256, Digest as _};
use rustix::fs::OFlags;

use crate::boot;

const MAGIC: [u8; 8] = *b"weftwtns";
const BOOT: usize = 36;
const BLOCK: usize = 512;
/// Opening never waits and follows no link (open(2)).
const FLAGS: i32 = OFlags::NONBLOCK.union(OFlags::NOFOLLOW).bits().cast_signed();

/// Knows the last commit of this boot.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    boot: [u8; BOOT],
    file: Option<File>,
    complaint: Option<String>,
}

impl Witness {
    /// One whose file is at `path`: in /run, or wherever files go when the machine does.
    ///
    /// # Errors
    /// The kernel does not say which boot this is.
    pub fn at(path: &Path) -> io::Result<Self> {
        Self::of_boot(path, &boot::id()?)
    }

    pub(super) fn of_boot(path: &Path, boot: &str) -> io::Result<Self> {
        let boot = boot.as_bytes().first_chunk().copied();
        let boot = boot.ok_or_else(|| io::Error::other("the kernel's boot_id is none"))?;
        Ok(Self { path: path.to_owned(), boot, file: None, complaint: None })
    }

    /// The number of the last commit that a ledger of this identity has told in this boot.
    pub(super) fn seen(&self, identity: u64) -> Option<u64> {
        let mut block = [0; BLOCK];
        let file = OpenOptions::new().read(true).custom_flags(FLAGS).open(&self.path).ok()?;
        file.read_exact_at(&mut block, 0).ok()?;
        let (known, rest) = block.split_first_chunk::<{ MAGIC.len() + BOOT + 8 }>()?;
        let (number, _) = rest.split_first_chunk::<8>()?;
        let number = u64::from_be_bytes(*number);
        // Whatever is not as we write it is of somebody else.
        (known.starts_with(&MAGIC) && block == self.block(identity, number)).then_some(number)
    }

    /// A ledger of this identity is about to tell this number. What does not work is said once: it is the disk that counts.
    pub(super) fn note(&mut self, identity: u64, number: u64) {
        let complaint = self.write(identity, number).err().map(|error| error.to_string());
        if let Some(why) = complaint.as_ref().filter(|_| complaint != self.complaint) {
            tracing::warn!(why, file = %self.path.display(), "cannot note commits: a disk that is put back to an earlier state would not be noticed");
        }
        self.complaint = complaint;
    }

    fn write(&mut self, identity: u64, number: u64) -> io::Result<()> {
        let there = |file: &File| file.metadata().is_ok_and(|it| it.nlink() > 0);
        let file = match self.file.take().filter(there) {
            Some(file) => file,
            None => {
                let mut options = OpenOptions::new();
                let options = options.write(true).create(true).truncate(false).mode(0o600);
                options.custom_flags(FLAGS).open(&self.path)?
            }
        };
        file.write_all_at(&self.block(identity, number), 0)?;
        self.file = Some(file);
        Ok(())
    }

    fn block(&self, identity: u64, number: u64) -> [u8; BLOCK] {
        let mut text = MAGIC.to_vec();
        text.extend(self.boot);
        text.extend(identity.to_be_bytes());
        text.extend(number.to_be_bytes());
        text.extend(Blake2s256::digest(&text));
        let mut block = [0; BLOCK];
        block.iter_mut().zip(text).for_each(|(to, from)| *to = from);
        block
    }
}
