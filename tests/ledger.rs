//! Batches for a ledger: each is of several edits, and what is there tells which have been made.

use std::collections::BTreeMap;

use router::ledger::{Edit, Entries};

/// The format of these.
pub const FORMAT: u32 = 7;
/// Batches in a row have places of their own.
const PLACES: u64 = 40;
/// Entries of each.
const ENTRIES: u64 = 6;
const LAST: &[u8] = b"last";

/// The batch of that number: some entries get it as their value, and those of an earlier one go.
pub fn batch(number: u64) -> Vec<Edit> {
    let value = number.to_be_bytes().to_vec();
    let mut edits = vec![Edit { key: LAST.to_vec(), value: Some(value.clone()) }];
    for entry in 0..ENTRIES {
        edits.push(Edit { key: key(number, entry), value: Some(value.repeat(20)) });
        edits.push(Edit { key: key(number + PLACES / 2, entry), value: None });
    }
    edits
}

/// The number of the last batch that is in there.
pub fn last_of(entries: &Entries) -> u64 {
    let value = entries.get(LAST).and_then(|it| it.first_chunk().copied());
    value.map_or(0, u64::from_be_bytes)
}

/// What there is after all batches up to that number.
pub fn after(number: u64) -> Entries {
    let mut entries = BTreeMap::new();
    // None before has left anything.
    for number in number.saturating_sub(PLACES).max(1)..=number {
        for Edit { key, value } in batch(number) {
            match value {
                Some(value) => drop(entries.insert(key, value)),
                None => drop(entries.remove(&key)),
            }
        }
    }
    entries
}

fn key(number: u64, entry: u64) -> Vec<u8> {
    format!("{:02}/{entry}", number % PLACES).into_bytes()
}
