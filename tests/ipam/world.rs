//! A cluster: nodes with a disk and pods, a network, and virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use peer_mesh::PeerName;
use router::ipam::{
    Allocator, Answer, Config, Edit, Epoch, Flaw, Init, Input, Kept, Offset, Output, Owner, Range,
    Reach, Refusal, RefusedState, Request, RingId, Span, Wish, Word,
};
use weft_tests::rng::Rng;

/// How long a request may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Saving takes no longer.
const SAVING: Duration = Duration::from_millis(20);
/// A silent peer is gone after this time.
const HOLD: Duration = Duration::from_secs(20);

/// What is durable of a node.
pub(crate) type Disk = BTreeMap<Vec<u8>, Vec<u8>>;

/// How a cluster is made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) range: Range,
    pub(crate) inits: Vec<Init>,
    pub(crate) flaw: Option<Flaw>,
}

/// An address that a pod has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    pub(crate) at: Offset,
    /// Whose it was when it was leased, or regained.
    pub(crate) owner: Owner,
    /// In which ring.
    pub(crate) ring: u64,
    /// The pod's node was told that another has it.
    pub(crate) lost: bool,
    /// Its node's disk was rolled back since, or was before.
    pub(crate) tainted: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: PeerName,
    pub(crate) init: Init,
    pub(crate) alloc: Option<Allocator>,
    pub(crate) disk: Disk,
    pub(crate) image: Option<Disk>,
    /// What is being saved.
    saving: VecDeque<(u64, Vec<Edit>)>,
    starts: u64,
    /// Pods that run here, whether the daemon does or not.
    pub(crate) pods: BTreeMap<String, Use>,
    /// Requests that are not answered, and when they were made.
    pub(crate) waiting: BTreeMap<u64, (Wish, Duration)>,
    pub(crate) digest: u64,
    /// How it sees others, and since when.
    seen: BTreeMap<usize, (Reach, Duration)>,
    /// Which owners it knows, and since when.
    known: BTreeMap<Owner, Duration>,
    pub(crate) tainted: bool,
    /// It has had a state, or was removed before it had a part.
    had: bool,
    /// It is a seed that has lost its state, and owns nothing by a new one.
    pub(crate) wiped: bool,
    /// Its operator has given it up.
    pub(crate) dead: bool,
}

impl Node {
    /// It runs, and has taken a part.
    fn owns(&self) -> bool {
        let owns = |it: &Allocator| {
            it.ring().and_then(|ring| ring.record(it.own())).is_some_and(|own| own.owned() > 0)
        };
        self.alloc.as_ref().is_some_and(owns)
    }

    /// Its disk says that it has taken one.
    fn owned(&self, range: Range) -> bool {
        let Ok(kept) = Kept::read(&self.disk, self.name, range) else { return false };
        let Some((ring, epoch)) = kept.ring.zip(kept.epoch) else { return false };
        ring.record(Owner { name: self.name, epoch }).is_some_and(|own| own.owned() > 0)
    }
}

