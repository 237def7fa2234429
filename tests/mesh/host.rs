use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use peer_mesh::{Config, ConnId, Event, PeerName, PeerState, Saved};

use super::conn::Key;
use super::net::Place;
use super::process::Process;
use super::traffic::Sent;

/// A host, by its number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct HostId(pub u32);

/// What a host is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Power {
    /// Its process runs.
    Runs,
    /// Its process stands still; its kernel does not.
    Stopped,
    /// It has no process. Its kernel refuses connections.
    Idle,
    /// It has no power.
    Off,
}

/// When the simulated epoch is, for `Config::started`.
const EPOCH: u64 = 1_700_000_000;
/// Notable events kept for each host.
const HEARD: usize = 256;

/// A machine.
pub(super) struct Host {
    pub(super) power: Power,
    pub(super) place: Place,
    pub(super) process: Option<Box<dyn Process>>,
    /// How its process is started.
    pub(super) config: Config,
    /// What its process has stored.
    pub(super) disk: Saved,
    /// The same, a while ago: an image to roll back to.
    pub(super) image: Option<Saved>,
    /// What its clock shows beyond the world's.
    pub(super) offset: Duration,
    /// What its wall clock showed when the world began, in seconds since 1970.
    pub(super) wall: u64,
    /// Starts of its kernel: connections of an earlier one are dead.
    pub(super) boot: u32,
    /// Starts of its process: timers of an earlier one are void.
    pub(super) life: u32,
    /// When its timer is set to, by the world's clock.
    pub(super) timer: Option<Duration>,
    /// Timeouts in a row at one moment.
    pub(super) spins: u32,
    pub(super) conns: BTreeMap<ConnId, (Key, usize)>,
    /// What the kernel has for a process that stands still.
    pub(super) waiting: VecDeque<Notice>,
    pub(super) port: u16,
    pub(super) sent: Sent,
    /// How it sees its peers, by its events, and since when.
    pub(super) seen: BTreeMap<PeerName, (PeerState, Duration)>,
    /// Of `seen`, how many are up.
    pub(super) up: usize,
    /// Notable events, the last ones.
    pub(super) heard: VecDeque<(Duration, Event)>,
}

/// What the kernel tells a process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Notice {
    Accepted(Key),
    Connected(Key),
    DialFailed(Key, &'static str),
    Readable(Key, usize),
    Closed(Key, usize, &'static str),
}

impl Host {
    pub(super) fn new(place: Place, config: Config) -> Self {
        Self {
            power: Power::Idle,
            place,
            process: None,
            config,
            disk: Saved::default(),
            image: None,
            // No two clocks show the same.
            offset: Duration::from_secs(1_000 + u64::from(place.addr.octets()[3])),
            wall: EPOCH,
            boot: 0,
            life: 0,
            timer: None,
            spins: 0,
            conns: BTreeMap::new(),
            waiting: VecDeque::new(),
            port: 32_768,
            sent: Sent::default(),
            seen: BTreeMap::new(),
            up: 0,
            heard: VecDeque::new(),
        }
    }

    /// A local port for a connection that it dials.
    pub(super) fn next_port(&mut self) -> u16 {
        self.port = if self.port == 60_999 { 32_768 } else { self.port + 1 };
        self.port
    }

    /// Notes what its process says; keeps what is rare.
    pub(super) fn hear(&mut self, event: &Event, now: Duration) {
        let state = match event {
            Event::Up { name, .. } => Some((*name, PeerState::Up)),
            Event::Silent { name } => Some((*name, PeerState::Silent)),
            Event::Gone { name, .. } => Some((*name, PeerState::Gone)),
            Event::Changed { .. }
            | Event::LinkUp { .. }
            | Event::LinkDown { .. }
            | Event::Refused { .. }
            | Event::NameContested { .. }
            | Event::Renamed { .. }
            | Event::NameRefused { .. }
            | Event::Save
            | Event::Broadcast { .. }
            | Event::StateWanted { .. }
            | Event::Unicast { .. } => None,
        };
        if let Some((name, state)) = state {
            let before = self.seen.insert(name, (state, now));
            let was_up = before.is_some_and(|(state, _)| state == PeerState::Up);
            self.up = self.up + usize::from(state == PeerState::Up) - usize::from(was_up);
            if state == PeerState::Gone {
                self.seen.remove(&name);
            }
        }
        let common = matches!(event, Event::Up { .. } | Event::Changed { .. } | Event::Save);
        if !common {
            self.heard.push_back((now, event.clone()));
            if self.heard.len() > HEARD {
                self.heard.pop_front();
            }
        }
    }

    /// Its process is another now, or none.
    pub(super) fn forget_process(&mut self) {
        self.process = None;
        self.life += 1;
        self.timer = None;
        self.conns.clear();
        self.waiting.clear();
        self.seen.clear();
        self.up = 0;
    }
}
