//! The bridge's stations and neighbours in a real network namespace: what the kernel makes of what
//! it is told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use switch::{
    Applied, Backend, Entries, Fdb, KernelTap, Kind, Mac, Mtu, Notice, Refusal, Spec, Station,
    Uplink, Watch, Wiring, enable_ipv6,
};
use weft_tests::harness::{
    Capture, Direction, Lab, Node, Pod, PodSpec, Stopwatch, Underlay, pause, serial, wait_until,
};

const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 32, 0, 5));
const ADDR6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0x32, 0, 0, 0, 0, 0, 5));
const MANY: u32 = 5000;
const WAIT: Duration = Duration::from_secs(3);
/// All that somebody has set.
/// In order: the kernel lists neighbours by a hash that changes with those of the whole machine.
const FIXED: &str = "{ bridge fdb show br weave | grep static; ip neigh show dev weave; } | sort";

#[test]
fn a_spoofed_frame_moves_a_learned_station_and_no_announced_one() {
    lab("fdb-sticky", async |it| {
        let pod = it.pod()?;
        let stations = [(STATION, Kind::Announced), (OTHER, Kind::Learned)];
        done(&it.fdb.set(entries(&stations, &[])).await?, 2)?;

        speak_as(&pod, STATION)?;
        speak_as(&pod, OTHER)?;

        it.wait_for_station(OTHER, "veth-p")?;
        ensure!(it.stations()?.contains(&format!("{STATION} dev weave-tap sticky")));
        // Mending takes nothing back that has moved for a reason.
        let mended = it.fdb.verify().await?;
        ensure!(matches!(refusal(&mended)?, Refusal::Moved), "{mended:?}");
        // A station of the same kind that is asked for anew was heard there again.
        let moved = it.fdb.set(entries(&[(STATION, Kind::Announced)], &[])).await?;
        ensure!(moved.refused.is_empty(), "{moved:?}");
        done(&it.fdb.set(entries(&stations, &[])).await?, 1)?;
        it.wait_for_station(OTHER, "weave-tap")
    });
}

#[test]
fn a_station_that_is_removed_is_learned_by_a_local_port_at_once() {
    lab("fdb-local", async |it| {
        let pod = it.pod()?;
        done(&it.fdb.set(entries(&[(STATION, Kind::Announced)], &[])).await?, 1)?;
        speak_as(&pod, STATION)?;
        ensure!(it.stations()?.contains(&format!("{STATION} dev weave-tap sticky")));

        done(&it.fdb.set(Entries::default()).await?, 1)?;
        speak_as(&pod, STATION)?;

        ensure!(it.stations()?.contains(&format!("{STATION} dev veth-p")));
        Ok(())
    });
}

#[test]
fn five_thousand_stations_and_neighbours_are_programmed_within_a_second_each() {
    let _alone = serial();
    lab("fdb-many", async |it| {
        let mac = |n: u32| Mac::local(u64::from(n));
        let addr = |n: u32| IpAddr::from(Ipv4Addr::from(0x0a28_0000 + n));
        let addr6 = |n: u32| IpAddr::from(Ipv6Addr::from(0xfd00_u128 << 112 | u128::from(n)));
        let mut all = Entries::default();

        all.stations.extend((0..MANY).map(|n| (mac(n), behind_tap(Kind::Announced))));
        it.measured("stations", &all).await?;
        all.neighbours.extend((0..MANY).map(|n| (addr(n), mac(n))));
        it.measured("IPv4 neighbours", &all).await?;
        all.neighbours.extend((0..MANY).map(|n| (addr6(n), mac(n))));
        it.measured("IPv6 neighbours", &all).await?;
        all.neighbours.extend((0..MANY).map(|n| (addr(n), mac(n + 1))));
        it.measured("neighbours renamed", &all).await?;
        let reading = Stopwatch::start();
        ensure!(it.fdb.dump().await? == all);
        eprintln!("fdb: 15000 entries read in {} ms", reading.elapsed().as_millis());

        it.measured("entries removed", &Entries::default()).await?;
        ensure!(it.fdb.dump().await? == Entries::default());
        Ok(())
    });
}

