//! From a configuration to a running node, and from a signal to its end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use peer_mesh::shell::{Identity, Notice, Notices, StateError};
use peer_mesh::{ChannelName, Event, PeerName, Psk};
use router::Input;
use switch::engine::raise_descriptor_limit;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep, timeout};
use tracing::{error, info, warn};

use crate::addresses::{self, Office};
use crate::args::Config;
use crate::control::{Ended, Inbox};
use crate::courier;
use crate::exposure;
use crate::given::Given;
use crate::keyring::{Came, Keyring};
use crate::logging::{self, Muffler};
use crate::start::{AGAIN, PREDECESSOR, Starting};

/// How often the log is told how much of it was left out.
const MUFFLED: Duration = Duration::from_secs(60);
/// Descriptors besides those of frame threads: connections of mesh and server, files, netlink.
const DESCRIPTORS: u64 = 512;
/// How long the end may take.
const END: Duration = Duration::from_secs(3);

/// Runs a node until it is told to stop.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    raise_descriptor_limit(config.queues, DESCRIPTORS)
        .context("raise it (ulimit -n), or use fewer --queues")?;
    let (log, muffler) = logging::start(config.log_level)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let outcome = runtime.block_on(daemon(config, muffler));
    // A write of the state that hangs must not keep us.
    runtime.shutdown_background();
    log.finish();
    outcome
}

async fn daemon(config: Config, muffler: Muffler) -> anyhow::Result<()> {
    // Before anything else: no signal may find us unprepared.
    let mut ends = [SignalKind::terminate(), SignalKind::interrupt()].map(signal);
    let mut hangup = signal(SignalKind::hangup())?;
    require_net_admin()?;
    let psk = Psk::find(config.password_file.as_deref())?;
    let identity = identity(&config).await?;
    let given = Given::open(&config.state_dir, &config.peers)?;
    addresses::check(&config).await?;
    exposure::check(&config).await?;
    let mut node = Starting { config, psk, identity, given }.start().await?;
    info!("ready");
    let mut muffled = interval(MUFFLED);
    let [terminate, interrupt] = &mut ends;
    let outcome = loop {
        tokio::select! {
            () = heard(terminate) => break Ok("SIGTERM"),
            () = heard(interrupt) => break Ok("SIGINT"),
            _ = hangup.recv() => info!("SIGHUP: there is nothing to reload"),
            ended = node.tasks.join_next() => break Err(failure(ended)),
            _ = muffled.tick() => match muffler.take_left_out() {
                0 => {}
                lines => warn!(lines, "left out of the log: lines that came too often"),
            },
        }
    };
    if let Ok(signal) = outcome {
        info!(signal, "stopping; bridge, TAP and tunnel guard stay");
    }
    if let Ok(Err(error)) = timeout(END, node.last.write()).await {
        warn!(why = format!("{error:#}"), "the plan is that of a second ago");
    }
    // Nobody hangs on to us for long.
    let _ = timeout(END, node.server.end()).await;
    outcome.map(drop).inspect_err(|error| error!("{error:#}"))
}

