//! A host that means no good.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::mesh::{PORT, Peer, all_see, endpoint};
use weft_tests::harness::{Lab, Stopwatch, Underlay, beside, pause, serial};

use crate::{meet, name};

const SECONDS: u64 = 12;
const CONNECTIONS: u64 = 10_000;
/// What a process may grow by under attack: the buffers of 64 connections and of the queue, twice.
const GROWTH_KIB: u64 = 16 * 1024;
/// Descriptors of a process under attack by one address: its own, its links, and 64.
const DESCRIPTORS: usize = 64 + 64;

#[test]
fn ten_thousand_connections_hurt_nobody_and_an_honest_peer_joins_meanwhile() {
    let _turn = serial().unwrap();
    Lab::with("crowd", |lab| {
        let nodes = lab.nodes::<6>(&Underlay::default())?;
        let [_, _, _, honest, attacker, babbler] = &nodes;
        let mut peers = meet(&nodes[..3], &[])?;
        pause(Duration::from_secs(2));
        let before = peers[0].proc.rss_kib()?;
        let target = nodes[0].addr();

        let crowd = format!("tcp-crowd {target} {PORT} {CONNECTIONS} {SECONDS} 0 {DRIP}");
        let mut crowd = attacker.spawn_peer(&crowd)?;
        let mut pours = Vec::new();
        for (hex, times) in
            [("00", 10_000_000), ("de2dbe0f", 100_000), ("ffffffff", 1000), (HTTP, 1)]
        {
            pours.push(babbler.spawn_peer(&format!("tcp-pour {target} {PORT} {hex} {times}"))?);
        }
        pause(Duration::from_secs(3));
        let watch = Stopwatch::start();
        let known = endpoint(&nodes[0]);
        let late = Peer::start(honest, &["--name", &name(9), &known])?;
        all_see(&peers, "up", &[&late.name], Duration::from_secs(5))?;
        println!("an honest peer joined after {:?}", watch.elapsed());
        let (mut rss, mut descriptors) = (0, 0);
        while crowd.running() {
            rss = rss.max(peers[0].proc.rss_kib()?);
            descriptors = descriptors.max(peers[0].proc.descriptors()?);
            pause(Duration::from_millis(100));
        }

        let crowd: Value = serde_json::from_str(crowd.stdout().trim())?;
        let shell = peers[0].status()?["shell"].clone();
        println!("attack: {crowd}; refused: {shell}");
        println!("rss {before} KiB before, {rss} KiB at most; {descriptors} descriptors at most");
        let count =
            |value: &Value, field: &str| value.get(field).and_then(Value::as_u64).unwrap_or(0);
        ensure!(count(&crowd, "opened") + count(&crowd, "refused") == CONNECTIONS, "{crowd}");
        ensure!(
            count(&crowd, "opened") > CONNECTIONS / 2,
            "the kernel stopped the attack: {crowd}"
        );
        ensure!(rss < before + GROWTH_KIB && descriptors < DESCRIPTORS);
        for pour in &mut pours {
            pour.wait(Duration::from_secs(30))?;
            let said: Value = serde_json::from_str(pour.stdout().trim())?;
            ensure!(said["ended"] == true, "{}: {said}", pour.label());
        }
        peers.push(late);
        undisturbed(&peers)
    })
    .unwrap();
}

#[test]
fn an_honest_peer_joins_though_sixty_addresses_take_every_place_there_is() {
    let _turn = serial().unwrap();
    Lab::with("addresses", |lab| {
        let nodes = lab.nodes::<4>(&Underlay::default())?;
        let [first, _, honest, attacker] = &nodes;
        let mut peers = meet(&nodes[..2], &[])?;
        let sources: Vec<String> = (100..160).map(|n| format!("10.99.0.{n}")).collect();
        for source in &sources {
            attacker.sh(&format!("ip addr add {source}/24 dev eth0"))?;
        }

        let target = format!("{} {PORT} {CONNECTIONS} {SECONDS} 0 {DRIP}", first.addr());
        let mut crowd =
            attacker.spawn_peer(&format!("tcp-crowd {target} {}", sources.join(" ")))?;
        pause(Duration::from_secs(4));
        let watch = Stopwatch::start();
        let late = Peer::start(honest, &["--name", &name(9), &endpoint(first)])?;
        all_see(&peers, "up", &[&late.name], Duration::from_secs(2))?;
        println!("an honest peer joined after {:?}", watch.elapsed());
        ensure!(crowd.running(), "the attack was over");
        let (rss, descriptors) = (peers[0].proc.rss_kib()?, peers[0].proc.descriptors()?);

        crowd.wait(Duration::from_secs(SECONDS + 10))?;
        let shell = peers[0].status()?["shell"].clone();
        println!("attack: {}; refused: {shell}", crowd.stdout().trim());
        println!("{rss} KiB, {descriptors} descriptors");
        ensure!(shell["refused_by_core"] == 0, "{shell}");
        ensure!(descriptors > 256, "the places were not taken: {descriptors} descriptors");
        ensure!(descriptors < 1200, "{descriptors} descriptors");
        peers.push(late);
        undisturbed(&peers)
    })
    .unwrap();
}

