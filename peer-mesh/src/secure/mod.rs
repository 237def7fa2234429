//! The encrypted connection between two peers.
//!
//! Octets come in and go out; there is no socket, no clock and no randomness but a seed. Both ends
//! send their preamble at once, in clear: the range of versions they speak. Then follow the three
//! messages of Noise XXpsk2, the last two of which carry an opaque hello, and then batches.
//!
//! ```text
//! initiator                                     responder
//!   "weft" oldest newest    <->    "weft" oldest newest      clear, 6 octets
//!   len, message 1          -->                              48 octets
//!                           <--    len, message 2            96 + hello
//!   len, message 3          -->                              64 + hello
//!   len, batch              <->    len, batch                16 + batch
//!   0, code                 <->    0, code                   a reject, instead of a message
//! ```
//!
//! What is kept, and what is not:
//! - With a password, only who has it reads a hello or a batch, or is taken for a peer. What was
//!   captured stays closed when the password leaks later: each connection has keys of its own. A
//!   capture alone does not let anybody try passwords.
//! - Who *dials* a peer and makes up a password gets message 2, and can try passwords on it at
//!   leisure: Noise has no answer to that (a PAKE would). Argon2 makes each attempt dear, a long
//!   password makes them too many.
//! - Without a password, connections are closed to who listens and open to who takes part.
//! - There are no long-lived keys: a member can pretend to be any other member.
//! - Both preambles and the version are in Noise's prologue: an older version cannot be forced.
//! - A reject is not authenticated. It can only end a handshake, which whoever can forge one can do
//!   anyway; once a connection is open it is an error like any other.
//!
//! Limits: what is held between calls is less than one frame, whose length is checked when its
//! header is there. Nothing is computed for a connection before its first complete message, but
//! nothing here ends one that stays silent either: the owner of the clock does.

mod frame;
mod handshake;
mod preamble;
mod psk;
mod rng;

use std::fmt;
use std::mem;
use std::ops::RangeInclusive;

use snow::TransportState;

use frame::{Frame, Inbox, Reject};
use handshake::{Handshake, Progress, Role, Terms};
use preamble::Preamble;
pub use psk::{PasswordError, Psk};

/// The longest hello, in octets.
pub const MAX_HELLO: usize = 1024;
/// The longest batch, in octets: what Noise allows in a message (65 535 less a tag of 16), rounded.
pub const MAX_BATCH: usize = 65_000;
/// Octets that a batch's frame has more than the batch: its length and its tag.
pub const OVERHEAD: usize = frame::HEADER_LEN + TAG;

/// One end of an encrypted connection.
///
/// Lifecycle: preamble, handshake, open. Any error is final: nothing is received or sealed after
/// it, and `poll_received` repeats it. After each call take what is to be sent, also after an error:
/// it may be what tells the other end.
pub struct Secure {
    state: State,
    version: Option<u8>,
    inbox: Inbox,
    transmit: Vec<u8>,
}

/// What the other end said.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Received {
    /// Its hello; comes once, before any batch.
    Hello(Vec<u8>),
    /// A batch.
    Batch(Vec<u8>),
}

