//! Peers that the operator gives, takes back, and finds again after a restart.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weftd::{Daemon, text};
use weft_tests::harness::{Lab, Underlay, beside};

use crate::MEET;

/// Where nobody is: TEST-NET-1 and -2 (RFC 5737).
const NOWHERE: [&str; 2] = ["192.0.2.1:6783", "198.51.100.1:6783"];

#[test]
fn what_connect_and_forget_change_stays_changed_over_a_kill_until_the_command_line_changes() {
    let _turn = beside().unwrap();
    Lab::with("given", |lab| {
        let [a, b, c] = &lab.nodes::<3>(&Underlay::default())?;
        let [b_at, c_at] = [b, c].map(|node| format!("{}:6783", node.addr()));
        // None of them may dial what it has not been given.
        let alone = ["--no-discovery"];
        let others = [Daemon::start(b, &alone)?, Daemon::start(c, &alone)?];
        let mut daemon = Daemon::start(a, &["--no-discovery", &b_at])?;
        daemon.wait_for_peers(2, MEET)?;
        ensure!(given(&daemon)? == [b_at.as_str()]);

        daemon.weft(&format!("connect {c_at} {}", NOWHERE[0]))?;
        daemon.wait_for_peers(3, MEET)?;
        ensure!(given(&daemon)? == [b_at.as_str(), &c_at, NOWHERE[0]], "{:?}", given(&daemon)?);
        kill_and_start(&mut daemon)?;
        ensure!(given(&daemon)? == [b_at.as_str(), &c_at, NOWHERE[0]], "{:?}", given(&daemon)?);
        daemon.wait_for_peers(3, MEET)?;

        daemon.weft(&format!("forget {b_at} {}", NOWHERE[0]))?;
        ensure!(given(&daemon)? == [c_at.as_str()], "{:?}", given(&daemon)?);
        wait_for_links(&daemon, &[others[1].name()])?;
        kill_and_start(&mut daemon)?;
        ensure!(given(&daemon)? == [c_at.as_str()], "{:?}", given(&daemon)?);
        wait_for_links(&daemon, &[others[1].name()])?;

        // The link to the one before stays until it ends by itself.
        daemon.weft(&format!("connect --replace {b_at} {}", NOWHERE[1]))?;
        ensure!(given(&daemon)? == [b_at.as_str(), NOWHERE[1]], "{:?}", given(&daemon)?);
        kill_and_start(&mut daemon)?;
        ensure!(given(&daemon)? == [b_at.as_str(), NOWHERE[1]], "{:?}", given(&daemon)?);
        wait_for_links(&daemon, &[others[0].name()])?;

        // Somebody has just written this one.
        daemon.kill()?;
        daemon.restart_with(&["--no-discovery", &c_at])?;
        ensure!(given(&daemon)? == [c_at.as_str()], "{:?}", given(&daemon)?);
        wait_for_links(&daemon, &[others[1].name()])
    })
    .unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_in_one_line_and_changes_nothing() {
    let _turn = beside().unwrap();
    Lab::with("senseless", |lab| {
        let [a, _b] = &lab.nodes::<2>(&Underlay::default())?;
        let daemon = Daemon::start(a, &["192.0.2.1"])?;

        for words in ["connect 192.0.2.9 fe80::1%eth0:x/y", "connect [::1"] {
            let refused = daemon.weft(words).err().context("accepted")?.to_string();
            println!("{refused}");
            ensure!(refused.lines().count() == 1, "{refused}");
        }
        ensure!(given(&daemon)? == [NOWHERE[0]]);
        Ok(())
    })
    .unwrap();
}

/// The peers that `weft status targets` shows as given.
fn given(daemon: &Daemon) -> Result<Vec<String>> {
    let all = daemon.ask("status targets")?;
    let rows = all.get("targets").and_then(Value::as_array).context("no targets")?;
    let rows = rows.iter().filter(|row| row.get("given") == Some(&Value::Bool(true)));
    rows.map(|row| text(row, "/peer")).collect()
}

/// Waits until these are the peers that connections are established with.
fn wait_for_links(daemon: &Daemon, names: &[&str]) -> Result<()> {
    let mut last = Vec::new();
    let waited = weft_tests::harness::wait_until(MEET, "links", || {
        last = links(daemon).unwrap_or_default();
        last == names
    });
    waited.with_context(|| format!("{last:?} and not {names:?}"))
}

fn links(daemon: &Daemon) -> Result<Vec<String>> {
    let all = daemon.ask("status connections")?;
    let rows = all.get("connections").and_then(Value::as_array).context("no connections")?;
    let standing = |row: &&Value| text(row, "/state").is_ok_and(|it| it == "established");
    rows.iter().filter(standing).map(|row| text(row, "/name")).collect()
}

fn kill_and_start(daemon: &mut Daemon) -> Result<()> {
    daemon.kill()?;
    daemon.restart()
}
