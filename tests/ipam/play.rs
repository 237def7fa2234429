//! Playing a list of what happens, and making a failing one short.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use router::ipam::{Flaw, Refusal, Stage, Wish};

use super::script::{Step, generate};
use super::world::{Plan, World, name};

/// Time that a failing list is made shorter for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Within this time every request is answered.
const PATIENCE_MORE: Duration = Duration::from_secs(6);

/// Why a list fails.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) why: String,
    journal: String,
}

/// Plays the list of a seed; one that fails is made short, and printed. How many leases there were.
pub(crate) fn run_seed(seed: u64) -> (u64, u64) {
    let (plan, steps) = generate(seed, None);
    let first = match run(&plan, &steps) {
        Ok(sums) => return sums,
        Err(failure) => failure,
    };
    let (steps, failure) = shrink(&plan, steps, first.clone());
    panic!(
        "seed {seed}: {}\n{}\nwith {} steps left: {}\n{plan:?}\n{steps:?}\n",
        first.why,
        failure.journal,
        steps.len(),
        failure.why
    );
}

/// Why the list of a seed fails when a rule is left out.
pub(crate) fn run_flawed(seed: u64, flaw: Flaw) -> Option<String> {
    let (plan, steps) = generate(seed, Some(flaw));
    run(&plan, &steps).err().map(|it| it.why)
}

/// Plays a list: how many leases there were, and how many refusals.
pub(crate) fn run(plan: &Plan, steps: &[Step]) -> Result<(u64, u64), Failure> {
    let mut world = World::new(plan.clone());
    let played = catch_unwind(AssertUnwindSafe(|| {
        for step in steps {
            world.play(*step);
        }
    }));
    if let Err(panic) = played {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|it| (*it).to_owned()));
        world.fail(format!("panic: {}", text.unwrap_or_default()));
    }
    match world.failure.take() {
        None => Ok((world.leased, world.refused)),
        Some(why) => {
            let journal = Vec::from(world.journal).join("\n");
            Err(Failure { why, journal })
        }
    }
}

fn shrink(plan: &Plan, steps: Vec<Step>, failure: Failure) -> (Vec<Step>, Failure) {
    #[expect(clippy::disallowed_methods, reason = "bounds real time, decides nothing simulated")]
    let began = Instant::now();
    let (mut steps, mut failure) = (steps, failure);
    let mut part = steps.len().div_ceil(2);
    loop {
        let (mut at, mut shorter) = (0, false);
        while at < steps.len() {
            if began.elapsed() > PATIENCE {
                return (steps, failure);
            }
            let end = (at + part).min(steps.len());
            let rest = [&steps[..at], &steps[end..]].concat();
            match run(plan, &rest) {
                Ok(_) => at = end,
                Err(why) => (steps, failure, shorter) = (rest, why, true),
            }
        }
        if part == 1 && !shorter {
            return (steps, failure);
        }
        part = (part / 2).max(1);
    }
}

impl World {
    pub(crate) fn play(&mut self, step: Step) {
        if self.failure.is_some() {
            return;
        }
        let count = self.nodes.len();
        let node = |it: usize| it % count;
        self.note(&format!("{step:?}"));
        match step {
            Step::Start(it) => {
                self.nodes[node(it)].dead = false;
                self.start(node(it));
            }
            Step::Kill(it) => self.kill(node(it)),
            Step::PowerOff(it) => self.power_off(node(it)),
            Step::Wipe(it) => {
                self.kill(node(it));
                self.nodes[node(it)].disk.clear();
                self.nodes[node(it)].image = None;
                // Who had them is not known to the node any more.
                self.nodes[node(it)].pods.clear();
            }
            Step::Image(it) => self.nodes[node(it)].image = Some(self.nodes[node(it)].disk.clone()),
            Step::RollBack(it) => self.roll_back(node(it)),
            Step::Copy(from, to, renamed) => self.copy(node(from), node(to), renamed),
            Step::Pods(it, many) => self.pods(node(it), many),
            Step::Claim(it, at) => self.claim(node(it), at),
            Step::End(it, many) => self.end(node(it), many),
            Step::Remove(a, b, force) => {
                let wish = Wish::Remove { name: name(node(b)), force };
                self.request(node(a), wish);
            }
            Step::RemoveByAll(it) => self.remove_by_all(node(it)),
            Step::Leave(it) => {
                self.nodes[node(it)].pods.clear();
                self.request(node(it), Wish::Leave);
            }
            Step::Split(sides) => {
                let sides = (0..count).map(|it| sides >> it & 1).collect();
                self.side = sides;
                self.look();
            }
            Step::Heal => self.heal(),
            Step::Storm => self.loss = 200,
            Step::Calm => self.loss = 0,
            Step::Pass(millis) => self.pass(Duration::from_millis(millis)),
            Step::Quiet => self.quiet(),
        }
        self.pass(Duration::ZERO);
    }

