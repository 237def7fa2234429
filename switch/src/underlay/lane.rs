//! A lane: one sending socket, and what is done about a message that it refuses.
//!
//! A run that is refused is judged by its first datagram. Where that alone is refused, too, it is
//! the path or the moment, and the caller is told. Where it passes, it was the run: what remains
//! goes in pieces half as long, and in halves of those again. EIO, EINVAL and EMSGSIZE tell of the
//! kernel or the device: the lane keeps to the length that passed, for good. ENOBUFS tells of a
//! moment without memory: the next run is tried whole, and a single datagram is tried once more.
//!
//! Before Linux 6.14 a path that has become narrow refuses a run with EINVAL, and its datagrams with
//! EMSGSIZE: runs are not to blame.

use std::io::{self, ErrorKind};

use super::{Message, Refusals, SendError, Unsent};

/// Pieces that are sent in one call.
const PIECES: usize = 32;

/// A socket, as far as sending goes.
pub(super) trait SendMany {
    /// Sends messages in order. Returns how many were sent before the first that could not be, and
    /// why that could not.
    fn send_many(&mut self, messages: &[Message<'_>]) -> (usize, Option<io::Error>);
}

/// A sending socket, and how long its runs may be.
#[derive(Debug)]
pub(super) struct Lane<S> {
    socket: S,
    /// Most datagrams of a run: less than at the start when longer ones were refused.
    run_len: usize,
}

impl<S: SendMany> Lane<S> {
    pub(super) fn new(socket: S, run_len: usize) -> Self {
        Self { socket, run_len }
    }

    /// Sends messages in order, each whole, in pieces, or in part, and tells what became of it.
    pub(super) fn send(
        &mut self,
        messages: &[Message<'_>],
        refusals: &mut Refusals,
        outcome: &mut dyn FnMut(usize, Result<(), Unsent>),
    ) {
        let mut next = 0;
        while let Some(rest @ [first, ..]) = messages.get(next..) {
            let fitting = rest.iter().take_while(|it| it.count() <= self.run_len).count();
            let whole = rest.get(..fitting).unwrap_or_default();
            if whole.is_empty() {
                refusals.runs += 1;
                let way =
                    Way { sent: 0, len: self.run_len, alone: false, lasting: false, again: true };
                outcome(next, self.send_in_pieces(first, way, refusals));
                next += 1;
                continue;
            }
            let (sent, error) = self.socket.send_many(whole);
            (next..next + sent).for_each(|n| outcome(n, Ok(())));
            next += sent;
            if let (Some(error), Some(refused)) = (error, whole.get(sent))
                && error.kind() != ErrorKind::Interrupted
            {
                outcome(next, self.handle_refusal(refused, &error, refusals));
                next += 1;
            }
        }
    }

    fn handle_refusal(
        &mut self,
        message: &Message<'_>,
        error: &io::Error,
        refusals: &mut Refusals,
    ) -> Result<(), Unsent> {
        let count = message.count();
        let lasting = match Refusal::of(error) {
            Some(refusal) if count > 1 || refusal == Refusal::Memory => {
                refusals.count(error);
                refusal == Refusal::Lasting
            }
            Some(_) | None => return Err(error_of(error).into()),
        };
        let (len, again) = (count.div_ceil(2), count > 1);
        let way = Way { sent: 0, len, alone: true, lasting, again };
        let outcome = self.send_in_pieces(message, way, refusals);
        let passed = outcome.map_or_else(|unsent| unsent.sent, |()| count);
        refusals.runs += u64::from(count > 1 && passed > 0);
        outcome
    }

    /// Sends a run in pieces, and in smaller ones where these are refused.
    fn send_in_pieces(
        &mut self,
        run: &Message<'_>,
        mut way: Way,
        refusals: &mut Refusals,
    ) -> Result<(), Unsent> {
        loop {
            let (_, rest) = run.split_at(way.sent);
            let mut pieces = [rest; PIECES];
            let n = way.cut(&rest, &mut pieces);
            let pieces = pieces.get(..n).unwrap_or_default();
            if pieces.is_empty() {
                return Ok(());
            }
            let (done, error) = self.socket.send_many(pieces);
            way.pass(pieces.get(..done).unwrap_or_default());
            if way.lasting && way.sent > 0 {
                self.run_len = self.run_len.min(way.len);
            }
            let Some(error) = error.filter(|it| it.kind() != ErrorKind::Interrupted) else {
                continue;
            };
            let refused = pieces.get(done).map_or(1, Message::count);
            match Refusal::of(&error) {
                Some(refusal) if refused > 1 => {
                    way.len = refused.div_ceil(2);
                    way.lasting |= refusal == Refusal::Lasting;
                }
                Some(Refusal::Memory) if way.again => way.again = false,
                Some(_) | None => return Err(Unsent { sent: way.sent, why: error_of(&error) }),
            }
            refusals.count(&error);
        }
    }
}

/// How far a run has been sent, and how to go on.
struct Way {
    /// Datagrams that were sent.
    sent: usize,
    /// Most datagrams of a piece.
    len: usize,
    /// Whether the next datagram is to go alone, to see whether it is its fault.
    alone: bool,
    /// Whether what was refused will be refused again.
    lasting: bool,
    /// Whether a datagram that finds no memory may be tried once more.
    again: bool,
}

impl Way {
    /// Fills `pieces` with the next pieces. Returns how many there are.
    fn cut<'a>(&self, rest: &Message<'a>, pieces: &mut [Message<'a>]) -> usize {
        let (len, most) = if self.alone { (1, 1) } else { (self.len, PIECES) };
        let mut n = 0;
        for (to, piece) in pieces.iter_mut().zip(rest.pieces(len).take(most)) {
            *to = piece;
            n += 1;
        }
        n
    }

    fn pass(&mut self, pieces: &[Message<'_>]) {
        self.sent += pieces.iter().map(Message::count).sum::<usize>();
        self.alone &= pieces.is_empty();
    }
}

/// What a socket refuses though another message, or the same one later, may pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// The kernel or the device does not do it.
    Lasting,
    /// There was no memory for it.
    Memory,
}

impl Refusal {
    fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error() {
            Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) => Some(Self::Lasting),
            Some(libc::ENOBUFS | libc::ENOMEM) => Some(Self::Memory),
            _ => None,
        }
    }
}

impl Refusals {
    fn count(&mut self, error: &io::Error) {
        match error.raw_os_error() {
            Some(libc::EIO) => self.eio += 1,
            Some(libc::EINVAL) => self.einval += 1,
            Some(libc::EMSGSIZE) => self.emsgsize += 1,
            // ENOMEM is the same said elsewhere.
            _ => self.enobufs += 1,
        }
    }
}

fn error_of(error: &io::Error) -> SendError {
    match error.raw_os_error() {
        Some(libc::EMSGSIZE) => SendError::TooBig,
        // EADDRNOTAVAIL and EINVAL: the address this socket is bound to has left its interface.
        Some(
            libc::ENETUNREACH
            | libc::EHOSTUNREACH
            | libc::ENETDOWN
            | libc::ENODEV
            | libc::EADDRNOTAVAIL
            | libc::EINVAL,
        ) => SendError::NoRoute,
        Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => SendError::Full,
        Some(libc::EPERM | libc::EACCES) => SendError::Refused,
        errno => SendError::Other(errno.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
