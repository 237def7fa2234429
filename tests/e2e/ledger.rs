//! A process that commits is killed at any moment, again and again: what it has reported is there.
#![expect(clippy::print_stdout, reason = "the figures belong to the result")]

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

use router::ledger::{Contents, Header, Ledger, Witness};
use weft_tests::harness::pause;
use weft_tests::ledger::{FORMAT, after, last_of};
use weft_tests::rng::Rng;

const ROUNDS: u64 = 60;

#[test]
fn whatever_was_reported_before_a_kill_is_there_after_it_and_batches_are_whole() {
    let dir = std::env::temp_dir().join(format!("weft-ledger-kill-{}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let (file, witness) = (dir.join("ipam.redb"), dir.join("witness"));
    let mut rng = Rng::new(1);
    let (mut reported, mut recovered) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lab-ledger"))
            .args([&file, &witness])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The first are killed while they open it.
        let latest = if round < ROUNDS / 2 { 15_000 } else { 50_000 };
        pause(Duration::from_micros(rng.within(0..=latest)));
        child.kill().unwrap();
        let mut text = String::new();
        child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        child.wait().unwrap();
        let lines = text.lines().filter_map(|line| line.parse::<u64>().ok());
        reported = lines.max().unwrap_or(reported);

        let seen = Witness::at(&witness).unwrap();
        let opened = Ledger::open(&file, &Header { format: FORMAT }, Some(seen));

        let (_, Contents { entries, recovered: killed, rolled_back, .. }) = opened.unwrap();
        let last = last_of(&entries);
        assert!(last >= reported, "round {round}: {reported} was reported, {last} is there");
        assert!(entries == after(last), "round {round}: batch {last} is not whole");
        assert_eq!(rolled_back, None, "round {round}");
        reported = last;
        recovered += u64::from(killed);
    }
    fs::remove_dir_all(&dir).unwrap();

    assert!(reported > 100 && recovered > ROUNDS / 4, "{reported} batches, {recovered} recovered");
    println!("{reported} batches, {recovered} of {ROUNDS} recovered");
}
