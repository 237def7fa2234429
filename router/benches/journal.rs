//! What the flight recorder costs the control loop.
//!
//! Five nodes are simulated for ten minutes: they probe each other as they do in life, paths break and heal, peers
//! restart, stations come, speak, move and go. What went into the first of them is then run again and again through a loop
//! like the daemon's: inputs through its channel, the step, and what it sends through a real socket on loopback. With a
//! journal and without one in turn; the figure is the thread's processor time, medians. In the whole loop each step is waited
//! for, as in life, where steps are milliseconds apart: another thread brings it.
//!
//! ```text
//! cargo bench -p router --bench journal
//! ```
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a table for people; nobody else's inputs"
)]
#![expect(clippy::disallowed_methods, clippy::indexing_slicing, reason = "it measures; five nodes")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peer_mesh::PeerName;
use router::journal::{DEFAULT_LIMIT, Journal};
use router::liveness::Line;
use router::node::{Config, Peer};
use router::plan::{self, Standing};
use router::probe::{self, Key, Said, Secret};
use router::{Input, Node, Output, choose_label};
use rustix::thread::ClockId;
use rustix::time::clock_gettime;
use switch::{Mac, Mtu, Plan, PlanCell, Vni};
use tokio::sync::mpsc;

const NODES: usize = 5;
const TIME: Duration = Duration::from_secs(600);
/// Something happens to the cluster this often.
const CHAOS: Duration = Duration::from_secs(1);
const ROUNDS: usize = 15;
/// Steps come so far apart: the loop has done one when the next one comes.
const APART: Duration = Duration::from_micros(50);
const LATEST: Duration = Duration::from_secs(20);

type Steps = Vec<(Duration, Vec<Input>)>;

