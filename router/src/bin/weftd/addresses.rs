//! Address management: one task that owns the allocator and does what it says.
//!
//! ```text
//!  mesh: channel `ipam`, who is up --+                    +--> ledger (own thread) --> what is saved
//!  desk: requests -------------------+--> Registry -------+--> post --> mesh
//!  inquirer: who uses an address ----+   (Allocator)      +--> inquirer, answers, the log
//! ```
//!
//! All that waits goes into one step, so that what is asked for at once is saved at once. While much is being saved nothing is
//! taken from the mesh: it waits there, and what is dropped comes again by digests.

mod inquirer;
mod look;
mod outside;
mod post;
mod remedy;
mod state;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use peer_mesh::shell::Snapshot;
use router::ipam::{
    Allocator, Answer, Config, Input, Lease, LeaseState, Output, Refusal, Request, Wish,
};
use router::ledger::{self, CommitError, LedgerThread};
use router::serve::IpamLook;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::sleep_until;

pub(crate) use inquirer::Inquirer;
pub(crate) use look::awaited;
use outside::Standing;
pub(crate) use outside::{Ends, Office, tell_standing};
pub(crate) use post::{Post, channel};
pub(crate) use remedy::remedy;
pub(crate) use state::{Ready, check, open, owned};

use crate::args::Addressing;
use crate::tick::{self, Clock};
use outside::Peers;

/// Requests and messages that go into one step.
const BATCH: usize = 256;
/// Steps that are being saved while more is taken from the mesh.
const SAVING: usize = 64;
/// Two steps that nothing has called for are so far apart.
const LEAST: Duration = Duration::from_millis(1);
/// How long a request may take: what asks waits a little longer.
const UNTIL: Duration = Duration::from_secs(9);
/// How long while nothing can be saved, which is tried again every second.
const UNSAVED: Duration = Duration::from_millis(1500);

/// What is asked of the task.
#[derive(Debug)]
pub(crate) enum Question {
    /// Something is wanted.
    Wish(Wish, oneshot::Sender<Result<Answer, Refusal>>),
    /// How it stands.
    Look(oneshot::Sender<Seen>),
    /// What is leased, to all or to one.
    Leases(Option<String>, oneshot::Sender<Vec<(IpAddr, Lease)>>),
}

/// How it stands, and what was counted.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) look: IpamLook,
    pub(crate) counters: BTreeMap<String, u64>,
}

/// The task.
pub(crate) struct Registry {
    addressing: Addressing,
    allocator: Allocator,
    clock: Clock,
    ledger: LedgerThread,
    post: Post,
    inquirer: Inquirer,
    peers: Peers,
    standing: watch::Sender<Standing>,
    asked: BTreeMap<u64, (Wish, oneshot::Sender<Result<Answer, Refusal>>)>,
    token: u64,
    saving: usize,
    saves: u64,
    saved: mpsc::UnboundedReceiver<(u64, Result<u64, CommitError>)>,
    probed: mpsc::UnboundedReceiver<Input>,
    probes: mpsc::UnboundedSender<Input>,
}

impl Registry {
    /// A task that goes on from what was kept.
    pub(crate) fn new(
        ready: Ready,
        (seed, clock): (u64, Clock),
        post: Post,
        inquirer: Inquirer,
    ) -> anyhow::Result<Self> {
        let Ready { addressing, name, ledger, kept } = ready;
        let Addressing { range, subnet, init } = addressing.clone();
        let config = Config { name, range, subnet, init, seed, flaw: None };
        let (tell, saved) = mpsc::unbounded_channel();
        let ledger = LedgerThread::start(ledger, move |seq, outcome| {
            // Who has ended needs no answer.
            let _ = tell.send((seq, outcome));
        })?;
        let (probes, probed) = mpsc::unbounded_channel();
        let allocator = Allocator::new(config, kept);
        Ok(Self {
            addressing,
            standing: watch::channel(Standing::of(&allocator)).0,
            allocator,
            clock,
            ledger,
            post,
            inquirer,
            peers: Peers::default(),
            asked: BTreeMap::new(),
            token: 0,
            saving: 0,
            saves: 0,
            saved,
            probed,
            probes,
        })
    }

    /// What others are told of it.
    pub(crate) fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Runs until nobody has anything to tell it.
    pub(crate) async fn run(
        mut self,
        Ends { mut questions, mut said, mut seen, .. }: Ends,
    ) -> anyhow::Result<()> {
        let (mut asked, mut told) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut least = Duration::ZERO;
        self.step(Vec::new())?;
        loop {
            let due = self.allocator.poll_timeout().map(|due| self.clock.at(due.max(least)));
            let (mut inputs, mut shown) = (Vec::new(), false);
            tokio::select! {
                biased;
                count = questions.recv_many(&mut asked, BATCH) => {
                    anyhow::ensure!(count > 0, "nobody asks for addresses: please report this");
                }
                Some(saved) = self.saved.recv() => inputs.push(self.note_saved(saved)),
                Some(probed) = self.probed.recv() => inputs.push(probed),
                changed = seen.changed() => {
                    changed.context("the mesh has nobody to show: please report this")?;
                    shown = true;
                }
                count = said.recv_many(&mut told, BATCH), if self.saving < SAVING => {
                    anyhow::ensure!(count > 0, "the mesh has nothing to tell: please report this");
                }
                () = sleep_until(due.unwrap_or_else(|| self.clock.at(least))), if due.is_some() => {}
            }
            while let Ok(saved) = self.saved.try_recv() {
                inputs.push(self.note_saved(saved));
            }
            while let Ok(probed) = self.probed.try_recv() {
                inputs.push(probed);
            }
            while asked.len() < BATCH
                && let Ok(question) = questions.try_recv()
            {
                asked.push(question);
            }
            let more = if self.saving < SAVING { BATCH } else { 0 };
            while told.len() < more
                && let Ok(message) = said.try_recv()
            {
                told.push(message);
            }
            if shown || seen.has_changed().unwrap_or(false) {
                inputs.extend(self.look_at_peers(&mut seen));
            }
            inputs.append(&mut told);
            let looks = self.take(&mut asked, &mut inputs);
            self.step(inputs)?;
            looks.into_iter().for_each(|look| self.answer(look));
            least = self.clock.now() + LEAST;
        }
    }

