//! Putting a node together: what listens, what runs, and who tells whom.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use peer_mesh::shell::{self, Handle, Identity, Notices};
use peer_mesh::{PeerName, Psk};
use router::guard::{Guard, Receive};
use router::journal::Journal;
use router::probe::Secret;
use router::serve::{Limits, Listen, Server};
use router::{Cidr, Input, Node, Output, node, plan};
use switch::options::MtuChoice;
use switch::{Installed, Mac, MacTable, Mtu, Plan, PlanCell, ProbeSocket};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::addresses::{self, Inquirer, Office, Post, Registry};
use crate::apart::apart;
use crate::args::{Config, FastPath};
use crate::beacon::{Beacon, Links, Watcher};
use crate::control::{Control, Inbox, Ways};
use crate::courier::{self, Courier, Labeller};
use crate::data::{self, Listeners, Sight};
use crate::desk::Desk;
use crate::given::Given;
use crate::kernel::{Keeper, Tables};
use crate::keyring::Keyring;
use crate::last::{self, Writer};
use crate::latency::Latency;
use crate::look::{Facts, timestamp};
use crate::plane::{Plane, Receiving, run_engine};
use crate::pods::{self, Gate};
use crate::tick::{self, Clock};
use crate::topology::{self, Ruler};
use crate::{ear, exposure, run, sentry};

/// Peers that are counted one by one: more are served as well.
pub(crate) const SLOTS: usize = 4096;

/// How long a process that was killed may take to end, and how often that is looked at.
pub(crate) const PREDECESSOR: Duration = Duration::from_secs(2);
pub(crate) const AGAIN: Duration = Duration::from_millis(50);

/// The abstract unix socket that the only `weftd` of a network namespace has.
const SOLE: &str = "weft/weftd";

/// What is known before anything runs.
pub(crate) struct Starting {
    pub(crate) config: Config,
    pub(crate) psk: Psk,
    pub(crate) identity: Identity,
    pub(crate) given: Given,
}

/// A running node. Dropping it stops it.
pub(crate) struct Running {
    pub(crate) server: Server,
    /// Each of them runs until it fails.
    pub(crate) tasks: JoinSet<anyhow::Result<()>>,
    pub(crate) last: Writer,
    _sole: UnixListener,
}

/// The control core, its recorder, and what it has said so far.
type Core = (Node, Journal, Vec<Output>);

/// What several parts of the node go by.
#[derive(Clone)]
pub(crate) struct Shared {
    clock: Clock,
    pub(crate) frames: switch::Clock,
    pub(crate) table: Arc<MacTable>,
    pub(crate) cell: Arc<PlanCell>,
    pub(crate) tables: Tables,
    /// What pods may send before there is a path that could be measured.
    pub(crate) mtu: Mtu,
    /// The bridge's address.
    pub(crate) own: Mac,
}