    fn heal(&mut self) {
        self.side = vec![0; self.nodes.len()];
        self.look();
    }

    /// The whole machine is as it was, pods included: those of then are gone, too.
    fn roll_back(&mut self, node: usize) {
        if let Some(image) = self.nodes[node].image.clone() {
            self.kill(node);
            self.nodes[node].pods.clear();
            self.nodes[node].disk = image;
            self.nodes[node].tainted = true;
            self.start(node);
        }
    }

    /// A machine is made from the disk of another.
    fn copy(&mut self, from: usize, to: usize, renamed: bool) {
        if from == to {
            return;
        }
        self.kill(to);
        self.nodes[to].pods.clear();
        self.nodes[to].image = None;
        self.nodes[to].disk = self.nodes[from].disk.clone();
        self.start_as(to, if renamed { from } else { to });
    }

    fn remove_by_all(&mut self, node: usize) {
        self.power_off(node);
        self.pass(Duration::from_secs(4));
        for by in 0..self.nodes.len() {
            self.request(by, Wish::Remove { name: name(node), force: false });
        }
    }

    fn pods(&mut self, node: usize, many: u64) {
        for _ in 0..many {
            let mut id = format!("pod-{node}-{}", self.rng.bits() % 1_000_000);
            // One that asks twice at once, and ends in between, has what the second answer says.
            let waits = |of: &str| {
                let mut all = self.nodes[node].waiting.values();
                all.any(|(wish, _)| matches!(wish, Wish::Allocate { id, .. } if id == of))
            };
            if waits(&id) || self.nodes[node].pods.contains_key(&id) {
                id.push('a');
            }
            let subnet = self.plan.range.subnet();
            self.request(node, Wish::Allocate { id, subnet });
        }
    }

    fn claim(&mut self, node: usize, at: u64) {
        let id = format!("claim-{node}-{}", self.rng.bits() % 1_000_000);
        let at = u32::try_from(at % self.plan.range.span().len()).unwrap();
        let (addr, subnet) = (self.plan.range.addr(at), self.plan.range.subnet());
        self.request(node, Wish::Claim { id, addr, subnet });
    }

    fn end(&mut self, node: usize, many: u64) {
        for _ in 0..many {
            let pods: Vec<_> = self.nodes[node].pods.keys().cloned().collect();
            let Some(last) = u64::try_from(pods.len()).unwrap().checked_sub(1) else { return };
            let id = pods[usize::try_from(self.rng.within(0..=last)).unwrap()].clone();
            self.nodes[node].pods.remove(&id);
            self.request(node, Wish::Free { id, addr: None });
        }
    }

