//! The control loop: one task that hears everything that can happen and decides what to do.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use switch::{
    Clock, Counters, Fault, Forwarder, Installed, KernelTap, Mac, MacTable, Mitigation, Mtu,
    Notice, OpenError, Peer, Plan, PlanCell, Port, Spec, UdpProbe, UdpUnderlay, Watch, Wiring,
    WiringError, Worker,
};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::args::{Config, Names};
use crate::events::{Event, Sources};
use crate::failure::{Line, say};
use crate::fallbacks::Fallbacks;
use crate::frames::Frames;
use crate::limits::raise_descriptor_limit;
use crate::output::Output;
use crate::paths::{bridge_mac, check_hosts, measure, measure_all, overlay_mtu};
use crate::patience::Patience;
use crate::report::{KernelDrops, Subject};

/// How long to wait before trying again what has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Runs the switch until a signal ends it.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    raise_descriptor_limit(config.queues)?;
    let stdout = Output::start("stdout", std::io::stdout())?;
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
    let Names { bridge, tap, backend } = names;
    let spec = Spec { bridge, tap, backend, queues: 1, mac: Mac::ZERO, mtu: Mtu::MAX };
    let removed = runtime()?.block_on(async { Wiring::new(spec)?.cleanup().await })?;
    match removed.as_slice() {
        [] => say("nothing to remove"),
        removed => say(&format!("removed {}", removed.join(" and "))),
    }
    Ok(())
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the control runtime")
}

struct Switch {
    config: Config,
    clock: Clock,
    table: Arc<MacTable>,
    /// One for each worker.
    counters: Vec<Arc<Counters>>,
    cell: Arc<PlanCell>,
    wiring: Wiring,
    installed: Installed,
    frames: Frames,
    udp: UdpProbe,
    fallbacks: Fallbacks,
    /// What the bridge was told.
    mtu: Mtu,
    stdout: Output,
    /// What the kernel had lost by the last restart of the frame threads.
    lost: KernelDrops,
    /// What the TAP had lost before this run, or before it was made again.
    tap_drops_before: u64,
    /// How often the frame threads were started again.
    restarts: u64,
    /// How often links were mended.
    repairs: u64,
    patience: Patience,
    /// The last complaint, so that it is made once and not every second.
    complaint: Option<String>,
}

impl Switch {
    async fn start(config: Config, stdout: Output) -> anyhow::Result<Self> {
        let udp = UdpProbe::run(config.local);
        // First of all: a second switch on this address must fail before it touches anything.
        let underlays = open_underlays(&config, udp, config.queues)?;
        let peers = measure_all(&config)?;
        check_hosts(&config)?;
        let mtu = overlay_mtu(&config, &peers);
        let spec = Spec {
            bridge: config.names.bridge.clone(),
            tap: config.names.tap.clone(),
            backend: config.names.backend,
            queues: config.queues,
            mac: bridge_mac(config.local),
            mtu,
        };
        let table = Arc::new(MacTable::new(config.limits));
        let counters = (0..config.queues).map(|_| Arc::new(Counters::new(peers.len()))).collect();
        let cell = Arc::new(PlanCell::new(Plan::new(config.vni, peers)));
        let wiring = Wiring::new(spec)?;
        let (taps, installed) = wiring.install().await?;
        announce(&installed);
        let clock = Clock::start();
        let mut switch = Self {
            config,
            clock,
            table,
            counters,
            cell,
            wiring,
            installed,
            frames: Frames::default(),
            udp,
            fallbacks: Fallbacks::default(),
            mtu,
            stdout,
            lost: KernelDrops::default(),
            tap_drops_before: 0,
            restarts: 0,
            repairs: 0,
            patience: Patience::default(),
            complaint: None,
        };
        switch.tap_drops_before = switch.wiring.tap_drops().await.unwrap_or(0);
        for quirk in &switch.config.quirks {
            warn!(quirk = quirk.name, mitigation = ?quirk.mitigation, "this kernel: {}", quirk.what);
        }
        switch.fallbacks.note_udp(udp);
        switch.start_frames(underlays, taps)?;
        let Config { local, port, vni, peers, .. } = &switch.config;
        info!(%local, port, %vni, %mtu, peers = peers.len(), "switching");
        Ok(switch)
    }