impl Starting {
    /// Starts everything. On an error nothing runs; bridge, TAP and guard stay as far as they were made.
    pub(crate) async fn start(self) -> anyhow::Result<Running> {
        let Self { config, psk, identity, given } = self;
        let sole = be_sole_soon().await?;
        let (name, shared) = (identity.name, Shared::new(&config, &identity));
        let (mut core, peers) = shared.begin(&config, name);
        let plane = Plane::start(&config, &shared, &peers).await?;
        let Plane { guard, engine, bell, watch, trial } = plane;
        if trial.is_none() {
            core = shared.tell(core, Input::Fast(false));
        }
        let password = psk != Psk::open();
        let (office, registry, leases) = addresses::open(&config, name).await?.office();
        // Before anything is heard of others' stations.
        let home = registry.as_ref().and_then(|(ready, _)| ready.home());
        core = shared.tell(core, Input::Ring(home.map(|it| it.0)));
        let (mesh, notices) =
            start_mesh(&config, (identity, office.labels(home)), (psk, leases), &given).await?;
        let keyring = Keyring::new(Secret::new(random()?));

        let mut tasks = JoinSet::new();
        shared.keep(&mut tasks);
        let (receive, receives) = watch::channel(Receive::Kernel);
        let (inbox, inputs) = Inbox::new(shared.clock);
        let found = (inbox.clone(), keyring.clone(), office.clone());
        let (refresh, mtu) = shared.follow(&mut tasks, &config, (mesh.clone(), notices), found);
        let ((orders, ordered), (requests, requested)) = (mpsc::channel(256), mpsc::channel(16));
        let (sight, sighted) = watch::channel(data::sight(&engine).await);
        let installed = engine.installed();
        let (links, links_at) = watch::channel(located(installed));
        let exposed = exposure::start(&mut tasks, &config, &links_at)?;
        let (port, placed) = (engine.intake_port(), (links_at.clone(), exposed.subscribe()));
        let (guarded, hand) = Guarded::spawn(&mut tasks, (guard, peers), port, placed);
        let Guarded { sources, asks, port, receive: to_guard, gate } = guarded;
        let (own, own_at) = watch::channel(installed.mac.unwrap_or(shared.own));
        let (nameless, nameless_at) = watch::channel(false);
        let asked = (links_at.clone(), own_at.clone());
        tasks.spawn(ear::listen(inbox.clone(), links_at.clone(), nameless_at));
        let (beacon, keys, clock) = (Beacon::default(), keyring.clone(), shared.clock);
        if let Some(trial) = trial {
            let (beacon, inbox, keys) = (beacon.clone(), inbox.clone(), keys.clone());
            let watcher = Watcher { beacon, links: links_at, inbox, keys, clock, trial, receive };
            tasks.spawn(watcher.run(own_at));
        }
        let sleeve = engine.sleeve_sender();
        let told = Listeners { links, own, port, sight };
        let receiving = Receiving { wanted: receives, guard: to_guard, switched: hand };
        let ends = (inbox.clone(), keys, shared.tables.clone());
        run_engine(&mut tasks, (engine, bell, watch), ends, (told, receiving), (mtu, ordered));
        let inquirer = Inquirer::new(requests.clone(), asked, &config.tap);
        let courier = Courier::start(mesh.clone(), office.labels(home), refresh);
        let tells = (inbox, courier.labeller());
        manage_addresses(&mut tasks, registry, &mesh, (inquirer, clock), tells)?;
        let (last, changed) = Writer::start(&mut tasks, &config.state_dir, requests.clone());
        let ways = Ways { courier, sources, data: orders, beacon, sleeve, last: changed, nameless };
        let control = shared.control(&config, core, ways, (keyring, sighted.clone()))?;
        tasks.spawn(control.run(inputs, requested));

        tasks.spawn(exposed.claim(office.clone()));
        let (asks, facts) = ((mesh, requests, asks, office), facts(&config, password));
        let pods = pods::start(&mut tasks, &config, (&asks.3, &asks.1, gate)).await?;
        let desk = Desk::new(asks, sighted, (given, exposed, pods), facts, shared.clock);
        Ok(Running { server: serve(config, desk).await?, tasks, last, _sole: sole })
    }
}

/// Starts the task of addresses, where some are managed.
fn manage_addresses(
    tasks: &mut JoinSet<anyhow::Result<()>>,
    registry: Option<(addresses::Ready, addresses::Ends)>,
    mesh: &Handle,
    (inquirer, clock): (Inquirer, Clock),
    (inbox, labeller): (Inbox, Labeller),
) -> anyhow::Result<()> {
    let Some((ready, ends)) = registry else { return Ok(()) };
    let (seed, post) =
        (u64::from_be_bytes(random()?), Post::start(mesh.clone(), ends.dropped.clone()));
    let range = ready.range();
    let registry = Registry::new(ready, (seed, clock), post, inquirer)?;
    tasks.spawn(addresses::tell_standing(registry.standing(), range, inbox, labeller));
    tasks.spawn(registry.run(ends));
    Ok(())
}

fn located(installed: &Installed) -> Links {
    Links { bridge: installed.bridge, fast: installed.fast.index() }
}

/// What the guard's task is told.
struct Guarded {
    sources: watch::Sender<BTreeSet<IpAddr>>,
    asks: mpsc::Sender<sentry::Ask>,
    port: watch::Sender<Option<u16>>,
    receive: watch::Sender<Receive>,
    gate: Gate,
}