#[derive(Debug)]
enum Event {
    Input(usize, u64, Input),
    Saved(usize, u64, u64),
    Reach(usize, u64, usize),
    Sync,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) nodes: Vec<Node>,
    events: BinaryHeap<Reverse<(Duration, u64)>>,
    bodies: BTreeMap<u64, Event>,
    next: u64,
    /// On which side of a partition each is.
    pub(crate) side: Vec<u32>,
    /// Messages lost, in a thousand.
    pub(crate) loss: u64,
    pub(crate) journal: VecDeque<String>,
    /// All epochs that any node has ever known to be removed.
    pub(crate) removed: BTreeSet<Owner>,
    /// What was taken although somebody out of reach has it.
    pub(crate) contested: Vec<Span>,
    /// When who is connected knows it.
    settled_at: Duration,
    pub(crate) failure: Option<String>,
    tokens: u64,
    /// What who probed was answered.
    pub(crate) probes: Vec<Result<Answer, Refusal>>,
    pub(crate) leased: u64,
    pub(crate) refused: u64,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let rng = Rng::new(plan.seed);
        let node = |(at, init): (usize, &Init)| Node {
            name: name(at),
            init: init.clone(),
            alloc: None,
            disk: Disk::new(),
            image: None,
            saving: VecDeque::new(),
            starts: 0,
            pods: BTreeMap::new(),
            waiting: BTreeMap::new(),
            digest: 0,
            seen: BTreeMap::new(),
            known: BTreeMap::new(),
            tainted: false,
            had: false,
            wiped: false,
            dead: false,
        };
        let nodes: Vec<_> = plan.inits.iter().enumerate().map(node).collect();
        let mut world = Self {
            now: Duration::from_secs(1),
            side: vec![0; nodes.len()],
            nodes,
            rng,
            plan,
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            next: 0,
            loss: 0,
            journal: VecDeque::new(),
            removed: BTreeSet::new(),
            contested: Vec::new(),
            settled_at: Duration::ZERO,
            failure: None,
            tokens: 0,
            probes: Vec::new(),
            leased: 0,
            refused: 0,
        };
        world.at(Duration::from_secs(1), Event::Sync);
        world
    }

    pub(crate) fn note(&mut self, text: &str) {
        if self.journal.len() >= 400 {
            self.journal.pop_front();
        }
        self.journal.push_back(format!("{:9.3} {text}", self.now.as_secs_f64()));
    }

    pub(crate) fn fail(&mut self, why: String) {
        self.note(&format!("FAILED: {why}"));
        self.failure.get_or_insert(why);
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.next += 1;
        self.events.push(Reverse((self.now + after, self.next)));
        self.bodies.insert(self.next, event);
    }

    fn soon(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.rng.within(from..=to))
    }

    pub(crate) fn runs(&self, node: usize) -> bool {
        self.nodes[node].alloc.is_some()
    }

    pub(crate) fn connected(&self, a: usize, b: usize) -> bool {
        a != b && self.runs(a) && self.runs(b) && self.side[a] == self.side[b]
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut spins = (self.now, 0u64);
        while self.failure.is_none() {
            let event = self.events.peek().map(|Reverse((at, _))| *at);
            let timer = |node: &Node| node.alloc.as_ref()?.poll_timeout();
            let timers = self.nodes.iter().enumerate();
            let timer = timers.filter_map(|(at, node)| Some((timer(node)?, at))).min();
            let due = event.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(due) = due.filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            spins = if spins.0 == self.now { (self.now, spins.1 + 1) } else { (self.now, 0) };
            if spins.1 > 20_000 {
                return self.fail(format!("no rest: {timer:?} {event:?}"));
            }
            match timer {
                Some((at, node)) if event.is_none_or(|event| at <= event) => self.step(node, None),
                _ => {
                    let Some(Reverse((_, id))) = self.events.pop() else { break };
                    let event = self.bodies.remove(&id).unwrap();
                    self.happen(event);
                }
            }
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input(node, start, input) if self.nodes[node].starts == start => {
                self.step(node, Some(input));
            }
            Event::Saved(node, start, seq) if self.nodes[node].starts == start => {
                let node_ = &mut self.nodes[node];
                while let Some((it, edits)) = node_.saving.pop_front_if(|(it, _)| *it <= seq) {
                    let _ = it;
                    apply(&mut node_.disk, edits);
                }
                self.step(node, Some(Input::Saved(seq)));
            }
            Event::Reach(node, start, other) if self.nodes[node].starts == start => {
                self.see(node, other);
            }
            Event::Input(..) | Event::Saved(..) | Event::Reach(..) => {}
            Event::Sync => self.sync(),
        }
    }

    fn see(&mut self, node: usize, other: usize) {
        if !self.runs(node) {
            return;
        }
        let connected = self.connected(node, other);
        let before = self.nodes[node].seen.get(&other).copied();
        let since = before.map_or(self.now, |(_, since)| since);
        let reach = match (connected, before) {
            (true, _) => Reach::Up,
            (false, None) => return,
            (false, Some((Reach::Up, _))) => Reach::Silent,
            (false, Some(_)) if self.now >= since + HOLD => Reach::Gone,
            (false, Some((reach, _))) => reach,
        };
        if before.map(|(reach, _)| reach) != Some(reach) {
            self.nodes[node].seen.insert(other, (reach, self.now));
            let name = self.nodes[other].name;
            self.step(node, Some(Input::Peer(name, reach)));
        }
    }

    /// Whoever may see others otherwise finds out.
    pub(crate) fn look(&mut self) {
        self.doubt();
        self.settled_at = self.now + Duration::from_secs(5);
        for (a, b) in pairs(self.nodes.len()) {
            let after = self.soon(10, 1500);
            let start = self.nodes[a].starts;
            self.at(after, Event::Reach(a, start, b));
        }
    }

    /// A seed that has lost its state, and takes its part before it hears those who could tell what became of it, cannot know.
    fn doubt(&mut self) {
        for node in 0..self.nodes.len() {
            self.nodes[node].had |= !self.nodes[node].disk.is_empty();
            if !self.nodes[node].wiped {
                continue;
            }
            if self.nodes[node].owns() {
                self.nodes[node].wiped = false;
                continue;
            }
            self.nodes[node].tainted |= self.runs(node) && self.is_cut_off(node);
        }
    }

    /// Somebody has a state whom it cannot hear.
    pub(crate) fn is_cut_off(&self, node: usize) -> bool {
        let knows = |it: &usize| *it != node && !self.nodes[*it].disk.is_empty();
        let hears = |it: usize| self.runs(it) && self.connected(node, it);
        (0..self.nodes.len()).filter(knows).any(|it| !hears(it))
    }

    fn sync(&mut self) {
        let mut all = pairs(self.nodes.len());
        all.retain(|(a, b)| self.connected(*a, *b));
        for (a, b) in all {
            let up = |a: usize, b: usize| {
                self.nodes[a].seen.get(&b).is_some_and(|(reach, _)| *reach == Reach::Up)
            };
            let differ = self.nodes[a].digest != self.nodes[b].digest;
            if up(a, b) && up(b, a) && differ {
                let name = self.nodes[b].name;
                self.step(a, Some(Input::StateWanted(name)));
            }
        }
        for (a, b) in pairs(self.nodes.len()) {
            self.see(a, b);
        }
        let after = self.soon(800, 1500);
        self.at(after, Event::Sync);
    }

    /// Starts a daemon with what its disk holds.
    pub(crate) fn start(&mut self, node: usize) {
        self.start_as(node, node);
    }

    /// The same by the name of another, until the mesh gives it its own: before it has heard anybody.
    pub(crate) fn start_as(&mut self, node: usize, other: usize) {
        if self.runs(node) {
            return;
        }
        let seed = self.rng.bits();
        let range = self.plan.range;
        let it = &mut self.nodes[node];
        let (own, name) = (it.name, name(other));
        let kept = match Kept::read(&it.disk, name, range) {
            Ok(kept) => kept,
            Err(RefusedState::OtherName(_)) => {
                // The daemon puts it aside.
                it.disk.clear();
                Kept::default()
            }
            Err(why) => return self.fail(format!("node {node} does not start: {why}")),
        };
        it.wiped |= it.had && it.disk.is_empty() && matches!(it.init, Init::Seed(_));
        let subnet = range.subnet();
        let (init, flaw) = (it.init.clone(), self.plan.flaw);
        let config = Config { name, range, subnet, init, seed, flaw };
        it.alloc = Some(Allocator::new(config, kept));
        it.starts += 1;
        (it.digest, it.seen, it.known) = (0, BTreeMap::new(), BTreeMap::new());
        self.note(&format!("node {node} starts as {name}"));
        self.step(node, (other != node).then_some(Input::Renamed(own)));
        self.look();
    }

    /// The daemon dies: what was being saved is saved, or not, from the first on.
    pub(crate) fn kill(&mut self, node: usize) {
        if !self.runs(node) {
            return;
        }
        let count = u64::try_from(self.nodes[node].saving.len()).unwrap();
        let whole = self.rng.within(0..=count);
        let it = &mut self.nodes[node];
        for (_, edits) in it.saving.drain(..).take(usize::try_from(whole).unwrap()) {
            apply(&mut it.disk, edits);
        }
        it.alloc = None;
        it.starts += 1;
        it.waiting.clear();
        self.note(&format!("node {node} dies, {whole} of {count} saves are whole"));
        self.look();
    }

    /// The whole host dies, its pods too.
    pub(crate) fn power_off(&mut self, node: usize) {
        self.kill(node);
        self.nodes[node].pods.clear();
        self.note(&format!("node {node} has no power"));
    }

    pub(crate) fn request(&mut self, node: usize, wish: Wish) {
        if !self.runs(node) {
            return;
        }
        if let Wish::Remove { name: of, .. } = wish {
            self.remove_unborn(of);
        }
        self.tokens += 1;
        let token = self.tokens;
        self.nodes[node].waiting.insert(token, (wish.clone(), self.now));
        let until = self.now + PATIENCE;
        let wall = u64::try_from(self.now.as_micros()).unwrap();
        self.note(&format!("node {node} is asked for {wish:?}"));
        self.step(node, Some(Input::Request(Request { token, wish, until, wall })));
    }

    /// A seed that was removed before it took its part is as one that has lost its state.
    fn remove_unborn(&mut self, removed: PeerName) {
        let range = self.plan.range;
        for node in self.nodes.iter_mut().filter(|it| it.name == removed) {
            let seed = matches!(node.init, Init::Seed(_));
            node.had = true;
            node.wiped |= seed && !node.owns() && !node.owned(range);
        }
        self.doubt();
    }

    fn step(&mut self, node: usize, input: Option<Input>) {
        let now = self.now;
        let Node { alloc, known, .. } = &mut self.nodes[node];
        let Some(alloc) = alloc else { return };
        let outputs = alloc.step(now, input);
        if let Some(ring) = alloc.ring() {
            self.removed.extend(ring.removed());
            let owners: BTreeSet<Owner> = ring.owners().map(|(owner, _)| owner).collect();
            known.retain(|it, _| owners.contains(it));
            for owner in owners {
                known.entry(owner).or_insert(now);
            }
        }
        let owner = alloc.own();
        for output in outputs {
            self.perform(node, owner, output);
        }
        let late = self.nodes[node].waiting.iter().find(|(_, (_, since))| now > *since + PATIENCE);
        if let Some((token, (wish, _))) = late {
            let text = format!("node {node} did not answer {token} in time: {wish:?}");
            self.fail(text);
        }
    }

    fn perform(&mut self, node: usize, owner: Owner, output: Output) {
        let start = self.nodes[node].starts;
        match output {
            Output::Save(seq, edits) => {
                self.nodes[node].saving.push_back((seq, edits));
                let after = self.soon(0, SAVING.as_millis().try_into().unwrap());
                self.at(after, Event::Saved(node, start, seq));
            }
            Output::Broadcast { message, except } => {
                let others = (0..self.nodes.len()).filter(|it| self.connected(node, *it));
                let others: Vec<_> =
                    others.filter(|it| Some(self.nodes[*it].name) != except).collect();
                for to in others {
                    let via = self.nodes[node].name;
                    self.carry(to, &Input::Gossip { via, message: message.clone() });
                }
            }
            Output::Tell { to, message } => {
                let via = self.nodes[node].name;
                self.carry_to(node, to, &Input::Gossip { via, message });
            }
            Output::Send { to, message } => {
                let from = self.nodes[node].name;
                self.carry_to(node, to, &Input::Message { from, message });
            }
            Output::Digest(digest) => self.nodes[node].digest = digest,
            Output::Reply(token, answer) => self.reply(node, owner, token, answer),
            Output::Probe(at, _) => {
                let used = self.is_used_near(node, at);
                let after = self.soon(50, 300);
                self.at(after, Event::Input(node, start, Input::Probed(at, used)));
            }
            Output::Say(word) => self.said(node, owner, &word),
        }
    }

    fn carry_to(&mut self, from: usize, to: PeerName, input: &Input) {
        if let Some(to) = self.nodes.iter().position(|it| it.name == to)
            && self.connected(from, to)
        {
            self.carry(to, input);
        }
    }

    fn carry(&mut self, to: usize, input: &Input) {
        if self.rng.chance(self.loss) {
            return;
        }
        let copies = if self.rng.chance(self.loss / 4) { 2 } else { 1 };
        for _ in 0..copies {
            let after =
                if self.rng.chance(self.loss) { self.soon(1, 2000) } else { self.soon(1, 30) };
            let start = self.nodes[to].starts;
            self.at(after, Event::Input(to, start, input.clone()));
        }
    }

    fn is_used_near(&self, node: usize, at: Offset) -> bool {
        let near = self.nodes.iter().zip(&self.side).filter(|(_, side)| **side == self.side[node]);
        near.flat_map(|(node, _)| node.pods.values()).any(|it| it.at == at)
    }

    fn said(&mut self, node: usize, owner: Owner, word: &Word) {
        self.note(&format!("node {node} says {word:?}"));
        #[expect(clippy::wildcard_enum_match_arm, reason = "the others are for people")]
        match word {
            Word::Lost { addr, .. } => self.pods_at(node, *addr, |it| it.lost = true),
            Word::Regained(addr) => {
                self.pods_at(node, *addr, |it| (it.owner, it.lost) = (owner, false))
            }
            Word::RolledBack => self.nodes[node].tainted = true,
            Word::Recovered { from, count } => self.recovered(node, *from, *count),
            Word::Malformed(from, why) => self.fail(format!("{from} sent nonsense: {why}")),
            _ => {}
        }
    }

    /// A node takes what nobody has, as far as it knows. Who is out of its reach may have got a part of it from somebody who
    /// was removed: that one will lose it.
    fn recovered(&mut self, node: usize, from: IpAddr, count: u64) {
        let start = u64::from(self.plan.range.offset(from).unwrap());
        let span = Span::new(start, start + count).unwrap();
        let ring = self.nodes[node].alloc.as_ref().and_then(|it| it.ring()).cloned();
        let Some(ring) = ring else { return };
        let taker = self.nodes[node].alloc.as_ref().map(Allocator::own);
        for other in (0..self.nodes.len()).filter(|it| *it != node) {
            let Some((owner, owned, given)) = self.owned(other, ring.id()) else { continue };
            let within =
                |spans: Vec<Span>| spans.into_iter().filter_map(|it| it.intersection(span));
            let parts: Vec<_> = within(owned).collect();
            self.contested.extend(within(given));
            if parts.is_empty() {
                continue;
            }
            // Or the one that takes was removed by force while it ran, and has not heard of it: then that side loses.
            let forced = self.nodes[other].alloc.as_ref().and_then(|it| it.ring());
            let forced = forced.is_some_and(|it| taker.is_some_and(|taker| it.is_removed(taker)));
            let removed = ring.is_removed(owner) || forced || owner.epoch == Epoch::SEED;
            let settled =
                self.connected(node, other) && self.loss == 0 && self.settled_at <= self.now;
            // Of whom it knew when it decided, it must know all.
            let since = self.nodes[node].known.get(&owner);
            let known = since.is_some_and(|it| self.now > *it + 2 * SAVING);
            let known = known && !self.nodes[other].tainted;
            if !removed && (settled || known) {
                self.fail(format!(
                    "node {node} takes {span:?}, of which node {other} has {parts:?}"
                ));
            }
            self.contested.extend(parts);
        }
    }

    /// What a node owns in a ring, whether it runs or not, and what it has given, on its way.
    fn owned(&self, node: usize, ring: RingId) -> Option<(Owner, Vec<Span>, Vec<Span>)> {
        let it = &self.nodes[node];
        let kept;
        let (own, known) = match &it.alloc {
            Some(alloc) => (alloc.own(), alloc.ring()?),
            None => {
                kept = Kept::read(&it.disk, it.name, self.plan.range).ok()?;
                (Owner { name: it.name, epoch: kept.epoch? }, kept.ring.as_ref()?)
            }
        };
        // A seed that has not yet taken up what it will own.
        let seed = Owner { name: it.name, epoch: Epoch::SEED };
        let owner = [own, seed].into_iter().find(|it| known.record(*it).is_some())?;
        let record = known.record(owner).filter(|_| known.id() == ring)?;
        let owned = record.segments.iter().map(|it| it.span).collect();
        Some((owner, owned, record.offers.iter().map(|it| it.segment.span).collect()))
    }

    fn pods_at(&mut self, node: usize, addr: IpAddr, change: impl FnMut(&mut Use)) {
        let at = self.plan.range.offset(addr);
        let pods = self.nodes[node].pods.values_mut();
        pods.filter(|it| Some(it.at) == at).for_each(change);
    }

    fn reply(&mut self, node: usize, owner: Owner, token: u64, answer: Result<Answer, Refusal>) {
        let Some((wish, _)) = self.nodes[node].waiting.remove(&token) else {
            return self.fail(format!("node {node} answers {token} twice"));
        };
        self.note(&format!("node {node} answers {answer:?}"));
        if let Wish::Allocate { id, .. } = &wish
            && id.starts_with("probe")
        {
            self.probes.push(answer.clone());
        }
        match (wish, answer) {
            (Wish::Allocate { id, .. } | Wish::Claim { id, .. }, Ok(Answer::Leased(addr))) => {
                let at = self.plan.range.offset(addr).unwrap();
                self.leased += 1;
                self.check_lease(node, owner, &id, at);
                let ring =
                    self.nodes[node].alloc.as_ref().and_then(|it| it.ring().map(|it| it.id().0));
                let tainted = self.nodes[node].tainted;
                let new = Use { at, owner, ring: ring.unwrap_or(0), lost: false, tainted };
                self.nodes[node].pods.entry(id).or_insert(new);
            }
            (Wish::Allocate { .. } | Wish::Claim { .. }, Err(_)) => self.refused += 1,
            // All that it leased is given away.
            (Wish::Leave, Ok(_)) => self.nodes[node].pods.clear(),
            _ => {}
        }
    }
}

pub(crate) fn name(at: usize) -> PeerName {
    let at = u8::try_from(at + 1).unwrap();
    PeerName::new([2, 0, 0, 0, 0, at]).unwrap()
}

pub(crate) fn pairs(nodes: usize) -> Vec<(usize, usize)> {
    let all = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    all.filter(|(a, b)| a != b).collect()
}

fn apply(disk: &mut Disk, edits: Vec<Edit>) {
    for Edit { key, value } in edits {
        match value {
            Some(value) => disk.insert(key, value),
            None => disk.remove(&key),
        };
    }
}
