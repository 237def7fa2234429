use weft_tests::harness::weft::pods;
use weft_tests::harness::{Fragment, Ping, Pod, pause, transfer_to};

use super::*;

const MB: u64 = 1_000_000;

#[test]
fn pods_of_two_nodes_reach_each_other_by_the_kernel_alone() {
    on_both_underlays("fast-traffic", |nodes| {
        let pods = joined(nodes, 1500)?;
        let [one, other] = [&pods[0], &pods[1]];
        let overlay = if nodes[0].addr().is_ipv6() { 1430 } else { 1450 };

        // Addresses are asked for by flooded ARP and solicitations.
        ensure!(one.ping(other.addr(), 5)?.perfect());
        ensure!(other.ping(one.addr6()?, 5)?.perfect());
        // ICMP 8, IPv4 20.
        let full = Ping::new(other.addr(), 5).fragment(Fragment::Never);
        let full_size = full.clone().size(overlay - 28);
        ensure!(one.ping_with(&full_size)?.perfect(), "the full MTU");
        let too_big = one.ping_with(&full.clone().size(1472))?;
        ensure!(too_big.too_big == Some(overlay.into()), "{too_big:?}");
        if nodes[0].addr().is_ipv4() {
            // Over IPv6 the kernel neither fragments these outside nor inside, nor says so.
            let carried = one.ping_with(&full.size(1472).fragment(Fragment::Allowed))?;
            ensure!(carried.perfect(), "without DF: {carried:?}");
        }
        for addr in [other.addr(), other.addr6()?.into()] {
            let transfer = transfer_to(one, other, addr, 50 * MB)?;
            ensure!(transfer.intact() && transfer.bytes == 50 * MB, "{transfer:?}");
            eprintln!("fastpath: {} Mbit/s to {addr}", (400.0 / transfer.secs).round());
        }
        Ok(())
    });
}

#[test]
fn to_whom_there_is_traffic_is_told_by_when_the_device_has_last_sent() {
    on_both_underlays("fast-used", |nodes| {
        let pods = joined(nodes, 1400)?;
        let (mac, silent): (Mac, _) = (pods[1].mac().parse()?, mac_of(&nodes[1]));
        nodes[0].inside(async || {
            let mut it = Wired::make(&nodes[0]).await?;
            it.is_settled().await?;
            let mut fdb = it.fdb()?;
            let used = async |fdb: &mut Fdb, mac| -> Result<Duration> {
                let used = fdb.used().await?;
                Ok(used.iter().find(|it| it.0 == mac).context("no such MAC")?.1)
            };
            pause(Duration::from_millis(700));
            ensure!(used(&mut fdb, mac).await? > Duration::from_millis(500));

            ensure!(pods[0].ping(pods[1].addr(), 2)?.perfect());

            // Answered within milliseconds, and not waited for any longer.
            let (busy, idle) = (used(&mut fdb, mac).await?, used(&mut fdb, silent).await?);
            eprintln!("fastpath: sent {busy:?} and {idle:?} ago");
            ensure!(busy < Duration::from_millis(400) && idle > Duration::from_millis(700));
            // To another uplink and to another node, in place: the time stays.
            pause(Duration::from_millis(700));
            let far: IpAddr =
                if nodes[1].addr().is_ipv6() { "fd99::9" } else { "10.99.0.9" }.parse()?;
            let moved = entries(&[mac, silent], Uplink::Tap, far);
            fdb.set(moved).await?;
            ensure!(used(&mut fdb, mac).await? > Duration::from_millis(600));
            Ok(())
        })
    });
}

/// A pod on each node, and kernels that know of both pods, and of both bridges.
fn joined(nodes: &[Node; 2], mtu: u32) -> Result<Vec<Pod>> {
    for node in nodes {
        node.inside(async || Wired::make(node).await.map(drop))?;
    }
    let pods = pods(nodes, mtu)?;
    let [one, two] = nodes;
    for ((own, far), pod) in [(two, one), (one, two)].into_iter().zip(&pods) {
        let known = entries(&[pod.mac().parse()?, mac_of(far)], Uplink::Fast, far.addr());
        own.inside(async || done(&Wired::make(own).await?.fdb()?.set(known).await?, 5))?;
    }
    Ok(pods)
}
