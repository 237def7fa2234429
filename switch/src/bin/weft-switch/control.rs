//! The control loop: one task that hears everything that can happen and decides what to do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use switch::engine::{
    Engine, EngineConfig, Intake, KeepError, LimitError, Ports, Sockets, raise_descriptor_limit,
};
use switch::{
    Clock, Counters, Fault, Mac, MacTable, Mtu, Notice, Peer, Plan, PlanCell, Spec, Watch, Wiring,
};
use tokio::time::sleep;
use tracing::{info, warn};

use crate::args::{Config, Names};
use crate::events::{Event, Sources};
use crate::failure::{Line, say};
use crate::paths::{bridge_mac, check_hosts, measure, measure_all, overlay_mtu};
use crate::report::Subject;
use switch::Lines;

/// How long to wait before trying again what has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Open files beside those of the queues: netlink, signals, output, and some to spare.
const DESCRIPTORS: u64 = 64;

/// Runs the switch until a signal ends it.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    raise_descriptor_limit(config.queues, DESCRIPTORS).map_err(|error| match error {
        LimitError::TooLow { needed } => {
            anyhow!("{error}: raise it (ulimit -n {needed}), or use fewer --queues")
        }
        LimitError::Refused(_) => error.into(),
    })?;
    let stdout = Lines::start("stdout", std::io::stdout())?;
    let outcome = runtime()?.block_on(async {
        // Before anything else: no signal may find the process unprepared.
        let sources = Sources::open(config.stats)?;
        Switch::start(config, stdout.clone()).await?.run(sources).await
    });
    stdout.finish();
    outcome
}

/// Removes what earlier runs made.
pub(crate) fn cleanup(names: Names) -> anyhow::Result<()> {
    let removed = runtime()?.block_on(async { Wiring::new(spec(names))?.cleanup().await })?;
    match removed.as_slice() {
        [] => say("nothing to remove"),
        removed => say(&format!("removed {}", removed.join(" and "))),
    }
    Ok(())
}