    /// Starts a thread for each queue of the TAP.
    fn start_frames(
        &mut self,
        mut underlays: Vec<UdpUnderlay>,
        taps: Vec<KernelTap>,
    ) -> anyhow::Result<()> {
        if taps.len() < underlays.len() {
            // The TAP has one queue only. A socket that nobody reads from would lose its share.
            drop(underlays);
            underlays = open_underlays(&self.config, self.udp, taps.len())?;
        }
        let offloads = taps.first().and_then(KernelTap::offloads);
        info!(queues = taps.len(), ?offloads, "starting the frame threads");
        self.fallbacks.note_taps(&taps);
        let sides = taps.into_iter().zip(underlays).zip(&self.counters);
        let workers = sides
            .map(|((tap, underlay), counters)| {
                let forwarder = Forwarder::new(Arc::clone(&self.table));
                Worker::new(tap, underlay, forwarder, Arc::clone(&self.cell), Arc::clone(counters))
            })
            .collect();
        let frames = Frames::start(workers, self.clock, self.config.poll);
        self.frames = frames.context("cannot start a thread")?;
        Ok(())
    }

    async fn run(mut self, mut sources: Sources) -> anyhow::Result<()> {
        // After the subscription, so that nothing falls between the two.
        self.learn_local().await;
        loop {
            match sources.next(&mut self.frames.ended).await {
                Event::Stop(signal) => {
                    info!(signal, "stopping; bridge and TAP stay");
                    self.frames.stop();
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
                Event::Notice(Ok(notice)) => self.handle_notice(notice).await,
                Event::Notice(Err(error)) => {
                    warn!(%error, "lost sight of the bridge, looking again");
                    sleep(RETRY).await;
                    sources.watch = Watch::open().context("cannot watch the bridge")?;
                    self.handle_notice(Notice::Overrun).await;
                }
                Event::Reload => info!("SIGHUP: there is nothing to reload"),
                Event::FramesEnded(Some(fault)) => self.handle_fault(&fault).await,
                Event::FramesEnded(None) => bail!("a frame thread panicked: please report this"),
            }
        }
    }

    async fn handle_notice(&mut self, notice: Notice) {
        let ours = |bridge| bridge == Some(self.installed.bridge);
        match notice {
            Notice::Station { mac, port, bridge } if ours(bridge) && port != self.installed.tap => {
                self.table.learn(mac, Port::Local, self.clock.now());
            }
            Notice::StationGone { mac, port, bridge }
                if ours(bridge) && port != self.installed.tap =>
            {
                self.table.forget(mac, Port::Local);
            }
            Notice::Station { .. } | Notice::StationGone { .. } => {}
            Notice::Link => {
                self.measure_again();
                self.mend().await;
            }
            Notice::Overrun => {
                debug!("notifications were lost, reading all stations");
                self.mend().await;
                self.learn_local().await;
            }
        }
    }

    /// Learns the stations that the bridge already knows, and forgets those it knows no longer.
    async fn learn_local(&mut self) {
        match self.wiring.stations(&self.installed).await {
            Ok(stations) => {
                self.table.flush(Port::Local);
                for mac in stations {
                    self.table.learn(mac, Port::Local, self.clock.now());
                }
            }
            Err(error) => self.complain("cannot read the bridge's stations", error.into()),
        }
    }

    async fn keep_house(&mut self) {
        self.table.age(self.clock.now());
        self.frames.discard_punts();
        self.fallbacks.note_counters(&self.counters);
        self.measure_again();
        if !self.frames.are_running() {
            self.restart().await;
        } else {
            // Notices tell of most changes, but not of all, and not while patience lasts.
            self.mend().await;
        }
    }

    /// Brings the plan up to date with what the paths carry now.
    fn measure_again(&mut self) {
        let plan = self.cell.load();
        let peers: Vec<_> = plan.peers().map(|(_, peer)| self.measured(*peer)).collect();
        if peers.iter().eq(plan.peers().map(|(_, peer)| peer)) {
            return;
        }
        for (old, new) in plan.peers().map(|(_, peer)| peer).zip(&peers).filter(|(a, b)| a != b) {
            info!(peer = %new.addr.ip(), from = %old.mtu, to = %new.mtu, "path MTU changed");
        }
        self.cell.install(Plan::new(self.config.vni, peers));
    }

    fn measured(&self, peer: Peer) -> Peer {
        // Without a route for the moment there is nothing new to know.
        let mtu = measure(&self.config, peer.addr.ip()).unwrap_or(peer.mtu);
        Peer { mtu, ..peer }
    }

    /// Puts bridge and TAP right where somebody changed them.
    async fn mend(&mut self) {
        if !self.frames.are_running() || !self.patience.has_passed(self.clock.now()) {
            return;
        }
        let peers: Vec<_> = self.cell.load().peers().map(|(_, peer)| *peer).collect();
        let mtu = overlay_mtu(&self.config, &peers);
        let follows = mtu != self.mtu;
        self.mtu = mtu;
        self.wiring.set_mtu(mtu);
        match self.wiring.reconcile().await {
            Ok(installed) if follows => {
                info!(%mtu, "the bridge's MTU follows the paths");
                self.installed = installed;
            }
            Ok(installed) => self.adopt(installed),
            Err(WiringError::TapGone(name)) => {
                // Removed, renamed, or moved to another namespace: ours no longer.
                warn!(tap = %name, "the TAP is gone, making it again");
                self.stop_frames().await;
                self.restart().await;
            }
            Err(error) => self.complain("cannot mend the bridge", error.into()),
        }
    }

    fn adopt(&mut self, installed: Installed) {
        self.complaint = None;
        if !installed.done.is_empty() {
            self.repairs += 1;
            let pause = self.patience.note_repair(self.clock.now());
            warn!(done = ?installed.done, ?pause, "bridge or TAP were changed by somebody else, mended");
        }
        self.note_bridge(&installed);
        self.installed = installed;
    }

    fn note_bridge(&self, installed: &Installed) {
        if installed.bridge != self.installed.bridge {
            self.table.flush(Port::Local);
            warn!(bridge = %self.config.names.bridge, "the bridge was removed and made again: plug the pods into it again");
        }
    }

    async fn handle_fault(&mut self, fault: &Fault) {
        warn!(%fault, "a frame thread stopped, starting all again");
        self.stop_frames().await;
    }

    async fn stop_frames(&mut self) {
        self.lost = self.kernel_drops().await;
        self.tap_drops_before = 0;
        self.frames = Frames::default();
    }

    async fn restart(&mut self) {
        match self.try_restart().await {
            Ok(()) => {
                self.restarts += 1;
                info!(restarts = self.restarts, "switching again");
            }
            Err(error) => self.complain("cannot start the frame thread again", error),
        }
    }

    async fn try_restart(&mut self) -> anyhow::Result<()> {
        let underlays = open_underlays(&self.config, self.udp, self.config.queues)?;
        let (taps, installed) = self.wiring.install().await?;
        self.tap_drops_before = self.wiring.tap_drops().await.unwrap_or(0);
        self.note_bridge(&installed);
        self.installed = installed;
        self.start_frames(underlays, taps)?;
        self.learn_local().await;
        Ok(())
    }

    fn complain(&mut self, what: &'static str, error: anyhow::Error) {
        let error = error.context(what);
        let complaint = Line(&error).to_string();
        if self.complaint.as_ref() != Some(&complaint) {
            warn!("{complaint}; trying again");
            self.complaint = Some(complaint);
        }
    }

    async fn print_stats(&mut self) {
        let kernel_drops = self.kernel_drops().await;
        let plan = self.cell.load();
        let all = self.counters.iter().map(Arc::as_ref);
        let total = Counters::total(all, plan.peers().count());
        let stats = self.subject(&plan).stats(&total, kernel_drops);
        self.stdout.send(stats);
    }

    /// What the kernel has lost since the start. A TAP or socket that was made again counts anew.
    async fn kernel_drops(&self) -> KernelDrops {
        let tap = self.wiring.tap_drops().await.ok();
        let tap = tap.map(|drops| drops.saturating_sub(self.tap_drops_before));
        let add = |now: Option<u64>, before: Option<u64>| Some(now? + before.unwrap_or(0));
        KernelDrops {
            tap_queue_full: add(tap, self.lost.tap_queue_full),
            socket_buffer_full: add(self.frames.socket_drops(), self.lost.socket_buffer_full),
        }
    }

    fn subject<'a>(&'a self, plan: &'a Plan) -> Subject<'a> {
        Subject {
            table: &self.table,
            workers: &self.counters,
            plan,
            generation: self.cell.generation(),
            restarts: self.restarts,
            repairs: self.repairs,
            lines_lost: self.stdout.lost(),
            fallbacks: &self.fallbacks,
            quirks: self.config.quirks.iter().map(|quirk| quirk.name).collect(),
            now: self.clock.now(),
        }
    }
}

fn open_underlays(
    config: &Config,
    udp: UdpProbe,
    workers: usize,
) -> Result<Vec<UdpUnderlay>, OpenError> {
    let no_runs = config.quirks.iter().any(|quirk| quirk.mitigation == Mitigation::NoRuns);
    let run_len = if no_runs { 1 } else { udp.run_len() };
    UdpUnderlay::open(config.local, config.port, workers, run_len)
}

fn announce(installed: &Installed) {
    info!(done = ?installed.done, "bridge and TAP are ready");
    if !installed.differing.is_empty() {
        warn!(differing = ?installed.differing, "adopted a bridge that weft did not make, and left its settings alone");
    }
}
