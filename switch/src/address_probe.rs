//! Asks whether somebody uses an IPv4 address (RFC 5227, section 2.1.1).
//!
//! The question is ARP with no sender's address, so that nobody learns anything by it. A bridge keeps such questions from ports
//! with `neigh_suppress`, so who wants pods of other nodes to hear it sends it out of the TAP and the vxlan device besides.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::net::RecvFlags;
use socket2::{Domain, Socket, Type};
use tokio::io::unix::AsyncFd;

use crate::neighbour::ARP;
use crate::{Mac, sys};

/// What is heard of a frame: Ethernet, and ARP over it.
const MESSAGE: usize = 14 + 28;
/// Frames that wait to be heard, in octets of kernel memory: some hundred.
const BUFFER: usize = 128 << 10;
/// Ethernet and IPv4, six octets and four.
const FORM: [u8; 6] = [0, 1, 0x08, 0, 6, 4];

/// One question, and whoever answers it.
#[derive(Debug)]
pub struct AddressProbe {
    socket: AsyncFd<Arc<OwnedFd>>,
    own: Mac,
    addr: Ipv4Addr,
}

impl AddressProbe {
    /// Listens on the bridge of this interface index, whose own address is `own`. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// Packet sockets are not for us (they need CAP_NET_RAW), or there is no such interface.
    pub fn open(bridge: u32, own: Mac, addr: Ipv4Addr) -> io::Result<Self> {
        // Of no protocol until it is bound: nothing comes in unfiltered.
        let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
        socket.set_recv_buffer_size(BUFFER)?;
        sys::bind_packet(socket.as_fd(), bridge, ARP)?;
        Ok(Self { socket: sys::readable(Arc::new(socket.into()))?, own, addr })
    }

    /// Asks, out of the interface of this index.
    ///
    /// # Errors
    /// The interface is down or away, or its queue is full.
    pub fn ask(&self, interface: u32) -> io::Result<()> {
        let frame = question(self.own, self.addr);
        sys::send_packet(self.socket.get_ref().as_fd(), interface, ARP, &frame)
    }

    /// Waits until somebody shows that it uses the address, or is about to. Who.
    ///
    /// # Errors
    /// The bridge went down or away.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn used(&self) -> io::Result<Mac> {
        let mut frame = [0; MESSAGE];
        loop {
            let mut ready = self.socket.readable().await?;
            let got = ready.try_io(|socket| {
                Ok(rustix::net::recv(socket.get_ref(), &mut frame, RecvFlags::empty())?)
            });
            match got {
                Ok(Ok((len, _))) => {
                    let user = user(frame.get(..len).unwrap_or_default(), self.addr);
                    if let Some(mac) = user.filter(|mac| *mac != self.own) {
                        return Ok(mac);
                    }
                }
                Ok(Err(error)) => return Err(error),
                Err(_nothing_more) => {}
            }
        }
    }
}

fn question(own: Mac, addr: Ipv4Addr) -> [u8; MESSAGE] {
    let (target, nobody) = (addr.octets(), [0; 10]);
    let request = [0, 1];
    let parts: [&[u8]; 8] =
        [&Mac::BROADCAST.0, &own.0, &ARP.to_be_bytes(), &FORM, &request, &own.0, &nobody, &target];
    let mut frame = [0; MESSAGE];
    let octets = parts.into_iter().flatten();
    frame.iter_mut().zip(octets).for_each(|(to, octet)| *to = *octet);
    frame
}

/// Who says that it has the address, or asks as we do whether it can have it.
fn user(frame: &[u8], addr: Ipv4Addr) -> Option<Mac> {
    let (_, packet) = frame.split_first_chunk::<14>()?;
    let (form, rest) = packet.split_first_chunk::<6>()?;
    let (operation, rest) = rest.split_first_chunk::<2>()?;
    let (sender, rest) = rest.split_first_chunk::<6>()?;
    let (of, rest) = rest.split_first_chunk::<4>()?;
    let (_, target) = rest.split_first_chunk::<6>()?;
    let target = target.first_chunk::<4>()?;
    let has = Ipv4Addr::from(*of) == addr;
    let wants = *operation == [0, 1]
        && Ipv4Addr::from(*of).is_unspecified()
        && Ipv4Addr::from(*target) == addr;
    (*form == FORM && (has || wants)).then_some(Mac(*sender))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbour::announce;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn addr(last: u8) -> Ipv4Addr {
        [10, 32, 0, last].into()
    }

    #[test]
    fn who_has_the_address_or_asks_for_it_uses_it() {
        let announced = announce(OTHER, addr(7).into());

        assert_eq!(user(announced.octets(), addr(7)), Some(OTHER));
        assert_eq!(user(&question(OTHER, addr(7)), addr(7)), Some(OTHER));
    }

    #[test]
    fn who_has_another_address_or_says_nothing_that_is_understood_does_not() {
        let frame = announce(OTHER, addr(8).into());
        let short = question(OTHER, addr(7));

        assert_eq!(user(frame.octets(), addr(7)), None);
        assert_eq!(user(&question(OWN, addr(8)), addr(7)), None);
        assert_eq!(user(&short[..41], addr(7)), None);
        assert_eq!(user(&[], addr(7)), None);
    }

    #[test]
    fn a_question_has_no_senders_address_so_that_nobody_learns_anything() {
        assert_eq!(crate::neighbour::told_by(&question(OWN, addr(7))), None);
        assert_eq!(question(OWN, addr(7))[28..32], [0; 4]);
    }
}
