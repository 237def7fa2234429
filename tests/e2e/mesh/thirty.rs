//! Thirty processes in thirty namespaces.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::mesh::{Peer, all_see, at, endpoint, names};
use weft_tests::harness::{Lab, Node, Stopwatch, Underlay, pause, serial, wait_until};

use crate::name;

const PEERS: usize = 30;
const KILLED: usize = 10;
/// From the first start until all see all; and until all that are left see that some are not.
const MEET: Duration = Duration::from_secs(10);
const MISS: Duration = Duration::from_secs(5);
/// Nothing is said for this long: links are settled.
const QUIET: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_secs(10);

#[test]
fn thirty_that_know_one_other_each_meet_in_ten_seconds_rest_cheaply_and_miss_ten_killed_in_five() {
    let _turn = serial().unwrap();
    Lab::with("thirty", |lab| {
        let nodes = lab.nodes::<PEERS>(&Underlay::default())?;

        let mut peers = start(&nodes, |number| number.checked_sub(1))?;
        settle(&peers)?;
        rest(&peers)?;
        let mut killed = peers.split_off(PEERS - KILLED);
        miss(&peers, &mut killed)
    })
    .unwrap();
}

#[test]
fn thirty_that_all_know_the_same_one_meet_in_ten_seconds() {
    let _turn = serial().unwrap();
    Lab::with("star", |lab| {
        let nodes = lab.nodes::<PEERS>(&Underlay::default())?;

        let mut peers = start(&nodes, |number| (number > 0).then_some(0))?;

        let status = peers[0].status()?;
        let root = status.get("root").cloned();
        // Records go on changing while links settle; in the end all believe the same.
        settle(&peers)?;
        for peer in &mut peers {
            let status = peer.status()?;
            println!("{} links {}", peer.name, status["links"].as_array().map_or(0, Vec::len));
        }
        let roots: Vec<_> = peers
            .iter_mut()
            .map(|peer| Ok(peer.status()?["root"].clone()))
            .collect::<Result<_>>()?;
        ensure!(roots.iter().all(|it| *it == roots[0]), "{root:?} {roots:?}");
        Ok(())
    })
    .unwrap();
}

/// Starts all at once; `knows` says whose address each is given.
fn start(nodes: &[Node], knows: impl Fn(usize) -> Option<usize>) -> Result<Vec<Peer>> {
    let watch = Stopwatch::start();
    let mut started = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let (name, known) =
            (name(number + 1), knows(number).and_then(|known| nodes.get(known)).map(endpoint));
        let mut args = vec!["--name", &name];
        args.extend(known.as_deref());
        started.push(Peer::spawn(node, &[], &args)?);
    }
    let peers = started.into_iter().map(Peer::ready).collect::<Result<Vec<_>>>()?;
    let starts = peers.iter().map(|peer| peer.said("started"));
    let starts = starts.collect::<Result<Vec<_>>>()?;
    let first = starts.iter().flatten().map(at).min().unwrap_or_default();
    let last = all_see(&peers, "up", &names(&peers), MEET.saturating_sub(watch.elapsed()))?;
    println!(
        "{PEERS} peers met {} ms after the first ran ({:?} with their starts)",
        last - first,
        watch.elapsed()
    );
    ensure!(watch.elapsed() < MEET, "met after {:?}", watch.elapsed());
    Ok(peers)
}

/// Waits until nobody has anything to say.
fn settle(peers: &[Peer]) -> Result<()> {
    let said = || peers.iter().map(|peer| peer.proc.stdout().len()).sum::<usize>();
    let (mut before, mut since, watch) = (0, Stopwatch::start(), Stopwatch::start());
    wait_until(Duration::from_secs(60), "quiet", || {
        pause(Duration::from_millis(200));
        let now = said();
        if now != before {
            (before, since) = (now, Stopwatch::start());
        }
        since.elapsed() >= QUIET
    })?;
    println!("settled after {:?}", watch.elapsed().saturating_sub(QUIET));
    Ok(())
}

fn rest(peers: &[Peer]) -> Result<()> {
    let times = || peers.iter().map(|peer| peer.proc.cpu_time()).collect::<Result<Vec<_>>>();
    let before = times()?;
    let watch = Stopwatch::start();
    pause(REST);
    let (after, elapsed) = (times()?, watch.elapsed().as_secs_f64());

    let used = after.iter().zip(&before).map(|(after, before)| (*after - *before).as_secs_f64());
    let mut shares: Vec<f64> = used.map(|used| used / elapsed * 100.0).collect();
    shares.sort_by(f64::total_cmp);
    let at = |place: usize| shares.get(place).copied().context("nobody is there");
    let (median, most) = (at(shares.len() / 2)?, at(shares.len() - 1)?);
    let memory = peers.iter().map(|peer| peer.proc.rss_kib()).collect::<Result<Vec<_>>>()?;
    println!(
        "at rest: {median:.2} % of a core (median), {most:.2} % (most); {:?} KiB",
        memory.iter().max()
    );
    ensure!(most < 1.0, "a peer at rest takes {most:.2} % of a core");
    Ok(())
}

fn miss(peers: &[Peer], killed: &mut [Peer]) -> Result<()> {
    let watch = Stopwatch::start();
    for peer in killed.iter_mut() {
        peer.proc.kill()?;
    }
    let names = names(killed);
    all_see(peers, "silent", &names, MISS.saturating_sub(watch.elapsed()))?;
    println!("{KILLED} killed, silent at all {} others after {:?}", peers.len(), watch.elapsed());
    for peer in peers {
        let others = peers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>();
        ensure!(peer.sees("up", &others)?.is_ok(), "{} lost one that lives", peer.name);
    }
    Ok(())
}
