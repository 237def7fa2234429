use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::SockRef;

/// Whether a transparent socket takes what a tproxy rule would bring it: only if the kernel knows it for
/// transparent does the rule apply. Closed, whoever has the datagrams' port gets them, from the next one on.
///
/// To switch a rule off takes longer than a frame thread takes to handle a datagram, and nobody knows what
/// that thread has in hand: what came later would overtake it. The thread itself closes the valve right after it
/// has looked and found nothing: at the start of a time slice, as what comes while it is off the processor between
/// the two is overtaken, too.
///
/// # Thread-safety
/// Any thread may ask for a change; the one that reads from the socket makes it.
#[derive(Debug)]
pub(crate) struct Valve {
    socket: UdpSocket,
    wanted: AtomicBool,
    open: AtomicBool,
}

impl Valve {
    /// The valve of a socket that is transparent.
    pub(super) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let (wanted, open) = (AtomicBool::new(true), AtomicBool::new(true));
        Ok(Self { socket: socket.try_clone()?, wanted, open })
    }

    /// Asks for a change: it is made when the socket is next found empty.
    pub(crate) fn ask(&self, open: bool) {
        self.wanted.store(open, Ordering::Relaxed);
    }

    /// Whether it is as was asked for.
    pub(crate) fn is_settled(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) == self.open.load(Ordering::Relaxed)
    }

    /// Makes the change that was asked for, if there is one, unless there is something in the socket: to be called by
    /// the one that reads from it, with nothing in hand.
    ///
    /// # Errors
    /// As [`Valve::settle`].
    pub(crate) fn settle_if_empty(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        // Whoever waits for the processor gets it now, and not between the next two calls.
        std::thread::yield_now();
        match self.socket.peek(&mut [0]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.settle(),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Makes the change that was asked for, if there is one.
    ///
    /// # Errors
    /// The kernel refuses: to open it takes the capability to make it.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if self.is_settled() {
            return Ok(());
        }
        let wanted = self.wanted.load(Ordering::Relaxed);
        SockRef::from(&self.socket).set_ip_transparent_v4(wanted)?;
        self.open.store(wanted, Ordering::Relaxed);
        Ok(())
    }
}