/// The links by these names, as far as nothing else is known.
fn spec(names: Names) -> Spec {
    let Names { bridge, tap, backend } = names;
    Spec {
        bridge,
        tap,
        backend,
        queues: 1,
        mac: Mac::ZERO,
        mtu: Mtu::MAX,
        // Nobody announces stations: the bridge has to find them, and to ask for addresses.
        learning: true,
        neigh_suppress: false,
        fast: None,
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the control runtime")
}

struct Switch {
    config: Config,
    clock: Clock,
    table: Arc<MacTable>,
    cell: Arc<PlanCell>,
    engine: Engine,
    stdout: Lines,
    /// The last complaint, so that it is made once and not every second.
    complaint: Option<String>,
}

impl Switch {
    async fn start(config: Config, stdout: Lines) -> anyhow::Result<Self> {
        let Config { local, port, quirks, queues, poll, .. } = config.clone();
        let ports = Ports { local, vxlan: port, intake: Intake::Plain, sleeve: None, quirks };
        // First of all: a second switch on this address must fail before it touches anything.
        let sockets = Sockets::open(&ports, queues)?;
        let peers = measure_all(&config)?;
        check_hosts(&config)?;
        let mtu = overlay_mtu(&config, &peers);
        let spec = Spec { queues, mac: bridge_mac(local), mtu, ..spec(config.names.clone()) };
        let engine = EngineConfig { ports, spec, poll, slots: peers.len(), ringer: None };
        let table = Arc::new(MacTable::new(config.limits));
        let cell = Arc::new(PlanCell::new(Plan::new(config.vni, peers)));
        let clock = Clock::start();
        let shared = (Arc::clone(&table), Arc::clone(&cell));
        let engine = Engine::start(engine, sockets, shared.0, shared.1, clock).await?;
        let Config { local, port, vni, peers, .. } = &config;
        info!(%local, port, %vni, %mtu, peers = peers.len(), "switching");
        Ok(Self { config, clock, table, cell, engine, stdout, complaint: None })
    }

    async fn run(mut self, mut sources: Sources) -> anyhow::Result<()> {
        // After the subscription, so that nothing falls between the two.
        let learned = self.engine.learn_local().await;
        self.complain(learned);
        loop {
            match sources.next(&mut self.engine).await {
                Event::Stop(signal) => {
                    info!(signal, "stopping; bridge and TAP stay");
                    self.engine.stop();
                    if self.config.stats.is_some() {
                        self.print_stats().await;
                    }
                    return Ok(());
                }
                Event::PrintStations => {
                    let stations = self.subject(&self.cell.load()).stations();
                    self.stdout.send(stations);
                }
                Event::PrintStats => self.print_stats().await,
                Event::Housekeeping => self.keep_house().await,
                Event::Notices(Ok(notices)) => {
                    for notice in notices {
                        self.handle_notice(notice).await;
                    }
                }
                Event::Notices(Err(error)) => {
                    warn!(%error, "lost sight of the bridge, looking again");
                    sleep(RETRY).await;
                    sources.watch = Watch::open().context("cannot watch the bridge")?;
                    self.handle_notice(Notice::Overrun).await;
                }
                Event::Reload => info!("SIGHUP: there is nothing to reload"),
                Event::FramesEnded(Fault::Panicked) => {
                    bail!("a frame thread panicked: please report this")
                }
                Event::FramesEnded(fault) => self.engine.handle_fault(&fault).await,
            }
        }
    }

    async fn handle_notice(&mut self, notice: Notice) {
        if notice == Notice::Link {
            self.measure_again();
        }
        let handled = self.engine.handle_notice(notice).await;
        self.complain(handled);
    }

    async fn keep_house(&mut self) {
        // This binary has nobody who would answer probes.
        let tellings = self.engine.tellings();
        while tellings.take().is_some() {}
        self.measure_again();
        let kept = self.engine.keep_house().await;
        if kept.is_ok() {
            self.complaint = None;
        }
        self.complain(kept);
    }

    /// Brings the plan, and what the bridge is to be told, up to date with what the paths carry now.
    fn measure_again(&mut self) {
        let plan = self.cell.load();
        let peers: Vec<_> = plan.peers().map(|(_, peer)| self.measured(*peer)).collect();
        if peers.iter().eq(plan.peers().map(|(_, peer)| peer)) {
            return;
        }
        for (old, new) in plan.peers().map(|(_, peer)| peer).zip(&peers).filter(|(a, b)| a != b) {
            info!(peer = %new.addr.ip(), from = %old.mtu, to = %new.mtu, "path MTU changed");
        }
        self.engine.set_mtu(overlay_mtu(&self.config, &peers));
        self.cell.install(Plan::new(self.config.vni, peers));
    }

    fn measured(&self, peer: Peer) -> Peer {
        // Without a route for the moment there is nothing new to know.
        let mtu = measure(&self.config, peer.addr.ip()).unwrap_or(peer.mtu);
        Peer { mtu, ..peer }
    }

    /// Says what went wrong, unless that was the last thing said.
    fn complain(&mut self, outcome: Result<(), KeepError>) {
        let Err(error) = outcome else { return };
        let complaint = Line(&error.into()).to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            warn!("{complaint}; trying again");
            self.complaint = Some(complaint);
        }
    }

    async fn print_stats(&mut self) {
        let kernel_drops = self.engine.kernel_drops().await;
        let plan = self.cell.load();
        let all = self.engine.counters().iter().map(Arc::as_ref);
        let total = Counters::total(all, plan.peers().count());
        let stats = self.subject(&plan).stats(&total, kernel_drops);
        self.stdout.send(stats);
    }

    fn subject<'a>(&'a self, plan: &'a Plan) -> Subject<'a> {
        Subject {
            table: &self.table,
            engine: &self.engine,
            plan,
            generation: self.cell.generation(),
            lines_lost: self.stdout.lost(),
            quirks: self.config.quirks.iter().map(|quirk| quirk.name).collect(),
            now: self.clock.now(),
        }
    }
}
