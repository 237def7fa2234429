//! The listener: accepts, asks the gate, hands on.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::gate::Gate;
use super::input::{Clock, Input, Inputs};

/// Connections the kernel may hold for us while we are busy; it caps this at net.core.somaxconn.
const BACKLOG: i32 = 1024;
/// Pause after an accept that failed, as it does while there are no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// Opens a listening socket. The unspecified IPv6 address listens for IPv4, too; where there is no IPv6,
/// it is taken for the unspecified IPv4 address.
pub(super) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let any = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    match open(addr) {
        Err(error) if any && no_ipv6(&error) => open((Ipv4Addr::UNSPECIFIED, addr.port()).into()),
        outcome => outcome,
    }
}

/// Accepts until the loop ends.
pub(super) async fn accept(listener: TcpListener, gate: Arc<Gate>, inputs: Inputs, clock: Clock) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                gate.count_error();
                if !concerns_one_connection(&error) {
                    tokio::time::sleep(PAUSE).await;
                }
                continue;
            }
        };
        let Ok(admission) = gate.admit(remote.ip(), clock.now()) else {
            refuse(stream);
            continue;
        };
        let remote = canonical(remote);
        if inputs.send(Input::Accepted { stream, remote, admission }).await.is_err() {
            return;
        }
    }
}

/// Closes a connection at once and leaves nothing of it in the kernel either (no TIME_WAIT).
pub(super) fn refuse(stream: TcpStream) {
    linger_not(&stream);
    drop(stream);
}

/// Makes the close a reset.
pub(super) fn linger_not(stream: &TcpStream) {
    // If this fails the close is an ordinary one.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// An IPv4 address that came through an IPv6 socket, as such.
pub(super) fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn open(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    // Connections of a process before us may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn no_ipv6(error: &io::Error) -> bool {
    // EAFNOSUPPORT: not in this kernel. EADDRNOTAVAIL: switched off.
    [rustix::io::Errno::AFNOSUPPORT, rustix::io::Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn the_unspecified_address_takes_ipv4_and_says_so() {
        let listener = listen("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (inputs, mut queued) = mpsc::channel(1);
        tokio::spawn(accept(listener, Gate::new(8), inputs, Clock::start()));

        let _peer = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();

        let Some(Input::Accepted { remote, .. }) = queued.recv().await else { panic!() };
        assert_eq!(remote.ip(), Ipv4Addr::LOCALHOST);
    }

    #[tokio::test]
    async fn who_does_not_pass_the_gate_is_reset_and_counted() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = listener.local_addr().unwrap();
        let gate = Gate::new(0);
        let (inputs, _queued) = mpsc::channel(1);
        tokio::spawn(accept(listener, Arc::clone(&gate), inputs, Clock::start()));

        let refused = tokio::task::spawn_blocking(move || {
            std::net::TcpStream::connect(addr).and_then(|mut peer| peer.read(&mut [0; 1]))
        });

        assert_eq!(refused.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(gate.refused().full, 1);
    }
}
