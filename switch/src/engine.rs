//! What runs a node's data plane inside a program: sockets, bridge and TAP, frame threads, and their
//! upkeep.
//!
//! The program has a control loop of its own, and owns what the frame path goes by: it installs plans
//! in the [`PlanCell`], pins and forgets stations in the [`MacTable`], and reads [`Counters`]. The
//! engine decides none of that. It does what every such program needs done:
//!
//! - it opens the sockets first ([`Sockets`]), so that a second program on the same address fails
//!   before it touches anything; then bridge and TAP; then it starts the threads;
//! - it tells how a thread has ended ([`Engine::ended`]); the program says [`Engine::handle_fault`],
//!   and with the next [`Engine::keep_house`] all are started again;
//! - it puts bridge and uplinks right where somebody changed them, with patience: two who disagree do not
//!   undo each other's work all day;
//! - it adds up what the kernel has lost, over restarts, too;
//! - it says once, and not each time, what the kernel refuses and is done without.
//!
//! What fails for now is returned and tried again with the next call; the threads, while they run, go on.
//! Dropping the engine stops the threads; bridge and TAP stay.

mod error;
mod fallbacks;
mod frames;
mod limits;
mod mend;
mod outlets;
mod patience;
mod sleeve;
mod sockets;

use std::io;
use std::sync::Arc;

use serde::Serialize;
use tracing::{info, warn};

use crate::{
    Change, Clock, Counters, FastState, Fault, Forwarder, Injector, Installed, KernelTap, MacTable,
    Mtu, PlanCell, Poll, Punts, Quirk, Ringer, Spec, UdpProbe, UdpUnderlay, Wiring, Worker,
};
pub use error::{KeepError, StartError, remedy};
use fallbacks::Fallbacks;
pub use fallbacks::Supports;
use frames::Frames;
pub use limits::{LimitError, default_queues, raise_descriptor_limit};
use mend::{Reading, tell_fast};
pub use outlets::{IntakeGate, Tellings};
use patience::Patience;
use sleeve::Mouth;
pub use sleeve::SleeveSender;
pub use sockets::{Intake, Ports, Sockets};

/// What an engine is to run.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where datagrams come in and go out.
    pub ports: Ports,
    /// Bridge and TAP. It has a frame thread for each queue.
    pub spec: Spec,
    /// Whether frame threads look before they sleep.
    pub poll: Poll,
    /// For peers in how many slots to count. Those in further slots are served as well.
    pub slots: usize,
    /// Rung when a worker has something for control, who is then told what pods say, too
    /// ([`Told`](crate::Told)). Without it only probes are kept, and nobody is woken.
    pub ringer: Option<Ringer>,
}

/// The data plane of a node, running or about to be started again. Dropping it stops it.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    clock: Clock,
    table: Arc<MacTable>,
    /// One for each worker.
    counters: Vec<Arc<Counters>>,
    cell: Arc<PlanCell>,
    wiring: Wiring,
    installed: Installed,
    frames: Frames,
    tellings: Tellings,
    gate: IntakeGate,
    udp: UdpProbe,
    mouth: Mouth,
    fallbacks: Fallbacks,
    /// What the bridge is to have, and what it was told.
    mtu: Mtu,
    told_mtu: Mtu,
    /// What the kernel had lost by the last restart of the frame threads.
    lost: KernelDrops,
    /// What the TAP had lost before this run, or before it was made again.
    tap_drops_before: u64,
    /// How often the frame threads were started again.
    restarts: u64,
    /// How often links were mended.
    repairs: u64,
    patience: Patience,
    reading: Reading,
}

/// What the kernel lost before it reached the switch; `None` when it does not tell.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct KernelDrops {
    /// Frames that found the TAP's queue full.
    pub tap_queue_full: Option<u64>,
    /// Datagrams that found the socket's buffer full.
    pub socket_buffer_full: Option<u64>,
}

