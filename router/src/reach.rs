//! Who answers on the direct data path.
//!
//! The mesh says who is there; that frames get there, too, is another matter: UDP may be filtered where TCP is not. So
//! each peer is asked once in a while, by a probe that travels as frames do. A peer is taken to be reached until it has
//! not answered `MISSES` questions in a row; then it has to answer `HITS` in a row. A question that was not
//! answered in time is asked again soon; so is everybody about whom there is a suspicion.
//!
//! Limits: a question each `EACH` for all peers together, so that with more than 50 of them each is asked less often
//! than once in `PERIOD`. Only peers that answer neither way are noticed: each end asks for itself.

use std::collections::BTreeMap;
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

/// How often a peer is asked.
const PERIOD: Duration = Duration::from_secs(1);
/// Between two questions in the long run, whoever is asked: 50 a second,
const EACH: Duration = Duration::from_millis(20);
/// and as many as fit this time at once.
const BURST: Duration = Duration::from_millis(500);
/// How long an answer may take. A busy control loop answers in milliseconds, round the world it takes 300 of them.
const PATIENCE: Duration = Duration::from_millis(600);
/// When a question is asked again that was not answered in time: at once.
const AGAIN: Duration = Duration::from_millis(0);
/// Questions in a row without an answer before a peer is taken not to be reached: 3 x 0.6 s after at most one
/// period, under 3 s.
const MISSES: u8 = 3;
/// Answers in a row before it is again.
const HITS: u8 = 3;

/// What is known of the direct path to each peer.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Reach {
    peers: BTreeMap<PeerName, Path>,
    /// For the questions' numbers.
    dice: u64,
    /// When all questions so far would have been asked, [`EACH`] apart.
    paid: Duration,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Path {
    answers: bool,
    /// Answers or silences in a row that speak against `answers`.
    against: u8,
    next: Duration,
    asked: Option<Question>,
    rtt: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Question {
    nonce: u64,
    at: Duration,
}

/// What has become known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finding {
    /// The peer is to be asked this.
    Ask(PeerName, u64),
    /// It answers, or it does not any more.
    Answers(PeerName, bool),
}

impl Reach {
    /// Nobody yet. Questions are numbered from `seed` on, in no order.
    pub const fn new(seed: u64) -> Self {
        Self { peers: BTreeMap::new(), dice: seed, paid: Duration::ZERO }
    }

    /// A peer is there: it is asked at once, and soon again.
    pub fn track(&mut self, name: PeerName, now: Duration) {
        let fresh = Path { answers: true, against: 0, next: now, asked: None, rtt: None };
        self.peers.entry(name).or_insert(fresh);
    }

    /// A peer has started again: what was asked of it before is forgotten, and it is asked at once.
    pub fn renew(&mut self, name: PeerName, now: Duration) {
        if self.peers.remove(&name).is_some() {
            self.track(name, now);
        }
    }

    /// A peer is not to be asked any more.
    pub fn forget(&mut self, name: PeerName) {
        self.peers.remove(&name);
    }

    /// Something speaks for it that the path has changed: it is asked at once.
    pub fn suspect(&mut self, name: PeerName, now: Duration) {
        if let Some(path) = self.peers.get_mut(&name) {
            path.next = path.next.min(now);
        }
    }

    /// Whether a peer answers. Of one that nobody asks nothing bad is known.
    pub fn answers(&self, name: PeerName) -> bool {
        self.peers.get(&name).is_none_or(|path| path.answers)
    }

    /// How long the last answer took.
    pub fn rtt(&self, name: PeerName) -> Option<Duration> {
        self.peers.get(&name)?.rtt
    }

    /// When a peer is asked next.
    pub fn next(&self, name: PeerName) -> Option<Duration> {
        self.peers.get(&name).map(|path| path.next)
    }

    /// An answer came.
    pub fn handle_answer(&mut self, name: PeerName, nonce: u64, now: Duration) -> Option<Finding> {
        let path = self.peers.get_mut(&name)?;
        let question = path.asked.take_if(|asked| asked.nonce == nonce)?;
        path.rtt = Some(now.saturating_sub(question.at));
        path.count(true).then_some(Finding::Answers(name, true))
    }

