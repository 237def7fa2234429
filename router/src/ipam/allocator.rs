//! The allocator: a node's part in address management.
//!
//! [`Allocator::step`] takes what has happened at one moment and says what is to be done. It reads no clock and rolls no dice
//! but those it was given. What it says is held back until the state that it follows from is durable ([`Input::Saved`]), so
//! that a crash at any point leaves a node that has promised nothing it does not remember.
//!
//! It goes through stages: nothing is known of a ring; the first split is agreed upon, or a ring is heard of; what was
//! restored is compared with what others know (`pull`); this node takes part, with a record of its own; all who are up know
//! that (`introduce`). Only then does it lease.
//!
//! Invariants: an address is leased only while it is in a segment of the node's own record; the space is what the record has
//! without what is leased; only this node writes its record; each request is answered once, by its time.

mod ask;
mod begin;
mod bygone;
mod depart;
mod give;
mod gossip;
mod io;
mod leases;
mod missing;
mod peers;
mod pull;
mod refusal;
mod serve;
mod settle;
mod store;
mod view;
mod why;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use peer_mesh::PeerName;

pub use io::{
    Answer, Config, Edit, Flaw, Init, Input, Output, Reach, Refusal, Request, Wish, Word,
};
pub use leases::{Lease, LeaseState};
pub use store::{Kept, RefusedState};
pub use view::{OwnerView, RemovalView, Stage, View};

use super::paxos::Paxos;
use super::ring::{News, Patch};
use super::wire::{self, Message};
use super::{Epoch, Offset, Owner, Ring, RingId, Rng, Space};
use ask::Asks;
use bygone::Bygone;
use leases::Leases;
use missing::Missing;
use pull::Pull;
use serve::Pending;
use store::Store;

/// A freed address rests for so long, while there are others.
pub(super) const REST: Duration = Duration::from_secs(30);
/// Stages that may follow each other in one step.
const STAGES: usize = 4;
/// What was not answered is said again.
const AGAIN: Duration = Duration::from_millis(500);

/// A node's part in address management. See the module.
#[derive(Debug)]
pub struct Allocator {
    config: Config,
    rng: Rng,
    own: Owner,
    ring: Option<Ring>,
    /// The ring that the leases began in.
    home: Option<RingId>,
    space: Space,
    leases: Leases,
    /// Those that are there or silent.
    peers: BTreeMap<PeerName, Reach>,
    /// What peers are called by people, also when they are no more.
    nicknames: BTreeMap<PeerName, String>,
    paxos: Paxos,
    /// Whose answers are awaited before what was restored counts.
    pull: Option<Pull>,
    /// Whether all who are up know of this node; who does, until then.
    introduced: bool,
    known_by: BTreeSet<PeerName>,
    /// Whether nothing is to be taken as soon as all who are up know of it still.
    reassured: bool,
    introduce_at: Duration,
    /// The state on disk was older than what others know.
    rolled_back: bool,
    left: Option<Leaving>,
    bygone: Bygone,
    /// An operator wants removals done even if no majority of the beginning is there.
    forced: bool,
    pending: BTreeMap<u64, Pending>,
    asks: Asks,
    /// A ring that comes in several messages.
    incoming: Option<Incoming>,
    /// Whom a whole ring was sent, because theirs is another.
    answered: BTreeMap<PeerName, Duration>,
    /// Peers whose range is another.
    strangers: BTreeMap<PeerName, super::Subnet>,
    conflicts: Conflicts,
    store: Store,
    /// What is to be said when it is durable.
    out: Vec<Output>,
    /// What this step has changed in the ring by itself.
    news: News,
    ring_changed: bool,
    /// The digest that others wait for this node to show, and when it may.
    to_show: Option<u64>,
    show_at: Duration,
    hinted_at: Duration,
    digest: u64,
    /// Whether somebody has wanted an address.
    used: bool,
    /// Whether one who does not vote on the first ring wants it.
    urged: bool,
}

/// A ring of which some messages have come.
#[derive(Debug)]
struct Incoming {
    from: PeerName,
    id: RingId,
    patch: Patch,
    missing: Missing,
    since: Duration,
}

/// This node gives everything away.
#[derive(Clone, Debug)]
struct Leaving {
    heir: Option<PeerName>,
    addresses: u64,
    done: bool,
}

/// What was said of conflicts, and how often there were some.
#[derive(Clone, Debug, Default)]
pub(super) struct Conflicts {
    /// Rings that were begun separately.
    pub(super) rings: u64,
    /// Parts that two owned.
    pub(super) usurped: u64,
    /// Messages that made no sense.
    pub(super) malformed: u64,
    /// The last of the first kind: with whom, which was kept, which dropped.
    pub(super) last_ring: Option<(PeerName, RingId, RingId)>,
    /// When that was first seen.
    pub(super) last_ring_at: Duration,
}

