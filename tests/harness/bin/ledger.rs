//! `lab-ledger FILE WITNESS`: commits numbered batches to a ledger until it is killed, and prints each number that is durable.
#![expect(clippy::print_stdout, reason = "a command that reports to its test")]

use std::path::Path;
use std::sync::mpsc;

use anyhow::{Result, bail};
use router::ledger::{Header, Ledger, LedgerThread, Witness};
use weft_tests::ledger::{FORMAT, batch, last_of};

/// Batches that wait for the disk at a time.
const WAITING: u64 = 4;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, witness] = args.as_slice() else { bail!("usage: lab-ledger FILE WITNESS") };
    let witness = Witness::at(Path::new(witness))?;
    let (ledger, contents) =
        Ledger::open(Path::new(file), &Header { format: FORMAT }, Some(witness))?;
    let first = last_of(&contents.entries) + 1;
    println!("from {first}");
    let (to, answers) = mpsc::channel();
    let answer = move |seq, outcome| drop(to.send((seq, outcome)));
    let thread = LedgerThread::start(ledger, answer)?;
    for seq in first..first + WAITING {
        thread.submit(seq, batch(seq))?;
    }
    for (seq, outcome) in answers {
        outcome?;
        println!("{seq}");
        thread.submit(seq + WAITING, batch(seq + WAITING))?;
    }
    bail!("the ledger's thread has ended")
}
