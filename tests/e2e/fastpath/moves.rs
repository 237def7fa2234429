use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use switch::engine::{Engine, EngineConfig, Intake, Ports, Sockets};
use switch::{
    Clock, Counters, Limits, MacTable, Path, Peer, PeerId, Plan, PlanCell, Poll, Port, Route, Tick,
};
use weft_tests::harness::weft::pods;
use weft_tests::harness::{Ping, serial};

use super::*;

const MOVES: usize = 30;
const PINGS: u32 = 3000;

#[test]
fn a_flow_loses_nothing_while_its_station_is_moved_between_the_uplinks_thirty_times() {
    let _alone = serial();
    on_both_underlays("fast-flow", |[one, two]| {
        two.inside(async || Wired::make(two).await.map(drop))?;
        one.inside(async || {
            let engine = start_engine(one, two).await?;
            let Installed { bridge, tap, fast, .. } = *engine.installed();
            let nodes = [one.clone(), two.clone()];
            let pods = pods(&nodes, 1400)?;
            let [near, far]: [Mac; 2] = [pods[0].mac().parse()?, pods[1].mac().parse()?];
            two.inside(async || {
                let known = entries(&[near], Uplink::Fast, one.addr());
                done(&Wired::make(two).await?.fdb()?.set(known).await?, 3)
            })?;
            let mut fdb = Fdb::open(bridge, tap, fast.index())?;
            done(&fdb.set(entries(&[far], Uplink::Fast, two.addr())).await?, 3)?;
            ensure!(pods[0].ping(pods[1].addr(), 2)?.perfect());
            let sent_before = sent(one)?;

            let (pod, to) = (pods[0].clone(), pods[1].addr());
            let flow = Ping::new(to, PINGS).interval(Duration::from_millis(1));
            let flow = thread::spawn(move || pod.ping_with(&flow));
            tokio::time::sleep(Duration::from_millis(300)).await;
            for n in 0..MOVES {
                let uplink = if n % 2 == 0 { Uplink::Tap } else { Uplink::Fast };
                done(&fdb.set(entries(&[far], uplink, two.addr())).await?, 1)?;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            ensure!(!flow.is_finished(), "the flow ended before the moves");
            let flow = flow.join().map_err(|_panic| anyhow::anyhow!("a ping panicked"))??;

            let by_user =
                Counters::total(engine.counters().iter().map(Arc::as_ref), 1).from_tap.frames.load();
            let by_kernel = sent(one)? - sent_before;
            let worst = flow.rtts.iter().max().copied().unwrap_or_default();
            eprintln!(
                "fastpath: {MOVES} moves, {} of {} answered, {} twice, {by_kernel} sent by the kernel, {by_user} by the process, worst round trip {worst:?}",
                flow.received, flow.sent, flow.duplicates
            );
            ensure!(flow.perfect() && flow.sent == u64::from(PINGS), "{flow:?}");
            ensure!(by_kernel > 500 && by_user > 500);
            Ok(())
        })
    });
}

/// A node whose process sends to the other's kernel.
async fn start_engine(node: &Node, far: &Node) -> Result<Engine> {
    let ports = Ports {
        local: node.addr(),
        vxlan: PORT + 1,
        intake: Intake::Plain,
        sleeve: None,
        quirks: Vec::new(),
    };
    let sockets = Sockets::open(&ports, 1)?;
    let spec = spec(node)?;
    let peer = Peer { addr: SocketAddr::new(far.addr(), PORT), mtu: spec.mtu };
    let route = Route { path: Path::Fast, ..Route::default() };
    let plan = Plan::builder(Vni::DEFAULT).peer(PeerId::new(0), peer, route).build();
    let config = EngineConfig { ports, spec, poll: Poll::Adaptive, slots: 1, ringer: None };
    let table = Arc::new(MacTable::new(Limits::default()));
    let cell = Arc::new(PlanCell::new(plan));
    // The only other pod.
    let mac: Mac = "0a:58:0a:20:00:02".parse()?;
    table.pin(mac, Port::Peer(PeerId::new(0)), Tick::default());
    Ok(Engine::start(config, sockets, table, cell, Clock::start()).await?)
}

/// What the node's vxlan device has sent.
fn sent(node: &Node) -> Result<u64> {
    let sent = node.sh(&format!("cat /sys/class/net/{NAME}/statistics/tx_packets"))?;
    Ok(sent.trim().parse()?)
}
