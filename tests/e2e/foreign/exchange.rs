//! All that pods exchange, between each two of them: echoes, streams, datagrams, floods.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_tests::harness::weft::counter;
use weft_tests::harness::{
    Capture, Packet, Pod, Runs, Transfer, pause, transfer_both, transfer_to, udp_echo, udp_runs,
};

const MIB: u64 = 1 << 20;
const LIMIT: Duration = Duration::from_secs(20);
/// Octets over TCP each way, both at once.
const BULK: u64 = 20 * MIB;
/// Below this something is broken, however slow the machine.
const MBITS_LEAST: f64 = 50.0;
/// Datagrams: empty, odd, the largest in one piece over any underlay here, in fragments.
const SIZES: [u16; 6] = [0, 1, 64, 1001, 1400, 60_000];
/// Datagrams sent in one call: tiny ones that together are smaller than a packet may be, tiny ones
/// that are not, odd ones, and the largest in one piece over any underlay here.
const RUNS: [Runs; 4] = [
    Runs { size: 64, count: 9, runs: 10 },
    Runs { size: 64, count: 60, runs: 10 },
    Runs { size: 777, count: 40, runs: 10 },
    Runs { size: 1380, count: 46, runs: 10 },
];
/// How often a burst is tried.
const ATTEMPTS: usize = 5;
/// Frames of each kind of flood.
const FLOOD: usize = 20;
/// Multicast groups of no meaning.
const GROUPS: [&str; 2] = ["239.1.2.3", "ff15::123"];
/// How long a frame that was sent twice may take to show.
const LATE: Duration = Duration::from_millis(300);

/// Exchanges everything between each two of the pods, in both directions. The first is weft's.
pub(crate) fn exchange_all(pods: &[Pod]) -> Result<()> {
    for (from, to) in pairs(pods) {
        let between = || format!("from {} to {}", from.name(), to.name());
        echoes(from, to).with_context(between)?;
        datagrams(from, to).with_context(between)?;
        // Between two foreign switches it is their business what becomes of a burst.
        if pods.first().is_some_and(|ours| [from.addr(), to.addr()].contains(&ours.addr())) {
            runs(from, to).with_context(between)?;
        }
    }
    for (one, two) in pairs(pods).filter(|(one, two)| one.addr() < two.addr()) {
        let between = || format!("between {} and {}", one.name(), two.name());
        streams(one, two).with_context(between)?;
    }
    for from in pods {
        let others: Vec<_> = pods.iter().filter(|pod| pod.addr() != from.addr()).collect();
        broadcasts(from, &others).with_context(|| format!("broadcasts of {}", from.name()))?;
        multicasts(from, &others).with_context(|| format!("multicasts of {}", from.name()))?;
    }
    Ok(())
}

fn pairs(pods: &[Pod]) -> impl Iterator<Item = (&Pod, &Pod)> {
    let others = |one: &Pod| {
        let addr = one.addr();
        pods.iter().filter(move |two| two.addr() != addr)
    };
    pods.iter().flat_map(move |one| others(one).map(move |two| (one, two)))
}

fn echoes(from: &Pod, to: &Pod) -> Result<()> {
    // The first of each needs ARP or neighbour discovery.
    from.run(&["ip", "neigh", "flush", "dev", "eth0"])?;
    for addr in [to.addr(), to.addr6()?.into()] {
        let stats = from.ping(addr, 5)?;
        ensure!(stats.perfect(), "ping {addr}: {stats:?}");
    }
    Ok(())
}

fn datagrams(from: &Pod, to: &Pod) -> Result<()> {
    for addr in [to.addr(), to.addr6()?.into()] {
        for size in SIZES {
            let stats = udp_echo(from, to, addr, size, 5)?;
            ensure!(
                (stats.received, stats.corrupt) == (5, 0),
                "{size} octets to {addr}: {stats:?}"
            );
        }
    }
    Ok(())
}

