//! What the path to each peer carries: path MTU discovery by probes, after RFC 8899 (DPLPMTUD).
//!
//! The kernel's routes say what a path may carry at the most. Somewhere on it less may fit, and nobody may say so: a link
//! of another MTU in the same network, a router whose ICMP is filtered. So frames of full size are sent to peers that have
//! traffic, unfragmented, and acknowledged by small ones.
//!
//! Three in a row that are not acknowledged, while small probes are answered on the same line, start a search: probes of
//! several sizes at once, each twice, then of sizes between the largest that arrived and the next. What arrives at all
//! decides; a path is never taken for broken here. A path that was found to be narrow is tried again in full with each
//! check, and searched again each minute.

use std::collections::BTreeMap;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};
use switch::Mtu;

use crate::liveness::Line;

/// Between two checks of a peer with traffic,
const CHECK: Duration = Duration::from_secs(5);
/// and after one that told nothing, as there was no word on the line meanwhile.
const CHECK_AGAIN: Duration = Duration::from_secs(2);
/// A try of a check takes so long at least: small probes are 200 ms apart, and the answer comes with the next.
const TRY: Duration = Duration::from_millis(200);
/// Probes of one size that are lost before that is believed (RFC 8899, 5.1.2: `MAX_PROBES`).
const TRIES: u8 = 3;
/// Sizes that are tried at once,
const VOLLEY: u16 = 8;
/// and how often each.
const COPIES: usize = 2;
/// Between two searches of a path that is narrow (RFC 8899: `PMTU_RAISE_TIMER`, there 600 s).
const RAISE: Duration = Duration::from_secs(60);
/// The kernel forgets what it was told in ten minutes (`net.ipv4.route.mtu_expires`): it is told again after this,
const TEACH: Duration = Duration::from_secs(60);
/// and is seen in its routes by then.
const LEARN: Duration = Duration::from_secs(5);
/// Between two probes, of all peers together, on the average.
const EACH: Duration = Duration::from_millis(20);

/// A frame of some size, or what acknowledges it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SizeProbe {
    /// On which line.
    pub line: Line,
    /// It says that one has arrived.
    pub acknowledges: bool,
    /// Which one.
    pub number: u64,
    /// What it stands for, or stood for: an inner IP packet of so many octets.
    pub octets: u16,
}

/// The line to a peer that is in use and works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InUse {
    /// Which.
    pub line: Line,
    /// How long an answer may take there.
    pub patience: Duration,
    /// The last small probe on it that is known to have arrived was sent at this time.
    pub confirmed: Duration,
}

/// A path that carries something else than before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Change {
    /// To whom.
    pub name: PeerName,
    /// What it carried,
    pub before: Mtu,
    /// and what it carries.
    pub after: Mtu,
}

/// What the paths to all peers carry.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Sizes {
    peers: BTreeMap<PeerName, Path>,
    /// When the probes so far would have been sent, [`EACH`] apart.
    paid: Duration,
    /// The most that any path was said to carry: pods may be made for that.
    widest: Option<Mtu>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Path {
    /// What the route says now,
    route: Mtu,
    /// and said before the kernel was told of less.
    most: Mtu,
    /// What is known, or believed, to fit.
    found: Mtu,
    stage: Stage,
    /// When the next check may begin; none without traffic.
    due: Option<Duration>,
    checked: Option<Duration>,
    searched: Option<Duration>,
    /// Number of the last probe.
    number: u64,
    /// What the kernel was told, and when.
    taught: Option<(Mtu, Duration)>,
    refused: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Stage {
    Idle,
    /// Does what was found still fit, and does all?
    Check(Round),
    /// What does? At least `low` (0: nothing is known), and less than `high`.
    Search {
        low: u16,
        high: u16,
        round: Round,
    },
}

/// Probes that are under way.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Round {
    line: Line,
    /// Since when is there this stage?
    began: Duration,
    /// How often nothing has come of it.
    tries: u8,
    /// Numbers up to this belong to an earlier one.
    before: u64,
    /// The largest that was sent,
    largest: u16,
    /// and that has arrived.
    arrived: u16,
    /// What has not arrived by then is lost.
    until: Duration,
}

impl Sizes {
    /// A peer is gone.
    pub fn forget(&mut self, name: PeerName) {
        self.peers.remove(&name);
    }