#[test]
fn what_is_asked_about_a_known_address_is_answered_and_does_not_leave_by_the_tap() {
    lab("fdb-suppress", async |it| {
        let spec = PodSpec::new("p", "10.32.0.1/24").cidr6("fd00:32::1/64");
        let pod = it.node.add_pod(&spec)?;
        it.node.plug(&pod)?;
        it.node.sh("bridge link set dev weave-tap neigh_suppress on")?;
        let known = entries(&[(STATION, Kind::Announced)], &[(ADDR, STATION), (ADDR6, STATION)]);
        done(&it.fdb.set(known).await?, 3)?;
        let leaving = Capture::directed(&it.node, "weave-tap", Direction::Out, "")?;

        let asked = "for it in 10.32.0.5 fd00:32::5 10.32.0.6 fd00:32::6; do
                         ping -c1 -W1 $it & done; wait; ip neigh";
        let neighbours = pod.sh(asked)?;

        for addr in ["10.32.0.5", "fd00:32::5"] {
            let line = format!("{addr} dev eth0 lladdr {STATION}");
            ensure!(neighbours.contains(&line), "{neighbours}");
        }
        let packets = leaving.stop()?;
        let asks = |target: IpAddr| packets.iter().filter(|it| asks(&it.octets, target)).count();
        ensure!(asks(ADDR) == 0, "{} ARP requests left", asks(ADDR));
        ensure!(asks(ADDR6) == 0, "{} solicitations left", asks(ADDR6));
        ensure!(asks("10.32.0.6".parse()?) > 0, "an unknown address is asked for");
        ensure!(asks("fd00:32::6".parse()?) > 0, "an unknown address is asked for");
        Ok(())
    });
}

#[test]
fn a_bridge_without_ipv6_refuses_its_neighbours_until_it_is_enabled() {
    lab("fdb-ipv6", async |it| {
        it.node.sh("echo 1 >/proc/sys/net/ipv6/conf/weave/disable_ipv6")?;
        let wanted = entries(&[(STATION, Kind::Announced)], &[(ADDR, STATION), (ADDR6, STATION)]);

        let applied = it.fdb.set(wanted).await?;
        ensure!(applied.done == 2, "{applied:?}");
        ensure!(matches!(refusal(&applied)?, Refusal::NoIpv6), "{applied:?}");
        ensure!(enable_ipv6("weave")?);
        ensure!(!enable_ipv6("weave")?);

        done(&it.fdb.verify().await?, 1)
    });
}

#[test]
fn what_an_earlier_run_left_is_adopted_and_removed_once_it_is_settled() {
    lab("fdb-adopt", async |it| {
        let left = entries(
            &[(STATION, Kind::Announced), (OTHER, Kind::Learned)],
            &[(ADDR, STATION), (ADDR6, OTHER)],
        );
        done(&it.fdb.set(left.clone()).await?, 4)?;
        let mut next = Fdb::open(it.bridge, it.tap, None)?;

        let wanted = entries(&[(STATION, Kind::Announced)], &[(ADDR, STATION)]);
        done(&next.set(wanted.clone()).await?, 0)?;
        ensure!(next.dump().await? == left);
        next.release(None, Some(ADDR6));
        done(&next.set(wanted.clone()).await?, 1)?;
        next.settle();
        done(&next.set(wanted.clone()).await?, 1)?;

        ensure!(next.dump().await? == wanted);
        Ok(())
    });
}

#[test]
fn entries_of_others_are_left_alone() {
    lab("fdb-others", async |it| {
        let pod = it.pod()?;
        it.node.sh(&format!(
            "bridge fdb add {STATION} dev veth-p master static
             bridge fdb add 02:00:00:00:00:33 dev weave-tap master static
             ip neigh add {ADDR} lladdr 02:00:00:00:00:33 dev weave nud permanent
             ip neigh add 10.32.0.9 lladdr 02:00:00:00:00:33 dev weave nud permanent"
        ))?;
        let before = it.node.sh(FIXED)?;
        it.fdb.settle();

        let own: Mac = pod.mac().parse()?;
        let kinds = [(STATION, Kind::Announced), (STATION, Kind::Learned)];
        for station in kinds {
            let applied = it.fdb.set(entries(&[station], &[(ADDR, STATION)])).await?;
            ensure!(applied.done == 0 && applied.refused.len() == 2, "{applied:?}");
            let held = |it: &switch::Refused| matches!(it.why, Refusal::Held);
            ensure!(applied.refused.iter().all(held), "{applied:?}");
        }
        done(&it.fdb.set(entries(&[(own, Kind::Learned)], &[])).await?, 1)?;
        done(&it.fdb.set(Entries::default()).await?, 1)?;
        done(&it.fdb.verify().await?, 0)?;

        let after = it.node.sh(FIXED)?;
        ensure!(before == after, "{before} {after}");
        Ok(())
    });
}