    /// Wishes become inputs; the rest is answered after the step.
    fn take(&mut self, asked: &mut Vec<Question>, inputs: &mut Vec<Input>) -> Vec<Question> {
        let (now, wall) = (self.clock.now(), tick::wall());
        let patience = if self.allocator.is_failing() { UNSAVED } else { UNTIL };
        let mut looks = Vec::new();
        for question in asked.drain(..) {
            match question {
                Question::Wish(wish, to) => {
                    self.token += 1;
                    self.asked.insert(self.token, (wish.clone(), to));
                    inputs.push(Input::Request(Request {
                        token: self.token,
                        wish,
                        until: now + patience,
                        wall: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
                    }));
                }
                Question::Look(_) | Question::Leases(..) => looks.push(question),
            }
        }
        looks
    }

    fn look_at_peers(&mut self, seen: &mut watch::Receiver<Option<Arc<Snapshot>>>) -> Vec<Input> {
        let snapshot = seen.borrow_and_update().clone();
        let range = self.addressing.range.subnet();
        snapshot.map_or_else(Vec::new, |snapshot| self.peers.look(&snapshot, range))
    }

    fn note_saved(&mut self, (seq, outcome): (u64, Result<u64, CommitError>)) -> Input {
        match outcome {
            Ok(_) => {
                self.saving = self.saving.saturating_sub(1);
                Input::Saved(seq)
            }
            Err(error) => Input::Unsaved(error.to_string()),
        }
    }

    fn step(&mut self, inputs: Vec<Input>) -> anyhow::Result<()> {
        for output in self.allocator.step(self.clock.now(), inputs) {
            match output {
                Output::Save(seq, edits) => {
                    let edits = edits.into_iter();
                    let edits = edits.map(|it| ledger::Edit { key: it.key, value: it.value });
                    self.saving += 1;
                    self.saves += 1;
                    self.ledger.submit(seq, edits.collect())?;
                }
                Output::Broadcast { .. }
                | Output::Tell { .. }
                | Output::Send { .. }
                | Output::Digest(_) => self.post.send(output),
                Output::Reply(token, outcome) => {
                    if let Some((_, to)) = self.asked.remove(&token) {
                        // Who asked may have gone.
                        let _ = to.send(outcome);
                    }
                }
                Output::Probe(at, addr) => self.inquirer.inquire((at, addr), self.probes.clone()),
                Output::Say(word) => words::say(&word),
            }
        }
        let is = Standing::of(&self.allocator);
        self.standing.send_if_modified(|was| std::mem::replace(was, is) != is);
        Ok(())
    }

    fn answer(&self, question: Question) {
        match question {
            Question::Look(to) => drop(to.send(self.look())),
            Question::Leases(id, to) => {
                let addr =
                    |(at, lease): (_, &Lease)| (self.addressing.range.addr(at), lease.clone());
                let leases = match &id {
                    Some(id) => self.allocator.leases_of(id).map(addr).collect(),
                    None => self.allocator.leases().map(addr).collect(),
                };
                drop(to.send(leases));
            }
            Question::Wish(..) => {}
        }
    }

    fn look(&self) -> Seen {
        let view = self.allocator.view();
        let owned = self.allocator.leases().filter(|(_, it)| it.state == LeaseState::Owned);
        let leased = u64::try_from(owned.count()).unwrap_or(u64::MAX);
        let claims = |id: &str| self.claimed_by(id);
        let (rings, usurped, malformed) = view.conflicts;
        let counters = [
            ("messages_dropped", self.post.dropped()),
            ("saves", self.saves),
            ("other_rings", rings),
            ("usurped", usurped),
            ("malformed", malformed),
        ];
        let moment = (self.clock.now(), self.allocator.own().name);
        let look = look::look(moment, &self.addressing, &view, (leased, &claims));
        Seen { look, counters: counters.map(|(name, count)| (name.to_owned(), count)).into() }
    }

    /// The address that somebody waits for, if it is a certain one.
    fn claimed_by(&self, id: &str) -> Option<IpAddr> {
        self.asked.values().find_map(|(wish, _)| match wish {
            Wish::Claim { id: of, addr, .. } if of == id => Some(*addr),
            Wish::Claim { .. }
            | Wish::Allocate { .. }
            | Wish::Free { .. }
            | Wish::Remove { .. }
            | Wish::Leave => None,
        })
    }
}
