//! The ledger in redb's words: two tables, one transaction for each commit.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};

use super::error::Why;
use super::{Edit, Entries};

/// Numbers about the ledger itself.
const HEADER: TableDefinition<'_, &str, u64> = TableDefinition::new("header");
const FORMAT: &str = "format";
const COMMITS: &str = "commits";
const IDENTITY: &str = "identity";
/// What it holds.
const CONTENTS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("contents");

/// Octets of memory for pages: 100 000 entries are some megabytes.
const CACHE: usize = 8 << 20;

/// What the header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) format: u32,
    /// The number of the last commit.
    pub(super) last: u64,
    /// Made with the ledger, at random.
    pub(super) identity: u64,
}

/// What came of it, or why not; a panic is one reason more.
pub(super) fn caught<T>(work: impl FnOnce() -> Result<T, Why>) -> Result<T, Why> {
    // What a panic leaves half done is dropped, and made again from the file.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|said| {
        let text = said.downcast_ref::<&str>().map(|it| (*it).to_owned());
        let text = text.or_else(|| said.downcast_ref::<String>().cloned());
        Err(Why::Panicked(text.unwrap_or_else(|| "without a word".to_owned())))
    })
}

/// Opens what is there, or what will be a ledger. `recovering` is called when the last process has not closed it.
pub(super) fn open(
    backend: impl StorageBackend,
    recovering: impl Fn() + 'static,
) -> Result<Database, Why> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_repair_callback(move |_| recovering());
    Ok(builder.create_with_backend(backend)?)
}

/// The same, and looks at every page.
pub(super) fn check(backend: impl StorageBackend) -> Result<Database, Why> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    Ok(builder.create_with_backend(backend)?)
}

/// Makes it an empty ledger.
pub(super) fn begin(open: &Database, stored: Stored) -> Result<(), Why> {
    let transaction = open.begin_write()?;
    {
        let mut header = transaction.open_table(HEADER)?;
        header.insert(FORMAT, u64::from(stored.format))?;
        header.insert(COMMITS, stored.last)?;
        header.insert(IDENTITY, stored.identity)?;
        transaction.open_table(CONTENTS)?;
    }
    Ok(transaction.commit()?)
}

/// Reads the header; `None` when it is no ledger of ours.
pub(super) fn stored(open: &Database) -> Result<Option<Stored>, Why> {
    let transaction = open.begin_read()?;
    let header = match transaction.open_table(HEADER) {
        Ok(header) => header,
        Err(redb::TableError::Storage(why)) => return Err(why.into()),
        Err(_) => return Ok(None),
    };
    let number = |key| Ok::<_, Why>(header.get(key)?.map(|it| it.value()));
    let (format, last, identity) = (number(FORMAT)?, number(COMMITS)?, number(IDENTITY)?);
    let format = format.and_then(|it| u32::try_from(it).ok());
    let all = format.zip(last).zip(identity);
    Ok(all.map(|((format, last), identity)| Stored { format, last, identity }))
}

/// Reads all of it.
pub(super) fn entries(open: &Database) -> Result<Entries, Why> {
    let mut entries = Entries::new();
    for entry in open.begin_read()?.open_table(CONTENTS)?.iter()? {
        let (key, value) = entry?;
        entries.insert(key.value().to_vec(), value.value().to_vec());
    }
    Ok(entries)
}

/// Makes these edits, as the commit of that number.
pub(super) fn write<'a>(
    open: &Database,
    number: u64,
    edits: impl Iterator<Item = &'a Edit>,
) -> Result<(), Why> {
    let mut transaction = open.begin_write()?;
    transaction.set_durability(Durability::Immediate).map_err(redb::Error::from)?;
    {
        transaction.open_table(HEADER)?.insert(COMMITS, number)?;
        let mut contents = transaction.open_table(CONTENTS)?;
        for Edit { key, value } in edits {
            match value {
                Some(value) => drop(contents.insert(key.as_slice(), value.as_slice())?),
                None => drop(contents.remove(key.as_slice())?),
            }
        }
    }
    Ok(transaction.commit()?)
}

/// Makes it hold these, in that format, as the commit of that number.
pub(super) fn replace(
    open: &Database,
    number: u64,
    entries: &Entries,
    format: u32,
) -> Result<(), Why> {
    let transaction = open.begin_write()?;
    {
        let mut header = transaction.open_table(HEADER)?;
        header.insert(COMMITS, number)?;
        header.insert(FORMAT, u64::from(format))?;
        transaction.delete_table(CONTENTS)?;
        let mut contents = transaction.open_table(CONTENTS)?;
        for (key, value) in entries {
            contents.insert(key.as_slice(), value.as_slice())?;
        }
    }
    Ok(transaction.commit()?)
}