#[test]
fn what_others_have_removed_is_put_back() {
    lab("fdb-mend", async |it| {
        let wanted = entries(
            &[(STATION, Kind::Announced), (OTHER, Kind::Learned)],
            &[(ADDR, STATION), (ADDR6, OTHER)],
        );
        done(&it.fdb.set(wanted.clone()).await?, 4)?;

        it.node.sh("ip neigh flush dev weave; ip neigh flush all")?;
        done(&it.fdb.verify().await?, 0)?;
        for (what, gone) in [
            (format!("bridge fdb del {STATION} dev weave-tap master"), 1),
            (format!("ip neigh del {ADDR6} dev weave"), 1),
            ("ip link set weave down; ip link set weave up".to_owned(), 2),
            ("ip link set weave-tap nomaster; ip link set weave-tap master weave".to_owned(), 2),
        ] {
            it.node.sh(&what)?;
            done(&it.fdb.verify().await?, gone).context(what)?;
            ensure!(it.fdb.dump().await? == wanted);
        }
        Ok(())
    });
}

#[test]
fn a_bridge_made_anew_is_given_everything_again() {
    lab("fdb-anew", async |it| {
        let wanted = entries(&[(STATION, Kind::Announced)], &[(ADDR, STATION), (ADDR6, STATION)]);
        done(&it.fdb.set(wanted.clone()).await?, 3)?;

        it.node.sh("ip link del weave")?;
        let lost = it.fdb.set(entries(&[(OTHER, Kind::Learned)], &[(ADDR, OTHER)])).await;
        eprintln!("fdb: without a bridge: {lost:?}");
        let installed = it.wiring.reconcile().await?;
        it.fdb.relocate(installed.bridge, installed.tap, None);

        done(&it.fdb.set(wanted.clone()).await?, 3)?;
        ensure!(it.fdb.dump().await? == wanted);
        Ok(())
    });
}

#[test]
fn our_own_programming_is_noticed_as_stations_of_the_tap_and_as_nothing_else() {
    lab("fdb-watch", async |it| {
        let mut watch = Watch::open()?;
        let (bridge, tap) = (Some(it.bridge), it.tap);
        let all = entries(
            &[(STATION, Kind::Announced), (OTHER, Kind::Learned)],
            &[(ADDR, STATION), (ADDR6, OTHER)],
        );

        it.fdb.set(all).await?;
        it.fdb.set(entries(&[(STATION, Kind::Announced)], &[(ADDR, OTHER)])).await?;
        it.node.sh("ip link set weave-tap nomaster")?;

        let mut seen = notices(&mut watch).await?;
        seen.retain(|notice| *notice != Notice::Link);
        let expected = [
            Notice::Station { mac: STATION, port: tap, bridge },
            Notice::Station { mac: OTHER, port: tap, bridge },
            Notice::StationGone { mac: OTHER, port: tap, bridge },
            Notice::StationGone { mac: STATION, port: tap, bridge },
        ];
        let about = |mac: Mac| move |it: &&Notice| matches!(it, Notice::StationGone { mac: gone, .. } if *gone == mac);
        ensure!(seen.iter().filter(about(STATION)).count() == 1, "{seen:?}");
        ensure!(seen.starts_with(expected.get(..3).context("three")?), "{seen:?}");
        ensure!(expected.iter().all(|it| seen.contains(it)), "{seen:?}");
        Ok(())
    });
}

/// A node with bridge and TAP, as weft makes them.
struct Wired {
    node: Node,
    wiring: Wiring,
    /// Open, so that the port forwards.
    _taps: Vec<KernelTap>,
    bridge: u32,
    tap: u32,
    fdb: Fdb,
}

impl Wired {
    async fn make(node: Node) -> Result<Self> {
        let mut wiring = Wiring::new(Spec {
            bridge: "weave".into(),
            tap: "weave-tap".into(),
            backend: Backend::Auto,
            queues: 1,
            mac: Mac::local(0x7766),
            mtu: Mtu::over(1500, node.addr()).context("an MTU")?,
            learning: false,
            neigh_suppress: false,
            fast: None,
        })?;
        let (taps, installed) = wiring.install().await?;
        let (bridge, tap) = (installed.bridge, installed.tap);
        let fdb = Fdb::open(bridge, tap, None)?;
        Ok(Self { node, wiring, _taps: taps, bridge, tap, fdb })
    }

