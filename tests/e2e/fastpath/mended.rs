use std::sync::Arc;

use switch::engine::{Engine, EngineConfig, Intake, Ports, Sockets};
use switch::{Clock, Limits, MacTable, Notice, Plan, PlanCell, Poll, Watch};
use tokio::time::timeout;
use weft_tests::harness::{Stopwatch, serial};

use super::*;

/// As long as a daemon gathers what the kernel says of links.
const GATHER: Duration = Duration::from_millis(50);

#[test]
fn what_others_have_changed_is_put_right() {
    alone("fast-altered", async |node| {
        let mut it = Wired::make(node).await?;
        node.sh("ip link add br9 type bridge")?;
        for (what, change) in [
            ("ip link set vxlan-6785 down", Change::FastUp),
            ("ip link set vxlan-6785 nomaster", Change::FastPlugged),
            ("ip link set vxlan-6785 master br9", Change::FastPlugged),
            ("bridge link set dev vxlan-6785 isolated off", Change::FastFlags),
            ("bridge link set dev vxlan-6785 learning on", Change::FastFlags),
            ("bridge link set dev vxlan-6785 neigh_suppress off", Change::FastFlags),
            ("ip link set vxlan-6785 mtu 1500", Change::FastMtu),
            ("ip link set vxlan-6785 alias ''", Change::FastMarked),
            ("ip link set vxlan-6785 addrgenmode eui64", Change::FastSilenced),
            ("ip link set vxlan-6785 address 02:00:00:00:00:99", Change::FastReplaced),
            ("ip link set vxlan-6785 type vxlan learning", Change::FastReplaced),
            ("ip link set vxlan-6785 name elsewhere; ip link del elsewhere", Change::FastMade),
            ("ip link del vxlan-6785", Change::FastMade),
            ("ip link del weave", Change::FastPlugged),
        ] {
            node.sh(what)?;

            let done = it.reconcile().await?;

            ensure!(done.contains(&change), "{what}: {done:?}");
            it.is_settled().await.context(what)?;
        }
        Ok(())
    });
}

#[test]
fn a_device_deleted_or_renamed_by_hand_is_back_with_all_it_knew_in_under_a_second() {
    let _alone = serial();
    alone("fast-deleted", async |node| {
        let mut engine = start_engine(node).await?;
        let mut watch = Watch::open()?;
        let known = entries(&[Mac::local(1)], Uplink::Fast, "10.99.0.9".parse()?);
        let mut fdb = open_fdb(&engine)?;
        fdb.set(known.clone()).await?;

        for round in 1..=5_u64 {
            let (deleted, renamed) = ("ip link del", "ip link set name foo");
            let how = if round % 2 == 1 { deleted } else { renamed };
            node.sh(&format!("{how} dev {NAME}"))?;
            let watched = Stopwatch::start();
            while !timeout(WAIT, watch.next_batch()).await??.contains(&Notice::Link) {}
            tokio::time::sleep(GATHER).await;
            engine.mend().await?;
            let Installed { bridge, tap, fast, .. } = engine.installed();
            fdb.relocate(*bridge, *tap, fast.index());
            fdb.verify().await?;
            let took = watched.elapsed();

            eprintln!("fastpath: {how}: back after {} ms", took.as_millis());
            ensure!(took < Duration::from_secs(1) && engine.repairs() == round);
            ensure!(fdb.dump().await? == known);
            check_device(node)?;
        }
        Ok(())
    });
}

#[test]
fn an_engine_tells_of_a_busy_port_goes_on_and_takes_the_port_when_it_is_free() {
    alone("fast-engine", async |node| {
        let taken = std::net::UdpSocket::bind((node.addr(), PORT))?;

        let mut engine = start_engine(node).await?;
        ensure!(*engine.fast() == FastState::Busy && engine.is_running());
        engine.keep_house().await?;
        ensure!(*engine.fast() == FastState::Busy && engine.repairs() == 0);
        drop(taken);
        engine.keep_house().await?;

        let index = engine.fast().index().context("a device")?;
        ensure!(engine.repairs() == 0 && engine.is_running());
        let bridge = Some(engine.installed().bridge);
        ensure!(!engine.is_local(index, bridge) && engine.is_local(index + 100, bridge));
        let entries = entries(&[Mac::local(1)], Uplink::Fast, "10.99.0.9".parse()?);
        open_fdb(&engine)?.set(entries).await?;
        let local = engine.local_stations().await?.macs;
        ensure!(!local.contains(&Mac::local(1)), "{local:?}");
        check_device(node)
    });
}

async fn start_engine(node: &Node) -> Result<Engine> {
    // The kernel has the other one.
    let ports = Ports {
        local: node.addr(),
        vxlan: PORT + 1,
        intake: Intake::Plain,
        sleeve: None,
        quirks: Vec::new(),
    };
    let sockets = Sockets::open(&ports, 1)?;
    let spec = spec(node)?;
    let config = EngineConfig { ports, spec, poll: Poll::Adaptive, slots: 4, ringer: None };
    let table = Arc::new(MacTable::new(Limits::default()));
    let cell = Arc::new(PlanCell::new(Plan::builder(Vni::DEFAULT).build()));
    Ok(Engine::start(config, sockets, table, cell, Clock::start()).await?)
}

fn open_fdb(engine: &Engine) -> Result<Fdb> {
    let Installed { bridge, tap, fast, .. } = engine.installed();
    Ok(Fdb::open(*bridge, *tap, fast.index())?)
}
