//! Control's own datagrams on the port from process to process.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Sends from the port from process to process, which is the workers': what comes from any other says
/// nothing about that path, as firewalls and NATs see it.
///
/// It stays good when the frame threads are started again. It holds the port only while they do: a
/// descriptor of its own would keep them from it.
///
/// # Thread-safety
/// Workers may send at the same time: a datagram is one system call.
#[derive(Clone, Debug)]
pub struct SleeveSender(Weak<Mutex<Option<UdpSocket>>>);

impl SleeveSender {
    /// Sends one datagram.
    ///
    /// # Errors
    /// It is lost. `NotConnected` while no thread runs, or when the port is not open; else what the socket
    /// says.
    pub fn send(&self, octets: &[u8], to: SocketAddr) -> io::Result<()> {
        let mouth = self.0.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let socket = lock(&mouth);
        let socket = socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.send_to(octets, to).map(drop)
    }
}

/// Where senders find the socket.
#[derive(Debug, Default)]
pub(super) struct Mouth(Arc<Mutex<Option<UdpSocket>>>);

impl Mouth {
    pub(super) fn sender(&self) -> SleeveSender {
        SleeveSender(Arc::downgrade(&self.0))
    }

    /// Senders send from this socket until the voice is dropped.
    pub(super) fn speak(&self, socket: UdpSocket) -> Voice {
        *lock(&self.0) = Some(socket);
        Voice(Arc::clone(&self.0))
    }
}

/// That senders have a socket. Dropping it closes that.
#[derive(Debug)]
pub(super) struct Voice(Arc<Mutex<Option<UdpSocket>>>);

impl Drop for Voice {
    fn drop(&mut self) {
        *lock(&self.0) = None;
    }
}

fn lock(socket: &Mutex<Option<UdpSocket>>) -> MutexGuard<'_, Option<UdpSocket>> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_sends_from_the_socket_that_there_is_and_holds_no_port_without() {
        let open = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (ear, first, second) = (open(), open(), open());
        let to = ear.local_addr().unwrap();
        let mouth = Mouth::default();
        let sender = mouth.sender();

        for socket in [first, second] {
            let own = socket.local_addr().unwrap();
            let voice = mouth.speak(socket);
            sender.send(b"probe", to).unwrap();
            assert_eq!(ear.recv_from(&mut [0; 8]).unwrap(), (5, own));

            drop(voice);
            let refused = sender.send(b"probe", to).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
            UdpSocket::bind(own).unwrap();
        }
    }
}
