//! Random lists of what happens.

use std::collections::BTreeSet;

use router::ipam::{Flaw, Init, Range};
use weft_tests::rng::Rng;

use super::world::{Plan, name};

/// One thing that happens. Any can be left out of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Start(usize),
    Kill(usize),
    PowerOff(usize),
    /// Stopped, and its state lost.
    Wipe(usize),
    Image(usize),
    RollBack(usize),
    /// The second gets the state of the first, and runs under its own name, or under that one until the mesh renames it.
    Copy(usize, usize, bool),
    /// So many pods are started.
    Pods(usize, u64),
    /// An address is claimed.
    Claim(usize, u64),
    /// So many pods end.
    End(usize, u64),
    /// The first removes the second, by force or not.
    Remove(usize, usize, bool),
    /// It loses its power, and its operators remove it on all nodes at once.
    RemoveByAll(usize),
    Leave(usize),
    Split(u32),
    Heal,
    Storm,
    Calm,
    Pass(u64),
    /// All faults end, and all is checked.
    Quiet,
}

/// The cluster of a seed, and what happens in it.
pub(crate) fn generate(seed: u64, flaw: Option<Flaw>) -> (Plan, Vec<Step>) {
    let mut rng = Rng::new(seed ^ 0x6970_616d);
    let nodes = usize::try_from(rng.within(2..=6)).unwrap();
    let prefix = rng.within(24..=28);
    let range = Range::new(format!("10.32.0.0/{prefix}").parse().unwrap()).unwrap();
    let plan = Plan { seed, range, inits: inits(&mut rng, nodes), flaw };
    let mut steps = Vec::new();
    if rng.chance(150) {
        steps.push(Step::Split(u32::try_from(rng.within(0..=63)).unwrap()));
    }
    for node in 0..nodes {
        if !rng.chance(100) {
            steps.push(Step::Start(node));
        }
    }
    steps.push(Step::Pass(rng.within(0..=4000)));
    for _ in 0..rng.within(4..=30) {
        if nodes > 2 && rng.chance(30) {
            steps.extend(orphan(&mut rng, nodes));
        } else {
            steps.push(step(&mut rng, nodes));
        }
        if rng.chance(700) {
            let wait = [100, 1500, 8000][usize::try_from(rng.within(0..=2)).unwrap()];
            steps.push(Step::Pass(rng.within(0..=wait)));
        }
        if rng.chance(40) {
            steps.push(Step::Quiet);
        }
    }
    steps.push(Step::Quiet);
    (plan, steps)
}

fn inits(rng: &mut Rng, nodes: usize) -> Vec<Init> {
    let count = u32::try_from(nodes).unwrap();
    let seeds = |from: usize, to: usize| (from..to).map(name).collect::<BTreeSet<_>>();
    match rng.within(0..=9) {
        0 => {
            let seeds = seeds(0, nodes.div_ceil(2));
            (0..nodes).map(|_| Init::Seed(seeds.clone())).collect()
        }
        1 => {
            // Two halves that know nothing of each other.
            let half = nodes / 2;
            let (left, right) = (seeds(0, half), seeds(half, nodes));
            (0..nodes)
                .map(|it| Init::Seed(if it < half { left.clone() } else { right.clone() }))
                .collect()
        }
        2 => (0..nodes)
            .map(|it| if it == 0 { Init::Observer(count - 1) } else { Init::Consensus(count - 1) })
            .collect(),
        3 => {
            // They do not agree how many they are.
            (0..nodes).map(|_| Init::Consensus(u32::try_from(rng.within(1..=6)).unwrap())).collect()
        }
        // The first is given nobody, each other one the first.
        4 | 5 => (0..nodes).map(|it| Init::Majority(if it == 0 { 1 } else { 2 })).collect(),
        _ => (0..nodes).map(|_| Init::Consensus(count)).collect(),
    }
}

/// One gives to another, which may give to a third, while all the rest is away; who gave dies, and is removed by who knows nothing.
fn orphan(rng: &mut Rng, nodes: usize) -> Vec<Step> {
    let (donor, far) = (any(rng, nodes), 1 + any(rng, nodes - 2));
    let (recipient, third) = ((donor + 1) % nodes, (donor + 2) % nodes);
    let remover = (donor + 1 + far) % nodes;
    let mut steps = vec![Step::Calm, Step::Heal];
    steps.extend((0..nodes).flat_map(|it| [Step::Start(it), Step::Pods(it, 2)]));
    steps.extend([Step::Pass(4000), Step::Split(1 << donor | 1 << recipient), Step::Pass(2000)]);
    steps.extend([Step::Pods(recipient, 40), Step::Pass(rng.within(0..=1000))]);
    let wait = Step::Pass(rng.within(0..=400));
    if rng.chance(300) && remover != third {
        steps.extend([Step::PowerOff(donor), Step::Split(1 << recipient | 1 << third)]);
        steps.extend([Step::Pass(2000), Step::Pods(third, 40), Step::Pass(rng.within(0..=1000))]);
        steps.extend([Step::PowerOff(recipient), Step::Heal, wait]);
        steps.extend([Step::Remove(remover, recipient, false), wait]);
    } else {
        steps.extend([Step::PowerOff(donor), Step::Heal, wait]);
    }
    steps.extend([Step::Remove(remover, donor, rng.chance(300)), Step::Pass(500)]);
    steps
}

fn any(rng: &mut Rng, nodes: usize) -> usize {
    usize::try_from(rng.within(0..=u64::try_from(nodes).unwrap() - 1)).unwrap()
}

fn step(rng: &mut Rng, nodes: usize) -> Step {
    let (node, other) = (any(rng, nodes), any(rng, nodes));
    match rng.within(0..=99) {
        0..=29 => Step::Pods(node, rng.within(1..=12)),
        30..=33 => Step::Claim(node, rng.within(0..=255)),
        34..=43 => Step::End(node, rng.within(1..=8)),
        44..=51 => Step::Kill(node),
        52..=56 => Step::PowerOff(node),
        57..=66 => Step::Start(node),
        67..=68 => Step::Wipe(node),
        69 => Step::Image(node),
        70 => Step::Copy(node, other, rng.chance(500)),
        71..=72 => Step::RollBack(node),
        73..=78 => Step::Remove(node, other, rng.chance(400)),
        79..=80 => Step::RemoveByAll(node),
        81..=82 => Step::Leave(node),
        83..=89 => Step::Split(u32::try_from(rng.within(0..=63)).unwrap()),
        90..=93 => Step::Heal,
        94..=96 => Step::Storm,
        _ => Step::Calm,
    }
}
