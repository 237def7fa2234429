//! Who has which address: known answers do not cross the underlay, and an address that gets another station is followed.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::harness::{
    Capture, Direction, Lab, Node, Packet, Ping, Pod, PodSpec, Stopwatch, Underlay, beside, pause,
    serial, wait_until,
};

use crate::{WAIT, answered_since, cluster, pod};

/// The bound.
const SOON: Duration = Duration::from_secs(1);
/// Ethernet, IPv4, UDP and VXLAN before the inner frame.
const OUTER: usize = 14 + 20 + 8 + 8;

#[test]
fn what_is_asked_for_known_addresses_here_and_elsewhere_does_not_cross_the_underlay() {
    let _turn = beside().unwrap();
    Lab::with("stations-arp", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let _daemons = cluster(&nodes, &[])?;
        let mut pods = Vec::new();
        for (number, node) in nodes.iter().chain(&nodes).enumerate() {
            pods.push(pod(node, &format!("p{number}"), u8::try_from(number)? + 1)?);
        }
        let first = leaving(&nodes)?;
        all_pairs(&pods, 5)?;
        let (before, _) = asked(first)?;
        println!("{before} questions crossed while nothing was known");
        ensure!(before > 0, "the capture sees nothing");
        // Answers are in the bridges before they are asked for again.
        wait_until(WAIT, "all addresses are known", || {
            nodes.iter().all(|node| known(node).is_ok_and(|known| known >= 2 * pods.len()))
        })?;

        for pod in &pods {
            pod.sh("ip neigh flush all")?;
        }
        let captures = leaving(&nodes)?;
        all_pairs(&pods, 1)?;
        let (floods, probes) = asked(captures)?;

        println!(
            "{} pairs in both families: {floods} questions crossed, {probes} to one station each",
            pods.len() * (pods.len() - 1)
        );
        ensure!(floods == 0, "{floods} ARP requests and neighbour solicitations crossed");
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_address_that_another_pod_elsewhere_has_now_answers_in_under_a_second() {
    let _turn = serial().unwrap();
    Lab::with("stations-readdress", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let _daemons = cluster(&nodes, &[])?;
        let watcher = pod(&nodes[0], "w", 1)?;
        let mut holder = pod(&nodes[1], "p", 2)?;
        let other = pod(&nodes[1], "o", 3)?;
        for pod in [&holder, &other] {
            both_answer(&watcher, pod, Stopwatch::start())?;
        }

        for (number, to) in [2, 1, 0, 2].into_iter().enumerate() {
            let old = watcher.sh("ip neigh show 10.32.0.2")?;
            ensure!(old.contains(holder.mac()), "{old}");
            // Not gone before the next one is there, in the last round.
            let stays = number == 3;
            if !stays {
                holder.delete()?;
                pause(Duration::from_secs(1));
            }
            let mac = format!("02:66:00:00:00:0{number}");
            let spec = PodSpec::new(&format!("q{number}"), "10.32.0.2/24");
            let next = nodes[to].add_pod(&spec.cidr6("fd00:32::2/64").mac(&mac))?;
            let watch = Stopwatch::start();
            nodes[to].plug(&next)?;
            // It has business with another pod, and nothing to ask that its bridge does not know.
            let business = "ping -c 1 -W 1 10.32.0.3 & ping -c 1 -W 1 fd00:32::3 & wait";
            let _busy = next.spawn(&["sh", "-c", business])?;
            let took = both_answer(&watcher, &next, watch)?;
            println!("round {number}: answers with its new station after {took:?}");
            ensure!(took < SOON, "after {took:?}");
            let new = watcher.sh("ip neigh show 10.32.0.2")?;
            ensure!(new.contains(&mac), "{new}");
            holder = next;
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn an_address_that_goes_back_to_a_pod_that_had_it_is_followed_each_time() {
    let _turn = serial().unwrap();
    Lab::with("stations-back", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let _daemons = cluster(&nodes, &[])?;
        let watcher = pod(&nodes[0], "w", 1)?;
        let holders = [pod(&nodes[1], "a", 2)?, pod(&nodes[2], "b", 3)?];
        for holder in &holders {
            both_answer(&watcher, holder, Stopwatch::start())?;
        }

        for round in 0..5 {
            let [from, to] = [&holders[(round + 1) % 2], &holders[round % 2]];
            from.sh("ip addr del 10.32.0.77/24 dev eth0 2>/dev/null || true")?;
            let watch = Stopwatch::start();
            // It asks for somebody in the address's name, as every pod does that has forgotten its neighbours.
            to.sh("ip addr add 10.32.0.77/24 dev eth0; ip neigh flush dev eth0")?;
            let _busy =
                to.spawn(&["ping", "-c", "1", "-W", "1", "-I", "10.32.0.77", "10.32.0.1"])?;
            let ping = Ping::new(Ipv4Addr::new(10, 32, 0, 77), 1);
            let ping = ping.wait(Duration::from_millis(100));
            wait_until(WAIT, "the address answers", || {
                watcher.ping_with(&ping).is_ok_and(|stats| stats.received > 0)
            })?;
            let (took, seen) = (watch.elapsed(), watcher.sh("ip neigh show 10.32.0.77")?);
            println!("round {round}: answers after {took:?}");
            ensure!(took < SOON, "after {took:?}");
            ensure!(seen.contains(to.mac()), "{seen}");
            // What a station says again within a second is not heard.
            pause(Duration::from_millis(1500));
        }
        Ok(())
    })
    .unwrap();
}

/// Who answers a question only, by a frame that the kernel carries, is heard by no ear: its address is nobody's for all nodes.
#[test]
fn an_address_that_a_pod_answered_for_unheard_and_another_has_now_is_followed() {
    let _turn = beside().unwrap();
    Lab::with("stations-unheard", |lab| {
        let nodes = lab.nodes::<3>(&Underlay::default())?;
        let daemons = cluster(&nodes, &[])?;
        let watcher = pod(&nodes[0], "w", 1)?;
        let [first, second] = [pod(&nodes[1], "a", 2)?, pod(&nodes[2], "b", 3)?];
        for holder in [&first, &second] {
            both_answer(&watcher, holder, Stopwatch::start())?;
        }
        // Every address of its own is known now: nobody listens to what leaves by the vxlan device (ETH_P_ALL).
        wait_until(WAIT, "no listener at the vxlan device", || {
            first.node().sh("cat /proc/net/packet").is_ok_and(|all| !all.contains(" 0003 "))
        })?;
        // It knows who will ask: it has no question itself.
        first.sh("ping -c 1 -W 1 10.32.0.1 >/dev/null; ip addr add 10.32.0.77/32 dev lo")?;
        ensure!(watcher.ping("10.32.0.77".parse::<IpAddr>()?, 3)?.perfect());
        let known = daemons[0].node().sh("ip neigh show 10.32.0.77 dev weave")?;
        ensure!(known.is_empty(), "it was heard: {known}");

        first.sh("ip addr del 10.32.0.77/32 dev lo")?;
        let watch = Stopwatch::start();
        second.sh("ip addr add 10.32.0.77/24 dev eth0; ip neigh flush dev eth0")?;
        let _busy =
            second.spawn(&["ping", "-c", "1", "-W", "1", "-I", "10.32.0.77", "10.32.0.1"])?;
        let ping = Ping::new(Ipv4Addr::new(10, 32, 0, 77), 1).wait(Duration::from_millis(100));
        wait_until(WAIT, "the address answers", || {
            watcher.ping_with(&ping).is_ok_and(|stats| stats.received > 0)
        })?;
        let (took, seen) = (watch.elapsed(), watcher.sh("ip neigh show 10.32.0.77")?);
        println!("answers after {took:?}");
        ensure!(took < SOON && seen.contains(second.mac()), "after {took:?}: {seen}");
        Ok(())
    })
    .unwrap();
}

fn both_answer(from: &Pod, to: &Pod, watch: Stopwatch) -> Result<Duration> {
    let took = answered_since(watch, from, to, WAIT)?;
    let six = Ping::new(to.addr6()?, 2).interval(Duration::from_millis(20));
    wait_until(WAIT, "the IPv6 address answers", || {
        let stats = from.ping_with(&six.clone().wait(Duration::from_millis(100)));
        stats.is_ok_and(|stats| stats.received > 0)
    })?;
    Ok(took.max(watch.elapsed()))
}

fn all_pairs(pods: &[Pod], tries: u32) -> Result<()> {
    for from in pods {
        for to in pods.iter().filter(|to| to.name() != from.name()) {
            for addr in [to.addr(), to.addr6()?.into()] {
                let stats = from.ping(addr, tries)?;
                ensure!(stats.received > 0, "{} to {addr}: {stats:?}", from.name());
            }
        }
    }
    Ok(())
}

/// How many addresses of pods the bridge answers for, or knows to be here.
fn known(node: &Node) -> Result<usize> {
    let all = node.run(&["ip", "neigh", "show", "dev", "weave", "nud", "permanent"])?;
    let pods =
        all.lines().filter(|line| line.starts_with("10.32.0.") || line.starts_with("fd00:32::"));
    Ok(pods.count())
}

fn leaving(nodes: &[Node]) -> Result<Vec<Capture>> {
    let filter = "udp port 6784 or udp port 6783";
    let start = |node: &Node| Capture::directed(node, "eth0", Direction::Out, filter);
    nodes.iter().map(start).collect()
}

/// ARP requests and neighbour solicitations in captured datagrams: to groups, and to one station.
fn asked(captures: Vec<Capture>) -> Result<(usize, usize)> {
    let (mut floods, mut probes) = (0, 0);
    for capture in captures {
        for packet in capture.stop()? {
            let inner = inner(&packet).context("a datagram without a frame")?;
            if asks(inner) {
                let group = inner.first().is_some_and(|octet| octet & 1 == 1);
                *(if group { &mut floods } else { &mut probes }) += 1;
            }
        }
    }
    Ok((floods, probes))
}

fn inner(packet: &Packet) -> Option<&[u8]> {
    packet.octets.get(OUTER..)
}

fn asks(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([8, 6]) => frame.get(20..22) == Some(&[0, 1]),
        Some([0x86, 0xdd]) => frame.get(20) == Some(&58) && frame.get(54) == Some(&135),
        Some(_) | None => false,
    }
}
