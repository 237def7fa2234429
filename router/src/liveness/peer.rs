//! The lines to one peer together: when each is spoken on, and what follows from what they say.

use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

use super::line::{Heard, PATIENCE_MAX, State, Verdict};
use super::{Budget, Choice, Finding, Line, Pace, Packet};

/// Others are asked when no line has answered for so long,
const ASK_MESH: Duration = Duration::from_millis(60);
/// and this often while nothing is heard.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    /// In the order of [`Line::ALL`].
    lines: [State; 4],
    pub(super) choice: Choice,
    /// We have traffic for it, until then.
    pub(super) busy: Duration,
    doubt: Option<Doubt>,
}

/// Something speaks for it that a line does not work: all are asked.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Doubt {
    since: Duration,
    /// Somebody has answered.
    alive: bool,
}

/// How a peer is spoken to at the moment.
pub(super) struct Round {
    /// It is one of those that are spoken to often.
    pub(super) active: bool,
    /// How long the shared round takes.
    pub(super) period: Duration,
    /// Whether there is a kernel device.
    pub(super) fast: bool,
}

impl Peer {
    pub(super) fn new(fast: bool, now: Duration) -> Self {
        let best = if fast { Line::Fast } else { Line::User };
        Self {
            lines: Line::ALL.map(|_| State::new(now)),
            choice: Choice { line: Some(best), quiet: false },
            busy: Duration::ZERO,
            doubt: None,
        }
    }

    pub(super) fn line(&self, line: Line) -> &State {
        let [fast, user, sleeve, mesh] = &self.lines;
        match line {
            Line::Fast => fast,
            Line::User => user,
            Line::Sleeve => sleeve,
            Line::Mesh => mesh,
        }
    }

    pub(super) fn line_mut(&mut self, line: Line) -> &mut State {
        let [fast, user, sleeve, mesh] = &mut self.lines;
        match line {
            Line::Fast => fast,
            Line::User => user,
            Line::Sleeve => sleeve,
            Line::Mesh => mesh,
        }
    }

    /// The other end has started again.
    pub(super) fn renew(&mut self, now: Duration) {
        self.lines.iter_mut().for_each(|line| line.renew(now));
        (self.doubt, self.choice.quiet) = (None, false);
    }

