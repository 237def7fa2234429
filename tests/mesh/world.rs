use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::time::Duration;

use peer_mesh::{Config, Event, Mesh, PeerName};

use super::conn::{Conn, Key, NOBODY};
use super::host::{Host, HostId, Power};
use super::journal::Journal;
use super::net::{Net, Place};
use super::process::Process;
use super::traffic::Sent;
use super::weather::Weather;
use crate::rng::Rng;

/// Hosts, their connections, and what happens next.
pub struct World {
    pub(super) hosts: Vec<Host>,
    pub(super) conns: BTreeMap<Key, Conn>,
    pub(super) opened: Key,
    pub(super) net: Net,
    pub(super) rng: Rng,
    pub(super) journal: Journal,
    pub(super) now: Duration,
    /// What is sent to this host is not counted.
    pub(super) aside: Option<HostId>,
    /// Links everybody must have at a quiet point, where so many are possible.
    pub floor: usize,
    queue: BinaryHeap<Reverse<Due>>,
    queued: u64,
    handled: u64,
}

/// By time, and at one time in the order they were queued.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Due {
    at: Duration,
    seq: u64,
    what: Happening,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Happening {
    Timer { host: HostId, life: u32 },
    Syn { key: Key, attempt: u32 },
    DialTimeout { key: Key },
    Refused { key: Key },
    Established { key: Key },
    Accepted { key: Key },
    Arrival { key: Key, from: usize },
    Reset { key: Key, end: usize },
    Linger { key: Key, end: usize },
}

impl World {
    /// A world without hosts.
    pub fn new(seed: u64, weather: Weather) -> Self {
        Self {
            hosts: Vec::new(),
            conns: BTreeMap::new(),
            opened: 0,
            net: Net::new(weather),
            rng: Rng::new(seed),
            journal: Journal::default(),
            now: Duration::ZERO,
            aside: None,
            floor: 16,
            queue: BinaryHeap::new(),
            queued: 0,
            handled: 0,
        }
    }

    /// A host with an address of its own that everybody reaches, and nothing running.
    pub fn add(&mut self) -> HostId {
        let [_, a, b, c] = (u32::try_from(self.hosts.len()).unwrap() + 1).to_be_bytes();
        let addr = Ipv4Addr::new(10, a, b, c);
        self.plug(Place { site: 0, addr, seen_as: addr })
    }

    /// A host in a private network: it can dial out of it, and only its neighbours can dial it.
    /// The first of each network have the same address.
    pub fn add_behind_nat(&mut self, network: u8) -> HostId {
        let site = u32::from(network) + 1;
        let inside = self.hosts.iter().filter(|host| host.place.site == site).count();
        let addr = Ipv4Addr::new(192, 168, 0, u8::try_from(inside).unwrap() + 10);
        self.plug(Place { site, addr, seen_as: Ipv4Addr::new(203, 0, 113, network) })
    }

    /// As many hosts as asked for; each knows the addresses that `knows` gives for its number.
    pub fn add_many(&mut self, hosts: usize, knows: impl Fn(usize) -> Vec<usize>) -> Vec<HostId> {
        let ids: Vec<_> = (0..hosts).map(|_| self.add()).collect();
        for (number, id) in ids.iter().enumerate() {
            for known in knows(number).into_iter().filter(|known| *known != number) {
                self.target(*id, ids[known]);
            }
        }
        ids
    }

    /// Lets a host know the address of another when it starts.
    pub fn target(&mut self, host: HostId, known: HostId) {
        let addr = (self.host(known).place.addr, Config::PORT).into();
        self.config(host).targets.push(addr);
    }

    /// How a host's process is started the next time.
    pub fn config(&mut self, host: HostId) -> &mut Config {
        &mut self.host_mut(host).config
    }

    /// Starts a core on a host that runs none, with what its disk holds.
    pub fn start(&mut self, host: HostId) {
        let seed: [u8; 32] = self.rng.octets(32).try_into().unwrap();
        let (at, now) = (self.clock(host), self.now);
        let state = self.host_mut(host);
        assert_eq!(state.power, Power::Idle, "{host:?} runs already, or has no power");
        state.config.started = state.wall + now.as_secs();
        let mesh = Mesh::new(state.config.clone(), state.disk.clone(), seed, at);
        state.disk = mesh.saved();
        self.journal.note(now, format_args!("#{} starts as {}", host.0, mesh.name()));
        self.start_process(host, Box::new(mesh));
    }

    /// Starts any process on a host that runs none.
    pub fn start_process(&mut self, host: HostId, process: Box<dyn Process>) {
        let state = self.host_mut(host);
        state.forget_process();
        (state.process, state.power) = (Some(process), Power::Runs);
        self.pump(host);
    }

