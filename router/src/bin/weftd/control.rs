//! The control loop: one task that owns the control core and does what it says.

mod probing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use peer_mesh::PeerName;
use router::journal::{self, Journal};
use router::liveness::{Line, Verdict};
use router::node::Counts;
use router::probe::Said;
use router::{Input, Last, Node, Output, node, probe};
use switch::engine::SleeveSender;
use switch::{Counters, Kind, Mac, MacTable, Port, ProbeSocket, TableEvents, Vni};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::sleep_until;

use crate::beacon::Beacon;
use crate::courier::{Courier, Errand};
use crate::data::{Order, Sight};
use crate::kernel::Tables;
use crate::keyring::Keyring;
use crate::latency::Latency;
use crate::stations::Stations;
use crate::tick::{self, Clock};
use crate::words;

/// Inputs that may wait; who has more waits.
const QUEUE: usize = 4096;
/// Inputs of one step.
const BATCH: usize = 1024;
/// For so long traffic is known: less than it makes a peer active.
const TELL: Duration = Duration::from_secs(4);
/// How often stations learned from frames, and who has traffic, are looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Where inputs go. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    to: mpsc::Sender<(Duration, Input)>,
    clock: Clock,
}

/// The loop has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended;

impl Inbox {
    pub(crate) fn new(clock: Clock) -> (Self, mpsc::Receiver<(Duration, Input)>) {
        let (to, from) = mpsc::channel(QUEUE);
        (Self { to, clock }, from)
    }

    /// Something has happened.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Ended> {
        self.to.send((self.clock.now(), input)).await.map_err(|_| Ended)
    }
}

/// What others ask of the loop.
#[derive(Debug)]
pub(crate) enum Request {
    /// How things are.
    View(oneshot::Sender<View>),
    /// Where stations are.
    Stations(oneshot::Sender<Stations>),
    /// What a next run may begin with.
    Last(oneshot::Sender<Last>),
    /// What was recorded.
    Journal(oneshot::Sender<journal::Copy>),
    /// Whether a station, here or elsewhere, is known to have this address.
    IsStation(IpAddr, oneshot::Sender<bool>),
    /// Which other node has a station of this MAC address, or a bridge that has it or one of these addresses.
    Holder(Mac, Vec<IpAddr>, oneshot::Sender<Option<PeerName>>),
    /// A station on this node has these addresses: all are to know.
    Station(Mac, Vec<IpAddr>, oneshot::Sender<()>),
}

/// How things are, as the control core has it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// When, by the loop's clock.
    pub(crate) now: Duration,
    pub(crate) paths: BTreeMap<PeerName, PathView>,
    pub(crate) counts: Counts,
    pub(crate) stations: usize,
    /// Stations in the frame path's table, and what has happened to it.
    pub(crate) table: (usize, TableEvents),
    pub(crate) latency: api::Control,
    pub(crate) messages_dropped: u64,
    pub(crate) steps: u64,
    pub(crate) probes_bad: u64,
}

/// How a peer is reached, and what its probes say.
#[derive(Clone, Debug)]
pub(crate) struct PathView {
    pub(crate) path: node::Path,
    pub(crate) rtt: Option<Duration>,
    pub(crate) next_probe: Option<Duration>,
    pub(crate) lines: Vec<(Line, Verdict)>,
    /// Stations behind it.
    pub(crate) stations: u64,
}

/// Whom the loop tells what is to be done.
pub(crate) struct Ways {
    /// The mesh.
    pub(crate) courier: Courier,
    /// The tunnel guard.
    pub(crate) sources: watch::Sender<BTreeSet<IpAddr>>,
    /// The data plane.
    pub(crate) data: mpsc::Sender<Order>,
    /// Probes that the kernel carries,
    pub(crate) beacon: Beacon,
    /// and those on UDP 6783.
    pub(crate) sleeve: SleeveSender,
    /// Told that what a next run may begin with has changed.
    pub(crate) last: Arc<Notify>,
    /// Told whether there are stations here whose addresses are not known.
    pub(crate) nameless: watch::Sender<bool>,
}

/// The loop's state.
pub(crate) struct Control {
    pub(crate) node: Node,
    /// What it says of the last run.
    pub(crate) begun: Vec<Output>,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) ways: Ways,
    pub(crate) tables: Tables,
    pub(crate) table: Arc<MacTable>,
    pub(crate) frames: switch::Clock,
    /// Sends probes, and tells the kernel of narrow paths.
    pub(crate) probes: ProbeSocket,
    pub(crate) keyring: Keyring,
    pub(crate) vni: Vni,
    /// What the frame threads count, and what was last seen of it.
    pub(crate) sighted: watch::Receiver<Sight>,
    pub(crate) sent: BTreeMap<PeerName, (u64, Duration)>,
    pub(crate) latency: Latency,
    /// Where stations announced by peers are.
    pub(crate) placed: BTreeSet<Mac>,
    /// Those that only frames have told of, and the table's version when they were looked for.
    pub(crate) learned: (BTreeMap<Mac, Port>, u64),
}