#[test]
fn an_honest_peer_joins_though_idle_connections_of_ten_addresses_hold_every_place() {
    let _turn = serial().unwrap();
    Lab::with("idlers", |lab| {
        let nodes = lab.nodes::<4>(&Underlay::default())?;
        let [first, _, honest, attacker] = &nodes;
        let mut peers = meet(&nodes[..2], &[])?;
        let sources: Vec<String> = (100..110).map(|n| format!("10.99.0.{n}")).collect();
        for source in &sources {
            attacker.sh(&format!("ip addr add {source}/24 dev eth0"))?;
        }

        // Each opens its 64 in four seconds, well before the first handshake is over time.
        let target = format!("{} {PORT} 700 4 8 {DRIP}", first.addr());
        let mut crowd =
            attacker.spawn_peer(&format!("tcp-crowd {target} {}", sources.join(" ")))?;
        pause(Duration::from_millis(4500));
        let held = peers[0].proc.descriptors()?;
        let watch = Stopwatch::start();
        let late = Peer::start(honest, &["--name", &name(9), &endpoint(first)])?;
        all_see(&peers, "up", &[&late.name], Duration::from_secs(2))?;
        println!("an honest peer joined after {:?}, {held} descriptors", watch.elapsed());

        ensure!(crowd.running(), "the attack was over");
        ensure!(held > 448, "the places were not taken: {held} descriptors");
        crowd.wait(Duration::from_secs(20))?;
        let shell = peers[0].status()?["shell"].clone();
        println!("attack: {}; refused: {shell}", crowd.stdout().trim());
        peers.push(late);
        undisturbed(&peers)
    })
    .unwrap();
}

#[test]
fn connections_that_drip_are_closed_and_their_places_are_free_again() {
    let _turn = beside().unwrap();
    Lab::with("idle", |lab| {
        let nodes = lab.nodes::<2>(&Underlay::default())?;
        let mut peer = Peer::start(&nodes[0], &["--name", &name(1)])?;
        let before = peer.proc.descriptors()?;
        let crowd = format!("tcp-crowd {} {PORT} 30 2 60 {DRIP}", nodes[0].addr());
        let _crowd = nodes[1].spawn_peer(&crowd)?;
        pause(Duration::from_secs(4));
        let most = peer.proc.descriptors()?;
        // A handshake may take 10 s.
        pause(Duration::from_secs(11));

        let after = peer.proc.descriptors()?;
        let status = peer.status()?;
        println!("descriptors: {before} before, {most} meanwhile, {after} after");
        ensure!(most >= before + 20, "no attack: {most} descriptors, {before} before");
        ensure!(after == before, "{after} descriptors, {before} before");
        ensure!(status["shell"]["unfinished"] == 0, "{status}");
        Ok(())
    })
    .unwrap();
}

/// How a handshake begins: `weft`, versions 1 to 1, a message of 96 octets, and some of it.
const DRIP: &str = "776566740101006000000000000000000000";
/// `GET / HTTP/1.1`, `Host: a`.
const HTTP: &str = "474554202f20485454502f312e310d0a486f73743a20610d0a0d0a";

/// All see all, and nobody ever saw anybody go.
fn undisturbed(peers: &[Peer]) -> Result<()> {
    all_see(peers, "up", &crate::all_names(peers), Duration::from_secs(5)).context("afterwards")?;
    for peer in peers {
        for unwanted in ["silent", "gone"] {
            let said = peer.said(unwanted)?;
            ensure!(said.is_empty(), "{}: {said:?}", peer.name);
        }
    }
    Ok(())
}