    /// Starts cores on all of these.
    pub fn start_all(&mut self, hosts: &[HostId]) {
        hosts.iter().for_each(|host| self.start(*host));
    }

    /// Asks a host's core for something, if it runs one.
    pub fn request<T>(
        &mut self,
        host: HostId,
        ask: impl FnOnce(&mut Mesh, Duration) -> T,
    ) -> Option<T> {
        let now = self.clock(host);
        let mesh = self.host_mut(host).process.as_mut().and_then(|process| process.mesh_mut())?;
        let answer = ask(mesh, now);
        self.pump(host);
        Some(answer)
    }

    /// Performs what a process wants that was told of something by a scenario.
    pub fn wake(&mut self, host: HostId) {
        self.pump(host);
    }

    /// Handles what happens next, if it happens by `limit`.
    pub fn step(&mut self, limit: Duration) -> bool {
        let Some(Reverse(due)) = self.queue.pop_if_due(limit) else { return false };
        self.now = self.now.max(due.at);
        self.handled += 1;
        match due.what {
            Happening::Timer { host, life } => self.timer(host, life),
            Happening::Syn { key, attempt } => self.syn(key, attempt),
            Happening::DialTimeout { key } => self.dial_failed(key, "timed out"),
            Happening::Refused { key } => self.dial_failed(key, "connection refused"),
            Happening::Established { key } => self.established(key),
            Happening::Accepted { key } => self.accepted(key),
            Happening::Arrival { key, from } => self.arrival(key, from),
            Happening::Reset { key, end } => self.reset(key, end),
            Happening::Linger { key, end } => self.lingered(key, end),
        }
        true
    }

    /// Lets time pass.
    pub fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.step(until) {}
        self.now = until;
    }

    /// Lets time pass until `done`, which is asked every `step`. How long it took, or `None` when
    /// it was not done within `limit`.
    pub fn until(
        &mut self,
        limit: Duration,
        step: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let began = self.now;
        while !done(self) {
            if self.now - began >= limit {
                return None;
            }
            self.pass(step);
        }
        Some(self.now - began)
    }

    /// The time since the world began.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// What happened so far, by number: timers, arrivals, and the like.
    pub fn happenings(&self) -> u64 {
        self.handled
    }

    /// What happened, for people.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Its randomness, for what a scenario chooses.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Every host.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<> {
        (0..u32::try_from(self.hosts.len()).unwrap()).map(HostId)
    }

    /// The core on a host.
    pub fn mesh(&self, host: HostId) -> Option<&Mesh> {
        self.host(host).process.as_ref().and_then(|process| process.mesh())
    }

    /// What a host is doing.
    pub fn power(&self, host: HostId) -> Power {
        self.host(host).power
    }

    /// The name of a host's core, or of the one it would start.
    pub fn name(&self, host: HostId) -> PeerName {
        self.mesh(host).map_or_else(|| self.host(host).config.name, Mesh::name)
    }

    /// What a host has sent so far.
    pub fn sent(&self, host: HostId) -> Sent {
        self.host(host).sent
    }

    /// From now on, what is sent to this host is not counted as sent.
    pub fn set_aside(&mut self, host: Option<HostId>) {
        self.aside = host;
    }

    /// Rare events of a host's cores, with the world's time.
    pub fn heard(&self, host: HostId) -> impl Iterator<Item = &(Duration, Event)> {
        self.host(host).heard.iter()
    }

    /// What a host's clock shows.
    pub(super) fn clock(&self, host: HostId) -> Duration {
        self.now + self.host(host).offset
    }

    pub(super) fn host(&self, host: HostId) -> &Host {
        &self.hosts[host.0 as usize]
    }

    pub(super) fn host_mut(&mut self, host: HostId) -> &mut Host {
        &mut self.hosts[host.0 as usize]
    }

    pub(super) fn queue(&mut self, at: Duration, what: Happening) {
        self.queued += 1;
        self.queue.push(Reverse(Due { at, seq: self.queued, what }));
    }

    fn plug(&mut self, place: Place) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).unwrap());
        assert!(id < NOBODY);
        let mut config = Config::new(PeerName::local(self.rng.bits()));
        config.nickname = format!("host-{}", id.0);
        self.hosts.push(Host::new(place, config));
        self.net.plug(id, place);
        id
    }
}

/// Takes the first that is due.
trait PopDue {
    fn pop_if_due(&mut self, limit: Duration) -> Option<Reverse<Due>>;
}

impl PopDue for BinaryHeap<Reverse<Due>> {
    fn pop_if_due(&mut self, limit: Duration) -> Option<Reverse<Due>> {
        let Reverse(first) = self.peek()?;
        if first.at <= limit { self.pop() } else { None }
    }
}
