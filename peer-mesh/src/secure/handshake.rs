//! The three messages of Noise XXpsk2, each in one frame.
//!
//! | message | sender    | tokens           | payload               | octets     |
//! |---------|-----------|------------------|-----------------------|------------|
//! | 1       | initiator | e                | none                  | 48         |
//! | 2       | responder | e, ee, s, es, psk| the responder's hello | 96 + hello |
//! | 3       | initiator | s, se            | the initiator's hello | 64 + hello |
//!
//! In message 2 all before the password opens under the keys of this connection alone. So the
//! initiator can tell a changed message, where the static key does not open, from a wrong password,
//! where only the payload does not. The responder cannot, and need not: an initiator with another
//! password never sends message 3.

use std::ops::RangeInclusive;

use snow::{Builder, HandshakeState, TransportState};

use super::frame;
use super::preamble::Preamble;
use super::psk::Psk;
use super::rng::Resolver;
use super::{MAX_HELLO, SecureError};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// What one end brings to a handshake.
pub(super) struct Terms {
    pub(super) role: Role,
    pub(super) psk: Psk,
    pub(super) hello: Vec<u8>,
    pub(super) seed: [u8; 32],
    pub(super) ours: Preamble,
}

/// A handshake, by the message it waits for.
pub(super) enum Handshake {
    /// The responder at its start: nothing is computed for who has not sent message 1.
    Message1 { terms: Box<Terms>, prologue: Prologue },
    /// The initiator, which has sent message 1.
    Message2 { noise: Box<HandshakeState>, hello: Vec<u8> },
    /// The responder, which has sent message 2.
    Message3 { noise: Box<HandshakeState> },
}

/// What a message led to.
pub(super) enum Progress {
    Wait(Handshake),
    Done { noise: TransportState, hello: Vec<u8> },
}

impl Handshake {
    /// Begins under a version both ends speak; the initiator sends message 1.
    pub(super) fn begin(
        terms: Box<Terms>,
        theirs: Preamble,
        version: u8,
        transmit: &mut Vec<u8>,
    ) -> Result<Self, SecureError> {
        let prologue = prologue(&terms, theirs, version);
        match terms.role {
            Role::Responder => Ok(Self::Message1 { terms, prologue }),
            Role::Initiator => {
                let mut noise = terms.noise(&prologue).map_err(ours)?;
                write(&mut noise, &[], MESSAGE_1, transmit)?;
                Ok(Self::Message2 { noise: Box::new(noise), hello: terms.hello })
            }
        }
    }

    /// How long the awaited frame may be.
    pub(super) const fn lengths(&self) -> RangeInclusive<usize> {
        match self {
            Self::Message1 { .. } => MESSAGE_1..=MESSAGE_1,
            Self::Message2 { .. } => MESSAGE_2..=MESSAGE_2 + MAX_HELLO,
            Self::Message3 { .. } => MESSAGE_3..=MESSAGE_3 + MAX_HELLO,
        }
    }

    /// Takes the awaited message, and appends the answer to `transmit`.
    pub(super) fn handle_message(
        self,
        message: &[u8],
        transmit: &mut Vec<u8>,
    ) -> Result<Progress, SecureError> {
        match self {
            Self::Message1 { terms, prologue } => {
                let mut noise = terms.noise(&prologue).map_err(ours)?;
                read(&mut noise, message)
                    .map_err(|_| SecureError::Malformed("message 1 does not open"))?;
                write(&mut noise, &terms.hello, MESSAGE_2, transmit)?;
                Ok(Progress::Wait(Self::Message3 { noise: Box::new(noise) }))
            }
            Self::Message2 { mut noise, hello } => {
                let theirs = read(&mut noise, message).map_err(|_| why_not_message_2(&noise))?;
                write(&mut noise, &hello, MESSAGE_3, transmit)?;
                done(*noise, theirs)
            }
            Self::Message3 { mut noise } => {
                let theirs = read(&mut noise, message)
                    .map_err(|_| SecureError::Malformed("message 3 does not open"))?;
                done(*noise, theirs)
            }
        }
    }
}

impl Terms {
    /// Noise at its start. The static key is made here and forgotten with the connection: XX lets
    /// peers prove who they are by long-lived keys one day without another wire format.
    fn noise(&self, prologue: &Prologue) -> Result<HandshakeState, snow::Error> {
        let (private, resolver) = Resolver::from_seed(self.seed);
        let builder = Builder::with_resolver(NOISE.parse()?, Box::new(resolver))
            .prologue(prologue)?
            .local_private_key(&private)?
            .psk(PSK_AT, self.psk.key())?;
        match self.role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        }
    }
}

/// What both ends saw of each other before the first message, the initiator's part first. Noise
/// fails if the two saw different things, so nobody in between can choose an old version for them.
fn prologue(terms: &Terms, theirs: Preamble, version: u8) -> Prologue {
    let (initiator, responder) = match terms.role {
        Role::Initiator => (terms.ours, theirs),
        Role::Responder => (theirs, terms.ours),
    };
    let mut prologue = [version; PROLOGUE_LEN];
    let preambles = initiator.octets().into_iter().chain(responder.octets());
    prologue.iter_mut().zip(preambles).for_each(|(to, octet)| *to = octet);
    prologue
}

fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, snow::Error> {
    let mut payload = vec![0; message.len()];
    let len = noise.read_message(message, &mut payload)?;
    payload.truncate(len);
    Ok(payload)
}

fn write(
    noise: &mut HandshakeState,
    payload: &[u8],
    overhead: usize,
    transmit: &mut Vec<u8>,
) -> Result<(), SecureError> {
    frame::append(transmit, overhead + payload.len(), |body| noise.write_message(payload, body))
        .map_err(ours)
}

fn done(noise: HandshakeState, hello: Vec<u8>) -> Result<Progress, SecureError> {
    let noise = noise.into_transport_mode().map_err(ours)?;
    Ok(Progress::Done { noise, hello })
}

fn why_not_message_2(noise: &HandshakeState) -> SecureError {
    match noise.get_remote_static() {
        Some(_) => SecureError::WrongPassword,
        None => SecureError::Malformed("message 2 does not open"),
    }
}

/// Noise refused what we made ourselves; no octets from outside lead here.
fn ours(_: snow::Error) -> SecureError {
    SecureError::Malformed("our own message")
}

const NOISE: &str = "Noise_XXpsk2_25519_ChaChaPoly_BLAKE2s";
const PSK_AT: u8 = 2;

const PROLOGUE_LEN: usize = Preamble::LEN + Preamble::LEN + 1;
type Prologue = [u8; PROLOGUE_LEN];

/// Octets of a public key (X25519) and of a tag (Poly1305).
const KEY: usize = 32;
const TAG: usize = 16;
/// Octets of each message without a hello: see the table above.
const MESSAGE_1: usize = KEY + TAG;
const MESSAGE_2: usize = KEY + (KEY + TAG) + TAG;
const MESSAGE_3: usize = (KEY + TAG) + TAG;
