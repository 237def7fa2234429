//! This node's own link fails.

use super::*;
use crate::liveness::Line;

const PEERS: u64 = 1_000;

/// A node, and peers that answer what they hear.
struct Alone {
    node: Node,
    /// What each has said so far on its lines.
    said: BTreeMap<(PeerName, Line), u64>,
    now: Duration,
    cut: bool,
    /// What was published: labels, and whom we do not reach.
    published: usize,
    /// Paths that moved.
    moved: usize,
}

impl Alone {
    /// For so long.
    fn run(&mut self, time: Duration) {
        let (end, mut inputs) = (self.now + time, Vec::new());
        while self.now < end {
            self.now += ms(1);
            if inputs.is_empty() && self.node.poll_timeout() > self.now {
                continue;
            }
            for output in self.node.step(self.now, std::mem::take(&mut inputs)) {
                #[expect(clippy::wildcard_enum_match_arm, reason = "all others are nobody's here")]
                match output {
                    Output::Probe { to, packet: said, .. } if !self.cut => {
                        let seq = self.said.entry((to, said.line)).or_default();
                        *seq += 1;
                        inputs.push(Input::Probe(to, packet(said.line, false, *seq, said.seq)));
                    }
                    Output::Labels(_) | Output::DataPath(..) => self.published += 1,
                    Output::Say(Word::Path { from: Some(from), to, .. }) => {
                        self.moved += usize::from(from.route.path != to.route.path);
                    }
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn five_seconds_without_a_link_among_a_thousand_peers_move_and_publish_nothing() {
    let plan = plan::Config { fast: true, ..config().plan };
    let node = Node::new(name(0), Config { plan, ..config() });
    let (said, now) = (BTreeMap::new(), ms(0));
    let mut it = Alone { node, said, now, cut: false, published: 0, moved: 0 };
    let up = |n: u64| {
        let [high, low] = u16::try_from(n).unwrap().to_be_bytes();
        let addresses = vec![SocketAddr::from(([10, 98, high, low], 6783))];
        Input::Peer(name(n), Peer { addresses, label: None, ..peer(1) })
    };
    it.node.step(it.now, [Input::Fast(true)].into_iter().chain((1..=PEERS).map(up)));
    it.run(Duration::from_secs(5));
    it.node.step(it.now, (1..=64).map(|n| Input::Traffic(name(n))));
    it.run(Duration::from_secs(2));
    let fast =
        |it: &Alone| it.node.paths().filter(|it| it.1.chosen.route.path == Way::Fast).count();
    assert_eq!(fast(&it), 1_000);
    let before = (it.published, it.moved);

    it.cut = true;
    it.run(Duration::from_secs(5));
    it.cut = false;
    it.run(Duration::from_secs(20));

    assert_eq!((it.published, it.moved), before, "published, moved");
    assert_eq!(fast(&it), 1_000);
}