    /// All lines are looked at soon.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.lines.iter_mut().for_each(|line| line.next = line.next.min(now));
    }

    pub(super) fn begin_doubt(&mut self, now: Duration) {
        if self.doubt.is_none() {
            self.doubt = Some(Doubt { since: now, alive: false });
            self.lines.iter_mut().for_each(State::ask_anew);
        }
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.choice.quiet || self.doubt.is_some()
    }

    /// Takes a packet, and says what is answered.
    pub(super) fn hear(&mut self, packet: &Packet, now: Duration) -> (Heard, Option<Packet>) {
        let patience = self.patience();
        let line = self.line_mut(packet.line);
        let heard = line.hear(packet, now);
        if !heard.fresh {
            return (heard, None);
        }
        let puzzled = packet.poll && line.has_waited(patience, now);
        if puzzled && !self.choice.quiet {
            // Who has heard what we said would not ask.
            self.begin_doubt(now);
        }
        let answer = packet.poll.then(|| self.say(packet.line, false, now));
        (heard, answer)
    }

    /// A packet has confirmed that the peer is there.
    pub(super) fn note_alive(&mut self, by: Line) {
        let Some(doubt) = self.doubt.as_mut().filter(|doubt| !doubt.alive) else { return };
        doubt.alive = true;
        // Who answers late on one line may answer late on the others, too.
        for line in Line::DIRECT.into_iter().filter(|line| *line != by) {
            self.line_mut(line).ask_once_more();
        }
    }

    /// Sends what is due.
    pub(super) fn speak_up(
        &mut self,
        name: PeerName,
        round: &Round,
        budget: &mut Budget,
        findings: &mut Vec<Finding>,
    ) {
        let now = budget.now;
        let overdue = |line: Line| self.line(line).overdue_at().is_some_and(|at| now >= at);
        if !self.choice.quiet && usable(round.fast).any(overdue) {
            self.begin_doubt(now);
        }
        for line in self.to_be_polled(round.fast, now) {
            self.line_mut(line).polls += 1;
            findings.push(Finding::Send(name, self.say(line, true, now)));
        }
        if self.choice.quiet && now >= self.line(Line::Mesh).next && budget.take() {
            self.line_mut(Line::Mesh).next = now + ASK_AGAIN;
            findings.push(Finding::Send(name, self.say(Line::Mesh, true, now)));
        }
        for line in usable(round.fast) {
            let in_doubt = self.is_in_doubt(line);
            let quick = round.active
                && !self.choice.quiet
                && (self.choice.line == Some(line) || self.line(line).is_recovering());
            let state = self.line_mut(line);
            if now < state.next || in_doubt || !(state.promised || budget.take()) {
                continue;
            }
            let poll = !(quick && state.is_lively() && state.verdict == Verdict::Up);
            state.promised = quick;
            state.next = now + if quick { Pace::QUICK } else { round.period };
            let mut packet = self.say(line, poll, now);
            packet.active = now < self.busy;
            findings.push(Finding::Send(name, packet));
        }
    }

    /// What follows from the answers so far. Whether that has changed the choice.
    pub(super) fn judge(&mut self, fast: bool, now: Duration) -> bool {
        let Some(doubt) = self.doubt else { return false };
        let patience = self.patience();
        let unanswered: Vec<Line> = usable(fast).filter(|line| self.is_in_doubt(*line)).collect();
        for line in &unanswered {
            self.line_mut(*line).give_up(patience, now);
        }
        self.line_mut(Line::Mesh).give_up(PATIENCE_MAX, now);
        let is_lost = |line: &Line| self.line(*line).is_lost();
        let (lost, waiting): (Vec<Line>, Vec<Line>) = unanswered.into_iter().partition(is_lost);
        if doubt.alive {
            lost.iter().for_each(|line| self.line_mut(*line).fall(now));
            if waiting.is_empty() {
                self.doubt = None;
            }
            return self.choose(fast);
        }
        if waiting.is_empty() && self.line(Line::Mesh).is_lost() {
            (self.doubt, self.choice.quiet) = (None, true);
            self.line_mut(Line::Mesh).next = now;
            return true;
        }
        false
    }

    /// Whether that has changed the choice.
    pub(super) fn choose(&mut self, fast: bool) -> bool {
        let works = |line: &Line| self.line(*line).verdict != Verdict::Down;
        let best = usable(fast).find(works);
        let current = self.choice.line.filter(|line| usable(fast).any(|it| it == *line));
        let line = match (self.doubt, current) {
            // Nothing moves as long as nothing better is known.
            _ if self.choice.quiet => current.or(best),
            (Some(_), Some(current)) if works(&current) => Some(current),
            (Some(doubt), _) => {
                let proven = |line: &Line| self.line(*line).is_confirmed_since(doubt.since);
                usable(fast).filter(works).find(proven).or(best)
            }
            (None, _) => best,
        };
        std::mem::replace(&mut self.choice.line, line) != line
    }

    /// When there is something due. The shared round has room for one more at `affordable`.
    pub(super) fn due(&self, fast: bool, affordable: Duration) -> Duration {
        let patience = self.patience();
        let mut due = Duration::MAX;
        for line in usable(fast) {
            let state = self.line(line);
            if self.is_in_doubt(line) {
                due = due.min(state.poll_due(patience).unwrap_or(Duration::MAX));
                continue;
            }
            due = due.min(if state.promised { state.next } else { state.next.max(affordable) });
            if !self.choice.quiet && self.doubt.is_none() {
                due = due.min(state.overdue_at().unwrap_or(Duration::MAX));
            }
        }
        if self.choice.quiet {
            due = due.min(self.line(Line::Mesh).next.max(affordable));
        }
        match self.doubt {
            Some(doubt) if !doubt.alive => {
                let mesh = self.line(Line::Mesh).poll_due(PATIENCE_MAX);
                due.min(mesh.map_or(Duration::MAX, |at| at.max(doubt.since + ASK_MESH)))
            }
            Some(_) | None => due,
        }
    }

    /// The lines that are to be asked right now.
    fn to_be_polled(&self, fast: bool, now: Duration) -> Vec<Line> {
        let Some(doubt) = self.doubt else { return Vec::new() };
        let patience = self.patience();
        let direct = usable(fast).filter(|line| {
            self.is_in_doubt(*line) && self.line(*line).is_to_be_polled(patience, now)
        });
        let ask = !doubt.alive && now >= doubt.since + ASK_MESH;
        let mesh = ask && self.line(Line::Mesh).is_to_be_polled(PATIENCE_MAX, now);
        direct.chain(mesh.then_some(Line::Mesh)).collect()
    }

    /// Whether a line has to prove that it works.
    fn is_in_doubt(&self, line: Line) -> bool {
        let state = self.line(line);
        state.verdict != Verdict::Down
            && self.doubt.is_some_and(|doubt| !state.is_confirmed_since(doubt.since))
    }

    fn say(&mut self, line: Line, poll: bool, now: Duration) -> Packet {
        let state = self.line_mut(line);
        let interval = if state.promised { state.next.saturating_sub(now) } else { Pace::SLOW };
        state.speak(line, poll, interval, now)
    }

    /// How long an answer may take, on whichever line: they are judged together.
    fn patience(&self) -> Duration {
        let direct = Line::DIRECT.into_iter().map(|line| self.line(line));
        let trusted = direct.filter(|state| state.verdict == Verdict::Up);
        trusted.map(State::patience).max().unwrap_or(PATIENCE_MAX)
    }
}

/// The lines that can carry frames.
fn usable(fast: bool) -> impl Iterator<Item = Line> {
    Line::DIRECT.into_iter().filter(move |line| fast || *line != Line::Fast)
}
