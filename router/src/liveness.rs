//! Which lines to each peer work, and which of them is used: after the manner of BFD (RFC 5880), in both directions.
//!
//! Every line is spoken on by itself. A packet says which one it travels on, and repeats the number of the last packet that
//! came on it from the other end: with that its sender knows that both directions work, and how long a round trip takes.
//! So a line that fails in one direction is noticed at both ends. Who has reason to doubt asks: a question is answered at
//! once. Three that are not answered, on a line whose peer answers on another one, and the line is down.
//!
//! A peer that answers nowhere is *quiet*, and nothing moves: its process may be stopped while its kernel carries, or our
//! own end may be cut off; frames would be no better elsewhere. Other peers and the mesh are asked to pass a question on
//! before that is believed, and again and again afterwards.
//!
//! A line that was down is used again after five packets in a row were confirmed, and not before a time that doubles with
//! each fall. Who does not get to run for a while doubts nobody for that: time in which nothing was looked at does not
//! count.
//!
//! Budget: a peer with traffic is *active*, 64 of them at a time, and hears from us five times a second on the line in use.
//! All else shares a round of 50 a second.

mod line;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

pub use line::Verdict;
use peer::{Peer, Round};

/// Peers that are active at a time.
const ACTIVE: usize = 64;
/// How long traffic makes a peer active.
const ACTIVE_FOR: Duration = Duration::from_secs(10);
/// Between two packets of the shared round,
const EACH: Duration = Duration::from_millis(20);
/// and as many as fit this time at once.
const BURST: Duration = Duration::from_millis(500);
/// Who looks so much later than it had to has not been running.
const STALL: Duration = Duration::from_millis(40);

/// How often who speaks.
pub(crate) struct Pace;

impl Pace {
    /// On a line in use to an active peer, and on one that recovers.
    pub(crate) const QUICK: Duration = Duration::from_millis(200);
    /// On all others, if there are few.
    pub(crate) const SLOW: Duration = Duration::from_secs(1);
}

/// A way to a peer that is probed by itself. In order of preference.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Line {
    /// VXLAN that the kernel sends.
    Fast,
    /// VXLAN that the process sends.
    User,
    /// UDP 6783.
    Sleeve,
    /// Others that pass it on, and the mesh: it carries no frames, but says who is there.
    Mesh,
}

impl Line {
    /// Those that carry frames, the best first.
    pub const DIRECT: [Self; 3] = [Self::Fast, Self::User, Self::Sleeve];
    /// All.
    pub const ALL: [Self; 4] = [Self::Fast, Self::User, Self::Sleeve, Self::Mesh];
}

/// What travels on a line.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Packet {
    /// On which one.
    pub line: Line,
    /// The other end is to answer at once.
    pub poll: bool,
    /// Its sender has traffic for the other end.
    pub active: bool,
    /// Its number: 1 is a start's first on a line.
    pub seq: u64,
    /// The number of the last packet that its sender has heard on this line; 0: none.
    pub echo: u64,
    /// How long ago that was.
    pub delay: Duration,
    /// When its sender speaks again by itself.
    pub interval: Duration,
}

/// What is to be done, or has become known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finding {
    /// Send this.
    Send(PeerName, Packet),
    /// Another line to a peer is to be used, or none, or nothing is heard from it.
    Changed(PeerName),
}

/// Which line is used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Choice {
    /// None: the peer is there, but no line carries frames to it.
    pub line: Option<Line>,
    /// It answers nowhere: nothing is moved.
    pub quiet: bool,
}

/// How a line is, for who looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View {
    /// What it is taken for.
    pub verdict: Verdict,
    /// Round trip, smoothed.
    pub rtt: Option<Duration>,
    /// How long an answer may take.
    pub patience: Duration,
    /// When it is spoken on next.
    pub next: Duration,
}