    /// What the route to a peer says that it carries; `None`: nothing is known.
    pub fn set_route(&mut self, name: PeerName, mtu: Option<Mtu>, now: Duration) {
        let Some(mtu) = mtu else {
            self.forget(name);
            return;
        };
        self.widest = self.widest.max(Some(mtu));
        let path = self.peers.entry(name).or_insert_with(|| Path::new(mtu, now));
        path.route = mtu;
        let taught = path.taught.is_some_and(|(taught, _)| taught == mtu);
        if mtu == path.most || taught && mtu < path.most {
            return;
        }
        let was_narrow = path.found < path.most;
        path.most = mtu;
        if mtu < path.found || !was_narrow {
            path.found = mtu;
        }
        (path.stage, path.due) = (Stage::Idle, Some(now));
    }

    /// There is traffic to a peer, or from it.
    pub fn note_traffic(&mut self, name: PeerName, now: Duration) {
        let Some(path) = self.peers.get_mut(&name) else { return };
        let due = path.checked.map_or(now, |checked| checked + CHECK);
        path.due.get_or_insert_with(|| due.max(now));
    }

    /// What the path to a peer carries, as far as we know.
    pub fn get(&self, name: PeerName) -> Option<Mtu> {
        self.peers.get(&name).map(Path::carries)
    }

    /// The least that any path carries.
    pub fn least(&self) -> Option<Mtu> {
        self.peers.values().map(Path::carries).min()
    }

    /// Whether less fits than pods may have been made for.
    pub fn is_narrow(&self, name: PeerName) -> bool {
        self.get(name).is_some_and(|mtu| Some(mtu) < self.widest)
    }

    /// An acknowledgement has come.
    pub fn heard(&mut self, name: PeerName, probe: SizeProbe, now: Duration) {
        let Some(path) = self.peers.get_mut(&name) else { return };
        let (Stage::Check(round) | Stage::Search { round, .. }) = &mut path.stage else { return };
        if probe.number > round.before && probe.number <= path.number {
            round.arrived = round.arrived.max(probe.octets.min(round.largest));
            if round.arrived == round.largest {
                // There is nothing more to wait for.
                round.until = now;
            }
        }
    }

    /// What is to be sent, and which paths carry something else now than they did before.
    pub fn handle_timeout(
        &mut self,
        now: Duration,
        in_use: impl Fn(PeerName) -> Option<InUse>,
    ) -> (Vec<(PeerName, SizeProbe)>, Vec<Change>) {
        let (mut sent, mut changed) = (Vec::new(), Vec::new());
        for (name, path) in &mut self.peers {
            if path.due_at(self.paid).is_none_or(|due| now < due) {
                continue;
            }
            let before = path.carries();
            let probes = path.advance(in_use(*name), now);
            let after = path.carries();
            changed.extend((after != before).then_some(Change { name: *name, before, after }));
            self.paid = self.paid.max(now) + EACH * u32::try_from(probes.len()).unwrap_or(0);
            sent.extend(probes.into_iter().map(|probe| (*name, probe)));
        }
        (sent, changed)
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.peers.values().filter_map(|path| path.due_at(self.paid)).min()
    }

    /// Whether the kernel was told what a path carries, and goes by its routes all the same.
    pub fn is_refused(&self, name: PeerName) -> bool {
        self.peers.get(&name).is_some_and(|path| path.refused)
    }

    /// What the kernel is to be told of paths that it sends on, as no router does. Whether it has refused one.
    pub fn lessons(
        &mut self,
        now: Duration,
        is_kernels: impl Fn(PeerName) -> bool,
    ) -> (Vec<(PeerName, Mtu)>, bool) {
        let (mut lessons, mut news) = (Vec::new(), false);
        for (name, path) in &mut self.peers {
            let known = path.taught.is_some_and(|(mtu, at)| mtu == path.found && now < at + TEACH);
            if path.found < path.most && !known && is_kernels(*name) {
                path.taught = Some((path.found, now));
                lessons.push((*name, path.found));
            }
            news |= path.judge_refusal(now);
        }
        (lessons, news)
    }
}

impl Path {
    fn new(mtu: Mtu, now: Duration) -> Self {
        Self {
            route: mtu,
            most: mtu,
            found: mtu,
            stage: Stage::Idle,
            due: Some(now),
            checked: None,
            searched: None,
            number: 0,
            taught: None,
            refused: false,
        }
    }

    fn carries(&self) -> Mtu {
        self.found.min(self.route)
    }

    /// Whether that has changed.
    fn judge_refusal(&mut self, now: Duration) -> bool {
        let told = self.taught.is_some_and(|(mtu, at)| mtu == self.found && now >= at + LEARN);
        let refused = self.found < self.most && self.route > self.found && (self.refused || told);
        std::mem::replace(&mut self.refused, refused) != refused
    }

