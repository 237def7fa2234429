//! Targets of the daemon's control plane: what peers say of stations, probes, and journals.

use std::time::Duration;

use blake2::{Blake2s256, Digest as _};
use peer_mesh::PeerName;
use router::journal::replay;
use router::liveness::{Line, Packet};
use router::node::{Config, Peer};
use router::plan::{self, Standing};
use router::pmtu::SizeProbe;
use router::probe::{Said, Sealed, Secret, emit};
use router::station::{self, MAX_MESSAGE, Merged, Stations, parse};
use router::{Input, Node};
use switch::{Mtu, Vni};

/// Octets of a digest at the end of a journal.
const DIGEST: usize = 32;

/// What is read is written as it was, is merged once, and does to a node what it does to another.
pub fn stations(octets: &[u8]) {
    if let Ok(items) = parse(octets) {
        let written: Vec<_> = station::emit(items.clone());
        assert!(written.iter().all(|message| message.len() <= MAX_MESSAGE));
        let read: Vec<_> = written.iter().flat_map(|message| parse(message).unwrap()).collect();
        assert_eq!(read, items);

        let mut stations = Stations::default();
        for item in &items {
            stations.merge(item.clone(), Duration::ZERO);
            assert_ne!(stations.merge(item.clone(), Duration::ZERO), Merged::New);
        }
    }
    let said = Input::Stations { via: PeerName::local(1), message: octets.to_vec() };
    stepped(&[said]);
}

/// A probe reads back as it was; a node lives through whatever comes instead.
pub fn probe(octets: &[u8]) {
    let (ours, theirs) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let key = ours.shared(&theirs.public()).unwrap();
    let (a, b) = (PeerName::local(1), PeerName::local(2));
    if let Some(sealed) = Sealed::parse(octets) {
        assert_eq!(sealed.open(&key), None, "nobody guesses a MAC");
    }
    let mut said = Vec::new();
    for chunk in octets.chunks_exact(10).take(20) {
        let [line, flags, interval, delay, seq, echo, ..] = *chunk else {
            unreachable!("ten octets")
        };
        let packet = Packet {
            line: Line::ALL[usize::from(line) % Line::ALL.len()],
            poll: flags & 1 != 0,
            active: flags & 2 != 0,
            seq: seq.into(),
            echo: echo.into(),
            delay: Duration::from_millis(delay.into()),
            interval: Duration::from_millis(interval.into()),
        };
        let size = SizeProbe {
            line: packet.line,
            acknowledges: packet.poll,
            number: packet.seq,
            octets: u16::from_be_bytes([seq, echo]),
        };
        for it in [Said::Line(packet), Said::Size(size)] {
            let frame = emit(&it, a, b, &key);
            let sealed = Sealed::parse(&frame).unwrap();
            assert!(sealed.has_size(frame.len()));
            assert_eq!(sealed.open(&key), Some(it));
        }
        said.extend([Input::Probe(a, packet), Input::Size(a, size)]);
    }
    stepped(&said);
}

/// Any octets are a journal or are refused, as they are and with a digest that fits.
pub fn journal(octets: &[u8]) {
    // What goes wrong is said; here it is enough that it is said.
    let _ = replay(octets, |_| {});
    let body = octets.get(..octets.len().saturating_sub(DIGEST)).unwrap_or_default();
    let mut sealed = body.to_vec();
    sealed.extend(Blake2s256::digest(body));
    let _ = replay(&sealed, |_| {});
}

/// Two nodes that know two peers come to the same by this.
fn stepped(inputs: &[Input]) {
    let plan = plan::Config { vni: Vni::DEFAULT, ipv6: false, mtu: Mtu::MIN, fast: true };
    let config = Config { plan, discovery: true };
    let run = || {
        let mut node = Node::new(PeerName::local(0), config);
        let peers = (1..3).map(|n| Input::Peer(PeerName::local(n.into()), peer(n)));
        let begun = [Input::Fast(true), Input::Local(Vec::new())];
        node.step(Duration::ZERO, peers.chain(begun));
        node.step(Duration::from_millis(20), inputs.iter().cloned());
        node.step(Duration::from_secs(20), []);
        node.hash()
    };
    assert_eq!(run(), run());
}

fn peer(n: u8) -> Peer {
    Peer {
        uid: n.into(),
        standing: Standing::Up,
        addresses: vec![([10, 99, 0, n], 6783).into()],
        label: None,
        least: None,
        route: Some(Vec::new()),
        neighbour: true,
        ring: None,
    }
}