fn main() {
    if !std::env::args().any(|it| it == "--bench") {
        println!("nothing measured: run `cargo bench`, or give --bench");
        return;
    }
    let steps = World::new().run();
    let inputs: usize = steps.iter().map(|(_, inputs)| inputs.len()).sum();
    println!(
        "{} steps with {inputs} inputs: {} s of a node of {NODES}",
        steps.len(),
        TIME.as_secs()
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (what, whole) in [("the whole loop", true), ("steps alone", false)] {
        let (mut with, mut without, mut octets) = (Vec::new(), Vec::new(), 0);
        for round in 0..=ROUNDS {
            let (took, size) = runtime.block_on(pass(&steps, DEFAULT_LIMIT, whole));
            let (bare, _) = runtime.block_on(pass(&steps, 0, whole));
            // The first round warms up.
            if round > 0 {
                with.push(took);
                without.push(bare);
                octets = size;
            }
        }
        let each = |all: &mut Vec<Duration>| median(all).as_secs_f64() * 1e9 / steps.len() as f64;
        let (with, without) = (each(&mut with), each(&mut without));
        println!(
            "{what}: {without:.0} ns a step, {with:.0} ns recorded: {:.2} % more; {} octets a step",
            (with / without - 1.0) * 100.0,
            octets / steps.len()
        );
    }
}

/// All steps through a loop like the daemon's. The processor time, and how long the journal is.
async fn pass(steps: &Steps, limit: usize, whole: bool) -> (Duration, usize) {
    let (mut node, mut journal) = (node(0), Journal::new(limit));
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = sink.local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let key = key();
    socket.set_nonblocking(true).unwrap();
    let cell = PlanCell::new(Plan::builder(Vni::DEFAULT).build());
    let mut ready = steps.clone().into_iter();
    let mut queued = whole.then(|| bring(steps.clone()));
    let (began, start) = (Instant::now(), cpu());
    loop {
        let next = match &mut queued {
            Some(queued) => tokio::select! {
                biased;
                next = queued.recv() => next,
                () = tokio::time::sleep(LATEST) => panic!("nobody brings anything"),
            },
            None => ready.next(),
        };
        let Some((now, inputs)) = next else { break };
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        for output in journal.step(&mut node, now, wall, inputs) {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the others go to other tasks")]
            match output {
                Output::Probe { packet, .. } if whole => {
                    let frame = probe::emit(&Said::Line(packet), name(0), name(1), &key);
                    drop(socket.send_to(&frame, to));
                }
                Output::Install(plan) => cell.install(plan),
                other => drop(std::hint::black_box(other)),
            }
        }
        std::hint::black_box(began.elapsed());
    }
    (cpu() - start, journal.emit().len())
}

/// A thread that brings the steps, one by one.
fn bring(steps: Steps) -> mpsc::Receiver<(Duration, Vec<Input>)> {
    let (queue, queued) = mpsc::channel(4096);
    std::thread::spawn(move || {
        for step in steps {
            std::thread::sleep(APART);
            queue.blocking_send(step).unwrap();
        }
    });
    queued
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

fn median(all: &mut [Duration]) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

/// Nodes that all reach each other, unless they are cut, and a virtual clock of one millisecond.
struct World {
    now: Duration,
    nodes: Vec<Node>,
    queued: Vec<(usize, Input)>,
    cut: Option<(usize, usize)>,
    /// What went into the first node.
    steps: Steps,
}

impl World {
    fn new() -> Self {
        let nodes = (0..NODES).map(node).collect();
        let mut world =
            Self { now: Duration::ZERO, nodes, queued: Vec::new(), cut: None, steps: Vec::new() };
        for n in 0..NODES {
            world.queued.push((n, Input::Local(vec![Mac::local(n as u64)])));
            (0..NODES).filter(|far| *far != n).for_each(|far| world.meet(n, far, 1, false));
        }
        world
    }

    fn run(mut self) -> Steps {
        let (mut chaos_at, mut round) = (CHAOS, 0);
        while self.now < TIME {
            self.now += Duration::from_millis(1);
            if self.now >= chaos_at {
                self.chaos(round);
                (chaos_at, round) = (self.now + CHAOS, round + 1);
            }
            let mut inputs: Vec<Vec<Input>> = vec![Vec::new(); NODES];
            self.queued.drain(..).for_each(|(n, input)| inputs[n].push(input));
            for (n, inputs) in inputs.into_iter().enumerate() {
                if inputs.is_empty() && self.nodes[n].poll_timeout() > self.now {
                    continue;
                }
                if n == 0 {
                    self.steps.push((self.now, inputs.clone()));
                }
                let outputs = self.nodes[n].step(self.now, inputs);
                outputs.into_iter().for_each(|output| self.perform(n, output));
            }
        }
        self.steps
    }

    /// In turn: a pod comes and speaks, one goes, one moves, a path breaks and heals, a peer starts again.
    fn chaos(&mut self, round: usize) {
        let (n, far) = (round % NODES, (round + 1) % NODES);
        let (pod, addr) = (Mac::local(100 + (round / 6 % 50) as u64), IpAddr::from([10, 32, 0, 9]));
        match round % 6 {
            0 => self.queued.extend([(n, Input::Learned(pod)), (n, Input::Heard(pod, addr))]),
            1 => self.queued.push((far, Input::Sighting(pod))),
            2 => self.cut = Some((0, 1 + round % (NODES - 1))),
            3 => (0..NODES).filter(|it| *it != far).for_each(|it| self.meet(it, far, round, true)),
            4 => (0..NODES).for_each(|it| self.queued.push((it, Input::Unlearned(pod)))),
            _ => self.cut = None,
        }
    }

    fn meet(&mut self, n: usize, far: usize, uid: usize, relayed: bool) {
        let hop = (0..NODES).find(|it| *it != n && *it != far).filter(|_| relayed);
        let peer = Peer {
            uid: uid as u64,
            standing: Standing::Up,
            addresses: vec![SocketAddr::from(([10, 99, 0, u8::try_from(far).unwrap()], 6783))],
            label: Some(choose_label(name(far), None, [])),
            least: None,
            route: Some(hop.into_iter().map(name).collect()),
            neighbour: true,
            ring: None,
        };
        self.queued.push((n, Input::Peer(name(far), peer)));
    }

    fn perform(&mut self, n: usize, output: Output) {
        let via = name(n);
        let others = (0..NODES).filter(|far| *far != n);
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others go nowhere")]
        match output {
            Output::Broadcast { message, except } => {
                for far in others.filter(|far| Some(name(*far)) != except) {
                    self.queued.push((far, Input::Stations { via, message: message.clone() }));
                }
            }
            Output::Probe { to, packet, .. } => {
                let far = (0..NODES).find(|far| name(*far) == to).unwrap();
                if self.cut != Some((n.min(far), n.max(far))) || packet.line == Line::Mesh {
                    self.queued.push((far, Input::Probe(via, packet)));
                }
            }
            _ => {}
        }
    }
}

fn node(n: usize) -> Node {
    let mtu = Mtu::new(1450).unwrap();
    let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu, fast: false };
    Node::new(name(n), Config { plan, discovery: true })
}

fn key() -> Key {
    let (ours, theirs) = (Secret::new([1; 32]), Secret::new([2; 32]));
    ours.shared(&theirs.public()).unwrap()
}

fn name(n: usize) -> PeerName {
    PeerName::local(n as u64)
}