    /// When something is due, if no new check may begin before `paid`.
    fn due_at(&self, paid: Duration) -> Option<Duration> {
        match self.stage {
            Stage::Idle => self.due.map(|due| due.max(paid)),
            Stage::Check(round) | Stage::Search { round, .. } => Some(round.until),
        }
    }

    /// Draws the conclusion of what has arrived, and says what is sent next.
    fn advance(&mut self, in_use: Option<InUse>, now: Duration) -> Vec<SizeProbe> {
        let Some(in_use) = in_use else {
            // Liveness has to tell first which line works.
            return self.rest(Some(now + CHECK_AGAIN));
        };
        match self.stage {
            Stage::Idle => {
                self.send(Stage::Check(Round::new(in_use, self.number, now)), in_use, now)
            }
            Stage::Check(round) | Stage::Search { round, .. } if round.line != in_use.line => {
                self.rest(Some(now))
            }
            Stage::Check(round) => self.check(round, in_use, now),
            Stage::Search { low, high, round } => self.search((low, high), round, in_use, now),
        }
    }

    fn check(&mut self, mut round: Round, in_use: InUse, now: Duration) -> Vec<SizeProbe> {
        let search = |low, path: &Self| {
            let (high, round) = (path.most.octets() + 1, Round::new(in_use, path.number, now));
            Stage::Search { low, high, round }
        };
        if round.arrived >= self.found.octets() {
            self.found = Mtu::new(round.arrived).unwrap_or(self.found);
            if self.found < self.most && self.searched.is_none_or(|at| now >= at + RAISE) {
                return self.send(search(self.found.octets(), self), in_use, now);
            }
            self.checked = Some(now);
            return self.rest(None);
        }
        round.tries += 1;
        if round.tries < TRIES {
            return self.send(Stage::Check(round), in_use, now);
        }
        if in_use.confirmed < round.began {
            return self.rest(Some(now + CHECK_AGAIN));
        }
        self.send(search(0, self), in_use, now)
    }

    fn search(
        &mut self,
        (mut low, mut high): (u16, u16),
        mut round: Round,
        in_use: InUse,
        now: Duration,
    ) -> Vec<SizeProbe> {
        let tried = sizes(low, high);
        if round.arrived > low {
            (low, round.arrived) = (round.arrived, 0);
        } else if low == 0 {
            // The other end may not know such probes.
            round.tries += 1;
        }
        if low > 0 {
            high = tried.into_iter().filter(|size| *size > low).min().unwrap_or(high);
        }
        if round.tries < TRIES && high > low + 1 {
            return self.send(Stage::Search { low, high, round }, in_use, now);
        }
        self.found = Mtu::new(low).unwrap_or(self.found);
        (self.checked, self.searched) = (Some(now), Some(now));
        self.rest(None)
    }

    fn send(&mut self, mut stage: Stage, in_use: InUse, now: Duration) -> Vec<SizeProbe> {
        let (found, most) = (self.found.octets(), self.most.octets());
        let (octets, patience, round) = match &mut stage {
            Stage::Idle => return Vec::new(),
            Stage::Check(round) => {
                let octets = if found == most { vec![found] } else { vec![found, most] };
                (octets, in_use.patience.max(TRY), round)
            }
            Stage::Search { low, high, round } => {
                (sizes(*low, *high).repeat(COPIES), in_use.patience, round)
            }
        };
        round.largest = octets.iter().copied().max().unwrap_or_default();
        round.until = now + patience;
        self.stage = stage;
        let probe = |octets| {
            self.number += 1;
            SizeProbe { line: in_use.line, acknowledges: false, number: self.number, octets }
        };
        octets.into_iter().map(probe).collect()
    }

    fn rest(&mut self, due: Option<Duration>) -> Vec<SizeProbe> {
        (self.stage, self.due) = (Stage::Idle, due);
        Vec::new()
    }
}

impl Round {
    const fn new(in_use: InUse, before: u64, now: Duration) -> Self {
        let line = in_use.line;
        Self { line, began: now, tries: 0, before, largest: 0, arrived: 0, until: now }
    }
}

/// Sizes between what fits and what does not, at most [`VOLLEY`] and one: the last is the largest that may fit, the first
/// the least of all where nothing is known.
fn sizes(low: u16, high: u16) -> Vec<u16> {
    let (known, low, high) = (low > 0, low.max(Mtu::MIN.octets()), high.saturating_sub(1));
    let span = high.saturating_sub(low);
    let steps = VOLLEY.min(span);
    let step = |step: u16| low + step * (span / steps.max(1)) + step.min(span % steps.max(1));
    (u16::from(known)..=steps).map(step).collect()
}

#[cfg(test)]
mod tests;
