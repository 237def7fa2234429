//! Durable commits a second, with one that submits and with 64 at a time, and what the disk takes for one fsync.
//!
//! ```text
//! cargo bench -p router --bench ledger [-- DIR]
//! ```
//! The ledger is made in DIR, else in the working directory: of the disk that is to be measured.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "it measures, for people"
)]

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use router::ledger::{Edit, Header, Ledger, LedgerThread, Witness};

const TIME: Duration = Duration::from_secs(3);
/// Entries that are there already: a node with many leases.
const THERE: u64 = 20_000;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if !args.iter().any(|it| it == "--bench") {
        println!("nothing measured: run `cargo bench`, or give --bench");
        return;
    }
    let given = args.iter().find(|it| !it.starts_with('-'));
    let dir = given.map_or_else(|| PathBuf::from("."), PathBuf::from);
    let dir = dir.join(format!("weft-ledger-bench-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    println!("fsync of 4 KiB: median {:?}", fsync(&dir.join("fsync")));
    for submitters in [1, 64] {
        let file = dir.join(format!("ledger-{submitters}"));
        let (answers, commits, took) = run(&file, submitters);
        let (each, size) = (took.as_secs_f64(), fs::metadata(&file).unwrap().len());
        println!(
            "{submitters} at a time: {:.0} submissions/s durable in {:.0} commits/s; the file has {size} octets",
            answers as f64 / each,
            commits as f64 / each
        );
    }
    fs::remove_dir_all(&dir).unwrap();
}

/// Submissions that were answered, commits, and in what time.
fn run(file: &Path, submitters: u64) -> (u64, u64, Duration) {
    let witness = Witness::at(&file.with_extension("witness")).unwrap();
    let (mut ledger, _) = Ledger::open(file, &Header { format: 1 }, Some(witness)).unwrap();
    let filled: Vec<_> = (0..THERE).map(lease).collect();
    let before = ledger.commit(&filled).unwrap();
    let (to, answers) = mpsc::channel();
    let answer = move |seq, outcome| drop(to.send((seq, outcome)));
    let thread = LedgerThread::start(ledger, answer).unwrap();
    let begin = Instant::now();
    (0..submitters).for_each(|seq| thread.submit(seq, vec![lease(seq * 7919)]).unwrap());
    let (mut answered, mut last) = (0, 0);
    while begin.elapsed() < TIME {
        let (seq, outcome) = answers.recv().unwrap();
        (answered, last) = (answered + 1, outcome.unwrap());
        // Who is answered asks again.
        let next = seq + submitters;
        thread.submit(next, vec![lease(next * 7919 % THERE)]).unwrap();
    }
    (answered, last - before, begin.elapsed())
}

/// As long as a lease is, about.
fn lease(number: u64) -> Edit {
    Edit { key: format!("lease/{number:08}").into_bytes(), value: Some(vec![7; 90]) }
}

fn fsync(path: &Path) -> Duration {
    let mut file = File::create(path).unwrap();
    let mut took: Vec<_> = (0..200)
        .map(|_| {
            file.seek(SeekFrom::Start(0)).unwrap();
            file.write_all(&[1; 4096]).unwrap();
            let begin = Instant::now();
            file.sync_data().unwrap();
            begin.elapsed()
        })
        .collect();
    took.sort_unstable();
    took.get(took.len() / 2).copied().unwrap_or_default()
}
