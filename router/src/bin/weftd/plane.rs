//! Putting the data plane together: guard, sockets, bridge and uplinks, frame threads.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use router::guard::{self, Guard, Receive};
use switch::engine::{Engine, EngineConfig, Intake, Ports, Sockets};
use switch::{Bell, FastSpec, Mtu, OpenError, Ringer, Spec, Watch, Wiring};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::apart::apart;
use crate::args::{Config, FastPath};
use crate::beacon::Trial;
use crate::control::Inbox;
use crate::data::{Data, Listeners, Order};
use crate::kernel::Tables;
use crate::keyring::Keyring;
use crate::outlets::Outlets;
use crate::start::{SLOTS, Shared};

/// The data plane, running.
pub(crate) struct Plane {
    pub(crate) guard: Guard,
    pub(crate) engine: Engine,
    pub(crate) bell: Bell,
    pub(crate) watch: Watch,
    /// How the kernel's receiving is tried, where the process can take its place.
    pub(crate) trial: Option<Trial>,
}

impl Plane {
    /// `peers` of the last run are let in from the beginning.
    pub(crate) async fn start(
        config: &Config,
        shared: &Shared,
        peers: &BTreeSet<IpAddr>,
    ) -> anyhow::Result<Self> {
        let rules = guard::Config::new(&config.bridge, config.port, config.vxlan_port())?;
        // Before anything listens, and before anything else is asked of nft: whatever is wrong with it is said once.
        let mut guard = install_guard(&rules).await?;
        if !peers.is_empty() {
            guard.set_peers(peers).await?;
        }
        let wanted = wants_fast(config, &rules).await?;
        let spec = spec(config, shared, wanted);
        if !wanted {
            let unwanted = FastSpec::new(config.vni, config.vxlan_port(), false);
            if Wiring::new(spec.clone())?.remove_fast(&unwanted).await? {
                info!(
                    device = unwanted.name,
                    "removed the vxlan device that an earlier run has left"
                );
            }
        }
        let (ports, sockets) = open(config, wanted)?;
        if let Some(port) = sockets.intake_port() {
            guard.set_receiver(Some(port)).await?;
        }
        let (bell, watch) = (Bell::new()?, Watch::open().context("cannot watch the bridge")?);
        let engine = start_engine(config, shared, (ports, spec, sockets), bell.ringer()).await?;
        // Now that there is a bridge for the rules that are its own.
        guard.verify().await?;
        let fast = *engine.fast();
        if config.fastpath == FastPath::Require && fast.index().is_none() {
            bail!(
                "--fastpath require, but the kernel cannot carry frames: {fast}: mend that, or start with --fastpath auto"
            );
        }
        let ipv6 = config.local.is_ipv6();
        let trial =
            wanted.then(|| Trial::new(ipv6, config.vxlan_port(), config.vni)).transpose()?;
        Ok(Self { guard, engine, bell, watch, trial })
    }
}

/// Whether the kernel is to carry frames: the process has to be able to receive in its place.
async fn wants_fast(config: &Config, rules: &guard::Config) -> anyhow::Result<bool> {
    if config.fastpath == FastPath::Off {
        return Ok(false);
    }
    match Guard::check_user(rules).await {
        Ok(()) => Ok(true),
        Err(error) if config.fastpath == FastPath::Require => {
            Err(error).context("--fastpath require")
        }
        // The guard will fail for the same reason, and says so.
        Err(error) if !error.is_without_tproxy() => Ok(false),
        Err(error) => {
            warn!(%error, "the process could not receive in the kernel's place: it carries all frames itself");
            Ok(false)
        }
    }
}

fn open(config: &Config, fast: bool) -> anyhow::Result<(Ports, Sockets)> {
    let mut ports = Ports {
        local: config.local,
        vxlan: config.vxlan_port(),
        intake: if fast { Intake::Transparent { port: 0 } } else { Intake::Plain },
        sleeve: Some(config.port),
        quirks: config.quirks.clone(),
    };
    match Sockets::open(&ports, config.queues) {
        Err(error @ OpenError::NotTransparent(_)) if config.fastpath == FastPath::Auto => {
            warn!(%error, "the process receives on the port of VXLAN itself, and carries all frames");
            ports.intake = Intake::Plain;
            let sockets = Sockets::open(&ports, config.queues)?;
            Ok((ports, sockets))
        }
        opened => Ok((ports, opened?)),
    }
}

fn spec(config: &Config, shared: &Shared, fast: bool) -> Spec {
    let device = || FastSpec::new(config.vni, config.vxlan_port(), config.local.is_ipv6());
    Spec {
        bridge: config.bridge.clone(),
        tap: config.tap.clone(),
        backend: config.backend,
        queues: config.queues,
        mac: shared.own,
        mtu: shared.mtu,
        // Stations are announced: control says who is where, and the bridge answers for them.
        learning: false,
        neigh_suppress: true,
        fast: fast.then(device),
    }
}

async fn start_engine(
    config: &Config,
    shared: &Shared,
    (ports, mut spec, sockets): (Ports, Spec, Sockets),
    ringer: Ringer,
) -> anyhow::Result<Engine> {
    if sockets.intake_port().is_none() {
        // The port is ours: no device could have it.
        spec.fast = None;
    }
    let engine =
        EngineConfig { ports, spec, poll: config.poll, slots: SLOTS, ringer: Some(ringer) };
    let (table, cell) = (Arc::clone(&shared.table), Arc::clone(&shared.cell));
    let engine = Engine::start(engine, sockets, table, cell, shared.frames).await?;
    if let Err(error) = switch::enable_ipv6(&config.bridge) {
        warn!(%error, bridge = %config.bridge, "the bridge has no IPv6: neighbour solicitations cross the underlay");
    }
    let installed = engine.installed();
    shared.tables.relocate(installed.bridge, installed.tap, installed.fast_port);
    if let Some(mac) = installed.mac.filter(|mac| *mac != shared.own) {
        warn!(bridge = %config.bridge, %mac, name = %shared.own, "the bridge has another MAC than this node's name, and keeps it");
    }
    Ok(engine)
}

async fn install_guard(rules: &guard::Config) -> anyhow::Result<Guard> {
    let (guard, made) = Guard::install(rules).await?;
    info!(?made, "the tunnel guard is installed (nft list table inet weft)");
    Ok(guard)
}

/// Who is to receive VXLAN, whom the guard has receive it, and who does.
pub(crate) struct Receiving {
    pub(crate) wanted: watch::Receiver<Receive>,
    pub(crate) guard: watch::Sender<Receive>,
    pub(crate) switched: watch::Receiver<Receive>,
}

/// Starts what looks after the engine, and beside it what may not wait for that.
pub(crate) fn run_engine(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    (engine, bell, watch): (Engine, Bell, Watch),
    (inbox, keys, tables): (Inbox, Keyring, Tables),
    (told, receiving): (Listeners, Receiving),
    (mtu, orders): (watch::Receiver<Mtu>, mpsc::Receiver<Order>),
) {
    let Receiving { wanted, guard, switched } = receiving;
    let (tellings, intake, to) = (engine.tellings(), engine.intake_gate(), inbox.clone());
    let data = Data::new((engine, watch), (inbox, tables), told, switched.clone(), mtu);
    tasks.spawn(apart("plane", data.run(orders)));
    let outlets =
        Outlets { bell, tellings, intake, inbox: to, keys, wanted, switched, receive: guard };
    tasks.spawn(outlets.run());
}
