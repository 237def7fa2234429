//! An allocator and its ledger: power fails at every write, and what was answered holds.

use std::collections::BTreeMap;
use std::net::IpAddr;

use peer_mesh::PeerName;

use super::crash::each_failure;
use super::platter::Platter;
use super::*;
use crate::ipam::{
    Allocator, Answer, Config, Init, Input, Kept, Output, Range, Refusal, Request, Wish,
};

const NAME: PeerName = PeerName::local(1);
/// What is asked, in one run.
const WISHES: u64 = 40;

fn range() -> Range {
    Range::new("10.32.0.0/24".parse().unwrap()).unwrap()
}

fn subnet() -> crate::ipam::Subnet {
    range().subnet()
}

/// A node alone, whose disk is a platter.
struct Node {
    allocator: Allocator,
    ledger: Ledger,
    now: Duration,
    tokens: u64,
}

impl Node {
    fn start(platter: &Platter, seed: u64) -> Self {
        let (ledger, Contents { entries, .. }) = opened(platter);
        let kept = Kept::read(&entries, NAME, range()).unwrap();
        let (range, subnet, init) = (range(), subnet(), Init::Consensus(1));
        let config = Config { name: NAME, range, subnet, init, seed, flaw: None };
        let now = Duration::from_secs(1);
        Self { allocator: Allocator::new(config, kept), ledger, now, tokens: 0 }
    }

    fn wish(&mut self, wish: Wish) -> Result<Answer, Refusal> {
        self.tokens += 1;
        let (token, until, wall) = (self.tokens, self.now + Duration::from_secs(5), 0);
        let mut inputs = vec![Input::Request(Request { token, wish, until, wall })];
        loop {
            for output in self.allocator.step(self.now, std::mem::take(&mut inputs)) {
                if let Output::Save(seq, edits) = output {
                    let edits = edits.into_iter();
                    let edits: Vec<_> =
                        edits.map(|it| Edit { key: it.key, value: it.value }).collect();
                    assert!(self.ledger.commit(&edits).is_ok());
                    inputs.push(Input::Saved(seq));
                } else if let Output::Reply(of, answer) = output
                    && of == token
                {
                    return answer;
                }
            }
            if inputs.is_empty() {
                self.now = self.allocator.poll_timeout().unwrap().max(self.now);
            }
        }
    }

    fn lease(&mut self, id: &str) -> IpAddr {
        let wished = self.wish(Wish::Allocate { id: id.to_owned(), subnet: subnet() });
        let Ok(Answer::Leased(addr)) = wished else { panic!("{wished:?}") };
        addr
    }

    fn leases(&self) -> BTreeMap<String, IpAddr> {
        let leases = self.allocator.leases();
        leases.map(|(at, lease)| (lease.id.clone(), range().addr(at))).collect()
    }
}

/// Leases that are sure, from so many operations of the disk on.
type Told = Vec<(usize, BTreeMap<String, IpAddr>)>;

fn run(platter: &Platter) -> Told {
    let mut node = Node::start(platter, 1);
    let (mut dice, mut leases) = (Dice(1), BTreeMap::<String, IpAddr>::new());
    let mut told = vec![(0, leases.clone())];
    for number in 0..WISHES {
        let free = leases.keys().nth(dice.below(9)).filter(|_| dice.below(3) == 0).cloned();
        if let Some(id) = free {
            node.wish(Wish::Free { id: id.clone(), addr: None }).unwrap();
            leases.remove(&id);
        } else {
            let id = format!("pod{number}");
            leases.insert(id.clone(), node.lease(&id));
        }
        told.push((platter.operations(), leases.clone()));
    }
    told
}

#[test]
fn whenever_power_fails_every_lease_that_was_answered_is_there_and_no_address_is_leased_again() {
    let platter = Platter::default();
    let told = run(&platter);
    let (mut images, mut between) = (0, 0);

    each_failure(&platter.base(), &platter.log(), &mut Dice(2), |at, image, _| {
        let last = told.iter().rposition(|(len, _)| *len <= at).unwrap();
        let (sure, next) = (&told[last].1, told.get(last + 1).map(|(_, leases)| leases));
        let mut node = Node::start(&Platter::with(image), 7);
        let found = node.leases();
        assert!(&found == sure || Some(&found) == next, "told {sure:?}, found {found:?}");
        let more = node.lease("more");
        assert!(!found.values().any(|addr| *addr == more), "{more} is leased twice");
        (images, between) = (images + 1, between + usize::from(&found != sure));
    });

    assert!(images > 300 && between > 10, "{images} images, {between} ahead of what was told");
}