/// All lines to all peers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Liveness {
    peers: BTreeMap<PeerName, Peer>,
    active: BTreeMap<PeerName, Duration>,
    /// Whether there is a kernel device to send with.
    fast: bool,
    /// When the shared round's packets so far would have been sent, [`EACH`] apart.
    paid: Duration,
    /// When something was due, when last looked.
    expected: Option<Duration>,
    /// Time in which nothing was looked at.
    slept: Duration,
}

impl Liveness {
    /// To be called with the time before anything else at that time. What has waited meanwhile is told before
    /// [`Self::handle_timeout`].
    pub fn wake(&mut self, now: Duration) {
        let late = self.expected.map_or(Duration::ZERO, |due| now.saturating_sub(due));
        if late > STALL {
            self.slept += late;
        }
        self.expected = None;
    }

    /// A peer is there.
    pub fn track(&mut self, name: PeerName, now: Duration) {
        let (now, fast) = (self.awake(now), self.fast);
        self.peers.entry(name).or_insert_with(|| Peer::new(fast, now));
    }

    /// A peer that was just [tracked](Self::track) was reached on this line in the last run: better ones did not work, and
    /// have to prove themselves.
    pub fn resume(&mut self, name: PeerName, line: Option<Line>, now: Duration) {
        let (now, fast) = (self.awake(now), self.fast);
        let Some(peer) = self.peers.get_mut(&name) else { return };
        let better = |it: &Line| line.is_none_or(|line| *it < line);
        for better in Line::DIRECT.into_iter().filter(better) {
            peer.line_mut(better).distrust(now);
        }
        peer.choose(fast);
    }