/// Who we are. A process that was killed a moment ago may still have the directory.
async fn identity(config: &Config) -> Result<Identity, StateError> {
    let patience = Instant::now() + PREDECESSOR;
    loop {
        match Identity::open(Some(&config.state_dir), config.name) {
            Err(StateError::InUse(_)) if Instant::now() < patience => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

async fn heard(signal: &mut std::io::Result<Signal>) {
    match signal {
        Ok(signal) => drop(signal.recv().await),
        Err(_) => std::future::pending().await,
    }
}

fn failure(ended: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match ended {
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => {
            anyhow!("a part of the daemon has panicked ({error}): please report this")
        }
        Some(Ok(Ok(()))) | None => {
            anyhow!("a part of the daemon has ended by itself: please report this")
        }
    }
}

/// Everything below would fail without, and say so less clearly.
fn require_net_admin() -> anyhow::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities};
    let sets = capabilities(None).context("cannot tell what this process may do")?;
    if sets.effective.contains(CapabilitySet::NET_ADMIN) {
        return Ok(());
    }
    bail!("bridge and TAP need CAP_NET_ADMIN, which this process lacks: run as root")
}

/// Who is told of what the mesh tells.
pub(crate) struct Listeners {
    pub(crate) refresh: Arc<Notify>,
    pub(crate) inbox: Inbox,
    pub(crate) keyring: Keyring,
    pub(crate) office: Office,
}

/// Passes on what the mesh tells.
pub(crate) async fn listen(mut notices: Notices, to: Listeners) -> anyhow::Result<()> {
    let stopped = || anyhow!("the mesh has stopped by itself: please report this");
    while let Some(notice) = notices.next().await {
        let event = match notice {
            Notice::Lost(events) => {
                warn!(events, "the mesh was faster than we");
                to.refresh.notify_one();
                continue;
            }
            Notice::Event(event) => event,
        };
        #[expect(clippy::wildcard_enum_match_arm, reason = "`hear` has all the others")]
        let said = match event {
            Event::Broadcast { channel, via, octets } => Said::ToAll(channel, via, octets),
            Event::StateWanted { channel, to } => Said::Asked(channel, to),
            Event::Unicast { channel, from, octets } => Said::ToUs(channel, from, octets),
            Event::Save => continue,
            event => {
                hear(&event)?;
                to.refresh.notify_one();
                continue;
            }
        };
        if to.dispatch(said).await.is_err() {
            break;
        }
    }
    Err(stopped())
}

/// Something on a channel.
enum Said {
    ToAll(ChannelName, PeerName, Vec<u8>),
    ToUs(ChannelName, PeerName, Vec<u8>),
    /// A neighbour may lack what we know.
    Asked(ChannelName, PeerName),
}

impl Listeners {
    /// Each channel has its listener; what is said on any other, of a later version, is for nobody.
    async fn dispatch(&self, said: Said) -> Result<(), Ended> {
        use router::ipam::Input as OfAddresses;
        let (stations, probes) = (courier::channel(), courier::probes());
        let addresses = addresses::channel();
        let input = match said {
            Said::ToAll(on, via, message) if on == stations => Input::Stations { via, message },
            Said::Asked(on, to) if on == stations => Input::StateWanted(to),
            Said::ToUs(on, _, octets) if on == probes => {
                match self.keyring.open(&octets, octets.len(), Came::Mesh) {
                    Some(input) => input,
                    None => return Ok(()),
                }
            }
            Said::ToAll(on, via, message) if on == addresses => {
                self.office.hear(OfAddresses::Gossip { via, message });
                return Ok(());
            }
            Said::ToUs(on, from, message) if on == addresses => {
                self.office.hear(OfAddresses::Message { from, message });
                return Ok(());
            }
            Said::Asked(on, to) if on == addresses => {
                self.office.hear(OfAddresses::StateWanted(to));
                return Ok(());
            }
            Said::ToAll(..) | Said::ToUs(..) | Said::Asked(..) => return Ok(()),
        };
        self.inbox.send(input).await
    }
}

/// What an event means to whoever reads the log.
fn hear(event: &Event) -> anyhow::Result<()> {
    match event {
        Event::Up { name, uid } => info!(%name, %uid, "peer is up"),
        Event::Silent { name } => warn!(%name, "peer is silent: its stations are kept"),
        Event::Gone { name, reason } => info!(%name, ?reason, "peer is gone"),
        Event::LinkUp { name, addr, outbound } => info!(%name, %addr, outbound, "connected"),
        Event::LinkDown { name, reason } => info!(%name, %reason, "connection ended"),
        Event::Refused { addr, outbound, reason } => {
            info!(%addr, outbound, %reason, "no connection")
        }
        Event::NameContested { name, uid } => {
            warn!(%name, %uid, "another live peer has our name: it gives way");
        }
        Event::Renamed { from, to, uid } => {
            warn!(%from, %to, %uid, "another live peer has our name and the better claim: we have a new one");
        }
        Event::NameRefused { name, uid } => bail!(
            "the name {name} is taken by another live peer (uid {uid}): give another --name, or stop that one"
        ),
        Event::Changed { .. }
        | Event::Save
        | Event::Broadcast { .. }
        | Event::StateWanted { .. }
        | Event::Unicast { .. } => {}
    }
    Ok(())
}