    /// What is due.
    pub fn handle_timeout(&mut self, now: Duration) -> Vec<Finding> {
        let mut findings = Vec::new();
        let pace = PERIOD.max(EACH * u32::try_from(self.peers.len()).unwrap_or(u32::MAX));
        for (name, path) in &mut self.peers {
            if path.asked.take_if(|asked| now >= asked.at + PATIENCE).is_some() {
                path.rtt = None;
                path.next = if path.answers { now + AGAIN } else { path.next };
                if path.count(false) {
                    findings.push(Finding::Answers(*name, false));
                }
            }
            if path.asked.is_none() && now >= path.next && now + BURST >= self.paid + EACH {
                self.dice = next(self.dice);
                let nonce = mix(self.dice);
                (path.asked, path.next) = (Some(Question { nonce, at: now }), now + pace);
                self.paid = self.paid.max(now) + EACH;
                findings.push(Finding::Ask(*name, nonce));
            }
        }
        findings
    }

    /// When there is something due.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let affordable = (self.paid + EACH).saturating_sub(BURST);
        let due = |path: &Path| match path.asked {
            Some(asked) => asked.at + PATIENCE,
            None => path.next.max(affordable),
        };
        self.peers.values().map(due).min()
    }
}

impl Path {
    /// Notes an answer, or that there was none. Whether that has changed what the path is taken for.
    fn count(&mut self, answered: bool) -> bool {
        if answered == self.answers {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let enough = if answered { HITS } else { MISSES };
        if self.against < enough {
            return false;
        }
        (self.answers, self.against) = (answered, 0);
        true
    }
}

const fn next(dice: u64) -> u64 {
    dice.wrapping_add(0x9e37_79b9_7f4a_7c15)
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerName = PeerName::local(1);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Runs from `from` to `until`; who is asked answers after 1 ms if `open` says so. What was found, and when.
    fn run(
        reach: &mut Reach,
        from: u64,
        until: u64,
        open: impl Fn(u64) -> bool,
    ) -> Vec<(u64, bool)> {
        let mut found = Vec::new();
        let mut answers: Vec<(u64, PeerName, u64)> = Vec::new();
        for at in from..until {
            let due = answers.extract_if(.., |(when, ..)| *when <= at).collect::<Vec<_>>();
            let said =
                due.into_iter().filter_map(|(_, name, n)| reach.handle_answer(name, n, ms(at)));
            let said: Vec<_> = said.collect();
            for finding in said.into_iter().chain(reach.handle_timeout(ms(at))) {
                match finding {
                    Finding::Ask(name, nonce) if open(at) => answers.push((at + 1, name, nonce)),
                    Finding::Ask(..) => {}
                    Finding::Answers(_, answers) => found.push((at, answers)),
                }
            }
        }
        found
    }

    #[test]
    fn a_path_that_breaks_is_noticed_in_three_seconds_and_one_that_heals_in_four() {
        let mut reach = Reach::new(7);
        reach.track(PEER, ms(0));

        let found = run(&mut reach, 0, 30_000, |at| !(5_300..17_800).contains(&at));

        let [(broken, false), (healed, true)] = found[..] else { panic!("{found:?}") };
        assert!((5_300..8_300).contains(&broken), "{broken}");
        assert!((17_800..21_800).contains(&healed), "{healed}");
    }

    #[test]
    fn a_second_of_silence_is_not_a_broken_path() {
        let mut reach = Reach::new(7);
        reach.track(PEER, ms(0));

        let found = run(&mut reach, 0, 60_000, |at| at % 10_000 > 1_000);

        assert_eq!(found, []);
        assert_eq!(reach.rtt(PEER), Some(ms(1)));
    }

    #[test]
    fn an_answer_to_another_question_counts_for_nothing() {
        let mut reach = Reach::new(7);
        reach.track(PEER, ms(0));
        let [Finding::Ask(_, nonce)] = reach.handle_timeout(ms(0))[..] else { panic!("not asked") };

        assert_eq!(reach.handle_answer(PEER, nonce ^ 1, ms(1)), None);
        assert_eq!(reach.rtt(PEER), None);
    }

    #[test]
    fn a_thousand_peers_are_asked_fifty_a_second_and_all_in_turn() {
        let mut reach = Reach::new(7);
        for n in 0..1_000 {
            reach.track(PeerName::local(n), ms(0));
        }
        let mut asked = BTreeMap::<PeerName, u32>::new();

        for at in 0..60_000 {
            for finding in reach.handle_timeout(ms(at)) {
                let Finding::Ask(name, nonce) = finding else { panic!("{finding:?}") };
                *asked.entry(name).or_default() += 1;
                reach.handle_answer(name, nonce, ms(at));
            }
        }

        let total: u32 = asked.values().sum();
        assert_eq!(asked.len(), 1_000);
        assert!(total <= 50 * 62, "{total}");
    }
}
