//! The simulated network itself: it behaves as TCP does, or the rest means nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use peer_mesh::{Config, ConnId, Output};
use weft_tests::mesh::{HostId, Process, Weather, World};
use weft_tests::seeds::each_seed;

use crate::SECOND;

const CALLER: HostId = HostId(0);
const LISTENER: HostId = HostId(1);
const CONN: ConnId = ConnId(1);

#[test]
fn octets_arrive_in_order_in_any_weather() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::STORM);
        let octets = pair.world.rng().octets(200_000);

        for part in octets.chunks(9_973) {
            pair.send(part);
            pair.world.pass(Duration::from_millis(20));
        }
        pair.world.pass(60 * SECOND);

        assert!(pair.listener.borrow().received == octets);
    });
}

#[test]
fn a_partition_is_silence_and_what_was_sent_arrives_when_it_heals() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::CALM);
        pair.world.split(|host| u8::from(host == LISTENER));
        pair.send(b"lost for now");
        pair.world.pass(20 * SECOND);
        assert!(pair.listener.borrow().received.is_empty());

        pair.world.heal();
        pair.world.pass(60 * SECOND);

        assert_eq!(pair.listener.borrow().received, b"lost for now");
        assert_eq!(pair.listener.borrow().ended, None);
    });
}

#[test]
fn a_packet_that_passes_only_one_way_is_not_acknowledged() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::CALM);
        pair.world.block(LISTENER, CALLER);

        pair.send(&vec![1; 600_000]);
        pair.world.pass(20 * SECOND);

        assert!(pair.caller.borrow().taken < 300_000);
        pair.world.heal();
        pair.world.pass(60 * SECOND);
        assert_eq!(pair.caller.borrow().taken, 600_000);
    });
}

#[test]
fn the_end_of_a_process_is_told_and_a_loss_of_power_is_not() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::CALM);
        pair.world.power_off(CALLER);
        pair.world.pass(100 * SECOND);
        assert_eq!(pair.listener.borrow().ended, None);

        let mut pair = Pair::new(seed, Weather::CALM);
        pair.world.kill(CALLER);
        pair.world.pass(SECOND);
        assert_eq!(pair.listener.borrow().ended.as_deref(), Some("connection reset by peer"));
    });
}

#[test]
fn a_process_that_stands_still_finds_everything_later_and_no_more_than_fits() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::CALM);
        let octets = pair.world.rng().octets(1_000_000);
        pair.world.stop(LISTENER);
        octets.chunks(10_000).for_each(|part| pair.send(part));
        pair.world.pass(10 * SECOND);
        assert!(pair.caller.borrow().taken < 500_000, "the window has no end");

        pair.world.resume(LISTENER);
        pair.world.pass(10 * SECOND);

        assert!(pair.listener.borrow().received == octets);
        assert_eq!(pair.caller.borrow().taken, octets.len());
    });
}

#[test]
fn what_was_sent_before_a_close_arrives_before_the_end() {
    each_seed(|seed| {
        let mut pair = Pair::new(seed, Weather::STORM);
        pair.send(&[7; 50_000]);
        pair.ask(Output::Close { conn: CONN });

        pair.world.pass(30 * SECOND);

        assert_eq!(pair.listener.borrow().received, [7; 50_000]);
        assert_eq!(pair.listener.borrow().ended.as_deref(), Some("closed by the peer"));
    });
}

#[test]
fn a_dial_is_refused_or_times_out() {
    let mut pair = Pair::new(1, Weather::CALM);
    pair.world.kill(LISTENER);
    let addr = SocketAddr::from(([10, 0, 0, 2], Config::PORT));

    pair.ask(Output::Dial { conn: ConnId(2), addr });
    pair.world.pass(SECOND);
    assert_eq!(pair.caller.borrow().failed.as_deref(), Some("connection refused"));

    pair.world.power_off(LISTENER);
    pair.ask(Output::Dial { conn: ConnId(3), addr });
    pair.world.pass(4 * SECOND);
    assert_eq!(pair.caller.borrow().failed.as_deref(), Some("timed out"));
}

/// One that has dialled the other.
struct Pair {
    world: World,
    caller: Rc<RefCell<Notes>>,
    listener: Rc<RefCell<Notes>>,
}

impl Pair {
    fn new(seed: u64, weather: Weather) -> Self {
        let mut world = World::new(seed, weather);
        let (caller, listener) = <(Rc<RefCell<Notes>>, Rc<RefCell<Notes>>)>::default();
        for process in [&caller, &listener] {
            let host = world.add();
            world.start_process(host, Box::new(Scripted(Rc::clone(process))));
        }
        let mut pair = Self { world, caller, listener };
        let addr = SocketAddr::from(([10, 0, 0, 2], Config::PORT));
        pair.ask(Output::Dial { conn: CONN, addr });
        pair.world.pass(2 * SECOND);
        assert!(pair.caller.borrow().connected && pair.listener.borrow().connected);
        pair
    }

    fn send(&mut self, octets: &[u8]) {
        self.ask(Output::Send { conn: CONN, octets: octets.to_vec() });
    }

    fn ask(&mut self, output: Output) {
        self.caller.borrow_mut().outputs.push_back(output);
        self.world.wake(CALLER);
    }
}

#[derive(Debug, Default)]
struct Notes {
    outputs: VecDeque<Output>,
    connected: bool,
    failed: Option<String>,
    received: Vec<u8>,
    taken: usize,
    ended: Option<String>,
}

/// Does what it is asked to, and notes what it is told.
struct Scripted(Rc<RefCell<Notes>>);

impl Process for Scripted {
    fn handle_accepted(
        &mut self,
        _local: SocketAddr,
        remote: SocketAddr,
        _now: Duration,
    ) -> Option<ConnId> {
        assert_eq!(remote.ip().to_string(), "10.0.0.1");
        self.0.borrow_mut().connected = true;
        Some(CONN)
    }

    fn handle_connected(&mut self, _conn: ConnId, _local: SocketAddr, _now: Duration) {
        self.0.borrow_mut().connected = true;
    }

    fn handle_dial_failed(&mut self, _conn: ConnId, why: &str, _now: Duration) {
        self.0.borrow_mut().failed = Some(why.to_owned());
    }

    fn handle_bytes(&mut self, _conn: ConnId, octets: &[u8], _now: Duration) {
        self.0.borrow_mut().received.extend_from_slice(octets);
    }

    fn handle_written(&mut self, _conn: ConnId, octets: usize, _now: Duration) {
        self.0.borrow_mut().taken += octets;
    }

    fn handle_closed(&mut self, _conn: ConnId, why: &str, _now: Duration) {
        self.0.borrow_mut().ended = Some(why.to_owned());
    }

    fn handle_timeout(&mut self, _now: Duration) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.0.borrow_mut().outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Duration> {
        None
    }
}