impl Control {
    /// Runs until nobody has anything to tell it.
    pub(crate) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<(Duration, Input)>,
        mut requests: mpsc::Receiver<Request>,
    ) -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        let mut look_at = self.clock.now() + LOOK;
        let begun = std::mem::take(&mut self.begun);
        self.perform_all(begun);
        loop {
            let due = self.node.poll_timeout().min(look_at);
            tokio::select! {
                biased;
                Some(request) = requests.recv() => {
                    let came = self.clock.now();
                    self.answer(request);
                    self.note(came);
                }
                count = inputs.recv_many(&mut batch, BATCH) => {
                    anyhow::ensure!(count > 0, "the control loop is alone: please report this");
                    let came = batch.first().map_or(Duration::ZERO, |(came, _)| *came);
                    self.step(batch.drain(..).map(|(_, input)| input).collect());
                    self.note(came);
                }
                () = sleep_until(self.clock.at(due)) => {
                    self.step(Vec::new());
                    self.note(due);
                }
            }
            if self.clock.now() >= look_at {
                look_at = self.clock.now() + LOOK;
                self.look_for_learned();
                self.look_for_traffic();
                self.look_for_nameless();
            }
        }
    }

    fn note(&mut self, came: Duration) {
        let now = self.clock.now();
        self.latency.note(now.saturating_sub(came), now);
    }

    fn step(&mut self, inputs: Vec<Input>) {
        let mut learned = false;
        for input in &inputs {
            if let Input::Learned(mac) = input {
                self.tables.release(*mac);
                learned = true;
            }
        }
        let now = self.clock.now();
        let outputs = self.journal.step(&mut self.node, now, tick::wall(), inputs);
        self.perform_all(outputs);
        if learned {
            self.look_for_nameless();
        }
    }

    fn perform_all(&mut self, outputs: Vec<Output>) {
        let (mut tables_changed, mut stations_changed) = (false, false);
        for output in outputs {
            stations_changed |= matches!(output, Output::Digest(_));
            tables_changed |= self.perform(output);
        }
        if tables_changed {
            self.tables.wait(self.node.is_waiting());
            self.tables.commit();
        }
        if tables_changed || stations_changed {
            self.ways.last.notify_one();
        }
    }

    /// Does it. Whether the kernel's tables are to change.
    fn perform(&mut self, output: Output) -> bool {
        match output {
            Output::Broadcast { .. }
            | Output::Tell { .. }
            | Output::Digest(_)
            | Output::DataPath(..) => self.ways.courier.send(Errand::Told(output)),
            Output::Labels(mut labels) => {
                labels.insert(probe::KEY.to_owned(), self.keyring.public());
                self.ways.courier.send(Errand::Told(Output::Labels(labels)));
            }
            Output::Probe { to, packet, vxlan, sleeves, header } => {
                let said = Said::Line(packet);
                let Some(frame) = self.keyring.seal(&said, self.node.name(), to) else {
                    return false;
                };
                self.send_probe(packet.line, &frame, vxlan, (&sleeves, header));
                if packet.line == Line::Mesh {
                    self.ways.courier.send(Errand::Probe(to, frame));
                }
            }
            Output::Size { to, probe, addr, header } => {
                let said = Said::Size(probe);
                if let Some(frame) = self.keyring.seal(&said, self.node.name(), to) {
                    self.send_size(&frame, addr, header);
                }
            }
            Output::Teach(to, mtu) => self.teach(to, mtu),
            Output::Install(plan) => {
                let bridge =
                    |(name, path): (PeerName, &node::Path)| (Mac(name.octets()), path.chosen.id);
                self.tables.install(plan, self.node.paths().map(bridge).collect());
                return true;
            }
            Output::Place(mac, id) => {
                self.tables.place(mac, Some((id, Kind::Announced)));
                self.placed.insert(mac);
                self.learned.0.remove(&mac);
                return true;
            }
            Output::Displace(mac, _) => {
                self.tables.place(mac, None);
                self.placed.remove(&mac);
                return true;
            }
            Output::Answer(addr, mac) => {
                self.tables.name(addr, mac);
                return true;
            }
            Output::Moved(addr, mac) => self.order(Order::Announce(mac, addr)),
            Output::Sources(addrs) => {
                self.ways.sources.send_replace(addrs.into_iter().collect());
            }
            Output::Flush(id) => {
                self.table.flush(Port::Peer(id));
            }
            Output::Say(word) => words::say(&word),
        }
        false
    }

    fn order(&self, order: Order) {
        // Pods hear of it when they ask, if not now.
        let _ = self.ways.data.try_send(order);
    }

    /// Stations of peers that nobody has announced: frames have told the table of them, so the bridge is told.
    fn look_for_learned(&mut self) {
        let version = self.table.version();
        if std::mem::replace(&mut self.learned.1, version) == version {
            return;
        }
        let entries = self.table.entries(self.frames.now()).into_iter();
        let remote = entries.filter(|row| !row.is_static && matches!(row.port, Port::Peer(_)));
        let remote = remote.filter(|row| !self.placed.contains(&row.mac));
        let learned: BTreeMap<Mac, Port> = remote.map(|row| (row.mac, row.port)).collect();
        let before = std::mem::replace(&mut self.learned.0, learned);
        let (learned, tables) = (&self.learned.0, &self.tables);
        let gone = before.keys().filter(|mac| !learned.contains_key(mac));
        gone.filter(|mac| !self.placed.contains(mac)).for_each(|mac| tables.place(*mac, None));
        for (mac, port) in learned.iter().filter(|(mac, port)| before.get(mac) != Some(port)) {
            if let Port::Peer(id) = port {
                tables.place(*mac, Some((*id, Kind::Learned)));
            }
        }
        if *learned != before {
            tables.commit();
        }
    }

    /// To whom frames went, from here or from the kernel.
    fn look_for_traffic(&mut self) {
        let (used, now) = (self.tables.take_used(), self.clock.now());
        let mut busy = Vec::new();
        {
            let sight = self.sighted.borrow();
            for (name, path) in self.node.paths() {
                let id = path.chosen.id;
                let of = |it: &Arc<Counters>| it.peer(id).map_or(0, |it| it.sent.frames.load());
                let sent: u64 = sight.counters.iter().map(of).sum();
                let (before, told) =
                    self.sent.get(&name).copied().unwrap_or((sent, Duration::ZERO));
                let news = used.contains(&id) || before != sent;
                let told = if news && now >= told + TELL { now } else { told };
                if told == now {
                    busy.push(Input::Traffic(name));
                }
                self.sent.insert(name, (sent, told));
            }
        }
        self.sent.retain(|name, _| self.node.paths().any(|(it, _)| it == *name));
        if !busy.is_empty() {
            self.step(busy);
        }
    }

    /// What they say may be heard where it would not be otherwise.
    fn look_for_nameless(&self) {
        let is = self.node.has_nameless(self.clock.now());
        self.ways.nameless.send_if_modified(|was| std::mem::replace(was, is) != is);
    }

    fn answer(&mut self, request: Request) {
        // Who asked may have gone.
        match request {
            Request::View(to) => drop(to.send(self.view())),
            Request::Stations(to) => {
                let Self { node, learned: (learned, _), table, clock, .. } = self;
                drop(to.send(Stations::of(node, learned, table, clock.now())));
            }
            Request::Last(to) => drop(to.send(self.node.last())),
            Request::Journal(to) => drop(to.send(self.journal.copy())),
            Request::IsStation(addr, to) => drop(to.send(self.node.is_station(addr))),
            Request::Holder(mac, addrs, to) => drop(to.send(self.node.holder(mac, &addrs))),
            Request::Station(mac, addrs, to) => {
                let addresses = addrs.into_iter().map(|addr| Input::Address(mac, addr));
                self.step([Input::Learned(mac)].into_iter().chain(addresses).collect());
                let _ = to.send(());
            }
        }
    }

    fn view(&self) -> View {
        let (liveness, behind) = (self.node.liveness(), self.node.behind());
        let view = |(name, path): (PeerName, &node::Path)| {
            let line = liveness.choice(name).line.and_then(|line| liveness.view(name, line));
            let next_probe = liveness.lines(name).map(|(_, line)| line.next).min();
            let lines = liveness.lines(name).map(|(line, is)| (line, is.verdict)).collect();
            let rtt = line.and_then(|it| it.rtt);
            let stations = behind.get(&path.chosen.id).copied().unwrap_or_default();
            (name, PathView { path: path.clone(), rtt, next_probe, lines, stations })
        };
        View {
            now: self.clock.now(),
            paths: self.node.paths().map(view).collect(),
            counts: self.node.counts(),
            stations: self.node.stations().len(),
            table: (self.table.len(), self.table.events()),
            latency: self.latency.report(),
            messages_dropped: self.ways.courier.dropped(),
            steps: self.journal.steps(),
            probes_bad: self.keyring.bad(),
        }
    }
}
