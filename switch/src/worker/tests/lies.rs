//! Frames whose inner length lies, among those of others.

use std::sync::Mutex;

use super::sleeve::{Sleeved, datagram_by, header};
use super::*;
use crate::{Label, Message, Path, Route, RunLimits, Unsent};

#[test]
fn a_lying_frame_does_not_decide_where_the_rest_of_its_run_goes() {
    for run in runs() {
        let mut node = Node::offloading();
        let octets: Vec<_> = run.iter().flat_map(|frame| datagram_of(frame)).collect();

        node.net.deliver_run(datagram(addr_of(A), octets), vxlan::HEADER_LEN + run[0].len());
        node.worker.turn(T0).unwrap();

        assert_eq!(node.emitted(), run);
        assert_eq!(node.counters.peer(A).unwrap().received.frames.load(), 4);
        assert_eq!((node.counters.segmented.load(), node.drops()), (0, vec![]));
    }
}

#[test]
fn a_lying_frame_does_not_decide_where_the_rest_of_its_run_goes_on_the_sleeve() {
    for run in runs() {
        let mut node = Sleeved::new([Path::Sleeve; 3]);
        let own = header(1, sleeve::OWN, 4);
        let octets: Vec<_> = run.iter().flat_map(|frame| datagram_by(own, frame)).collect();

        node.wire.deliver_run(datagram(addr_of(A), octets), vxlan::HEADER_LEN + run[0].len());
        node.worker.turn(T0).unwrap();

        assert_eq!((node.emitted(), node.drops()), (run, vec![]));
    }
}

#[test]
fn a_lying_frame_leaves_alone() {
    let honest = udp(POD, FAR, &[7; 100]);
    for tunnel in [Path::User, Path::Sleeve] {
        for lying in [lie(&honest, 1), lie(&honest, 450), lie_v6(&udp_v6(POD, FAR, &[7; 80]))] {
            assert_eq!(lying.len(), honest.len());
            let frames = [&honest, &honest, &lying, &honest, &honest, &lying, &lying, &honest];

            let sent = sent_in_runs(frames.map(Vec::as_slice), tunnel);

            let [honest, lying] = [&honest, &lying].map(|frame| vec![frame.clone()]);
            let pair = [&honest[..], &honest].concat();
            let runs =
                [pair.clone(), lying.clone(), pair, lying.clone(), lying.clone(), honest.clone()];
            assert_eq!(sent, runs);
        }
    }
}

#[test]
fn frames_that_tell_the_truth_share_a_run() {
    let arp = [&FAR.0[..], &POD.0, &[8, 6], &[7; 128]].concat();
    let tagged = [&FAR.0[..], &POD.0, &[0x81, 0, 0, 5, 8, 6], &[7; 124]].concat();
    let (v4, v6) = (udp(POD, FAR, &[7; 100]), udp_v6(POD, FAR, &[7; 80]));
    let frames = [&v4, &arp, &tagged, &v6].map(Vec::as_slice);

    assert_eq!(sent_in_runs(frames, Path::User), [frames.map(<[u8]>::to_vec)]);
}

/// A frame that says it is as long as all that comes with it, and three for other pods: as long
/// as it is, the last one cut off.
fn runs() -> Vec<Vec<Vec<u8>>> {
    let payload = [7; 100];
    let (v4, v6) = (udp(FAR, POD, &payload), udp_v6(FAR, POD, &payload));
    let mut runs = Vec::new();
    for (frame, lie) in [(v4, lie as fn(&[u8], usize) -> Vec<u8>), (v6, |it, _| lie_v6(it))] {
        let victim = |n: u8, len: usize| [&[2, 0, 0, 0, 0, n][..], &frame[6..len]].concat();
        let len = frame.len();
        let rest = [victim(3, len), victim(4, len), victim(5, len - 30)];
        let whole = 3 * (vxlan::HEADER_LEN + len) - 30;
        let with = |first: Vec<u8>| [&[first][..], &rest].concat();
        runs.extend([whole, 1, whole + 1, 500].map(|more| with(lie(&frame, more))));
        runs.push(with(as_tcp(lie(&frame, whole))));
    }
    runs
}

/// An IPv4 packet that says it has so many octets more than its frame.
fn lie(frame: &[u8], more: usize) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let len = u16::try_from(frame.len() - 14 + more).unwrap();
    put(&mut frame, 16, len.to_be_bytes());
    put(&mut frame, 38, (len - 20).to_be_bytes());
    frame
}

fn lie_v6(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let len = u16::try_from(frame.len() - 54 + 400).unwrap();
    put(&mut frame, 18, len.to_be_bytes());
    frame
}

fn as_tcp(mut frame: Vec<u8>) -> Vec<u8> {
    let protocol = if frame[12] == 8 { 23 } else { 20 };
    frame[protocol] = 6;
    frame
}

/// The frames of each message that a worker sends when pods say these.
fn sent_in_runs<const N: usize>(frames: [&[u8]; N], path: Path) -> Vec<Vec<Vec<u8>>> {
    let (tap, cable) = MemoryTap::pair();
    let (mut worker, _) = worker_between(tap, Recording::default());
    worker = worker.with_sleeve(Recording::default());
    let route = Route { path, label: Label::new(7), sleeve: Some((addr_of(A), 6783).into()) };
    let plan = Plan::builder(Vni::DEFAULT).label(Label::new(1).unwrap()).peer(A, peer(A), route);
    worker.shared.reader = PlanReader::new(Arc::new(PlanCell::new(plan.build())));
    frames.iter().for_each(|frame| assert!(cable.send(frame)));

    worker.turn(T0).unwrap();

    let sides = [&worker.underlay.vxlan, worker.underlay.sleeve.as_ref().unwrap()];
    sides.iter().flat_map(|side| side.0.lock().unwrap().clone()).collect()
}

/// A network that remembers what it was given in one message.
#[derive(Debug, Default)]
struct Recording(Mutex<Vec<Vec<Vec<u8>>>>);

impl Underlay for Recording {
    fn recv(&mut self, _: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        _: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        for (n, message) in messages.iter().enumerate() {
            let frames = message.pieces(1).map(|datagram| {
                let parts = datagram.parts.iter().flat_map(|part| part.to_vec());
                parts.skip(vxlan::HEADER_LEN).collect()
            });
            self.0.lock().unwrap().push(frames.collect());
            outcome(n, Ok(()));
        }
    }

    fn lanes(&self) -> usize {
        1
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: 64, octets: 65_000 }
    }

    fn path_mtu(&self, _: IpAddr) -> io::Result<u32> {
        Ok(1500)
    }
}