/// Why a connection is of no use.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecureError {
    /// We have no version in common; these are the other end's.
    #[error("the other end speaks versions {oldest} to {newest}")]
    OtherVersion {
        /// The oldest it speaks.
        oldest: u8,
        /// The newest it speaks.
        newest: u8,
    },
    /// Its first octets are not ours.
    #[error("the other end does not speak weft")]
    NotWeft,
    /// It has another password, or one of us has none. Both ends come to know.
    #[error("the other end has another password")]
    WrongPassword,
    /// What came makes no sense, or was changed on the way.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl Secure {
    /// The end that opened the connection. Its hello has at most [`MAX_HELLO`] octets: with more,
    /// the connection fails at once. The range of versions is not empty.
    ///
    /// A seed is used for one connection only, and nobody else can guess it: it holds its keys.
    pub fn dial(psk: &Psk, hello: &[u8], seed: [u8; 32], versions: RangeInclusive<u8>) -> Self {
        Self::new(Role::Initiator, psk, hello, (seed, versions))
    }

    /// The end that was connected to; otherwise as [`dial`](Self::dial).
    pub fn accept(psk: &Psk, hello: &[u8], seed: [u8; 32], versions: RangeInclusive<u8>) -> Self {
        Self::new(Role::Responder, psk, hello, (seed, versions))
    }

    /// Takes octets that came. Then call `poll_received` until it has nothing more.
    pub fn handle_bytes(&mut self, octets: &[u8]) {
        if !matches!(self.state, State::Closed(_)) {
            self.inbox.push(octets);
        }
    }

    /// What the octets so far complete, one at a time.
    ///
    /// # Errors
    /// The connection is of no use and is to be closed once `take_transmit` is sent.
    pub fn poll_received(&mut self) -> Result<Option<Received>, SecureError> {
        loop {
            match self.step() {
                Ok(Step::Received(received)) => return Ok(Some(received)),
                Ok(Step::Moved) => {}
                Ok(Step::Wanting) => return Ok(None),
                Err(error) => {
                    self.inbox = Inbox::default();
                    self.state = State::Closed(error.clone());
                    return Err(error);
                }
            }
        }
    }

    /// Octets to send now: a preamble, a message of the handshake, a reject. They come before what
    /// is sealed after this call.
    pub fn take_transmit(&mut self) -> Vec<u8> {
        mem::take(&mut self.transmit)
    }

    /// Whether batches can be sealed.
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The version agreed on.
    pub const fn version(&self) -> Option<u8> {
        self.version
    }

    /// Appends one frame with `batch` to `out`, behind what was still to be sent. `false`, and
    /// nothing is appended: not open, or longer than [`MAX_BATCH`].
    pub fn seal(&mut self, batch: &[u8], out: &mut Vec<u8>) -> bool {
        let State::Open(noise) = &mut self.state else { return false };
        if batch.len() > MAX_BATCH {
            return false;
        }
        out.append(&mut self.transmit);
        frame::append(out, batch.len() + TAG, |body| noise.write_message(batch, body)).is_ok()
    }

    fn new(
        role: Role,
        psk: &Psk,
        hello: &[u8],
        (seed, versions): ([u8; 32], RangeInclusive<u8>),
    ) -> Self {
        let ours = Preamble::new(&versions);
        let terms = Terms { role, psk: psk.clone(), hello: hello.to_vec(), seed, ours };
        let state = if hello.len() > MAX_HELLO {
            State::Closed(SecureError::Malformed("our own hello is too long"))
        } else {
            State::Preamble(Box::new(terms))
        };
        Self { state, version: None, inbox: Inbox::default(), transmit: ours.octets().to_vec() }
    }

    fn step(&mut self) -> Result<Step, SecureError> {
        match mem::replace(&mut self.state, MOVING) {
            State::Preamble(terms) => self.step_preamble(terms),
            State::Handshake(handshake) => self.step_handshake(handshake),
            State::Open(noise) => self.step_open(noise),
            State::Closed(error) => Err(error),
        }
    }

    fn step_preamble(&mut self, terms: Box<Terms>) -> Result<Step, SecureError> {
        let Some(theirs) = self.inbox.preamble()? else {
            self.state = State::Preamble(terms);
            return Ok(Step::Wanting);
        };
        let version = terms.ours.agree(theirs)?;
        self.version = Some(version);
        let handshake = Handshake::begin(terms, theirs, version, &mut self.transmit)?;
        self.state = State::Handshake(handshake);
        Ok(Step::Moved)
    }

    fn step_handshake(&mut self, handshake: Handshake) -> Result<Step, SecureError> {
        let progress = match self.inbox.frame(&handshake.lengths()) {
            Ok(None) => {
                self.state = State::Handshake(handshake);
                return Ok(Step::Wanting);
            }
            // Not answered: two ends would reject each other's rejects.
            Ok(Some(Frame::Reject(code))) => return Err(Reject::error(code)),
            Ok(Some(Frame::Noise(message))) => {
                handshake.handle_message(message, &mut self.transmit)
            }
            Err(error) => Err(error),
        };
        match progress.inspect_err(|error| self.reject(error))? {
            Progress::Wait(handshake) => {
                self.state = State::Handshake(handshake);
                Ok(Step::Moved)
            }
            Progress::Done { noise, hello } => {
                self.state = State::Open(noise);
                Ok(Step::Received(Received::Hello(hello)))
            }
        }
    }

    fn step_open(&mut self, mut noise: TransportState) -> Result<Step, SecureError> {
        let batch = match self.inbox.frame(&(TAG..=TAG + MAX_BATCH))? {
            None => None,
            Some(Frame::Reject(_)) => {
                return Err(SecureError::Malformed("a reject after the handshake"));
            }
            Some(Frame::Noise(message)) => Some(open(&mut noise, message)?),
        };
        self.state = State::Open(noise);
        Ok(batch.map_or(Step::Wanting, |batch| Step::Received(Received::Batch(batch))))
    }

    fn reject(&mut self, error: &SecureError) {
        let reject = match error {
            SecureError::WrongPassword => Reject::WrongPassword,
            SecureError::Malformed(_) => Reject::Malformed,
            // The preambles have already told the other end.
            SecureError::OtherVersion { .. } | SecureError::NotWeft => return,
        };
        self.transmit.extend(reject.octets());
    }
}

/// Without keys or a hello.
impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state: &dyn fmt::Debug = match &self.state {
            State::Preamble(_) => &"preamble",
            State::Handshake(_) => &"handshake",
            State::Open(_) => &"open",
            State::Closed(error) => error,
        };
        f.debug_struct("Secure").field("state", state).field("version", &self.version).finish()
    }
}

enum State {
    Preamble(Box<Terms>),
    Handshake(Handshake),
    Open(TransportState),
    Closed(SecureError),
}

/// Stands for the state while a step works on it; each step leaves another, or an error.
const MOVING: State = State::Closed(SecureError::Malformed("an error came before"));

enum Step {
    Received(Received),
    Moved,
    Wanting,
}

fn open(noise: &mut TransportState, message: &[u8]) -> Result<Vec<u8>, SecureError> {
    let mut batch = vec![0; message.len()];
    let len = noise
        .read_message(message, &mut batch)
        .map_err(|_| SecureError::Malformed("a batch does not open"))?;
    batch.truncate(len);
    Ok(batch)
}

/// Octets of a Poly1305 tag.
const TAG: usize = 16;

#[cfg(test)]
mod tests;
