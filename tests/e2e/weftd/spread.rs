//! Several nodes that do not reach one, and who carries for them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weft_tests::harness::weftd::{Daemon, all_answer, all_ping, pods};
use weft_tests::harness::{Capture, Lab, Packet, Stopwatch, Underlay, beside, pause, serial};

use crate::{MEET, part};

#[test]
fn three_nodes_that_do_not_reach_a_fourth_spread_over_the_others() {
    let _turn = serial().unwrap();
    Lab::with("spread", |lab| {
        let nodes = lab.nodes::<7>(&Underlay::default())?;
        let mut daemons: Vec<Daemon> = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            // Who is chosen depends on the names alone: with these it is not one for all, as one time in nine.
            let name = format!("02:00:00:00:00:{n:02x}");
            let first = daemons.first().map(|first| first.node().addr().to_string());
            let args = ["--name", &name].into_iter().chain(first.as_deref());
            daemons.push(Daemon::start(node, &args.collect::<Vec<_>>())?);
        }
        let pods = pods(&nodes)?;
        all_answer(&pods, MEET)?;
        for daemon in &daemons {
            daemon.wait_for_peers(7, MEET)?;
        }
        for blocked in &nodes[1..4] {
            part(&nodes[0], blocked)?;
        }
        let cut = Stopwatch::start();

        all_answer(&pods, Duration::from_secs(5))?;

        println!("all pods answered {:?} after the cut", cut.elapsed());
        let target = daemons[0].name();
        let free: Vec<_> = daemons[4..].iter().map(Daemon::name).collect();
        let mut relays = BTreeSet::new();
        for blocked in &daemons[1..4] {
            // Those that are cut off themselves are known when their links are lost, after 3.5 s.
            let left = Duration::from_secs(10).saturating_sub(cut.elapsed());
            let path = blocked.wait_for_path(
                target,
                left,
                |path| matches!(&path.via[..], [relay] if free.contains(&relay.as_str())),
            )?;
            println!("{} after {:?}: {path:?}", blocked.node().name(), cut.elapsed());
            relays.extend(path.via);
        }
        println!("{} relays for three nodes", relays.len());
        ensure!(relays.len() > 1, "one node carries for all: {relays:?}");
        all_ping(&pods, 5)
    })
    .unwrap();
}

#[test]
fn without_discovery_frames_go_only_between_neighbours_and_all_pods_speak() {
    let _turn = beside().unwrap();
    Lab::with("given", |lab| {
        let nodes = lab.nodes::<7>(&Underlay::default())?;
        // Three in the middle know each other, the outer four know only those.
        let (inner, outer) = nodes.split_at(3);
        let addrs: Vec<_> = inner.iter().map(|node| node.addr().to_string()).collect();
        let mut daemons = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            let given = addrs.iter().take(n).map(String::as_str);
            let args: Vec<_> = ["--no-discovery"].into_iter().chain(given).collect();
            daemons.push(Daemon::start(node, &args)?);
        }
        let captures: Vec<_> =
            outer.iter().map(|node| Capture::start(node, "eth0", "ip")).collect::<Result<_>>()?;
        let started = Stopwatch::start();
        let pods = pods(&nodes)?;

        all_answer(&pods, MEET)?;
        println!("all pods answered {:?} after the last start", started.elapsed());
        for daemon in &daemons {
            daemon.wait_for_peers(7, MEET)?;
        }
        // Which of them carries may change while the last ones come up.
        pause(Duration::from_secs(3));
        all_ping(&pods, 5)?;

        let names: Vec<_> = daemons[..3].iter().map(Daemon::name).collect();
        let mut relays = BTreeSet::new();
        for from in &daemons[3..] {
            for to in daemons[3..].iter().filter(|to| to.name() != from.name()) {
                let path = from.wait_for_path(to.name(), MEET, |it| it.kind == "relay")?;
                ensure!(path.via.len() == 1 && names.contains(&path.via[0].as_str()), "{path:?}");
                relays.extend(path.via);
            }
        }
        println!("{} relays for six pairs", relays.len());
        let outside: Vec<_> = outer.iter().map(|node| node.addr()).collect();
        for capture in captures {
            let packets = capture.stop()?;
            let strays = packets.iter().filter_map(ends);
            let strays: Vec<_> = strays
                .filter(|(from, to)| outside.contains(from) && outside.contains(to))
                .collect();
            ensure!(packets.len() > 100, "{} packets are not all", packets.len());
            ensure!(strays.is_empty(), "outer nodes speak to each other: {strays:?}");
        }
        Ok(())
    })
    .unwrap();
}

/// From where to where an IPv4 packet goes.
fn ends(packet: &Packet) -> Option<(IpAddr, IpAddr)> {
    let addr = |at: usize| <[u8; 4]>::try_from(packet.octets.get(at..at + 4)?).ok();
    Some((IpAddr::from(addr(14 + 12)?), IpAddr::from(addr(14 + 16)?)))
}
