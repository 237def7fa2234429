//! What pods do with their sockets.

use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4Packet, Icmpv4Repr, IpAddress};

use crate::world::World;

const PORT: u16 = 5001;

/// Which addresses a flow uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn addr(self, world: &World, pod: usize) -> IpAddress {
        match self {
            Self::V4 => world.pods[pod].v4(),
            Self::V6 => world.pods[pod].v6(),
        }
    }
}

/// A TCP connection between two pods over which one of them sends octets.
pub(crate) struct Transfer {
    from: (usize, SocketHandle),
    to: (usize, SocketHandle),
    payload: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
}

impl Transfer {
    /// Connects two pods; transfers between the same two need different ports, counted by `nth`.
    pub(crate) fn start(
        world: &mut World,
        (from, to): (usize, usize),
        family: Family,
        nth: u16,
        len: usize,
    ) -> Self {
        let payload = world.rng.octets(len);
        let addr = family.addr(world, to);
        let server = world.pods[to].listen(PORT + nth);
        let client = world.pods[from].connect(addr, PORT + nth, 40_000 + nth);
        Self { from: (from, client), to: (to, server), payload, sent: 0, received: Vec::new() }
    }

    /// Sends and receives what there is; whether all was received.
    pub(crate) fn pump(&mut self, world: &mut World) -> bool {
        let client = world.pods[self.from.0].tcp(self.from.1);
        if client.may_send() {
            self.sent += client.send_slice(&self.payload[self.sent..]).unwrap();
        }
        let server = world.pods[self.to.0].tcp(self.to.1);
        while server.can_recv() {
            let received = &mut self.received;
            let take = |octets: &mut [u8]| (octets.len(), received.extend_from_slice(octets));
            server.recv(take).unwrap();
        }
        if self.received.len() < self.payload.len() {
            return false;
        }
        assert!(self.received == self.payload, "the content has changed on the way");
        true
    }

    /// How much has arrived so far.
    pub(crate) fn received(&self) -> usize {
        self.received.len()
    }
}

/// Runs transfers, all at once, until all are complete.
pub(crate) fn complete(world: &mut World, mut transfers: Vec<Transfer>) {
    world.run(600_000, |world| {
        transfers.retain_mut(|transfer| !transfer.pump(world));
        transfers.is_empty()
    });
}

/// Sends a UDP datagram of `len` octets from one pod to another, which sends it back. It is sent
/// again each second until it has come back unchanged.
pub(crate) fn echo_udp(world: &mut World, (from, to): (usize, usize), family: Family, len: usize) {
    let payload = world.rng.octets(len);
    let addr = family.addr(world, to);
    let client = world.pods[from].open_udp(PORT + 1);
    let server = world.pods[to].open_udp(PORT);
    let mut due = 0;
    world.run(120_000, |world| {
        if world.now() >= due {
            due = world.now() + 1000;
            world.pods[from].udp(client).send_slice(&payload, (addr, PORT)).unwrap();
        }
        let server = world.pods[to].udp(server);
        while let Ok((octets, meta)) = server.recv() {
            let octets = octets.to_vec();
            server.send_slice(&octets, meta.endpoint).unwrap();
        }
        let echo = world.pods[from].udp(client).recv().map(|(octets, _)| octets.to_vec());
        echo.is_ok_and(|echo| echo == payload)
    });
    world.pods[from].udp(client).close();
    world.pods[to].udp(server).close();
}

/// Sends 30 UDP datagrams of `len` octets at once, the last a little shorter, and expects all of
/// them in order.
pub(crate) fn burst_udp(world: &mut World, (from, to): (usize, usize), family: Family, len: usize) {
    const DATAGRAMS: usize = 30;
    let (client, server) = (world.pods[from].open_udp(PORT + 1), world.pods[to].open_udp(PORT));
    let addr = family.addr(world, to);
    let mut payloads: Vec<_> = (0..DATAGRAMS).map(|_| world.rng.octets(len)).collect();
    payloads[DATAGRAMS - 1].truncate(len - 3);
    for payload in &payloads {
        world.pods[from].udp(client).send_slice(payload, (addr, PORT)).unwrap();
    }
    let mut received = Vec::new();
    world.run(10_000, |world| {
        while let Ok((octets, _)) = world.pods[to].udp(server).recv() {
            received.push(octets.to_vec());
        }
        received.len() >= DATAGRAMS
    });
    assert!(received == payloads, "datagrams were changed or moved");
    world.pods[from].udp(client).close();
    world.pods[to].udp(server).close();
}

/// Sends echo requests, one each second, until one is answered. Returns how many it took.
pub(crate) fn ping(world: &mut World, from: usize, to: usize) -> u16 {
    const IDENT: u16 = 7;
    let payload = world.rng.octets(56);
    let addr = world.pods[to].v4();
    let handle = world.pods[from].open_ping(IDENT);
    let (mut due, mut seq_no) = (0, 0);
    world.run(60_000, |world| {
        if world.now() >= due {
            due = world.now() + 1000;
            seq_no += 1;
            let request = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no, data: &payload };
            let socket = world.pods[from].icmp(handle);
            let octets = socket.send(request.buffer_len(), addr).unwrap();
            let checksums = ChecksumCapabilities::default();
            request.emit(&mut Icmpv4Packet::new_unchecked(octets), &checksums);
        }
        let Ok((octets, _)) = world.pods[from].icmp(handle).recv() else { return false };
        octets.get(8..) == Some(&payload)
    });
    seq_no
}