    /// A peer has started again.
    pub fn renew(&mut self, name: PeerName, now: Duration) {
        let now = self.awake(now);
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.renew(now);
        }
    }

    /// A peer is not to be probed any more.
    pub fn forget(&mut self, name: PeerName) {
        self.peers.remove(&name);
        self.active.remove(&name);
    }

    /// Whether there is a kernel device to send with. When it comes back each peer's line has to prove itself.
    pub fn set_fast(&mut self, fast: bool, now: Duration) -> Vec<Finding> {
        let now = self.awake(now);
        if std::mem::replace(&mut self.fast, fast) == fast {
            return Vec::new();
        }
        let mut findings = Vec::new();
        for (name, peer) in &mut self.peers {
            let line = peer.line_mut(Line::Fast);
            line.distrust(now);
            line.next = now;
            findings.extend(peer.choose(fast).then_some(Finding::Changed(*name)));
        }
        findings
    }

    /// Frames go to a peer, or come from it.
    pub fn note_traffic(&mut self, name: PeerName, now: Duration) {
        let now = self.awake(now);
        if self.admit(name, now)
            && let Some(peer) = self.peers.get_mut(&name)
        {
            peer.busy = now + ACTIVE_FOR;
        }
    }

    /// Makes a peer active, if there is room.
    fn admit(&mut self, name: PeerName, now: Duration) -> bool {
        self.active.retain(|_, until| *until > now);
        let Some(peer) = self.peers.get_mut(&name) else { return false };
        if self.active.len() >= ACTIVE && !self.active.contains_key(&name) {
            return false;
        }
        if self.active.insert(name, now + ACTIVE_FOR).is_none() {
            // How it is was looked at long ago.
            peer.hurry(now);
        }
        true
    }

    /// Something speaks for it that a peer's lines have changed.
    pub fn suspect(&mut self, name: PeerName, now: Duration) {
        let now = self.awake(now);
        if let Some(peer) = self.peers.get_mut(&name) {
            peer.begin_doubt(now);
        }
    }

    /// Which line to a peer is used. Of one that is not probed nothing bad is known.
    pub fn choice(&self, name: PeerName) -> Choice {
        let best = if self.fast { Line::Fast } else { Line::User };
        let unknown = Choice { line: Some(best), quiet: false };
        self.peers.get(&name).map_or(unknown, |peer| peer.choice)
    }

    /// Whether a peer is there and answers on the line in use, as far as we know.
    pub fn is_sure(&self, name: PeerName) -> bool {
        let sure = |peer: &Peer| !peer.is_doubtful() && peer.choice.line.is_some();
        self.peers.get(&name).is_some_and(sure)
    }

    /// How a line is.
    pub fn view(&self, name: PeerName, line: Line) -> Option<View> {
        let state = self.peers.get(&name)?.line(line);
        let next = state.next + self.slept;
        Some(View { verdict: state.verdict, rtt: state.rtt(), patience: state.patience(), next })
    }

    /// When the last packet was sent on a line that is known to have arrived.
    pub fn confirmed(&self, name: PeerName, line: Line) -> Option<Duration> {
        Some(self.peers.get(&name)?.line(line).confirmed()? + self.slept)
    }

    /// The lines that can carry frames to a peer, the best first; none to one that is not probed.
    pub fn lines(&self, name: PeerName) -> impl Iterator<Item = (Line, View)> {
        let usable = Line::DIRECT.into_iter().filter(|line| self.fast || *line != Line::Fast);
        usable.filter_map(move |line| Some((line, self.view(name, line)?)))
    }

    /// How many peers are in doubt or quiet, and of how many: if most are, the fault is here.
    pub fn doubtful(&self) -> (usize, usize) {
        let doubtful = self.peers.values().filter(|peer| peer.is_doubtful());
        (doubtful.count(), self.peers.len())
    }

    /// A packet came from a peer, which is who it says.
    pub fn heard(&mut self, name: PeerName, packet: Packet, now: Duration) -> Vec<Finding> {
        let now = self.awake(now);
        let fast = self.fast;
        let Some(peer) = self.peers.get_mut(&name) else { return Vec::new() };
        let (heard, answer) = peer.hear(&packet, now);
        if heard.fresh && packet.active {
            // It has traffic for us, which we may not see.
            self.admit(name, now);
        }
        let Some(peer) = self.peers.get_mut(&name) else { return Vec::new() };
        let mut findings: Vec<_> =
            answer.into_iter().map(|answer| Finding::Send(name, answer)).collect();
        if heard.confirms && peer.choice.quiet {
            // It is back: all its lines are looked at before any is judged.
            peer.choice.quiet = false;
            peer.begin_doubt(now);
            findings.push(Finding::Changed(name));
        }
        if heard.confirms {
            peer.note_alive(packet.line);
            let changed = peer.judge(fast, now) || heard.recovered && peer.choose(fast);
            findings.extend(changed.then_some(Finding::Changed(name)));
        }
        findings
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<Finding> {
        let now = self.awake(now);
        let mut findings = Vec::new();
        self.active.retain(|_, until| *until > now);
        let period = Pace::SLOW.max(EACH * u32::try_from(self.peers.len() * 3).unwrap_or(u32::MAX));
        let mut budget = Budget { paid: self.paid, now };
        for (name, peer) in &mut self.peers {
            let round = Round { active: self.active.contains_key(name), period, fast: self.fast };
            peer.speak_up(*name, &round, &mut budget, &mut findings);
            if peer.judge(self.fast, now) {
                findings.push(Finding::Changed(*name));
            }
        }
        self.paid = budget.paid;
        findings
    }

    /// When there is something due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let affordable = (self.paid + EACH).saturating_sub(BURST);
        let due = self.peers.values().map(|peer| peer.due(self.fast, affordable)).min();
        due.map(|due| due + self.slept)
    }

    /// To be called after everything else at a time.
    pub fn sleep(&mut self, now: Duration) {
        self.expected = self.poll_timeout().map(|due| due.max(now));
    }

    fn awake(&self, now: Duration) -> Duration {
        now.saturating_sub(self.slept)
    }
}

/// What the shared round may still send.
struct Budget {
    paid: Duration,
    now: Duration,
}

impl Budget {
    fn take(&mut self) -> bool {
        let affordable = self.now + BURST >= self.paid + EACH;
        if affordable {
            self.paid = self.paid.max(self.now) + EACH;
        }
        affordable
    }
}
