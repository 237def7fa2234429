//! `lab-sleeve LOCAL NUMBER [NUMBER=ADDR=PATH | announce=MAC=IP | pin=MAC=NUMBER | flags=on=off |
//! transparent | say=ADDR]..`: a switch whose plan is its arguments.
//!
//! It is what a daemon is to the data plane, without one: paths are `user`, `sleeve`, `down`, or the
//! number of the peer that is the relay. A node's label is its number. Addresses are announced, stations
//! are pinned behind a peer, the flags are the TAP's `learning` and `neigh_suppress`. Counters are
//! printed five times a second until it is killed, and what pods tell whenever they do: `told address
//! MAC IP`, `told sighting MAC`. `transparent`: VXLAN is received by transparent sockets on the port that is
//! printed, `receiver PORT`; SIGUSR1 closes them, SIGUSR2 opens them, and `intake open` or `closed` is printed. `say`: a datagram goes to that address and its port 9 from the port of UDP 6783,
//! five times a second.
#![expect(clippy::print_stdout, reason = "a command that reports to its user")]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;
use switch::engine::{Engine, EngineConfig, Intake, Ports, SleeveSender, Sockets};
use switch::neighbour::announce;
use switch::{
    Backend, Bell, Clock, Counters, Fault, Label, Limits, Mac, MacTable, Mtu, Path, Peer, PeerId,
    Plan, PlanBuilder, PlanCell, Poll, Port, Route, Spec, Tick, Told, Vni, path_mtu,
};

use tokio::signal::unix::{SignalKind, signal};

const VXLAN: u16 = 6784;
const SLEEVE: u16 = 6783;
/// RFC 863: nobody answers.
const DISCARD: u16 = 9;
/// Slots are numbers; those of further peers are not counted.
const SLOTS: usize = 16;
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
    plan: PlanBuilder,
    announced: Vec<(Mac, IpAddr)>,
    pinned: Vec<(Mac, PeerId)>,
    learning: bool,
    neigh_suppress: bool,
    intake: Intake,
    said_to: Option<IpAddr>,
}

impl Setup {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut next = || args.next().context("usage: LOCAL NUMBER [NUMBER=ADDR=PATH]..");
        let (local, number) = (next()?.parse()?, next()?.parse()?);
        let plan = Plan::builder(Vni::DEFAULT).label(label(number)?);
        let setup = Self {
            local,
            number,
            plan,
            announced: Vec::new(),
            pinned: Vec::new(),
            learning: true,
            neigh_suppress: false,
            intake: Intake::Plain,
            said_to: None,
        };
        args.try_fold(setup, |setup, arg| setup.with(&arg).with_context(|| arg))
    }

    fn with(mut self, arg: &str) -> Result<Self> {
        let words: Vec<_> = arg.split('=').collect();
        match words.as_slice() {
            ["announce", mac, ip] => self.announced.push((mac.parse()?, ip.parse()?)),
            ["pin", mac, number] => {
                self.pinned.push((mac.parse()?, PeerId::new(number.parse()?)));
            }
            ["flags", learning, neigh_suppress] => {
                self.learning = *learning == "on";
                self.neigh_suppress = *neigh_suppress == "on";
            }
            ["transparent"] => self.intake = Intake::Transparent { port: 0 },
            ["say", addr] => self.said_to = Some(addr.parse()?),
            [number, addr, path] => {
                let (peer, route) = peer(self.local, number.parse()?, addr.parse()?, path)?;
                self.plan = self.plan.peer(PeerId::new(number.parse()?), peer, route);
            }
            _ => bail!("no such argument"),
        }
        Ok(self)
    }

    fn spec(&self, mtu: Option<Mtu>) -> Spec {
        Spec {
            bridge: "weave".into(),
            tap: "weave-tap".into(),
            backend: Backend::Auto,
            queues: QUEUES,
            mac: Mac::local(0x7766_0000 + u64::from(self.number)),
            mtu: mtu.unwrap_or(Mtu::MIN),
            learning: self.learning,
            neigh_suppress: self.neigh_suppress,
            fast: None,
        }
    }
}

