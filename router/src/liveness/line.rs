//! One line to one peer: what was said, what was confirmed, and what that makes of it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Line, Pace, Packet};

/// Questions in a row without an answer before a line is taken not to work.
pub(super) const POLLS: u8 = 3;
/// Confirmed packets in a row before a line that did not work is trusted again,
const GOOD: u8 = 5;
/// and for how long it is not, the first time. Each time doubles it,
const HOLD: Duration = Duration::from_secs(3);
/// up to this.
const HOLD_MAX: Duration = Duration::from_secs(300);
/// A line that has worked for so long starts anew.
const FORGIVEN: Duration = Duration::from_secs(600);
/// How long an answer may take, beside three round trips: at least,
const PATIENCE_MIN: Duration = Duration::from_millis(50);
/// and at most; also where nothing is known yet.
pub(super) const PATIENCE_MAX: Duration = Duration::from_millis(300);
/// Packets of which it is known when they were sent.
const OPEN: usize = 8;

/// What a line is taken for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Verdict {
    /// Nothing is known: it is taken to work.
    Assumed,
    /// It works, in both directions.
    Up,
    /// It does not, in one direction at least.
    Down,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct State {
    pub(super) verdict: Verdict,
    /// Number of the last packet that was sent.
    seq: u64,
    /// Sent and not confirmed, the oldest first.
    open: VecDeque<Sent>,
    /// Number of the last packet that was heard, and when.
    heard: Option<(u64, Duration)>,
    /// When the other end speaks again by itself.
    far_interval: Duration,
    /// What was sent then has arrived.
    confirmed: Option<Duration>,
    rtt: Option<Duration>,
    /// When we speak again by ourselves,
    pub(super) next: Duration,
    /// and whether the other end relies on that.
    pub(super) promised: bool,
    /// Questions since there was reason to ask, and when the last one went.
    pub(super) polls: u8,
    polled: Duration,
    good: u8,
    since: Duration,
    hold: Duration,
    hold_until: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Sent {
    seq: u64,
    at: Duration,
    poll: bool,
}

/// What a packet has brought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Heard {
    /// It is new: neither late nor played again.
    pub(super) fresh: bool,
    /// It says that one of ours has arrived.
    pub(super) confirms: bool,
    /// The line has recovered with it.
    pub(super) recovered: bool,
}