impl Engine {
    /// Sees to bridge and TAP, and starts the frame threads. To be called inside a tokio runtime, with
    /// `sockets` that were opened as `config` says: [`EngineConfig::ports`], a worker for each queue.
    ///
    /// # Errors
    /// As [`StartError`] says. No thread runs; bridge and TAP stay as far as they were made.
    pub async fn start(
        config: EngineConfig,
        sockets: Sockets,
        table: Arc<MacTable>,
        cell: Arc<PlanCell>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let EngineConfig { spec, slots, ringer, .. } = &config;
        let tellings = Tellings::new(spec.queues, ringer.as_ref());
        let counters = (0..spec.queues).map(|_| Arc::new(Counters::new(*slots))).collect();
        let (mtu, udp) = (spec.mtu, sockets.udp());
        let mut wiring = Wiring::new(spec.clone())?;
        let (taps, installed) = wiring.install().await?;
        tell_installed(&installed);
        let mut engine = Self {
            config,
            clock,
            table,
            counters,
            cell,
            wiring,
            installed,
            frames: Frames::default(),
            tellings,
            gate: IntakeGate::new(),
            udp,
            mouth: Mouth::default(),
            fallbacks: Fallbacks::default(),
            mtu,
            told_mtu: mtu,
            lost: KernelDrops::default(),
            tap_drops_before: 0,
            restarts: 0,
            repairs: 0,
            patience: Patience::default(),
            reading: Reading::default(),
        };
        engine.tap_drops_before = engine.wiring.tap_drops().await.unwrap_or(0);
        engine.config.ports.quirks.iter().for_each(|quirk| tell_quirk(quirk));
        engine.fallbacks.note_udp(udp);
        engine.start_frames(sockets, taps)?;
        Ok(engine)
    }

