//! A unix socket on which nothing takes longer than until a deadline.
#![expect(clippy::disallowed_methods, reason = "a shell: the deadline is of real time")]

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::{Domain, SockAddr, Socket, Type};

/// A connection, and when it must have served.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UnixStream,
    deadline: Instant,
    /// How long that was at first.
    pub(super) within: Duration,
}

impl Stream {
    /// Connects. A daemon that accepts nobody has a full backlog, and connecting to it waits: the
    /// kernel ends that as it ends a send (`unix_stream_connect`, SO_SNDTIMEO).
    pub(super) fn connect(
        path: &Path,
        (connecting, within): (Duration, Duration),
    ) -> io::Result<Self> {
        let deadline = Instant::now() + within;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(Some(connecting.min(within)))?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self { socket: UnixStream::from(socket), deadline, within })
    }

    /// Sends all of it, and with its first octet a descriptor (`SCM_RIGHTS`, unix(7)).
    pub(super) fn write_with(&mut self, octets: &[u8], fd: BorrowedFd<'_>) -> io::Result<()> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        let (fds, first) = ([fd], octets.get(..1).unwrap_or_default());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let sent =
            sendmsg(&self.socket, &[IoSlice::new(first)], &mut control, SendFlags::NOSIGNAL)?;
        self.write_all(octets.get(sent..).unwrap_or_default())
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.left()?))?;
        self.socket.read(buf)
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.socket.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
