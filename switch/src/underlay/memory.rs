use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Message, RunLimits, SendError, Underlay};
use crate::Batch;

/// IP and UDP headers of a datagram over IPv4 and IPv6.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// A network without a kernel. What its nodes send waits in it until somebody takes it out, and
/// delivers, delays, repeats or loses it.
#[derive(Clone, Debug)]
pub struct MemoryNet(Arc<Mutex<Queues>>);

/// A node's socket in a [`MemoryNet`].
#[derive(Debug)]
pub struct MemoryUnderlay {
    net: MemoryNet,
    addr: IpAddr,
}

/// A datagram on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Datagram {
    /// Who sent it.
    pub from: IpAddr,
    /// Who is to have it.
    pub to: IpAddr,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

#[derive(Debug)]
struct Queues {
    mtu: u32,
    sent: VecDeque<Datagram>,
    /// With the size of each datagram of a run, or 0.
    delivered: VecDeque<(Datagram, usize)>,
    spare: Vec<Vec<u8>>,
}

impl MemoryNet {
    /// A network whose links carry IP packets of `mtu` octets.
    pub fn new(mtu: u32) -> Self {
        let (sent, spare) = Default::default();
        let delivered = VecDeque::new();
        Self(Arc::new(Mutex::new(Queues { mtu, sent, delivered, spare })))
    }

    /// The socket of the node with this address.
    pub fn attach(&self, addr: IpAddr) -> MemoryUnderlay {
        MemoryUnderlay { net: self.clone(), addr }
    }

    /// Changes what the links carry from now on.
    pub fn set_mtu(&self, mtu: u32) {
        self.lock().mtu = mtu;
    }

    /// Takes the datagram that was sent first.
    pub fn take(&self) -> Option<Datagram> {
        self.lock().sent.pop_front()
    }

    /// Puts a datagram into its receiver's socket.
    pub fn deliver(&self, datagram: Datagram) {
        self.deliver_run(datagram, 0);
    }

    /// Puts a run of datagrams into its receiver's socket, as UDP_GRO does: `size` octets each, and
    /// the last may have less.
    pub fn deliver_run(&self, run: Datagram, size: usize) {
        self.lock().delivered.push_back((run, size));
    }

    /// Delivers all that was sent, in order.
    pub fn deliver_all(&self) {
        let queues = &mut *self.lock();
        queues.delivered.extend(queues.sent.drain(..).map(|datagram| (datagram, 0)));
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underlay for MemoryUnderlay {
    fn recv(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut queues = self.net.lock();
        for _ in 0..queues.delivered.len() {
            let Some((datagram, size)) = queues.delivered.pop_front() else { break };
            if datagram.to != self.addr {
                queues.delivered.push_back((datagram, size));
                continue;
            }
            let taken = batch.read_next(|slot| {
                slot.from = datagram.from;
                slot.stride = size;
                if slot.buf.fill(&datagram.payload) { Ok(()) } else { Err(()) }
            });
            match taken {
                Some(_) => queues.spare.push(datagram.payload),
                None => queues.delivered.push_back((datagram, size)),
            }
        }
        Ok(())
    }

    fn send(
        &mut self,
        _lane: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), SendError>),
    ) {
        for (n, message) in messages.iter().enumerate() {
            outcome(n, self.send_run(message));
        }
    }

    fn lanes(&self) -> usize {
        4
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: 64, octets: 65_000 }
    }

    fn path_mtu(&self, _to: IpAddr) -> io::Result<u32> {
        Ok(self.net.lock().mtu)
    }
}

impl MemoryUnderlay {
    fn send_run(&self, message: &Message<'_>) -> Result<(), SendError> {
        let mut queues = self.net.lock();
        let headers = if message.to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let total: usize = message.parts.iter().map(|part| part.len()).sum();
        if message.size.min(total) + headers > queues.mtu as usize {
            return Err(SendError::TooBig);
        }
        for datagram in message.datagrams() {
            let mut payload = queues.spare.pop().unwrap_or_default();
            payload.clear();
            datagram.parts.iter().for_each(|part| payload.extend_from_slice(part));
            queues.sent.push_back(Datagram { from: self.addr, to: message.to.ip(), payload });
        }
        Ok(())
    }
}
