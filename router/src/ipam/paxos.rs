//! Paxos: how nodes that start together agree on the first ring. Single-decree, after "Paxos Made Simple" (Lamport 2001).
//!
//! Every node is an acceptor. Whoever needs addresses and knows of no ring proposes: it asks for promises and gathers them
//! from more than half of the `count` nodes that were said to be there at first; then it proposes what the latest acceptance
//! among the promises says, or, if there is none, a ring that is divided among those who promised; when more than half have
//! accepted, that is the ring. It is told by gossip, and the protocol is over.
//!
//! Promise and acceptance are durable before they are told ([`Acceptor`] is what is kept). Two majorities share a node only
//! if all count alike: a proposal with another count is rejected, and shown.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peer_mesh::PeerName;
use serde::{Deserialize, Serialize};

use super::ring::RingId;
use super::wire::Message;
use super::{Owner, Rng};

/// A proposal's rank: of two, the one of the later round counts, and in one round the one of the higher name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Ballot {
    /// Which round.
    pub round: u64,
    /// Who proposes.
    pub by: PeerName,
}

/// What is decided: the ring's id, and among whom it is divided.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Value {
    /// The ring's id.
    pub id: RingId,
    /// Its first owners.
    pub owners: BTreeSet<Owner>,
}

/// What an acceptor has said, and keeps.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Acceptor {
    /// The least ballot that it may still accept.
    pub promised: Option<Ballot>,
    /// What it has accepted last.
    pub accepted: Option<(Ballot, Value)>,
}

/// A round may take this long before the next is tried, and up to twice as long by chance.
const ROUND: Duration = Duration::from_millis(500);
/// In place of a count: who says it does not vote, and asks others to begin.
pub(super) const URGE: u32 = 0;
/// So long more promises are waited for, when they would be enough.
const MORE: Duration = Duration::from_millis(200);

/// A node's part in the first split. See the module.
#[derive(Clone, Debug)]
pub struct Paxos {
    own: Owner,
    /// How many are there at first, as far as this node was told,
    base: u32,
    /// and as it knows.
    count: u32,
    /// Whether it is one of them: else it only asks them to.
    votes: bool,
    pub(super) acceptor: Acceptor,
    round: Option<Round>,
    /// The latest round heard of.
    last_round: u64,
    /// When others were last asked to begin.
    urged_at: Option<Duration>,
    /// Nodes that count otherwise.
    pub(super) others: BTreeMap<PeerName, u32>,
    /// Nodes that only ask others to.
    observers: BTreeSet<PeerName>,
}

#[derive(Clone, Debug)]
struct Round {
    ballot: Ballot,
    /// Of how many more than half must accept.
    count: u32,
    began: Duration,
    ends: Duration,
    promises: BTreeMap<Owner, Option<(Ballot, Value)>>,
    value: Option<Value>,
    accepted: BTreeSet<PeerName>,
}

/// What a node is to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Move {
    /// Tell all peers that are up.
    All(Message),
    /// Tell one.
    One(PeerName, Message),
    /// It is decided.
    Decided(Value),
}

impl Paxos {
    /// A node's part, with what it has kept.
    pub(super) fn new(own: Owner, count: u32, votes: bool, acceptor: Acceptor) -> Self {
        let last_round = acceptor.promised.map_or(0, |it| it.round);
        let (others, observers) = (BTreeMap::new(), BTreeSet::new());
        Self {
            own,
            base: count,
            count,
            votes,
            acceptor,
            round: None,
            last_round,
            urged_at: None,
            others,
            observers,
        }
    }

    /// Those are there: of so many more than half must agree, if there are more of them than this node was told.
    pub(super) fn count_peers(&mut self, peers: impl Iterator<Item = PeerName>) {
        let voters =
            peers.filter(|it| !self.observers.contains(it)).count() + usize::from(self.votes);
        // Of those that were given some may be observers.
        let observers = u32::try_from(self.observers.len()).unwrap_or(u32::MAX);
        let base = self.base.saturating_sub(observers).max(1);
        self.count = base.max(u32::try_from(voters).unwrap_or(u32::MAX));
        let count = self.count;
        self.others.retain(|_, other| *other != count);
    }

    /// A peer says that it does not vote.
    pub(super) fn note_observer(&mut self, name: PeerName) {
        self.observers.insert(name);
    }

    /// What a peer was is no longer known.
    pub(super) fn forget(&mut self, name: PeerName) {
        self.observers.remove(&name);
        self.others.remove(&name);
    }

    /// Another name, and another epoch.
    pub(super) fn rename(&mut self, own: Owner) {
        self.own = own;
        self.round = None;
    }

    /// How many must agree.
    pub fn quorum(&self) -> usize {
        majority(self.count)
    }

    /// The same, when so many are no more.
    pub(super) fn quorum_without(&self, gone: usize) -> usize {
        let count = usize::try_from(self.base).unwrap_or(usize::MAX);
        count.saturating_sub(gone) / 2 + 1
    }

    /// Asks those who vote to begin, if it is time to: for who does not.
    pub(super) fn urge(&mut self, now: Duration) -> Vec<Move> {
        if self.urged_at.is_some_and(|at| now < at + ROUND) {
            return Vec::new();
        }
        self.urged_at = Some(now);
        let ballot = Ballot { round: 0, by: self.own.name };
        vec![Move::All(Message::Prepare(URGE, ballot))]
    }

    /// Whether a peer has said that it does not vote.
    pub(super) fn is_observer(&self, name: PeerName) -> bool {
        self.observers.contains(&name)
    }