impl Guarded {
    /// Starts it. It tells who receives VXLAN.
    fn spawn(
        tasks: &mut JoinSet<anyhow::Result<()>>,
        (guard, peers): (Guard, BTreeSet<IpAddr>),
        intake: Option<u16>,
        (links, exposed): (watch::Receiver<Links>, watch::Receiver<BTreeSet<Cidr>>),
    ) -> (Self, watch::Receiver<Receive>) {
        let (sources, peers) = watch::channel(peers);
        let (asks, asked) = mpsc::channel(4);
        let (port, port_at) = watch::channel(intake);
        let (receive, receives) = watch::channel(Receive::Kernel);
        let (switched, does) = watch::channel(Receive::Kernel);
        let ((wanted, pods), (raises, raised)) = (watch::channel(None), watch::channel(false));
        let told = sentry::Told { receive: receives, port: port_at, links, exposed, pods };
        let tells = sentry::Tells { receive: switched, raised: raises };
        tasks.spawn(sentry::keep(guard, peers, asked, told, tells));
        (Self { sources, asks, port, receive, gate: Gate { wanted, raised } }, does)
    }
}

impl Shared {
    fn new(config: &Config, identity: &Identity) -> Self {
        Self {
            clock: Clock::start(),
            frames: switch::Clock::start(),
            table: Arc::new(MacTable::new(switch::Limits::default())),
            cell: Arc::new(PlanCell::new(Plan::builder(config.vni).build())),
            tables: Tables::default(),
            mtu: default_mtu(config),
            own: Mac(identity.name.octets()),
        }
    }

    /// Keeps the kernel's tables.
    fn keep(&self, tasks: &mut JoinSet<anyhow::Result<()>>) {
        let Self { tables, cell, table, frames, .. } = self.clone();
        tasks.spawn(apart("tables", Keeper::new(tables, cell, table, frames).run()));
    }

    /// What the mesh tells becomes inputs. What tells to look again, and what the bridge's MTU is to be.
    fn follow(
        &self,
        tasks: &mut JoinSet<anyhow::Result<()>>,
        config: &Config,
        (mesh, notices): (Handle, Notices),
        (inbox, keyring, office): (Inbox, Keyring, Office),
    ) -> (Arc<Notify>, watch::Receiver<Mtu>) {
        let refresh = Arc::new(Notify::new());
        let (to, keys) = (Arc::clone(&refresh), keyring.clone());
        let seen = office.clone();
        let to = run::Listeners { refresh: to, inbox: inbox.clone(), keyring: keys, office };
        tasks.spawn(run::listen(notices, to));
        let (mtu_to, mtu) = watch::channel(self.mtu);
        let ruler = Ruler { local: config.local, mtu: config.mtu };
        let found = (mtu_to, keyring, seen);
        tasks.spawn(topology::follow(mesh, Arc::clone(&refresh), ruler, inbox, found));
        refresh.notify_one();
        (refresh, mtu)
    }

    /// The control core, which begins where the last run has ended: so do the frame threads. Whom that run let in.
    fn begin(&self, config: &Config, name: PeerName) -> (Core, BTreeSet<IpAddr>) {
        let (node, journal) =
            (Node::new(name, self.core(config)), Journal::new(config.journal_size));
        let mut core = (node, journal, Vec::new());
        let overlay = (config.vni, config.local.is_ipv6());
        if let Some(last) = last::read(&config.state_dir, name, overlay) {
            core = self.tell(core, Input::Restored(Box::new(last), config.hold));
        }
        let peers = last::prepare(&core.2, &self.cell, &self.table, self.frames);
        (core, peers)
    }

    /// Before the control loop runs.
    fn tell(&self, (mut node, mut journal, mut begun): Core, input: Input) -> Core {
        begun.extend(journal.step(&mut node, self.clock.now(), tick::wall(), vec![input]));
        (node, journal, begun)
    }

    fn core(&self, config: &Config) -> node::Config {
        let (ipv6, mtu) = (config.local.is_ipv6(), self.mtu);
        let plan =
            plan::Config { vni: config.vni, ipv6, mtu, fast: config.fastpath != FastPath::Off };
        node::Config { plan, discovery: config.discovery }
    }

