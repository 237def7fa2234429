//! A unix stream whose other end may pass a descriptor (`SCM_RIGHTS`, unix(7)).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// The first descriptor that was passed, until somebody takes it. All others are closed.
#[derive(Clone, Debug, Default)]
pub(super) struct Passed(Arc<Mutex<Option<OwnedFd>>>);

impl Passed {
    /// Takes it.
    pub(super) fn take(&self) -> Option<OwnedFd> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn offer(&self, fd: OwnedFd) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fd);
    }
}

/// A stream that a request comes on.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// What comes with it.
    fn passed(&self) -> Passed;
}

impl Stream for TcpStream {
    fn passed(&self) -> Passed {
        Passed::default()
    }
}

/// The stream.
#[derive(Debug)]
pub(super) struct Local {
    stream: UnixStream,
    passed: Passed,
}

impl Local {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, passed: Passed::default() }
    }

    fn receive(&self, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        // More than one are closed by the kernel, as there is no room for them.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(buf.initialize_unfilled())];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&self.stream, &mut into, &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fds.for_each(|fd| self.passed.offer(fd));
            }
        }
        buf.advance(got.bytes);
        Ok(())
    }
}

impl Stream for Local {
    fn passed(&self) -> Passed {
        self.passed.clone()
    }
}

impl AsyncRead for Local {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_io(Interest::READABLE, || self.receive(buf)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
