//! Waiting awake or asleep: either way frames go through, and nonsense is refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::weft::{Switch, mesh, pods};
use weft_tests::harness::{Lab, Ping, Underlay, transfer_both, udp_echo};

const MB: u64 = 1_000_000;

#[test]
fn every_way_to_wait_carries_traffic() {
    for poll in ["adaptive", "off", "1", "50", "1000000"] {
        Lab::with("poll", |lab| {
            let nodes = lab.nodes::<2>(&Underlay::default())?;
            let switches = mesh(&nodes, &["--poll", poll])?;
            let [p, q] = &pods(&nodes, 1450)?[..] else { unreachable!("two pods") };

            let quick = Ping::new(q.addr(), 200).interval(Duration::from_millis(1));
            ensure!(p.ping_with(&quick)?.perfect(), "{poll}");
            ensure!(p.ping(q.addr(), 3)?.perfect(), "{poll}, after a rest");
            let (forth, back) = transfer_both(p, q, 10 * MB).with_context(|| poll)?;
            ensure!(forth.intact() && back.intact(), "{poll}: {forth:?} {back:?}");
            ensure!(udp_echo(p, q, q.addr(), 1000, 50)?.received == 50, "{poll}");

            for switch in switches {
                switch.stop().with_context(|| format!("{poll}: a switch that does not stop"))?;
            }
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn nonsense_is_refused_in_one_line() {
    Lab::with("poll-bad", |lab| {
        let [a, b] = &lab.nodes::<2>(&Underlay::default())?;
        for (option, value, says) in [
            ("--poll", "sometimes", "adaptive"),
            ("--poll", "0", "1000000"),
            ("--poll", "1e3", "adaptive"),
            ("--poll", "1000001", "1000000"),
            ("--poll", "", "--poll"),
            ("--poll", "50us", "microseconds"),
            ("--tap", "off/load", "name"),
            ("--tap", "", "--tap"),
        ] {
            refused(Switch::spawn(a, &[b], &[option, value])?, &[value, says, option])?;
        }
        let twice = Switch::spawn(a, &[b], &["--tap", "plain", "--tap", "offload"])?;
        refused(twice, &["--tap", "twice"])?;
        let links = a.run(&["ip", "-br", "link"])?;
        ensure!(!links.contains("weave"), "{links}");
        Ok(())
    })
    .unwrap();
}

fn refused(mut proc: weft_tests::harness::Proc, words: &[&str]) -> Result<()> {
    let status = proc.wait(Duration::from_secs(10))?;
    let said = proc.stderr();
    ensure!(status.code() == Some(2), "{}: {status}: {said}", proc.label());
    ensure!(said.lines().count() == 1 && said.starts_with("weft-switch: "), "{said}");
    for word in words {
        ensure!(said.contains(word), "no {word:?} in {said}");
    }
    Ok(())
}