fn runs(from: &Pod, to: &Pod) -> Result<()> {
    for addr in [to.addr(), to.addr6()?.into()] {
        for runs in RUNS {
            // A burst may overflow a foreign switch's queue on a busy machine. Whatever arrives is
            // right every time, and once it is all there.
            let mut stats = udp_runs(from, to, addr, runs)?;
            for _ in 1..ATTEMPTS {
                ensure!(
                    stats.duplicates == 0 && stats.corrupt == 0,
                    "{runs:?} to {addr}: {stats:?}"
                );
                if stats.perfect() {
                    break;
                }
                stats = udp_runs(from, to, addr, runs)?;
            }
            ensure!(stats.perfect(), "{runs:?} to {addr}: {stats:?}");
        }
    }
    Ok(())
}

fn streams(one: &Pod, two: &Pod) -> Result<()> {
    let (forth, back) = transfer_both(one, two, BULK)?;
    let forth6 = transfer_to(one, two, two.addr6()?.into(), BULK)?;
    let back6 = transfer_to(two, one, one.addr6()?.into(), BULK)?;
    for (name, transfer) in
        [("forth", forth), ("back", back), ("forth, IPv6", forth6), ("back, IPv6", back6)]
    {
        let mbits = mbits(&transfer);
        eprintln!("{} {name}: {mbits:.0} Mbit/s", one.name());
        ensure!(transfer.intact() && transfer.bytes == BULK, "{name}: {transfer:?}");
        ensure!(mbits >= MBITS_LEAST, "{name}: {mbits} Mbit/s");
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn mbits(transfer: &Transfer) -> f64 {
    transfer.bytes as f64 * 8.0 / transfer.secs / 1e6
}

/// Numbered broadcasts arrive at every other pod, once each, and never come back.
fn broadcasts(from: &Pod, others: &[&Pod]) -> Result<()> {
    // IEEE Std 802 local experimental EtherType 2.
    let filter = "ether proto 0x88b6";
    let header = format!("ffffffffffff{}88b6", from.mac().replace(':', ""));
    let payloads: Vec<_> = (0..FLOOD).map(|n| format!("{header}{n:04x}+50")).collect();
    let own = Capture::start(from, "eth0", filter)?;
    let theirs: Vec<_> =
        others.iter().map(|pod| Capture::start(pod, "eth0", filter)).collect::<Result<_>>()?;

    from.peer(LIMIT, &format!("raw-send eth0 1 {}", payloads.join(" ")))?;

    for (pod, capture) in others.iter().zip(&theirs) {
        for n in 0..FLOOD {
            let what = format!("broadcast {n} at {}", pod.name());
            capture.wait_for(&what, LIMIT, |packet| number(packet) == Some(n))?;
        }
    }
    pause(LATE);
    ensure!(own.stop()?.len() == FLOOD, "broadcasts came back");
    for (pod, capture) in others.iter().zip(theirs) {
        let seen = capture.stop()?.len();
        ensure!(seen == FLOOD, "{} saw {seen} of {FLOOD} broadcasts", pod.name());
    }
    Ok(())
}

/// What is behind the Ethernet header of a numbered broadcast.
fn number(packet: &Packet) -> Option<usize> {
    let number = packet.octets.get(14..)?.first_chunk()?;
    Some(u16::from_be_bytes(*number).into())
}

fn multicasts(from: &Pod, others: &[&Pod]) -> Result<()> {
    let mut receivers = Vec::new();
    for group in GROUPS {
        for pod in others {
            let mut receiver = pod.spawn_peer(&format!("mcast-recv eth0 {group} 7777 2"))?;
            receiver.wait_for_line("listening", LIMIT)?;
            receivers.push(receiver);
        }
    }

    for group in GROUPS {
        from.peer(LIMIT, &format!("mcast-send eth0 {group} 7777 {FLOOD}"))?;
    }

    for mut receiver in receivers {
        receiver.wait(LIMIT)?;
        let said = receiver.stdout();
        let said: Value = serde_json::from_str(said.lines().last().unwrap_or_default())?;
        let seen = (counter(&said, "/received")?, counter(&said, "/duplicates")?);
        ensure!(seen == (FLOOD as u64, 0), "`{}`: {said}", receiver.label());
    }
    Ok(())
}