    fn control(
        &self,
        config: &Config,
        (node, journal, begun): Core,
        ways: Ways,
        (keyring, sighted): (Keyring, watch::Receiver<Sight>),
    ) -> anyhow::Result<Control> {
        let Self { clock, frames, table, tables, .. } = self.clone();
        let probes = ProbeSocket::open(config.local).context("cannot open a socket for probes")?;
        Ok(Control {
            node,
            begun,
            journal,
            clock,
            ways,
            tables,
            table,
            frames,
            probes,
            keyring,
            vni: config.vni,
            sighted,
            sent: BTreeMap::new(),
            latency: Latency::new()?,
            placed: BTreeSet::new(),
            learned: (BTreeMap::new(), 0),
        })
    }
}

/// The same once a process that was killed a moment ago has ended.
async fn be_sole_soon() -> anyhow::Result<UnixListener> {
    let patience = Instant::now() + PREDECESSOR;
    loop {
        match be_sole() {
            Err(_) if Instant::now() < patience => sleep(AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// The tunnel guard is one for the network namespace: two daemons would undo each other's rules.
pub(crate) fn be_sole() -> anyhow::Result<UnixListener> {
    let taken = UnixListener::bind_addr(&UnixAddr::from_abstract_name(SOLE)?);
    taken.map_err(|error| {
        if error.kind() == ErrorKind::AddrInUse {
            anyhow!("another weftd runs in this network namespace (ss -xlp): stop it, or run this one in another (ip netns add)")
        } else {
            anyhow!(error).context("cannot see whether another weftd runs here")
        }
    })
}

/// What pods may send before there is a path that could be measured: what Ethernet leaves.
fn default_mtu(config: &Config) -> Mtu {
    const ETHERNET: u32 = 1500;
    match config.mtu {
        MtuChoice::Auto => Mtu::over(ETHERNET, config.local).unwrap_or(Mtu::MIN),
        MtuChoice::Fixed(mtu) => mtu,
    }
}

async fn start_mesh(
    config: &Config,
    (identity, labels): (Identity, BTreeMap<String, String>),
    (psk, leases): (Psk, bool),
    given: &Given,
) -> anyhow::Result<(Handle, Notices)> {
    let any = config.local.is_unspecified();
    let mesh = peer_mesh::Config {
        nickname: config.nickname.clone(),
        addresses: if any { Vec::new() } else { vec![(config.local, config.port).into()] },
        psk,
        discovery: config.discovery,
        degree: config.degree,
        hold: config.hold,
        leases,
        labels,
        ..identity.config()
    };
    // Both families on one socket, where the kernel has both.
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, config.port));
    let one = SocketAddr::from((config.local, config.port));
    let ipv6 = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    let listen = if any && ipv6 { both } else { one };
    let (mesh, notices) = shell::start(identity, mesh, &[listen], given.peers())?;
    mesh.join(courier::channel()).await?;
    mesh.join(courier::probes()).await?;
    mesh.join(addresses::channel()).await?;
    Ok((mesh, notices))
}

async fn serve(config: Config, desk: Desk) -> anyhow::Result<Server> {
    let tcp = config.http_addr.into_iter().collect();
    let listen = Listen { socket: config.socket, tcp, limits: Limits::default() };
    Ok(Server::start(listen, Arc::new(desk)).await?)
}

fn facts(config: &Config, password: bool) -> Facts {
    Facts {
        started: timestamp(tick::wall()),
        nickname: config.nickname.clone(),
        password,
        discovery: config.discovery,
        release: rustix::system::uname().release().to_string_lossy().into_owned(),
        quirks: config.quirks.clone(),
        slots: SLOTS,
    }
}

/// Octets that nobody can guess.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    use rustix::rand::{GetRandomFlags, getrandom};
    let mut octets = [0; N];
    let count = getrandom(&mut octets, GetRandomFlags::empty()).context("no random numbers")?;
    anyhow::ensure!(count == octets.len(), "getrandom gave too little: try again");
    Ok(octets)
}