fn peer(local: IpAddr, number: u16, addr: IpAddr, path: &str) -> Result<(Peer, Route)> {
    let path = match path {
        "user" => Path::User,
        "sleeve" => Path::Sleeve,
        "down" => Path::Down,
        relay => Path::Relay(PeerId::new(relay.parse()?)),
    };
    let mtu = Mtu::over(path_mtu(local, addr)?, addr).context("too narrow")?;
    let sleeve = Some(SocketAddr::new(addr, SLEEVE));
    let peer = Peer { addr: SocketAddr::new(addr, VXLAN), mtu };
    Ok((peer, Route { path, label: Some(label(number)?), sleeve }))
}

fn label(number: u16) -> Result<Label> {
    Label::new(0x77_0000 + u32::from(number)).context("no such label")
}

async fn run(setup: Setup) -> Result<()> {
    let plan = setup.plan.clone().build();
    let (local, intake) = (setup.local, setup.intake);
    let ports = Ports { local, vxlan: VXLAN, intake, sleeve: Some(SLEEVE), quirks: Vec::new() };
    let sockets = Sockets::open(&ports, QUEUES)?;
    let spec = setup.spec(plan.peers().map(|(_, peer)| peer.mtu).min());
    let Setup { announced, pinned, said_to, .. } = setup;
    let bell = Bell::new()?;
    let ringer = Some(bell.ringer());
    let config = EngineConfig { ports, spec, poll: Poll::Adaptive, slots: SLOTS, ringer };
    let table = Arc::new(MacTable::new(Limits::default()));
    pinned.iter().for_each(|(mac, id)| table.pin(*mac, Port::Peer(*id), Tick::default()));
    let cell = Arc::new(PlanCell::new(plan));
    let mut engine = Engine::start(config, sockets, table, cell, Clock::start()).await?;
    let (sender, tellings, gate) =
        (engine.sleeve_sender(), engine.tellings(), engine.intake_gate());
    let mut ticks = tokio::time::interval(PAUSE);
    let mut close = signal(SignalKind::user_defined1())?;
    let mut open = signal(SignalKind::user_defined2())?;
    println!("switching");
    loop {
        tokio::select! {
            fault = engine.ended() => match fault {
                Fault::Panicked => bail!("a frame thread panicked"),
                fault @ (Fault::Tap(_) | Fault::Underlay(_) | Fault::Poll(_)) => {
                    engine.handle_fault(&fault).await;
                }
            },
            rung = bell.rung() => {
                rung?;
                while let Some(told) = tellings.take() {
                    print_told(&told);
                }
            }
            _ = close.recv() => {
                gate.set(false).await?;
                println!("intake closed");
            }
            _ = open.recv() => {
                gate.set(true).await?;
                println!("intake open");
            }
            _ = ticks.tick() => {
                engine.keep_house().await?;
                for (mac, ip) in &announced {
                    if let Err(error) = engine.inject(announce(*mac, *ip).octets()) {
                        eprintln!("cannot announce {ip}: {error}");
                    }
                }
                if let Some(addr) = said_to {
                    say(&sender, addr);
                }
                print(&engine);
            }
        }
    }
}

fn print_told(told: &Told) {
    match told {
        Told::Probe(_) => println!("told probe"),
        Told::Address { mac, ip } => println!("told address {mac} {ip}"),
        Told::Sighting { mac } => println!("told sighting {mac}"),
    }
}

fn say(sender: &SleeveSender, addr: IpAddr) {
    if let Err(error) = sender.send(b"said", SocketAddr::new(addr, DISCARD)) {
        eprintln!("cannot say anything: {error}");
    }
}

fn print(engine: &Engine) {
    if let Some(port) = engine.intake_port() {
        println!("receiver {port}");
    }
    let counters = engine.counters();
    let total = Counters::total(counters.iter().map(Arc::as_ref), SLOTS);
    let given: Vec<_> = counters.iter().map(|it| it.to_tap.frames.load()).collect();
    let line = json!({
        "restarts": engine.restarts(),
        "to_tap": given,
        "relayed": total.relayed,
        "joined": total.joined,
        "udp_fallbacks": total.udp_fallbacks,
        "icmp_sent": total.icmp_sent,
        "drops": serde_json::to_value(total.drops()).unwrap_or_default(),
    });
    println!("{line}");
}