    /// All faults end; who does not run starts, or is removed.
    fn quiet(&mut self) {
        self.loss = 0;
        self.heal();
        let count = self.nodes.len();
        for node in (0..count).filter(|it| *it > 0) {
            if !self.runs(node) && self.rng.chance(300) {
                self.nodes[node].pods.clear();
                self.nodes[node].dead = true;
            }
        }
        (0..count)
            .filter(|it| !self.nodes[*it].dead)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|it| self.start(it));
        self.pass(Duration::from_secs(8));
        // A runtime says what is no more.
        for node in 0..count {
            let Some(alloc) = &self.nodes[node].alloc else { continue };
            let ids = alloc.leases().map(|(_, lease)| lease.id.clone());
            let ended: Vec<_> = ids.filter(|id| !self.nodes[node].pods.contains_key(id)).collect();
            for id in ended {
                self.request(node, Wish::Free { id, addr: None });
            }
        }
        for round in 0..3 {
            self.pass(Duration::from_secs(4));
            self.mend(round);
        }
        self.pass(Duration::from_secs(25));
        if self.is_one_cluster() {
            self.probe();
            self.check_settled();
            self.remember_losers();
            self.contested.clear();
        }
        for node in 0..count {
            let cut_off = self.is_cut_off(node);
            self.nodes[node].tainted &=
                cut_off || self.nodes[node].pods.values().any(|it| it.tainted);
        }
    }

    /// Whether all owners were removed, and a majority is not there.
    fn is_ownerless(&self, node: usize) -> bool {
        let ring = self.nodes[node].alloc.as_ref().and_then(|it| it.ring());
        ring.is_some_and(|ring| ring.owners().all(|(_, record)| record.segments.is_empty()))
    }

    /// Everybody gets an address, or is told that there is none.
    fn probe(&mut self) {
        let running: Vec<_> = (0..self.nodes.len()).filter(|it| self.runs(*it)).collect();
        for node in &running {
            let subnet = self.plan.range.subnet();
            self.probes.clear();
            self.request(*node, Wish::Allocate { id: format!("probe-{node}"), subnet });
            self.pass(PATIENCE_MORE);
            match self.probes.last().cloned() {
                Some(Ok(_)) => {}
                Some(Err(Refusal::Full { .. })) => {
                    let free = |it: &usize| self.nodes[*it].alloc.as_ref().map(|it| it.view().free);
                    let free: u64 = running.iter().filter_map(free).sum();
                    if free > 0 {
                        return self.fail(format!(
                            "node {node} is told that all is full: {free} are free"
                        ));
                    }
                }
                other => return self.fail(format!("node {node} gets no address: {other:?}")),
            }
        }
        for node in running {
            self.nodes[node].pods.remove(&format!("probe-{node}"));
            self.request(node, Wish::Free { id: format!("probe-{node}"), addr: None });
        }
        self.pass(Duration::from_secs(40));
    }

    /// Whether all who run can have the same ring.
    fn is_one_cluster(&self) -> bool {
        let running = self.nodes.iter().filter_map(|it| it.alloc.as_ref());
        running.into_iter().all(|it| it.ring().is_some())
    }

    /// What an operator does: removes who is dead, and who was rolled back; starts who has left again.
    fn mend(&mut self, round: u64) {
        let count = self.nodes.len();
        for node in 0..count {
            let Some(alloc) = &self.nodes[node].alloc else { continue };
            let view = alloc.view();
            match view.stage {
                Stage::Waiting(Refusal::Left) => {
                    self.kill(node);
                    self.start(node);
                }
                Stage::Waiting(Refusal::RolledBack) => {
                    let other = (0..count).find(|it| *it != node && self.runs(*it));
                    let wish = Wish::Remove { name: name(node), force: true };
                    self.request(other.unwrap_or(node), wish);
                }
                Stage::Idle | Stage::Ready | Stage::Waiting(_) => {}
            }
        }
        let by = (0..count).filter(|it| self.runs(*it)).nth(usize::try_from(round).unwrap_or(0));
        let Some(by) = by.or_else(|| (0..count).find(|it| self.runs(*it))) else { return };
        if round == 2 && self.is_ownerless(by) {
            // As the refusal says: one that is gone, though nobody may know of it any more.
            let ring = self.nodes[by].alloc.as_ref().and_then(|it| it.ring());
            let removed = ring.and_then(|it| it.removed().next()).map(|it| it.name);
            let gone = removed.unwrap_or_else(|| name(count));
            self.request(by, Wish::Remove { name: gone, force: true });
        }
        // Who is dead, and seeds that never started.
        for node in 0..count {
            if self.nodes[node].dead || !self.runs(node) {
                let force = round == 2 && self.is_ownerless(by);
                self.request(by, Wish::Remove { name: name(node), force });
            }
        }
    }
}