impl Allocator {
    /// A node that begins with what it has kept, or anew. What it says is for [`Self::step`]'s caller.
    pub fn new(config: Config, kept: Kept) -> Self {
        let mut rng = Rng::new(config.seed);
        let epoch = kept.epoch.unwrap_or_else(|| Epoch::after(0, rng.half()));
        let own = Owner { name: config.name, epoch };
        let count = match config.init {
            Init::Consensus(count) | Init::Majority(count) | Init::Observer(count) => count,
            Init::Seed(_) => 1,
        };
        let votes = matches!(config.init, Init::Consensus(_) | Init::Majority(_));
        let paxos = Paxos::new(own, count, votes, kept.acceptor);
        // Even the last state of its own says nothing of what others have done meanwhile: they may have removed it.
        let seed = Owner { name: own.name, epoch: Epoch::SEED };
        let is_seed = kept.ring.as_ref().is_some_and(|ring| ring.record(seed).is_some());
        let pull = match &kept.ring {
            Some(_) if is_seed => Some(Pull::sown()),
            Some(ring) => Some(Pull::restored(ring, own)),
            None => None,
        };
        let mut it = Self {
            rng,
            own,
            ring: kept.ring,
            home: kept.home,
            space: Space::default(),
            leases: Leases::from(kept.leases),
            peers: BTreeMap::new(),
            nicknames: kept.nicknames,
            paxos,
            pull,
            introduced: kept.introduced,
            known_by: BTreeSet::new(),
            reassured: true,
            introduce_at: Duration::ZERO,
            rolled_back: kept.rolled_back,
            left: None,
            bygone: Bygone::default(),
            forced: false,
            pending: BTreeMap::new(),
            asks: Asks::default(),
            incoming: None,
            answered: BTreeMap::new(),
            strangers: BTreeMap::new(),
            conflicts: Conflicts::default(),
            store: Store::default(),
            out: Vec::new(),
            news: News::default(),
            ring_changed: true,
            to_show: None,
            show_at: Duration::ZERO,
            hinted_at: Duration::ZERO,
            digest: 0,
            used: false,
            urged: false,
            config,
        };
        it.used = !it.leases.is_empty();
        it.rebuild_space();
        it.store.begin(it.ring.as_ref(), kept.epoch.is_none() || kept.rolled_back);
        it.reclaim_others();
        it.sow();
        it.forget_nicknames();
        it
    }

    /// Takes what has happened up to `now`, and says what is to be done.
    pub fn step(&mut self, now: Duration, inputs: impl IntoIterator<Item = Input>) -> Vec<Output> {
        let mut free = Vec::new();
        for input in inputs {
            self.handle(input, now, &mut free);
        }
        // What is settled may be what the next stage begins with.
        for _ in 0..STAGES {
            self.begin(now);
            if !std::mem::take(&mut self.ring_changed) {
                break;
            }
            self.settle();
        }
        self.come_home();
        self.space.wake(now);
        self.serve(now);
        self.ask(now);
        self.show(now);
        self.hint(now);
        self.conclude(&mut free);
        self.expire(now, &mut free);
        for output in &free {
            if let Output::Reply(token, _) = output {
                self.pending.remove(token);
            }
        }
        free
    }

