//! `lab-sleeve LOCAL NUMBER [NUMBER=ADDR=PATH]..`: a switch whose plan is its arguments.
//!
//! It is what a daemon is to the data plane, without one: paths are `user`, `sleeve`, `down`, or the
//! number of the peer that is the relay. A node's label is its number. Counters are printed five
//! times a second until it is killed.
#![expect(clippy::print_stdout, reason = "a command that reports to its user")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use switch::{
    Backend, Clock, Counters, Forwarder, FrameThreads, Label, Limits, Mac, MacTable, Mtu, Path,
    Peer, PeerId, Plan, PlanBuilder, PlanCell, Poll, Route, Spec, UdpProbe, UdpUnderlay, Vni,
    Wiring, Worker, path_mtu,
};

const VXLAN: u16 = 6784;
const SLEEVE: u16 = 6783;
/// Slots are numbers: this many, and some to spare.
const PEERS: usize = 16;
const QUEUES: usize = 2;
const PAUSE: Duration = Duration::from_millis(200);

fn main() -> Result<()> {
    let setup = Setup::parse(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(setup))
}

struct Setup {
    local: IpAddr,
    number: u16,
    plan: Plan,
}

impl Setup {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut next = || args.next().context("usage: LOCAL NUMBER [NUMBER=ADDR=PATH]..");
        let (local, number) = (next()?.parse()?, next()?.parse()?);
        let mut plan = Plan::builder(Vni::DEFAULT).label(label(number)?);
        for arg in args {
            plan = Self::add(plan, local, &arg).with_context(|| arg)?;
        }
        Ok(Self { local, number, plan: plan.build() })
    }

    fn add(plan: PlanBuilder, local: IpAddr, arg: &str) -> Result<PlanBuilder> {
        let (number, rest) = arg.split_once('=').context("no number")?;
        let (addr, path) = rest.split_once('=').context("no path")?;
        let (number, addr): (u16, IpAddr) = (number.parse()?, addr.parse()?);
        let path = match path {
            "user" => Path::User,
            "sleeve" => Path::Sleeve,
            "down" => Path::Down,
            relay => Path::Relay(PeerId::new(relay.parse()?)),
        };
        let mtu = Mtu::over(path_mtu(local, addr)?, addr).context("too narrow")?;
        let sleeve = Some(SocketAddr::new(addr, SLEEVE));
        let peer = Peer { addr: SocketAddr::new(addr, VXLAN), mtu };
        let route = Route { path, label: Some(label(number)?), sleeve };
        Ok(plan.peer(PeerId::new(number), peer, route))
    }
}

fn label(number: u16) -> Result<Label> {
    Label::new(0x77_0000 + u32::from(number)).context("no such label")
}

async fn run(setup: Setup) -> Result<()> {
    let Setup { local, number, plan } = setup;
    let run_len = UdpProbe::run(local).run_len();
    let vxlan = UdpUnderlay::open(local, VXLAN, QUEUES, run_len)?;
    let sleeves = UdpUnderlay::open_sleeve(local, SLEEVE, QUEUES, run_len)?;
    let mtu = plan.peers().map(|(_, peer)| peer.mtu).min().unwrap_or(Mtu::MIN);
    let spec = Spec {
        bridge: "weave".into(),
        tap: "weave-tap".into(),
        backend: Backend::Auto,
        queues: QUEUES,
        mac: Mac::local(0x7766_0000 + u64::from(number)),
        mtu,
    };
    let (taps, _) = Wiring::new(spec)?.install().await?;
    let table = Arc::new(MacTable::new(Limits::default()));
    let cell = Arc::new(PlanCell::new(plan));
    let counters: Vec<_> = taps.iter().map(|_| Arc::new(Counters::new(PEERS))).collect();
    let workers = taps.into_iter().zip(vxlan).zip(sleeves).zip(&counters);
    let workers = workers.map(|(((tap, vxlan), sleeve), counters)| {
        let (cell, counters) = (Arc::clone(&cell), Arc::clone(counters));
        let forwarder = Forwarder::new(Arc::clone(&table));
        Worker::new(tap, vxlan, forwarder, cell, counters).with_sleeve(sleeve)
    });
    let (_frames, mut ended) =
        FrameThreads::spawn(workers.collect(), Clock::start(), Poll::Adaptive)?;
    println!("switching");
    loop {
        tokio::select! {
            end = ended.recv() => return end.context("no frame thread is left")?.map_err(Into::into),
            () = tokio::time::sleep(PAUSE) => print(&counters),
        }
    }
}

fn print(counters: &[Arc<Counters>]) {
    let total = Counters::total(counters.iter().map(Arc::as_ref), PEERS);
    let line = json!({
        "relayed": total.relayed,
        "joined": total.joined,
        "udp_fallbacks": total.udp_fallbacks,
        "icmp_sent": total.icmp_sent,
        "drops": serde_json::to_value(total.drops()).unwrap_or_default(),
    });
    println!("{line}");
}