    /// Proposes, if it is time to. `up`: how many peers could answer.
    pub(super) fn propose(&mut self, now: Duration, up: usize, rng: &mut Rng) -> Vec<Move> {
        if let Some(round) = &self.round {
            let enough = round.value.is_none() && round.promises.len() >= majority(round.count);
            let all = round.promises.len() >= up + usize::from(self.votes);
            if enough && (all || now >= round.began + MORE) {
                return self.accept_phase(rng);
            }
            if now < round.ends {
                return Vec::new();
            }
        }
        self.last_round += 1;
        let ballot = Ballot { round: self.last_round, by: self.own.name };
        let ends = now + ROUND + Duration::from_millis(rng.below(500));
        let mut promises = BTreeMap::new();
        if self.votes {
            promises.insert(self.own, self.acceptor.accepted.clone());
            self.acceptor.promised = self.acceptor.promised.max(Some(ballot));
        }
        let (value, accepted) = (None, BTreeSet::new());
        let count = self.count;
        self.round = Some(Round { ballot, count, began: now, ends, promises, value, accepted });
        let mut moves = vec![Move::All(Message::Prepare(count, ballot))];
        if self.quorum() == 1 && up == 0 && self.votes {
            moves.extend(self.accept_phase(rng));
        }
        moves
    }

    /// When [`Self::propose`] is to be called again.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        if !self.votes {
            return self.urged_at.map(|at| at + ROUND);
        }
        let round = self.round.as_ref()?;
        let enough = round.value.is_none() && round.promises.len() >= majority(round.count);
        Some(if enough { round.ends.min(round.began + MORE) } else { round.ends })
    }

    /// How many have promised.
    pub fn known(&self) -> usize {
        self.round.as_ref().map_or(0, |it| it.promises.len())
    }

    /// What another says; `None`: it is of another protocol.
    pub(super) fn handle(&mut self, from: PeerName, message: Message) -> Vec<Move> {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "the others are not about the first split"
        )]
        match message {
            Message::Prepare(count, ballot) => self.prepare(from, count, ballot),
            Message::Promise(ballot, owner, accepted) => {
                if let Some(round) = self.round.as_mut().filter(|it| it.ballot == ballot)
                    && round.value.is_none()
                {
                    round.promises.insert(owner, accepted);
                }
                Vec::new()
            }
            Message::Reject(count, _, promised) => {
                self.last_round = self.last_round.max(promised.round);
                self.note_count(from, count);
                Vec::new()
            }
            Message::Accept(count, ballot, value) => self.accept(from, count, ballot, value),
            Message::Accepted(ballot) => self.accepted(from, ballot),
            _ => Vec::new(),
        }
    }

    fn prepare(&mut self, from: PeerName, count: u32, ballot: Ballot) -> Vec<Move> {
        self.last_round = self.last_round.max(ballot.round);
        self.note_count(from, count);
        match self.refusal(count, ballot) {
            Some(refusal) => vec![Move::One(from, refusal)],
            None => {
                self.acceptor.promised = Some(ballot);
                let accepted = self.acceptor.accepted.clone();
                vec![Move::One(from, Message::Promise(ballot, self.own, accepted))]
            }
        }
    }

    fn accept(&mut self, from: PeerName, count: u32, ballot: Ballot, value: Value) -> Vec<Move> {
        self.note_count(from, count);
        if let Some(refusal) = self.refusal(count, ballot) {
            return vec![Move::One(from, refusal)];
        }
        self.acceptor = Acceptor { promised: Some(ballot), accepted: Some((ballot, value)) };
        vec![Move::One(from, Message::Accepted(ballot))]
    }

    fn refusal(&self, count: u32, ballot: Ballot) -> Option<Message> {
        let promised = self.acceptor.promised.filter(|it| *it > ballot);
        let refused = promised.is_some() || count != self.count;
        refused.then(|| Message::Reject(self.count, ballot, promised.unwrap_or(ballot)))
    }

    fn accepted(&mut self, from: PeerName, ballot: Ballot) -> Vec<Move> {
        if let Some(round) = self.round.as_mut().filter(|it| it.ballot == ballot) {
            round.accepted.insert(from);
        }
        self.decide()
    }

    fn accept_phase(&mut self, rng: &mut Rng) -> Vec<Move> {
        let own = self.own.name;
        let Some(round) = &mut self.round else { return Vec::new() };
        let count = round.count;
        let latest = round.promises.values().flatten().max_by_key(|(ballot, _)| *ballot);
        let value = latest.map_or_else(
            || Value {
                id: RingId(rng.bits() >> 1),
                owners: round.promises.keys().copied().collect(),
            },
            |(_, value)| value.clone(),
        );
        round.value = Some(value.clone());
        let mut moves = vec![Move::All(Message::Accept(count, round.ballot, value.clone()))];
        if self.votes && self.acceptor.promised <= Some(round.ballot) {
            let accepted = Some((round.ballot, value));
            self.acceptor = Acceptor { promised: Some(round.ballot), accepted };
            round.accepted.insert(own);
        }
        moves.extend(self.decide());
        moves
    }

    fn decide(&mut self) -> Vec<Move> {
        let decided = |round: &&Round| round.accepted.len() >= majority(round.count);
        let value = self.round.as_ref().filter(decided).and_then(|round| round.value.clone());
        value.map(Move::Decided).into_iter().collect()
    }

    fn note_count(&mut self, from: PeerName, count: u32) {
        if count == self.count {
            self.others.remove(&from);
        } else {
            self.others.insert(from, count);
        }
    }
}

fn majority(count: u32) -> usize {
    usize::try_from(count / 2 + 1).unwrap_or(usize::MAX)
}
