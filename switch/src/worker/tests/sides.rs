//! Sides that refuse, or fail.

use std::io::IoSlice;

use super::*;
use crate::{Message, RunLimits, SendError, Takes, TapError, Unsent};

#[test]
fn what_a_full_tap_refuses_is_counted() {
    let mut node = Node::new();

    for _ in 0..1001 {
        node.hear_from(A, &udp(FAR, POD, b""));
    }

    assert_eq!(node.drops(), [(DropReason::TapFull, 1)]);
}

#[test]
fn each_failure_of_a_side_is_counted_under_its_own_reason() {
    let of_underlay = [
        (SendError::NoRoute, DropReason::NoRoute),
        (SendError::Full, DropReason::UnderlayFull),
        (SendError::Refused, DropReason::UnderlayRefused),
        (SendError::Other(5), DropReason::UnderlayError),
        (SendError::TooBig, DropReason::TooBig),
    ];
    for (error, reason) in of_underlay {
        let (tap, cable) = MemoryTap::pair();
        let (mut worker, counters) = worker_between(tap, Refusing(error));
        cable.send(&[&FAR.0[..], &POD.0, &[0x88, 0xb6]].concat());

        worker.turn(T0).unwrap();

        assert_eq!(drops(&counters), [(reason, 3)], "one for each peer");
    }
    let of_tap = [
        (TapError::Full, DropReason::TapFull),
        (TapError::Down, DropReason::TapDown),
        (TapError::Other(5), DropReason::TapError),
    ];
    for (error, reason) in of_tap {
        let net = MemoryNet::new(1500);
        let (mut worker, counters) = worker_between(Refusing(error), net.attach(HOME.into()));
        net.deliver(datagram(addr_of(A), datagram_of(&udp(FAR, POD, b""))));

        worker.turn(T0).unwrap();

        assert_eq!(drops(&counters), [(reason, 1)]);
        assert_eq!(counters.to_tap.frames.load(), 0);
    }
}

#[test]
fn what_was_read_before_a_side_failed_is_handled() {
    let net = MemoryNet::new(1500);
    let (mut worker, counters) = worker_between(Broken, net.attach(HOME.into()));
    assert!(matches!(worker.turn(T0), Err(Fault::Tap(_))));
    assert_eq!(counters.dropped(DropReason::Runt), 1);

    let (tap, _cable) = MemoryTap::pair();
    let (mut worker, counters) = worker_between(tap, Broken);
    assert!(matches!(worker.turn(T0), Err(Fault::Underlay(_))));
    assert_eq!(counters.dropped(DropReason::UnknownVtep), 1);
}

/// A side that has nothing to read and takes nothing.
struct Refusing<E>(E);

impl Tap for Refusing<TapError> {
    fn recv(&mut self, _: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, _: &[u8; VNET_HEADER_LEN], _: &[IoSlice<'_>]) -> Result<(), TapError> {
        Err(self.0)
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _: Takes) {}
}

impl Underlay for Refusing<SendError> {
    fn recv(&mut self, _: &mut Batch) -> io::Result<()> {
        Ok(())
    }

    fn send(
        &mut self,
        _: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        (0..messages.len()).for_each(|n| outcome(n, Err(self.0.into())));
    }

    fn lanes(&self) -> usize {
        1
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: 64, octets: 65_000 }
    }

    fn path_mtu(&self, _: IpAddr) -> io::Result<u32> {
        Err(io::ErrorKind::HostUnreachable.into())
    }
}

/// A side that reads one empty frame and then fails.
struct Broken;

impl Broken {
    fn read(batch: &mut Batch) -> io::Result<()> {
        let read = batch.read_next(|slot| {
            slot.buf.set_len(0);
            io::Result::Ok(())
        });
        assert!(matches!(read, Some(Ok(()))));
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

impl Tap for Broken {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        Self::read(batch)
    }

    fn send(&mut self, _: &[u8; VNET_HEADER_LEN], _: &[IoSlice<'_>]) -> Result<(), TapError> {
        Ok(())
    }

    fn takes(&self) -> Takes {
        Takes::default()
    }

    fn refuse(&mut self, _: Takes) {}
}

impl Underlay for Broken {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        Self::read(batch)
    }

    fn send(
        &mut self,
        _: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        (0..messages.len()).for_each(|n| outcome(n, Ok(())));
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