    /// How a frame thread has ended: it has to be told to [`Engine::handle_fault`], unless it is
    /// [`Fault::Panicked`], a defect. Pending for ever while none runs.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn ended(&mut self) -> Fault {
        self.frames.ended().await
    }

    /// Stops the threads, for the end of the program: what they have counted, and what the kernel
    /// has lost, can still be asked for.
    pub fn stop(&mut self) {
        self.frames.stop();
    }

    /// Whether the threads run.
    pub fn is_running(&self) -> bool {
        self.frames.are_running()
    }

    /// What the workers have for control, restarts of the threads or not.
    pub fn tellings(&self) -> Tellings {
        self.tellings.clone()
    }

    /// Gives a frame of control's own to this node's bridge, such as an
    /// [`Announcement`](crate::neighbour::Announcement).
    ///
    /// # Errors
    /// As those of [`Injector::inject`]; `NotConnected` while no thread runs.
    pub fn inject(&self, frame: &[u8]) -> io::Result<()> {
        self.frames.inject(frame)
    }

    /// Sends control's own datagrams from the port from process to process, restarts of the threads or
    /// not.
    pub fn sleeve_sender(&self) -> SleeveSender {
        self.mouth.sender()
    }

    /// The port that a tproxy rule is to bring VXLAN to; `None` when it is received on its own. It changes
    /// when the threads were started again ([`Engine::restarts`]) and somebody else had taken it.
    pub fn intake_port(&self) -> Option<u16> {
        match self.config.ports.intake {
            Intake::Plain => None,
            Intake::Transparent { port } => Some(port),
        }
    }

    /// Whether transparent sockets take what a tproxy rule would bring them, restarts of the threads or not.
    pub fn intake_gate(&self) -> IntakeGate {
        self.gate.clone()
    }

    /// What each worker counts, in order of their queues. Those of queues that the TAP does not have
    /// stay zero.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// Where bridge and uplinks are.
    pub fn installed(&self) -> &Installed {
        &self.installed
    }

    /// What has become of the kernel's vxlan device.
    pub fn fast(&self) -> &FastState {
        &self.installed.fast
    }

    /// What the kernel was found to support.
    pub fn supports(&self) -> Supports {
        self.fallbacks.supports
    }

    /// How often the kernel refused the program that keeps a flow to one queue.
    pub fn steering_fallbacks(&self) -> u64 {
        self.fallbacks.steering
    }

    /// How often the threads were started again.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// How often bridge or TAP were mended.
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// What the kernel has lost since the start. A TAP or socket that was made again counts anew.
    pub async fn kernel_drops(&self) -> KernelDrops {
        let tap = self.wiring.tap_drops().await.ok();
        let tap = tap.map(|drops| drops.saturating_sub(self.tap_drops_before));
        let add = |now: Option<u64>, before: Option<u64>| Some(now? + before.unwrap_or(0));
        KernelDrops {
            tap_queue_full: add(tap, self.lost.tap_queue_full),
            socket_buffer_full: add(self.frames.socket_drops(), self.lost.socket_buffer_full),
        }
    }

    /// Starts a thread for each queue of the TAP.
    fn start_frames(
        &mut self,
        mut sockets: Sockets,
        taps: Vec<KernelTap>,
    ) -> Result<(), StartError> {
        if taps.len() < sockets.len() {
            // The TAP has one queue only. A socket that nobody reads from would lose its share.
            drop(sockets);
            sockets = Sockets::reopen(&self.config.ports, taps.len(), self.udp)?;
        }
        if let Some(port) = sockets.intake_port() {
            // Rules say this port: it is asked for from now on.
            self.config.ports.intake = Intake::Transparent { port };
        }
        let sleeve = sockets.duplicate_sleeve().map_err(StartError::Thread)?;
        let offloads = taps.first().and_then(KernelTap::offloads);
        info!(queues = taps.len(), ?offloads, "starting the frame threads");
        self.fallbacks.note_taps(&taps, self.config.spec.backend);
        let injector = taps.first().map(Injector::new).transpose().map_err(StartError::Thread)?;
        let control = self.counters.iter().zip(self.tellings.each());
        let sides = taps.into_iter().zip(sockets.into_sides()).zip(control);
        let workers: Vec<_> = sides
            .map(|((tap, underlay), (counters, punts))| self.worker(tap, underlay, counters, punts))
            .collect();
        self.gate.lead_to(workers.iter().map(|worker| worker.sides().1.valve()).collect());
        let frames = Frames::start(workers, self.clock, self.config.poll);
        let frames = frames.map_err(StartError::Thread)?.with_injector(injector);
        self.frames = frames.with_voice(sleeve.map(|it| self.mouth.speak(it)));
        Ok(())
    }

    fn worker(
        &self,
        tap: KernelTap,
        (vxlan, sleeve): (UdpUnderlay, Option<UdpUnderlay>),
        counters: &Arc<Counters>,
        punts: &Arc<Punts>,
    ) -> Worker<KernelTap, UdpUnderlay> {
        let forwarder = Forwarder::new(Arc::clone(&self.table));
        let (cell, counters) = (Arc::clone(&self.cell), Arc::clone(counters));
        let worker = Worker::new(tap, vxlan, forwarder, cell, counters);
        let worker = worker.with_punts(Arc::clone(punts));
        match sleeve {
            Some(sleeve) => worker.with_sleeve(sleeve),
            None => worker,
        }
    }
}

fn tell_installed(installed: &Installed) {
    info!(done = ?installed.done, "bridge and TAP are ready");
    if installed.done.contains(&Change::FastReplaced) {
        warn!(
            "a link of the vxlan device's name was not as it has to be: removed it and made the device"
        );
    }
    tell_fast(FastState::Off, installed.fast);
    if !installed.differing.is_empty() {
        warn!(differing = ?installed.differing, "adopted a bridge that weft did not make, and left its settings alone");
    }
}

fn tell_quirk(quirk: &Quirk) {
    warn!(quirk = quirk.name, mitigation = ?quirk.mitigation, "this kernel: {}", quirk.what);
}
