use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::bail;
use switch::{Notice, Watch};
use weft_tests::harness::{Stopwatch, pause, serial};

use super::*;

const STATION: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 8));
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 9));
const MANY: u64 = 5000;

#[test]
fn a_station_is_moved_between_the_uplinks_in_place_and_stays_sticky() {
    alone("fast-move", async |node| {
        let it = Wired::make(node).await?;
        let mut fdb = it.fdb()?;
        let mut all = entries(&[STATION], Uplink::Tap, NODE);
        let learned = Station { kind: Kind::Learned, uplink: Uplink::Tap };
        all.stations.insert(OTHER, learned);
        all.remotes.insert(OTHER, NODE);
        done(&fdb.set(all.clone()).await?, 5)?;
        let mut watch = Watch::open()?;

        for (uplink, device) in [(Uplink::Fast, NAME), (Uplink::Tap, "weave-tap")] {
            all.stations.values_mut().for_each(|station| station.uplink = uplink);
            done(&fdb.set(all.clone()).await?, 2)?;

            let shown = node.sh("bridge fdb show br weave | grep '^02:'")?;
            ensure!(shown.contains(&format!("{STATION} dev {device} sticky")), "{shown}");
            ensure!(shown.contains(&format!("{OTHER} dev {device} extern_learn")), "{shown}");
            ensure!(fdb.dump().await? == all);
        }

        pause(Duration::from_millis(100));
        let mut moves = BTreeMap::new();
        while let Ok(notice) = tokio::time::timeout(Duration::from_millis(50), watch.next()).await {
            match notice? {
                Notice::Station { mac, bridge: Some(_), .. } => *moves.entry(mac).or_insert(0) += 1,
                Notice::StationGone { mac, .. } => bail!("{mac} was gone for a moment"),
                Notice::Station { .. } | Notice::Link => {}
                Notice::Overrun => bail!("notices were lost"),
            }
        }
        ensure!(moves == BTreeMap::from([(STATION, 2), (OTHER, 2)]), "{moves:?}");
        Ok(())
    });
}

#[test]
fn a_station_of_another_kind_is_placed_anew_whichever_uplink_it_was_on() {
    alone("fast-kinds", async |node| {
        let mut fdb = Wired::make(node).await?.fdb()?;
        for (from, to) in [(Uplink::Tap, Uplink::Fast), (Uplink::Fast, Uplink::Tap)] {
            for (was, is) in [(Kind::Learned, Kind::Announced), (Kind::Announced, Kind::Learned)] {
                let placed = |kind, uplink| Entries {
                    stations: [(STATION, Station { kind, uplink })].into(),
                    ..Entries::default()
                };
                fdb.set(placed(was, from)).await?;

                done(&fdb.set(placed(is, to)).await?, 2)?;

                ensure!(fdb.dump().await? == placed(is, to));
            }
        }
        Ok(())
    });
}

#[test]
fn the_devices_own_entries_are_set_replaced_adopted_and_put_back() {
    alone("fast-remotes", async |node| {
        let it = Wired::make(node).await?;
        let mut fdb = it.fdb()?;
        let mut all = entries(&[STATION, OTHER], Uplink::Fast, NODE);
        all.floods.insert(ELSEWHERE);
        done(&fdb.set(all.clone()).await?, 6)?;
        all.remotes.insert(OTHER, ELSEWHERE);
        done(&fdb.set(all.clone()).await?, 1)?;
        let shown = node.sh(&format!("bridge fdb show dev {NAME} self"))?;
        ensure!(shown.contains(&format!("{OTHER} dst {ELSEWHERE} self permanent")), "{shown}");

        for (what, gone) in [
            (format!("bridge fdb del {OTHER} dev {NAME} self"), 1),
            (format!("bridge fdb replace {STATION} dev {NAME} dst 10.99.0.7 self"), 1),
            (format!("bridge fdb del 00:00:00:00:00:00 dev {NAME} dst {NODE} self"), 1),
            (format!("bridge fdb append 00:00:00:00:00:00 dev {NAME} dst 10.99.0.7 self"), 0),
            (format!("bridge fdb add 02:00:00:00:00:77 dev {NAME} dst 10.99.0.7 self"), 0),
            (format!("bridge fdb del {STATION} dev {NAME} master"), 1),
            (format!("ip link set {NAME} down; ip link set {NAME} up"), 0),
        ] {
            node.sh(&what)?;
            done(&fdb.verify().await?, gone).context(what)?;
        }
        ensure!(fdb.dump().await? != all, "what nobody has asked for stays until it is settled");
        fdb.settle();
        done(&fdb.verify().await?, 2)?;
        ensure!(fdb.dump().await? == all);

        let mut next = it.fdb()?;
        done(&next.set(Entries::default()).await?, 0)?;
        next.release_flood(NODE);
        next.release(Some(OTHER), None);
        done(&next.set(Entries::default()).await?, 3)?;
        next.settle();
        done(&next.set(Entries::default()).await?, 3)?;
        ensure!(next.dump().await? == Entries::default());
        Ok(())
    });
}

#[test]
fn without_a_device_its_entries_are_left_out_and_come_when_it_does() {
    alone("fast-without", async |node| {
        let it = Wired::make(node).await?;
        let Installed { bridge, tap, fast, .. } = it.installed;
        let wanted = entries(&[STATION, OTHER], Uplink::Fast, NODE);
        let mut fdb = Fdb::open(bridge, tap, None)?;

        done(&fdb.set(wanted.clone()).await?, 2)?;
        let shown = node.sh("bridge fdb show br weave | grep '^02:'")?;
        ensure!(shown.contains(&format!("{STATION} dev weave-tap sticky")), "{shown}");
        fdb.relocate(bridge, tap, fast.index());
        done(&fdb.verify().await?, 5)?;

        ensure!(fdb.dump().await? == wanted);
        Ok(())
    });
}

#[test]
fn five_thousand_stations_of_the_fast_path_are_programmed_within_two_seconds() {
    let _alone = serial();
    alone("fast-many", async |node| {
        let it = Wired::make(node).await?;
        let mut fdb = it.fdb()?;
        let macs: Vec<Mac> = (0..MANY).map(Mac::local).collect();
        let (fast, tap) =
            (entries(&macs, Uplink::Fast, NODE), entries(&macs, Uplink::Tap, ELSEWHERE));
        for (what, desired) in [
            ("made", fast.clone()),
            ("sent to another node by the TAP", tap),
            ("moved back", fast.clone()),
            ("removed", Entries::default()),
        ] {
            let watch = Stopwatch::start();
            let applied = fdb.set(desired.clone()).await?;
            let took = watch.elapsed();
            eprintln!("fastpath: {} entries {what} in {} ms", applied.done, took.as_millis());
            ensure!(applied.refused.is_empty(), "{:?}", applied.refused.first());
            ensure!(applied.done >= 10_000 && took < Duration::from_secs(2));
            ensure!(fdb.dump().await? == desired);
        }
        fdb.set(fast).await?;
        let watch = Stopwatch::start();
        let used = fdb.used().await?;
        eprintln!("fastpath: use of {} read in {} ms", used.len(), watch.elapsed().as_millis());
        ensure!(used.len() == macs.len());
        Ok(())
    });
}