    fn pod(&self) -> Result<Pod> {
        let pod = self.node.pod("p", "10.32.0.1/24")?;
        self.node.plug(&pod)?;
        Ok(pod)
    }

    fn stations(&self) -> Result<String> {
        self.node.sh("bridge fdb show br weave | grep -v permanent")
    }

    fn wait_for_station(&self, mac: Mac, port: &str) -> Result<()> {
        let what = format!("{mac} dev {port}");
        wait_until(WAIT, &what, || self.stations().is_ok_and(|it| it.contains(&what)))
    }

    async fn measured(&mut self, what: &str, desired: &Entries) -> Result<()> {
        let watch = Stopwatch::start();
        let applied = self.fdb.set(desired.clone()).await?;
        let took = watch.elapsed();
        eprintln!("fdb: {} {what} in {} ms", applied.done, took.as_millis());
        ensure!(applied.refused.is_empty(), "{:?}", applied.refused.first());
        ensure!(applied.done >= usize::try_from(MANY)? && took < Duration::from_secs(1));
        Ok(())
    }
}

fn lab(name: &str, body: impl AsyncFnOnce(&mut Wired) -> Result<()> + Send) {
    let outcome = Lab::with(name, |lab| {
        let [node] = lab.nodes(&Underlay::default())?;
        let own = node.clone();
        node.inside(async || body(&mut Wired::make(own).await?).await)
    });
    if let Err(error) = outcome {
        panic!("{error:#}");
    }
}

fn entries(stations: &[(Mac, Kind)], neighbours: &[(IpAddr, Mac)]) -> Entries {
    Entries {
        stations: stations.iter().map(|(mac, kind)| (*mac, behind_tap(*kind))).collect(),
        neighbours: neighbours.iter().copied().collect(),
        ..Entries::default()
    }
}

fn behind_tap(kind: Kind) -> Station {
    Station { kind, uplink: Uplink::Tap }
}

fn done(applied: &Applied, edits: usize) -> Result<()> {
    ensure!(applied.refused.is_empty(), "{applied:?}");
    ensure!(applied.done == edits, "{} of {edits}", applied.done);
    Ok(())
}

fn refusal(applied: &Applied) -> Result<&Refusal> {
    ensure!(applied.refused.len() == 1, "{applied:?}");
    let refused = applied.refused.first().context("one")?;
    eprintln!("fdb: {refused}");
    Ok(&refused.why)
}

/// The pod sends a broadcast with this source.
/// The pod has its own address again afterwards: no ARP retry or router solicitation of its kernel
/// speaks as `mac` while the test goes on.
fn speak_as(pod: &Pod, mac: Mac) -> Result<()> {
    let line = format!(
        "own=$(cat /sys/class/net/eth0/address); ip link set eth0 address {mac}; \
         ping -c1 -W1 10.32.0.99 || true; ip link set eth0 address $own"
    );
    pod.sh(&line).map(drop)
}

/// Whether a frame is an ARP request or a neighbour solicitation for `target`.
fn asks(octets: &[u8], target: IpAddr) -> bool {
    // Ethernet 14; ARP: operation at 6, target at 24. IPv6 40; ICMPv6: type at 0, target at 8.
    match target {
        IpAddr::V4(addr) => {
            octets.get(12..14) == Some(&[8, 6])
                && octets.get(20..22) == Some(&[0, 1])
                && octets.get(38..42) == Some(&addr.octets())
        }
        IpAddr::V6(addr) => {
            octets.get(12..14) == Some(&[0x86, 0xdd])
                && octets.get(54) == Some(&135)
                && octets.get(62..78) == Some(&addr.octets())
        }
    }
}

/// What was noticed until now.
async fn notices(watch: &mut Watch) -> Result<Vec<Notice>> {
    let mut seen = Vec::new();
    pause(Duration::from_millis(100));
    while let Ok(next) = tokio::time::timeout(Duration::from_millis(100), watch.next()).await {
        seen.push(next?);
    }
    Ok(seen)
}
