use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lane::{Lane, SendMany};
use super::{Message, RUN_DATAGRAMS, Refusals, RunLimits, Underlay, Unsent};
use crate::Batch;

/// IP and UDP headers of a datagram over IPv4 and IPv6.
const HEADERS_V4: usize = 20 + 8;
const HEADERS_V6: usize = 40 + 8;

/// A network without a kernel. What its nodes send waits in it until somebody takes it out, and
/// delivers, delays, repeats or loses it.
#[derive(Clone, Debug)]
pub struct MemoryNet(Arc<Mutex<Queues>>);

/// A node's sockets in a [`MemoryNet`].
#[derive(Debug)]
pub struct MemoryUnderlay {
    net: MemoryNet,
    addr: IpAddr,
    lanes: [Lane<Sender>; 4],
    refusals: Refusals,
}

#[derive(Debug)]
struct Sender {
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
    trouble: Option<Trouble>,
}

/// Messages of more than `above` datagrams are refused, so many times.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    errno: i32,
    above: usize,
    times: usize,
}

impl MemoryNet {
    /// A network whose links carry IP packets of `mtu` octets.
    pub fn new(mtu: u32) -> Self {
        let (sent, spare) = Default::default();
        let delivered = VecDeque::new();
        Self(Arc::new(Mutex::new(Queues { mtu, sent, delivered, spare, trouble: None })))
    }

    /// The sockets of the node with this address.
    pub fn attach(&self, addr: IpAddr) -> MemoryUnderlay {
        let lane = |_| Lane::new(Sender { net: self.clone(), addr }, RUN_DATAGRAMS);
        let lanes = std::array::from_fn(lane);
        MemoryUnderlay { net: self.clone(), addr, lanes, refusals: Refusals::default() }
    }

    /// From now on messages of more than `above` datagrams are refused with `errno`, `times` times.
    pub fn refuse(&self, errno: i32, above: usize, times: usize) {
        self.lock().trouble = Some(Trouble { errno, above, times });
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
        lane: usize,
        messages: &[Message<'_>],
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.send(messages, &mut self.refusals, outcome);
    }

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn limits(&self) -> RunLimits {
        RunLimits { datagrams: RUN_DATAGRAMS, octets: 65_000 }
    }

    fn take_refusals(&mut self) -> Refusals {
        std::mem::take(&mut self.refusals)
    }

    fn path_mtu(&self, _to: IpAddr) -> io::Result<u32> {
        Ok(self.net.lock().mtu)
    }
}

impl SendMany for Sender {
    fn send_many(&mut self, messages: &[Message<'_>]) -> (usize, Option<io::Error>) {
        for (sent, message) in messages.iter().enumerate() {
            match self.send(message) {
                Ok(()) => {}
                // As sendmmsg(2): the error of a later message comes with the next call.
                Err(_) if sent > 0 => return (sent, None),
                Err(errno) => return (0, Some(io::Error::from_raw_os_error(errno))),
            }
        }
        (messages.len(), None)
    }
}

impl Sender {
    fn send(&self, message: &Message<'_>) -> Result<(), i32> {
        let mut queues = self.net.lock();
        let headers = if message.to.is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
        let total: usize = message.parts.iter().map(|part| part.len()).sum();
        if let Some(trouble) = &mut queues.trouble
            && trouble.times > 0
            && message.count() > trouble.above
        {
            trouble.times -= 1;
            return Err(trouble.errno);
        }
        if message.size.min(total) + headers > queues.mtu as usize {
            return Err(libc::EMSGSIZE);
        }
        for datagram in message.pieces(1) {
            let mut payload = queues.spare.pop().unwrap_or_default();
            payload.clear();
            datagram.parts.iter().for_each(|part| payload.extend_from_slice(part));
            queues.sent.push_back(Datagram { from: self.addr, to: message.to.ip(), payload });
        }
        Ok(())
    }
}