impl State {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            verdict: Verdict::Assumed,
            seq: 0,
            open: VecDeque::new(),
            heard: None,
            far_interval: Pace::SLOW,
            confirmed: None,
            rtt: None,
            next: now,
            promised: false,
            polls: 0,
            polled: Duration::ZERO,
            good: 0,
            since: now,
            hold: Duration::ZERO,
            hold_until: Duration::ZERO,
        }
    }

    /// The other end has started again: what was said to it is forgotten, what the line is taken for is not.
    pub(super) fn renew(&mut self, now: Duration) {
        let Self { verdict, seq, good, since, hold, hold_until, rtt, .. } = *self;
        *self = Self { verdict, seq, good, since, hold, hold_until, rtt, ..Self::new(now) };
    }

    /// The next packet.
    pub(super) fn speak(
        &mut self,
        line: Line,
        poll: bool,
        interval: Duration,
        now: Duration,
    ) -> Packet {
        self.seq += 1;
        if poll && self.verdict == Verdict::Down && self.open.iter().any(|sent| sent.poll) {
            // The last question was not answered.
            self.good = 0;
            self.open.clear();
        }
        if self.open.len() == OPEN {
            // The oldest says since when nothing was confirmed.
            self.open.remove(1);
        }
        self.open.push_back(Sent { seq: self.seq, at: now, poll });
        if poll {
            self.polled = now;
        }
        let (echo, delay) = match self.heard {
            Some((seq, at)) => (seq, now.saturating_sub(at)),
            None => (0, Duration::ZERO),
        };
        Packet { line, poll, active: false, seq: self.seq, echo, delay, interval }
    }

    pub(super) fn hear(&mut self, packet: &Packet, now: Duration) -> Heard {
        if self.heard.is_some_and(|(seq, _)| packet.seq <= seq) {
            return Heard::default();
        }
        self.heard = Some((packet.seq, now));
        self.far_interval = packet.interval;
        let Some(sent) = self.open.iter().find(|sent| sent.seq == packet.echo).copied() else {
            return Heard { fresh: true, ..Heard::default() };
        };
        self.open.retain(|it| it.seq > sent.seq);
        let took = now.saturating_sub(sent.at).saturating_sub(packet.delay);
        // As TCP smooths it (RFC 6298).
        self.rtt = Some(self.rtt.map_or(took, |before| (before * 7 + took) / 8));
        self.confirmed = self.confirmed.max(Some(sent.at));
        Heard { fresh: true, confirms: true, recovered: self.count_good(now) }
    }

    fn count_good(&mut self, now: Duration) -> bool {
        self.good = self.good.saturating_add(1);
        match self.verdict {
            Verdict::Up => {
                if now >= self.since + FORGIVEN {
                    self.hold = Duration::ZERO;
                }
                false
            }
            Verdict::Assumed => {
                (self.verdict, self.since) = (Verdict::Up, now);
                true
            }
            Verdict::Down if self.good >= GOOD && now >= self.hold_until => {
                (self.verdict, self.since) = (Verdict::Up, now);
                true
            }
            Verdict::Down => false,
        }
    }

    /// It does not work.
    pub(super) fn fall(&mut self, now: Duration) {
        if self.verdict == Verdict::Down {
            return;
        }
        self.hold = (self.hold * 2).clamp(HOLD, HOLD_MAX);
        self.hold_until = now + self.hold;
        self.distrust(now);
    }

    /// It has to be good for a while before it is taken to work.
    pub(super) fn distrust(&mut self, now: Duration) {
        (self.verdict, self.since, self.good) = (Verdict::Down, now, 0);
        self.open.clear();
        self.polls = 0;
    }

    /// What was asked so far is asked anew.
    pub(super) fn ask_anew(&mut self) {
        self.polls = 0;
    }

    /// There is to be one more question before it is given up.
    pub(super) fn ask_once_more(&mut self) {
        self.polls = self.polls.min(POLLS - 1);
    }

    /// Whether it is time for the next question, of those to be asked now.
    pub(super) fn is_to_be_polled(&self, patience: Duration, now: Duration) -> bool {
        self.polls < POLLS && (self.polls == 0 || now >= self.polled + patience)
    }

    /// Takes note if all questions were asked in vain.
    pub(super) fn give_up(&mut self, patience: Duration, now: Duration) {
        self.polls += u8::from(self.polls == POLLS && now >= self.polled + patience);
    }

    /// Whether all questions were asked in vain.
    pub(super) fn is_lost(&self) -> bool {
        self.polls > POLLS
    }

    /// When the next question is due, or the last one in vain.
    pub(super) fn poll_due(&self, patience: Duration) -> Option<Duration> {
        match self.polls {
            0 => Some(Duration::ZERO),
            1..=POLLS => Some(self.polled + patience),
            _ => None,
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.rtt.map_or(PATIENCE_MAX, |rtt| (rtt * 3 + PATIENCE_MIN).min(PATIENCE_MAX))
    }

    /// When there is reason to ask, if nothing comes until then.
    pub(super) fn overdue_at(&self) -> Option<Duration> {
        if self.verdict == Verdict::Down {
            return None;
        }
        let patience = self.patience();
        let spoken = self.far_interval * 5 / 4 + patience;
        let open = self.open.iter().map(|sent| {
            let answered = if sent.poll { patience } else { spoken };
            sent.at + answered
        });
        let lively = self.far_interval <= Pace::QUICK;
        let silent = self.heard.filter(|_| lively).map(|(_, at)| at + spoken);
        open.chain(silent).min()
    }

    /// Whether what was said so long ago is not confirmed.
    pub(super) fn has_waited(&self, patience: Duration, now: Duration) -> bool {
        self.verdict != Verdict::Down
            && self.open.front().is_some_and(|sent| now >= sent.at + patience)
    }

    /// Whether something has arrived that was sent at that time or after.
    pub(super) fn is_confirmed_since(&self, at: Duration) -> bool {
        self.confirmed.is_some_and(|confirmed| confirmed >= at)
    }

    /// When the last one that has arrived was sent.
    pub(super) const fn confirmed(&self) -> Option<Duration> {
        self.confirmed
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.filter(|_| self.verdict != Verdict::Down)
    }

    /// Whether it speaks up again after it was taken not to work.
    pub(super) fn is_recovering(&self) -> bool {
        self.verdict == Verdict::Down && self.good > 0
    }

    /// How often the other end speaks.
    pub(super) fn is_lively(&self) -> bool {
        self.far_interval <= Pace::QUICK
    }
}
