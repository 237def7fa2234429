//! The tunnel guard that a daemon keeps.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, ensure};
use weft_tests::harness::weftd::{Daemon, path};
use weft_tests::harness::{Lab, Stopwatch, Underlay, serial, wait_until};

/// The bound.
const BACK: Duration = Duration::from_secs(10);
/// Says what listens and which tables there are whenever `nft` is called, before it is.
const SPY: &str = r#"#!/bin/sh
PATH=${PATH#*:}
if nft list table inet weft >/dev/null 2>&1; then table=guarded; else table=open; fi
echo "$table: $(ss -Htuln | grep -c ':678[34] ')" >>"${0%/*}/seen"
exec nft "$@"
"#;

#[test]
fn the_guard_is_there_before_anything_listens_and_what_somebody_flushed_is_back_and_said() {
    let _turn = serial().unwrap();
    Lab::with("stations-guard", |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        let spy = lab.dir().join("spy");
        fs::create_dir(&spy)?;
        fs::write(spy.join("nft"), SPY)?;
        fs::set_permissions(spy.join("nft"), fs::Permissions::from_mode(0o755))?;
        let paths = format!("{}:{}", spy.display(), std::env::var("PATH")?);

        let mut proc = node.spawn_env(&[("PATH", &paths)], &[&path("weftd")?])?;
        proc.wait_for_line(": ready", BACK)?;

        let listening = || node.sh("ss -Htuln | grep -c ':678[34] ' || true");
        let seen = fs::read_to_string(spy.join("seen"))?;
        println!("before each call of nft: {}", seen.lines().collect::<Vec<_>>().join(", "));
        ensure!(seen.lines().next().is_some_and(|it| it == "open: 0"), "{seen}");
        ensure!(!seen.lines().any(|it| it.starts_with("open") && it != "open: 0"), "{seen}");
        ensure!(listening()?.trim() != "0", "nothing listens");
        proc.kill()?;

        let daemon = Daemon::start(&node, &[])?;
        let watch = Stopwatch::start();
        node.run(&["nft", "flush", "ruleset"])?;
        let there = || node.run(&["nft", "list", "chain", "inet", "weft", "input"]).is_ok();
        ensure!(!there());
        wait_until(BACK, "the guard is back", there)?;
        let took = watch.elapsed();
        let said = || daemon.proc.stderr().contains("somebody has removed the tunnel guard");
        wait_until(Duration::from_secs(2), "it is said", said)?;
        println!("flushed, and back after {took:?}");
        let log = daemon.proc.stderr();
        let mut lines = log.lines().rev().filter(|line| line.contains("tunnel guard"));
        println!("{}", lines.next().context("a line")?);
        ensure!(took < BACK);
        Ok(())
    })
    .unwrap();
}