    /// When [`Self::step`] is to be called at the latest.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let waiting = self.pending.values().map(|it| it.request.until).min();
        let asks = |it: &&Pull| it.is_sown() || !self.peers.is_empty();
        let pull = self.pull.as_ref().filter(asks).map(Pull::again_at);
        let introduce = self.is_introducing().then_some(self.introduce_at);
        let show = self.to_show.is_some().then_some(self.show_at);
        let proposes = self.wants_ring() && self.can_propose();
        let paxos = proposes.then(|| self.paxos.poll_timeout()).flatten();
        let probes =
            self.pending.values().filter_map(|it| it.probing.map(|(_, until)| until)).min();
        let looks = self.pending.values().filter_map(|it| it.look_at).min();
        let hint = self.is_to_hint().then_some(self.hinted_at + settle::HINT);
        let needs = self.pending.values().any(|it| it.needs.is_some() || it.claims.is_some());
        let asks = self.asks.poll_timeout(needs);
        let (unsettled, lost) = (self.leases.has_unsettled(), self.leases.has_lost());
        let claims = self.may_ask().then(|| self.asks.claims_at(unsettled, lost)).flatten();
        let now = self.ring_changed.then_some(Duration::ZERO);
        let all = [now, waiting, looks, pull, introduce, show, paxos, probes, hint, asks, claims];
        all.into_iter().flatten().min()
    }

    /// Who this node is.
    pub fn own(&self) -> Owner {
        self.own
    }

    /// The ring, if one is known.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Whether what was last to be saved could not be.
    pub const fn is_failing(&self) -> bool {
        self.store.failing.is_some()
    }

    fn handle(&mut self, input: Input, now: Duration, free: &mut Vec<Output>) {
        match input {
            Input::Peer(name, reach) => self.peer(name, reach, now),
            Input::Divides(name, subnet) => self.note_stranger(name, subnet),
            Input::Called(name, nickname) => self.called(name, nickname),
            Input::Renamed(name) => self.renamed(name),
            Input::Gossip { via, message } => self.hear(via, &message, true, now),
            Input::Message { from, message } => self.hear(from, &message, false, now),
            Input::StateWanted(to) => self.tell_all(to),
            Input::Request(request) => self.wish(request),
            Input::Saved(seq) => self.saved(seq, free),
            Input::Unsaved(why) => {
                if self.store.failing.as_ref() != Some(&why) {
                    free.push(Output::Say(Word::Saving(Some(why.clone()))));
                }
                self.store.failing = Some(why);
            }
            Input::Probed(at, used) => self.probed(at, used),
        }
    }

    fn send(&mut self, to: PeerName, message: &Message) {
        let messages = wire::emit(self.config.range, message).into_iter();
        self.out.extend(messages.map(|message| Output::Send { to, message }));
    }

    fn send_all(&mut self, message: &Message) {
        let up: Vec<_> = self.up().collect();
        for to in up {
            self.send(to, message);
        }
    }

    fn say(&mut self, word: Word) {
        self.out.push(Output::Say(word));
    }

    /// What was heard and changed is passed on.
    fn pass_on(&mut self, news: &News, except: Option<PeerName>) {
        let Some(ring) = &self.ring else { return };
        let message = Message::Ring(ring.id(), ring.part(news));
        let messages = wire::emit(self.config.range, &message).into_iter();
        self.out.extend(messages.map(|message| Output::Broadcast { message, except }));
    }

    /// Makes the step's changes durable, and holds back what follows from them until they are.
    fn conclude(&mut self, free: &mut Vec<Output>) {
        let news = std::mem::take(&mut self.news);
        if !news.is_empty() {
            // What this node says of itself comes before what it asks of others.
            let rest = std::mem::take(&mut self.out);
            self.store.note(&news);
            self.pass_on(&news, None);
            self.out.extend(rest);
        }
        if self.store.is_dirty() {
            if let Some(ring) = self.ring.as_ref().filter(|_| self.pull.is_none()) {
                let digest = ring.whole_digest();
                if std::mem::replace(&mut self.digest, digest) != digest {
                    self.out.push(Output::Digest(digest));
                }
            }
            let edits = self.edits();
            free.push(self.store.save(edits, std::mem::take(&mut self.out)));
        } else {
            let out = std::mem::take(&mut self.out);
            self.store.hold(out, free);
        }
    }

    fn saved(&mut self, seq: u64, free: &mut Vec<Output>) {
        if self.store.failing.take().is_some() {
            free.push(Output::Say(Word::Saving(None)));
        }
        free.extend(self.store.release(seq));
    }

    /// The offset of the address after the last lease is where the search goes on.
    fn rebuild_space(&mut self) {
        self.space = Space::default();
        let Some(record) = self.ring.as_ref().and_then(|ring| ring.record(self.own)) else {
            return;
        };
        for segment in &record.segments {
            self.space.add(segment.span);
        }
        for at in self.leases.offsets() {
            self.space.remove(super::Span::one(at));
        }
        if let Some(last) = self.leases.last() {
            self.space.resume(last);
        }
        self.keep_probed();
    }

    fn own_record(&self) -> Option<&super::Record> {
        self.ring.as_ref()?.record(self.own)
    }

    /// Writes this node's record; it is durable and told with the end of the step.
    fn write_own(&mut self, change: impl FnOnce(&mut super::Record)) {
        if let Some(ring) = &mut self.ring {
            ring.write(self.own, change);
            self.news.records.insert(self.own);
            self.ring_changed = true;
        }
    }

    /// Whether an address is in this node's own segments.
    fn owns(&self, at: Offset) -> bool {
        self.own_record().is_some_and(|record| record.segment_at(at).is_some())
    }
}

#[cfg(test)]
mod tests;
